"""Files of pairs, or of lists of answers, with the fields of Pair or AnswerList; see `files.read_rows` for the formats.

All but JSON is read as a stream.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

from pydantic import Field, ValidationError

from rmr1_sdk.conversations import asked
from rmr1_sdk.errors import DataError, file_errors
from rmr1_sdk.files.rows import kind_of, read_rows
from rmr1_sdk.files.schemas import Labels, check_numbers, find_schema, metadata, outcome, scalars
from rmr1_sdk.hashing import digest
from rmr1_sdk.types import Conversation, Pair, Rubric, Value

__all__ = [
    "AnchoredList", "AnswerList", "Fault", "Form", "PairFile", "Rows", "fault", "read_lists", "read_pairs", "row_of",
    "scan_pairs", "validated",
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


@dataclass(frozen=True)
class Form:
    """The way to read a file of pairs.

    Args:
        fields: where the file has other names than ours: {"question": "prompt"}, or a path: {"a": "answers.0.text"}.
        labels: the file's words for A, B and tie: {"A": "1", "B": "2", "tie": "0"}.
        seed: draws the side of the better answer, with the pair's texts, where the file says only which is better.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)
    seed: int = 0


_AS_IT_IS = Form()


def read_pairs(
    path: Path, *, fields: Mapping[str, str] | None = None, labels: Labels | None = None, seed: int = 0
) -> Rows[Pair]:
    """Read a file of pairs; a pair without an `id` gets the number of its line (in Parquet, of its row).

    The name's ending says the format, see `files.read_rows`; any other is JSONL. `fields`, `labels` and `seed` are
    those of Form. Rows without `a` and `b` are recognised by their fields, see `files.schemas`. Fields that are none
    of ours then go to the pair's metadata, as they do with `fields`; else they make a line bad, since they may be a
    slip. Empty lines and null values of Parquet are as if they were not there. In CSV the answers are text, and an
    empty cell is an empty text for `question`, `a` and `b`, and nothing for the others. Numbers are read as their text,
    `metadata` may be an object or JSON text of one.

    Raises ConfigError when the file cannot be read, and DataError when it is not what its name says.
    """
    return _split(_read(path, Pair, Form(fields or {}, labels or {}, seed)))


def read_lists(path: Path, *, anchored: bool = False, fields: Mapping[str, str] | None = None) -> Rows[AnswerList]:
    """Read a file of lists of answers, as `read_pairs` does. `anchored` lines must have an anchor."""
    return _split(_read(path, AnchoredList if anchored else AnswerList, Form(fields or {})))


@dataclass(frozen=True)
class PairFile:
    """A file of pairs that was checked, and is never whole in memory: every iteration reads it from the start.

    Bad lines are left out and stand in `bad`. Iterating raises DataError when the file changed since.
    """

    path: Path
    form: Form
    rows: int
    bad: tuple[DataError, ...]
    limit: int | None
    state: tuple[int, int]

    def __len__(self) -> int:
        return self.rows if self.limit is None else min(self.limit, self.rows)

    def __iter__(self) -> Iterator[Pair]:
        pairs = (row for row in _read(self.path, Pair, self.form) if isinstance(row, Pair))
        yield from islice(pairs, self.limit)
        if _state(self.path) != self.state:
            raise DataError("the file changed while it was judged", path=self.path)


def scan_pairs(path: Path, form: Form = _AS_IT_IS, *, limit: int | None = None) -> PairFile:
    """Read a file of pairs once, as `read_pairs` does, and keep what was bad and how many were not.

    All lines are checked, also where only the first `limit` pairs are asked for.
    """
    state = _state(path)
    rows, bad = 0, []
    for row in _read(path, Pair, form):
        if isinstance(row, DataError):
            bad.append(row)
        else:
            rows += 1
    return PairFile(path, form, rows, tuple(bad), limit, state)


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


