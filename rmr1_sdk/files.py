"""Rows of data files, one after another: JSONL, JSON, CSV, Parquet, and data sets of the hub."""

import csv
import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from rmr1_sdk.errors import ConfigError, DataError, MissingExtraError
from rmr1_sdk.pairs import json_object

__all__ = ["Rows", "hub_rows", "read_rows"]

Rows = Iterator[tuple[int, dict[str, Any] | ValueError]]
"""Numbers and rows; a ValueError in place of a row says what is wrong with it.

Numbers are lines of JSONL and CSV files, else rows; both count from 1.
"""


def read_rows(path: Path) -> Rows:
    """The rows of a file, by the ending of its name; `.gz` after `.jsonl`, `.json` and `.csv` is unpacked.

    All but JSON is read row by row. Raises ConfigError where the file cannot be read or has another ending,
    DataError where nothing of it can be.
    """
    kind = next((suffix for suffix in reversed(path.suffixes) if suffix != ".gz"), "")
    if kind not in _READERS:
        raise ConfigError(f"{path}: the name must end in one of {', '.join(_READERS)}")
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield from _READERS[kind](path, cast(IO[bytes], file))
    except (OSError, EOFError) as error:  # EOFError: a gzip file that was cut off
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _jsonl(path: Path, file: IO[bytes]) -> Rows:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            yield number, json_object(line)
        except ValueError as error:
            yield number, error


def _json(path: Path, file: IO[bytes]) -> Rows:
    try:
        rows = json.load(file)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # JSON lines under another name
            file.seek(0)
            yield from _jsonl(path, file)
            return
        raise DataError(f"not JSON ({error})", path=path) from error
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 ({error})", path=path) from error
    if not isinstance(rows, list):
        raise DataError(f"a JSON file of rows is a list, not {type(rows).__name__}", path=path)
    for number, row in enumerate(rows, start=1):
        yield number, row if isinstance(row, dict) else ValueError(f"a row is an object, not {type(row).__name__}")


def _csv(path: Path, file: IO[bytes]) -> Rows:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # Python's own 128 KB are less than some answers
    try:
        reader = csv.DictReader((line.decode("utf-8-sig") for line in file), strict=True)
        for row in reader:
            if None in row or None in row.values():
                yield reader.line_num, ValueError(f"a row of {len(reader.fieldnames or ())} columns has more or fewer")
            else:
                yield reader.line_num, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"not CSV in UTF-8 ({error})", path=path) from error


def _parquet(path: Path, file: IO[bytes]) -> Rows:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("pyarrow", "benchmarks") from error
    try:
        batches: Iterable[Any] = pq.ParquetFile(file).iter_batches(batch_size=1024)
        rows = (row for batch in batches for row in batch.to_pylist())
        yield from enumerate(rows, start=1)
    except pa.ArrowInvalid as error:
        raise DataError(f"not Parquet ({error})", path=path) from error


_READERS = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}


def hub_rows(name: str, *, split: str, revision: str | None = None, folder: str | None = None) -> Rows:
    """The rows of a data set of the Hugging Face hub, or of a folder laid out like one, as they arrive.

    `folder` is a part of the data set that is kept in one.

    Raises ConfigError where there is none of that name, split and revision.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "benchmarks") from error
    try:
        rows = datasets.load_dataset(name, data_dir=folder, split=split, revision=revision, streaming=True)
        yield from enumerate(map(dict, rows), start=1)
    except (
        Exception
    ) as error:  # whatever it is: the library has no error of its own for what the hub and the network do
        raise ConfigError(f"hub:{name}, split {split!r}: {error}") from error
