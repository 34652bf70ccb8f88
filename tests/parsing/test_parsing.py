import ast
import json
import re
import string
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmr1_sdk.parsing import Mode, Piece, Splitter, force_prefix, neutralise, read, verdict_prefix, written_weights
from rmr1_sdk.types import Pair, Shown, Side

COMPLETIONS = Path(__file__).parent / "completions"

TAGS = [
    f"<{slash}{name}>"
    for name in ("type", "rubric", "justify", "eval", "answer", "think", "quote_A")
    for slash in ("", "/")
]
DAMAGE = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *TAGS,
                "< Answer >",
                "</ EVAL >",
                "[[A]]",
                "[[B]]",
                "[[",
                "<answer>[[A]]</answer>",
                "<answer>[[B]]</answer>",
                "<",
                "</",
                "<ans",
                "</eva",
                "<answer",
                "1. x (40%): y\n",
                "- Weight: 30\n",
                "\n",
                " ",
                "`",
            ]
        ),
        st.text(max_size=20),
    ),
    max_size=25,
).map("".join)


def completion(name: str) -> str:
    return (COMPLETIONS / f"{name}.txt").read_text(encoding="utf-8")


# --- the verdict ---


@pytest.mark.parametrize(
    ("name", "winner", "failure"),
    [
        ("chat_tidy", "A", None),
        ("reasoning_tidy", "A", None),
        ("thinks_first", "B", None),
        ("damaged", "B", None),
        ("verdict_inside_quote", "A", None),
        ("both_named", None, "conflicting_answers"),
        ("repeats_the_form", None, "bad_answer"),
        ("never_ends", None, "no_answer"),
        ("thinks_forever", None, "unclosed_thinking"),
        ("talks_around_it", None, "no_answer"),
    ],
)
def test_completions_read_as_a_person_would(name: str, winner: Side | None, failure: str | None) -> None:
    verdict = read(completion(name))
    assert (verdict.winner, verdict.failure and verdict.failure.kind) == (winner, failure)


@pytest.mark.parametrize(
    ("content", "winner"),
    [
        ("[[A]]", "A"),
        ("A", "A"),
        (" **B** ", "B"),
        ("[b]", "B"),
        ("Chatbot B", "B"),
        ("“[[A]]”", "A"),
        ("[[C]]", None),
        ("tie", None),
        ("", None),
        ("A and B", None),
        ("[[A]] or [[B]]", None),
    ],
)
def test_what_an_answer_tag_may_hold(content: str, winner: Side | None) -> None:
    assert read(f"<answer>{content}</answer>").winner == winner


@pytest.mark.parametrize("text", ["", "  \n"])
def test_nothing_is_empty(text: str) -> None:
    failure = read(text).failure
    assert failure
    assert failure.kind == "empty"


def test_the_winner_is_in_the_callers_sides() -> None:
    verdict = read("<eval><quote_A>x</quote_A></eval><answer>[[A]]</answer>", shown="BA")
    assert (verdict.winner, verdict.citations[0].side, verdict.shown) == ("B", "B", "BA")


@pytest.mark.parametrize(
    ("text", "robust", "reward", "evaluator", "rewardbench"),
    [
        ("<answer>[[A]]</answer>", "A", "A", "A", "A"),
        ("<answer>[[A]]</answer>" + "." * 80, "A", None, "A", "A"),
        ("[[A]] <answer>[[B]]</answer>", "B", "B", None, "A"),
        ("I say [[B]]", None, None, "B", "B"),
        ("<answer>[[A]]</answer><answer>[[B]]</answer>", None, None, None, "A"),
        ("<answer>A</answer>", "A", None, None, None),
        ("neither", None, None, None, None),
    ],
)
def test_modes_differ_where_their_sources_do(
    text: str, robust: Side | None, reward: Side | None, evaluator: Side | None, rewardbench: Side | None
) -> None:
    modes: tuple[Mode, ...] = get_args(Mode)
    assert modes == ("robust", "rmr1_reward", "rmr1_eval", "rewardbench")
    assert [read(text, mode=mode).winner for mode in modes] == [robust, reward, evaluator, rewardbench]


