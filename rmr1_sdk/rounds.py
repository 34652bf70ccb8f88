"""Work in rounds: a generator decides what to do, and this does it, all of a round at once."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

__all__ = ["drive", "in_order", "tasks"]

T = TypeVar("T")
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
