"""A small judge first, a larger one only where the small one is unsure: `python examples/escalation.py SMALL LARGE`."""

import sys
from pathlib import Path

from rmr1_sdk import Judge, Judgment, Pair
from rmr1_sdk.files.pairs import read_pairs


def is_unsure(judgment: Judgment, margin: float) -> bool:
    """Whether there is no clear winner: none or a tie, orders that disagree, or p_a within `margin` of 0.5."""
    if judgment.winner not in ("A", "B") or judgment.position_consistent is False:
        return True
    return judgment.p_a is not None and abs(judgment.p_a - 0.5) < margin


def escalate(pair: Pair, small: Judge, large: Judge, margin: float = 0.2) -> Judgment:
    """The small judge's judgment, or the large one's where the small one is unsure.

    Two judgments of different models are not averaged: `judgment.model` says whose it is. Identical answers are
    a tie that nobody needs to be asked about.
    """
    first = small.compare(pair)
    return large.compare(pair) if is_unsure(first, margin) and not pair.is_identical else first


def main(small_model: str, large_model: str) -> None:
    """Judge the pairs of pairs.jsonl, and say which judge decided each."""
    pairs = read_pairs(Path(__file__).parent / "pairs.jsonl").rows
    with Judge(small_model, sampling={"max_tokens": 256}) as small, Judge(large_model) as large:
        for pair in pairs:
            judgment = escalate(pair, small, large)
            print(f"{pair.id}: {judgment.winner}, says {judgment.model}")


if __name__ == "__main__":
    main(*sys.argv[1:])
