"""Download GGUF files from the Hugging Face hub: resumable, and checked against their SHA-256.

Its settings are the ones of the hub's own tools: HF_ENDPOINT, HF_TOKEN, and HF_HUB_OFFLINE=1 forbids
the network.
"""

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from rmr1_sdk.errors import BackendError, ConfigError, DataError
from rmr1_sdk.files.cache import cache_folder, ensure_dir
from rmr1_sdk.keys import find_key

__all__ = ["fetch_gguf"]

_TRIES = 5
_PIECE = 2**20


class _File(NamedTuple):
    """A file on the hub."""

    name: str
    size: int
    sha256: str
    url: str


def fetch_gguf(repo: str, quant: str) -> Path:
    """The GGUF file of that quantisation in a repository, the first part where it is split.

    Files come to lie in this package's cache; one that is there is taken without the network.
    Raises ConfigError when there is no such file or the network is forbidden, BackendError when it
    cannot be fetched (the same call goes on where it ended), DataError when what came is damaged.
    """
    folder = cache_folder() / "hub" / repo.replace("/", "--")
    wanted = re.compile(rf"(?:.*[-_./])?{re.escape(quant)}(?:-\d+-of-(?P<parts>\d+))?\.gguf", re.IGNORECASE)
    here = sorted(file for file in folder.rglob("*.gguf") if wanted.fullmatch(file.relative_to(folder).as_posix()))
    if here and len(here) == _parts(wanted, here[0].name):
        return here[0]
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        raise ConfigError(f"{repo}:{quant} was not downloaded before, and the network is forbidden")
    files = _listed(repo)
    chosen = sorted(file for file in files if wanted.fullmatch(file.name))
    if not chosen:
        there = ", ".join(sorted(file.name for file in files)) or "none"
        raise ConfigError(f"{repo} has no GGUF file of quantisation {quant!r}; it has: {there}")
    needed, free = sum(file.size for file in chosen), shutil.disk_usage(ensure_dir(folder)).free
    if needed > free:
        raise BackendError(f"{repo}:{quant} is {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {folder}")
    for file in chosen:
        _download(file, folder / file.name)
    return folder / chosen[0].name


def _parts(wanted: re.Pattern[str], name: str) -> int:
    match = wanted.fullmatch(name)
    return int(match["parts"]) if match and match["parts"] else 1


def _listed(repo: str) -> list[_File]:
    """The GGUF files of a repository, at one revision."""
    import httpx2  # late: only downloads need it

    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    try:
        answer = httpx2.get(f"{endpoint}/api/models/{repo}?blobs=true", headers=_headers(), timeout=30)
        if answer.status_code in (401, 403, 404):
            raise ConfigError(
                f"the hub has no model {repo!r} that can be read; is the name right, and does it need HF_TOKEN?"
            )
        info = answer.raise_for_status().json()
        return [
            _File(
                name=entry["rfilename"],
                size=entry["lfs"]["size"],
                sha256=entry["lfs"]["sha256"],
                url=f"{endpoint}/{repo}/resolve/{info['sha']}/{entry['rfilename']}",
            )
            for entry in info["siblings"]
            if entry["rfilename"].endswith(".gguf") and ".." not in PurePosixPath(entry["rfilename"]).parts
        ]
    except ConfigError:
        raise
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise BackendError(f"the files of {repo} could not be listed: {error!r}") from error


def _headers() -> dict[str, str]:
    token = find_key(None, "HF_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _download(file: _File, target: Path) -> None:
    """Fetch a file, going on where an earlier call ended; it gets its name when its SHA-256 is right."""
    ensure_dir(target.parent)
    part = target.with_name(f"{target.name}.part")
    with _locked(part) as out:
        if target.exists():  # another process was quicker
            return
        _fetch(file, out)
        out.seek(0)
        found = hashlib.file_digest(out, "sha256").hexdigest()
        if found != file.sha256:
            part.unlink()
            raise DataError(
                f"the download is damaged: its SHA-256 is {found}, not {file.sha256}. It was deleted; try again",
                path=target,
            )
        os.replace(part, target)


@contextmanager
def _locked(part: Path) -> Iterator[BufferedRandom]:
    """The file to write to, held by one process at a time where the system can do that."""
    with part.open("ab+") as out:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(out, fcntl.LOCK_EX)
        yield out


def _fetch(file: _File, out: BufferedRandom) -> None:
    import httpx2
    from rich.console import Console
    from rich.progress import Progress, TransferSpeedColumn

    columns = (*Progress.get_default_columns(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(file.name, total=file.size)
        fruitless, last = 0, "it sends fewer bytes than the hub's listing says"
        while (have := out.seek(0, os.SEEK_END)) < file.size:
            if fruitless == _TRIES:
                raise BackendError(f"{file.url}: {last}. The same call resumes")
            fruitless += 1
            progress.update(task, completed=have)
            headers = _headers() | {"Range": f"bytes={have}-"}
            try:
                with httpx2.stream("GET", file.url, headers=headers, follow_redirects=True, timeout=30) as answer:
                    if answer.raise_for_status().status_code != 206:
                        out.truncate(0)  # the server does not know ranges and begins again
                    for piece in answer.iter_bytes(_PIECE):
                        out.write(piece)
                        out.flush()
                        progress.advance(task, len(piece))
                        fruitless = 0
            except httpx2.TransportError as error:
                last = repr(error)
            except (httpx2.HTTPError, OSError) as error:
                raise BackendError(f"{file.url}: {error}. The same call resumes") from error
