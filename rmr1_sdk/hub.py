"""GGUF files of the Hugging Face hub: downloaded once, resumably, and checked against their SHA-256."""

import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

from rmr1_sdk.cache import cache_folder, keep
from rmr1_sdk.errors import BackendError, ConfigError, DataError, MissingExtraError

__all__ = ["fetch_gguf"]


class _Remote(NamedTuple):
    """A file on the hub. `sha256` is None for one that is small enough to lie in git itself."""

    name: str
    sha256: str | None


def fetch_gguf(repo: str, quant: str) -> Path:
    """The GGUF file of that quantisation in a repository, the first part where it is split.

    Files come to lie in the hub's own cache. One that was fetched and checked before is taken as it
    is, without the network. Raises ConfigError when there is no such file or the network is forbidden
    (HF_HUB_OFFLINE=1), BackendError when it cannot be fetched, DataError when it is damaged.
    """
    record = cache_folder() / "hub" / f"{repo.replace('/', '--')}--{quant}.json"
    if (known := _recorded(record)) is not None:
        return known
    try:
        from huggingface_hub import HfApi, hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "llama-cpp") from error
    from httpx2 import HTTPError

    try:
        info = HfApi().model_info(repo, files_metadata=True)
        chosen = _choose(
            repo, quant, [_Remote(s.rfilename, s.lfs.sha256 if s.lfs else None) for s in info.siblings or []]
        )
        files = [Path(hf_hub_download(repo, file.name, revision=info.sha)) for file in chosen]
    except OfflineModeIsEnabled as error:
        raise ConfigError(f"{repo}:{quant} was not downloaded before, and the network is forbidden") from error
    except (HfHubHTTPError, HTTPError, OSError) as error:
        raise BackendError(f"{repo}:{quant} could not be downloaded: {error}; the same call resumes it") from error
    for file, remote in zip(files, chosen, strict=True):
        _check(file, remote)
    keep(record, json.dumps({str(file): file.stat().st_size for file in files}))
    return files[0]


def _recorded(record: Path) -> Path | None:
    """The first file of a record, when all of its files are still there and whole."""
    try:
        sizes = json.loads(record.read_text(encoding="utf-8"))
        files = [Path(name) for name, size in sizes.items() if Path(name).stat().st_size == size]
        return files[0] if files and len(files) == len(sizes) else None
    except (OSError, ValueError, AttributeError):
        return None  # no record, or not one of ours: the hub knows better


def _choose(repo: str, quant: str, files: list[_Remote]) -> list[_Remote]:
    wanted = re.compile(rf"(?:.*[-_./])?{re.escape(quant)}(?:-\d+-of-\d+)?\.gguf", re.IGNORECASE)
    chosen = sorted(file for file in files if wanted.fullmatch(file.name))
    if not chosen:
        there = ", ".join(sorted(file.name for file in files if file.name.endswith(".gguf"))) or "none"
        raise ConfigError(f"{repo} has no GGUF file of quantisation {quant!r}; it has: {there}")
    return chosen


def _check(file: Path, remote: _Remote) -> None:
    if remote.sha256 is None:
        return
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != remote.sha256:
        file.resolve().unlink()
        file.unlink(missing_ok=True)
        raise DataError(
            f"the download is damaged: its SHA-256 is {found}, not {remote.sha256}. It was deleted; try again",
            path=file,
        )
