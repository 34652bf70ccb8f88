"""Rows of data files, as streams: JSONL, JSON, CSV, Parquet, and data sets of the hub."""

import csv
import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from rmr1_sdk.errors import ConfigError, DataError, MissingExtraError, file_errors

__all__ = ["Rows", "file_digest", "hub_rows", "json_object", "kind_of", "read_rows"]

_ROWS = 256  # of Parquet, that are made into Python's values at once
_BUFFER = 1 << 20  # bytes of a column of Parquet that are read at once, however large its row group is

_LFS = b"version https://git-lfs.github.com/spec/"

Rows = Iterator[tuple[int, dict[str, Any] | ValueError]]
"""Numbers and rows; a ValueError in place of a row says what is wrong with it.

Numbers are lines of JSONL and CSV files, else rows; both count from 1. A row of CSV that spans lines has the number
of its first.
"""


def kind_of(path: Path) -> str:
    """The ending of a name that says what the file holds, as in ".csv", also where ".gz" follows it."""
    return next((suffix.lower() for suffix in reversed(path.suffixes) if suffix != ".gz"), "")


def read_rows(path: Path, *, default: str | None = None) -> Rows:
    """The rows of a file, by the ending of its name; `.gz` after `.jsonl`, `.json` and `.csv` is unpacked.

    A name with another ending is taken to end in `default`. All but JSON is read row by row. Raises ConfigError
    where the file cannot be read or has another ending and there is no default, DataError where nothing of it can be.
    """
    kind = kind_of(path)
    if kind not in _READERS and default:
        kind = default
    if kind not in _READERS:
        raise ConfigError(f"{path}: the name must end in one of {', '.join(_READERS)}")
    open_file = gzip.open if path.suffix == ".gz" else open
    damaged = (EOFError, zlib.error)  # a gzip file that was cut off, or damaged
    with file_errors(path, catch=(OSError, *damaged)), path.open("rb") as raw:
        if raw.read(len(_LFS)) == _LFS:
            raise DataError("a Git LFS pointer and not the file itself; `git lfs pull` fetches that", path=path)
    with file_errors(path, catch=(OSError, *damaged)), open_file(path, "rb") as file:
        yield from _READERS[kind](path, cast(IO[bytes], file))


def file_digest(*paths: Path) -> str:
    """The SHA-256 of what files hold, one after another. Raises ConfigError where one cannot be read."""
    found = hashlib.sha256()
    for path in paths:
        with file_errors(path), path.open("rb") as file:
            hashlib.file_digest(file, lambda: found)
    return found.hexdigest()


def json_object(line: bytes) -> dict[str, Any]:
    """The JSON object that a line holds. Raises ValueError, with what is wrong, where it holds none."""
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 ({error})") from error
    except RecursionError as error:
        raise ValueError("nested too deeply to be read") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not a whole JSON object ({error.msg} at column {error.colno})") from error
    if not isinstance(row, dict):
        raise ValueError(f"a line is a JSON object, not {type(row).__name__}")
    return row


def _jsonl(path: Path, file: IO[bytes]) -> Rows:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            yield number, json_object(line.rstrip(b"\r\n"))
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
    csv.field_size_limit(2**31 - 1)  # Python's own 128 KB are less than some answers
    # bytes that are no text become surrogates, which _cells finds: so one bad row does not hide the others
    rows = csv.reader((line.decode("utf-8-sig", errors="surrogateescape") for line in file), strict=True)
    names: list[str] | None = None
    while True:
        number = rows.line_num + 1
        try:
            cells = next(rows)
            if names is None:
                names = _header(path, cells)
            elif cells:
                yield number, _cells(names, cells)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, ValueError(f"not CSV ({error})")
        except ValueError as error:
            yield number, error


def _header(path: Path, names: list[str]) -> list[str]:
    if twice := [name for name, times in Counter(names).items() if name and times > 1]:
        raise DataError(f"two columns are called {twice[0]!r}", path=path, line=1)
    return names


def _cells(names: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(names):
        raise ValueError(f"a row of {len(names)} columns has more or fewer: {len(cells)}")
    for name, cell in zip(names, cells, strict=True):
        try:
            cell.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"field {name}: not UTF-8") from error
    # a column without a name is pandas' index, or what a last comma leaves
    return {name: cell for name, cell in zip(names, cells, strict=True) if name}


def _parquet(path: Path, file: IO[bytes]) -> Rows:
    try:
        import pyarrow  # late: an extra, and half a second
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error
    try:
        # from its path: only so does it read as much as _BUFFER says
        with parquet.ParquetFile(path, buffer_size=_BUFFER) as content:
            batches = content.iter_batches(batch_size=_ROWS)
            rows = (row for batch in batches for row in batch.to_pylist(maps_as_pydicts="strict"))
            yield from enumerate(rows, start=1)
    except pyarrow.ArrowException as error:
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
