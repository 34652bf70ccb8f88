"""Marks: the points of each criterion in a grading completion."""

import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rmr1_sdk.parsing.failures import MESSAGES, why_unstarted
from rmr1_sdk.parsing.quotes import Finder, find_citations
from rmr1_sdk.parsing.tags import (
    CITING,
    Span,
    close_open_tags,
    find_tags,
    last_thought,
    without_partial_tag,
    without_tags,
)
from rmr1_sdk.types import Criterion, Failure, FailureKind, Mark, Rubric, Side

__all__ = ["MOST_CRITERIA", "POINTS", "points_prefixes", "read_marks", "share_of_points"]

POINTS = (1, 2, 3, 4, 5)
"""What a criterion is marked with."""
MOST_CRITERIA = 99
"""The number of a criterion has two digits at most."""
_POINTS = re.compile(
    r"<\s{0,8}points_(\d{1,2})\s{0,8}>([^<]{0,64})<\s{0,8}/\s{0,8}points_\d{1,2}\s{0,8}>", re.IGNORECASE
)
_POINTS_BEGUN = re.compile(r"<\s{0,8}points_\d{1,2}\s{0,8}>[^<]{0,64}\Z", re.IGNORECASE)
_OF_FIVE = re.compile(r"(?:/|\bout of\b|\bof\b)\s{0,4}5(?:\.0)?(?![\d.,])", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![a-zA-Z0-9.,-])\d{1,6}(?:[.,]\d{1,6})?(?![\d/])")
_NO_MARK: dict[FailureKind, str] = {
    "no_answer": "Criterion {number} has no mark.",
    "bad_answer": "The mark of criterion {number} is not a number from 1 to 5.",
    "conflicting_answers": "Criterion {number} has two different marks.",
}


def read_marks(text: str, rubric: Rubric, *, answer: str) -> tuple[Mark, ...]:
    """The marks of a completion, one for each criterion. Never raises on any text.

    The number in the tag, `<points_2>4</points_2>`, says which criterion it is for, and what stands between it and
    the mark before are its remarks. Of two different marks for one criterion neither counts.

    Args:
        text: the whole completion.
        rubric: what is marked, MOST_CRITERIA at most.
        answer: where quotes are looked up.
    """
    finders: dict[Side, Finder] = {"A": Finder(answer)}
    seen = _marked(text)
    why = why_unstarted(text) or "no_answer"
    return tuple(
        _mark(text, criterion, number, seen.get(number, []), finders, why)
        for number, criterion in enumerate(rubric.criteria, start=1)
    )


def points_prefixes(text: str, numbers: Iterable[int], *, thinking: bool = False) -> list[str]:
    """For each criterion the text up to where it names its points; where it names none, led up to that and all closed.

    Args:
        text: a completion.
        numbers: those of the criteria, from 1.
        thinking: whether the text begins inside thinking that its prompt had opened.
    """
    seen = {} if thinking else _marked(text)
    begun = _POINTS_BEGUN.sub("", without_partial_tag(text))
    closed = close_open_tags(begun, find_tags(begun), thinking)
    return [
        text[: seen[number][-1].content.start] if number in seen else f"{closed}\n<points_{number}>"
        for number in numbers
    ]


class _Marked(NamedTuple):
    remarks: Span
    content: Span


def _marked(text: str) -> dict[int, list[_Marked]]:
    """Marks after the last thought, with their places, by the number of their criterion; quoted ones are left out."""
    tags = find_tags(text)
    begin, thinks_on = last_thought(tags)
    seen: dict[int, list[_Marked]] = {}
    if thinks_on:
        return seen
    citing = deque(tag for tag in tags if tag.name in CITING and tag.start >= begin)
    is_cited = False
    for match in _POINTS.finditer(text, begin):
        while citing and citing[0].start < match.start():
            is_cited = not citing.popleft().closes
        if is_cited:
            continue
        marked = _Marked(Span(begin, match.start()), Span(*match.span(2)))
        seen.setdefault(int(match.group(1)), []).append(marked)
        begin = match.end()
    return seen


def _mark(
    text: str,
    criterion: Criterion,
    number: int,
    seen: Sequence[_Marked],
    finders: Mapping[Side, "Finder"],
    why: FailureKind,
) -> Mark:
    """The mark of one criterion; `why` is the reason where it has none."""
    given = {_of_five(marked.content.of(text)) for marked in seen}
    points = given.pop() if len(given) == 1 else "conflicting_answers" if given else why
    remarks = seen[-1].remarks.of(text) if seen else ""
    mark = Mark(
        criterion=criterion,
        remarks=without_tags(remarks),
        citations=tuple(cited for cited in find_citations(remarks, find_tags(remarks), finders) if cited.side == "A"),
    )
    if isinstance(points, float):
        return mark.model_copy(update={"points": points, "score": share_of_points(points)})
    message = _NO_MARK.get(points, MESSAGES[points]).format(number=number)
    return mark.model_copy(update={"failure": Failure(kind=points, message=message)})


def share_of_points(points: float) -> float:
    """Points from 1 to 5 as a score from 0 to 1."""
    return (points - POINTS[0]) / (POINTS[-1] - POINTS[0])


def _of_five(content: str) -> float | FailureKind:
    """The one number of "4", "**4**", "Score: 4/5", "4 (good)", full width or in a box of LaTeX."""
    text = _OF_FIVE.sub("", unicodedata.normalize("NFKC", content))
    numbers = _NUMBER.findall(text)
    alone = len(numbers) == 1 and sum(map(str.isdecimal, text)) == sum(map(str.isdecimal, numbers[0]))
    points = float(numbers[0].replace(",", ".")) if alone else 0.0
    return points if POINTS[0] <= points <= POINTS[-1] else "bad_answer"
