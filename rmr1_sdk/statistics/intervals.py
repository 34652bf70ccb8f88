"""Intervals, tests, agreement and calibration figures: pure functions, and the one way to print an interval."""

import random
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import groupby
from math import comb, log, sqrt
from typing import Literal, NamedTuple

from rmr1_sdk.types import Value

__all__ = [
    "DRAWS", "Bin", "CoveragePoint", "Interval", "Share", "Unit", "bootstrap", "brier", "cohen_kappa", "ece",
    "ece_by_chance", "log_loss", "mcnemar", "percentiles", "reliability", "risk_coverage", "share", "wilson",
]  # fmt: skip

DRAWS = 2000
"""Resamples of a bootstrap: the ends of a 95% interval are then known to about a thirtieth of its width."""


Unit = Literal["share", "change", "points", "log-odds", "number"]
"""Unit of a printed value: a share in percent; a change of one; the same in points; log-odds; a plain number."""
_UNITS: Mapping[Unit, tuple[float, str]] = {
    "share": (1, "z.1%"),
    "change": (1, "+z.1%"),
    "points": (100, "+z.1f"),
    "log-odds": (1, "+z.2f"),
    "number": (1, "z.3f"),
}


class Interval(NamedTuple):
    """A share, or a difference of shares, and its bounds: 0 to 1, of a difference -1 to 1."""

    share: float
    low: float
    high: float

    def texts(self, unit: Unit = "share") -> tuple[str, str, str]:
        """Print the value and each bound, in this unit; no zero has a minus sign."""
        scale, form = _UNITS[unit]
        return format(scale * self.share, form), format(scale * self.low, form), format(scale * self.high, form)

    def text(self, unit: Unit = "share") -> str:
        """Print the value with its bounds behind it."""
        value, low, high = self.texts(unit)
        return f"{value} [{low}, {high}]"

    def __str__(self) -> str:
        return self.text()


class Share(Value):
    """A share of `of` items with its 95% Wilson interval."""

    share: float
    low: float
    high: float
    of: int

    def __str__(self) -> str:
        return f"{Interval(self.share, self.low, self.high)} of {self.of:,}"


def wilson(successes: float, trials: int, z: float = 1.959963984540054) -> Interval | None:
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


def share(successes: float, trials: int) -> Share | None:
    """A share with its Wilson interval; None without trials."""
    interval = wilson(successes, trials)
    return interval and Share(**interval._asdict(), of=trials)


def bootstrap(clusters: Sequence[tuple[float, float]], *, draws: int = DRAWS, seed: int = 0) -> list[float]:
    """Means of `draws` bootstrap resamples of whole clusters (Efron 1979).

    A cluster is what shares a prompt: the sum of its values and of their weights. The mean of a resample is the one
    sum over the other. The same seed draws the same clusters of as many: the differences of two such lists, of two
    judges over the same clusters in the same order, are a paired bootstrap.

    >>> min(bootstrap([(1.0, 1.0), (2.0, 4.0)], draws=100))
    0.5
    """
    generator = random.Random(seed)  # noqa: S311  # no secret
    pairs_of_sums = [complex(*cluster) for cluster in clusters]  # a complex number adds up both in one pass
    drawn = (sum(generator.choices(pairs_of_sums, k=len(clusters))) for _ in range(draws))
    return [both.real / both.imag for both in drawn]


