"""How long a benchmark takes besides the model: a whole run, and scoring alone.

`python perf/bench.py` makes files of RewardBench's and RMB's published size and schema, with texts of our own; runs
`rmr1 bench` over FakeBackend through store, record and scores, and once more from the store; and scores the run again
without a model. It fails where the first takes more than 15 s.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # the file is made by the tests
from rmr1_sdk.benchmarks import BENCHMARKS, load  # noqa: E402
from tests.published import says, write  # noqa: E402

LIMIT_S = 15
RMR1 = [sys.executable, "-c", "from rmr1_sdk.cli import main; main()", "bench"]


def timed(*arguments: object) -> float:
    started = time.perf_counter()
    subprocess.run([*RMR1, *map(str, arguments)], cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write("rewardbench", folder / "rewardbench", BENCHMARKS["rewardbench"].counts)
        run = ("rewardbench", "--model", "fake:tests.replies:decided", "--data", data, "--out", folder / "out")
        first = timed(*run)
        print(f"2,985 pairs of RewardBench, one order, with store and scores: {first:.1f} s")
        print(f"the same once more, all of it from the store: {timed(*run):.1f} s")
        both = timed(*run[:-1], folder / "both", "--orders", "both")
        print(f"in both orders: {both:.1f} s")
        print(f"scored again without a model: {timed('rewardbench', '--from', folder / 'out'):.1f} s")
        rmb = load("rmb", write("rmb", folder / "rmb", BENCHMARKS["rmb"].counts))
        judgments = [says(pair, n % 4 > 0) for n, pair in enumerate(rmb.pairs())]
        started = time.perf_counter()
        rmb.score(judgments)
        print(f"{len(judgments):,} pairs of RMB, scored: {time.perf_counter() - started:.1f} s")
    if first > LIMIT_S:
        sys.exit(f"a run of RewardBench's size takes more than {LIMIT_S} s")


if __name__ == "__main__":
    main()
