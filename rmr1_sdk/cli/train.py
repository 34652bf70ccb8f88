"""`rmr1 train`: the stages of training a judge."""

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from rmr1_sdk import prompts
from rmr1_sdk.cli import runs
from rmr1_sdk.errors import ConfigError, DataError
from rmr1_sdk.loop import submit, wait
from rmr1_sdk.progress import bar
from rmr1_sdk.training import distill as stage
from rmr1_sdk.training import teachers
from rmr1_sdk.training.data import DataPlan, prepare
from rmr1_sdk.training.sources import Source, read_pairs
from rmr1_sdk.training.splits import check_parts, parse_parts

__all__ = ["app"]

app = typer.Typer(help="From preference data to a judge, in stages.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="The stage's folder.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


@app.command()
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
        typer.Option(help="A file to write: NAME=0.12, NAME=600 or NAME=rest [default: distill=0.12, rl=rest]."),
    ] = [],  # noqa: B006  # typer copies it
    sides: Annotated[str, typer.Option(help="alternate or seeded.")] = "alternate",
    against: Annotated[
        list[Path], typer.Option(help="A benchmark file; rows that share text with it are dropped.")
    ] = [],  # noqa: B006
    tokenizer: Annotated[
        str | None, typer.Option(help="A model's name or folder; drops prompts that are too long for it.")
    ] = None,
    max_prompt_tokens: Annotated[int, typer.Option(min=1, help="What a prompt may have, with --tokenizer.")] = 4096,
    prompt: Annotated[str, typer.Option(help="The prompt that is measured.")] = "cor",
    seed: runs.Seed = 0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="List bad rows in the card and go on.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Mix, clean and split preference data, and describe it in a card."""
    if sides not in ("alternate", "seeded"):
        raise ConfigError(f"--sides is alternate or seeded, not {sides!r}")
    plan = DataPlan(
        sources=tuple(map(Source.parse, sources)),
        parts=parse_parts(part) if part else DataPlan.model_fields["parts"].default,
        sides=cast(Literal["alternate", "seeded"], sides),
        against=tuple(against),
        tokenizer=tokenizer,
        max_prompt_tokens=max_prompt_tokens,
        prompt=prompt,
        seed=seed,
        skip_bad=skip_bad,
    )
    if dry_run:
        _show_first_rows(plan)
        return
    with _bar(None, "rows", "reading") as advance:
        card = prepare(plan, out, advance=advance)
    print(card.as_markdown() if sys.stdout.isatty() else card.model_dump_json())


@app.command()
def distill(
    pairs: Annotated[Path, typer.Argument(help="A JSONL file of pairs with a label.")],
    out: Out,
    teacher: Annotated[
        str, typer.Option(help='An engine and a model, as in "openai:MODEL"; "tiny"; or "replay:FILE".')
    ],
    second: Annotated[str | None, typer.Option(help="Who is told the answer where the first was wrong.")] = None,
    prompt: Annotated[str, typer.Option(help="What both are asked with.")] = "cor",
    max_tokens: runs.MaxTokens = None,
    temperature: runs.Temperature = None,
    seed: runs.Seed = 0,
    max_tokens_total: runs.MaxTokensTotal = None,
    max_concurrency: runs.MaxConcurrency = None,
    dry_run: DryRun = False,
) -> None:
    """Let teachers write the traces that a judge learns from, and keep those without a fault."""
    sampling = runs.sampling(max_tokens, temperature)
    needed = stage.estimate(pairs, prompt=prompt, sampling=sampling)
    if dry_run:
        print(needed.model_dump_json(indent=2))
        return
    print(_told(needed, with_second=second is not None), file=sys.stderr)
    first, other = teachers.teacher(teacher), teachers.teacher(second) if second else None
    try:
        with _bar(needed.pairs, "pairs", "asking") as advance:
            report = stage.distill(
                pairs,
                out,
                first,
                other,
                prompt=prompt,
                sampling=sampling,
                max_tokens_total=max_tokens_total,
                max_concurrency=max_concurrency,
                seed=seed,
                advance=advance,
            )
    finally:
        for engine in (first, other):
            if engine is not None:
                wait(submit(engine.aclose()))
    print(_as_lines(report) if sys.stdout.isatty() else report.model_dump_json())


def _told(needed: stage.Estimate, *, with_second: bool) -> str:
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
    return runs.as_lines(rows, [])


def _bar(total: int | None, unit: str, doing: str) -> AbstractContextManager[Callable[[], None]]:
    return bar(total, unit, doing) if sys.stderr.isatty() else nullcontext(lambda: None)


def _show_first_rows(plan: DataPlan) -> None:
    """What the plan comes to, and how the first row of each source is read."""
    check_parts(plan.parts)
    prompts.get(plan.prompt)
    first: list[dict[str, object]] = []
    for source in plan.sources:
        row = next((row for row in read_pairs(source, plan.seed) if row is not None), None)
        if isinstance(row, DataError):
            raise row
        first.append({"source": source.path, "first_pair": row and row.model_dump(exclude_defaults=True)})
    print(json.dumps({"plan": plan.model_dump(mode="json"), "sources": first}, indent=2, ensure_ascii=False))