# --- the sections ---


def test_a_chat_verdict_has_all_its_sections() -> None:
    pair = Pair(
        question="Write a line for a birthday card.",
        a="Dear Ann,\nMay your forties be as kind as you are.",
        b="Happy birthday and many returns!",
    )
    verdict = read(completion("chat_tidy"), pair=pair)
    assert verdict.task == "chat"
    assert verdict.rubric
    assert [(c.name, c.weight) for c in verdict.rubric.criteria] == [
        ("Warmth", 0.4),
        ("Brevity", 0.35),
        ("Originality", 0.25),
    ]
    assert verdict.rubric.criteria[1].description == "Is it short enough for a card?"
    assert verdict.rubric.justification == "A birthday card is read once and kept, so tone comes first."
    assert verdict.evaluation
    assert verdict.evaluation.startswith("On warmth, “May your forties be as kind as you are” is personal")
    quotes = [(c.side, c.kind, c.found) for c in verdict.citations]
    assert quotes == [("A", "quote", True), ("B", "summary", None), ("B", "quote", True)]
    for citation in verdict.citations:
        if citation.found:
            assert pair.text(citation.side)[citation.start : citation.end] == citation.text


def test_a_reasoning_verdict_has_its_solution() -> None:
    verdict = read(completion("reasoning_tidy"))
    assert verdict.task == "reasoning"
    assert verdict.solution == "12 eggs cost 3 euros, so one costs 0.25 and 30 cost 7.50."
    assert verdict.rubric is None
    assert [c.found for c in verdict.citations] == [None, None]


def test_damaged_sections_are_still_read() -> None:
    pair = Pair(question="Austria?", a="Graz.", b="I think the capital is Vienna, of course.")
    verdict = read(completion("damaged"), pair=pair)
    assert verdict.task == "chat"
    assert verdict.rubric
    assert [(c.name, c.weight) for c in verdict.rubric.criteria] == [("Accuracy", 0.75), ("Tone", 0.25)]
    assert verdict.rubric.justification == "Facts matter most here."
    (quote,) = verdict.citations
    assert quote.found
    assert pair.b[quote.start : quote.end] == "the capital is Vienna"


def test_a_text_cut_off_keeps_what_it_said() -> None:
    verdict = read(completion("never_ends"))
    assert verdict.solution == "7 times 8 is 56."
    assert verdict.evaluation == "A says 54, which is wrong. B says"


def test_thinking_is_set_apart() -> None:
    verdict = read(completion("thinks_first"))
    assert verdict.thinking
    assert verdict.thinking.startswith("Let me look at both.")
    assert verdict.evaluation is None
    forever = read(completion("thinks_forever"))
    assert forever.thinking
    assert forever.thinking.startswith("On the one hand")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("1. Accuracy (40%): right\n2. Style (60%): nice", [("Accuracy", 0.4, "right"), ("Style", 0.6, "nice")]),
        ("- Accuracy (0.4): right\n- Style (0.6): nice", [("Accuracy", 0.4, "right"), ("Style", 0.6, "nice")]),
        (
            "* **Accuracy**: right. Weight: 40\n* **Style**: nice. Weight: 60",
            [("Accuracy", 0.4, "right."), ("Style", 0.6, "nice.")],
        ),
        (
            "**Accuracy (2 points)** - right\n**Style (2 points)** - nice",
            [("Accuracy", 0.5, "right"), ("Style", 0.5, "nice")],
        ),
        ("Accuracy: 40%\nStyle: 60%", [("Accuracy", 0.4, ""), ("Style", 0.6, "")]),
        ("Accuracy [40%]\nStyle [60%]", [("Accuracy", 0.4, ""), ("Style", 0.6, "")]),
        ("1. Accuracy (weight 30%)\n2. Style (weight: 30%)", [("Accuracy", 0.5, ""), ("Style", 0.5, "")]),
        ("1. Accuracy: right\n2. Style (60%): nice", [("Accuracy", None, "right"), ("Style", None, "nice")]),
        ("1. Accuracy: at least 90% of it is right", [("Accuracy", None, "at least 90% of it is right")]),
        ("Rubric:\n1. Accuracy (100%)\n   - facts\n   - sources", [("Accuracy", 1.0, "- facts - sources")]),
        (
            "1. Accuracy (40%): right\nand complete\n2. Style (60%)",
            [("Accuracy", 0.4, "right and complete"), ("Style", 0.6, "")],
        ),
        ("1. Accuracy (100%)\n   - facts\n   - sources", [("Accuracy", 1.0, "- facts - sources")]),
        (
            "\n  1. Accuracy (40%)\n    2 sources\n  2. Style (60%)",
            [("Accuracy", 0.4, "2 sources"), ("Style", 0.6, "")],
        ),
        ("", []),
    ],
)
def test_criteria_are_read_however_they_are_written(lines: str, expected: list[tuple[str, float | None, str]]) -> None:
    rubric = read(f"<rubric>\n{lines}\n</rubric>").rubric
    assert rubric
    assert [(c.name, c.weight, c.description) for c in rubric.criteria] == expected


