"""Server-sent events: how they are written, and what else goes on their line."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from rmr1_sdk.server import problems
from rmr1_sdk.types import Value

__all__ = ["KEEP_ALIVE_S", "Events", "event"]

KEEP_ALIVE_S = 15.0
"""Seconds of silence after which a comment shows that somebody is still at work."""
_COMMENT = b": still at work\n\n"


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
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(_kept_alive(self._events)) as told:
            async for piece in told:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})


async def _kept_alive(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
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
