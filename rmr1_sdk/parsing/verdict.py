"""Read a completion: text to Verdict, and the text up to the verdict's place."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from rmr1_sdk.parsing.failures import failure
from rmr1_sdk.parsing.quotes import find_citations, make_finders, unshown
from rmr1_sdk.parsing.rubric import parse_rubric
from rmr1_sdk.parsing.tags import (
    ANSWER,
    DRESSING,
    Tag,
    close_open_tags,
    end_of_reasons,
    find_section,
    find_tags,
    last_thought,
    open_names,
    section_prose,
    thinking_before,
    without_partial_tag,
)
from rmr1_sdk.types import FailureKind, Outcome, Pair, Shown, Side, Task, Verdict, other

__all__ = ["Mode", "force_prefix", "is_closed", "read", "verdict_prefix"]

Mode = Literal["robust", "rmr1_reward", "rmr1_eval", "rewardbench"]
REWARD_WINDOW_CHARS = 80
"""How much of the end RM-R1's training reward looks at (its lm_as_judge.py)."""


class _Answer(NamedTuple):
    """A finished answer: where its content begins, and whom it names, as shown."""

    start: int
    outcome: Outcome | None


def read(
    text: str, *, mode: Mode = "robust", pair: Pair | None = None, shown: Shown = "AB", ties: bool = False
) -> Verdict:
    """Read a completion, in the caller's sides. Never raises on any text.

    Args:
        text: the whole completion.
        mode: which rule finds the verdict. "robust": the last finished answer tag after the last
            `</think>` and `</eval>`, unless two there differ. The others reproduce published
            numbers: "rmr1_reward" (RM-R1's training reward: the literal tag in the last 80
            characters and not the other), "rmr1_eval" (RM-R1's evaluators: `[[X]]` anywhere, both
            is a failure), "rewardbench" (upstream's: `[[A]]` anywhere wins).
        pair: where quotes are looked up; without it their `found` is None.
        shown: the order in which the model saw the pair.
        ties: whether the prompt allows a tie: then "robust" reads `[[C]]`, `[[A=B]]` and `[[tie]]` as one.
    """
    tags = find_tags(text)
    body, thinks_on = last_thought(tags)
    named = _robust(text, tags, thinks_on, ties=ties) if mode == "robust" else _BY_MODE[mode](text, tags, thinks_on)
    inside = [tag for tag in tags if tag.start >= body and tag.name != "think"] if not thinks_on else []
    winner = named if named in ("A", "B", "tie") else None
    return Verdict(
        winner=winner if shown == "AB" else other(winner),
        task=_task(text, inside),
        rubric=parse_rubric(text, inside),
        solution=section_prose(text, inside, "solution"),
        evaluation=section_prose(text, inside, "eval"),
        citations=tuple(
            citation.model_copy(update={"side": unshown(citation.side, shown)})
            for citation in find_citations(text, inside, make_finders(pair, shown))
        ),
        thinking=thinking_before(text, tags, body, thinks_on),
        failure=None if winner else failure(named),  # type: ignore[arg-type]
        shown=shown,
        text=text,
    )


def _answers(text: str, tags: Sequence[Tag]) -> list[_Answer]:
    """Finished answers after the last `</think>` and `</eval>`; without any, the one that stands elsewhere.

    That is one that a text ends in without closing it, one that an evaluation ends in, or one outside all sections.
    """
    begin = end_of_reasons(tags)
    return _finished(text, [tag for tag in tags if tag.start >= begin]) or _elsewhere(text, tags)


def _finished(text: str, tags: Sequence[Tag]) -> list[_Answer]:
    answers = []
    opened: Tag | None = None
    for tag in tags:
        if tag.name != "answer":
            continue
        if not tag.closes:
            opened = tag
        elif opened:
            answers.append(_Answer(opened.end, _outcome(text[opened.end : min(tag.start, opened.end + 64)])))
            opened = None
    return answers


def _elsewhere(text: str, tags: Sequence[Tag]) -> list[_Answer]:
    body, thinks_on = last_thought(tags)
    inside = [] if thinks_on else [tag for tag in tags if tag.start >= body]
    last = inside[-1] if inside else None
    if last and last.name == "answer" and not last.closes:
        content = text[last.end : last.end + 64]
        is_whole = _UNCLOSED.fullmatch(content) and len(text) - last.end < 64
        return [_Answer(last.end, _outcome(content))] if is_whole and not open_names(text, inside[:-1], False) else []
    answers: list[_Answer] = []
    opened: set[str] = set()  # sections
    for at, tag in enumerate(inside[:-1]):
        closing = inside[at + 1]
        if tag.name == "answer" and not tag.closes and closing.name == "answer" and closing.closes:
            ends = closing is last or (inside[at + 2].closes and not text[closing.end : inside[at + 2].start].strip())
            alone = not opened and _is_own_line(text, tag.start, closing.end)
            if alone or (ends and opened == {"eval"}):
                answers += _finished(text, [tag, closing])
        elif tag.closes:
            opened.discard(tag.name)
        elif tag.name != "answer":
            opened.add(tag.name)
    return answers


