"""`rmr1 rank`: rank one list of answers, or a file of lists."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any

import typer

from rmr1_sdk.cli import common
from rmr1_sdk.cli.options import JudgeFlags, judge_flags, takes
from rmr1_sdk.concurrency import in_order
from rmr1_sdk.errors import ConfigError, RMR1Error
from rmr1_sdk.files.pairs import AnswerList, read_lists
from rmr1_sdk.files.rows import file_digest
from rmr1_sdk.judge import Judge
from rmr1_sdk.progress import bar_if
from rmr1_sdk.types import Conversation, Ranking

__all__ = ["rank"]

_AHEAD = 16  # lists begun at once, so that the last rounds of one do not leave the backend idle


@dataclass
class Summary:
    """Summary of a run over a file. `failures` counts readings, `unranked` answers without a readable duel."""

    lists: int = 0
    answers: int = 0
    unranked: int = 0
    duels: int = 0
    failed_duels: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    lists_with_cycles: int = 0
    tokens: int = 0
    wall_s: float = 0.0
    skipped_lines: list[str] = field(default_factory=list)

    def add(self, ranking: Ranking) -> None:
        self.lists += 1
        self.answers += len(ranking.scores)
        self.unranked += ranking.scores.count(None)
        self.duels += len(ranking.comparisons)
        self.failed_duels += ranking.failed
        verdicts = [verdict for judgment in ranking.judgments for verdict in judgment.verdicts]
        self.failures.update(verdict.failure.kind for verdict in verdicts if verdict.failure)
        self.lists_with_cycles += bool(ranking.cycles)
        self.tokens += ranking.usage.total_tokens

    def as_json(self) -> dict[str, Any]:
        return vars(self) | {"unreadable": self.failures.total()}

    def as_text(self) -> str:
        rows = [
            ("lists", f"{self.lists} ({self.lists_with_cycles} with cycles)"),
            ("answers", f"{self.answers} ({self.unranked} without a rank)"),
            ("duels", f"{self.duels} ({self.failed_duels} failed)"),
            ("time", f"{self.wall_s:.1f} s, {self.tokens:,} tokens"),
            ("unreadable", ", ".join(f"{kind} {n}" for kind, n in self.failures.most_common())),
        ]
        return common.as_lines(rows, self.skipped_lines)


@takes(flags=judge_flags())
def rank(
    file: Annotated[Path | None, typer.Argument(help="A file of lists: JSONL or Parquet.")] = None,
    question: Annotated[
        str | None, typer.Option(help="For one list: the question, or @FILE.", show_default="none")
    ] = None,
    answer: Annotated[
        list[str], typer.Option(help="For one list: an answer, or @FILE; repeat it.", show_default="none")
    ] = [],  # noqa: B006  # typer copies it
    anchor: Annotated[
        str | None,
        typer.Option(help="For one list: the answer to compare the others with, or @FILE.", show_default="none"),
    ] = None,
    method: Annotated[str, typer.Option(help="round_robin, knockout, swiss or anchor.")] = "round_robin",
    budget: Annotated[
        int | None, typer.Option(help="Duels that swiss may ask for.", show_default="3 an answer")
    ] = None,
    aggregate: Annotated[str, typer.Option(help="bradley_terry or win_rate.")] = "bradley_terry",
    field: common.Field = [],  # noqa: B006  # typer copies it
    out: Annotated[Path | None, typer.Option(help="A JSONL file for the rankings.", show_default="print them")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Rank only the first lists.", show_default="all")] = None,
    skip_bad: common.SkipBad = False,
    *,
    flags: JudgeFlags,
) -> None:
    """Rank one list of answers (--question, --answer ...) or a file of lists."""
    flags.check_model()
    if out and out.suffix.lower() in (".csv", ".parquet"):
        raise ConfigError(f"--out {out}: rankings are written as JSONL; name a .jsonl file")
    file = common.received(file)
    lists, summary, data = _lists(file, field, (question, answer, anchor), method, skip_bad)
    lists = lists[:limit]
    judge = flags.judge(out)
    how: dict[str, Any] = {"method": method, "budget": budget, "aggregate": aggregate}  # checked by Judge.rank
    with judge:
        _rank_lists(judge, lists, how, out, summary)
        run = common.record(judge, how, data)
    if out:
        common.write_record(out, run | {"summary": summary.as_json()})
    _report(summary, to_stdout=out is not None)


def _lists(
    file: Path | None, fields: list[str], one: tuple[str | None, list[str], str | None], method: str, skip_bad: bool
) -> tuple[list[AnswerList], Summary, str | None]:
    """The lists to rank, the summary they start, and the digest of the file they came from."""
    question, answers, anchor = one
    if file is None:
        if question is None or len(answers) < 2:
            raise ConfigError("give a file of lists, or --question and two or more of --answer")
        given = AnswerList(
            question=common.text("--question", question),
            answers=tuple(common.text("--answer", answer) for answer in answers),
            anchor=None if anchor is None else common.text("--anchor", anchor),
        )
        return [given], Summary(), None
    if one != (None, [], None):
        raise ConfigError("give a file of lists or --question, --answer and --anchor, not both")
    anchored = method == "anchor"
    lists, bad = read_lists(file, anchored=anchored, fields=common.mapping(fields, AnswerList))
    common.check_lines(file, len(lists), bad, skip_bad)
    if not anchored:
        lists = [each.model_copy(update={"anchor": None}) for each in lists]
    return lists, Summary(skipped_lines=[str(error) for error in bad]), file_digest(file)


def _rank_lists(
    judge: Judge, lists: Sequence[AnswerList], how: dict[str, Any], out: Path | None, summary: Summary
) -> None:
    started = time.monotonic()
    progress = bar_if(len(lists) > 1 and sys.stderr.isatty(), len(lists), "lists")
    with common.Output(out, _form(out, lists)) as output, progress as advance:

        def take(ranking: Ranking) -> None:
            summary.add(ranking)
            output.write(ranking)
            advance()

        asyncio.run(_rank_all(judge, lists, how, take))
    summary.wall_s = time.monotonic() - started


async def _rank_all(
    judge: Judge, lists: Sequence[AnswerList], how: dict[str, Any], take: Callable[[Ranking], None]
) -> None:
    """Rank several lists at once and hand each ranking on, in order."""
    work = (_rank(judge, each, how, progress=len(lists) == 1) for each in lists)
    async with aclosing(in_order(work, _AHEAD)) as rankings:
        async for ranking in rankings:
            take(ranking)


async def _rank(judge: Judge, each: AnswerList, how: dict[str, Any], *, progress: bool) -> Ranking:
    ranking = await judge.arank(
        each.question,
        each.answers,
        anchor=each.anchor,
        reference=each.reference,
        rubric=each.rubric,
        progress=progress and sys.stderr.isatty(),
        **how,
    )
    return ranking.model_copy(update={"id": each.id})


def _report(summary: Summary, *, to_stdout: bool) -> None:
    common.show_summary(summary, summary.lists, to_stdout=to_stdout)
    if summary.duels and summary.failed_duels == summary.duels:
        kinds = ", ".join(kind for kind, _ in summary.failures.most_common())
        raise RMR1Error(f"no verdict could be read ({kinds})")


def _form(out: Path | None, lists: Sequence[AnswerList]) -> Callable[[Ranking], str] | None:
    """Formatter for printed rankings; None where they go to OUT alone, as JSON."""
    if out is not None:
        return None
    if not sys.stdout.isatty():
        return Ranking.model_dump_json
    texts = iter(lists)  # rankings come in the order of their lists
    return lambda ranking: _table(ranking, next(texts))


def _table(ranking: Ranking, given: AnswerList) -> str:
    """A line an answer, best first; those without a rank come last."""
    lines = [f"== {ranking.id or 'list'}", f"{'rank':>4} {'score':>13}  answer"]
    for index in [*ranking.order, *(i for i, score in enumerate(ranking.scores) if score is None)]:
        rank, score, error = ranking.ranks[index], ranking.scores[index], ranking.std_errors[index]
        figures = "-" if score is None else f"{score:.2f} ± {error:.2f}"
        lines.append(f"{rank or '-':>4} {figures:>13}  {index}: {_first_words(given.answers[index])}")
    if ranking.failed:
        lines.append(f"{ranking.failed} of {len(ranking.comparisons)} duels failed")
    lines += ["in a circle: " + " > ".join(map(str, [*circle, circle[0]])) for circle in ranking.cycles]
    return "\n".join(lines) + "\n"


def _first_words(answer: Conversation) -> str:
    text = answer if isinstance(answer, str) else " ".join(turn.content for turn in answer)
    return shorten(text, 60, placeholder=" ...")
