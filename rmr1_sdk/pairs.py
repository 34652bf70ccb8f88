"""Files of pairs, or of lists of answers, with the fields of Pair or AnswerList.

One JSON object a line, or by their suffix CSV (.csv) and Parquet (.parquet). All are read as streams.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

from pydantic import Field, ValidationError

from rmr1_sdk.errors import ConfigError, DataError, MissingExtraError
from rmr1_sdk.types import Conversation, Pair, Rubric, Value

__all__ = [
    "AnchoredList",
    "AnswerList",
    "PairFile",
    "Rows",
    "json_object",
    "read_lists",
    "read_pairs",
    "scan_pairs",
    "validated",
]

_ROWS = 256  # of Parquet, that are made into Python's values at once
_BUFFER = 1 << 20  # bytes of a column of Parquet that are read at once, however large its row group is


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


class Rows(NamedTuple, Generic[Row]):
    """The rows of a file, in order, and an error for every line that is not one."""

    rows: list[Row]
    bad: list[DataError]


def read_pairs(path: Path, *, fields: Mapping[str, str] | None = None) -> Rows[Pair]:
    """Read a file of pairs; a pair without an `id` gets the number of its line (in Parquet, of its row).

    `fields` says where the file has other names: {"question": "prompt"}. Then fields that are none of
    ours go to the pair's metadata; without it they make a line bad, since they may be a slip. Empty lines and
    null values of Parquet are as if they were not there. In CSV the answers are text, `metadata` is a JSON object,
    and an empty cell is an empty text for `question`, `a` and `b`, and nothing for the others.

    Raises ConfigError when the file cannot be read.
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
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
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
    read = _FORMATS.get(path.suffix.lower(), _lines)
    try:
        for number, make in read(path, fields):
            try:
                row = _row(make(), kind, fields)
            except ValueError as error:
                yield DataError(str(error), path=path, line=number)
            else:
                yield row if row.id is not None else row.model_copy(update={"id": str(number)})
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error


def _row(row: dict[str, Any], kind: type[Row], fields: Mapping[str, str]) -> Row:
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


def validated(row: Mapping[str, Any], kind: type[Row], fields: Mapping[str, str] | None = None) -> Row:
    """The row as a value of this kind.

    `fields` says what its author calls our fields. Raises ValueError, which names the author's field, where it
    is not of this kind.
    """
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # of the alternatives that a field may be, the one that came furthest
        first = max((e for e in errors if e["loc"][0] == errors[0]["loc"][0]), key=lambda e: len(e["loc"]))
        name, dot, inside = _field(first["loc"]).partition(".")
        kind_of = _UnknownField if first["type"] in ("missing", "extra_forbidden") else ValueError
        raise kind_of(f"field {(fields or {}).get(name, name)}{dot}{inside}: {first['msg']}") from error


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


Numbered = Iterator[tuple[int, Callable[[], dict[str, Any]]]]
"""The number of each row, from 1, and what gives its fields or raises ValueError."""


def _lines(path: Path, fields: Mapping[str, str]) -> Numbered:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, partial(json_object, line.rstrip(b"\r\n"))


def _csv(path: Path, fields: Mapping[str, str]) -> Numbered:
    csv.field_size_limit(2**31 - 1)  # the default, 131,072 characters, is too short for some answers
    # bytes that are no text become surrogates, which _cells finds: so one bad row does not hide the others
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file, strict=True)
        names: list[str] | None = None
        while True:
            number = rows.line_num + 1  # a row that spans lines has the number of its first
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield number, partial(_refuse, f"not a row of CSV ({error})")
                continue
            if names is None:
                names = _header(path, cells)
            elif cells:
                yield number, partial(_cells, names, cells, fields)


def _header(path: Path, names: list[str]) -> list[str]:
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"two columns are called {twice[0]!r}", path=path, line=1)
    return names


def _cells(names: list[str], cells: list[str], fields: Mapping[str, str]) -> dict[str, Any]:
    if len(cells) != len(names):
        raise ValueError(f"{len(cells)} cells, and the first line has {len(names)}")
    for name, cell in zip(names, cells, strict=True):
        try:
            cell.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"field {name}: not UTF-8") from error
    # an answer may be empty; another field that is empty is not there
    optional = {fields.get(name, name) for name in ("id", "label", "reference", "rubric", "metadata")}
    row: dict[str, Any] = {name: cell for name, cell in zip(names, cells, strict=True) if cell or name not in optional}
    metadata = fields.get("metadata", "metadata")
    if metadata in row:
        try:
            row[metadata] = json_object(row[metadata].encode(errors="surrogateescape"))
        except ValueError as error:
            raise ValueError(f"field {metadata}: {error}") from error
    return row


def _refuse(why: str) -> dict[str, Any]:
    raise ValueError(why)


def _parquet(path: Path, fields: Mapping[str, str]) -> Numbered:
    try:
        import pyarrow  # late: an extra, and half a second
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error
    number = 0
    try:
        with parquet.ParquetFile(path, buffer_size=_BUFFER) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                for row in batch.to_pylist(maps_as_pydicts="strict"):
                    number += 1
                    yield number, partial(_present, row)
    except pyarrow.ArrowException as error:
        raise DataError(f"not a Parquet file that can be read ({error})", path=path, line=number + 1) from error


def _present(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


_FORMATS = {".csv": _csv, ".parquet": _parquet}
"""What reads a file, by its suffix; any other is JSONL."""
