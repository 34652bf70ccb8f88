"""Sources of training pairs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from rmr1_sdk.errors import ConfigError, DataError, unknown
from rmr1_sdk.files.pairs import validated
from rmr1_sdk.files.rows import Rows, hub_rows, read_rows
from rmr1_sdk.files.schemas import check_numbers, find_schema, metadata, outcome, scalars
from rmr1_sdk.training.domain import Domain, generate
from rmr1_sdk.types import Outcome, Pair, Value

__all__ = ["Source", "read_pairs"]


class Source(Value):
    """Source of pairs, with its filters.

    Args:
        path: a file (.jsonl, .json, .csv, .parquet); "hub:ORG/NAME" for a data set of the Hugging Face hub;
            "tiny:COUNT" for problems that are made up.
        name: stands in each pair's metadata as its "source", unless its row has a field of that name.
        fields: what the file calls our fields (question, a, b, label, chosen, rejected, id, reference, source).
        labels: what the file's label is for A, B and tie.
        keep: only rows whose source is one of these.
        drop: no rows whose source is one of these.
        take: so many pairs at most, drawn by the seed from what is kept.
        split: of a data set of the hub.
        revision: of a data set of the hub.
        domain: what the problems of "tiny:COUNT" are like.
    """

    path: str
    name: str = ""
    fields: dict[str, str] = Field(default_factory=dict)
    labels: dict[Outcome, str] = Field(default_factory=dict)
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    take: int | None = Field(default=None, ge=1)
    split: str = "train"
    revision: str | None = None
    domain: Domain = Domain()

    @classmethod
    def parse(cls, text: str) -> "Source":
        """The source of "PATH,OPTION=VALUE,...", as in "data.csv,drop=x|y,take=8000,question=prompt,A=model_a".

        Raises ConfigError for an option that there is not.
        """
        path, *options = text.split(",")
        given: dict[str, Any] = {"fields": {}, "labels": {}}
        for option in options:
            name, equals, value = option.partition("=")
            if not equals:
                raise ConfigError(f"{text}: {option!r} is not of the form OPTION=VALUE")
            if name in _OURS:
                given["fields"][name] = value
            elif name in ("A", "B", "tie"):
                given["labels"][name] = value
            elif name in _OPTIONS:
                given[name] = tuple(value.split("|")) if name in ("keep", "drop") else value
            else:
                known = (*_OURS, "A", "B", "tie", *_OPTIONS)
                raise unknown("option", name, known, place=f"{text}: ")
        try:
            return cls(path=path, **given)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"{text}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error

    @property
    def file(self) -> Path | None:
        """The file, None where it is none."""
        return None if self.path.startswith(("hub:", "tiny:")) else Path(self.path)

    @property
    def title(self) -> str:
        """The name, or else one made from the path."""
        return self.name or (Path(self.path).name.split(".")[0] if self.file else self.path.partition(":")[2])


_OURS = ("question", "a", "b", "label", "chosen", "rejected", "id", "reference", "source")
_OPTIONS = ("name", "keep", "drop", "take", "split", "revision")


def read_pairs(source: Source, seed: int = 0) -> Iterator[Pair | DataError | None]:
    """A pair for each row, None where `keep` and `drop` leave it out, or what is wrong with the row.

    `pair.label` is the better side. Raises ConfigError and DataError where nothing can be read.
    """
    if source.path.startswith("tiny:"):
        count = source.path.removeprefix("tiny:")
        if not count.isdecimal():
            raise ConfigError(f'{source.path}: write "tiny:COUNT", as in tiny:6000')
        yield from generate(int(count), seed=seed, domain=source.domain)
        return
    for number, row in _rows(source):
        if isinstance(row, ValueError):
            yield DataError(str(row), path=Path(source.path), line=number)
            continue
        named = _renamed(row, source.fields)
        if not _is_wanted(source, named):
            yield None
            continue
        try:
            yield _pair(source, number, named)
        except ValueError as error:
            yield DataError(str(error), path=Path(source.path), line=number)


def _rows(source: Source) -> Rows:
    if source.file:
        return read_rows(source.file)
    return hub_rows(source.path.removeprefix("hub:"), split=source.split, revision=source.revision)


def _renamed(row: dict[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """The row with our names for its fields."""
    ours = {theirs: name for name, theirs in fields.items()}
    return {ours.get(name, name): value for name, value in row.items()}


def _is_wanted(source: Source, row: Mapping[str, Any]) -> bool:
    found = _source_of(row)
    return found not in source.drop and (not source.keep or found in source.keep)


def _source_of(row: Mapping[str, Any]) -> str | None:
    inside = row.get("metadata")
    found = row.get("source", inside.get("source") if isinstance(inside, dict) else None)
    return found if isinstance(found, str) else None


def _pair(source: Source, number: int, row: dict[str, Any]) -> Pair:
    check_numbers(row)
    schema = find_schema(row)
    fields = schema.build(row)
    # where there is no label, A is the chosen answer
    label = outcome(fields["label"], source.labels or schema.labels) if "label" in fields else "A"
    about = {name: value for name, value in row.items() if name not in schema.uses and _is_plain(value)}
    about |= metadata(row.get("metadata")) | {"source": _source_of(row) or source.title}
    name = row.get("id")
    fields |= {"id": name if isinstance(name, str) else f"{source.title}/{number}", "metadata": about, "label": label}
    fields |= {name: row[name] for name in ("reference", "rubric") if row.get(name) is not None}
    return validated(scalars(fields, ("question", "a", "b", "reference")), Pair, {**schema.names, **source.fields})


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool)