def percentiles(share: float, draws: Sequence[float], level: float = 0.95) -> Interval:
    """A figure with the interval that holds the middle `level` of its resamples."""
    ordered = sorted(draws)
    outside = round(len(ordered) * (1 - level) / 2)
    return Interval(share, ordered[outside], ordered[-1 - outside])


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p-value of McNemar's test.

    `gained` counts what only the one of two judges got right over the same pairs, `lost` what only the other did.

    >>> mcnemar(1, 5)
    0.21875
    """
    both = gained + lost
    return min(1.0, sum(comb(both, n) for n in range(min(gained, lost) + 1)) / 2 ** (both - 1)) if both else 1.0


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Cohen's kappa (Cohen 1960), agreement beyond chance: 1 always, 0 as often as by chance, below 0 less.

    None where there are no items, and where both gave every item the same one label: chance alone agrees there.

    >>> cohen_kappa("AABB", "AABA")
    0.5
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} labels; both annotators label the same items")
    n = len(first)
    seen = sum(one == other for one, other in zip(first, second, strict=True))
    of_first, of_second = Counter(first), Counter(second)
    by_chance = sum(of_first[label] * of_second[label] for label in of_first)
    return None if by_chance == n * n else (n * seen - by_chance) / (n * n - by_chance)


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


class Bin(NamedTuple):
    """A bar of a reliability diagram: what was claimed on average, and how often it happened."""

    n: int
    probability: float
    frequency: float


def reliability(probabilities: Sequence[float], outcomes: Sequence[bool], bins: int = 10) -> list[Bin]:
    """Bins of about equal mass, from the least probable up.

    Equal probabilities are never parted, so that the order of the items does not matter: where many are equal there
    are fewer bins.

    >>> reliability([0.2, 0.2, 0.9, 0.7], [False, True, True, True], bins=2)
    [Bin(n=2, probability=0.2, frequency=0.5), Bin(n=2, probability=0.8, frequency=1.0)]
    """
    ordered = sorted(zip(probabilities, outcomes, strict=True))
    held: list[tuple[float, bool]] = []
    made: list[Bin] = []
    done = 0
    for _, alike in groupby(ordered, key=lambda item: item[0]):
        held += alike
        if (done + len(held)) * bins >= len(ordered) * (done * bins // len(ordered) + 1):
            done += len(held)
            made.append(Bin(len(held), sum(p for p, _ in held) / len(held), sum(hit for _, hit in held) / len(held)))
            held = []
    return made


def ece(probabilities: Sequence[float], outcomes: Sequence[bool], bins: int = 10) -> float:
    """The expected calibration error: how far claim and frequency are apart, over the bins of `reliability`.

    Raises ValueError without outcomes.

    >>> round(ece([0.9, 0.9], [True, False]), 9)
    0.4
    """
    table = reliability(probabilities, outcomes, bins)
    return sum(row.n * abs(row.probability - row.frequency) for row in table) / _count(probabilities)


def ece_by_chance(probabilities: Sequence[float], bins: int = 10, *, draws: int = 200, seed: int = 0) -> float:
    """Upper 95% limit of `ece` for perfectly calibrated probabilities (Broecker and Smith 2007).

    An `ece` below that is no sign of miscalibration. It has no interval of its own here: resampled items have a larger
    error than the items themselves, so that a bootstrap's interval misses the true one of a calibrated judge.
    Raises ValueError without probabilities.

    >>> ece_by_chance([0.5] * 100) < 0.15
    True
    """
    generator = random.Random(seed)  # noqa: S311  # no secret
    drawn = sorted(ece(probabilities, [generator.random() < p for p in probabilities], bins) for _ in range(draws))
    return drawn[round(0.95 * (draws - 1))]


class CoveragePoint(NamedTuple):
    """The accuracy over the share of items that a judge is surest of, down to a confidence."""

    coverage: float
    accuracy: float
    confidence: float


def risk_coverage(confidences: Sequence[float], right: Sequence[bool]) -> list[CoveragePoint]:
    """Accuracy on the most confident items, from the surest one to all (El-Yaniv and Wiener 2010).

    One point for each different confidence. The risk is 1 less the accuracy.

    >>> [point.accuracy for point in risk_coverage([0.9, 0.6, 0.8], [True, False, True])]
    [1.0, 1.0, 0.6666666666666666]
    """
    return list(_coverage(sorted(zip(confidences, right, strict=True), reverse=True)))


def _coverage(ordered: Sequence[tuple[float, bool]]) -> Iterator[CoveragePoint]:
    taken = hits = 0
    for confidence, alike in groupby(ordered, key=lambda item: item[0]):
        for _, hit in alike:
            taken += 1
            hits += hit
        yield CoveragePoint(taken / len(ordered), hits / taken, confidence)


def _count(values: Sequence[float]) -> int:
    if not values:
        raise ValueError("a mean of nothing")
    return len(values)