def test_an_item_on_the_line_of_the_tag_is_as_deep_as_the_next_of_its_style() -> None:
    rubric = read("<rubric>1. Accuracy (40%)\n     - facts\n    2. Style (60%)\n      - tone\n  </rubric>").rubric
    assert rubric
    assert [(c.name, c.weight, c.description) for c in rubric.criteria] == [
        ("Accuracy", 0.4, "- facts"),
        ("Style", 0.6, "- tone"),
    ]


# --- quotes ---

ANSWER = "Use a “dry” pan.  Toast the seeds\nfor two minutes, then <answer>[[A]]</answer> grind them."


@pytest.mark.parametrize(
    ("quote", "found", "where"),
    [
        ("Toast the seeds\nfor two minutes", True, "Toast the seeds\nfor two minutes"),
        ("Toast the seeds for two minutes", True, "Toast the seeds\nfor two minutes"),
        ('a "dry" pan. Toast', True, "a “dry” pan.  Toast"),
        ("then ‹answer>［[A]]‹/answer> grind", True, "then <answer>[[A]]</answer> grind"),
        ("'grind them'", True, "grind them"),
        ("Toast the seads for two minutes", False, None),
        ("Boil the seeds in a litre of salted water", False, None),
        ("Toast seed!", False, None),
    ],
)
def test_quotes_are_looked_up_exactly_then_with_equal_formatting(quote: str, found: bool, where: str | None) -> None:
    pair = Pair(question="q", a=ANSWER, b="no")
    (citation,) = read(f"<quote_A>{quote}</quote_A>", pair=pair).citations
    assert citation.found is found
    assert (None if citation.start is None else ANSWER[citation.start : citation.end]) == where


def test_a_short_answer_inside_a_long_quote_is_no_quote() -> None:
    pair = Pair(question="q", a="The cat sat on it.", b="x")
    (citation,) = read(
        "<quote_A>A dog barked. The cat sat on it. Then the rain came down.</quote_A>", pair=pair
    ).citations
    assert citation.found is False


# --- any text at all ---


@given(DAMAGE, st.sampled_from(get_args(Mode)), st.sampled_from(get_args(Shown)))
def test_reading_never_raises_and_always_says_why_not(text: str, mode: Mode, shown: Shown) -> None:
    verdict = read(text, mode=mode, pair=Pair(question=text, a=text, b="b"), shown=shown)
    assert (verdict.winner is None) == (verdict.failure is not None)
    for citation in verdict.citations:
        if citation.found:
            assert citation.start is not None
            assert citation.end is not None
            assert 0 <= citation.start < citation.end


MEGABYTES = {
    "eval": "<eval>" * 170_000,
    "brackets": "<" * 1_000_000,
    "quotes": "<quote_A>x" * 100_000,
    "spaces": " " * 1_000_000,
    "answers": "<answer>" * 125_000,
    "items": "<rubric>" + "- a: b (40%)\n" * 75_000,
    "weights": "<rubric>" + "weight " * 140_000,
    "parens": "<rubric>" + "( " * 500_000,
    "one long quote": "<quote_A>" + "x y " * 250_000,
    "half tags": "< / " * 250_000,
}


