"""Distil reasoning traces from teachers, and keep those that pass every check.

A first teacher judges without being told the answer. Where it is wrong or unreadable, a second one is told, and shown
the wrong judgment (RM-R1, arXiv 2505.02387, appendix D). Of both only that is kept which `verify` finds no fault with.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from rmr1_sdk import prompts
from rmr1_sdk.backends import Backend
from rmr1_sdk.concurrency import in_order, submit, wait
from rmr1_sdk.errors import BackendError, BudgetExceeded
from rmr1_sdk.files.store import Store
from rmr1_sdk.hashing import digest
from rmr1_sdk.judge import Judge
from rmr1_sdk.parsing import neutralise
from rmr1_sdk.parsing.tags import ends_in_verdict, with_thought, without_thought
from rmr1_sdk.parsing.verdict import is_closed
from rmr1_sdk.prompts import Family, Prompt
from rmr1_sdk.statistics.intervals import Share, share
from rmr1_sdk.training.data.held_out import read_labelled
from rmr1_sdk.training.stage import Step, Trace
from rmr1_sdk.types import Judgment, Message, Pair, Shown, Usage, Value, Verdict

__all__ = ["DistillReport", "Estimate", "Fault", "Reason", "distill", "estimate", "verify"]

Reason = Literal[
    "engine failed",
    "unreadable",
    "wrong verdict",
    "loose ending",
    "open section",
    "missing section",
    "not cited",
    "quote not found",
    "hint leaked",
    "unbalanced",
]
"""Why a trace is not kept, in the order in which it is looked at."""


class Fault(Value):
    """Fault of a trace: a reason from a closed set, and its details."""

    reason: Reason
    detail: str = ""


class DistillReport(Value):
    """Report of a run of `rmr1 train distill`.

    `kept` are traces of the first teacher, `corrected` of the second. `rejected` counts the pairs without a trace by
    what was wrong with the last one that was written. `first_right` is how often the first teacher's verdict was
    right, of all pairs; `first_is_better` how often A is, of the traces. Tokens are those of both teachers, from the
    store or not.
    """

    pairs: int
    kept: int
    corrected: int
    rejected: dict[str, int]
    first_right: Share
    first_is_better: Share | None
    tokens_read: int
    tokens_written: int


class Estimate(Value):
    """Tokens that distilling may take, a token for four characters.

    `read` is the prompts of the first teacher; at most `written_at_most` come back. If the second teacher is asked
    about every fourth pair, as RM-R1's was, it reads at most `second_read_at_most`, the wrong judgments included,
    and writes at most `second_written_at_most`.
    """

    pairs: int
    read: int
    written_at_most: int
    second_read_at_most: int
    second_written_at_most: int


def distill(
    pairs: Path,
    out: Path,
    first: Backend,
    second: Backend | None = None,
    *,
    prompt: str = "cor",
    sampling: Mapping[str, Any] | None = None,
    max_tokens_total: int | None = None,
    max_concurrency: int | None = None,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> DistillReport:
    """Write `OUT/traces.jsonl`, a Trace a line, in the order of the pairs; and return what it came to.

    `rejected.jsonl` has a line for each pair without a trace, with the reason and the text; `report.json` is the
    report. Completions are kept in `store.db`, so a run that was killed or stopped goes on where it was. As many
    traces say A as say B: what is over is left out, by lot. A folder that holds the same already is left alone.

    Args:
        pairs: a file of pairs with a label, as `rmr1 train data` writes.
        out: the folder.
        first: the first teacher. Its owner closes it.
        second: the second teacher; None asks nobody again.
        prompt: what both are asked with.
        sampling: fields given here replace the prompt's own.
        max_tokens_total: once the teachers have read and written so many tokens, nothing more is asked, and
            BudgetExceeded is raised. What comes from the store costs nothing.
        max_concurrency: requests in flight; None is what suits the backend.
        seed: all randomness follows from it.
        advance: called once for every judgment.

    Raises ConfigError for arguments that cannot be right, and for pairs most of which have the same label; DataError at
    a pair without one; BackendError where more than half of the requests fail, and are ten or more.
    """
    rows = read_labelled(pairs)
    asked = replace(prompts.get(prompt), choices=None)  # a probability is of no use here
    settings = {
        "first": first.identity,
        "second": second and second.identity,
        "prompt": prompt,
        "prompt_sha256": asked.digest,
        "sampling": dict(sampling or {}),
        "seed": seed,
    }
    step = Step("distill", out, settings, [pairs])
    if step.is_done():
        return DistillReport.model_validate_json((out / "report.json").read_text(encoding="utf-8"))
    store = Store(out / "store.db")
    common: dict[str, Any] = {"sampling": sampling, "max_concurrency": max_concurrency, "seed": seed, "store": store}
    run = _Run(rows, asked, advance)
    try:
        run.ask(1, Judge(first, prompt=asked, **_asking(common, max_tokens_total)))
        if second is not None:
            left = None if max_tokens_total is None else max(0, max_tokens_total - run.spent)
            run.ask(2, Judge(second, prompt=_hinted(asked), **_asking(common, left)))
    except BudgetExceeded as error:
        told = f"{run.spent:,} tokens are spent of max_tokens_total={max_tokens_total:,}; nothing was written yet"
        raise BudgetExceeded(f"{told}, and with a larger budget the same call resumes") from error
    finally:
        store.close()
    run.balance(seed)
    return run.write(step)


def _asking(common: Mapping[str, Any], budget: int | None) -> dict[str, Any]:
    """Judge of a teacher: one order, and no forced verdict."""
    return {**common, "orders": "given", "force_verdict": False, "max_tokens_total": budget}


def estimate(pairs: Path, *, prompt: str = "cor", sampling: Mapping[str, Any] | None = None) -> Estimate:
    """Estimate the tokens of distilling these pairs. Raises as `distill` does."""
    rows, asked = read_labelled(pairs), prompts.get(prompt)
    written = len(rows) * int((sampling or {}).get("max_tokens", asked.sampling.max_tokens))
    read = sum(_characters(asked.render(pair)) for pair in rows) // 4
    hints = len(rows) * len(_HINT) // 4
    return Estimate(
        pairs=len(rows),
        read=read,
        written_at_most=written,
        second_read_at_most=(read + hints + written) // 4,
        second_written_at_most=written // 4,
    )


def _characters(messages: Sequence[Message]) -> int:
    return sum(len(message.content) for message in messages)


_HINT = (
    "[The Start of the Note]\n"
    "The correct verdict is [[{side}]]. Another judge, who did not know that, missed it; what it wrote stands below. "
    "Write the judgment that a careful reader of both answers comes to by itself, with every part that was asked for "
    "above, ending in this verdict. Nobody who reads it may notice that there was a note.\n"
    "[The End of the Note]"
)
_WRONG = "first_judgment"
"""Key of a pair's metadata that holds the wrong judgment while the second teacher is asked."""


