"""Quotes: found where every part of them stands in the answer, word for word, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmr1_sdk import Pair, read
from rmr1_sdk.types import Citation

ANSWER = """## How to *reset* it

1. **Open the lid** and press the [small button](https://example.org/a_(b)#c) for 2.5 seconds.
2. Wait until `status` says “ready”; this isn’t instant &amp; can take 1,204 seconds.
   - Don't pull the cable.
   - It is not safe to touch the 10² V rail.

The café’s file — \uff2e\uff4f.\u00a07 — works with 2 * 3 = 6, snake_case and -5 °C.
请不要拔掉电缆，等待三分钟。 Maria Lopez wrote it. It runs for 40% of the day."""


def cite(quote: str, answer: str = ANSWER) -> Citation:
    (citation,) = read(f"<eval><quote_A>{quote}</quote_A></eval>", pair=Pair(question="q", a=answer, b="no")).citations
    return citation


@pytest.mark.parametrize(
    ("quote", "match"),
    [
        ("Open the lid", "exact"),
        ("Maria Lopez wrote it.", "exact"),
        ("等待三分钟", "exact"),
        ("How to reset it", "normalised"),
        ("Open the lid and press the small button for 2.5 seconds.", "normalised"),
        ("1. Open the lid and press the **small button** for 2.5 seconds", "normalised"),
        ("for 2.5 seconds. Wait until status says 'ready'; this isn't instant & can take 1,204 seconds", "normalised"),
        ('Wait until status says "ready"', "normalised"),
        ("Don’t pull the cable, ", "normalised"),
        ("The cafe\u0301's file - No. 7 - works", "normalised"),
        ("works with 2 * 3 = 6, snake_case and -5 °C", "exact"),
        ("to touch the 10² V rail", "exact"),
        ("Open the lid ... for 2.5 seconds", "parts"),
        ("... press the small button […] Wait until status says", "parts"),
        ("Open the lid…Maria Lopez wrote it", "parts"),
        ("Maria Lopez wrote it. It runs for 40% of the day.", "exact"),
        ("Don't pull the cable. Maria Lopez wrote it.", "parts"),
    ],
)
def test_true_quotes_are_found_however_they_are_dressed(quote: str, match: str) -> None:
    citation = cite(quote)
    assert (citation.found, citation.match) == (True, match)
    assert (citation.start, citation.end) == (citation.spans[0][0], citation.spans[-1][1])
    assert (len(citation.spans) > 1) == (match == "parts")


@pytest.mark.parametrize(
    "quote",
    [
        "can take 1,304 seconds", "can take 204 seconds", "204 seconds", "for 2 seconds", "for 2.5 second", "5 seconds",
        "102 V rail", "10 V rail", "works with 23 = 6", "works with 2 3 = 6", "snakecase", "5 °C", "No. 8",
        "Mario Lopez wrote it", "Maria Lopes wrote it", "Lopez Maria wrote it", "It is safe to touch",
        "It is ... safe to touch", "this is instant", "Do pull the cable", "you should open the lid",
        "Maria Lopez wrote it ... Open the lid", "pen the lid", "Open the li", "请拔掉电缆", "...", ". . .",
    ],
)  # fmt: skip
def test_what_says_something_else_is_not_found(quote: str) -> None:
    citation = cite(quote)
    assert (citation.found, citation.match, citation.spans, citation.start) == (False, None, (), None)


def test_spans_are_ranges_of_the_answer_as_given() -> None:
    citation = cite("press the small button ... status says 'ready'")
    assert [ANSWER[start:end] for start, end in citation.spans] == ["press the [small button", "status` says “ready"]
    assert Citation.model_validate_json(citation.model_dump_json()) == citation
    assert Citation.model_validate({"side": "A", "kind": "quote", "text": "x", "found": True, "start": 0, "end": 1})


def test_words_left_out_of_a_sentence_may_not_turn_its_meaning() -> None:
    answer = "The bridge is, they say, not really safe. The road is long. Nobody checked it, so it was never closed."
    assert cite("The bridge is ... really safe", answer).found is False
    assert cite("The bridge is ... The road is long", answer).match == "parts"
    assert cite("it was ... closed", answer).found is False


WORDS = st.lists(st.sampled_from(["**a**", "b", "7", "1,5", "_c_", "...", "-", "&amp;", "[d](e)", "中", "“f”", "\n"]))


@given(WORDS, WORDS)
def test_any_text_and_any_quote_end_in_a_place_or_in_none(words: list[str], quoted: list[str]) -> None:
    answer = " ".join(words)
    for citation in read(f"<quote_A>{' '.join(quoted)}</quote_A>", pair=Pair(question="q", a=answer, b="")).citations:
        assert citation.found is not None
        for start, end in citation.spans:
            assert 0 <= start < end <= len(answer)


@pytest.mark.parametrize("piece", ["[", "](", "[a](", "*", "_a", "...", "a", "&", "1.", "> ", "\\", "not ... "])
def test_long_texts_of_markup_are_looked_through(piece: str) -> None:
    assert cite(piece * 200 + "x", piece * 20_000).found is False
