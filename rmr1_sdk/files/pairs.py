"""Files of pairs, or of lists of answers, with the fields of Pair or AnswerList; see `files.read_rows` for the formats.

All but JSON is read as a stream.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

from pydantic import Field, ValidationError

from rmr1_sdk.errors import DataError, file_errors
from rmr1_sdk.files.rows import json_object, kind_of, read_rows
from rmr1_sdk.types import Conversation, Pair, Rubric, Value

__all__ = [
    "AnchoredList", "AnswerList", "Fault", "PairFile", "Rows", "fault", "read_lists", "read_pairs", "scan_pairs",
    "validated",
]  # fmt: skip


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
    """Read a file of pairs; a pair without an `id` gets the number of its line (in Parquet, of its row).

    The name's ending says the format, see `files.read_rows`; any other is JSONL. `fields` says where the file has
    other names: {"question": "prompt"}. Then fields that are none of ours go to the pair's metadata; without it
    they make a line bad, since they may be a slip. Empty lines and null values of Parquet are as if they were not
    there. In CSV the answers are text, `metadata` is a JSON object, and an empty cell is an empty text for
    `question`, `a` and `b`, and nothing for the others.

    Raises ConfigError when the file cannot be read, and DataError when it is not what its name says.
    """
    return _split(_read(path, Pair, fields or {}))


def read_lists(path: Path, *, anchored: bool = False, fields: Mapping[str, str] | None = None) -> Rows[AnswerList]:
    """Read a file of lists of answers, as `read_pairs` does. `anchored` lines must have an anchor."""
    return _split(_read(path, AnchoredList if anchored else AnswerList, fields or {}))


@dataclass(frozen=True)
class PairFile:
    """A file of pairs that was checked, and is never whole in memory: every iteration reads it from the start.

    Bad lines are left out and stand in `bad`. Iterating raises DataError when the file changed since.
    """

    path: Path
    fields: Mapping[str, str]
    rows: int
    bad: tuple[DataError, ...]
    limit: int | None
    state: tuple[int, int]

    def __len__(self) -> int:
        return self.rows if self.limit is None else min(self.limit, self.rows)

    def __iter__(self) -> Iterator[Pair]:
        pairs = (row for row in _read(self.path, Pair, self.fields) if isinstance(row, Pair))
        yield from islice(pairs, self.limit)
        if _state(self.path) != self.state:
            raise DataError("the file changed while it was judged", path=self.path)


def scan_pairs(path: Path, *, fields: Mapping[str, str] | None = None, limit: int | None = None) -> PairFile:
    """Read a file of pairs once, as `read_pairs` does, and keep what was bad and how many were not.

    All lines are checked, also where only the first `limit` pairs are asked for.
    """
    state = _state(path)
    rows, bad = 0, []
    for row in _read(path, Pair, fields or {}):
        if isinstance(row, DataError):
            bad.append(row)
        else:
            rows += 1
    return PairFile(path, fields or {}, rows, tuple(bad), limit, state)


def _state(path: Path) -> tuple[int, int]:
    with file_errors(path):
        found = path.stat()
    return found.st_size, found.st_mtime_ns


def _split(found: Iterator[Row | DataError]) -> Rows[Row]:
    rows: list[Row] = []
    bad: list[DataError] = []
    for row in found:
        if isinstance(row, DataError):
            bad.append(row)
        else:
            rows.append(row)
    return Rows(rows, bad)


def _read(path: Path, kind: type[Row], fields: Mapping[str, str]) -> Iterator[Row | DataError]:
    """Every row of a file, or what is wrong with it."""
    given = _GIVEN.get(kind_of(path))
    for number, row in read_rows(path, default=".jsonl"):
        try:
            if isinstance(row, ValueError):
                raise row
            value = _row(given(row, fields) if given else row, kind, fields)
        except ValueError as error:
            yield DataError(str(error), path=path, line=number)
        else:
            yield value if value.id is not None else value.model_copy(update={"id": str(number)})


def _row(row: dict[str, Any], kind: type[Row], fields: Mapping[str, str]) -> Row:
    try:
        return validated(_renamed(row, kind, fields) if fields else row, kind, fields)
    except _UnknownField as error:
        raise ValueError(f"{error}; the line has {', '.join(row)}. --field OURS=THEIRS says which is which") from error


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
    """Error of a value: its place, pydantic's kind of error, and the message."""

    field: str
    kind: str
    message: str


def fault(errors: Sequence[tuple[tuple[int | str, ...], str, str]]) -> Fault:
    """The first fault of several, each with pydantic's location, kind and message.

    Of the alternatives that a field may be, it is the fault of the one that came furthest.
    """
    own = [each for each in errors if each[0][:1] == errors[0][0][:1]]
    location, kind, message = max(own, key=lambda each: len(each[0]))
    return Fault(_field(location), kind, message.removeprefix("Value error, "))


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


def _given_in_csv(row: dict[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """An answer may be empty; another field that is empty is not there, and metadata is JSON."""
    optional = {fields.get(name, name) for name in ("id", "label", "reference", "rubric", "metadata")}
    given = {name: cell for name, cell in row.items() if cell or name not in optional}
    metadata = fields.get("metadata", "metadata")
    if metadata in given:
        try:
            given[metadata] = json_object(given[metadata].encode())
        except ValueError as error:
            raise ValueError(f"field {metadata}: {error}") from error
    return given


def _given_in_parquet(row: dict[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


Given = Callable[[dict[str, Any], Mapping[str, str]], dict[str, Any]]
_GIVEN: dict[str, Given] = {".csv": _given_in_csv, ".parquet": _given_in_parquet}
"""Fields of a row that have a value, in files that have every field in every row."""
