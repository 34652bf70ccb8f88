"""Parity: does a GGUF file judge as its checkpoint does?"""

from collections.abc import Sequence
from pathlib import Path

from rmr1_sdk.judge import Judge
from rmr1_sdk.statistics.intervals import Interval, Share, bootstrap, percentiles, share
from rmr1_sdk.training.data.held_out import HeldOut, picks
from rmr1_sdk.types import Judgment, Pair, Value

__all__ = ["Difference", "Parity", "judged", "parity"]


class Difference(Value):
    """A difference of shares with its 95% interval, each from -1 to 1."""

    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return Interval(self.share, self.low, self.high).text("points")


class Parity(Value):
    """Agreement of a file with its checkpoint, over the same pairs in both orders.

    `agreement` is the share of readings in which both name the same side; one that either cannot read is none. Its
    interval is as wide as if both readings of a pair were always alike.
    `difference` is the file's accuracy less the checkpoint's, by a paired bootstrap over pairs; where nothing differed,
    its interval has no width, and `agreement` says how much may.
    """

    held_out: HeldOut
    agreement: Share
    difference: Difference


def judged(spec: str, pairs: Sequence[Pair], store: Path) -> list[Judgment]:
    """Judgments as HeldOut wants them, with the prompt that the model itself names."""
    with Judge(spec, store=store, force_verdict=False, ask_again=False) as judge:
        return list(judge.compare_many(pairs))


def parity(pairs: Sequence[Pair], of_checkpoint: Sequence[Judgment], of_file: Sequence[Judgment]) -> Parity:
    """Compare judgments of the same pairs, in the same order."""
    same = sum(
        side is not None and side == picks(theirs)[shown]
        for ours, theirs in zip(of_file, of_checkpoint, strict=True)
        for shown, side in picks(ours).items()
    )
    agreement = share(same / 2, len(pairs))
    assert agreement
    rights = [_right(pairs, judgments) for judgments in (of_file, of_checkpoint)]
    ours, theirs = ([(right, 2.0) for right in each] for each in rights)
    draws = [one - other for one, other in zip(bootstrap(ours), bootstrap(theirs), strict=True)]
    gap = percentiles((sum(rights[0]) - sum(rights[1])) / (2 * len(pairs)), draws)
    return Parity(held_out=HeldOut.of(pairs, of_file), agreement=agreement, difference=Difference(**gap._asdict()))


def _right(pairs: Sequence[Pair], judgments: Sequence[Judgment]) -> list[float]:
    """Number of readings of each pair that name the better answer."""
    both = zip(pairs, judgments, strict=True)
    return [float(sum(side == pair.label for side in picks(judgment).values())) for pair, judgment in both]