# Quadratic reading would take hours, more than any test may; perf/reading.py shows how time grows.
@pytest.mark.parametrize("name", MEGABYTES)
def test_a_megabyte_does_not_hang_the_reader(name: str) -> None:
    text = MEGABYTES[name]
    verdict = read(text, pair=Pair(question="q", a="x y z " * 500, b="b"))
    assert verdict.winner is None
    assert len(neutralise(text)) == len(text)
    assert read(force_prefix(text) + "B]]</answer>").winner == "B"


# --- the sections while they are written ---


def split(text: str, cuts: Sequence[int] = (), *, thinking: bool = False) -> list[Piece]:
    """The sections of a text cut at these places, each put together again; one not done is not there."""
    splitter = Splitter(thinking=thinking)
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    pieces = [piece for start, end in pairwise(edges) for piece in splitter.feed(text[start:end])]
    pieces += splitter.close()
    sections: list[Piece] = []
    told: dict[str, str] = {}
    for name, new, done in pieces:
        assert new or done, "an event that says nothing"
        told[name] = told.get(name, "") + new
        if done:
            sections.append(Piece(name, told.pop(name), True))
    assert not told, "a section was left open"
    return sections


@given(DAMAGE, st.lists(st.integers(0, 2000), max_size=40), st.booleans())
def test_any_cut_of_a_text_gives_the_same_sections(text: str, cuts: list[int], thinking: bool) -> None:
    assert split(text, cuts, thinking=thinking) == split(text, range(len(text)), thinking=thinking)


PROSE = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "right",
                "wrong",
                " ",
                "\n",
                '"',
                "”",
                "“",
                "<",
                "</ev",
                "a < b",
                "'",
                "         ",
                "</type>",
                "<quote_A>",
                "</quote_A>",
                "<quote_b>",
                "</quote_B>",
                "<summary_A>",
                "</summary_A>",
            ]
        ),
        st.text(max_size=8).filter(lambda text: "<" not in text or len(text) == 1),  # a tag by chance is another text
    ),
    max_size=12,
).map("".join)
LINES = st.lists(
    st.sampled_from(
        ["1. Truth (60%): it is so", "- **Style** - 40%", "  - and so on", "", "2. Care: much", "Weight: 30"]
    ),
    max_size=5,
).map("\n".join)


@given(PROSE, PROSE, PROSE, PROSE, LINES, LINES, st.lists(st.integers(0, 2000), max_size=40))
def test_sections_are_what_the_reader_makes_of_them(
    thinking: str, solution: str, evaluation: str, why: str, before: str, after: str, cuts: list[int]
) -> None:
    text = (
        f"<think>{thinking}</think> so <type> Chat</type>\n"
        f"<rubric>{before}<justify>{_flat(why)}</justify>{after}</rubric>"
        f"<solution>{solution}</solution><eval>{evaluation}</eval>\n<answer>[[B]]</answer>"
    )
    verdict = read(text)
    sections = {name: told or None for name, told, _ in split(text, cuts) if name != "prose"}
    assert sections["thinking"] == verdict.thinking
    assert (sections["solution"], sections["eval"]) == (verdict.solution, verdict.evaluation)
    assert (sections["type"], sections["answer"]) == ("Chat", "[[B]]")
    assert verdict.rubric
    assert sections["justify"] == verdict.rubric.justification
    again = read(f"<rubric>{sections['rubric'] or ''}</rubric>").rubric
    assert again
    assert again.criteria == read(f"<rubric>{(before + chr(10) + after).strip()}</rubric>").rubric.criteria  # type: ignore[union-attr]


