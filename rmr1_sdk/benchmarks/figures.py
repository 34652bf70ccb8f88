"""Scoring rules, and means over judgments with their intervals.

A benchmark's scorer builds a small tree: leaves of graded items, and means of those. A figure is read off each node.
Its interval is Wilson's where every prompt is there once and right or wrong; else whole prompts are drawn again and
again, in each leaf for itself, and the figure is computed anew.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, NamedTuple

from rmr1_sdk.hashing import digest
from rmr1_sdk.judging.voting import agreed, majority
from rmr1_sdk.statistics.intervals import Interval, bootstrap, percentiles, wilson
from rmr1_sdk.types import Judgment, Outcome, Pair, Value

__all__ = [
    "Estimator", "Figure", "Graded", "Item", "Leaf", "Mean", "Node", "Rate", "Worth", "cluster", "grade", "leaf",
    "rate",
]  # fmt: skip


@dataclass(frozen=True)
class Worth:
    """Scoring rule: a judgment's credit, where right is 1 and wrong is 0.

    Attributes:
        tie: a tie, where the label is a side.
        unreadable: no verdict; None counts it as a tie.
        consistent_only: where both orders were asked and are not read the same, it is worth 0 whatever the label.
        orders_must_agree: where both orders were asked, the outcome is that of both, or a tie where they differ
            (MT-bench); else it is the side with more votes, and a tie counts for neither (JudgeBench).
        by_order: where both orders were asked, it is the mean of the two, each worth something by itself; else one
            that cannot be read leaves it to the other.
    """

    tie: float = 0.5
    unreadable: float | None = 0.0
    consistent_only: bool = False
    orders_must_agree: bool = False
    by_order: bool = False

    def __str__(self) -> str:
        unreadable = "what a tie is" if self.unreadable is None else f"{self.unreadable:g}"
        orders = ", orders that differ 0" if self.consistent_only else ", in each order" if self.by_order else ""
        agree = ", orders that differ are a tie" if self.orders_must_agree else ""
        return f"a tie is worth {self.tie:g}, an unreadable verdict {unreadable}{orders}{agree}"


class Graded(NamedTuple):
    """A judgment beside its pair. `outcome` and `value` are what the protocol makes of it."""

    pair: Pair
    judgment: Judgment
    outcome: Outcome | None
    value: float
    right: bool

    @property
    def covered(self) -> bool:
        """True where there is an outcome."""
        return self.outcome is not None

    @property
    def subset(self) -> str:
        """The part of the benchmark that the pair is from."""
        return str(self.pair.metadata.get("subset", ""))


def grade(pair: Pair, judgment: Judgment, worth: Worth) -> Graded:
    """Credit of a judgment. Only the winner that the label names is right."""
    both = {verdict.shown for verdict in judgment.verdicts} == {"AB", "BA"}
    outcome = agreed(judgment.verdicts) if worth.orders_must_agree and both else judgment.winner
    differs = worth.consistent_only and both and judgment.position_consistent is not True
    right = outcome is not None and outcome == pair.label and not differs
    if worth.by_order and both:
        orders = [[each for each in judgment.verdicts if each.shown == shown] for shown in ("AB", "BA")]
        value = fmean(_value(pair, majority(order), worth) for order in orders)
    else:
        value = 0.0 if differs else _value(pair, outcome, worth)
    return Graded(pair, judgment, outcome, value, right)


def _value(pair: Pair, winner: Outcome | None, worth: Worth) -> float:
    if winner is None and worth.unreadable is not None:
        return worth.unreadable
    if winner and winner == pair.label:
        return 1.0
    if winner in ("tie", None):
        return 1.0 if pair.label == "tie" else worth.tie
    return 0.0


class Item(NamedTuple):
    """Unit of scoring: a pair, or a whole best-of-N list. Items of one cluster share a prompt."""

    cluster: str
    value: float
    right: bool
    covered: bool
    weight: float = 1.0


@dataclass(frozen=True)
class Leaf:
    """The mean of some items. Leaves of one `stratum` hold the same prompts, and draw the same of them."""

    name: str
    items: tuple[Item, ...]
    stratum: str


@dataclass(frozen=True)
class Mean:
    """The weighted mean of other nodes."""

    name: str
    parts: tuple["tuple[float, Node]", ...]


Node = Leaf | Mean


def leaf(name: str, graded: Iterable[Graded], *, stratum: str | None = None) -> Leaf:
    """The mean of some pairs."""
    items = tuple(Item(cluster(one.pair), one.value, one.right, one.covered) for one in graded)
    return Leaf(name, items, stratum or name)


def cluster(pair: Pair) -> str:
    """The prompt of a pair: pairs with one question are not independent."""
    return pair.question if isinstance(pair.question, str) else pair.model_dump_json(include={"question"})


class Rate(Value):
    """A share, or a mean between 0 and 1, with its 95% interval. `method` says how that was found, from `n` items."""

    name: str
    value: float
    low: float
    high: float
    n: int
    method: Literal["wilson", "bootstrap"]

    @property
    def interval(self) -> Interval:
        """The value with its bounds."""
        return Interval(self.value, self.low, self.high)

    def __str__(self) -> str:
        return str(self.interval)


class Figure(Rate):
    """A figure of a benchmark.

    `value` is the protocol's: ties and unreadable verdicts are worth what it says. `strict` counts only right verdicts,
    over all items; `covered_accuracy` only right ones, over those that were read; None where nothing was. Of a mean
    they are the means of its parts' own. `covered` items of `n` were read.
    """

    covered: int
    strict: float
    covered_accuracy: float | None

    @property
    def coverage(self) -> float:
        """The share of items that were read."""
        return self.covered / self.n


class _Estimate(NamedTuple):
    value: float
    strict: float
    covered_accuracy: float | None
    n: int
    covered: int
    clusters: int


class Estimator:
    """Reads figures off nodes. The same seed draws the same prompts, so that figures of two judges can be paired."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._draws: dict[int, tuple[Node, list[float]]] = {}  # the node is kept: its id stays its own

    def figure(self, node: Node) -> Figure | None:
        """The figure of a node; None where one of its leaves has no items."""
        estimate = _estimate(node)
        if estimate is None:
            return None
        method, interval = self._interval(node, estimate)
        return Figure(
            name=node.name,
            value=estimate.value,
            low=interval.low,
            high=interval.high,
            n=estimate.n,
            method=method,
            covered=estimate.covered,
            strict=estimate.strict,
            covered_accuracy=estimate.covered_accuracy,
        )

    def _interval(self, node: Node, estimate: _Estimate) -> tuple[Literal["wilson", "bootstrap"], Interval]:
        drawn = None if _is_binomial(node, estimate) else percentiles(estimate.value, self.draws(node))
        if drawn and drawn.low < drawn.high:
            return "bootstrap", drawn
        # where all prompts came to the same, resampling sees no spread, and the number of prompts still bounds it
        bounds = wilson(estimate.value * estimate.clusters, estimate.clusters)
        assert bounds is not None  # a node without items has no estimate
        return "wilson", bounds

    def draws(self, node: Node) -> list[float]:
        """Value of the node in each bootstrap resample."""
        if id(node) not in self._draws:
            self._draws[id(node)] = (node, self._drawn(node))
        return self._draws[id(node)][1]

    def _drawn(self, node: Node) -> list[float]:
        if isinstance(node, Leaf):
            return bootstrap(_clusters(node), seed=digest(self._seed, node.stratum))
        total = sum(weight for weight, _ in node.parts)
        weights = [weight / total for weight, _ in node.parts]
        drawn = zip(*(self.draws(part) for _, part in node.parts), strict=True)
        return [sum(weight * value for weight, value in zip(weights, values, strict=True)) for values in drawn]