def _read(path: Path, kind: type[Row], form: Form) -> Iterator[Row | DataError]:
    """Every row of a file, or what is wrong with it."""
    for number, row in read_rows(path, default=".jsonl"):
        try:
            if isinstance(row, ValueError):
                raise row
            yield row_of(path, number, row, kind, form)
        except ValueError as error:
            yield DataError(str(error), path=path, line=number)


def row_of(path: Path, number: int, row: dict[str, Any], kind: type[Row], form: Form) -> Row:
    """A row of this file as a value, with its number as its id where it has none. Raises ValueError."""
    check_numbers(row)
    given = _GIVEN.get(kind_of(path))
    value = _row(given(row, form.fields) if given else row, kind, form)
    return value if value.id is not None else value.model_copy(update={"id": str(number)})


def _row(row: dict[str, Any], kind: type[Row], form: Form) -> Row:
    ours = _renamed(row, kind, form.fields) if form.fields else row
    if kind is Pair and not ours.keys() & {"a", "b"}:
        # what was given another name; the schema says what else is metadata
        return _recognised({**row, **{name: ours[name] for name in form.fields if name in ours}}, form)
    ours = scalars(ours, _TEXTS)
    if form.fields and "question" in ours:
        parts = {name: ours["metadata"].pop(name) for name in _PARTS if isinstance(ours["metadata"].get(name), str)}
        ours["question"] = asked(ours["question"], **parts)
    if "metadata" in ours:
        ours["metadata"] = metadata(ours["metadata"])
    if "label" in ours:
        ours["label"] = outcome(ours["label"], form.labels)
    try:
        return validated(ours, kind, form.fields)
    except _UnknownField as error:
        raise ValueError(f"{error}; the line has {', '.join(row)}. --field OURS=THEIRS says which is which") from error


def _recognised(row: dict[str, Any], form: Form) -> Pair:
    """A pair in its authors' own fields. Where they do not say the better answer's side, it is drawn."""
    schema = find_schema(row)
    fields = schema.build(row)
    has_side = "label" in fields
    fields["label"] = outcome(fields["label"], form.labels or schema.labels) if has_side else "A"
    rest = {name: value for name, value in row.items() if name not in schema.uses}
    fields |= {name: row[name] for name in ("id", "reference", "rubric") if row.get(name) not in (None, "")}
    drawn = {} if has_side else {"side": "drawn"}
    about = fields.get("metadata", {}) | rest | metadata(row.get("metadata")) | drawn
    fields = scalars(fields, _TEXTS) | {"metadata": about}
    pair = validated(fields, Pair, {**schema.names, **form.fields})
    return pair if has_side or digest(form.seed, "side", pair.question, pair.a, pair.b) % 2 else pair.swapped()


_TEXTS = ("id", "question", "a", "b", "answers", "anchor", "reference", "rubric")
_PARTS = ("system", "input")
"""Fields that belong to the question, also where `--field` says which field is what."""


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
    """The row under our names; what is left goes to the metadata."""
    found = {name: _at(row, fields.get(name, name)) for name in kind.model_fields}
    ours = {name: value for name, (there, value) in found.items() if there}
    taken = {theirs if (theirs := fields.get(name, name)) in row else theirs.partition(".")[0] for name in ours}
    rest = {name: value for name, value in row.items() if name not in taken}
    return {**ours, "metadata": rest | metadata(ours.get("metadata"))}


def _at(row: dict[str, Any], path: str) -> tuple[bool, Any]:
    """The pair of "it is there" and a field's value; a path as `answers.0.text` leads into objects and lists."""
    if path in row:
        return True, row[path]
    value: Any = row
    for part in path.split("."):
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return False, None
    return True, value


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
    """An answer may be empty; another field that is empty is not there."""
    optional = {fields.get(name, name) for name in ("id", "label", "reference", "rubric", "metadata")}
    return {name: cell for name, cell in row.items() if cell or name not in optional}


def _given_in_parquet(row: dict[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


Given = Callable[[dict[str, Any], Mapping[str, str]], dict[str, Any]]
_GIVEN: dict[str, Given] = {".csv": _given_in_csv, ".parquet": _given_in_parquet}
"""Fields of a row that have a value, in files that have every field in every row."""
