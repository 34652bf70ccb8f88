"""Files of pairs whose better answer is known."""

from collections import Counter
from pathlib import Path

from rmr1_sdk.errors import ConfigError, DataError
from rmr1_sdk.pairs import read_pairs
from rmr1_sdk.types import Pair

__all__ = ["read_labelled"]


def read_labelled(path: Path) -> list[Pair]:
    """The pairs of a file that a judge is to learn from.

    Raises ConfigError where it cannot be read, and where most pairs have the same label, which is what would be
    learned; DataError at a line without a better answer.
    """
    pairs, bad = read_pairs(path)
    if bad:
        raise bad[0]
    if not pairs:
        raise DataError("there are no pairs in this file", path=path)
    for pair in pairs:
        if pair.label not in ("A", "B"):
            raise DataError(f"pair {pair.id}: the label is {pair.label}, and A or B is needed", path=path)
        if pair.is_identical:
            raise DataError(f"pair {pair.id}: both answers are the same", path=path)
    counts = Counter(pair.label for pair in pairs)
    if len(pairs) >= 20 and min(counts["A"], counts["B"]) < 0.4 * len(pairs):
        raise ConfigError(
            f"{path}: the better answer is A in {counts['A']} of {len(pairs)} pairs, and a judge would learn that; "
            "`rmr1 train data` evens the sides out"
        )
    return pairs
