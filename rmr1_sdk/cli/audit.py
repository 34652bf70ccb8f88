"""`rmr1 audit`: bias, attacks and self-consistency of a judge."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rmr1_sdk.audit import SECTIONS, Audit
from rmr1_sdk.audit import audit as audit_judge
from rmr1_sdk.cli import common
from rmr1_sdk.cli.options import JudgeFlags, judge_flags, takes
from rmr1_sdk.errors import RMR1Error, file_errors
from rmr1_sdk.files.cache import write_atomic
from rmr1_sdk.files.pairs import Form, read_pairs
from rmr1_sdk.files.rows import file_digest
from rmr1_sdk.judging.options import JudgeOptions
from rmr1_sdk.types import Pair

__all__ = ["audit"]

SET_BY_AUDIT = ("orders", "votes", "max_votes", "risk")
"""Options of a judge that the sections of an audit choose by themselves."""


@takes(flags=judge_flags(leave_out=SET_BY_AUDIT))
def audit(
    data: Annotated[
        Path | None, typer.Option(help="A file of labelled pairs; - is standard input.", show_default="24 of our own")
    ] = None,
    field: common.Field = [],  # noqa: B006  # typer copies it
    label: common.Label = "",
    only: Annotated[str, typer.Option(help=f"Some of {','.join(SECTIONS)}.", show_default="all")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Judge N randomly drawn pairs.", show_default="all")] = None,
    tries: Annotated[int, typer.Option(help="Attempts per attack.")] = 8,
    seeds: Annotated[int, typer.Option(help="Repeated samples per order, to measure self-consistency.")] = 4,
    out: Annotated[
        Path | None, typer.Option(help="A folder for audit.json, audit.md and card.md.", show_default="none")
    ] = None,
    skip_bad: common.SkipBad = False,
    *,
    flags: JudgeFlags,
) -> None:
    """Audit a judge: position, length, injections, quotes, rubrics, consistency."""
    flags.check_model()
    data = common.received(data)
    form = common.pair_form(field, label, JudgeOptions.of(flags.options).seed)
    pairs, bad, digest = _pairs(data, form, skip_bad)
    if out:
        with file_errors(f"--out {out}: cannot be made"):
            out.mkdir(parents=True, exist_ok=True)
    judge = flags.judge(out and out / "audit")
    seed = judge.options.seed
    sections = [name.strip() for name in only.split(",") if name.strip()]
    with judge:
        found = audit_judge(
            judge,
            pairs,
            only=sections,
            limit=limit,
            tries=tries,
            seeds=seeds,
            seed=seed,
            data=data.name if data else "",
            progress=sys.stderr.isatty(),
        )
        asked = {"sections": sections or list(SECTIONS), "limit": limit, "tries": tries, "seeds": seeds}
        run = common.record(judge, asked, digest)
    if out:
        _write(out, found)
        common.write_record(out / "audit.json", run | {"skipped_lines": bad})
    _report(found, bad)


def _pairs(data: Path | None, form: Form, skip_bad: bool) -> tuple[list[Pair] | None, list[str], str | None]:
    """The pairs of the file, what lines of it are bad, and its digest; None for the built-in ones."""
    if data is None:
        return None, [], None
    rows, bad = read_pairs(data, **vars(form))
    common.check_lines(data, len(rows), bad, skip_bad)
    return rows, [str(error) for error in bad], file_digest(data)


def _write(out: Path, found: Audit) -> None:
    """The audit in its three forms."""
    write_atomic(out / "audit.json", found.model_dump_json(indent=1) + "\n")
    write_atomic(out / "audit.md", found.as_markdown())
    write_atomic(out / "card.md", found.card() + "\n")


def _report(found: Audit, bad: Sequence[str]) -> None:
    """JSON when standard output is a pipe, text for a person."""
    common.show(found.as_text, found.model_dump_json)
    if bad:
        print(common.as_lines([], bad), file=sys.stderr)
    if found.readings and found.unreadable == found.readings:
        raise RMR1Error("no verdict could be read")
