"""A large file through one process: 200,000 pairs of Parquet over FakeBackend, killed half way and resumed.

`python perf/bulk.py [PAIRS]` prints, for the killed run and the one that goes on, the time, the requests to the
engine and the most memory that the process held, and checks that every pair has one judgment. Needs pyarrow, and
about 14 KB of free disk a pair for the store.
"""

import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow
from pyarrow import parquet

from rmr1_sdk import Request

ROOT = Path(__file__).parents[1]
ANSWER = "<type>Chat</type><rubric>1. Accuracy (100%)</rubric><eval>{}</eval>\n<answer>[[{}]]</answer>"
GROUP = 100_000  # rows: a file as careless writers make them, with row groups that should not be read at once


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    seconds: float
    megabytes: float


def reply(request: Request) -> str:
    """Half a kilobyte and a verdict; leaves a byte in the file $ASKED."""
    with Path(os.environ["ASKED"]).open("ab", buffering=0) as file:
        file.write(b".")
    return ANSWER.format("Both were checked. " * 20, "AB"[len(request.messages[-1].content) % 2])


def columns(numbers: range) -> dict[str, list[str]]:
    """Questions and answers of a kilobyte."""
    return {
        "question": [f"What is {n} + {n}? Show how you came to it." for n in numbers],
        "a": [f"It is {2 * n}. " + f"To see this, add {n} to {n} digit by digit. " * 20 for n in numbers],
        "b": [f"It is {2 * n + 1}. " + f"I remember that {n} and {n} are this. " * 20 for n in numbers],
        "id": [f"pair {n}" for n in numbers],
    }


def write_pairs(path: Path, count: int) -> None:
    schema = pyarrow.schema({name: pyarrow.string() for name in ("question", "a", "b", "id")})
    with parquet.ParquetWriter(path, schema) as file:
        for start in range(0, count, GROUP):
            table = pyarrow.table(columns(range(start, min(start + GROUP, count))), schema=schema)
            file.write_table(table, row_group_size=GROUP)


def judge(pairs: Path, out: Path, asked: Path, kill_at: int | None = None) -> Ended:
    """`rmr1 judge`, killed when the engine was asked so often."""
    command = [sys.executable, "-c", "from rmr1_sdk.cli import main; main()", "judge", pairs, "--out", out]
    command += ["--model", "fake:perf.bulk:reply"]
    asked.write_bytes(b"")
    started = time.perf_counter()
    process = subprocess.Popen(
        list(map(str, command)), cwd=ROOT, env=os.environ | {"ASKED": str(asked)}, stdout=subprocess.DEVNULL
    )
    try:
        while kill_at is not None and asked.stat().st_size < kill_at and process.poll() is None:
            time.sleep(0.01)
        if kill_at is not None:
            process.kill()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        process.kill()  # where waiting for it was interrupted
    return Ended(process.returncode, time.perf_counter() - started, _megabytes(used))


def _megabytes(used: resource.struct_rusage) -> float:
    """The kernel counts in KiB, macOS in bytes."""
    return used.ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)


def ids(path: Path) -> Iterator[str]:
    for batch in parquet.ParquetFile(path).iter_batches(columns=["pair_id"]):
        yield from batch.column(0).to_pylist()


def main(count: int = 200_000) -> None:
    with tempfile.TemporaryDirectory() as name:
        pairs, out, asked = (Path(name) / file for file in ("pairs.parquet", "judgments.parquet", "asked"))
        # in a process of its own: what a process holds when it starts another counts as held by that one
        writer = multiprocessing.get_context("spawn").Process(target=write_pairs, args=(pairs, count))
        writer.start()
        writer.join()
        print(f"{count} pairs, {pairs.stat().st_size / 1e6:.0f} MB of Parquet")
        for what, kill_at in (("killed", count), ("resumed", None)):
            ended = judge(pairs, out, asked, kill_at)
            print(
                f"{what:<8} {ended.seconds:6.1f} s, {asked.stat().st_size} requests, "
                f"at most {ended.megabytes:.0f} MB, exit code {ended.code}"
            )
            assert ended.megabytes < 400
        assert ended.code == 0
        assert list(ids(out)) == [f"pair {n}" for n in range(count)]
        print(f"{count} judgments, each pair once and in order, {out.stat().st_size / 1e6:.0f} MB of Parquet")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
