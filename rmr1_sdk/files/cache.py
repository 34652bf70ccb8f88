"""This user's cache folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rmr1_sdk.errors import ConfigError

__all__ = ["cache_folder", "keep", "made"]


def cache_folder() -> Path:
    """Folder of downloads and their records: $RMR1_CACHE, or this user's cache folder."""
    from platformdirs import user_cache_path  # late: most runs need no cache

    given = os.environ.get("RMR1_CACHE")
    return Path(given).expanduser() if given else user_cache_path("rmr1", appauthor=False)


def made(folder: Path) -> Path:
    """A folder of the cache, made where it is not there. Raises ConfigError where that cannot be."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def keep(file: Path, text: str) -> None:
    """Write a file of the cache, whole or not at all. Raises ConfigError where that cannot be."""
    part = made(file.parent) / f"{file.stem}.{os.getpid()}.part"
    with _writing(file):
        part.write_text(text, encoding="utf-8")
        os.replace(part, file)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{path}: {error.strerror or error}; set RMR1_CACHE to a folder that can be written"
        raise ConfigError(message) from error
