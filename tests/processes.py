"""Child processes of tests. Each ends before its test does, and every wait has a limit.

A limit ends what is stuck. It is many times what the work takes, so that a busy machine does not reach it.
"""

import multiprocessing
import os
import pty
import select
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import pytest

LIMIT_S = 300.0
"""Seconds until something is stuck. The limit of a whole test, in pyproject.toml, is longer."""


def until(holds: Callable[[], object], *, within: float = LIMIT_S) -> None:
    """Wait for a condition, and fail the test when the time is over."""
    end = time.monotonic() + within
    while not holds():
        if time.monotonic() > end:
            pytest.fail(f"what the test waits for did not happen within {within:g} s")
        time.sleep(0.01)


class Child:
    """A command in a process and a session of its own. Leaving the block kills it and all that it started.

    An error that leaves the block, a time-out or Ctrl-C too, is told with what the command wrote.
    """

    def __init__(
        self,
        command: Sequence[object],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdout: int | None = None,
    ) -> None:
        self._command = list(map(str, command))
        self._mark = f"CHILD_OF_A_TEST_{uuid4().hex}"
        # files and not pipes: nobody has to read them, and a grandchild does not keep them open
        self._folder = Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, self._folder)
        with self._file("stdout").open("wb") as out, self._file("stderr").open("wb") as err:
            self._process = subprocess.Popen(  # noqa: TID251
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=err,
                env={**(os.environ if env is None else env), self._mark: ""},
                cwd=cwd,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        running = self.running
        self.kill()
        if error:
            state = "was running" if running else f"had ended with {self._process.returncode}"
            error.add_note(f"{self._command} {state}; it wrote:\n{self.stdout[-3000:]}\n{self.stderr[-3000:]}")

    def _file(self, name: str) -> Path:
        return self._folder / name

    @property
    def stdout(self) -> str:
        """All that it wrote up to now."""
        return self._file("stdout").read_text("utf-8", errors="replace")

    @property
    def stderr(self) -> str:
        """All that it wrote up to now."""
        return self._file("stderr").read_text("utf-8", errors="replace")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        self._process.send_signal(number)

    def until(self, holds: Callable[[], object]) -> None:
        """Wait for something that happens while it runs."""

        def held() -> bool:
            if holds():
                return True
            assert self.running, "it ended before"
            return False

        until(held)

    def finish(self, *, within: float = LIMIT_S, check: bool = False) -> "subprocess.CompletedProcess[str]":
        """Wait for its end; with `check` the exit code has to be 0."""
        try:
            code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the process did not end within {within:g} s")
        assert not (check and code), f"exit code {code}"
        return subprocess.CompletedProcess(self._command, code, self.stdout, self.stderr)

    def kill(self) -> None:
        """kill -9, of all that it started too."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.finish()
        until(lambda: not self._kill_marked())

    def _kill_marked(self) -> bool:
        """Kill what has our mark in its environment, in whatever session it is. Only Linux shows environments."""
        found = False
        for file in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # it has ended, or is somebody else's
                if self._mark.encode() in file.read_bytes():
                    os.kill(int(file.parent.name), signal.SIGKILL)
                    found = True
        return found


def run(command: Sequence[object], *, check: bool = False, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, with options of `Child`."""
    with Child(command, **options) as child:
        return child.finish(check=check)


def run_on_a_terminal(command: Sequence[object]) -> "subprocess.CompletedProcess[str]":
    """Run a command that has to end well, with its standard output on a terminal."""
    ours, theirs = pty.openpty()
    text = b""
    try:
        with Child(command, stdout=theirs) as child:
            os.close(theirs)
            with suppress(OSError):  # how a terminal ends
                while select.select([ours], [], [], LIMIT_S)[0] and (part := os.read(ours, 10_000)):
                    text += part
            done = child.finish(check=True)
    finally:
        os.close(ours)
    done.stdout = text.decode()
    return done


@contextmanager
def forked(target: Callable[..., None], *arguments: object) -> Iterator[BaseProcess]:
    """A fork of this process that calls a function. Leaving the block kills it."""
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)  # noqa: TID251
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join(LIMIT_S)
