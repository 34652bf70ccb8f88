"""Rows of published files: JSON, JSONL (also .gz), Parquet, or a data set of the hub; checked field by field."""

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from rmr1_sdk.errors import ConfigError, DataError, MissingExtraError

__all__ = ["Hub", "Raw", "Row", "digest", "find", "from_hub", "read"]


class Row(BaseModel):
    """What a published row must have; fields that are not named here may be there too."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


R = TypeVar("R", bound=BaseModel)


class Raw(NamedTuple):
    """A row as it stands in its file. `number` counts from 1."""

    path: Path
    number: int
    fields: dict[str, Any]

    def read(self, kind: type[R]) -> R:
        """The row with its fields checked. Raises DataError that names file, row and field."""
        try:
            return kind.model_validate(self.fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            there = f"; the row has {', '.join(self.fields)}" if first["type"] == "missing" else ""
            raise self.error(f"field {'.'.join(map(str, first['loc']))}: {first['msg']}{there}") from error

    def error(self, message: str) -> DataError:
        """What is wrong with this row."""
        return DataError(f"row {self.number}: {message}", path=self.path)


class Hub(NamedTuple):
    """Where a data set is on the hub. Several splits are read one after another."""

    name: str
    splits: tuple[str, ...]
    folder: str | None = None


def find(data: Path, patterns: Sequence[str]) -> list[Path]:
    """The file itself, or a folder's files by the first pattern that finds any, by name.

    Raises ConfigError where there is none.
    """
    if data.is_file():
        return [data]
    if not data.exists():
        raise ConfigError(f"{data}: no such file or folder")
    for pattern in patterns:
        if found := sorted(path for path in data.glob(pattern) if path.is_file()):
            return found
    raise ConfigError(f"{data}: nothing here is called {' or '.join(patterns)}")


def digest(paths: Iterable[Path]) -> str:
    """The SHA-256 of what the files hold, one after another."""
    found = hashlib.sha256()
    for path in paths:
        found.update(path.read_bytes())
    return found.hexdigest()


def read(path: Path) -> Iterator[Raw]:
    """The rows of a file. Raises DataError where it is not what its name says, ConfigError where it cannot be read."""
    try:
        rows = list(_PARSERS.get(_kind(path), _json_lines)(path))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    for number, fields in rows:
        if not isinstance(fields, dict):
            raise DataError(f"row {number}: a row is a JSON object, not {type(fields).__name__}", path=path)
        yield Raw(path, number, fields)


def _kind(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[2]


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return (gzip.decompress(content) if path.name.endswith(".gz") else content).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 ({error})", path=path) from error


def _json(path: Path) -> Iterator[tuple[int, object]]:
    text = _text(path)
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # JSON lines under another name
            yield from _json_lines(path)
            return
        raise DataError(f"not JSON ({error})", path=path) from error
    if not isinstance(rows, list):
        raise DataError(f"a file of rows is a JSON list, not {type(rows).__name__}", path=path)
    yield from enumerate(rows, start=1)


def _json_lines(path: Path) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"row {number}: not JSON ({error.msg} at column {error.colno})", path=path) from error


def _parquet(path: Path) -> Iterator[tuple[int, object]]:
    try:
        from pyarrow import ArrowInvalid, parquet  # late: most files need no such library
    except ImportError as error:
        raise MissingExtraError("pyarrow", "benchmarks") from error
    try:
        rows = parquet.read_table(path).to_pylist()
    except ArrowInvalid as error:
        raise DataError(f"not a Parquet file ({error})", path=path) from error
    yield from enumerate(rows, start=1)


_PARSERS = {"json": _json, "parquet": _parquet}


def from_hub(hub: Hub) -> Iterator[Raw]:
    """The rows of a data set of the hub, through `datasets`, which keeps them in its own cache.

    Raises MissingExtraError without that library, DataError where the data set cannot be had.
    """
    try:
        from datasets import load_dataset  # late: it takes seconds, and wants the network
    except ImportError as error:
        raise MissingExtraError("datasets", "benchmarks") from error
    for split in hub.splits:
        place = Path(f"{hub.name}:{split}")
        try:
            rows = load_dataset(hub.name, data_dir=hub.folder, split=split)
        except Exception as error:  # whatever it is, the library has no error of its own for it
            raise DataError(
                f"cannot be had from the hub ({error}); with its files at hand, give them as data", path=place
            ) from error
        for number, fields in enumerate(rows, start=1):
            yield Raw(place, number, dict(fields))
