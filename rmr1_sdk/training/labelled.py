"""Pairs that a judge is to learn from."""

from collections import Counter
from pathlib import Path

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.training.held_out import read_held_out
from rmr1_sdk.types import Pair

__all__ = ["read_labelled"]


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
