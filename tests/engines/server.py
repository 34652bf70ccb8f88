"""A real HTTP server on loopback that can be told to misbehave: how is a function of each request."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.processes import LIMIT_S


@dataclass
class Asked:
    """A request as it came in."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    number: int


@dataclass
class Reply:
    """What goes back. `cut` closes the connection in the middle of the body."""

    body: dict[str, Any]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    cut: bool = False


Behaviour = Callable[[Asked], Reply]


class Server:
    """Answers every POST as `behave` says, on a loop and a thread of its own."""

    def __init__(self, behave: Behaviour, port: int = 0) -> None:
        self.behave = behave
        self.asked: list[Asked] = []
        self.times: list[float] = []
        self.flying = 0
        self.dropped = 0
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Server":
        self._thread.start()
        assert self._started.wait(LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_S)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self._port, backlog=512))
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        asked = Asked(first.split()[1], json.loads(content or b"{}"), headers, len(self.asked))
        self.asked.append(asked)
        self.times.append(time.monotonic())
        self.flying += 1
        try:
            reply = self.behave(asked)
            if reply.delay_s and not await self._stays(reader, reply.delay_s):
                self.dropped += 1
                return False
        finally:
            self.flying -= 1
        text = json.dumps(reply.body).encode()
        fields = {"Content-Type": "application/json", "Content-Length": str(len(text)), **reply.headers}
        lines = [f"HTTP/1.1 {reply.status} X", *(f"{name}: {value}" for name, value in fields.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (text[: len(text) // 2] if reply.cut else text))
        await writer.drain()
        return not reply.cut

    async def _stays(self, reader: asyncio.StreamReader, seconds: float) -> bool:
        """Wait; False when the client goes away meanwhile."""
        gone: Awaitable[bytes] = reader.read(1)
        try:
            await asyncio.wait_for(gone, seconds)
        except TimeoutError:
            return True
        return False


def chat(text: str | None, *, finish: str = "stop", usage: dict[str, Any] | None = None, **message: Any) -> Reply:
    """A chat completion in OpenAI's form."""
    logprobs = message.pop("logprobs", None)
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    if logprobs is not None:
        top = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in logprobs]
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    usage = usage or {"prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55}
    return Reply(
        {"id": "1", "object": "chat.completion", "created": 1, "model": "m-1", "choices": [choice], "usage": usage}
    )


def refused(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """An error in OpenAI's form."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Reply({"error": error}, status=status, headers=headers or {})
