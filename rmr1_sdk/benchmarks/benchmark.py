"""A benchmark: its pairs, its protocol and its scores."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Literal, get_args

from rmr1_sdk.benchmarks.figures import Estimator, Graded, Node, Worth, grade
from rmr1_sdk.benchmarks.rows import Hub, Raw
from rmr1_sdk.benchmarks.scores import Comparison, Difference, Scores, agreements, budget_curve, calibration, two_orders
from rmr1_sdk.errors import ConfigError, DataError, unknown
from rmr1_sdk.hashing import digest
from rmr1_sdk.statistics.intervals import mcnemar, percentiles
from rmr1_sdk.types import Judgment, Pair, Sampling

__all__ = ["PROFILES", "RMR1_COMPAT", "Benchmark", "Entry", "Profile", "Protocol", "count_units"]

Profile = Literal["official", "rmr1_compat"]
PROFILES: tuple[Profile, ...] = get_args(Profile)


@dataclass(frozen=True)
class Protocol:
    """Protocol of a benchmark: how pairs are shown, sampled and scored.

    Attributes:
        orders: what `Judge(orders=...)` is given.
        worth: what ties and unreadable verdicts count.
        sampling: what `Judge(sampling=...)` is given; None leaves it to the prompt, greedy for one vote.
        published_prompt: ask with the published texts as they are, read with RM-R1's own rule, and never ask again.
    """

    orders: Literal["both", "given", "random"]
    worth: Worth
    sampling: Sampling | None = None
    published_prompt: bool = False

    def __str__(self) -> str:
        order = {
            "both": "both orders",
            "given": "one order, as the pairs stand",
            "random": "one order, drawn by the judge's seed",
        }[self.orders]
        sampling = "greedy" if self.sampling is None else f"greedy, at most {self.sampling.max_tokens:,} tokens"
        prompt = ", the published prompt and RM-R1's rule of reading" if self.published_prompt else ""
        return f"{order}; {sampling}{prompt}; {self.worth}"


RMR1_COMPAT = Protocol(
    orders="given",
    worth=Worth(tie=0.5, unreadable=0.0),
    sampling=Sampling(max_tokens=50_000, temperature=0, top_p=1, stop=()),
    published_prompt=True,
)
"""RM-R1's evaluation: one greedy reading in an order drawn once, no verdict is 0."""


@dataclass(frozen=True)
class Entry:
    """One benchmark of the table.

    Attributes:
        title: its name as its authors write it.
        source: where its files are from.
        make: rows to pairs; what a scorer or the table needs stands in a pair's metadata: its `subset`, and a `unit`
            where several pairs are judged or drawn as one.
        nodes: graded pairs to what is shown, the figure that the benchmark is known by first.
        official: how its authors judge.
        files: what its files are called in a folder, the first pattern that finds any.
        hub: where `datasets` finds it; None where it is no data set of the hub.
        counts: units by subset, where each has a size of its own.
        total: units in all, where only that is known.
    """

    name: str
    title: str
    source: str
    make: Callable[[Iterable[Raw]], Iterator[Pair]]
    nodes: Callable[[Sequence[Graded], Profile], list[Node]]
    official: Protocol
    files: tuple[str, ...] = ("*.jsonl", "*.json", "*.jsonl.gz", "*.parquet")
    hub: Hub | None = None
    counts: Mapping[str, int] | None = None
    total: int | None = None

    def protocol(self, profile: Profile) -> Protocol:
        """Protocol of a profile. Raises ConfigError for an unknown one."""
        if profile not in PROFILES:
            raise unknown("profile", profile, PROFILES)
        return self.official if profile == "official" else RMR1_COMPAT


