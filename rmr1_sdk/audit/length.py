"""Length bias: a judge's preference for the longer answer, whichever is better."""

from collections.abc import Callable, Sequence
from math import exp, log, log1p, sqrt
from typing import NamedTuple

from rmr1_sdk.judging.bradley_terry import PRIOR_SD, win_probability
from rmr1_sdk.statistics.intervals import Interval

__all__ = ["Outcome", "length_coefficient"]

_DROP = 1.959963984540054**2 / 2
"""By how much the log posterior falls from its top to the ends of a 95% interval."""


class Outcome(NamedTuple):
    """A pair that was judged: how often A was named, 0 to 1; is A the better one, 1 or -1; by how much A is longer.

    `longer` is the logarithm of the two lengths' ratio to the base 2: 1 where A is twice as long.
    """

    named: float
    better: float
    longer: float


def length_coefficient(outcomes: Sequence[Outcome]) -> Interval | None:
    """By how much twice the length raises the log-odds of being named, with its 95% interval; None without pairs.

    Logistic regression on which side is better and on the logarithm of the lengths' ratio: so a set in which better
    answers are longer does not make the judge look as if it liked length. It has no constant, since each pair was
    judged in both orders. Each pair counts once. Both coefficients have a normal prior of standard deviation PRIOR_SD,
    as strengths have in a ranking: so there is an answer where one side was always named. The interval is where the
    profile of the posterior is near its top; it need not be symmetric.
    """
    if not outcomes:
        return None
    # beyond this the prior alone costs more than all outcomes and the drop together
    reach = PRIOR_SD * sqrt(2 * (len(outcomes) * log(2) + _DROP))
    best = _root(lambda length: -_profile(outcomes, length).slope, -reach, reach)
    floor = _profile(outcomes, best).height - _DROP
    low = _root(lambda length: _profile(outcomes, length).height - floor, -reach, best)
    high = _root(lambda length: floor - _profile(outcomes, length).height, best, reach)
    return Interval(best, low, high)


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Find the root of an increasing function by bisection."""
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2


class _Profile(NamedTuple):
    height: float
    slope: float


def _profile(outcomes: Sequence[Outcome], length: float) -> _Profile:
    """The log posterior at its highest for this coefficient of length, and its derivative by it."""
    precision = 1 / PRIOR_SD**2
    quality = 0.0
    for _ in range(100):  # Newton's method for the other coefficient, no step longer than 1
        expected = [win_probability(quality * o.better + length * o.longer) for o in outcomes]
        gradient = sum((o.named - p) * o.better for o, p in zip(outcomes, expected, strict=True)) - quality * precision
        bend = sum(p * (1 - p) * o.better**2 for o, p in zip(outcomes, expected, strict=True)) + precision
        step = max(-1.0, min(1.0, gradient / bend))
        quality += step
        if abs(step) < 1e-10:
            break
    logits = [quality * o.better + length * o.longer for o in outcomes]
    height = sum(o.named * z - max(z, 0.0) - log1p(exp(-abs(z))) for o, z in zip(outcomes, logits, strict=True))
    slope = sum((o.named - win_probability(z)) * o.longer for o, z in zip(outcomes, logits, strict=True))
    return _Profile(height - (quality**2 + length**2) * precision / 2, slope - length * precision)
