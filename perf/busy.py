"""Four small pairs on an idle and on a busy machine, by the way in which llama.cpp's threads wait for each other.

`python perf/busy.py [RUNS]` judges them with SmolLM2-135M, alone and beside one process that never rests, with threads
that sleep while they wait (as LlamaCpp has them) and with threads that wait in a loop first (as libgomp has them by
itself). It prints medians of three runs, alternated, each in a process of its own, and of their ratios.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from statistics import median

from rmr1_sdk import Judge, Pair

SETTINGS = {"asleep": {}, "in a loop": {"GOMP_SPINCOUNT": "300000"}}
"""The variables of each way to wait. The number is libgomp's own default."""
BUSY = """
import select, sys
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(1_000_000):
        pass
"""


@contextmanager
def busy() -> Iterator[None]:
    """One process beside this one that never rests. It ends when this one does: its input is closed then."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE) as process:
        try:
            yield
        finally:
            process.kill()


def judging() -> float:
    """Seconds for four pairs in both orders; the model is loaded before."""
    pairs = [Pair(question=f"What is {n} + {n}?", a=f"It is {2 * n}.", b=f"It is {2 * n + 1}.") for n in range(1, 5)]
    with Judge("llama_cpp:smollm2-135m", sampling={"max_tokens": 64}) as judge:
        assert judge.prompt  # the model is loaded
        started = time.perf_counter()
        assert len(list(judge.compare_many(pairs))) == 4
        return time.perf_counter() - started


def measured(setting: dict[str, str]) -> float:
    """The same in a process of its own: libgomp reads its variables once."""
    kept = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    command = [sys.executable, __file__, "--one"]
    return float(subprocess.run(command, env=kept | setting, stdout=subprocess.PIPE, text=True, check=True).stdout)


def main(runs: int = 3) -> None:
    print(f"processes that ran or waited in the last minute, before the first run: {os.getloadavg()[0]:.1f}")
    for name, beside in (("alone", nullcontext), ("beside one busy process", busy)):
        seconds: dict[str, list[float]] = {way: [] for way in SETTINGS}
        for _ in range(runs):
            for way, setting in SETTINGS.items():
                with beside():
                    seconds[way].append(measured(setting))
        ratios = [loop / asleep for asleep, loop in zip(*seconds.values(), strict=True)]
        each = ", ".join(f"{way} {median(taken):.1f} s" for way, taken in seconds.items())
        print(
            f"{name}: {each}, {median(ratios):.2f} times as long ({min(ratios):.2f} to {max(ratios):.2f})", flush=True
        )


if __name__ == "__main__":
    if sys.argv[1:] == ["--one"]:
        print(judging())
    else:
        main(*map(int, sys.argv[1:]))
