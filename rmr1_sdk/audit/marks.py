"""Verdicts implied by the marks in an evaluation and the weights of its rubric, where both can be read."""

import re
from collections.abc import Iterator

from rmr1_sdk.types import Rubric, Side

__all__ = ["weighted_marks"]

_LINE_BEGINS = re.compile(r"\s*(?:on\s+)?(?:[-+*•#>]+\s*)?(?:\(?\d{1,2}[.):]\s*)?[*_\s]*", re.IGNORECASE)
_QUOTED = re.compile(r"“[^”]*”")
_MARK = re.compile(  # "Chatbot A gets 8/10", "A: 8 out of 10"; a letter alone could be an article
    r"(?:(?i:chatbot|answer|response)\s+([AB])\b[^.\nAB\d]{0,40}?|\b([AB])\b\**\s*[:=]\s*)"
    r"\**(\d{1,3}(?:\.\d{1,3})?)\**\s*(?:/|out of)\s*(\d{1,3})\b"
)


def weighted_marks(rubric: Rubric, evaluation: str) -> tuple[float, float] | None:
    """The sums of A's and B's marks, as shown, 0 to 1, each by the weight of its criterion.

    None unless that can be told for certain: every criterion has a weight and begins exactly one line of the
    evaluation, and what follows, up to the next criterion, gives each side one mark of the same scale. Prose that
    favours a side is no mark, and what stands in quotes is the answers' own.
    """
    sums = {"A": 0.0, "B": 0.0}
    *closed, open_end = evaluation.rpartition("”")  # no quote ends after it: to look from each start is quadratic
    parts = _parts(rubric, _QUOTED.sub("", "".join(closed)) + open_end)
    if parts is None:
        return None
    for criterion, part in zip(rubric.criteria, parts, strict=True):
        given = set(_marks(part))
        scales = {scale for _, _, scale in given}
        if criterion.weight is None or sorted(side for side, _, _ in given) != ["A", "B"] or len(scales) > 1:
            return None
        for side, points, scale in given:
            if points > scale or not scale:
                return None
            sums[side] += criterion.weight * points / scale
    return sums["A"], sums["B"]


def _parts(rubric: Rubric, evaluation: str) -> list[str] | None:
    """Split an evaluation into the text about each criterion, in the rubric's order."""
    begins: dict[int, int] = {}
    at = 0
    for line in evaluation.splitlines(keepends=True):
        match = _LINE_BEGINS.match(line)
        said = line[match.end() if match else 0 :].casefold()
        for number, criterion in enumerate(rubric.criteria):
            if criterion.name and said.startswith(criterion.name.casefold()):
                if number in begins:
                    return None
                begins[number] = at
        at += len(line)
    places = sorted(begins.values())
    if len(begins) < len(rubric.criteria) or len(set(places)) < len(places) or not places:
        return None
    ends = dict(zip(places, [*places[1:], len(evaluation)], strict=True))
    return [evaluation[begins[number] : ends[begins[number]]] for number in range(len(rubric.criteria))]


def _marks(part: str) -> Iterator[tuple[Side, float, float]]:
    for match in _MARK.finditer(part):
        yield "A" if "A" in (match[1], match[2]) else "B", float(match[3]), float(match[4])
