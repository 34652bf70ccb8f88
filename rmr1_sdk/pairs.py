"""Files of pairs, or of lists of answers: one JSON object a line, with the fields of Pair or AnswerList."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

from pydantic import Field, ValidationError

from rmr1_sdk.errors import ConfigError, DataError
from rmr1_sdk.types import Conversation, Pair, Rubric, Value

__all__ = [
    "AnchoredList",
    "AnswerList",
    "Fault",
    "Rows",
    "fault",
    "json_object",
    "read_lists",
    "read_pairs",
    "validated",
]


class AnswerList(Value):
    """A question and two or more answers to it; `reference` and `rubric` as in a Pair, `anchor` to compare with."""

    question: Conversation
    answers: Annotated[tuple[Conversation, ...], Field(min_length=2)]
    id: str | None = None
    anchor: Conversation | None = None
    reference: str | None = None
    rubric: Rubric | str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class AnchoredList(AnswerList):
    """An AnswerList that has its anchor."""

    anchor: Conversation


Row = TypeVar("Row", Pair, AnswerList, AnchoredList)
V = TypeVar("V", bound=Value)


class Rows(NamedTuple, Generic[Row]):
    """The rows of a file, in order, and an error for every line that is not one."""

    rows: list[Row]
    bad: list[DataError]


def read_pairs(path: Path, *, fields: Mapping[str, str] | None = None) -> Rows[Pair]:
    """Read a JSONL file of pairs; a pair without an `id` gets its line number. Empty lines are skipped.

    `fields` says where the file has other names: {"question": "prompt"}. Then fields that are none of
    ours go to the pair's metadata; without it they make a line bad, since they may be a slip.

    Raises ConfigError when the file cannot be read.
    """
    return _read(path, Pair, fields or {})


def read_lists(path: Path, *, anchored: bool = False, fields: Mapping[str, str] | None = None) -> Rows[AnswerList]:
    """Read a JSONL file of lists of answers, as `read_pairs` does. `anchored` lines must have an anchor."""
    return _read(path, AnchoredList if anchored else AnswerList, fields or {})


def _read(path: Path, kind: type[Row], fields: Mapping[str, str]) -> Rows[Row]:
    rows: list[Row] = []
    bad: list[DataError] = []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = _row(line, kind, fields)
        except ValueError as error:
            bad.append(DataError(str(error), path=path, line=number))
        else:
            rows.append(row if row.id is not None else row.model_copy(update={"id": str(number)}))
    return Rows(rows, bad)


def _row(line: bytes, kind: type[Row], fields: Mapping[str, str]) -> Row:
    row = json_object(line)
    try:
        return validated(_renamed(row, kind, fields) if fields else row, kind, fields)
    except _UnknownField as error:
        raise ValueError(f"{error}; the line has {', '.join(row)}. --field OURS=THEIRS says which is which") from error


def json_object(line: bytes) -> dict[str, Any]:
    """The JSON object that a line holds. Raises ValueError, with what is wrong, where it holds none."""
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 ({error})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not a whole JSON object ({error.msg} at column {error.colno})") from error
    if not isinstance(row, dict):
        raise ValueError(f"a line is a JSON object, not {type(row).__name__}")
    return row


class _UnknownField(ValueError):
    """A field is missing, or one is there that is none of ours."""


def validated(row: Mapping[str, Any], kind: type[V], fields: Mapping[str, str] | None = None) -> V:
    """The row as a value of this kind.

    `fields` says what its author calls our fields. Raises ValueError, which names the author's field, where it
    is not of this kind.
    """
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        first = fault([(e["loc"], e["type"], e["msg"]) for e in error.errors(include_url=False)])
        name, dot, inside = first.field.partition(".")
        kind_of = _UnknownField if first.kind in ("missing", "extra_forbidden") else ValueError
        raise kind_of(f"field {(fields or {}).get(name, name)}{dot}{inside}: {first.message}") from error


class Fault(NamedTuple):
    """What is wrong with a value: where, and pydantic's kind of error and its message."""

    field: str
    kind: str
    message: str


def fault(errors: Sequence[tuple[tuple[int | str, ...], str, str]]) -> Fault:
    """The first fault of several, each with pydantic's location, kind and message.

    Of the alternatives that a field may be, it is the fault of the one that came furthest.
    """
    own = [each for each in errors if each[0][:1] == errors[0][0][:1]]
    location, kind, message = max(own, key=lambda each: len(each[0]))
    return Fault(_field(location), kind, message)


def _renamed(row: dict[str, Any], kind: type[Value], fields: Mapping[str, str]) -> dict[str, Any]:
    ours = {name: row[theirs] for name in kind.model_fields if (theirs := fields.get(name, name)) in row}
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
