"""Server-sent events: format, and keep-alive comments."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from rmr1_sdk.concurrency import tasks
from rmr1_sdk.server import problems
from rmr1_sdk.types import Value

__all__ = ["KEEP_ALIVE_S", "Events", "event"]

KEEP_ALIVE_S = 15.0
"""Seconds of silence after which a comment shows that somebody is still at work."""
_COMMENT = b": still at work\n\n"
_END = b""


def event(name: str, data: Value) -> bytes:
    """An event on the wire. Its JSON is ASCII, so that nothing in it is a line break to anybody."""
    return f"event: {name}\ndata: {json.dumps(json.loads(data.model_dump_json()))}\n\n".encode()


class Events(StreamingResponse):
    """Events as they come, comments while none does, and an error in the end where one is raised."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(events, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them all. However this ends, their source is closed when it does; the gate sees who goes away."""
        waiting: asyncio.Queue[bytes] = asyncio.Queue()
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with tasks([self._fill(waiting)]):
            while piece := await _next(waiting):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    async def _fill(self, waiting: asyncio.Queue[bytes]) -> None:
        try:
            async with aclosing(self._events) as events:
                async for each in events:
                    waiting.put_nowait(each)
        except Exception as error:  # noqa: BLE001  # whatever it is, the client is told
            waiting.put_nowait(event("error", problems.from_exception(error).body))
        waiting.put_nowait(_END)


async def _next(waiting: asyncio.Queue[bytes]) -> bytes:
    """All that is there; a comment where nothing came for a while; nothing at the end."""
    try:
        async with asyncio.timeout(KEEP_ALIVE_S):
            pieces = [await waiting.get()]
    except TimeoutError:
        return _COMMENT
    while pieces[-1] != _END and not waiting.empty():
        pieces.append(waiting.get_nowait())
    if len(pieces) > 1 and pieces[-1] == _END:
        waiting.put_nowait(_END)  # it comes by itself
    return b"".join(pieces)
