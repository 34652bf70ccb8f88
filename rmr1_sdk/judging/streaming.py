"""Streaming of a judge's text to the caller. Everything here runs on the background loop."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from rmr1_sdk.judging.flow import Ask
from rmr1_sdk.parsing import Piece, Splitter
from rmr1_sdk.types import Completion, Section

__all__ = ["Listener", "Stream"]

T = TypeVar("T")


class Stream(Generic[T]):
    """Events that wait for a caller to take them.

    The queue has no bound: it holds at most what one comparison writes, and a backend that waited for a slow
    reader would hold up everybody else's requests.
    """

    def __init__(self) -> None:
        self._events: asyncio.Queue[T | None] = asyncio.Queue()

    def put(self, event: T | None) -> None:
        """Add an event; None is the end."""
        self._events.put_nowait(event)

    async def take(self) -> list[T]:
        """Events since the last call, at least one; empty at the end."""
        batch: list[T] = []
        event = await self._events.get()
        while event is not None:
            batch.append(event)
            if self._events.empty():
                return batch
            event = self._events.get_nowait()
        if batch:
            self.put(None)  # the end comes after this batch
        return batch


class Listener:
    """Makes events of one completion, whether it is told in pieces or comes as a whole.

    Args:
        put: takes each event.
        ask: which reading it is.
        thinking: whether the prompt has opened a thought with which the text goes on.
    """

    def __init__(self, put: Callable[[Section], None], ask: Ask, *, thinking: bool) -> None:
        self._put = put
        self._ask = ask
        self._thinking = thinking
        self._splitter = Splitter(thinking=thinking)
        self._told = ""

    def hear(self, text: str) -> None:
        """Take the next piece of the text."""
        self._told += text
        self._tell(self._splitter.feed(text))

    def finish(self, completion: Completion) -> None:
        """Tell what was not told yet; nothing is open any more."""
        if completion.reasoning is not None and not self._told:
            self._splitter = Splitter()  # the thought was delivered apart
            self._tell([Piece("thinking", completion.reasoning.strip(), done=True)])
        if completion.text.startswith(self._told):
            self._tell(self._splitter.feed(completion.text[len(self._told) :]))
        self._tell(self._splitter.close())

    def _tell(self, pieces: Iterable[Piece]) -> None:
        _, shown, vote, attempt = self._ask
        for name, text, done in pieces:
            self._put(Section(name=name, text=text, done=done, shown=shown, vote=vote, attempt=attempt))
