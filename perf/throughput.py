"""What a judgment costs beside the engine: 20,000 pairs in both orders, with a store, over FakeBackend.

`python perf/throughput.py [PAIRS]` prints time, rate and growth of memory for a first run and for one
that finds everything in the store.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rmr1_sdk import FakeBackend, Judge, Pair, Request

ANSWER = "<type>Chat</type><rubric>1. Accuracy (100%)</rubric><eval>{}</eval>\n<answer>[[{}]]</answer>"


def pairs(count: int) -> Iterator[Pair]:
    for n in range(count):
        yield Pair(question=f"What is {n} + {n}?", a=f"It is {2 * n}.", b=f"It is {2 * n + 1}.", id=str(n))


def reply(request: Request) -> str:
    return ANSWER.format("Both were checked. " * 20, "AB"[len(request.messages[-1].content) % 2])


def megabytes() -> float:
    """The most memory this process ever held; the kernel counts in KiB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)


def run(count: int, store: Path) -> tuple[int, float]:
    backend = FakeBackend(reply)
    started = time.perf_counter()
    with Judge(backend, store=store) as judge:
        done = sum(judgment.winner is not None for judgment in judge.compare_many(pairs(count)))
    assert done == count
    return backend.asked, time.perf_counter() - started


def main(count: int = 20_000) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store.db"
        run(100, Path(folder) / "warm.db")  # imports and first uses
        before = megabytes()
        for name in ("first run", "from the store"):
            asked, seconds = run(count, store)
            print(
                f"{name:<15} {count} pairs in both orders: {seconds:5.1f} s, {count / seconds:,.0f} pairs/s, "
                f"{asked} requests, memory grew by {megabytes() - before:.0f} MB"
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
