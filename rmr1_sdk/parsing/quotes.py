"""Citations, and the search for each quote in its answer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rmr1_sdk.parsing.neutralise import neutralise
from rmr1_sdk.parsing.tags import CITING, Tag
from rmr1_sdk.types import OTHER, Citation, Pair, Shown, Side

__all__ = ["Finder", "find_citations", "make_finders", "unshown"]

FUZZY_THRESHOLD = 90
"""From this similarity (rapidfuzz's partial ratio, 0 to 100) on, a quote counts as found."""
FUZZY_MIN_CHARS = 12
"""Shorter quotes must match up to whitespace and quotation marks: almost anything resembles them."""
_FUZZY_WORK = 50_000_000
_EXACT_WORK = 500_000_000


def unshown(side: Side, shown: Shown) -> Side:
    """Convert a side as shown to the caller's side."""
    return side if shown == "AB" else OTHER[side]


class _Found(NamedTuple):
    found: bool | None
    start: int | None = None
    end: int | None = None


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
        yield Citation(side=side, kind="quote", text=cited, found=seen.found, start=seen.start, end=seen.end)


_WRAPS = {'"': '"', "“": "”", "'": "'", "‘": "’", "`": "`"}


def _unwrapped(text: str) -> str:
    """The text without quotation marks around the whole of it."""
    if len(text) > 1 and _WRAPS.get(text[0]) == text[-1]:
        return text[1:-1].strip()
    return text


class Finder:
    """Finder of quotes in one answer: exactly, up to whitespace and quotation marks, or by similarity."""

    def __init__(self, answer: str) -> None:
        self._answer = answer
        self._plain: str | None = None
        self._offsets: list[int] = []
        self._exact_work = _EXACT_WORK
        self._fuzzy_work = _FUZZY_WORK

    def find(self, quote: str) -> _Found:
        """Find a quote. `found` None means that the search would have taken too long."""
        self._exact_work -= len(self._answer) + len(quote)
        if self._exact_work < 0:
            return _Found(None)
        if (at := self._answer.find(quote)) >= 0:
            return _Found(True, at, at + len(quote))
        if self._plain is None:
            self._plain, self._offsets = _plain(neutralise(self._answer))
        plain = _plain(neutralise(quote))[0]
        if plain and (at := self._plain.find(plain)) >= 0:
            return self._at(at, at + len(plain))
        return self._nearly(plain)

    def _nearly(self, quote: str) -> _Found:
        assert self._plain is not None
        if len(quote) < FUZZY_MIN_CHARS or len(quote) > 1.2 * len(self._plain):
            return _Found(False)
        self._fuzzy_work -= len(quote) * len(self._plain)
        if self._fuzzy_work < 0:
            return _Found(None)
        from rapidfuzz.fuzz import partial_ratio_alignment  # late: `import rmr1_sdk` must stay quick

        match = partial_ratio_alignment(quote, self._plain, score_cutoff=FUZZY_THRESHOLD)
        # where the quote is the longer text, a short answer inside it would match; that is no quote
        if match is None or match.src_end - match.src_start < 0.8 * len(quote):
            return _Found(False)
        return self._at(match.dest_start, match.dest_end)

    def _at(self, start: int, end: int) -> _Found:
        return _Found(True, self._offsets[start], self._offsets[end - 1] + 1)


_SAME = str.maketrans("“”„‘’‚–—‐‑\u00a0", "\"\"\"'''----\u0020")


def _plain(text: str) -> tuple[str, list[int]]:
    """The text with single spaces and plain quotation marks, and where each of its characters came from."""
    kept: list[str] = []
    offsets: list[int] = []
    for at, char in enumerate(text.translate(_SAME)):
        if char.isspace():
            if not kept or kept[-1] == " ":
                continue
            char = " "
        kept.append(char)
        offsets.append(at)
    if kept and kept[-1] == " ":
        kept.pop()
        offsets.pop()
    return "".join(kept), offsets
