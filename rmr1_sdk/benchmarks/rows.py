"""Rows of published files and data sets, checked field by field."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from rmr1_sdk.errors import ConfigError, DataError
from rmr1_sdk.files.rows import Rows, hub_rows, read_rows

__all__ = ["Hub", "Raw", "Row", "find", "from_hub", "read"]


class Row(BaseModel):
    """Required fields of a published row; others may be there too."""

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
        """Error of this row."""
        return DataError(f"row {self.number}: {message}", path=self.path)


class Hub(NamedTuple):
    """Location of a data set on the hub. Several splits are read in turn."""

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


def read(path: Path) -> Iterator[Raw]:
    """The rows of a file. Raises DataError for what is no row too, else as `read_rows` does."""
    return _raw(path, read_rows(path))


def from_hub(hub: Hub) -> Iterator[Raw]:
    """The rows of a data set of the hub, one split after another. Raises as `hub_rows` does."""
    for split in hub.splits:
        yield from _raw(Path(f"{hub.name}:{split}"), hub_rows(hub.name, split=split, folder=hub.folder))


def _raw(path: Path, rows: Rows) -> Iterator[Raw]:
    for number, row in rows:
        if isinstance(row, ValueError):
            raise DataError(f"row {number}: {row}", path=path) from row
        yield Raw(path, number, row)
