"""Serve an application until it is told to stop, then finish accepted requests."""

import ipaddress
import socket
import time
from types import FrameType
from typing import NamedTuple

import uvicorn
from fastapi import FastAPI

from rmr1_sdk.errors import ConfigError, file_errors
from rmr1_sdk.server.gate import State

__all__ = ["LOOPBACK", "Server", "listen", "run"]

_QUIET_S = 0.5  # for refusing those who come back after their last answer, rather than hanging up on them
_LAST_WORDS_S = 2.0  # for telling those who wait that time is over


def listen(host: str, port: int, *, keyed: bool) -> socket.socket:
    """A socket to serve on. Port Port; 0 picks a free one.

    Raises ConfigError where it cannot be had, and for an address that others can reach where no key is needed.
    """
    if not keyed and not _is_loopback(host):
        raise ConfigError(f"without a key only this machine is served; give a key, or --host 127.0.0.1 for {host}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with file_errors(f"{host}:{port} cannot be listened on"):
        return socket.create_server((host, port), family=family, backlog=2048)


LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""The names of this machine, to itself."""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def run(app: FastAPI, sock: socket.socket, *, drain_s: float = 30.0) -> None:
    """Serve until SIGTERM or Ctrl-C, then for up to `drain_s` seconds what was accepted; a second one stops at once."""
    Server(app, drain_s=drain_s).run(sockets=[sock])


class _Left(NamedTuple):
    """Bytes that a closing connection has not delivered yet, and the time since that number last changed."""

    size: int
    since: float


class Server(uvicorn.Server):
    """uvicorn, but while it finishes what it accepted it answers what is new with a refusal."""

    def __init__(self, app: FastAPI, *, drain_s: float = 30.0) -> None:
        config = uvicorn.Config(
            app,
            http="h11",
            loop="asyncio",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
        super().__init__(config)
        self._state: State = app.state.rmr1
        self._drain_s = drain_s
        self._left: dict[object, _Left] = {}
        self._until = float("inf")
        self._idle_since = float("-inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; a second signal stops at once."""
        if self._state.draining:
            self.should_exit = self.force_exit = True
        self._state.draining = True
        now = time.monotonic()
        self._until = min(self._until, now + self._drain_s)
        if self.server_state.connections:
            self._idle_since = now

    async def on_tick(self, counter: int) -> bool:
        """True where the server should leave its loop; called ten times a second."""
        now = time.monotonic()
        self._let_go(now)
        if self._state.draining:
            if self._state.in_flight:
                self._idle_since = now
            if now >= self._until:
                self._state.stopping.set()
            if now >= min(self._idle_since + _QUIET_S, self._until + _LAST_WORDS_S):
                return True
        return await super().on_tick(counter)

    def _let_go(self, now: float) -> None:
        """Hang up on clients who take nothing of what is left for them; what waits to be taken takes memory."""
        left: dict[object, _Left] = {}
        for connection in self.server_state.connections:
            transport = connection.transport
            if transport.is_closing():
                seen, size = self._left.get(connection), transport.get_write_buffer_size()
                left[connection] = seen if seen and seen.size == size else _Left(size, now)
                if now - left[connection].since > self._state.limits.write_s:
                    transport.abort()
        self._left = left
