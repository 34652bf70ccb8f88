"""Files of judgments: JSONL, or by their suffix CSV (.csv) and Parquet (.parquet), one judgment a row.

A row of CSV and Parquet has the columns of `row`. In CSV what is None is an empty cell, and a truth value is
"true" or "false".
"""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from rmr1_sdk.errors import DataError, MissingExtraError
from rmr1_sdk.types import Judgment, Value

__all__ = ["JsonLines", "Writer", "open_judgments", "read_judgments", "row"]

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


_FORMATS: dict[str, Callable[[Path], Writer]] = {".csv": _Csv, ".parquet": _Parquet}


def open_judgments(path: Path, suffix: str) -> Writer:
    """What writes judgments to a file in the format of a suffix; any but .csv and .parquet is JSONL.

    Raises OSError, and MissingExtraError where Parquet is asked for and not installed.
    """
    return _FORMATS.get(suffix.lower(), JsonLines)(path)


def read_judgments(path: Path) -> Iterator[Judgment]:
    """The judgments of a file that `open_judgments` wrote, as a stream.

    Raises DataError for a row that holds none, and OSError.
    """
    for number, text in enumerate(_TEXTS.get(path.suffix.lower(), _json_lines)(path), start=1):
        try:
            yield Judgment.model_validate_json(text)
        except ValidationError as error:
            raise DataError(f"not a judgment of this version ({error})", path=path, line=number) from error


def _json_lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from file


def _csv_texts(path: Path) -> Iterator[str]:
    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8", newline="") as file:
        for cells in csv.DictReader(file):
            yield cells["judgment"]


def _parquet_texts(path: Path) -> Iterator[str]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error
    with parquet.ParquetFile(path, buffer_size=1 << 20) as file:
        for batch in file.iter_batches(batch_size=256, columns=["judgment"]):
            yield from batch.column(0).to_pylist()


_TEXTS = {".csv": _csv_texts, ".parquet": _parquet_texts}