class _Hinted(Prompt):
    """A prompt that tells the answer, and shows what another judge wrote."""

    def render(self, pair: Pair, shown: Shown = "AB") -> tuple[Message, ...]:
        """The messages that ask about a pair, its label and the wrong judgment told."""
        *before, last = super().render(pair, shown)
        wrong = neutralise(pair.metadata[_WRONG])
        other = f"[The Start of the Other Judgment]\n{wrong}\n[The End of the Other Judgment]"
        text = f"{last.content}\n\n{_HINT.format(side=pair.label)}\n\n{other}"
        return (*before, last.model_copy(update={"content": text}))


def _hinted(prompt: Prompt) -> _Hinted:
    return _Hinted(**{field.name: getattr(prompt, field.name) for field in fields(prompt)})


_LEAKS = re.compile(
    r"correct verdict|\b(?:other|another|previous|earlier|first) judg(?:e|e?ments?)\b|\b(?:the|this) (?:note|hint)\b"
    r"|\b(?:i was|i am|i have been|we were) (?:told|instructed)\b|\bground truth\b"
    r"|\b(?:gold|given|known) (?:label|verdict)\b",
    re.IGNORECASE,
)
LEAK_WORDS = 5
"""So many words in a row of the hint, which are in neither the prompt nor the pair, are a leak."""


