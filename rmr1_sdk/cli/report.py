"""`rmr1 report`: a report of finished runs."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.files.cache import write_atomic
from rmr1_sdk.report import Judged, Report, as_markdown, as_page, make_report, read_runs

__all__ = ["check_form", "report", "write_report"]

_FORMS: dict[str, Callable[[Report, Judged], str]] = {
    ".html": as_page,
    ".md": lambda report, judged: as_markdown(report),
    ".json": lambda report, judged: report.model_dump_json(indent=2) + "\n",
}


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="The folder of `rmr1 bench --out`, or a file of `rmr1 judge --out`.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="report.html has every judgment; report.md and report.json the figures.")
    ],
    data: Annotated[
        Path | None, typer.Option(help="The pairs that were judged.", show_default="where they were then")
    ] = None,
) -> None:
    """Write a report of one run, or of several runs over the same pairs."""
    check_form("-o", out)
    write_report(runs, out, data)


def check_form(option: str, out: Path) -> None:
    """Refuse a name that does not say what the report is to be."""
    if out.suffix not in _FORMS:
        raise ConfigError(f"{option} {out}: a report's name ends in {', '.join(_FORMS)}")


def write_report(runs: Sequence[Path], out: Path, data: Path | None = None) -> None:
    """The report of runs, as its name says, and a word on standard error about it and about what is missing."""
    judged = read_runs(runs, data)
    made = make_report(judged)
    text = _FORMS[out.suffix](made, judged)
    write_atomic(out, text)
    for missing in [*made.missing, *(f"{run.name}: {text}" for run in made.runs for text in run.missing)]:
        print(f"note: {missing}", file=sys.stderr)
    print(f"{out}: {len(judged.ids):,} pairs, {len(text.encode()) / 1e6:,.1f} MB", file=sys.stderr)