@dataclass(frozen=True)
class Benchmark:
    """Pairs whose better side is known, and how judgments of them are scored. `load` makes one."""

    entry: Entry
    items: tuple[Pair, ...] = field(repr=False)
    data_sha256: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in the table."""
        return self.entry.name

    def pairs(self) -> Iterator[Pair]:
        """The pairs, in the order of the file. Chosen answers stand on either side, the same in every run."""
        return iter(self.items)

    def protocol(self, profile: Profile = "official") -> Protocol:
        """Protocol of a profile."""
        return self.entry.protocol(profile)

    def sample(self, pairs: int, seed: int = 0) -> "Benchmark":
        """About this many pairs, from each subset its share and at least one unit while there is room.

        What belongs together (the nine pairs of a prompt of RM-Bench, the duels of a list) is drawn as one, so there
        may be a few fewer. `notes` then say how much wider intervals are than over all pairs. Raises ConfigError
        where not even one unit fits.
        """
        if pairs >= len(self.items):
            return self
        units: dict[tuple[str, str], list[Pair]] = {}
        for pair in self.items:
            units.setdefault((_subset(pair), _unit(pair)), []).append(pair)
        sizes = Counter(subset for subset, _ in units)
        drawn: Counter[str] = Counter()
        places = []
        for subset, unit in sorted(units, key=lambda key: digest(seed, *key)):
            places.append((drawn[subset] / sizes[subset], digest(seed, subset), unit, subset))
            drawn[subset] += 1
        taken: set[str] = set()
        for _, _, unit, subset in sorted(places):  # every subset's first, then by how much of each is drawn
            if len(taken) + len(units[subset, unit]) <= pairs:
                taken |= {str(pair.id) for pair in units[subset, unit]}
        if not taken:
            raise ConfigError(f"{pairs} pairs are fewer than what belongs together in {self.name}")
        wider = sqrt(len(self.items) / len(taken))
        note = (
            f"{len(taken):,} of {len(self.items):,} pairs, drawn by subset with seed {seed}: "
            f"intervals are about {wider:.1f} times as wide as over all pairs"
        )
        return replace(self, items=tuple(p for p in self.items if p.id in taken), notes=(*self.notes, note))

    def score(self, judgments: Iterable[Judgment], profile: Profile = "official", *, seed: int = 0) -> Scores:
        """Score judgments of these pairs; `seed` is the bootstrap's.

        Pairs without a judgment are left out and counted, and a figure that needs a subset of which nothing was
        judged is left out. Raises DataError for judgments of other pairs, or two of one.
        """
        graded = self._graded(judgments, profile)
        if not graded:
            raise DataError(f"no judgments of {self.name} to score")
        notes = list(self.notes)
        if len(graded) < len(self.items):
            notes.append(f"{len(graded):,} of {len(self.items):,} pairs were judged")
        estimator = Estimator(seed)
        model, prompt = _made_by(graded)
        found = [(node.name, estimator.figure(node)) for node in self.entry.nodes(graded, profile)]
        if missing := [name for name, figure in found if figure is None]:
            notes.append(f"left out, since not all of it was judged: {', '.join(missing)}")
        return Scores(
            benchmark=self.name,
            profile=profile,
            protocol=str(self.protocol(profile)),
            model=model,
            prompt=prompt,
            pairs=len(self.items),
            judged=len(graded),
            ties=sum(one.outcome == "tie" for one in graded),
            unreadable=sum(not one.covered for one in graded),
            figures=tuple(figure for _, figure in found if figure),
            position=two_orders(graded, estimator),
            calibration=calibration(graded, estimator),
            agreement=agreements(graded, model or "judge", estimator),
            budget=budget_curve(graded),
            notes=tuple(notes),
        )

    def compare(
        self, first: Iterable[Judgment], second: Iterable[Judgment], profile: Profile = "official", *, seed: int = 0
    ) -> Comparison:
        """The first judge less the second, over the pairs that both judged.

        Raises DataError as `score` does, and where there are no such pairs.
        """
        both = [self._graded(judgments, profile) for judgments in (first, second)]
        common = {one.pair.id for one in both[0]} & {one.pair.id for one in both[1]}
        one, other = ([graded for graded in judge if graded.pair.id in common] for judge in both)
        if not common:
            raise DataError(f"the two judged no pair of {self.name} both")
        estimators = Estimator(seed), Estimator(seed)
        trees = zip(self.entry.nodes(one, profile), self.entry.nodes(other, profile), strict=True)
        differences = (_difference(estimators, nodes) for nodes in trees)
        gained = sum(a.right and not b.right for a, b in zip(one, other, strict=True))
        lost = sum(b.right and not a.right for a, b in zip(one, other, strict=True))
        return Comparison(
            first=_made_by(one)[0],
            second=_made_by(other)[0],
            n=len(common),
            differences=tuple(difference for difference in differences if difference),
            only_first=gained,
            only_second=lost,
            p=mcnemar(gained, lost),
        )

    def _graded(self, judgments: Iterable[Judgment], profile: Profile) -> list[Graded]:
        """The judgments beside their pairs, in the order of the pairs."""
        worth = self.protocol(profile).worth
        there = {pair.id for pair in self.items}
        by_pair: dict[str | None, Judgment] = {}
        for judgment in judgments:
            if judgment.pair_id not in there:
                raise DataError(f"a judgment is of pair {judgment.pair_id!r}, which is none of {self.name}'s here")
            if judgment.pair_id in by_pair:
                raise DataError(f"two judgments are of pair {judgment.pair_id!r}")
            by_pair[judgment.pair_id] = judgment
        return [grade(pair, by_pair[pair.id], worth) for pair in self.items if pair.id in by_pair]


def _difference(estimators: tuple[Estimator, Estimator], nodes: tuple[Node, Node]) -> Difference | None:
    """One node of two judges; None where a part of it was not judged."""
    first, second = (estimator.figure(node) for estimator, node in zip(estimators, nodes, strict=True))
    if first is None or second is None:
        return None
    draws = zip(*(estimator.draws(node) for estimator, node in zip(estimators, nodes, strict=True)), strict=True)
    by = percentiles(first.value - second.value, [one - other for one, other in draws])
    return Difference(
        name=first.name, first=first.value, second=second.value, difference=by.share, low=by.low, high=by.high
    )


def _subset(pair: Pair) -> str:
    return str(pair.metadata.get("subset", ""))


def _unit(pair: Pair) -> str:
    return str(pair.metadata.get("unit", pair.id))


def count_units(pairs: Iterable[Pair]) -> Counter[str]:
    """Number of units in each subset."""
    return Counter(subset for subset, _ in {(_subset(pair), _unit(pair)) for pair in pairs})


def _made_by(graded: Sequence[Graded]) -> tuple[str, str]:
    """The model and prompt of the judgments; several are joined."""
    return (
        " + ".join(sorted({one.judgment.model for one in graded})),
        " + ".join(sorted({one.judgment.prompt for one in graded})),
    )
