"""Rubrics: criteria, weights and justification, in the many ways that models write them."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from rmr1_sdk.parsing.failures import why_unstarted
from rmr1_sdk.parsing.tags import TAG, Tag, find_section, find_tags, last_thought
from rmr1_sdk.types import Criterion, FailureKind, Rubric

__all__ = ["parse_rubric", "read_rubric", "written_weights"]

_ITEM = re.compile(r"(?:[-+*•–]|\(?\d{1,3}[.):]|\(?[a-zA-Z][.)])\s{1,8}")
_NUMBER = r"(\d{1,6}(?:\.\d{1,6})?|\.\d{1,6})"
_WEIGHTS = (  # the surest first
    re.compile(
        rf"[(\[*]{{0,4}}\s{{0,4}}weight(?:ing|age)?[*\s]{{0,4}}[:=]?[*\s]{{0,4}}{_NUMBER}\s{{0,2}}%?\s{{0,4}}[)\]]?",
        re.I,
    ),
    re.compile(rf"[(\[]\s{{0,4}}{_NUMBER}\s{{0,2}}(?:%|points?|pts)\s{{0,4}}(?:weight)?[)\]]", re.I),
    re.compile(r"[(\[]\s{0,4}(0?\.\d{1,6}|1\.0{1,6})\s{0,4}[)\]]"),
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
    return _items(TAG.sub("", lines).splitlines())


def _items(lines: Sequence[str]) -> list[_Item]:
    """Lines as criteria. What is deeper than the first item, or no item itself, belongs to the one above.

    An item that stands on the line of the tag hides its own depth: the next of its style shows it.
    """
    items: list[_Item] = []
    level: int | None = None
    style = ""
    descriptions: list[list[str]] = []
    for number, line in enumerate(lines):
        bare = line.strip()
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
    marker = _ITEM.match(line)
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


def _weight(head: str) -> tuple[float | None, str]:
    """A line's weight, and the line without it."""
    for pattern in _WEIGHTS:
        if match := pattern.search(head):
            return float(match.group(1)), head[: match.start()] + head[match.end() :]
    bare = _BARE_WEIGHT.search(head)
    # a bare percentage counts in the name or straight after its colon; further on it is prose
    if bare and head[: bare.start()].strip(" *_\t").rstrip(":").count(":") == 0:
        before = head[: bare.start()].strip(" *_\t")
        ends = _NAME_ENDS.search(head)
        if not before or before.endswith(":") or ends is None or bare.start() < ends.end() + 1:
            return float(bare.group(1)), head[: bare.start()] + head[bare.end() :]
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
