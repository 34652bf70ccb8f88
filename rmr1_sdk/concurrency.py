"""Background event loop, per-process values, and helpers for concurrent work.

Callers in notebooks, in threads and in loops of their own hand work over to the loop, so a backend only
ever sees one. It starts on first use and starts again in a forked child.
"""

import asyncio
import os
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Hashable, Iterable
from concurrent.futures import CancelledError, Future
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

__all__ = ["Memo", "PerProcess", "await_", "drive", "in_order", "submit", "tasks", "wait"]

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
Asked = TypeVar("Asked")
Heard = TypeVar("Heard")


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


async def await_(future: Future[T]) -> T:
    """The future's result, awaited from any event loop; cancelling the waiter cancels the work."""
    try:
        return await asyncio.wrap_future(future)
    except CancelledError as error:  # the work was cancelled from elsewhere, by close() for one
        raise asyncio.CancelledError from error


async def drive(flow: Generator[Asked, Heard, T], play: Callable[[Asked], Awaitable[Heard]]) -> T:
    """Play each round that a generator yields, send it what came of it, and return what it returns."""
    try:
        asked = next(flow)
        while True:
            asked = flow.send(await play(asked))
    except StopIteration as end:
        outcome: T = end.value
        return outcome


@asynccontextmanager
async def tasks(
    work: Iterable[Coroutine[Any, Any, T]], *, in_turn: bool = False
) -> AsyncIterator[list[asyncio.Task[T]]]:
    """Tasks that end with the block: what is still at work then is cancelled, and waited for.

    `in_turn` lets others begin one of theirs after each.
    """
    started: list[asyncio.Task[T]] = []
    try:
        for part in work:
            started.append(asyncio.create_task(part))
            if in_turn:
                await asyncio.sleep(0)
        yield started
    finally:
        for task in started:
            task.cancel()
        await asyncio.gather(*started, return_exceptions=True)


class Memo(Generic[K, T]):
    """The values that were kept last, `most` of them, and for each key one at a time who makes its value."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[K, T] = OrderedDict()
        self._turns: dict[K, list[asyncio.Lock]] = {}  # for each key its lock, as often as somebody holds or awaits it

    @asynccontextmanager
    async def turn(self, key: K) -> AsyncIterator[None]:
        """Wait for those who came before: one of them may have kept a value."""
        users = self._turns.setdefault(key, [])
        lock = users[0] if users else asyncio.Lock()
        users.append(lock)
        try:
            async with lock:
                yield
        finally:
            users.pop()
            if not users:
                del self._turns[key]

    def get(self, key: K) -> T | None:
        """The value kept for a key."""
        return self._kept.get(key)

    def put(self, key: K, value: T) -> None:
        """Keep a value in place of the oldest."""
        self._kept[key] = value
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)


async def in_order(work: Iterable[Coroutine[Any, Any, T]], ahead: int) -> AsyncGenerator[T, None]:
    """Yield results in order, with up to `ahead` tasks started. Closing the generator cancels the rest."""
    started: deque[asyncio.Task[T]] = deque()
    try:
        for part in work:
            started.append(asyncio.create_task(part))
            if len(started) >= ahead:
                yield await started.popleft()
        while started:
            yield await started.popleft()
    finally:
        for task in started:
            task.cancel()
        await asyncio.gather(*started, return_exceptions=True)
