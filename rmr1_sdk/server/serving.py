"""Serving an application until it is told to stop: then what was accepted is finished, and nothing new begun."""

import ipaddress
import socket
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.server.gate import State

__all__ = ["Server", "listen", "run"]

_LAST_WORDS_S = 2.0  # for telling those who wait that time is over


def listen(host: str, port: int, *, keyed: bool) -> socket.socket:
    """A socket to serve on. Port 0 is one that is free.

    Raises ConfigError where it cannot be had, and for an address that others can reach where no key is needed.
    """
    if not keyed and not _is_loopback(host):
        raise ConfigError(f"without a key only this machine is served; give a key, or --host 127.0.0.1 for {host}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(f"{host}:{port} cannot be listened on: {error.strerror or error}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def run(app: FastAPI, sock: socket.socket, *, drain_s: float = 30.0) -> None:
    """Serve until SIGTERM or Ctrl-C, then for up to `drain_s` seconds what was accepted; a second one stops at once."""
    Server(app, drain_s=drain_s).run(sockets=[sock])


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
        self._until = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; a second signal stops at once."""
        if self._state.draining:
            self.should_exit = self.force_exit = True
        self._state.draining = True
        self._until = min(self._until, time.monotonic() + self._drain_s)

    async def on_tick(self, counter: int) -> bool:
        """Whether to leave the loop; asked ten times a second."""
        if self._state.draining:
            over = time.monotonic() - self._until
            if over >= 0:
                self._state.stopping.set()
            if not self._state.in_flight or over >= _LAST_WORDS_S:
                return True
        return await super().on_tick(counter)
