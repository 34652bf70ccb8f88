"""How much a judge likes length, whichever answer is the better one."""

from collections.abc import Sequence
from math import exp, sqrt
from typing import NamedTuple

from rmr1_sdk.bradley_terry import PRIOR_SD
from rmr1_sdk.stats import Interval

__all__ = ["Outcome", "length_coefficient"]

_Z95 = 1.959963984540054
_STEPS = 100


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
    as strengths have in a ranking: so there is an answer where one side was always named. The interval is that of the
    posterior's normal approximation.
    """
    if not outcomes:
        return None
    quality = length = 0.0
    for _ in range(_STEPS):
        gradient, (qq, ql, ll) = _derivatives(outcomes, quality, length)
        determinant = qq * ll - ql * ql
        steps = (
            (ll * gradient[0] - ql * gradient[1]) / determinant,
            (qq * gradient[1] - ql * gradient[0]) / determinant,
        )
        size = max(map(abs, steps))
        scale = min(1.0, 1 / size) if size else 0.0  # far from the goal a whole step may overshoot
        quality, length = quality + scale * steps[0], length + scale * steps[1]
        if size < 1e-12:
            break
    _, (qq, ql, ll) = _derivatives(outcomes, quality, length)
    half = _Z95 * sqrt(qq / (qq * ll - ql * ql))
    return Interval(length, length - half, length + half)


def _derivatives(
    outcomes: Sequence[Outcome], quality: float, length: float
) -> tuple[tuple[float, float], tuple[float, float, float]]:
    """The gradient of the log posterior, and its negated second derivative: qq, ql, ll."""
    precision = 1 / PRIOR_SD**2
    by_quality, by_length = -quality * precision, -length * precision
    qq, ql, ll = precision, 0.0, precision
    for named, better, longer in outcomes:
        expected = 1 / (1 + exp(-max(-500.0, min(500.0, quality * better + length * longer))))
        weight = expected * (1 - expected)
        by_quality += (named - expected) * better
        by_length += (named - expected) * longer
        qq += weight * better * better
        ql += weight * better * longer
        ll += weight * longer * longer
    return (by_quality, by_length), (qq, ql, ll)
