"""What a test starts ends with it, however it ends."""

import fcntl
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import Child, until

ROOT = Path(__file__).parents[1]

STUCK = """
import fcntl, os, signal, subprocess, sys, time
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
lock, role = sys.argv[1:]
fcntl.flock(os.open(lock, os.O_RDWR), fcntl.LOCK_SH)
if role == "parent":
    subprocess.Popen([sys.executable, *sys.orig_argv[1:-1], "grandchild"], start_new_session=sys.platform == "linux")
print(role, "is stuck", flush=True)
time.sleep(10_000)
"""
"""Heeds nothing but kill -9, and so does what it starts in a session of its own. Each holds a lock while it lives."""

TEST = """
def test_{number}():
    with Child({command}) as child:
        child.until(lambda: child.stdout.count("is stuck") == 2)
        {ending}
"""


def session(folder: Path, *endings: str) -> "subprocess.CompletedProcess[str]":
    """A run of pytest, with a test for each way to leave the block of a stuck child. None of the children is left."""
    lock, file = folder / "lock", folder / "test_stuck.py"
    lock.touch()
    command = [sys.executable, "-c", STUCK, str(lock), "parent"]
    file.write_text("import signal, threading\nfrom tests.processes import Child\n")
    with file.open("a") as tests:
        for number, ending in enumerate(endings):
            tests.write(TEST.format(number=number, command=command, ending=ending))
    # no summary: where the variable CI is set it repeats each failure whole
    options = ["-c", ROOT / "pyproject.toml", "-p", "tests.conftest", "-p", "no:cacheprovider", "-rN"]
    with Child([sys.executable, "-m", "pytest", *options, file], cwd=ROOT) as pytest_run, lock.open("r+") as held:
        said = pytest_run.finish()
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return said


def test_a_stuck_child_ends_with_its_test_which_says_what_it_wrote(tmp_path: Path) -> None:
    said = session(
        tmp_path,
        "child.finish(within=0.1)",
        "signal.setitimer(signal.ITIMER_REAL, 0.1); threading.Event().wait()",  # the timer of pytest-timeout
        "assert 1 == 2",
        "pass",
    )
    assert said.returncode == 1, said.stdout
    assert "3 failed, 1 passed" in said.stdout
    for error in ("did not end within 0.1 s", "from pytest-timeout", "assert 1 == 2"):
        assert error in said.stdout
    lines = [line.removeprefix("E").strip() for line in said.stdout.splitlines()]
    assert lines.count("parent is stuck") == lines.count("grandchild is stuck") == 3


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_stuck_child_ends_with_a_run_that_is_stopped(tmp_path: Path, sent: signal.Signals) -> None:
    said = session(tmp_path, f"signal.raise_signal({sent:d})", "pass")
    assert said.returncode == 2, said.stdout
    assert "no tests ran" in said.stdout
    assert "KeyboardInterrupt" in said.stdout


def test_waiting_for_a_child_that_has_ended_fails() -> None:
    with (
        pytest.raises(AssertionError, match="it ended before") as caught,
        Child([sys.executable, "-c", "print('my last words'); raise SystemExit(3)"]) as child,
    ):
        child.until(lambda: False)
    assert "had ended with 3; it wrote:\nmy last words\n" in caught.value.__notes__[0]


def test_waiting_for_what_does_not_happen_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"did not happen within 0.01 s"):
        until(lambda: False, within=0.01)
