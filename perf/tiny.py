"""What the `tiny` recipe comes to, on problems that its judges have never seen.

`python perf/tiny.py OUT [SEED...]` carries out the recipe for each seed (0, 1 and 2) up to GRPO. From the same
fine-tuned judge it goes on in two more ways: GRPO with the verdict's reward alone, and more fine-tuning on the same
traces for as long as GRPO took, at the rate where fine-tuning ended. Beside them stands a judge that knows only the
form. Each judges the test problems in both orders. `OUT/curves.svg` shows what went on during GRPO.

It works with one thread, so seeds may be carried out at once, by a command for each, and told by one for all. Killed,
the same command goes on where it was, but the time of a step that was cut off is only that of its last part, and so is
that of more fine-tuning.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch

from rmr1_sdk.training import domain
from rmr1_sdk.training.data.held_out import HeldOut, read_held_out
from rmr1_sdk.training.export.parity import judged, parity
from rmr1_sdk.training.learn.grpo import grpo
from rmr1_sdk.training.learn.sft import sft
from rmr1_sdk.training.learn.trainers import Figures
from rmr1_sdk.training.recipes.recipe import Recipe, read_recipe, run
from rmr1_sdk.training.stage import read_traces
from rmr1_sdk.training.tiny.model import make
from rmr1_sdk.types import Judgment, Pair

ARMS = {"grpo": "rewards on the trace", "grpo-verdict": "verdict alone"}
"""The folders of GRPO, and what it was rewarded for."""
SMOOTHED = 10
"""Rollouts whose mean is a point of a curve."""


class Reasons(NamedTuple):
    """Shares of readings: those with right reasons, and those whose verdict is right though they are wrong."""

    right: float
    lucky: float


def reasons(pairs: list[Pair], judgments: list[Judgment]) -> Reasons:
    readings = [(pair, verdict) for pair, each in zip(pairs, judgments, strict=True) for verdict in each.verdicts]
    right = [domain.has_right_reasons(pair, verdict) for pair, verdict in readings]
    named = [verdict.winner == pair.label for pair, verdict in readings]
    lucky = [is_named and not is_right for is_named, is_right in zip(named, right, strict=True)]
    return Reasons(sum(right) / len(right), sum(lucky) / len(lucky))


class Timed:
    """How many minutes each step took, in a file, so that a run that goes on still knows."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.minutes: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}

    def do(self, name: str, step: Callable[[], Any]) -> None:
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
    for stage in recipe.stages:
        if stage != "export":
            timed.do(stage, lambda stage=stage: run(recipe, [stage]))  # type: ignore[misc]  # a default is no type
    measured = recipe.grpo.model_copy(update={"reward": dict.fromkeys(recipe.grpo.reward, 0.0)})
    timed.do("grpo-verdict", lambda: grpo(measured, out / "grpo-verdict"))
    tuned, learned = str(out / "sft" / "checkpoint"), recipe.sft
    epochs = max(1, round(learned.epochs * timed.minutes["grpo"] / timed.minutes["sft"]))
    assert learned.learning_rate
    ended = learned.learning_rate / 10  # fine-tuning's cosine does
    more = learned.model_copy(update={"model": tuned, "epochs": epochs, "learning_rate": ended})
    timed.do("more-sft", lambda: sft(more, out / "more-sft"))
    unread = out / "unread"
    if not (unread / "tokenizer_config.json").exists():
        make(read_traces(learned.traces), unread, recipe.model.tiny.model_copy(update={"lessons": None}))
    form = learned.model_copy(update={"model": str(unread), "held_out": None})
    timed.do("form", lambda: sft(form, out / "form"))
    return {name: out / name / "checkpoint" for name in ("form", "sft", "more-sft", *ARMS)}


def figures(recipe: Recipe) -> list[list[str]]:
    """A row for each judge of a seed."""
    judges = trained(recipe)
    pairs = read_held_out(recipe.out / "data" / "test.jsonl")
    store = recipe.out / "judgments.db"
    said = {name: judged(f"transformers:{folder}", pairs, store) for name, folder in judges.items()}
    rows = []
    for name, judgments in said.items():
        held_out, why = HeldOut.of(pairs, judgments), reasons(pairs, judgments)
        gains = ["" if name == of else str(parity(pairs, said[of], judgments).difference) for of in ("sft", "more-sft")]
        shares = [held_out.both_right.share, held_out.readable.share, why.right, why.lucky]
        rows.append([name, str(held_out.accuracy), *gains, *(f"{share:.1%}" for share in shares)])
    return rows


# --- curves ------------------------------------------------------------------------------------------

CURVES: dict[str, Callable[[dict[str, Any]], float | None]] = {
    "accuracy of held-out pairs": lambda row: row["held_out"]["accuracy"]["share"] if "held_out" in row else None,
    "reward of the verdict": lambda row: row["rewards"]["verdict"] if "rewards" in row else None,
    "share of right reasons": lambda row: row["rewards"]["solution"] if "rewards" in row else None,
    "tokens of a completion": lambda row: row.get("length"),
    "entropy of a token": lambda row: row.get("entropy"),
    "share of groups without variance": lambda row: row.get("zero_variance"),
}


def smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means of so many points that follow each other, without a rest at the end; few points stay as they are."""
    if len(points) < 4 * SMOOTHED:
        return list(points)
    runs = [points[at : at + SMOOTHED] for at in range(0, len(points) - SMOOTHED + 1, SMOOTHED)]
    return [(fmean(step for step, _ in each), fmean(value for _, value in each)) for each in runs]


def plot(file: Path, folders: Sequence[Path]) -> None:
    """What went on during GRPO, a line for each seed."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "the same file every time", "svg.fonttype": "none"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(11, 6), sharex=True, layout="constrained")
    for colour, (arm, rewarded) in zip(("#1b6ca8", "#c2571a"), ARMS.items(), strict=True):
        for number, folder in enumerate(folders):
            rows = Figures(folder / arm / "figures.jsonl").rows()
            for panel, value in zip(axes.flat, CURVES.values(), strict=True):
                points = [(row["step"], found) for row in rows if (found := value(row)) is not None]
                label = rewarded if number == 0 else None
                panel.plot(*zip(*smoothed(points), strict=True), color=colour, alpha=0.8, label=label)
    for panel, title in zip(axes.flat, CURVES, strict=True):
        panel.set_title(title, fontsize="medium")
        panel.grid(alpha=0.3)
    for panel in axes[1]:
        panel.set_xlabel("step")
    axes[0][0].legend(fontsize="small")
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    torch.set_num_threads(1)  # seeds are carried out side by side
    out, *seeds = sys.argv[1:] or ["out/tiny"]
    columns = ["seed", "judge", "right", "against `sft`, points", "against `more-sft`, points", "in both orders"]
    print("|", " | ".join([*columns, "readable", "right reasons", "right with wrong reasons"]), "|")
    print("|---" * 9 + "|")
    recipes = {seed: read_recipe("tiny", Path(out) / f"seed-{seed}", seed=seed) for seed in map(int, seeds or "012")}
    for seed, recipe in recipes.items():
        for row in figures(recipe):
            print(f"| {seed} | `{row[0]}` | {' | '.join(row[1:])} |", flush=True)
    plot(Path(out) / "curves.svg", [recipe.out for recipe in recipes.values()])


if __name__ == "__main__":
    main()