def _flat(text: str) -> str:
    """Without tags: a justification is read without quotation marks for them."""
    return re.sub(r"<[^<>]*>", "", text)


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("", []),
        ("  no tags ", ["prose: no tags"]),
        ("<eval></eval>", ["eval:"]),
        ("<eval>a <quote_A> “x” </quote_A>b", ["eval:a “x”b"]),
        ("Well. <EVAL>x</ eval> <answer>[[A]]</answer>", ["prose:Well.", "eval:x", "answer:[[A]]"]),
        ("<rubric>1. x<justify>y</justify> 2. z</rubric>", ["justify:y", "rubric:1. x\n 2. z"]),
        ("<rubric>1. x<eval>y", ["rubric:1. x", "eval:y"]),
        ("<think>a <answer>[[A]]</answer>?</think>b", ["thinking:a <answer>[[A]]</answer>?", "prose:b"]),
        ("x</answer>y < z <ev", ["prose:xy < z <ev"]),
    ],
)
def test_sections_of(text: str, sections: list[str]) -> None:
    assert [f"{name}:{told}" for name, told, _ in split(text)] == [s.replace("prose: ", "prose:") for s in sections]


def test_text_that_began_in_thought_is_thinking_until_its_end() -> None:
    text = "hm </thi hm</think>\n<answer>[[A]]</answer>"
    assert [name for name, _, _ in split(text, thinking=True)] == ["thinking", "answer"]
    assert split("<think>hm</think>", thinking=True) == split("hm</think>", thinking=True)


def test_what_is_certain_is_told_at_once() -> None:
    splitter = Splitter()
    assert splitter.feed("<eval>One is right") == [Piece("eval", "One is right")]
    assert splitter.feed(", the oth") == [Piece("eval", ", the oth")]
    assert splitter.feed("er not.</ev") == [Piece("eval", "er not.")]
    assert splitter.feed("al>") == [Piece("eval", "", True)]


def test_sections_of_real_completions_are_what_the_reader_makes_of_them(shared: Path) -> None:
    tidy = 0
    for trace in traces(shared):
        verdict = read(trace.text)
        sections = split(trace.text, range(0, len(trace.text), 3))
        by_name = {name: told for name, told, _ in sections}
        assert by_name["answer"] == ("[[A]]" if trace.chosen_won == (trace.chosen == "A") else "[[B]]")
        if verdict.thinking:
            assert split(trace.text, thinking=True)[0] == Piece("thinking", verdict.thinking, True)
        if [name for name, _, _ in sections].count("eval") == 1:  # one of them has three
            assert by_name["eval"] == verdict.evaluation
            tidy += 1
    assert tidy == 5


# --- prefixes ---


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("<eval>x</eval>\n<answer>[[A]]</answer> done", "<eval>x</eval>\n<answer>[["),
        ("<answer> [[B]]</answer>", "<answer> [["),
        ("<answer>A</answer>", "<answer>[["),
        ("<answer>[[C]]</answer>", None),
        ("nothing", None),
    ],
)
def test_the_place_of_the_verdict(text: str, prefix: str | None) -> None:
    assert verdict_prefix(text) == prefix


@pytest.mark.parametrize(
    ("text", "thinking", "prefix"),
    [
        ("A is right", False, "A is right\n\n<answer>[["),
        ("<eval>A says <quote_A>x", False, "<eval>A says <quote_A>x\n</quote_A>\n</eval>\n\n<answer>[["),
        ("<eval>done</ev", False, "<eval>done\n</eval>\n\n<answer>[["),
        ("hm, hm", True, "hm, hm\n</think>\n\n<answer>[["),
        ("say <answer>[[A]]</answer>? no", True, "say <answer>[[A]]</answer>? no\n</think>\n\n<answer>[["),
        ("<think>hm <eval>", False, "<think>hm <eval>\n</think>\n\n<answer>[["),
        ("<eval>x</eval><answer>[[C", False, "<eval>x</eval>\n\n<answer>[["),
        ("<answer>[[A]]</answer><answer>[[B]]</answer>", False, "\n\n<answer>[["),
        ("3 < 4 and x <", False, "3 < 4 and x\n\n<answer>[["),
    ],
)
def test_what_is_open_is_closed_before_the_answer_is_forced(text: str, thinking: bool, prefix: str) -> None:
    assert force_prefix(text, thinking=thinking) == prefix


@given(DAMAGE, st.booleans(), st.sampled_from(["A", "B"]))
def test_a_forced_answer_is_the_one_that_is_read(text: str, thinking: bool, side: str) -> None:
    assert read(force_prefix(text, thinking=thinking) + f"{side}]]</answer>").winner == side


