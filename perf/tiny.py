"""What the `tiny` recipe comes to, on problems that its judges have never seen.

`python perf/tiny.py OUT [SEED...]` trains a judge for each seed (0, 1 and 2) up to its traces, then goes on from there
in three ways that take about the same time: GRPO with the verdict's reward alone, GRPO with rewards on the trace beside
it, and more fine-tuning on the same traces. Beside them stands a judge that knows only the form. Each judges the test
problems in both orders. Killed, the same command goes on where it was, but the time of a step that was cut off is only
that of its last part, and so is that of more fine-tuning.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from rmr1_sdk.training import tiny
from rmr1_sdk.training.grpo import grpo
from rmr1_sdk.training.held_out import HeldOut, read_held_out
from rmr1_sdk.training.parity import judged, parity
from rmr1_sdk.training.recipe import Recipe, StageName, read_recipe, run
from rmr1_sdk.training.sft import sft
from rmr1_sdk.training.steps import read_traces
from rmr1_sdk.training.tiny_model import make
from rmr1_sdk.types import Judgment, Pair

FIRST: tuple[StageName, ...] = ("data", "distill", "model", "sft")
MEASURED = {"quotes": 0.0, "cited": 0.0, "rubric": 0.0, "solution": 0.0}
REWARDED = {"quotes": 0.25, "cited": 0.25, "rubric": 0.25, "solution": 1.0}


class Reasons(NamedTuple):
    """Shares of readings: those with right reasons, and those whose verdict is right though they are wrong."""

    right: float
    lucky: float


def reasons(pairs: list[Pair], judgments: list[Judgment]) -> Reasons:
    readings = [(pair, verdict) for pair, each in zip(pairs, judgments, strict=True) for verdict in each.verdicts]
    right = [tiny.has_right_reasons(pair, verdict) for pair, verdict in readings]
    named = [verdict.winner == pair.label for pair, verdict in readings]
    lucky = [is_named and not is_right for is_named, is_right in zip(named, right, strict=True)]
    return Reasons(sum(right) / len(right), sum(lucky) / len(lucky))


class Timed:
    """How many minutes each step took, in a file, so that a run that goes on still knows."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.minutes: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}

    def do(self, name: str, step: Any) -> None:
        """Carry it out, and say how long it took when it was done first."""
        begun = time.monotonic()
        step()
        took = (time.monotonic() - begun) / 60
        if name not in self.minutes:
            self.minutes[name] = took
            self._file.write_text(json.dumps(self.minutes))
        print(f"{name}: {self.minutes[name]:.1f} minutes", file=sys.stderr)


def trained(recipe: Recipe) -> dict[str, Path]:
    """The judges of a seed, by name."""
    out = recipe.out
    assert recipe.sft
    assert recipe.grpo
    assert recipe.model
    assert recipe.model.tiny
    out.mkdir(parents=True, exist_ok=True)
    timed = Timed(out / "minutes.json")
    for stage in FIRST:
        timed.do(stage, lambda stage=stage: run(recipe, [stage]))
    tuned, learned = str(out / "sft" / "checkpoint"), recipe.sft
    for name, reward in (("grpo", MEASURED), ("grpo-traces", REWARDED)):
        plan = recipe.grpo.model_copy(update={"reward": reward})
        timed.do(name, lambda plan=plan, name=name: grpo(plan, out / name))
    epochs = max(1, round(learned.epochs * timed.minutes["grpo"] / timed.minutes["sft"]))
    more = learned.model_copy(update={"model": tuned, "epochs": epochs, "held_out": None})
    timed.do("more-sft", lambda: sft(more, out / "more-sft"))
    unread = out / "unread"
    if not (unread / "tokenizer_config.json").exists():
        make(read_traces(learned.traces), unread, recipe.model.tiny.model_copy(update={"lessons": None}))
    form = learned.model_copy(update={"model": str(unread), "held_out": None})
    timed.do("form", lambda: sft(form, out / "form"))
    return {name: out / name / "checkpoint" for name in ("form", "sft", "more-sft", "grpo", "grpo-traces")}


def figures(recipe: Recipe) -> list[list[str]]:
    """A row for each judge of a seed."""
    judges = trained(recipe)
    pairs = read_held_out(recipe.out / "data" / "test.jsonl")
    store = recipe.out / "judgments.db"
    said = {name: judged(f"transformers:{folder}", pairs, store) for name, folder in judges.items()}
    rows = []
    for name, judgments in said.items():
        held_out, why = HeldOut.of(pairs, judgments), reasons(pairs, judgments)
        gain = "" if name == "sft" else str(parity(pairs, said["sft"], judgments).difference)
        shares = [str(held_out.accuracy), gain, f"{held_out.both_right.share:.1%}", f"{held_out.readable.share:.1%}"]
        rows.append([name, *shares, f"{why.right:.1%}", f"{why.lucky:.1%}"])
    return rows


def main() -> None:
    out, *seeds = sys.argv[1:] or ["out/tiny"]
    print(
        "| seed | judge | right | against sft | in both orders | readable | right reasons | right with wrong reasons |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for seed in map(int, seeds or ["0", "1", "2"]):
        for row in figures(read_recipe("tiny", Path(out) / f"seed-{seed}", seed=seed)):
            print(f"| {seed} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
