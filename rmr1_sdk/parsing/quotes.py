"""Citations, and the search for each quote in its answer.

A quote is found where every part of it stands in the answer, word for word, once formatting is made equal. Nothing is
found by likeness: judges misquote amounts, names and negations, and one character is enough for that.
"""

import html
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from rmr1_sdk.parsing.neutralise import neutralise
from rmr1_sdk.parsing.tags import CITING, Tag
from rmr1_sdk.types import OTHER, Citation, Match, Pair, Shown, Side

__all__ = ["Finder", "find_citations", "make_finders", "unshown"]

_WORK = 500_000_000
"""Characters that are looked through for the quotes of one answer."""
_TRIES = 200
"""Places of a part that are tried, where it stands inside longer words."""


def unshown(side: Side, shown: Shown) -> Side:
    """Convert a side as shown to the caller's side."""
    return side if shown == "AB" else OTHER[side]


Span = tuple[int, int]


class _Found(NamedTuple):
    found: bool | None
    match: Match | None = None
    spans: tuple[Span, ...] = ()


def make_finders(pair: Pair | None, shown: Shown) -> dict[Side, "Finder"]:
    """For each side as shown, where its quotes are looked up."""
    return {side: Finder(pair.text(unshown(side, shown))) for side in OTHER} if pair else {}


def find_citations(text: str, tags: Sequence[Tag], finders: Mapping[Side, "Finder"]) -> Iterator[Citation]:
    """Yield all citations, in the sides as shown."""
    for i, tag in enumerate(tags):
        if tag.closes or tag.name not in CITING:
            continue
        end = tags[i + 1].start if i + 1 < len(tags) else len(text)
        cited = _unwrapped(text[tag.end : end].strip())
        if not cited:
            continue
        side: Side = "A" if tag.name.endswith("a") else "B"
        if tag.name.startswith("summary"):
            yield Citation(side=side, kind="summary", text=cited)
            continue
        seen = finders[side].find(cited) if side in finders else _Found(None)
        place = (seen.spans[0][0], seen.spans[-1][1]) if seen.spans else (None, None)
        yield Citation(side=side, kind="quote", text=cited, start=place[0], end=place[1], **seen._asdict())


_WRAPS = {'"': '"', "“": "”", "'": "'", "‘": "’", "`": "`"}


def _unwrapped(text: str) -> str:
    """The text without quotation marks around the whole of it."""
    if len(text) > 1 and _WRAPS.get(text[0]) == text[-1]:
        return text[1:-1].strip()
    return text


class Finder:
    """Finder of quotes in one answer: exactly, with formatting made equal, or part by part."""

    def __init__(self, answer: str) -> None:
        self._answer = answer
        self._forms: list[_Plain] = []
        self._work = _WORK
        self._known: dict[str, _Found] = {}  # judges repeat themselves

    def find(self, quote: str) -> _Found:
        """Find a quote. `found` None means that the search would have taken too long."""
        if quote not in self._known:
            self._known[quote] = self._find(quote)
        return self._known[quote]

    def _find(self, quote: str) -> _Found:
        self._work -= len(self._answer) + len(quote)
        if self._work < 0:
            return _Found(None)
        if span := _whole(self._answer, quote, 0):
            return _Found(True, "exact", (span,))
        # a list's numbers belong to its look where it is quoted without them, and to its text where they are quoted
        self._forms = self._forms or [_plain(self._answer, numbers=True), _plain(self._answer, numbers=False)]
        said = [_plain(quote, numbers=numbers).text for numbers in (True, False)]
        ways = [(form, *way) for form, text in zip(self._forms, said, strict=True) for way in _ways(text)]
        for form, match, parts in sorted(ways, key=lambda way: way[1]):  # in one piece, before in parts
            if spans := _in_order(form.text, parts):
                return _Found(True, match, tuple(form.place(span) for span in spans))
        return _Found(False)


_DOTS = re.compile(r"\s?[\[(]?\s?\.{3,}\s?[\])]?\s?")
_SENTENCES = re.compile(r"(?<=[.!?])\s")


def _ways(quote: str) -> Iterator[tuple[Match, list[str]]]:
    """A normalised quote as one piece; in parts between dots; and these by sentences, where passages are joined."""
    yield "normalised", [_bare(quote)]
    between_dots = [part for part in map(_bare, _DOTS.split(quote)) if any(map(str.isalnum, part))]
    if len(between_dots) > 1 or between_dots != [_bare(quote)]:
        yield "parts", between_dots
    sentences = [_bare(sentence) for part in _DOTS.split(quote) for sentence in _SENTENCES.split(part)]
    sentences = [sentence for sentence in sentences if any(map(str.isalnum, sentence))]
    if len(sentences) > len(between_dots) and all(" " in sentence for sentence in sentences):
        yield "parts", sentences


def _bare(part: str) -> str:
    """A part without the marks that a quote may end in though its sentence goes on, and without quotation marks."""
    return part.strip(' "').rstrip(".,;:!? ")


def _in_order(answer: str, parts: Sequence[str]) -> list[Span]:
    """A place for each part, one after another and as near together as they stand; [] where there is none."""
    if not parts or not all(parts):
        return []
    spans: list[Span] = []
    for part in parts:
        if (span := _whole(answer, part, spans[-1][1] if spans else 0)) is None:
            return []
        spans.append(span)
    for at in range(len(spans) - 2, -1, -1):
        limit = spans[at + 1][0]
        spans[at] = _whole(answer, parts[at], spans[at][0], limit, last=True) or spans[at]
    gaps = (answer[one[1] : other[0]] for one, other in pairwise(spans))
    return [] if any(map(_turns_meaning, gaps)) else spans


