"""How long a report takes, and how large it is: a run of RewardBench's size, and 20,000 judgments.

`python perf/report.py` makes a file of RewardBench's published size and schema, with texts of our own; runs
`rmr1 bench --report` over FakeBackend, in both orders and with a store; and makes a report of 20,000 judgments whose
texts are about as long as those of a real judge. It fails where the first takes more than 15 s.
"""

import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # the file is made by the tests
from rmr1_sdk import Judgment, Pair  # noqa: E402
from rmr1_sdk.benchmarks import BENCHMARKS  # noqa: E402
from tests.published import says, write  # noqa: E402

LIMIT_S = 15
PAIRS = 20_000
RMR1 = f'{sys.executable} -c "from rmr1_sdk.cli import main; main()"'


def timed(command: str) -> float:
    started = time.perf_counter()
    subprocess.run(shlex.split(command), cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - started


def prose(draw: random.Random, words: int) -> str:
    """Words that do not repeat as a template would: what is written once cannot be packed away."""
    return " ".join("".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 9))) for _ in range(words))


def judged(pair: Pair, draw: random.Random) -> Judgment:
    """Two readings of about 300 words."""
    found = says(pair, draw.random() < 0.8, draw.random() < 0.8, p=0.9)
    verdicts = []
    for verdict in found.verdicts:
        text = prose(draw, 300)
        verdicts.append(verdict.model_copy(update={"text": text, "evaluation": text[400:]}))
    return found.model_copy(update={"verdicts": tuple(verdicts)})


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write("rewardbench", folder, BENCHMARKS["rewardbench"].counts)
        run, report = folder / "run", folder / "report.html"
        model = "--model fake:tests.replies:reasoned --orders both"
        seconds = timed(f"{RMR1} bench rewardbench {model} --data {data} --out {run} --report {report}")
        megabytes = report.stat().st_size / 1e6
        print(f"2,985 pairs of RewardBench in both orders, with store, scores and report: {seconds:.1f} s")
        print(f"its report: {megabytes:.1f} MB")
        draw = random.Random(0)
        texts = [(str(n), prose(draw, 60), prose(draw, 150), prose(draw, 150)) for n in range(PAIRS)]
        pairs = [Pair(id=name, question=question, a=a, b=b, label="A") for name, question, a, b in texts]
        rows, out = folder / "pairs.jsonl", folder / "said.jsonl"
        rows.write_text("".join(pair.model_dump_json() + "\n" for pair in pairs))
        with out.open("w") as file:
            file.writelines(judged(pair, draw).model_dump_json() + "\n" for pair in pairs)
        large = timed(f"{RMR1} report {out} --data {rows} -o {report}")
        print(
            f"a report of {PAIRS:,} judgments, {out.stat().st_size / 1e6:,.0f} MB as they lie: "
            f"{large:.1f} s, {report.stat().st_size / 1e6:,.0f} MB"
        )
    if seconds > LIMIT_S:
        sys.exit(f"a run of RewardBench's size and its report take more than {LIMIT_S} s")


if __name__ == "__main__":
    main()
