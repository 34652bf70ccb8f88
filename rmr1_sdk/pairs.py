"""Files of pairs: one JSON object a line, with the fields of Pair."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from rmr1_sdk.errors import ConfigError, DataError
from rmr1_sdk.types import Pair

__all__ = ["PairFile", "read_pairs"]


class PairFile(NamedTuple):
    """The pairs of a file, in order, and an error for every line that is not one."""

    pairs: list[Pair]
    bad: list[DataError]


def read_pairs(path: Path, *, fields: Mapping[str, str] | None = None) -> PairFile:
    """Read a JSONL file of pairs; a pair without an `id` gets its line number. Empty lines are skipped.

    `fields` says where the file has other names: {"question": "prompt"}. Then fields that are none of
    ours go to the pair's metadata; without it they make a line bad, since they may be a slip.

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
            pair = _pair(line, fields or {})
        except ValueError as error:
            bad.append(DataError(str(error), path=path, line=number))
        else:
            pairs.append(pair if pair.id is not None else pair.model_copy(update={"id": str(number)}))
    return PairFile(pairs, bad)


def _pair(line: bytes, fields: Mapping[str, str]) -> Pair:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 ({error})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not a whole JSON object ({error.msg} at column {error.colno})") from error
    if not isinstance(row, dict):
        raise ValueError(f"a pair is a JSON object, not {type(row).__name__}")
    try:
        return Pair.model_validate(_renamed(row, fields) if fields else row)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # of the alternatives that a field may be, the one that came furthest
        first = max((e for e in errors if e["loc"][0] == errors[0]["loc"][0]), key=lambda e: len(e["loc"]))
        name = _field(first["loc"])
        hint = ""
        if first["type"] in ("missing", "extra_forbidden"):
            hint = f"; the line has {', '.join(row)}. --field OURS=THEIRS says which is which"
        raise ValueError(f"field {fields.get(name, name)}: {first['msg']}{hint}") from error


def _renamed(row: dict[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    ours = {name: row[theirs] for name in Pair.model_fields if (theirs := fields.get(name, name)) in row}
    taken = {fields.get(name, name) for name in ours}
    rest = {name: value for name, value in row.items() if name not in taken}
    given = ours.get("metadata", {})
    return {**ours, "metadata": rest | given if isinstance(given, dict) else given}


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
