"""Files of pairs: one JSON object a line, with the fields of Pair."""

import json
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from rmr1_sdk.errors import ConfigError, DataError
from rmr1_sdk.types import Pair

__all__ = ["PairFile", "read_pairs"]


class PairFile(NamedTuple):
    """The pairs of a file, in order, and an error for every line that is not one."""

    pairs: list[Pair]
    bad: list[DataError]


def read_pairs(path: Path) -> PairFile:
    """Read a JSONL file of pairs; a pair without an `id` gets its line number. Empty lines are skipped.

    Raises ConfigError when the file cannot be read.
    """
    pairs: list[Pair] = []
    bad: list[DataError] = []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            pair = _pair(line)
        except ValueError as error:
            bad.append(DataError(str(error), path=path, line=number))
        else:
            pairs.append(pair if pair.id is not None else pair.model_copy(update={"id": str(number)}))
    return PairFile(pairs, bad)


def _pair(line: bytes) -> Pair:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 ({error})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not a whole JSON object ({error.msg} at column {error.colno})") from error
    if not isinstance(row, dict):
        raise ValueError(f"a pair is a JSON object, not {type(row).__name__}")
    try:
        return Pair.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"field {_field(first['loc'])}: {first['msg']}") from error


def _field(location: tuple[int | str, ...]) -> str:
    # the alternatives of a union ("str", "tuple[...]") stand in pydantic's location and mean nothing to a user
    return (
        ".".join(
            str(part)
            for part in location
            if not (isinstance(part, str) and part.startswith(("str", "tuple", "function")))
        )
        or "?"
    )
