"""Rubrics: criteria, weights and justification, in the many ways that models write them."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from rmr1_sdk.parsing.failures import why_unstarted
from rmr1_sdk.parsing.tags import TAG, Tag, find_section, find_tags, last_thought
from rmr1_sdk.types import Criterion, FailureKind, Rubric

__all__ = ["parse_rubric", "read_rubric", "written_weights"]

_ITEM = re.compile(
    r"(?:(?:[-+*•–]|\(?\d{1,3}[.):]|\(?[a-zA-Z][.)])(?:\s{1,8}|(?<=[.):])(?=[^\x00-\x7f]))|\(?\d{1,3}[、】]\s{0,8})"
)
_HEADING = re.compile(r"(?:#{1,6}\s{1,4})?(?:\*\*|__)?")
_NUMBER = r"(\d{1,6}(?:\.\d{1,6}|,\d{1,2}(?!\d))?(?:\s?/\s?\d{1,4})?|\.\d{1,6})"
_COMMON = {full: full - 0xFEE0 for full in (*range(0xFF10, 0xFF1B), *map(ord, "（）％．［］／"))} | {0x3000: " "}
"""Full-width digits and punctuation of heads as everybody's."""
_WEIGHTS = (  # the surest first
    re.compile(
        rf"[(\[*]{{0,4}}\s{{0,4}}weight(?:ing|age)?[*\s]{{0,4}}[:=]?[*\s]{{0,4}}{_NUMBER}\s{{0,2}}%?\s{{0,4}}[)\]]?",
        re.I,
    ),
    re.compile(rf"[(\[]\s{{0,4}}{_NUMBER}\s{{0,2}}(?:%|points?|pts)\s{{0,4}}(?:weight)?[)\]]", re.I),
    re.compile(r"[(\[]\s{0,4}(0?[.,]\d{1,6}|1[.,]0{1,6}|\d{1,3}\s?/\s?\d{1,4})\s{0,4}[)\]]"),
)
_BARE_WEIGHT = re.compile(rf"{_NUMBER}\s{{0,2}}%")
_NAME_ENDS = re.compile(r":|\s[-–—]\s")
_HEAD_CHARS = 400
"""How far into a line a criterion's name and weight are looked for."""


class _Item(NamedTuple):
    name: str
    weight: float | None
    description: str
    is_marked: bool


def parse_rubric(text: str, tags: Sequence[Tag]) -> Rubric | None:
    """Rubric of a text; None without one."""
    why = find_section(tags, "justify", len(text))
    items = _rubric_items(text, tags)
    if items is None and why is None:
        return None
    items = items or []
    weights = [item.weight for item in items]
    total = sum(weight or 0.0 for weight in weights)
    fractions = None not in weights and total > 0
    return Rubric(
        criteria=tuple(
            Criterion(
                name=item.name, weight=(item.weight or 0.0) / total if fractions else None, description=item.description
            )
            for item in items
        ),
        justification=(TAG.sub("", why.of(text)).strip() or None) if why else None,
    )


def _rubric_items(text: str, tags: Sequence[Tag]) -> list[_Item] | None:
    """The criteria of a rubric as they were written; None without a rubric."""
    span = find_section(tags, "rubric", len(text))
    if span is None:
        return None
    why = find_section(tags, "justify", len(text))
    lines = text[span.start : span.end]
    if why and span.start <= why.start < span.end:
        lines = text[span.start : why.start] + "\n" + text[min(why.end, span.end) : span.end]
    rows = TAG.sub("", lines).splitlines()
    rules = {at for at, row in enumerate(rows) if _is_rule(row.strip())}
    return _items([row for at, row in enumerate(rows) if at not in rules and at + 1 not in rules])


def _is_rule(row: str) -> bool:
    """True for the line under the head of a table."""
    return row.startswith("|") and "-" in row and not row.strip("|:- \t")


def _items(lines: Sequence[str]) -> list[_Item]:
    """Lines as criteria. What is deeper than the first item, or no item itself, belongs to the one above.

    An item that stands on the line of the tag hides its own depth: the next of its style shows it.
    """
    items: list[_Item] = []
    level: int | None = None
    style = ""
    descriptions: list[list[str]] = []
    for number, line in enumerate(lines):
        bare = line.translate(_COMMON).strip()
        if not bare:
            continue
        depth = len(line) - len(line.lstrip())
        item = _item(bare)
        if level is None and items and item.is_marked and _style(bare) == style:
            level = depth
        belongs = items and (level is None or depth > level or not item.is_marked)
        if not belongs:
            if item.is_marked:
                style = style or _style(bare)
                level = depth if level is None and number else level
                items.append(item)
                descriptions.append([item.description] if item.description else [])
            continue
        if item.weight is not None and not item.name:
            if items[-1].weight is None:
                items[-1] = items[-1]._replace(weight=item.weight)
            bare = item.description
        if bare:
            descriptions[-1].append(bare)
    return [item._replace(description=" ".join(parts)) for item, parts in zip(items, descriptions, strict=True)]


