"""A real server as a process of its own, which can be killed and started again on its port."""

import logging
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from rmr1_sdk import Judge, Pair
from rmr1_sdk.backends.openai import OpenAI
from rmr1_sdk.concurrency import submit, wait


class Served:
    """`command` makes the command line from a port; `log` takes what the server says."""

    def __init__(self, command: Callable[[int], list[str]], log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = command(self.port)
        self._log = log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)

    def wait(self) -> None:
        for _ in range(1000):
            try:
                urllib.request.urlopen(f"{self.url}/models", timeout=5).close()
            except OSError:
                assert self.process.poll() is None, self._log.read_text()[-3000:]
                time.sleep(0.1)
            else:
                return
        raise AssertionError("the server did not come up")

    def kill(self) -> None:
        """kill -9, of the processes it started too."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

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
        while "trying again" not in caplog.text:
            time.sleep(0.1)
        server.start()
        done += list(judgments)
        assert [judgment.pair_id for judgment in done] == [str(n) for n in range(1, 7)]
        assert all(len(judgment.verdicts) == 2 for judgment in done)
        assert f"openai:{engine.model} at {server.url}: " in caplog.text
        server.kill()  # the store is whole: the same run again needs no server
        assert list(judge.compare_many(pairs)) == done
    wait(submit(engine.aclose()))
