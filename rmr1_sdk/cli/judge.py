"""`rmr1 judge`: judge one pair, or a file of pairs."""

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from rmr1_sdk import progress
from rmr1_sdk.bulk import Pairs
from rmr1_sdk.cli import common
from rmr1_sdk.cli.cluster import CLUSTER, Cluster
from rmr1_sdk.cli.options import JudgeFlags, judge_flags, takes
from rmr1_sdk.errors import ConfigError, RMR1Error
from rmr1_sdk.files.judgments import open_judgments
from rmr1_sdk.files.pairs import Form, scan_pairs
from rmr1_sdk.files.rows import file_digest
from rmr1_sdk.judge import Judge
from rmr1_sdk.judging.options import JudgeOptions
from rmr1_sdk.statistics.intervals import share, wilson
from rmr1_sdk.types import Judgment, Pair

__all__ = ["judge"]


@dataclass
class Summary:
    """Summary of a run over a file.

    `winners` counts pairs ("none": no reading of either order was readable), `failures` and `forced`
    count readings, `empty` pairs with an answer without text. `position_effects` adds up those of the
    pairs that were read in both orders. `accuracy` is over all labelled pairs: a
    tie is right where the label is one, and no verdict never is. `sides_drawn` are pairs whose file says which answer
    is better and not on which side it stands: the seed and the texts drew the side.
    """

    pairs: int = 0
    identical: int = 0
    empty: int = 0
    winners: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    readings: int = 0
    forced: int = 0
    position_consistent: int = 0
    both_orders_read: int = 0
    position_effects: float = 0.0
    labelled: int = 0
    sides_drawn: int = 0
    right: int = 0
    tokens: int = 0
    wall_s: float = 0.0
    new: int | None = None  # pairs that were judged now; None is all of them
    skipped_lines: list[str] = field(default_factory=list)

    def add(self, pair: Pair, judgment: Judgment) -> None:
        self.pairs += 1
        self.identical += pair.is_identical
        self.empty += not (pair.text("A").strip() and pair.text("B").strip())
        self.winners[judgment.winner or "none"] += 1
        self.failures.update(verdict.failure.kind for verdict in judgment.verdicts if verdict.failure)
        self.readings += len(judgment.verdicts)
        self.forced += sum(verdict.forced for verdict in judgment.verdicts)
        self.both_orders_read += judgment.position_consistent is not None
        self.position_consistent += judgment.position_consistent is True
        self.position_effects += judgment.position_effect or 0.0
        self.labelled += pair.label is not None
        self.sides_drawn += pair.metadata.get("side") == "drawn"
        self.right += pair.label is not None and pair.label == judgment.winner
        self.tokens += judgment.usage.total_tokens

    def as_json(self) -> dict[str, Any]:
        accuracy = wilson(self.right, self.labelled)
        return {name: value for name, value in vars(self).items() if name not in ("position_effects", "new")} | {
            "position_effect": self.position_effect,
            "unreadable": self.failures.total(),
            "pairs_per_s": round(self.judged_now / self.wall_s, 3) if self.wall_s else None,
            "accuracy": accuracy and accuracy._asdict(),
        }

    def as_text(self) -> str:
        rate = f"{self.judged_now / self.wall_s:.2f} pairs/s" if self.wall_s else "-"
        effect = self.position_effect
        rows = [
            ("pairs", f"{self.pairs} ({self.identical} with identical answers, {self.empty} with an empty one)"),
            ("time", f"{self.wall_s:.1f} s, {rate}, {self.tokens:,} tokens"),
            ("winners", ", ".join(f"{name} {self.winners[name]}" for name in ("A", "B", "tie", "none"))),
            ("readings", f"{self.readings}, {self.forced} forced, {self.failures.total()} unreadable"),
            ("unreadable", ", ".join(f"{kind} {n}" for kind, n in self.failures.most_common())),
            ("both orders agree", str(share(self.position_consistent, self.both_orders_read) or "")),
            ("position effect", "" if effect is None else f"{effect:+.2f} (above 0: favours what is shown first)"),
            ("agrees with label", str(share(self.right, self.labelled) or "")),
        ]
        return common.as_lines(rows, self.skipped_lines)

    @property
    def judged_now(self) -> int:
        """The pairs that the time was spent on: those of shards that were there already are not among them."""
        return self.pairs if self.new is None else self.new

    @property
    def position_effect(self) -> float | None:
        """The mean over the pairs that were read in both orders."""
        return self.position_effects / self.both_orders_read if self.both_orders_read else None


