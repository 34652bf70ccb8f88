"""Server-sent events: how they are written, and how a judge's pieces become them."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

from rmr1_sdk.loop import await_, submit
from rmr1_sdk.server import problems
from rmr1_sdk.streaming import Stream
from rmr1_sdk.types import Completion, Request, Value

if TYPE_CHECKING:
    from rmr1_sdk.judge import Judge

__all__ = ["KEEP_ALIVE_S", "Events", "event", "pieces"]

KEEP_ALIVE_S = 15.0
"""Seconds of silence after which a comment shows that somebody is still at work."""
_COMMENT = b": still at work\n\n"


def event(name: str, data: Value) -> bytes:
    """An event on the wire. Its JSON is ASCII, so that nothing in it is a line break to anybody."""
    return f"event: {name}\ndata: {json.dumps(data.model_dump(mode='json'))}\n\n".encode()


class Events(StreamingResponse):
    """Events as they come, comments while none does, and an error in the end where one is raised."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(_kept_alive(events), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


async def _kept_alive(events: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    async with aclosing(events):
        coming = asyncio.create_task(_next(events))
        try:
            while True:
                if not (await asyncio.wait([coming], timeout=KEEP_ALIVE_S))[0]:
                    yield _COMMENT
                    continue
                if (come := coming.result()) is None:
                    return
                yield come
                coming = asyncio.create_task(_next(events))
        except Exception as error:  # noqa: BLE001  # whatever it is, the client is told
            yield event("error", problems.of(error).body)
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


async def _next(events: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(events, None)


async def pieces(judge: "Judge", request: Request) -> AsyncGenerator[str | Completion, None]:
    """The text of a completion as it is written, and last the completion."""
    stream: Stream[str] = Stream()

    async def work() -> Completion:
        try:
            return await judge.acomplete(request, on_text=stream.put)
        finally:
            stream.put(None)

    flight = submit(work())
    try:
        while batch := await await_(submit(stream.take())):
            yield "".join(batch)
        completion = await await_(flight)
        yield completion
    finally:
        flight.cancel()