def verify(text: str, pair: Pair, *, prompt: Prompt, hinted: bool = False) -> Fault | None:
    """Check a trace: its fault, or None.

    It must be read by the prompt's own reader and name the labelled side; end with its answer, as RM-R1's strict
    reward wants it; have closed every section it opened; have all sections of its family; cite both sides, and quote
    what is there. One of a teacher who was told the answer must not show that.
    """
    verdict = prompt.reader(text, pair, "AB")
    if verdict.winner is None:
        return Fault(reason="unreadable", detail=verdict.failure.kind if verdict.failure else "")
    if verdict.winner != pair.label or verdict.winner == "tie":
        return Fault(reason="wrong verdict", detail=f"{verdict.winner}, not {pair.label}")
    if not ends_in_verdict(text, verdict.winner):
        return Fault(reason="loose ending", detail=text.rstrip()[-40:])
    if not is_closed(text):
        return Fault(reason="open section")
    if missing := _missing(verdict, prompt.family):
        return Fault(reason="missing section", detail=missing)
    if prompt.family == "cor" and (sides := {"A", "B"} - {citation.side for citation in verdict.citations}):
        return Fault(reason="not cited", detail=", ".join(sorted(sides)))
    for citation in verdict.citations:
        if citation.kind == "quote" and not citation.found:
            return Fault(reason="quote not found", detail=f"{citation.side}: {citation.text}")
    if hinted and (leak := _leak(text, pair, prompt)):
        return Fault(reason="hint leaked", detail=leak)
    return None


def _missing(verdict: Verdict, family: Family) -> str | None:
    """The first section of its family that is not there."""
    if family == "reasoning":
        return None if verdict.thinking else "think"
    if family == "custom":
        return None
    rubric = verdict.rubric
    parts: dict[str, object] = {"type": verdict.task, "eval": verdict.evaluation}
    if verdict.task == "reasoning":
        parts["solution"] = verdict.solution
    else:
        parts["rubric"] = rubric and rubric.criteria
        parts["weights in the rubric"] = rubric and rubric.criteria and rubric.criteria[0].weight is not None
        parts["justify"] = rubric and rubric.justification
    return next((name for name, part in parts.items() if not part), None)


def _leak(text: str, pair: Pair, prompt: Prompt) -> str | None:
    """Words that show that the answer was told, None where there are none. What the pair says may be repeated."""
    known = " ".join(message.content for message in prompt.render(pair))
    for phrase in _LEAKS.finditer(text):
        if phrase.group().lower() not in known.lower():
            return phrase.group()
    told = _runs(_HINT) - _runs(known)
    return " ".join(next(iter(sorted(told & _runs(text))), ())) or None


def _runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[at : at + LEAK_WORDS]) for at in range(len(words) - LEAK_WORDS + 1)}


@dataclass(frozen=True)
class _Written:
    """The last that was written about a pair, by which teacher, and what is wrong with it."""

    teacher: Literal[1, 2]
    text: str
    model: str
    fault: Fault | None


