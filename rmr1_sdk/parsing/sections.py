"""Split a completion into its sections while it is streamed."""

import re
from typing import NamedTuple

from rmr1_sdk.parsing.tags import CITING, Tag, find_tags, without_partial_tag
from rmr1_sdk.types import SectionName

__all__ = ["Piece", "Splitter"]


class Piece(NamedTuple):
    """New text of a section; `done` where no more of it comes."""

    name: SectionName
    text: str
    done: bool = False


class Splitter:
    """Splits a text into its sections while it arrives: any cut of it into pieces gives the same.

    What is put together of a section's pieces is what `read` makes of it, as long as sections are closed
    before the next begins (a `<justify>` inside its rubric is a section of its own) and none comes twice.
    Of other texts every section ends where the next begins, which `read`, who sees the end, may know better.

    Args:
        thinking: whether the text begins inside thinking that its prompt had opened.
    """

    def __init__(self, *, thinking: bool = False) -> None:
        self._held = ""  # what may be the beginning of a tag
        self._open = [_Written("thinking" if thinking else "prose")]
        self._pieces: list[Piece] = []

    def feed(self, text: str) -> list[Piece]:
        """Take the next piece of the text, and return the pieces of sections that it adds."""
        text = self._held + text
        at = 0
        for tag in find_tags(text):
            self._write(text[at : tag.start])
            self._take(tag, text[tag.start : tag.end])
            at = tag.end
        rest = text[at:]
        self._held = rest[len(without_partial_tag(rest)) :]
        self._write(rest[: len(rest) - len(self._held)])
        return self._taken()

    def close(self) -> list[Piece]:
        """End the text: return the rest, with everything open done."""
        self._write(self._held)
        self._held = ""
        self._end(0)
        return self._taken()

    def _taken(self) -> list[Piece]:
        pieces: list[Piece] = []
        for piece in self._pieces:
            if pieces and pieces[-1].name == piece.name and not pieces[-1].done:
                piece = piece._replace(text=pieces.pop().text + piece.text)
            pieces.append(piece)
        self._pieces = []
        return pieces

    def _write(self, text: str) -> None:
        section = self._open[-1]
        if new := section.add(text):
            self._pieces.append(Piece(section.name, new))

    def _take(self, tag: Tag, raw: str) -> None:
        names = [section.name for section in self._open]
        if names[0] == "thinking":
            if tag.name == "think" and tag.closes:
                self._begin("prose")
            elif tag.name != "think" or not self._open[0].is_blank:  # in thought, tags are text
                self._write(raw)
        elif tag.name == "think":
            self._begin("prose" if tag.closes else "thinking")
        elif tag.name in CITING:
            if new := self._open[-1].mark(quotes=tag.name.startswith("quote"), closes=tag.closes):
                self._pieces.append(Piece(names[-1], new))
        elif not tag.closes and tag.name == "justify" and names[-1] == "rubric":
            self._open[-1].add("\n")  # what comes after it is a line of its own
            self._open.append(_Written("justify"))
        elif not tag.closes and tag.name not in names:
            self._begin(_SECTIONS[tag.name])
        elif tag.closes and tag.name in names:
            self._end(names.index(_SECTIONS[tag.name]))
        else:
            self._open[-1].seal()

    def _begin(self, name: SectionName) -> None:
        self._end(0)
        self._open = [_Written(name)]

    def _end(self, first: int) -> None:
        """The section at this place, and all inside it, are done."""
        for section in reversed(self._open[first:]):
            left = section.rest()
            if section.name != "prose" or not section.is_blank:
                self._pieces.append(Piece(section.name, left, done=True))
        self._open = self._open[:first] or [_Written("prose")]


_SECTIONS: dict[str, SectionName] = {
    "type": "type",
    "rubric": "rubric",
    "justify": "justify",
    "solution": "solution",
    "eval": "eval",
    "answer": "answer",
}
_BEFORE_CLOSING = re.compile(r"[\"”]?\s{0,8}\Z")


class _Written:
    """A section's prose as far as it can be told: `section_prose`, without knowing what comes next."""

    def __init__(self, name: SectionName) -> None:
        self.name = name
        self.is_blank = True
        self._held = ""  # space at the end, and a quotation mark before it: they may not be part of the prose
        self._sealed = 0  # so much of it can no longer belong to a closing tag
        self._skips: int | None = None  # straight after a quote has opened: so much space may still be left out

    def add(self, text: str) -> str:
        """Take more text, and give what is certain now."""
        text = self._held + self._without_mark(text)
        bare = text.rstrip()
        kept = bare[:-1] if bare.endswith(('"', "”")) else bare
        self._sealed = max(0, self._sealed - len(kept))
        self._held = text[len(kept) :]
        return self._told(kept)

    def _without_mark(self, text: str) -> str:
        """The text without the space and the quotation mark that follow an opening quote."""
        for at, char in enumerate(text):
            if self._skips is None:
                return text[at:]
            if char.isspace() and self._skips:
                self._skips -= 1
                continue
            self._skips = None
            return text[at + 1 :] if char in '"“' else text[at:]
        return "" if self._skips is not None else text

    def mark(self, *, quotes: bool, closes: bool) -> str:
        """Take the tag of a citation: a quotation mark, or nothing."""
        self._skips = None
        if not quotes:
            return self.seal()
        if closes:
            kept, loose = self._held[: self._sealed], self._held[self._sealed :]
            self._held = kept + _BEFORE_CLOSING.sub("", loose, count=1)
        told = self._told(self._held + ("”" if closes else "“"))
        self._held, self._sealed = "", 0
        self._skips = None if closes else 8
        return told

    def seal(self) -> str:
        """A tag that leaves nothing: what stands before it does not touch what follows."""
        self._skips = None
        self._sealed = len(self._held)
        return ""

    def rest(self) -> str:
        """Return the rest of the section at its end."""
        return self._told(self._held.rstrip())

    def _told(self, text: str) -> str:
        if self.is_blank:
            text = text.lstrip()
        self.is_blank = self.is_blank and not text
        return text
