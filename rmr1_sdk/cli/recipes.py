"""`rmr1 train run` and `rmr1 train emit`: all stages of a recipe, or its GRPO for another trainer."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, cast, get_args

import typer

from rmr1_sdk.cli import common
from rmr1_sdk.cli.train import Out, silence_progress_bars
from rmr1_sdk.errors import ConfigError, unknown
from rmr1_sdk.training.data.card import DataCard
from rmr1_sdk.training.export.model_card import Exported
from rmr1_sdk.training.learn.grpo import GrpoResult
from rmr1_sdk.training.learn.sft import SftResult
from rmr1_sdk.training.learn.trainers import is_first_process
from rmr1_sdk.training.recipes import emit as elsewhere
from rmr1_sdk.training.recipes import recipe as recipes
from rmr1_sdk.training.recipes.emit import Trainer
from rmr1_sdk.training.recipes.forecast import Forecast, StageForecast, forecast
from rmr1_sdk.training.recipes.memory import Memory
from rmr1_sdk.training.recipes.recipe import STAGES, StageName, read_recipe
from rmr1_sdk.training.traces.distill import DistillReport
from rmr1_sdk.types import Value

__all__ = ["emit", "run"]


def _complete(incomplete: str) -> list[str]:
    return [name for name in recipes.shipped() if name.startswith(incomplete)]


Recipe = Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped recipe.", autocompletion=_complete)]
Seed = Annotated[int | None, typer.Option(help="Seed of all randomness.", show_default="the recipe's")]


def run(
    recipe: Recipe,
    out: Out,
    stage: Annotated[
        list[str], typer.Option(help="Run this stage of the recipe alone; repeat it for several.", show_default="all")
    ] = [],  # noqa: B006  # typer copies it
    seed: Seed = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the stages, their steps and memory, and do nothing.")
    ] = False,
) -> None:
    """Run all stages of a recipe; finished stages are skipped."""
    read = read_recipe(recipe, out, seed=seed)
    if dry_run:
        foreseen = forecast(read)
        common.show(lambda: _as_text(foreseen), lambda: foreseen.model_dump_json(indent=2))
        return
    for name in stage:
        if name not in STAGES:
            raise unknown("stage", name, STAGES, place="--stage: ")
    silence_progress_bars()
    named = shlex.join([recipe, *(["--seed", str(seed)] if seed is not None else [])])
    results = recipes.run(
        read, cast(list[StageName], stage), tell=lambda text: print(text, file=sys.stderr), name=named
    )
    if is_first_process():
        common.show(lambda: _told(results), lambda: json.dumps(_as_json(results)))


def emit(
    recipe: Recipe, out: Out, to: Annotated[str, typer.Option(help="verl or openrlhf.")], seed: Seed = None
) -> None:
    """Write a recipe's GRPO for verl or OpenRLHF."""
    if to not in get_args(Trainer):
        raise ConfigError(f"--to is verl or openrlhf, not {to!r}")
    print(elsewhere.emit(read_recipe(recipe, out, seed=seed), cast(Trainer, to)))


def _as_json(results: Mapping[StageName, Value | None]) -> dict[str, object]:
    return {stage: result and result.model_dump(mode="json") for stage, result in results.items()}


def _told(results: Mapping[StageName, Value | None]) -> str:
    return common.as_lines([(stage, _line(result)) for stage, result in results.items()], [])


def _line(result: Value | None) -> str:
    match result:
        case DataCard():
            return f"{result.kept:,} of {result.read:,} rows"
        case DistillReport():
            return f"{result.kept + result.corrected:,} traces of {result.pairs:,} pairs"
        case SftResult():
            return f"{result.traces:,} traces in {result.steps:,} steps; {_best(result)}"
        case GrpoResult():
            why = f"; stopped {result.stopped}" if result.stopped else ""
            return f"{result.pairs:,} pairs in {result.steps:,} steps; {_best(result)}{why}"
        case Exported():
            return "\n".join(
                [*([str(result.checkpoint)] if result.checkpoint else []), *(f.name for f in result.files)]
            )
    return "made"


def _best(result: SftResult | GrpoResult) -> str:
    return f"the best after {result.best_step:,}: {result.best}" if result.best else "nothing held out"


_KINDS = ("weights", "copies", "gradients", "optimizer", "activations", "reference", "generation", "total")


def _as_text(foreseen: Forecast) -> str:
    import yaml

    plan = yaml.safe_dump(foreseen.recipe.model_dump(mode="json", exclude_none=True), sort_keys=False)
    machine = foreseen.recipe.machine
    memories = [(stage.stage, stage.memory) for stage in foreseen.stages if stage.memory]
    whose = f"a GPU ({machine.memory_gib:g})" if machine.gpus else "the process"
    parts = [
        plan,
        _table([("stage", "folder", "rows", "steps", ""), *(_row(stage) for stage in foreseen.stages)]),
        f"memory of {whose}, GiB" if memories else "",
        _table([("", *_KINDS), *((stage, *_gib(needed)) for stage, needed in memories)]) if memories else "",
        *(f"note: {note}" for note in foreseen.notes),
    ]
    return "\n".join(part for part in parts if part)


def _row(stage: StageForecast) -> tuple[str, ...]:
    rows = "" if stage.rows is None else f"{'' if stage.is_counted else 'about '}{stage.rows:,}"
    steps = "" if stage.steps is None else f"at most {stage.steps:,}"
    return (stage.stage, str(stage.folder), rows, steps, "done" if stage.is_done else "")


def _gib(needed: Memory) -> list[str]:
    return [f"{getattr(needed, kind) / 2**30:.3g}" for kind in _KINDS]


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, ""])