class _Run:
    """Every pair, and the last that was written about it."""

    def __init__(self, pairs: Sequence[Pair], prompt: Prompt, advance: Callable[[], None]) -> None:
        self._pairs = pairs
        self._prompt = prompt
        self._advance = advance
        self._written: dict[int, _Written] = {}
        self._first_right = 0
        self._usage = Usage()
        self.spent = 0

    def ask(self, teacher: Literal[1, 2], judge: Judge) -> None:
        """Ask the first teacher about all pairs, the second about those where that was wrong or unreadable."""
        numbers = [number for number in range(len(self._pairs)) if teacher == 1 or self._is_wrong(number)]
        ahead = 4 * judge.backend.capabilities.concurrency  # so that one slow answer leaves nobody idle
        try:
            wait(submit(self._ask(teacher, judge, numbers, ahead)))
        finally:
            self.spent += judge.tokens_spent

    def _is_wrong(self, number: int) -> bool:
        fault = self._written[number].fault
        return fault is not None and fault.reason in ("wrong verdict", "unreadable")

    async def _ask(self, teacher: Literal[1, 2], judge: Judge, numbers: Sequence[int], ahead: int) -> None:
        failed = 0
        async with aclosing(in_order((self._judged(teacher, judge, number) for number in numbers), ahead)) as answers:
            done = 0
            async for judged in answers:
                self._take(teacher, numbers[done], judged)
                self._advance()
                done += 1
                failed += isinstance(judged, BackendError)
                if isinstance(judged, BackendError) and failed >= 10 and failed > done / 2:
                    raise BackendError(f"{failed} of {done} requests failed, the last one with: {judged}") from judged

    async def _judged(self, teacher: Literal[1, 2], judge: Judge, number: int) -> Judgment | BackendError:
        pair = self._pairs[number]
        if teacher == 2:
            pair = pair.model_copy(update={"metadata": {**pair.metadata, _WRONG: self._written[number].text}})
        try:
            return await judge.acompare(pair)
        except BackendError as error:  # it belongs to this request until most of them fail
            return error

    def _take(self, teacher: Literal[1, 2], number: int, judged: Judgment | BackendError) -> None:
        if isinstance(judged, BackendError):
            self._written[number] = _Written(teacher, "", "", Fault(reason="engine failed", detail=str(judged)))
            return
        pair = self._pairs[number]
        self._usage += judged.usage
        self._first_right += teacher == 1 and judged.winner == pair.label
        text = _whole(judged.verdicts[0], self._prompt.family)
        fault = verify(text, pair, prompt=self._prompt, hinted=teacher == 2)
        if fault and fault.reason == "unreadable" and judged.failure:
            fault = Fault(reason="unreadable", detail=judged.failure.kind)
        self._written[number] = _Written(teacher, text, judged.model, fault)

    def balance(self, seed: int) -> None:
        """Leave out, by lot, what one side has more of."""
        kept: dict[str | None, list[int]] = {"A": [], "B": []}
        for number, written in self._written.items():
            if written.fault is None:
                kept[self._pairs[number].label].append(number)
        fewer, more = sorted(kept.values(), key=len)
        drawn = sorted(more, key=lambda number: digest(seed, "balance", self._pairs[number].id, number))
        for number in drawn[len(fewer) :]:
            side = self._pairs[number].label
            fault = Fault(
                reason="unbalanced", detail=f"there were {len(more)} for {side} and {len(fewer)} for the other"
            )
            self._written[number] = replace(self._written[number], fault=fault)

    def write(self, step: Step) -> DistillReport:
        """Write what was kept, what was not, and the report."""
        with step.writing("traces.jsonl") as traces, step.writing("rejected.jsonl") as rejected:
            for number, pair in enumerate(self._pairs):
                written = self._written[number]
                if written.fault is None:
                    traces.write(self._trace(pair, written).model_dump_json(exclude_defaults=True) + "\n")
                else:
                    line = {
                        "id": pair.id,
                        "teacher": written.teacher,
                        **written.fault.model_dump(),
                        "text": written.text,
                    }
                    rejected.write(json.dumps(line, ensure_ascii=False) + "\n")
        report = self._report()
        step.write("report.json", report.model_dump_json(indent=2) + "\n")
        step.finish()
        return report

    def _trace(self, pair: Pair, written: _Written) -> Trace:
        return Trace(
            pair=pair,
            text=written.text,
            family=self._prompt.family,
            prompt=self._prompt.name,
            teacher=written.teacher,
            model=written.model,
        )

    def _report(self) -> DistillReport:
        good = [number for number, written in self._written.items() if written.fault is None]
        faults = Counter(written.fault.reason for written in self._written.values() if written.fault)
        first_right = share(self._first_right, len(self._pairs))
        assert first_right
        return DistillReport(
            pairs=len(self._pairs),
            kept=sum(self._written[number].teacher == 1 for number in good),
            corrected=sum(self._written[number].teacher == 2 for number in good),
            rejected={reason: faults[reason] for reason in get_args(Reason) if faults[reason]},
            first_right=first_right,
            first_is_better=share(sum(self._pairs[number].label == "A" for number in good), len(good)),
            tokens_read=self._usage.prompt_tokens,
            tokens_written=self._usage.completion_tokens,
        )


def _whole(verdict: Verdict, family: Family) -> str:
    """All that a judge of this family writes: with its thinking where it thinks, and without where it does not."""
    text = verdict.text.strip()
    return with_thought(text, verdict.thinking) if family == "reasoning" else without_thought(text)