def _is_own_line(text: str, start: int, end: int) -> bool:
    """True where nothing else stands on the lines of a piece: a tag in a sentence is one that is talked about."""
    before = text[max(0, start - 80) : start].rpartition("\n")[2]
    return not (before + text[end : end + 80].partition("\n")[0]).strip()


_UNCLOSED = re.compile(r"\s{0,8}\[\[[^\[\]<>]{1,20}\]\]\W{0,20}")


_OUTCOMES: dict[str, Outcome] = {
    "a": "A", "b": "B", "c": "tie", "a=b": "tie", "a = b": "tie", "b=a": "tie", "tie": "tie",
}  # fmt: skip


def _outcome(content: str) -> Outcome | None:
    """The outcome that "[[A]]", "**A**", "Chatbot A", "［［Ａ］］！" and the like name."""
    seen = "".join(char for char in unicodedata.normalize("NFKC", content) if unicodedata.category(char) != "Cf")
    return _OUTCOMES.get(seen.strip(_DRESSING).lower().removeprefix("chatbot").strip(_DRESSING))


_DRESSING = DRESSING + "!?,;:。、「」『』【】"
"""Beside these, NFKC makes every white space a space."""


def _robust(text: str, tags: Sequence[Tag], thinks_on: bool, *, ties: bool) -> Outcome | FailureKind:
    if not text.strip():
        return "empty"
    if thinks_on:
        return "unclosed_thinking"
    answers = _answers(text, tags)
    if not answers:
        return "no_answer"
    named = [answer.outcome if ties or answer.outcome != "tie" else None for answer in answers]
    if len({*named} - {None}) > 1:
        return "conflicting_answers"
    return named[-1] or "bad_answer"


def _either(text: str, a: str, b: str) -> Side | FailureKind:
    if a in text and b in text:
        return "conflicting_answers"
    return "A" if a in text else "B" if b in text else "no_answer"


def _rmr1_reward(text: str, tags: Sequence[Tag], thinks_on: bool) -> Side | FailureKind:
    return _either(text[-REWARD_WINDOW_CHARS:], "<answer>[[A]]</answer>", "<answer>[[B]]</answer>")


def _rmr1_eval(text: str, tags: Sequence[Tag], thinks_on: bool) -> Side | FailureKind:
    return _either(text, "[[A]]", "[[B]]")


def _rewardbench(text: str, tags: Sequence[Tag], thinks_on: bool) -> Side | FailureKind:
    return "A" if "[[A]]" in text else _either(text, "[[A]]", "[[B]]")


_BY_MODE: dict[Mode, Callable[[str, Sequence[Tag], bool], Outcome | FailureKind]] = {
    "rmr1_reward": _rmr1_reward,
    "rmr1_eval": _rmr1_eval,
    "rewardbench": _rewardbench,
}


def verdict_prefix(text: str) -> str | None:
    """The text through the `<answer>[[` of the answer that decides; None where nothing is readable."""
    tags = find_tags(text)
    answers = _answers(text, tags)
    if not answers or answers[-1].outcome not in ("A", "B"):
        return None
    start = answers[-1].start
    brackets = re.compile(r"\s{0,8}\[\[").match(text, start)
    return text[: brackets.end()] if brackets else text[:start] + "[["


def force_prefix(text: str, *, thinking: bool = False) -> str:
    """Close everything that a text left open, and append `<answer>[[`.

    Args:
        text: a completion that came to no verdict.
        thinking: whether it begins inside thinking that its prompt had opened.
    """
    text = without_partial_tag(text)
    tags = find_tags(text)
    begin = end_of_reasons(tags)
    answer = next((tag for tag in tags if tag.name == "answer" and tag.start >= begin and not tag.closes), None)
    in_thought = "think" in open_names(text, tags, thinking)  # an answer there is closed off with it
    if answer and not in_thought:
        text, tags = text[: answer.start], [tag for tag in tags if tag.start < answer.start]
    return f"{close_open_tags(text, tags, thinking)}\n\n{ANSWER}[["


def is_closed(text: str) -> bool:
    """True where a text left no tag open before its answer."""
    return text.startswith(force_prefix(text).removesuffix(f"{ANSWER}[[").rstrip())


def _task(text: str, tags: Sequence[Tag]) -> Task | None:
    span = find_section(tags, "type", len(text))
    named = span.of(text)[:40].lower() if span else ""
    reasoning, chat = "reason" in named, "chat" in named
    return None if reasoning == chat else "reasoning" if reasoning else "chat"
