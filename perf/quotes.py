"""The check of quotes: quotes of real traces, and 200 made-up ones of each kind.

`python perf/quotes.py [FOLDER]` prints how many quotes of each kind are found. FOLDER holds traces of RM-R1 as its
authors publish them (`text_chosen`, `text_rejected`, `answers`, `Is_Chosen_Answer_Shuffled_toPositionB`). True quotes
are to be found, altered ones never.
"""

import json
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

from rmr1_sdk import Pair, read
from rmr1_sdk.types import Citation

QUOTES = 200
NAMES = ("Ada Moser", "Ben Kranz", "Cleo Ortiz", "Dan Weiss", "Eva Lind", "Finn Bauer", "Gil Sato", "Hana Roth")
PLACES = ("the mill", "the old harbour", "the north gate", "the town hall", "the bakery", "the river path")
SENTENCES = (
    "{name} paid {n} dollars for the tickets to {place}.",
    "It is not safe to walk to {place} after {n} o'clock.",
    "The walk from {place} takes {n} minutes, and {name} has done it twice.",
    "{name} did not find the key that was left at {place} in {n}.",
    "At {place} you can rent {n} bicycles, but never on a Sunday.",
    "Ask {name} for the list of {n} rooms before you go to {place}.",
)


def answer(draw: random.Random) -> list[str]:
    """Sentences, each another one."""
    frames = draw.sample(SENTENCES, k=5)
    return [
        frame.format(name=draw.choice(NAMES), place=draw.choice(PLACES), n=draw.randint(11, 9_999)) for frame in frames
    ]


def dressed(sentences: list[str], draw: random.Random) -> str:
    """The sentences as chat models like to write them."""
    bold = [sentence.replace(words := sentence.split()[2], f"**{words}**", 1) for sentence in sentences]
    return "\n".join(f"{n}. {line}".replace("'", "’") for n, line in enumerate(bold, start=1))


def shortened(sentence: str, draw: random.Random) -> str:
    words = sentence.split()
    at = draw.randint(3, len(words) - 3)
    left = [word for word in words if word.lower() in ("not", "never")]
    first, rest = words[:at], words[at + 1 :]
    return sentence if left and words[at] in left else f"{' '.join(first)} ... {' '.join(rest)}"


def other_digit(sentence: str, draw: random.Random) -> str:
    at = draw.choice([found.start() for found in re.finditer(r"\d", sentence)])
    return sentence[:at] + str((int(sentence[at]) + draw.randint(1, 8)) % 10 or 9) + sentence[at + 1 :]


def other_name(sentence: str, draw: random.Random) -> str:
    there = next(name for name in (*NAMES, *PLACES) if name in sentence)
    names = NAMES if there in NAMES else PLACES
    return sentence.replace(there, draw.choice([name for name in names if name != there]))


def other_meaning(sentence: str, draw: random.Random) -> str:
    for negation, without in ((" not ", " "), (" never ", " only "), (" can ", " cannot "), (" has ", " has not ")):
        if negation in sentence:
            return sentence.replace(negation, without, 1)
    return sentence.replace(" ", " never ", 1)


Kind = Callable[[list[str], random.Random], tuple[str, str]]
"""The answer, and a quote of it."""


def _of(change: Callable[[str, random.Random], str]) -> Kind:
    def make(sentences: list[str], draw: random.Random) -> tuple[str, str]:
        while (quote := change(sentence := draw.choice(sentences), draw)) == sentence and change is not _same:
            pass
        return " ".join(sentences), quote

    return make


def _same(sentence: str, draw: random.Random) -> str:
    return sentence


def _joined(sentences: list[str], draw: random.Random) -> tuple[str, str]:
    return " ".join(sentences), f"{sentences[0]} {draw.choice(sentences[2:])}"


def _dressed(sentences: list[str], draw: random.Random) -> tuple[str, str]:
    return dressed(sentences, draw), draw.choice((sentences[1], " ".join(sentences[1:3])))


KINDS: dict[str, Kind] = {
    "true": _of(_same),
    "true, shortened with dots": _of(shortened),
    "true, two passages joined": _joined,
    "true, of a dressed answer": _dressed,
    "altered in a digit": _of(other_digit),
    "altered in a name": _of(other_name),
    "altered in a negation": _of(other_meaning),
}


def cited(text: str, pair: Pair) -> list[Citation]:
    return [citation for citation in read(text, pair=pair).citations if citation.kind == "quote"]


def made_up() -> None:
    for name, kind in KINDS.items():
        draw = random.Random(name)
        found = 0
        for _ in range(QUOTES):
            text, quote = kind(answer(draw), draw)
            (citation,) = cited(f"<eval><quote_A>{quote}</quote_A></eval>", Pair(question="q", a=text, b="b"))
            found += citation.found is True
        print(f"{name:<28} {found:>4} of {QUOTES} found")


def traces(folder: Path) -> None:
    found, quotes = 0, 0
    for path in sorted(folder.glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            sides = [_text(row["text_chosen"]), _text(row["text_rejected"])]
            if row["Is_Chosen_Answer_Shuffled_toPositionB"]:
                sides.reverse()
            all_of_row = cited(row["answers"], Pair(question="q", a=sides[0], b=sides[1]))
            quotes += len(all_of_row)
            found += sum(citation.found is True for citation in all_of_row)
    print(f"{'of real traces':<28} {found:>4} of {quotes} found")


def _text(said: str | list[dict[str, str]]) -> str:
    return said if isinstance(said, str) else "\n".join(turn["content"] for turn in said if turn["role"] == "assistant")


if __name__ == "__main__":
    made_up()
    if sys.argv[1:]:
        traces(Path(sys.argv[1]))
