"""Files of judgments: JSONL, CSV (.csv) or Parquet (.parquet), one judgment per row.

A run over many machines leaves a folder of such files, its shards, which is read like one file.
A row of CSV and Parquet has the columns of `row`. In CSV what is None is an empty cell, and a truth value is
"true" or "false".
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from rmr1_sdk.errors import ConfigError, DataError, MissingExtraError, file_errors
from rmr1_sdk.files.rows import read_rows
from rmr1_sdk.types import Judgment, Value

__all__ = [
    "RUN_JUDGMENTS", "SHARDS_RECORD", "JsonLines", "Writer", "judgment_files", "judgments_of", "open_judgments",
    "read_judgments", "read_record", "row", "shard_name",
]  # fmt: skip

RUN_JUDGMENTS = "judgments.jsonl"
"""Name of the judgments in a folder of `rmr1 bench --out`: a file, or a folder of shards."""
SHARDS_RECORD = "_run.json"
"""In a folder of shards, what all of them have in common."""
_ROW_GROUP = 1000  # judgments: some megabytes in memory, and groups that are not too small to read back


def row(judgment: Judgment) -> dict[str, Any]:
    """A judgment as a flat row.

    `winner` to `position_effect` are the judgment's own. `failure` is the kind of the first failure where nothing
    was readable, `readings` and `unreadable` count verdicts, `judgment` is all of it as JSON.
    """
    return {
        "pair_id": judgment.pair_id,
        "winner": judgment.winner,
        "p_a": judgment.p_a,
        "agreement": judgment.agreement,
        "position_consistent": judgment.position_consistent,
        "position_effect": judgment.position_effect,
        "failure": judgment.failure.kind if judgment.failure else None,
        "readings": len(judgment.verdicts),
        "unreadable": sum(verdict.failure is not None for verdict in judgment.verdicts),
        "prompt_tokens": judgment.usage.prompt_tokens,
        "completion_tokens": judgment.usage.completion_tokens,
        "latency_s": judgment.latency_s,
        "model": judgment.model,
        "prompt": judgment.prompt,
        "judgment": judgment.model_dump_json(),
    }


class Writer(Protocol):
    """Writes results to a file. Both methods raise OSError."""

    def write(self, result: Any) -> None:
        """Add a result."""

    def close(self) -> None:
        """Write what is left, and end the file."""


class JsonLines:
    """Any value, a line each; a line is on its way to the disk before the next is taken."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def write(self, result: Value) -> None:
        """Add a line."""
        self._file.write(result.model_dump_json() + "\n")
        self._file.flush()

    def close(self) -> None:
        """End the file."""
        self._file.close()


class _Csv:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._rows = csv.DictWriter(self._file, list(row(Judgment())), lineterminator="\n")
        self._rows.writeheader()

    def write(self, result: Judgment) -> None:
        self._rows.writerow({name: _cell(value) for name, value in row(result).items()})
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _cell(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


class _Parquet:
    """In row groups, so that no more than one of them is in memory."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow  # late: an extra, and half a second
            from pyarrow import parquet
        except ImportError as error:
            raise MissingExtraError("pyarrow", "parquet") from error
        self._arrow = pyarrow
        self._schema = pyarrow.schema(
            [
                ("pair_id", pyarrow.string()),
                ("winner", pyarrow.string()),
                ("p_a", pyarrow.float64()),
                ("agreement", pyarrow.float64()),
                ("position_consistent", pyarrow.bool_()),
                ("position_effect", pyarrow.float64()),
                ("failure", pyarrow.string()),
                ("readings", pyarrow.int64()),
                ("unreadable", pyarrow.int64()),
                ("prompt_tokens", pyarrow.int64()),
                ("completion_tokens", pyarrow.int64()),
                ("latency_s", pyarrow.float64()),
                ("model", pyarrow.string()),
                ("prompt", pyarrow.string()),
                ("judgment", pyarrow.string()),
            ]
        )
        self._file = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, result: Judgment) -> None:
        self._rows.append(row(result))
        if len(self._rows) == _ROW_GROUP:
            self._write_group()

    def close(self) -> None:
        self._write_group()
        self._file.close()

    def _write_group(self) -> None:
        if self._rows:
            self._file.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


_TABLES: dict[str, Callable[[Path], Writer]] = {".csv": _Csv, ".parquet": _Parquet}


def open_judgments(path: Path, suffix: str) -> Writer:
    """Open a writer of judgments, in the format of a suffix; any but .csv and .parquet is JSONL.

    Raises OSError, and MissingExtraError where Parquet is asked for and not installed.
    """
    return _TABLES.get(suffix.lower(), JsonLines)(path)


def shard_name(number: int, suffix: str) -> str:
    """File name of a shard."""
    return f"part-{number:06}{suffix}"


def judgments_of(run: Path) -> Path:
    """Path of a run's judgments: RUN_JUDGMENTS in its folder, or the path itself for a file or a folder of shards.

    Raises ConfigError for what is not there.
    """
    if not run.exists():
        raise ConfigError(f"{run}: no such file or folder")
    inside = run / RUN_JUDGMENTS
    return inside if inside.exists() else run


def judgment_files(place: Path) -> list[Path]:
    """The file itself, or a folder's shards in order. Raises ConfigError where there are none."""
    if not place.is_dir():
        return [place]
    found = sorted(path for path in place.glob("part-*") if path.suffix.lower() in (".jsonl", *_TABLES))
    if not found:
        raise ConfigError(f"{place}: neither {RUN_JUDGMENTS} nor shards (part-000000.jsonl, ...) in this folder")
    return found


def read_record(place: Path) -> dict[str, Any]:
    """Record of the run that made this file or folder of shards: the `run.json` beside it.

    Shards of a run that has not ended have their own record alone. Empty where there is none, or only one of other
    judgments. Raises DataError for what is no record.
    """
    found = _object(place.parent / "run.json")
    if found and found.get("out", RUN_JUDGMENTS) == place.name:
        return found
    return _object(place / SHARDS_RECORD) if place.is_dir() else {}


def _object(path: Path) -> dict[str, Any]:
    """The JSON object of a file; empty where there is no such file."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"not a record of a run ({error})", path=path) from error
    if not isinstance(found, dict):
        raise DataError("not a record of a run", path=path)
    return found


def read_judgments(path: Path) -> Iterator[Judgment]:
    """The judgments of a file that `open_judgments` wrote, or of a folder of shards, as a stream.

    Raises DataError for a row that holds none, and ConfigError for what is not there or cannot be read.
    """
    for file in judgment_files(path):
        texts = _column(file) if file.suffix.lower() in _TABLES else _lines(file)
        for number, text in texts:
            try:
                yield Judgment.model_validate_json(text)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                where = ".".join(map(str, first["loc"])) or "the line"
                raise DataError(f"not a judgment ({where}: {first['msg']})", path=file, line=number) from error


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with file_errors(path), path.open("rb") as file:
        yield from enumerate(file, start=1)


def _column(path: Path) -> Iterator[tuple[int, str]]:
    """The column of a table that has all of each judgment."""
    for number, cells in read_rows(path):
        if isinstance(cells, ValueError):
            raise DataError(f"not a judgment ({cells})", path=path, line=number) from cells
        text = cells.get("judgment")
        if not isinstance(text, str):
            raise DataError("not a judgment: the column judgment is not there, or empty", path=path, line=number)
        yield number, text