_NEGATION = re.compile(r"\b(?:no|not|never|none|nor|neither|without|cannot|hardly)\b|n\"t\b", re.IGNORECASE)
_GAP_WORDS = 5


def _turns_meaning(gap: str) -> bool:
    """True where a few words between two parts of a sentence have a negation: left out, the quote says the opposite."""
    short = len(gap.split(None, _GAP_WORDS)) <= _GAP_WORDS and not re.search(r"[.!?]", gap)
    return short and _NEGATION.search(gap) is not None


def _whole(answer: str, part: str, start: int, end: int | None = None, *, last: bool = False) -> Span | None:
    """The first or last place of a part that begins and ends with whole words and numbers."""
    end = len(answer) if end is None else end
    for _ in range(_TRIES):
        at = answer.rfind(part, start, end) if last else answer.find(part, start, end)
        if at < 0:
            return None
        to = at + len(part)
        if not (_cuts(answer, at) or _cuts(answer, to)):
            return at, to
        start, end = (start, to - 1) if last else (at + 1, end)
    return None


def _cuts(text: str, at: int) -> bool:
    """True where a word or a number goes on across this place. Scripts without spaces have no such words."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    if _is_spaced(before) and _is_spaced(after):
        return True
    if after.isdigit():  # 1|,204 is cut by the other case; a sign belongs to its number
        number = before in ".," and text[at - 2 : at - 1].isdigit()
        return number or (before in "-+" and not text[at - 2 : at - 1].isalnum())
    return before.isdigit() and after in ".," and text[at + 1 : at + 2].isdigit()


_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]")


def _is_spaced(char: str) -> bool:
    return (char.isalnum() or char == "_" or unicodedata.combining(char) > 0) and not _UNSPACED.match(char)


class _Plain(NamedTuple):
    """A text with its formatting made equal, and the place of each of its characters in the text as given."""

    text: str
    starts: list[int]
    ends: list[int]

    def place(self, span: Span) -> Span:
        return self.starts[span[0]], self.ends[span[1] - 1]


_MARKUP = re.compile(
    r"(?P<entity>&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,8}\d?);)"
    r"|(?P<target>\]\((?:[^()\n]|\([^()\n]{0,200}\)){0,1000}\))"
    r"|(?P<bracket>!?\[(?=[^\[\]\n]{0,500}\]\())"
    r"|(?P<tag></?(?:b|i|em|strong|u|s|br|p|code|pre|span|sub|sup|li|ul|ol|h[1-6])\s{0,3}/?>)"
    r"|(?P<line>^[ \t]{0,20}(?:#{1,6}[ \t]|[-*+][ \t]|>[ \t]?)+)"
    r"|(?P<number>^[ \t]{0,20}\d{1,3}[.)][ \t])"
    r"|(?P<escape>\\(?=[!-/:-@\[-`{-~]))"
    r"|(?P<dress>`+|~~|\*{1,3}|_{1,3})",
    re.MULTILINE,
)
_QUOTES = frozenset("\"'“”„‟‘’‚‛«»′″`´")
_DASHES = frozenset("-–—‐‑‒−")
_SEPARATE = ("<super>", "<sub>", "<fraction>", "<circle>")
"""Forms of a digit that are not the same number: 10² is not 102."""


def _plain(text: str, *, numbers: bool) -> _Plain:
    """The text without Markdown, and with one form of quotation marks, dashes, white space and letters.

    Args:
        text: an answer, or a quote of one.
        numbers: keep the numbers of lists.
    """
    text = neutralise(text)  # one character for one, so places do not move
    plain = _Plain("", [], [])
    kept: list[str] = []
    at = 0
    for found in (*_MARKUP.finditer(text), None):
        until = found.start() if found else len(text)
        for place in range(at, until):
            _keep(plain, kept, text[place], place, place + 1)
        if found is None:
            break
        at = found.end()
        for char in _instead(text, found, numbers=numbers):
            _keep(plain, kept, char, found.start(), at)
    if kept and kept[-1] == " ":
        kept.pop()
    return plain._replace(text="".join(kept))


def _instead(text: str, found: re.Match[str], *, numbers: bool) -> str:
    """The text that stands in place of a piece of markup."""
    piece = found.group()
    match found.lastgroup:
        case "entity":
            return html.unescape(piece)
        case "tag":
            return " " if piece.strip("</ >").lower() in ("br", "p", "li", "ul", "ol") else ""
        case "number":
            return piece if numbers else ""
        case "dress":
            before, after = text[found.start() - 1 : found.start()], text[found.end() : found.end() + 1]
            inside = before.isalnum() and after.isalnum()  # 2*3, snake_case
            alone = (before.isspace() or not before) and (after.isspace() or not after)  # 2 * 3
            return piece if piece[0] in "*_" and (inside or alone) else ""
    return ""


def _keep(plain: _Plain, kept: list[str], char: str, start: int, end: int) -> None:
    """Add a character in its common form; white space once, and nothing for what cannot be seen."""
    if char.isspace():
        forms = "" if not kept or kept[-1] == " " else " "
    elif char in _QUOTES:
        forms = '"'
    elif char in _DASHES:
        forms = "-"
    elif char.isascii():
        forms = char
    elif unicodedata.category(char) == "Cf":
        forms = ""
    else:
        separate = unicodedata.decomposition(char).startswith(_SEPARATE)
        forms = char if separate else unicodedata.normalize("NFKD", char)
    for form in forms:
        kept.append(form)
        plain.starts.append(start)
        plain.ends.append(end)