def rate(name: str, values: Sequence[tuple[Pair, float]], estimator: Estimator) -> Rate | None:
    """The mean of something from 0 to 1 over pairs, or how often it holds; None without pairs."""
    items = tuple(Item(cluster(pair), float(value), right=value == 1, covered=True) for pair, value in values)
    figure = estimator.figure(Leaf(name, items, name))
    return figure and Rate.model_validate(figure.model_dump(include=set(Rate.model_fields)))


def _is_binomial(node: Node, estimate: _Estimate) -> bool:
    """True for independent items of equal weight with credits of 0 or 1."""
    if isinstance(node, Mean) or estimate.clusters < estimate.n:
        return False
    return all(item.value in (0, 1) and item.weight == 1 for item in node.items)


def _clusters(node: Leaf) -> list[tuple[float, float]]:
    sums: dict[str, tuple[float, float]] = {}
    for item in node.items:
        value, weight = sums.get(item.cluster, (0.0, 0.0))
        sums[item.cluster] = (value + item.weight * item.value, weight + item.weight)
    return list(sums.values())


def _estimate(node: Node) -> _Estimate | None:
    if isinstance(node, Leaf):
        return _of_items(node.items) if node.items else None
    parts = [(weight, _estimate(part)) for weight, part in node.parts]
    there = [(weight, part) for weight, part in parts if part is not None]
    if len(there) < len(parts):
        return None
    total = sum(weight for weight, _ in there)
    covered = [(weight, part.covered_accuracy) for weight, part in there if part.covered_accuracy is not None]
    return _Estimate(
        value=sum(weight * part.value for weight, part in there) / total,
        strict=sum(weight * part.strict for weight, part in there) / total,
        covered_accuracy=sum(w * share for w, share in covered) / total if len(covered) == len(there) else None,
        n=sum(part.n for _, part in there),
        covered=sum(part.covered for _, part in there),
        clusters=sum(part.clusters for _, part in there),
    )


def _of_items(items: Sequence[Item]) -> _Estimate:
    total = sum(item.weight for item in items)
    right = sum(item.weight for item in items if item.right)
    covered = sum(item.weight for item in items if item.covered)
    return _Estimate(
        value=sum(item.weight * item.value for item in items) / total,
        strict=right / total,
        covered_accuracy=right / covered if covered else None,
        n=len(items),
        covered=sum(item.covered for item in items),
        clusters=len({item.cluster for item in items}),
    )
