"""What a Ray cluster on this machine adds to and takes from a single process: rates, and their ratio.

`python perf/with_ray.py [PAIRS [GGUF_PAIRS]]` judges the same pairs by `rmr1 judge` alone and with `--ray local`:
with an engine that takes 50 ms for a request, and with SmolLM2-135M, which has a thread for each core in every run:
all of them in one process, or shared out among the replicas. A rate is that of the second half of a run, by when its
results were written, so that starting a cluster and loading a model are not in it. `GGUF_PAIRS` of 0 leaves the model
out.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from rmr1_sdk import Request

ROOT = Path(__file__).parents[1]
LATENCY_S = 0.05
BLOCK = 32  # of pairs, or fewer where there are few: several should be left for the second half of a run
CORES = os.cpu_count() or 1
LIMIT_S = 1800  # a run that takes longer does not get on


async def reply(request: Request) -> str:
    """A verdict after 50 ms; any number at once."""
    await asyncio.sleep(LATENCY_S)
    return "<eval>Both were checked.</eval>\n<answer>[[A]]</answer>"


def write_pairs(path: Path, count: int) -> None:
    rows = ({"question": f"What is {n} + {n}?", "a": f"It is {2 * n}.", "b": f"{2 * n + 1}"} for n in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def done(out: Path) -> int:
    """How many judgments are written, as a file that grows or as shards."""
    files = list(out.glob("part-*.jsonl")) if out.is_dir() else [out if out.exists() else Path(f"{out}.part")]
    with suppress(FileNotFoundError):  # not begun, or renamed just now
        return sum(path.read_bytes().count(b"\n") for path in files)
    return 0


def rate(pairs: Path, count: int, *options: object) -> float:
    """Pairs a second in the second half of a run.

    Replicas end blocks at about the same time, and the half may begin between them: a rate may be too high by the
    blocks that are in work at once, of those of the second half.
    """
    # without it, llama.cpp has a thread for each core, and in a replica for each that Ray sets aside there
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.jsonl"
        program = "from rmr1_sdk.cli import main; main()"
        command = [sys.executable, "-c", program, "judge", pairs, "--out", out, *options]
        process = subprocess.Popen(
            list(map(str, command)), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        half, began = reached(count / 2, out, process)
        all_, ended = reached(count, out, process)
        assert process.wait() == 0
        return (all_ - half) / (ended - began)


def reached(count: float, out: Path, process: "subprocess.Popen[bytes]") -> tuple[int, float]:
    """How many judgments were written when there were so many, and when that was."""
    end = time.perf_counter() + LIMIT_S
    while (written := done(out)) < count:
        assert process.poll() in (None, 0), "the run ended early"
        if time.perf_counter() > end:
            process.terminate()
            raise TimeoutError(f"{written} of {count} judgments in {LIMIT_S} s")
        time.sleep(0.01)
    return written, time.perf_counter()


def compare(name: str, count: int, block: int, model: str, *options: object, replicas: tuple[int, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder) / "pairs.jsonl"
        write_pairs(pairs, count)
        shared = ("--model", model, *options)
        alone = rate(pairs, count, *shared, "--no-store")
        print(f"{name}: one process {alone:.3g} pairs/s", flush=True)
        for n in replicas:
            cpus = CORES // n or CORES / n  # what fits; above one, Ray wants whole cores
            ray = ("--ray", "local", "--replicas", n, "--cpus", cpus, "--block-size", block)
            found = rate(pairs, count, *shared, *ray)
            print(f"{name}: {n} replicas {found:.3g} pairs/s, {found / alone:.2f} times", flush=True)


def main(count: int = 8000, gguf_count: int = 128) -> None:
    # four requests in flight each: so few that the engine, and not Python, is what a replica waits for
    compare("50 ms", count // 4, 4, "fake:perf.with_ray:reply", "--max-concurrency", 4, replicas=(1, 2, 4))
    # as many as it takes: how much Python does for one process, and for two on two cores
    compare("50 ms, 64 in flight", count, 32, "fake:perf.with_ray:reply", replicas=(1, 2))
    if gguf_count:
        name = f"GGUF, {CORES} threads in all"
        sizes = tuple(n for n in (1, 2) if CORES % n == 0)
        compare(name, gguf_count, 4, "llama_cpp:smollm2-135m", "--max-tokens", 16, replicas=sizes)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
