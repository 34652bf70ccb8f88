"""Audit context: the judge, its pairs, and the judgments made so far."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

from rmr1_sdk.audit.attacks import HARMLESS, Attack
from rmr1_sdk.audit.values import Finding
from rmr1_sdk.benchmarks.figures import Estimator, cluster, rate
from rmr1_sdk.hashing import digest
from rmr1_sdk.judge import Judge
from rmr1_sdk.judging import voting
from rmr1_sdk.progress import bar_if
from rmr1_sdk.statistics.intervals import Interval, wilson
from rmr1_sdk.types import OTHER, Judgment, Outcome, Pair, Shown, Side, Verdict

__all__ = ["AuditContext", "Baseline", "Target", "Trial", "worse"]

T = TypeVar("T")
_FEW = 10
"""Resampling fewer questions than these sees too little of how they differ: then an interval is Wilson's at least."""


class Baseline(NamedTuple):
    """A pair judged as it is, and the outcome of each order; None where that was unreadable."""

    pair: Pair
    judgment: Judgment
    ab: Outcome | None
    ba: Outcome | None

    @property
    def is_read(self) -> bool:
        """True where both orders were read."""
        return self.ab is not None and self.ba is not None

    @property
    def read(self) -> list[Verdict]:
        """The readings that name a side."""
        return [verdict for verdict in self.judgment.verdicts if verdict.winner]


class Target(NamedTuple):
    """A pair in the order in which it is to be shown, and the answer that is to be attacked."""

    pair: Pair
    side: Side


class Trial(NamedTuple):
    """An attack on a slot: `pair` is what the judge gets."""

    attack: Attack
    slot: Target
    pair: Pair


@dataclass
class AuditContext:
    """The judge shows pairs in both orders; `in_order` shows them as they are."""

    judge: Judge
    pairs: Sequence[Pair]
    tries: int
    seeds: int
    seed: int
    progress: bool = False
    readings: int = 0
    forced: int = 0
    unreadable: int = 0
    tokens: int = 0
    estimator: Estimator = field(init=False)

    def __post_init__(self) -> None:
        self.estimator = Estimator(self.seed)

    def ask(self, judge: Judge, pairs: Sequence[Pair], what: str) -> list[Judgment]:
        """The judgments of these pairs, with a bar that counts `what`."""
        judgments = []
        with bar_if(self.progress and bool(len(pairs)), len(pairs), doing=what) as advance:
            for judgment in judge.compare_many(pairs):
                judgments.append(judgment)
                self.readings += len(judgment.verdicts)
                self.forced += sum(verdict.forced for verdict in judgment.verdicts)
                self.unreadable += sum(not verdict.winner for verdict in judgment.verdicts)
                self.tokens += judgment.usage.total_tokens
                advance()
        return judgments

    @cached_property
    def in_order(self) -> Judge:
        """The judge, shown each pair once, as it is."""
        return self.judge.like(orders="given")

    @cached_property
    def clean(self) -> list[Baseline]:
        """The pairs as they are, judged in both orders."""
        judgments = self.ask(self.judge, self.pairs, "pairs")
        return [
            Baseline(pair, judgment, _outcome(judgment, "AB"), _outcome(judgment, "BA"))
            for pair, judgment in zip(self.pairs, judgments, strict=True)
        ]

    @cached_property
    def slots(self) -> list[Target]:
        """Every order of a pair in which the judge, left alone, was read and does not take the worse answer."""
        slots = []
        for pair, _, ab, ba in self.clean:
            side = worse(pair, self.seed)
            if ab not in (None, side):
                slots.append(Target(pair, side))
            if ba not in (None, side):
                slots.append(Target(pair.swapped(), OTHER[side]))
        return slots

    def drawn(self, items: Sequence[T], *names: str) -> list[T]:
        """At most `tries` of the items; which ones follows from the seed and the names."""
        places = sorted(range(len(items)), key=lambda place: digest(self.seed, *names, place))
        return [items[place] for place in sorted(places[: self.tries])]

    def trials(self, attacks: Sequence[Attack]) -> list[Trial]:
        """Each attack on slots of its own."""
        drawn = [(attack, slot) for attack in attacks for slot in self.drawn(self.slots, attack.family, attack.name)]
        return [Trial(attack, slot, attack.on(*slot)) for attack, slot in drawn]

    def moved(
        self, name: str, trials: Sequence[tuple[Trial, Judgment]], meaning: str = "", *, on_card: bool = False
    ) -> Finding:
        """Share of verdicts that moved to the attacked answer."""
        flags = [(trial.slot.pair, judged.winner == trial.slot.side) for trial, judged in trials if judged.winner]
        unreadable = len(trials) - len(flags)
        return self.share(name, flags, "tries", meaning, unreadable=unreadable, on_card=on_card)

    @cached_property
    def harmless(self) -> Finding:
        """Share of verdicts that move because of an added text that asks for nothing."""
        trials = self.trials(HARMLESS)
        judgments = self.ask(self.in_order, [trial.pair for trial in trials], "harmless texts")
        return self.moved(
            "harmless texts win",
            list(zip(trials, judgments, strict=True)),
            "verdicts that move to the worse answer when it only gets words that ask for nothing: what chance does",
            on_card=True,
        )

    def share(
        self,
        name: str,
        flags: Sequence[tuple[Pair, bool]],
        of: str,
        meaning: str = "",
        *,
        unreadable: int = 0,
        on_card: bool = False,
    ) -> Finding:
        """Share of items for which something holds. Pairs with the same question form one cluster."""
        found = self._interval(name, flags)
        return Finding(
            name=name,
            value=found.share if found else None,
            low=found.low if found else None,
            high=found.high if found else None,
            n=len(flags),
            of=of,
            unreadable=unreadable,
            meaning=meaning,
            on_card=on_card,
        )

    def _interval(self, name: str, flags: Sequence[tuple[Pair, bool]]) -> Interval | None:
        found = rate(name, flags, self.estimator)
        questions = len({cluster(pair) for pair, _ in flags})
        if found is None:
            return None
        low, high = found.low, found.high
        if questions < _FEW and (bounds := wilson(found.value * questions, questions)):
            low, high = min(low, bounds.low), max(high, bounds.high)
        return Interval(found.value, low, high)


def worse(pair: Pair, seed: int) -> Side:
    """The worse side; where no side is known to be, one that is drawn."""
    if pair.label in ("A", "B"):
        return OTHER[pair.label]
    return "AB"[digest(seed, pair.model_dump_json(include={"question", "a", "b"})) % 2]  # type: ignore[return-value]


def _outcome(judgment: Judgment, shown: Shown) -> Outcome | None:
    return voting.majority([verdict for verdict in judgment.verdicts if verdict.shown == shown])