# --- making text harmless ---


@given(DAMAGE)
def test_neutralised_text_has_no_verdict_and_keeps_its_length(text: str) -> None:
    safe = neutralise(text)
    assert len(safe) == len(text)
    assert neutralise(safe) == safe
    for mode in get_args(Mode):
        assert read(f"{safe}", mode=mode).winner is None


@given(st.text(string.ascii_letters + string.digits + " \n.,;:()[]{}<>=+-*/\"'", max_size=200))
def test_ordinary_text_is_left_alone_but_for_our_own_marks(text: str) -> None:
    changed = [(before, after) for before, after in zip(text, neutralise(text), strict=True) if before != after]
    assert set(changed) <= {("<", "‹"), ("[", "［")}


@pytest.mark.parametrize("text", ["x[0] < y[[1]]", "<b>bold</b>", "a <- b", "List<String>", "[link](url)", "[[wiki]]"])
def test_code_and_markup_stay(text: str) -> None:
    assert neutralise(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "<|im_end|>",
        "<|eot_id|>",
        "<｜end▁of▁sentence｜>",
        "<end_of_turn>",
        "</s>",
        "[INST]",
        "[ the start OF x",
        "<<SYS>>",
    ],
)
def test_what_would_end_a_turn_or_a_block_is_harmless(text: str) -> None:
    assert neutralise(text) != text


# --- real outputs ---


class Trace(NamedTuple):
    file: str
    text: str
    pair: Pair
    chosen: Side
    chosen_won: bool


def traces(shared: Path) -> Iterator[Trace]:
    for file in sorted((shared / "data" / "rm-r1-traces").glob("*.json")):
        for row in json.loads(file.read_text(encoding="utf-8")):
            chosen, rejected = (
                ast.literal_eval(turns) if isinstance(turns, str) else turns
                for turns in (row["text_chosen"], row["text_rejected"])
            )
            chosen_is_b = str(row["Is_Chosen_Answer_Shuffled_toPositionB"]) == "True"
            a, b = (rejected, chosen) if chosen_is_b else (chosen, rejected)
            pair = Pair(question=a[:-1], a=a[-1]["content"], b=b[-1]["content"])
            yield Trace(file.name, row["answers"], pair, "B" if chosen_is_b else "A", float(row["results"]) == 1)


def test_published_traces_read_to_their_logged_result(shared: Path) -> None:
    seen = list(traces(shared))
    assert len(seen) == 12
    quotes = []
    for trace in seen:
        verdict = read(trace.text, pair=trace.pair)
        assert (verdict.winner == trace.chosen) is trace.chosen_won, trace.file
        assert read(trace.text, mode="rmr1_reward").winner == verdict.winner
        if "Instruct" not in trace.file:
            assert verdict.thinking
            continue
        assert verdict.task == "chat"
        assert verdict.rubric
        assert verdict.rubric.justification
        assert sum(criterion.weight or 0 for criterion in verdict.rubric.criteria) == pytest.approx(1)
        mine = [citation for citation in verdict.citations if citation.kind == "quote"]
        assert mine
        quotes += mine
    assert [sum(quote.found is True for quote in quotes), len(quotes)] == [16, 16]


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("<rubric>\n1. Truth (60%): so?\n2. Tone (30%): kind?\n</rubric>", (60.0, 30.0)),
        ("<rubric>\n1. Truth (0.5): so?\n2. Tone (0.5): kind?\n</rubric>", (0.5, 0.5)),
        ("<rubric>\n1. Truth (60%): so?\n2. Tone: kind?\n<justify>100%</justify></rubric>", (60.0, None)),
        ("<think><rubric>1. Truth (10%)</rubric></think><rubric>\n1. Truth (100%): so?\n</rubric>", (100.0,)),
        ("<think><rubric>1. Truth (10%)</rubric>", ()),
        ("<eval>no rubric</eval>", ()),
        ("<justify>alone</justify>", ()),
        ("", ()),
    ],
)
def test_weights_are_told_as_they_were_written(text: str, weights: tuple[float | None, ...]) -> None:
    assert written_weights(text) == weights
