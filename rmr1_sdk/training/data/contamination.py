"""Contamination check: text that a training pair shares with a benchmark."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from rmr1_sdk.errors import DataError
from rmr1_sdk.files.rows import read_rows
from rmr1_sdk.hashing import digest
from rmr1_sdk.types import Pair, Rubric

__all__ = ["NGRAM", "Benchmarks"]

NGRAM = 13
"""Words in a row that are taken to be copied (Brown et al. 2020, appendix C)."""
_TURN_WORDS = 6
"""Shorter turns inside a conversation, such as "yes", are said by everybody."""
_WORD = re.compile(r"\w+")
_WORD_OR_SIGN = re.compile(r"\w+|[+\-*/=<>^%]")
_BASE = 0x9E3779B97F4A7C15  # any odd number
_MASK = 2**64 - 1
_OLDEST = pow(_BASE, NGRAM, 2**64)


class Benchmarks:
    """The texts of benchmark files, as hashes of 64 bits: about 100 bytes of memory a word.

    Every text in a file counts, wherever it stands in a row: questions, answers, references.
    Raises ConfigError where a file cannot be read, DataError where it is of no form that is known.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._whole: dict[int, int] = {}
        self._grams: dict[int, int] = {}
        for number, path in enumerate(files):
            for row, values in read_rows(path):
                if isinstance(values, ValueError):
                    raise DataError(str(values), path=path, line=row)
                place = row * len(files) + number
                for text in _texts(values):
                    self._whole.setdefault(digest(_plain(text)), place)
                    for gram in _grams(_words(text)):
                        self._grams.setdefault(gram, place)

    def find(self, pair: Pair) -> str | None:
        """Text that a pair shares with a benchmark and its place; None where it shares nothing.

        That is a question, or a turn with six words or more of it or of a user in an answer, that is equal up to case,
        punctuation and white space; or 13 words in a row of the question, an answer, the reference or the rubric.
        """
        turns = [pair.question] if isinstance(pair.question, str) else [turn.content for turn in pair.question]
        whole = _plain(" ".join(turns))
        turns += _later_turns(pair)
        for text in (whole, *(plain for turn in turns if len((plain := _plain(turn)).split()) >= _TURN_WORDS)):
            if text and (place := self._whole.get(digest(text))) is not None:
                return f"the question is in {self._at(place)}"
        for text in (*turns, pair.text("A"), pair.text("B"), pair.reference or "", *_rubric_texts(pair.rubric)):
            words = _words(text)
            for start, gram in enumerate(_grams(words)):
                if (place := self._grams.get(gram)) is not None:
                    return f"{self._at(place)} has: {' '.join(words[start : start + NGRAM])}"
        return None

    def _at(self, place: int) -> str:
        row, file = divmod(place, len(self._files))
        return f"{self._files[file]}:{row}"


def _later_turns(pair: Pair) -> list[str]:
    """Turns of others in an answer that is a conversation."""
    sides = [side for side in (pair.a, pair.b) if not isinstance(side, str)]
    return [turn.content for side in sides for turn in side if turn.role != "assistant"]


def _rubric_texts(rubric: Rubric | str | None) -> list[str]:
    if rubric is None or isinstance(rubric, str):
        return [rubric or ""]
    return [
        rubric.justification or "",
        *(f"{criterion.name}: {criterion.description}" for criterion in rubric.criteria),
    ]


def _texts(value: Any) -> Iterator[str]:
    """Every text in a row, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _plain(text: str) -> str:
    """The text without case, punctuation and white space; signs stay, for 2 + 2 is not 2 - 2."""
    return " ".join(_WORD_OR_SIGN.findall(_folded(text)))


def _words(text: str) -> list[str]:
    return _WORD.findall(_folded(text))


@lru_cache(maxsize=2**18)
def _word_hash(word: str) -> int:
    return digest(word)


def _grams(words: Sequence[str]) -> Iterator[int]:
    """A hash of every 13 words in a row, each made from the one before it."""
    hashes = [_word_hash(word) for word in words]
    value = 0
    for at, number in enumerate(hashes):
        value = (value * _BASE + number) & _MASK
        if at >= NGRAM:
            value = (value - hashes[at - NGRAM] * _OLDEST) & _MASK
        if at >= NGRAM - 1:
            yield value
