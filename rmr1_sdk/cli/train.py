"""`rmr1 train`: the stages of training a judge."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rmr1_sdk import progress, prompts
from rmr1_sdk.cli import common
from rmr1_sdk.cli.options import OptionGroup, build, options_of, sampling_options, takes
from rmr1_sdk.errors import ConfigError, DataError
from rmr1_sdk.training.data.prepare import DataPlan, prepare
from rmr1_sdk.training.data.sources import Source, read_pairs
from rmr1_sdk.training.data.splits import check_parts, parse_parts
from rmr1_sdk.training.export.stage import ExportPlan
from rmr1_sdk.training.export.stage import export as export_stage
from rmr1_sdk.training.learn.grpo import GrpoPlan
from rmr1_sdk.training.learn.grpo import grpo as grpo_stage
from rmr1_sdk.training.learn.sft import SftPlan
from rmr1_sdk.training.learn.sft import sft as sft_stage
from rmr1_sdk.training.tiny import model as tiny
from rmr1_sdk.training.tiny.lessons import Lessons
from rmr1_sdk.training.traces import distill as stage
from rmr1_sdk.training.traces import teachers

__all__ = ["data", "distill", "export", "grpo", "sft", "silence_progress_bars", "tiny_model"]

Out = Annotated[Path, typer.Option(help="Folder of the stage.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")]


@takes(given=OptionGroup(options_of(DataPlan, leave_out=("sources", "parts"))))
def data(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="FILE, hub:ORG/NAME or tiny:COUNT; options follow commas, as in hub:ORG/NAME,drop=x|y,take=8000.",
        ),
    ],
    out: Out,
    part: Annotated[
        list[str],
        typer.Option(
            help="A file to write: NAME=0.12, NAME=600 or NAME=rest; repeat it.", show_default="distill=0.12, rl=rest"
        ),
    ] = [],  # noqa: B006  # typer copies it
    dry_run: DryRun = False,
    *,
    given: Mapping[str, object],
) -> None:
    """Mix, clean and split preference data, and write a data card."""
    parts = {"parts": parse_parts(part)} if part else {}
    plan = build(DataPlan, {"sources": tuple(map(Source.parse, sources)), **parts, **given})
    if dry_run:
        _show_first_rows(plan)
        return
    with progress.bar_if(sys.stderr.isatty(), None, "rows", "reading") as advance:
        card = prepare(plan, out, advance=advance)
    common.show(card.as_markdown, card.model_dump_json)


@takes(
    given=OptionGroup(options_of(teachers.DistillPlan, leave_out=("pairs", "sampling"))),
    sampling=OptionGroup(sampling_options("the prompt's")),
)
def distill(
    pairs: Annotated[Path, typer.Argument(help="A JSONL file of pairs with a label.")],
    out: Out,
    dry_run: DryRun = False,
    *,
    given: Mapping[str, object],
    sampling: Mapping[str, object],
) -> None:
    """Distil reasoning traces from teachers, and keep those that pass every check."""
    plan = build(teachers.DistillPlan, {"pairs": pairs, "sampling": sampling, **given})
    needed = stage.estimate(pairs, prompt=plan.prompt, sampling=plan.sampling)
    if dry_run:
        print(needed.model_dump_json(indent=2))
        return
    print(_describe_estimate(needed, with_second=plan.second is not None), file=sys.stderr)
    with progress.bar_if(sys.stderr.isatty(), needed.pairs, "pairs", "asking") as advance:
        report = teachers.teach(plan, out, advance=advance)
    common.show(lambda: _as_lines(report), report.model_dump_json)


@takes(given=OptionGroup(options_of(tiny.TinyModel, only=("seed",))))
def tiny_model(
    traces: Annotated[Path, typer.Argument(help="A JSONL file of traces; the tokenizer is trained on their texts.")],
    out: Annotated[Path, typer.Option(help="The checkpoint's folder.")],
    lessons: Annotated[int, typer.Option(min=0, help="Batches of worked problems to train on first.")] = 0,
    leave_out: Annotated[
        list[Path],
        typer.Option(help="A file of pairs whose problems are left out of them; repeat it.", show_default="none"),
    ] = [],  # noqa: B006
    *,
    given: Mapping[str, Any],
) -> None:
    """Make a tiny model from nothing, small enough to train on a laptop."""
    read = Lessons(steps=lessons, leave_out=tuple(leave_out)) if lessons else None
    tiny.make_from(traces, out, tiny.TinyModel(lessons=read, **given))


@takes(given=OptionGroup(options_of(SftPlan, leave_out=("traces",))))
def sft(
    traces: Annotated[Path, typer.Argument(help="A JSONL file of traces, as `distill` writes it.")],
    out: Out,
    *,
    given: Mapping[str, object],
) -> None:
    """Fine-tune a model on traces, and evaluate it on held-out pairs."""
    silence_progress_bars()
    result = sft_stage(build(SftPlan, {**given, "traces": traces}), out)
    rows = [
        ("traces", f"{result.traces:,} in {result.steps:,} steps, {result.too_long:,} too long"),
        ("loss", f"{result.loss:.4f}"),
        ("held out, before", str(result.before or "")),
        (f"held out, step {result.best_step}", str(result.best or "")),
    ]
    common.show(lambda: common.as_lines(rows, []), result.model_dump_json)


@takes(given=OptionGroup(options_of(GrpoPlan, leave_out=("pool", "reward", "trl"))))
def grpo(
    pool: Annotated[Path, typer.Argument(help="A JSONL file of labelled pairs, as `data` writes it.")],
    out: Out,
    reward: Annotated[
        list[str],
        typer.Option(
            help="Reward for a part of the trace, with its weight: quotes=0.2; also cited, rubric, solution.",
            show_default="verdict alone",
        ),
    ] = [],  # noqa: B006
    trl: Annotated[
        list[str],
        typer.Option(help="A field of TRL's GRPOConfig: use_vllm=true, vllm_mode=colocate.", show_default="none"),
    ] = [],  # noqa: B006
    *,
    given: Mapping[str, object],
) -> None:
    """Train a judge from labels alone (GRPO), and keep the best checkpoint."""
    named = {"pool": pool, "reward": _named("--reward", reward), "trl": _named("--trl", trl)}
    silence_progress_bars()
    result = grpo_stage(build(GrpoPlan, {**given, **named}), out)
    if result.stopped:
        print(f"stopped {result.stopped}", file=sys.stderr)
    rows = [
        ("pairs", f"{result.pairs:,} in {result.steps:,} steps, {result.too_long:,} too long"),
        ("reward", f"{result.reward:.3f} in the last rollout"),
        ("groups all alike", f"{result.zero_variance:.1%}"),
        ("held out, before", str(result.before or "")),
        (f"held out, step {result.best_step}", str(result.best or "")),
    ]
    common.show(lambda: common.as_lines(rows, []), result.model_dump_json)


def _named(flag: str, given: Sequence[str]) -> dict[str, object]:
    """NAME=VALUE as fields; values are JSON, or else text."""
    named: dict[str, object] = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not sign:
            raise ConfigError(f"{flag} {each}: write NAME=VALUE")
        try:
            named[name] = json.loads(value)
        except ValueError:
            named[name] = value
    return named


@takes(given=OptionGroup(options_of(ExportPlan, leave_out=("checkpoint",))))
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint's folder, such as sft/checkpoint.")],
    out: Out,
    *,
    given: Mapping[str, object],
) -> None:
    """Merge adapters, write GGUF files, and measure their agreement."""
    silence_progress_bars()
    result = export_stage(build(ExportPlan, {"checkpoint": checkpoint, **given}), out)
    rows = [("checkpoint", str(result.checkpoint or ""))]
    for file in result.files:
        measured = file.parity and f"; agrees {file.parity.agreement}, accuracy {file.parity.difference} points"
        rows.append((file.name, f"{file.bytes / 1e6:.1f} MB{measured or ''}"))
    common.show(lambda: common.as_lines(rows, []), result.model_dump_json)


def silence_progress_bars() -> None:
    """No bars of others where nobody watches. They look at this when they are first imported."""
    if not sys.stderr.isatty():
        os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")


def _describe_estimate(needed: stage.Estimate, *, with_second: bool) -> str:
    text = f"{needed.pairs:,} pairs: about {needed.read:,} tokens to read, at most {needed.written_at_most:,} to write"
    if not with_second:
        return text
    read, written = needed.second_read_at_most, needed.second_written_at_most
    return f"{text}; the second teacher, if it is asked about a quarter, reads {read:,} and writes {written:,} at most"


def _as_lines(report: stage.DistillReport) -> str:
    rows = [
        ("pairs", f"{report.pairs:,}"),
        ("first teacher right", str(report.first_right)),
        ("kept", f"{report.kept:,} of the first teacher, {report.corrected:,} of the second"),
        ("A is better", str(report.first_is_better or "")),
        ("rejected", ", ".join(f"{reason} {count:,}" for reason, count in report.rejected.items())),
        ("tokens", f"{report.tokens_read:,} read, {report.tokens_written:,} written"),
    ]
    return common.as_lines(rows, [])


def _show_first_rows(plan: DataPlan) -> None:
    """Print the plan, and the first row of each source as it is read."""
    check_parts(plan.parts)
    prompts.get(plan.prompt)
    first: list[dict[str, object]] = []
    for source in plan.sources:
        row = next((row for row in read_pairs(source, plan.seed) if row is not None), None)
        if isinstance(row, DataError):
            raise row
        first.append({"source": source.path, "first_pair": row and row.model_dump(exclude_defaults=True)})
    print(json.dumps({"plan": plan.model_dump(mode="json"), "sources": first}, indent=2, ensure_ascii=False))
