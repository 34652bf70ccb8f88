"""Figures with their uncertainty. Pure functions, no dependencies."""

from collections.abc import Sequence
from math import comb, log, sqrt
from typing import NamedTuple

__all__ = ["Interval", "brier", "log_loss", "mcnemar", "wilson"]


class Interval(NamedTuple):
    """A share and its bounds, all in 0..1."""

    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.share:.1%} [{self.low:.1%}, {self.high:.1%}]"


def wilson(successes: int, trials: int, z: float = 1.959963984540054) -> Interval | None:
    """A proportion with its Wilson score interval (Wilson 1927), by default at 95%. None without trials.

    >>> str(wilson(348, 419))
    '83.1% [79.2%, 86.3%]'
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    if trials == 0:
        return None
    p = successes / trials
    scale = 1 + z * z / trials
    centre = (p + z * z / (2 * trials)) / scale
    half = z * sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials)) / scale
    return Interval(p, max(0.0, centre - half), min(1.0, centre + half))


def mcnemar(gained: int, lost: int) -> float:
    """How probable a change at least this lopsided is where there is none: McNemar's test, exact and two-sided.

    `gained` counts what only the one of two judges got right over the same pairs, `lost` what only the other did.

    >>> mcnemar(1, 5)
    0.21875
    """
    both = gained + lost
    return min(1.0, sum(comb(both, n) for n in range(min(gained, lost) + 1)) / 2 ** (both - 1)) if both else 1.0


def log_loss(probabilities: Sequence[float], outcomes: Sequence[bool]) -> float:
    """The mean of -log of the probability given to what happened, in nats.

    Infinite where something happened that had probability 0. Raises ValueError without outcomes.

    >>> round(log_loss([0.5, 0.5], [True, False]), 4)
    0.6931
    """
    given = [p if happened else 1 - p for p, happened in zip(probabilities, outcomes, strict=True)]
    return -sum(log(p) if p > 0 else float("-inf") for p in given) / _count(given)


def brier(probabilities: Sequence[float], outcomes: Sequence[bool]) -> float:
    """The mean squared distance between a probability and what happened (Brier 1950), 0 to 1.

    Raises ValueError without outcomes.

    >>> brier([0.5, 1.0], [True, True])
    0.125
    """
    missed = [(p - happened) ** 2 for p, happened in zip(probabilities, outcomes, strict=True)]
    return sum(missed) / _count(missed)


def _count(values: Sequence[float]) -> int:
    if not values:
        raise ValueError("a mean of nothing")
    return len(values)
