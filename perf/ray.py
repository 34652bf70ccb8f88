"""What a Ray cluster on this machine adds to and takes from a single process: rates, and their ratio.

`python perf/ray.py [PAIRS [GGUF_PAIRS]]` judges the same pairs by `rmr1 judge` alone and with `--ray local`: with an
engine that takes 50 ms for a request, and with SmolLM2-135M. A rate is that of the second half of a run, by when its
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
BLOCK = 32


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
    """Pairs a second in the second half of a run."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.jsonl"
        command = [
            sys.executable,
            "-c",
            "from rmr1_sdk.cli import main; main()",
            "judge",
            pairs,
            "--out",
            out,
            *options,
        ]
        process = subprocess.Popen(
            list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while (half := done(out)) < count / 2:
            assert process.poll() is None, "the run ended early"
            time.sleep(0.01)
        began = time.perf_counter()
        while (all_ := done(out)) < count:
            assert process.poll() in (None, 0)
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        assert process.wait() == 0
        return (all_ - half) / seconds


def compare(name: str, count: int, model: str, *options: object, replicas: tuple[int, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder) / "pairs.jsonl"
        write_pairs(pairs, count)
        shared = ("--model", model, *options)
        alone = rate(pairs, count, *shared, "--no-store")
        print(f"{name}: one process {alone:.3g} pairs/s")
        for n in replicas:
            cpus = (os.cpu_count() or 1) / n  # what fits, whatever the number of cores
            ray = ("--ray", "local", "--replicas", n, "--cpus", cpus, "--block-size", BLOCK)
            found = rate(pairs, count, *shared, *ray)
            print(f"{name}: {n} replicas {found:.3g} pairs/s, {found / alone:.2f} times")


def main(count: int = 8000, gguf_count: int = 128) -> None:
    # four requests in flight each: so few that the engine, and not Python, is what a replica waits for
    compare("50 ms", count // 8, "fake:perf.ray:reply", "--max-concurrency", 4, replicas=(1, 2, 4))
    # as many as it takes: how much Python does for one process, and for two on two cores
    compare("50 ms, 64 in flight", count, "fake:perf.ray:reply", replicas=(1, 2))
    if gguf_count:
        compare("GGUF", gguf_count, "llama_cpp:smollm2-135m", "--max-tokens", 16, replicas=(1, 2))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
