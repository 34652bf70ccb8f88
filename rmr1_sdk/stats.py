"""Figures with their uncertainty. Pure functions, no dependencies."""

from math import sqrt
from typing import NamedTuple

__all__ = ["Interval", "wilson"]


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
