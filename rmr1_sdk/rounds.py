"""Work in rounds: a generator decides what to do, and this does it, all of a round at once. And work done once."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Hashable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

__all__ = ["Memo", "drive", "in_order", "tasks"]

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
Asked = TypeVar("Asked")
Heard = TypeVar("Heard")


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
    """What comes of each, in order, with as many begun as `ahead` says. Closed early, it cancels the rest."""
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