@takes(flags=judge_flags(), cluster=CLUSTER)
def judge(
    file: Annotated[Path | None, typer.Argument(help="Pairs: JSONL, CSV or Parquet; - for standard input.")] = None,
    question: Annotated[
        str | None, typer.Option(help="For one pair: the question, or @FILE.", show_default="none")
    ] = None,
    a: Annotated[str | None, typer.Option(help="For one pair: one answer, or @FILE.", show_default="none")] = None,
    b: Annotated[
        str | None, typer.Option(help="For one pair: the other answer, or @FILE.", show_default="none")
    ] = None,
    field: common.Field = [],  # noqa: B006  # typer copies it
    label: common.Label = "",
    out: Annotated[
        Path | None,
        typer.Option(help="A file for the judgments: JSONL, CSV or Parquet by its suffix.", show_default="print them"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Judge only the first pairs.", show_default="all")] = None,
    skip_bad: common.SkipBad = False,
    explain: Annotated[bool, typer.Option("--explain", help="Print each judgment with its reasons.")] = False,
    *,
    flags: JudgeFlags,
    cluster: Cluster | None,
) -> None:
    """Judge one pair (--question, --a, --b) or a file of pairs."""
    flags.check_model()
    if cluster and file is None:
        raise ConfigError("--ray is for a file of pairs; one pair needs no cluster")
    if cluster:
        cluster.check(out, flags, {"--explain": explain})
    file = common.received(file)
    common.check_out(out, file, folder=cluster is not None)
    form = common.pair_form(field, label, JudgeOptions.of(flags.options).seed)
    pairs, summary, data = _pairs(file, form, (question, a, b), skip_bad, limit)
    make = partial(Judge, flags.model, store=None if cluster else flags.store(out), **flags.options)
    asked: dict[str, Any] = {}
    if file:
        asked = {"data": str(file.resolve()), "fields": form.fields, "labels": form.labels}
    started = time.monotonic()
    if cluster and out:
        shards = cluster.shards(out)
        summary.new = len(pairs) - shards.found(len(pairs))
        run = cluster.judge(make, asked | {"limit": limit}, data, pairs, shards, offline=flags.offline)
        for pair, judgment in shards.judged(pairs):
            summary.add(pair, judgment)
    else:
        with make() as judge:
            _judge(judge, pairs, out, _form(explain, out, len(pairs)), summary)
            run = common.record(judge, asked, data)
    summary.wall_s = time.monotonic() - started
    if out:
        common.write_record(out, run | {"summary": summary.as_json()})
    _report(summary, to_stdout=out is not None)


def _judge(
    judge: Judge, pairs: Pairs, out: Path | None, form: Callable[[Judgment], str] | None, summary: Summary
) -> None:
    """Judge in this process, a few pairs ahead of what is written."""
    waiting: deque[Pair] = deque()  # what was taken from the file and is not yet judged

    def taken() -> Iterator[Pair]:
        for pair in pairs:
            waiting.append(pair)
            yield pair

    shown = progress.bar_if(len(pairs) > 1 and sys.stderr.isatty(), len(pairs))
    with (
        common.Output(out, form, partial(open_judgments, suffix=out.suffix if out else "")) as output,
        shown as advance,
    ):
        for judgment in judge.compare_many(taken()):
            summary.add(waiting.popleft(), judgment)
            output.write(judgment)
            advance()


def _pairs(
    file: Path | None, form: Form, texts: tuple[str | None, str | None, str | None], skip_bad: bool, limit: int | None
) -> tuple[Pairs, Summary, str | None]:
    """The pairs to judge, the summary they start, and the digest of the file they came from."""
    question, a, b = texts
    if file is None:
        if question is None or a is None or b is None:
            raise ConfigError("give a file of pairs, or --question, --a and --b")
        pair = Pair(question=common.text("--question", question), a=common.text("--a", a), b=common.text("--b", b))
        return [pair], Summary(), None
    if texts != (None, None, None):
        raise ConfigError("give a file of pairs or --question, --a and --b, not both")
    pairs = scan_pairs(file, form, limit=limit)
    common.check_lines(file, pairs.rows, pairs.bad, skip_bad)
    return pairs, Summary(skipped_lines=[str(error) for error in pairs.bad]), file_digest(file)


def _form(explain: bool, out: Path | None, pairs: int) -> Callable[[Judgment], str] | None:
    """Formatter for printed judgments; None where they go to OUT alone, as JSON."""
    if explain or (out is None and sys.stdout.isatty() and pairs == 1):
        return lambda judgment: f"== {_name(judgment)} ({judgment.latency_s:.1f} s)\n{judgment.explain()}\n"
    if out is not None:
        return None
    if not sys.stdout.isatty():
        return Judgment.model_dump_json
    print(f"{'pair':<24} {'winner':<6} {'p(A)':>5} {'orders':<8} {'forced':>6} {'seconds':>8}")
    return _row


def _row(judgment: Judgment) -> str:
    """A line of the table for a person; `--explain` has the reasons."""
    p_a = "-" if judgment.p_a is None else f"{judgment.p_a:.2f}"
    orders = {True: "agree", False: "differ", None: "-"}[judgment.position_consistent]
    forced = sum(verdict.forced for verdict in judgment.verdicts)
    winner = judgment.winner or (judgment.failure.kind if judgment.failure else "none")
    return f"{_name(judgment):<24.24} {winner:<6} {p_a:>5} {orders:<8} {forced:>6} {judgment.latency_s:>8.1f}"


def _name(judgment: Judgment) -> str:
    return judgment.pair_id or "pair"


def _report(summary: Summary, *, to_stdout: bool) -> None:
    """The summary: JSON when standard output is a pipe of its own, a few lines for a person."""
    common.show_summary(summary, summary.pairs, to_stdout=to_stdout)
    if summary.pairs and summary.winners["none"] == summary.pairs:
        kinds: Sequence[str] = [kind for kind, _ in summary.failures.most_common()]
        hint = "; every prompt is longer than the model's context" if kinds == ["prompt_too_long"] else ""
        raise RMR1Error(f"no verdict could be read ({', '.join(kinds)}){hint}")