def _style(line: str) -> str:
    """Style of an item's beginning: a number, bold, a bullet, or a letter."""
    return "1" if line[0].isdigit() else "**" if line.startswith("**") else line[0] if not line[0].isalpha() else "a"


def _item(line: str) -> _Item:
    """One line read as a criterion; `is_marked` where it looks like one."""
    if line.startswith("|") and line.endswith("|") and len(line) > 1:
        return _table_row([cell.strip(" *_`") for cell in line[1:-1].split("|")])
    heading = _HEADING.match(line)
    marker = _ITEM.match(line)
    if marker is None and heading and (marker := _ITEM.match(line, heading.end())):
        line = line[: heading.end()] + line[marker.end() :]
        body = line.lstrip("# ")
    else:
        body = line[marker.end() :] if marker else line
    head, rest = body[:_HEAD_CHARS], body[_HEAD_CHARS:]
    weight, head = _weight(head)
    ends = _NAME_ENDS.search(head)
    name, description = (head[: ends.start()], head[ends.end() :]) if ends else (head, "")
    name, description = name.strip(" *_`:#-–—\t"), (description + rest).strip(" *_`-–—:\t")
    is_marked = (
        bool(marker) or body.startswith(("**", "__")) or weight is not None or (bool(description) and len(name) <= 60)
    )
    return _Item(name, weight, description, is_marked and bool(name))


def _table_row(cells: list[str]) -> _Item:
    """A row of a Markdown table: a name, and a weight and a description where there are any."""
    cells = cells[1:] if len(cells) > 2 and cells[0].rstrip(".").isdecimal() else cells
    found = [(at, match) for at, cell in enumerate(cells[1:], start=1) if (match := _CELL.fullmatch(cell))]
    at, weight = (found[0][0], _value(found[0][1].group(1))) if found else (0, None)
    rest = " ".join(cell for place, cell in enumerate(cells) if place and place != at)
    return _Item(cells[0], weight, rest, bool(cells[0]))


_CELL = re.compile(rf"{_NUMBER}\s{{0,2}}%?")


def _value(number: str) -> float:
    """The value of "40", "33.3", "33,3" or "1/3"."""
    above, _, below = number.replace(",", ".").partition("/")
    return float(above) / (float(below or 1) or 1)


def _weight(head: str) -> tuple[float | None, str]:
    """A line's weight, and the line without it."""
    for pattern in _WEIGHTS:
        if match := pattern.search(head):
            return _value(match.group(1)), head[: match.start()] + head[match.end() :]
    bare = _BARE_WEIGHT.search(head)
    # a bare percentage counts in the name or straight after its colon; further on it is prose
    if bare and head[: bare.start()].strip(" *_\t").rstrip(":").count(":") == 0:
        before = head[: bare.start()].strip(" *_\t")
        ends = _NAME_ENDS.search(head)
        if not before or before.endswith(":") or ends is None or bare.start() < ends.end() + 1:
            return _value(bare.group(1)), head[: bare.start()] + head[bare.end() :]
    return None, head


def read_rubric(text: str) -> Rubric | FailureKind:
    """The rubric that a completion consists of, or why there is none with criteria. Never raises on any text."""
    if why := why_unstarted(text):
        return why
    tags = find_tags(text)
    body, _ = last_thought(tags)
    rubric = parse_rubric(text, [tag for tag in tags if tag.start >= body])
    return rubric if rubric and rubric.criteria else "no_answer"


def written_weights(text: str) -> tuple[float | None, ...]:
    r"""The weights of a completion's rubric as it wrote them, "40%" being 40; None for a criterion without one.

    Empty where there is no rubric with criteria. A Rubric has them as fractions of their sum.

    >>> written_weights("<rubric>1. Truth (60%): is it so?\n2. Tone (30%): is it kind?</rubric>")
    (60.0, 30.0)
    """
    tags = find_tags(text)
    body, thinks_on = last_thought(tags)
    items = None if thinks_on else _rubric_items(text, [tag for tag in tags if tag.start >= body])
    return tuple(item.weight for item in items or [])
