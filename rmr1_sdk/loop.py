"""What lives once in a process: the background event loop on which all engine work runs, and PerProcess.

Callers in notebooks, in threads and in loops of their own hand work over to the loop, so an engine only
ever sees one. It starts on first use and starts again in a forked child.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar

__all__ = ["PerProcess", "await_", "submit", "wait", "waited"]

P = ParamSpec("P")
T = TypeVar("T")


class PerProcess(Generic[T]):
    """A value made on first use, once in each process, and never pickled.

    After a fork the child makes its own: threads, connections and contexts do not survive one.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._value: T | None = None

    def get(self) -> T:
        """The value of this process."""
        if self._pid != os.getpid():  # the parent's lock may have been held while it forked
            self._forget()
        with self._lock:
            if self._value is None:
                self._value = self._make()
            return self._value

    def take(self) -> T | None:
        """Give up the value of this process, if it was made; the next `get` makes a new one."""
        if self._pid != os.getpid():
            self._forget()
        with self._lock:
            value, self._value = self._value, None
            return value

    def __getstate__(self) -> dict[str, Any]:
        return {"_make": self._make}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._make = state["_make"]
        self._forget()


def _start() -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="rmr1-loop", daemon=True)
    thread.start()
    return loop, thread


_background = PerProcess(_start)


def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Start work on the background loop; cancelling the future cancels the work."""
    return asyncio.run_coroutine_threadsafe(work, _background.get()[0])


def wait(future: Future[T]) -> T:
    """The future's result. Interrupted (Ctrl-C), it cancels the work before it raises.

    Raises RuntimeError on the background loop itself, where waiting would never end.
    """
    if threading.current_thread() is _background.get()[1]:
        future.cancel()
        raise RuntimeError(
            "a blocking call inside the judge's own event loop would wait for itself; use the async method"
        )
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def waited(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """The same, waited for: the synchronous twin of an asynchronous function or method."""

    @wraps(work)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return wait(submit(work(*args, **kwargs)))

    return call


async def await_(future: Future[T]) -> T:
    """The future's result, awaited from any event loop; cancelling the waiter cancels the work."""
    try:
        return await asyncio.wrap_future(future)
    except CancelledError as error:  # the work was cancelled from elsewhere, by close() for one
        raise asyncio.CancelledError from error
