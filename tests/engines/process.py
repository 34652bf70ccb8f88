"""A real server as a process of its own, which can be killed and started again on its port."""

import logging
import socket
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from rmr1_sdk import Judge, Pair
from rmr1_sdk.backends.openai import OpenAI
from rmr1_sdk.concurrency import submit, wait
from tests.processes import Child, until


class Served:
    """`command` makes the command line from a port. Up when the block is entered, and killed when it is left."""

    def __init__(self, command: Callable[[int], list[str]]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = command(self.port)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            self.start()
            self._child.until(self._answers)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def start(self) -> None:
        self._child = self._stack.enter_context(Child(self._command))

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/models", timeout=5).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """kill -9, of the processes it started too."""
        self._child.kill()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


def outlive(server: Served, store: Path, caplog: pytest.LogCaptureFixture) -> None:
    """kill -9 of the server in the middle of a run; the run waits, says so, and goes on when it is back."""
    engine = OpenAI("smollm2", base_url=server.url, concurrency=2)  # so that most of the work is still to come
    pairs = [Pair(question=f"What is {n} + {n}?", a=str(2 * n), b="0", id=str(n)) for n in range(1, 7)]
    with caplog.at_level(logging.WARNING), Judge(engine, store=store, sampling={"max_tokens": 16}) as judge:
        judgments = judge.compare_many(pairs)
        done = [next(judgments)]
        server.kill()
        until(lambda: "trying again" in caplog.text)
        server.start()
        done += list(judgments)
        assert [judgment.pair_id for judgment in done] == [str(n) for n in range(1, 7)]
        assert all(len(judgment.verdicts) == 2 for judgment in done)
        assert f"openai:{engine.model} at {server.url}: " in caplog.text
        server.kill()  # the store is whole: the same run again needs no server
        assert list(judge.compare_many(pairs)) == done
    wait(submit(engine.aclose()))
