"""Cache folder of this user, and writing files as a whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rmr1_sdk.errors import file_errors

__all__ = ["cache_folder", "ensure_dir", "keep", "replacing", "write_atomic"]


def cache_folder() -> Path:
    """Folder of downloads and their records: $RMR1_CACHE, or this user's cache folder."""
    from platformdirs import user_cache_path  # late: most runs need no cache

    given = os.environ.get("RMR1_CACHE")
    return Path(given).expanduser() if given else user_cache_path("rmr1", appauthor=False)


def ensure_dir(folder: Path) -> Path:
    """Make a folder of the cache where it is missing. Raises ConfigError where that fails."""
    with file_errors(folder, then=_ADVICE):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def keep(file: Path, text: str) -> None:
    """Write a file of the cache. Raises ConfigError where that fails."""
    ensure_dir(file.parent)
    write_atomic(file, text, then=_ADVICE)


def write_atomic(file: Path, text: str, *, then: str = "") -> None:
    """Write a file as a whole or not at all: beside it first, then renamed. Raises ConfigError where that fails."""
    beside = file.with_name(f"{file.name}.{os.getpid()}.part")  # several processes may write one
    with file_errors(f"{file}: cannot be written", then=then), replacing(file, beside) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def replacing(file: Path, part: Path | None = None) -> Iterator[Path]:
    """Give a path to write to, FILE.part by default. It becomes the file at the end, or is deleted after an error."""
    part = part or file.with_name(f"{file.name}.part")
    try:
        yield part
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


_ADVICE = "; set RMR1_CACHE to a folder that can be written"
