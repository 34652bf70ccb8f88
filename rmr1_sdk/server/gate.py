"""Middleware: authentication, limits, timeouts, and graceful shutdown."""

import asyncio
import hmac
import logging
import time
from base64 import b64decode
from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rmr1_sdk.concurrency import tasks
from rmr1_sdk.errors import ConfigError
from rmr1_sdk.keys import checked_key
from rmr1_sdk.server import problems
from rmr1_sdk.server.events import Events, event
from rmr1_sdk.server.limits import Limits
from rmr1_sdk.server.metrics import Metrics
from rmr1_sdk.server.problems import Problem

__all__ = ["Gate", "State", "checked_keys"]

_log = logging.getLogger(__name__)


class State:
    """State of a server: its limits, the requests in flight, and whether it is draining."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.in_flight = 0
        self.draining = False
        self.stopping = asyncio.Event()


class Gate:
    """Middleware that lets in what it may, and sees to it that what it lets in comes to an end.

    Args:
        app: what answers.
        state: kept up to date.
        metrics: are counted.
        keys: one of them opens; without any, everybody is let in.
        hosts: the names by which the server may be called; None is any.
        known: the paths that metrics call by their name.
        free: the paths for which no key is needed.
        always: the paths that answer while the server drains.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        state: State,
        metrics: Metrics,
        keys: Sequence[str],
        hosts: Collection[str] | None,
        known: Collection[str],
        free: Collection[str],
        always: Collection[str],
    ) -> None:
        self._app = app
        self._state = state
        self._metrics = metrics
        self._limits = state.limits
        self._keys = [_digest(key) for key in keys]
        self._hosts = hosts
        self._known, self._free, self._always = known, free, always

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = time.monotonic()
        reply = _Reply(send, self._state)
        try:
            try:
                await self._answer(scope, receive, reply)
            except (_Stuck, asyncio.CancelledError):
                raise
            except Exception as error:  # noqa: BLE001  # a mistake of ours, which goes to the log
                await reply.fail(problems.from_exception(error))
        except _Stuck:
            _log.warning("%s: a client took nothing for %g s and was let go", scope["path"], self._limits.write_s)
        finally:
            route = scope["path"] if scope["path"] in self._known else "other"
            self._metrics.requests.labels(route, reply.outcome).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - started)
        return None

    async def _answer(self, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        headers = Headers(scope=scope)
        if problem := self._refusal(scope["method"], scope["path"], headers):
            if self._state.draining:  # who is hung up on while still sending does not get to read the answer
                await self._body(headers, receive)
            return await reply.fail(problem)
        if scope["method"] != "POST":
            return await self._app(scope, receive, reply)
        self._state.in_flight += 1
        self._metrics.in_flight.inc()
        try:
            body = await self._body(headers, receive)
            if isinstance(body, Problem):
                await reply.fail(body)
            elif body is not None:
                await self._work(scope, body, receive, reply)
        finally:
            self._state.in_flight -= 1
            self._metrics.in_flight.dec()
        return None

    def _refusal(self, method: str, path: str, headers: Headers) -> Problem | None:
        """Why a request is not let in, from what its head tells."""
        if self._hosts is not None and _host(headers.get("host", "")) not in self._hosts:
            return problems.OTHER_HOST
        if self._state.draining and path not in self._always:
            return problems.DRAINING
        if self._keys and path not in self._free and not self._opens(headers.get("authorization", "")):
            return problems.NO_KEY
        if method == "POST" and self._state.in_flight >= self._limits.requests:
            return problems.OVERLOADED
        return None

    def _opens(self, authorization: str) -> bool:
        """True where the request has one of the keys; compared in constant time."""
        brought = _brought(authorization)
        given = _digest(brought)
        return bool(brought) and sum(hmac.compare_digest(given, known) for known in self._keys) > 0

    async def _body(self, headers: Headers, receive: Receive) -> bytes | Problem | None:
        """The body; None where the client went away before it was there."""
        limit = self._limits.body_bytes
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            return problems.too_large("the body in bytes", limit)
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > limit:
                        return problems.too_large("the body in bytes", limit)
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            return problems.TOO_SLOW

    async def _work(self, scope: Scope, body: bytes, receive: Receive, reply: "_Reply") -> None:
        """Run the application until it is done, the client is gone, or time is over."""

        async def answered() -> None:
            await self._app(scope, _replay(body), reply)

        async def left() -> None:
            await receive()  # the body is there, so nothing can come but the end of the connection

        async def stopped() -> None:
            await self._state.stopping.wait()

        problem: Problem | None = None
        async with tasks((answered(), left(), stopped())) as (work, gone, stop):
            await asyncio.wait((work, gone, stop), timeout=self._limits.request_s, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
            elif stop.done():
                problem = problems.STOPPED
            elif not gone.done():
                problem = problems.TIMEOUT
        if problem:
            await reply.fail(problem)


class _Stuck(Exception):
    """A client takes nothing of what is written for it."""


class _Reply:
    """Response to a client, and the part of it that was sent."""

    def __init__(self, send: Send, state: State) -> None:
        self._send = send
        self._state = state
        self._status = 0
        self._streams = False
        self._complete = False

    @property
    def outcome(self) -> str:
        """The status; "gone" where there was nobody to take it."""
        return str(self._status) if self._complete else "gone"

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = list(message["headers"])
            self._streams = Headers(raw=headers).get("content-type", "").startswith(Events.media_type)
            if self._state.draining:  # else the client sends its next request on a connection that is about to go
                message = {**message, "headers": [*headers, (b"connection", b"close")]}
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        try:
            async with asyncio.timeout(self._state.limits.write_s):
                if is_last and message.get("body"):  # in two, since the second is sent when the first is nearly taken
                    await self._send({**message, "more_body": True})
                    message = {"type": "http.response.body"}
                await self._send(message)
        except TimeoutError as error:
            raise _Stuck from error
        self._complete = is_last

    async def fail(self, problem: Problem) -> None:
        """Tell of a problem in the way that is still open: as the answer, or as its last event."""
        if not self._status:
            response = problem.response()
            await self({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
            await self({"type": "http.response.body", "body": response.body})
        elif self._streams and not self._complete:
            await self({"type": "http.response.body", "body": event("error", problem.body)})


def _host(header: str) -> str | None:
    """The name in a Host header; None where there is none to be read."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


def _brought(authorization: str) -> str:
    """The key of a header. Basic is for clients that are given an address alone: http://any:KEY@host."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return b64decode(value, validate=True).decode("utf-8", "surrogateescape").partition(":")[2]
    except ValueError:
        return ""


def checked_keys(keys: Sequence[str]) -> Sequence[str]:
    """The keys, if a header can bring each of them. Raises ConfigError; says nothing of what a key is."""
    if isinstance(keys, str):
        raise ConfigError("keys is a list of keys, not a text")
    for number, key in enumerate(keys, start=1):
        where = f"key {number} of {len(keys)}"
        if not key or key != checked_key(key, where):
            raise ConfigError(f"{where} is empty, or has space around it")
    return keys


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def _replay(body: bytes) -> Receive:
    """A body that was read already. Who takes it never hears of the end: the gate does."""
    messages: Iterable[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        for message in messages:
            return message
        never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        return await never

    return receive
