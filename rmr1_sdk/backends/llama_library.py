"""Load llama.cpp's library so that its threads sleep while they wait."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from rmr1_sdk.errors import MissingExtraError

__all__ = ["load_library"]

_log = logging.getLogger(__name__)

_lock = Lock()  # else one thread would take the variable that another has just set for the user's


def load_library() -> Any:
    """Import llama_cpp, with threads that wait passively unless OMP_WAIT_POLICY or GOMP_SPINCOUNT is set.

    By default they wait in a loop. On a machine that is busy with other things, a thread that waits so takes the core
    from the thread it waits for.

    Raises MissingExtraError where llama_cpp is not installed.
    """
    with _lock:
        return _load()


@cache
def _load() -> Any:
    with _passive_waiting():
        try:
            import llama_cpp
        except ImportError as error:
            raise MissingExtraError("llama_cpp", "llama-cpp") from error
    return llama_cpp


@contextmanager
def _passive_waiting() -> Iterator[None]:
    """Set OMP_WAIT_POLICY while a library is loaded: libgomp reads it then and never again.

    Afterwards it is removed, so that neither child processes nor torch inherit it.
    """
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        yield
        return
    if loaded := _loaded_before():
        _log.warning(
            "%s was loaded before rmr1_sdk could make llama.cpp's threads wait passively. Where the machine is busy "
            "with other things, start with OMP_WAIT_POLICY=passive",
            loaded,
        )
    os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        yield
    finally:
        del os.environ["OMP_WAIT_POLICY"]


def _loaded_before() -> str | None:
    """The name of what has already read the environment. libgomp is found on Linux alone."""
    if "llama_cpp" in sys.modules:
        return "llama_cpp"
    try:
        return "libgomp" if b"/libgomp" in Path("/proc/self/maps").read_bytes() else None
    except OSError:
        return None
