"""Tags and thoughts: find them, close them, and take them out of a text.

A thought stands between `<think>` and `</think>`; the chat template may have opened it before the text begins.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from rmr1_sdk.types import Side

__all__ = [
    "ANSWER", "CITING", "DRESSING", "TAG", "TAG_REST", "THINK", "THINK_END", "THOUGHT_TAG", "Span", "Tag",
    "close_open_tags", "end_of_reasons", "ends_in_verdict", "ends_thought", "final_verdict_start", "find_section",
    "find_tags", "is_in_thought", "last_thought", "open_names", "opens_thought", "safe_stops",
    "section_prose", "thinking", "thinking_before", "with_open_thought", "with_thought", "without_open_thought",
    "without_partial_tag", "without_tags", "without_thought", "writes_thoughts",
]  # fmt: skip

OPENING = ("type", "rubric", "solution", "eval", "answer")  # what ends a section that was never closed
CITING = ("quote_a", "summary_a", "quote_b", "summary_b")
NAMES = (*OPENING, "justify", *CITING, "think")
TAG_REST = rf"\s{{0,8}}/?\s{{0,8}}(?:{'|'.join(NAMES)})\s{{0,8}}>"
TAG = re.compile(rf"<{TAG_REST}", re.IGNORECASE)
THOUGHT_TAG = re.compile(r"</?think>")
THINK, THINK_END = "<think>", "</think>"
ANSWER, ANSWER_END = "<answer>", "</answer>"
_TAG_BEGUN = re.compile(r"<\s{0,8}/?\s{0,8}([a-z_]{0,9})\d{0,2}\s{0,8}", re.IGNORECASE)


class Tag(NamedTuple):
    """A tag in a text: its name in lower case, and its place."""

    name: str
    closes: bool
    start: int
    end: int


class Span(NamedTuple):
    """A part of a text, by its offsets."""

    start: int
    end: int

    def of(self, text: str) -> str:
        """Return the part of this text, without white space around it."""
        return text[self.start : self.end].strip()


def find_tags(text: str) -> list[Tag]:
    """Find all tags, in the order of the text."""
    found = []
    for match in TAG.finditer(text):
        inner = match.group()[1:-1].strip()
        found.append(Tag(inner.lstrip("/").strip().lower(), inner.startswith("/"), match.start(), match.end()))
    return found


def last_thought(tags: Sequence[Tag]) -> tuple[int, bool]:
    """Offset of the end of the last thought, and whether a thought is open after it."""
    body = max((tag.end for tag in tags if tag.name == "think" and tag.closes), default=0)
    return body, any(tag.name == "think" and not tag.closes and tag.start >= body for tag in tags)


def end_of_reasons(tags: Sequence[Tag]) -> int:
    """Offset of the end of the last thought or evaluation; a verdict counts only after it."""
    return max((tag.end for tag in tags if tag.closes and tag.name in ("think", "eval")), default=0)


DRESSING = "[](){}*_`'\"“”‘’. \t\r\n"


def close_open_tags(text: str, tags: Sequence[Tag], thinking: bool) -> str:
    """Close every tag that is open at the end of a text."""
    return text.rstrip() + "".join(f"\n</{name}>" for name in open_names(text, tags, thinking))


def without_partial_tag(text: str) -> str:
    """Drop a tag that the end of the text cut off."""
    at = text.rfind("<", max(0, len(text) - 40))
    begun = _TAG_BEGUN.fullmatch(text, at) if at >= 0 else None
    cut = begun and any(name.startswith(begun.group(1).lower()) for name in (*NAMES, "points_"))
    return text[:at] if cut else text


def open_names(text: str, tags: Sequence[Tag], thinking: bool) -> list[str]:
    """Names of the tags that are open at the end, innermost first, as written. Inside a thought no other tag counts."""
    open_tags: list[Tag] = [Tag("think", False, 0, 0)] if thinking else []
    for tag in tags:
        if tag.name == "think":
            open_tags = [] if tag.closes else [tag]
        elif tag.closes:
            names = [opened.name for opened in open_tags]
            if tag.name in names:
                del open_tags[names.index(tag.name) :]
        elif all(opened.name not in (tag.name, "think") for opened in open_tags):
            open_tags.append(tag)
    return [text[t.start + 1 : t.end - 1].strip() if t.end else t.name for t in reversed(open_tags)]


def find_section(tags: Sequence[Tag], name: str, text_end: int) -> Span | None:
    """Find a section: from its first tag to its last closing one before the answer, or to the next section."""
    first = next((i for i, tag in enumerate(tags) if tag.name == name and not tag.closes), None)
    if first is None:
        return None
    start = tags[first].end
    closed: int | None = None
    other: int | None = None
    for tag in tags[first + 1 :]:
        if tag.name == "answer":
            other = tag.start if other is None else other
            break
        if tag.name == name and tag.closes:
            closed = tag.start
        elif tag.name in OPENING and tag.name != name and other is None:
            other = tag.start
    if closed is not None:
        return Span(start, closed)
    return Span(start, text_end if other is None else other)


_QUOTE_OPENS = re.compile(r"<\s{0,8}quote_[ab]\s{0,8}>\s{0,8}[\"“]?", re.IGNORECASE)
_QUOTE_CLOSES = re.compile(r"[\"”]?\s{0,8}<\s{0,8}/\s{0,8}quote_[ab]\s{0,8}>", re.IGNORECASE)


def section_prose(text: str, tags: Sequence[Tag], name: str) -> str | None:
    """Return a section as prose: quotes in quotation marks, no tags."""
    span = find_section(tags, name, len(text))
    if span is None:
        return None
    return without_tags(span.of(text)) or None


def without_tags(text: str) -> str:
    """Return a text as prose: quotes in quotation marks, no tags."""
    quoted = _QUOTE_CLOSES.sub("”", _QUOTE_OPENS.sub("“", text))
    return TAG.sub("", quoted).strip()


def thinking(text: str) -> str | None:
    """Thought of a completion; None without one."""
    tags = find_tags(text)
    return thinking_before(text, tags, *last_thought(tags))


def thinking_before(text: str, tags: Sequence[Tag], body: int, thinks_on: bool) -> str | None:
    """Thought of a text, by its tags and the result of `last_thought`; None without one."""
    if not body and not thinks_on:
        return None
    end = len(text) if thinks_on else max(t.start for t in tags if t.name == "think" and t.closes)
    inside = text[:end]
    opened = next((tag for tag in tags if tag.name == "think" and not tag.closes), None)
    if opened and not text[: opened.start].strip():
        inside = text[opened.end : end]
    return inside.strip() or None


def writes_thoughts(text: str | None) -> bool:
    """True where a chat template, or the beginning of a turn, mentions a thought."""
    return THINK in (text or "")


def opens_thought(rendered: str) -> str:
    """Tag that a rendered prompt leaves open: "<think>", or ""."""
    return THINK if rendered.rstrip().endswith(THINK) else ""


def is_in_thought(text: str) -> bool:
    """True where a text ends inside a thought that it opened itself."""
    return text.rfind(THINK) > text.rfind(THINK_END)


def ends_thought(text: str) -> bool:
    """True where a text closes a thought."""
    return THINK_END in text


def with_open_thought(text: str) -> str:
    """Put the tag before a text that the chat template had opened."""
    return THINK + text


def without_open_thought(text: str) -> str:
    """Drop the opening tag that a text begins with."""
    return re.sub(rf"\A\s*{THINK}\s?", "", text)


def without_thought(text: str) -> str:
    """Drop everything up to the end of the last thought, and the white space around the rest."""
    return text.rpartition(THINK_END)[2].strip()


def with_thought(text: str, thinking: str | None) -> str:
    """Complete a text with its thought: one that was delivered apart, or one that the chat template had opened."""
    before, closed, _ = text.rpartition(THINK_END)
    if not closed:
        return f"{THINK}\n{thinking}\n{THINK_END}\n\n{text}" if thinking else text
    return text if before.startswith(THINK) else f"{THINK}\n{text}"


def ends_in_verdict(text: str, side: Side) -> bool:
    """True where a text ends in the literal verdict for a side."""
    return text.rstrip().endswith(f"{ANSWER}[[{side}]]{ANSWER_END}")


def final_verdict_start(text: str) -> int | None:
    """Offset of the answer tag of a text that ends in an answer; None for other texts."""
    start = text.rfind(ANSWER)
    return start if start >= 0 and text.endswith(ANSWER_END) else None


def safe_stops(*, thinks: bool) -> tuple[str, ...]:
    """Stop strings after the verdict. A model that thinks gets none: it may write the tag in a thought."""
    return () if thinks else (ANSWER_END,)
