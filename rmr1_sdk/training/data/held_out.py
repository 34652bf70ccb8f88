"""Evaluation on held-out pairs, whose better answer is known."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rmr1_sdk.errors import ConfigError, DataError
from rmr1_sdk.files.pairs import read_pairs
from rmr1_sdk.statistics.intervals import Share, share
from rmr1_sdk.types import Judgment, Outcome, Pair, Shown, Value, Verdict

__all__ = ["HeldOut", "picks", "read_held_out", "read_labelled"]


class HeldOut(Value):
    """Figures over pairs that were asked about in both orders, one reading each.

    `accuracy` is the share of readings that name the better answer; one that cannot be read does not. `both_right` is
    the share of pairs on which both readings do. `readable` is the share of readings that can be read, and `first` the
    share of these that name what was shown first. `consistent` is the share of pairs that were read in both orders on
    which both readings name the same answer, and `quotes_found` that of quotes that are in the answer they are from.
    `cut` is the share of readings whose text ended before there was a verdict: at the most tokens, or in thought.

    Intervals are Wilson's at 95%. That of `accuracy` is as wide as if both readings of a pair were always alike.
    """

    accuracy: Share
    both_right: Share
    readable: Share
    first: Share | None
    consistent: Share | None
    quotes_found: Share | None
    cut: Share | None = None

    @classmethod
    def of(cls, pairs: Sequence[Pair], judgments: Sequence[Judgment]) -> "HeldOut":
        """Statistics of judgments of these pairs, in the same order."""
        read = [picks(judgment) for judgment in judgments]
        right = [sum(pick == pair.label for pick in both.values()) for pair, both in zip(pairs, read, strict=True)]
        named = [(shown, pick) for both in read for shown, pick in both.items() if pick]
        readings = 2 * len(pairs)
        alike = [both["AB"] == both["BA"] for both in read if None not in both.values()]
        quotes = [quote for judgment in judgments for quote in _quotes(judgment)]
        return cls(
            accuracy=_share(sum(right) / 2, len(pairs)),
            both_right=_share(right.count(2), len(pairs)),
            readable=_share(len(named), readings),
            first=share(sum(shown[0] == pick for shown, pick in named), len(named)),
            consistent=share(sum(alike), len(alike)),
            quotes_found=share(sum(quotes), len(quotes)),
            cut=_share(sum(_is_cut(verdict) for each in judgments for verdict in each.verdicts), readings),
        )

    def __str__(self) -> str:
        return f"accuracy {self.accuracy}, both orders {self.both_right}, readable {self.readable}"


def picks(judgment: Judgment) -> dict[Shown, Outcome | None]:
    """The side, or the tie, that each order's reading names, None where it cannot be read."""
    read: dict[Shown, Verdict] = {verdict.shown: verdict for verdict in judgment.verdicts}
    return {shown: read[shown].winner for shown in ("AB", "BA")}


def _is_cut(verdict: Verdict) -> bool:
    return verdict.failure is not None and verdict.failure.kind in ("truncated", "unclosed_thinking")


def _quotes(judgment: Judgment) -> list[bool]:
    """For each quote that was looked up, True where it was found in its answer."""
    cited = [citation for verdict in judgment.verdicts for citation in verdict.citations]
    return [citation.found for citation in cited if citation.kind == "quote" and citation.found is not None]


def _share(successes: float, trials: int) -> Share:
    """A share of something that is there."""
    found = share(successes, trials)
    assert found
    return found


def read_held_out(path: Path) -> list[Pair]:
    """The pairs of a file. Raises ConfigError where it cannot be read, DataError at a line without a better answer."""
    pairs, bad = read_pairs(path)
    if bad:
        raise bad[0]
    if not pairs:
        raise DataError("no pairs in this file", path=path)
    for pair in pairs:
        if pair.label not in ("A", "B") or pair.is_identical:
            raise DataError(f"pair {pair.id} has no better answer; label pairs A or B", path=path)
    return pairs


def read_labelled(path: Path) -> list[Pair]:
    """The pairs of a file.

    Raises what `read_held_out` raises, and ConfigError where most pairs have the same label: that is what a judge would
    learn.
    """
    pairs = read_held_out(path)
    counts = Counter(pair.label for pair in pairs)
    if len(pairs) >= 20 and min(counts["A"], counts["B"]) < 0.4 * len(pairs):
        raise ConfigError(
            f"{path}: the better answer is A in {counts['A']} of {len(pairs)} pairs, and a judge would learn that; "
            "`rmr1 train data` evens the sides out"
        )
    return pairs
