"""CPU seconds that a start costs, as ratios within the same run.

`import rmr1_sdk` and `from rmr1_sdk import Pair` are compared with `from pydantic import BaseModel`, `rmr1 -h` with the
help of a bare typer application of one command. `python perf/import_time.py` exits with 1 when one is above its limit.
"""

import resource
import statistics
import subprocess
import sys
from collections.abc import Callable

ROUNDS = 15
BARE = """
import typer
app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})
@app.command()
def hello(name: str = "you") -> None:
    "Say hello."
app(["-h"])
"""


def importing(statement: str) -> float:
    """CPU seconds of an import in a fresh interpreter, without the interpreter's own start."""
    code = f"import time; t = time.process_time(); {statement}; print(time.process_time() - t)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def running(code: str) -> float:
    """CPU seconds of a whole process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def are_within(cost: Callable[[str], float], theirs: tuple[str, str], *ours: tuple[str, str, float]) -> bool:
    """Print median costs, and ratios to theirs; False when the ratio of one of ours is above its limit."""
    programs = dict([theirs, *(each[:2] for each in ours)])
    spent: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):  # in turns, so that what else the machine does falls on all
        for name, code in programs.items():
            spent[name].append(cost(code))
    medians = {name: statistics.median(seconds) for name, seconds in spent.items()}
    print(f"{theirs[0]:<30} {medians[theirs[0]] * 1000:6.1f} ms of CPU (median of {ROUNDS})")
    ratios = {name: medians[name] / medians[theirs[0]] for name, *_ in ours}
    for name, _, limit in ours:
        print(f"{name:<30} {medians[name] * 1000:6.1f} ms, {ratios[name]:.2f} times; limit {limit}")
    return all(ratios[name] <= limit for name, _, limit in ours)


def main() -> None:
    base, plain, typed = "from pydantic import BaseModel", "import rmr1_sdk", "from rmr1_sdk import Pair"
    rmr1 = "import sys; from rmr1_sdk.cli import main; sys.argv = ['rmr1', '-h']; main()"
    imports = are_within(importing, (base, base), (plain, plain, 1.6), (typed, typed, 2.0))
    help_ = are_within(running, ("bare typer application, -h", BARE), ("rmr1 -h", rmr1, 2.0))
    sys.exit(not (imports and help_))


if __name__ == "__main__":
    main()
