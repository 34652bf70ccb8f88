"""Our server on loopback, in a thread of this process, for tests."""

import json
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import httpx2

from rmr1_sdk import Judge
from rmr1_sdk.server import Limits, create_app, listen
from rmr1_sdk.server.gate import State
from rmr1_sdk.server.serving import Server
from tests.processes import LIMIT_S


class Serving:
    """A server that runs, and a client of it."""

    def __init__(self, judge: Judge, keys: Sequence[str], limits: Limits | None, drain_s: float, port: int) -> None:
        app = create_app(judge, keys=keys, limits=limits)
        self.state: State = app.state.rmr1
        self.server = Server(app, drain_s=drain_s)
        self._socket = listen("127.0.0.1", port, keyed=bool(keys))
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        headers = {"Authorization": f"Bearer {keys[0]}"} if keys else {}
        self.client = httpx2.Client(base_url=self.url, headers=headers, timeout=LIMIT_S)
        self.thread = threading.Thread(target=self.server.run, args=([self._socket],), daemon=True)
        self.thread.start()

    def terminate(self) -> None:
        """What SIGTERM does to a server that has a process of its own."""
        self.server.handle_exit(signal.SIGTERM, None)

    def post(self, path: str, body: Any, **more: Any) -> httpx2.Response:
        return self.client.post(path, json=body, **more)

    def raw(self, path: str, body: Any = None, *, length: int | None = None) -> socket.socket:
        """A connection on which a request was sent, and nothing was read yet."""
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content) if length is None else length}\r\n\r\n"
        )
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT_S)
        connection.sendall(head.encode() + content)
        return connection

    def close(self) -> None:
        self.client.close()
        if not self.state.draining:
            self.terminate()
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive(), "the server did not stop"


@contextmanager
def serving(
    judge: Judge, *, keys: Sequence[str] = (), limits: Limits | None = None, drain_s: float = 10.0, port: int = 0
) -> Iterator[Serving]:
    with closing(Serving(judge, keys, limits, drain_s, port)) as server:
        yield server


def read_events(text: str) -> list[tuple[str, Any]]:
    """Name and data of each event of a stream; comments have the name ""."""
    found = []
    for block in text.split("\n\n")[:-1]:
        if block.startswith(":"):
            found.append(("", block))
            continue
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found
