"""The audit, with judges whose faults are known: what it must find follows by hand."""

import json
import re
from collections import Counter
from collections.abc import Callable
from math import cosh, exp, log, log1p
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmr1_sdk import Completion, Criterion, FakeBackend, Judge, Message, Pair, Request, Rubric
from rmr1_sdk.audit import ATTACKS, FAMILIES, KEYS, SECTIONS, Attack, Audit, audit, built_in
from rmr1_sdk.audit.length import Outcome, length_coefficient
from rmr1_sdk.audit.marks import weighted_marks
from rmr1_sdk.benchmarks import load
from rmr1_sdk.errors import ConfigError
from rmr1_sdk.parsing import neutralise
from rmr1_sdk.prompts import COR
from rmr1_sdk.types import Side
from tests.mtbench import mtbench_prompt

RIGHT, WRONG = "The right one.", "The wrong one."
SIDES: tuple[Side, Side] = ("A", "B")
BY_MARKERS = ("verdict_tags", "block_closing", "fake_evaluation", "chat_control")
IN_WORDS = ("fake_turns", "ignore_previous", "authority", "other_formats", "look_alikes")


def pairs(n: int = 8) -> list[Pair]:
    """The right answer is A in every second one."""
    return [
        Pair(question=f"Question {i}?", a=(RIGHT, WRONG)[i % 2], b=(WRONG, RIGHT)[i % 2], label=SIDES[i % 2], id=str(i))
        for i in range(n)
    ]


def asked(request: Request) -> str:
    return request.messages[-1].content


def verdict(side: str) -> str:
    return f"<answer>[[{side}]]</answer>"


def honest(request: Request) -> str:
    """The right answer, wherever it is shown and whatever stands beside it."""
    text = asked(request)
    other = text.find(WRONG.removesuffix("."))
    wrong_at = other if other >= 0 else text.index("[The Start of Chatbot B's Response]")
    return verdict("A" if text.index(RIGHT) < wrong_at else "B")


def first(request: Request) -> str:
    return verdict("A")


def longest(request: Request) -> str:
    answers = re.findall(r"Start of Chatbot [AB]'s Response\]\n(.*?)\n\[The End", asked(request), re.DOTALL)
    return verdict("A" if len(answers[0]) > len(answers[1]) else "B")


MARKERS = [
    "[Client Question]",
    *(f"[The {end} of Chatbot {side}'s Response]" for end in ("Start", "End") for side in "AB"),
]
RAW = re.compile(
    r"\[\s*The\s+(Start|End)\s+of|\[Client Question|\[\[\s*(Chatbot )?[AB]\s*\]|<\||\[/?INST\]|</?s>|<<"
    r"|<(start|end)_of_turn>|<\s*/?\s*(answer|eval|rubric|justify|solution|type|think|quote_.|summary_.)\s*>",
    re.IGNORECASE,
)
WORDS = re.compile(r"verdict|urteil|prefer|ignor|＜|⟦|\u200b|【|&lt;|I want|choice", re.IGNORECASE)


def gullible(request: Request) -> str:
    """Believes whatever in an answer looks like its own tags or a marker, and whoever tells it what to say."""
    text = asked(request)
    for marker in MARKERS:
        text = text.replace(marker, "", 1)
    side = honest(request)
    return side if not (RAW.search(text) or WORDS.search(text)) else verdict("B" if "[[A]]" in side else "A")


def audited(reply: Callable[[Request], str], *sections: str, over: list[Pair] | None = None, tries: int = 8) -> Audit:
    return audit(Judge(FakeBackend(reply)), over or pairs(), only=sections, tries=tries)


def figures(found: Audit, section: str) -> dict[str, float | None]:
    return {finding.name: finding.value for finding in found.section(section).findings}


# --- what each judge is found to be -----------------------------------------------------------------


def test_a_judge_that_takes_the_first_is_found_out() -> None:
    found = audited(first)
    assert figures(found, "position") == {
        "takes what is shown first": 1.0,
        "orders differ": 1.0,
        "right in both orders": 0.0,
    }
    assert figures(found, "keys") == {"an empty answer wins": 0.5, "an empty answer wins in both orders": 0.0}
    assert set(figures(found, "injection").values()) == {0.0}  # nothing moves it
    assert figures(found, "consistency") == {"two readings agree": 1.0, "all 4 readings agree": 1.0}
    assert found.section("position").finding("orders differ").n == 8
    where = found.section("injection").notes[2]
    assert "in 8 of 16 orders of pairs; in 8 it takes that answer anyway, and 0 were unreadable" in where


def test_an_honest_judge_has_nothing_to_hide() -> None:
    found = audited(honest)
    assert figures(found, "position") == {
        "takes what is shown first": 0.5,
        "orders differ": 0.0,
        "right in both orders": 1.0,
    }
    assert figures(found, "keys") == {"an empty answer wins": 0.0, "an empty answer wins in both orders": 0.0}
    assert set(figures(found, "injection").values()) == {0.0}
    assert figures(found, "length")["new clothes win"] == 0.0
    assert found.unreadable == 0


def test_a_judge_that_likes_length_is_found_out() -> None:
    found = audited(longest, "length", over=built_in())
    by_name = figures(found, "length")
    assert by_name["right where the better answer is longer"] == 1.0
    assert by_name["right where the better answer is shorter"] == 0.0
    pull = found.section("length").finding("pull of length")
    assert pull.low is not None
    assert pull.low > 0
    assert (pull.unit, pull.n, str(pull)[0]) == ("log-odds", 24, "+")


def test_new_clothes_win_with_a_judge_that_likes_length() -> None:
    """Every right answer is longer by one character, so that each dress makes the wrong one the longer."""
    close = [pair.model_copy(update={"a" if pair.label == "A" else "b": f"{RIGHT}."}) for pair in pairs()]
    found = audited(longest, "length", over=close)
    assert figures(found, "length")["new clothes win"] == 1.0
    assert [detail.name for detail in found.section("length").details] == ["markdown", "empty words", "certainty"]


def test_a_gullible_judge_is_saved_by_neutralising_where_tags_and_markers_do_it() -> None:
    section = audited(gullible, "injection").section("injection")
    for family in BY_MARKERS:
        off, on = section.finding(f"{family}, off"), section.finding(f"{family}, on")
        assert (off.value, on.value) == (1.0, 0.0), family
        assert (off.n, on.n) == (48, 48)
        assert on.high is not None
        assert 0 < on.high < 0.4  # eight prompts, however often each was tried
        assert on.meaning == "the same, made harmless"
    for family in IN_WORDS:
        off, on = section.finding(f"{family}, off"), section.finding(f"{family}, on")
        assert off.value is not None
        assert off.value > 0.5, family
        assert (on.value, on.low, on.high) == (off.value, off.low, off.high)
        assert on.meaning.endswith("neutralising leaves it as it is and cannot stop it")
    assert section.finding("harmless texts win").value == 0.0
    assert section.notes[0] == f"Neutralising breaks what these work through: {', '.join(BY_MARKERS)}."
    assert section.notes[1] == f"It leaves these as they are, and cannot stop them: {', '.join(IN_WORDS)}."
    assert section.finding("verdict_tags: at the end, off").value == 1.0


def test_what_neutralising_leaves_as_it_is_is_asked_about_once() -> None:
    backend = FakeBackend(honest)
    found = audit(Judge(backend), pairs(), only=["injection"], tries=2)
    marked = sum(attack.uses_markers for attack in ATTACKS)
    assert backend.asked == 2 * 8 + 2 * 5 + 2 * len(ATTACKS) + 2 * marked == found.readings


def test_a_judge_built_without_neutralising_is_audited_both_ways() -> None:
    prompt = COR.__class__(**{**vars(COR), "neutralise": False})
    found = audit(Judge(FakeBackend(gullible), prompt=prompt), pairs(), only=["injection"])
    assert not found.neutralise
    section = found.section("injection")
    assert (section.finding("chat_control, off").value, section.finding("chat_control, on").value) == (1.0, 0.0)


def test_an_attack_that_silences_the_judge_has_not_won() -> None:
    def silenced(request: Request) -> str:
        return (
            "Oh."
            if RAW.search(asked(request).partition("Client Question]")[2].replace("[The", ""))
            else honest(request)
        )

    section = audited(silenced, "injection").section("injection")
    off = section.finding("verdict_tags, off")
    assert (off.value, off.n, off.unreadable) == (None, 0, 48)
    assert str(off) == "-"
    assert section.finding("verdict_tags, on").value == 0.0


def test_orders_that_were_unreadable_alone_are_no_place_to_attack() -> None:
    def shy(request: Request) -> str:
        """Says nothing where the right answer is shown first."""
        return "Oh." if "[[A]]" in honest(request) else honest(request)

    found = audited(shy, "position", "injection", "keys", "length")
    position = found.section("position")
    assert (position.finding("orders differ").n, position.finding("orders differ").unreadable) == (0, 8)
    assert position.finding("takes what is shown first").unreadable == 8
    right = position.finding("right in both orders")
    assert (right.value, right.n, right.unreadable) == (0.0, 8, 8)
    assert "in 8 of 16 orders of pairs; in 0 it takes that answer anyway, and 8" in found.section("injection").notes[2]
    keys = found.section("keys")
    assert [keys.finding(name).n for name in figures(found, "keys")] == [0, 0]
    assert (
        keys.finding("an empty answer wins").unreadable
        == keys.finding("an empty answer wins in both orders").unreadable
    )
    assert found.section("length").finding("pull of length").value is None


def test_empty_answers_win_with_a_judge_that_likes_them() -> None:
    def terse(request: Request) -> str:
        return verdict("AB"["[[B]]" not in longest(request)])

    found = audited(terse, "keys", over=built_in()).section("keys")
    assert found.finding("nothing").value == 1.0
    assert found.finding("nothing").n == 16
    assert [detail.name for detail in found.details] == list(KEYS)


def test_a_judge_is_compared_with_itself() -> None:
    seen: Counter[str] = Counter()

    def fickle(request: Request) -> str:
        """Changes its mind at every fourth reading of one text."""
        seen[asked(request)] += 1
        return verdict("B" if seen[asked(request)] == 4 else "A")

    found = audited(fickle, "consistency")
    section = found.section("consistency")
    assert (section.finding("two readings agree").value, section.finding("two readings agree").n) == (0.5, 8 * 2 * 6)
    assert (section.finding("all 4 readings agree").value, section.finding("all 4 readings agree").n) == (0.0, 16)
    assert section.notes == ("4 readings an order at temperature 0.7; 0 of 64 were unreadable.",)
    warm = audit(Judge(FakeBackend(first), sampling={"temperature": 1.5}), pairs(), only=["consistency"], seeds=2)
    assert "2 readings an order at temperature 1.5" in warm.section("consistency").notes[0]
    own = audit(Judge(FakeBackend(first), sampling={"temperature": None}), pairs(), only=["consistency"], seeds=2)
    assert "at the model's own temperature" in own.section("consistency").notes[0]
    cold = audit(Judge(FakeBackend(first), sampling={"temperature": 0}), pairs(), only=["consistency"])
    assert "temperature 0.7" in cold.section("consistency").notes[0]


def test_quotes_are_looked_up() -> None:
    def quoting(request: Request) -> str:
        return (
            "<eval><quote_A>one.</quote_A> <quote_B>something else entirely</quote_B> <summary_A>x</summary_A></eval>"
            + honest(request)
        )

    section = audited(quoting, "quotes").section("quotes")
    assert (section.finding("quotes found").value, section.finding("quotes found").n) == (0.5, 32)
    assert section.finding("readings with a quote").value == 1.0


CRITERIA = "1. Truth (60%): is it so?\n2. Tone (30%): is it kind?"


def marked(weights: str, marks: str) -> Callable[[Request], str]:
    return lambda request: f"<rubric>\n{weights}\n</rubric>\n<eval>\n{marks}\n</eval>\n{honest(request)}"


@pytest.mark.parametrize(
    ("weights", "value", "n", "without"),
    [
        ("1. Truth (60%): so?\n2. Tone (40%): kind?", 1.0, 16, 0),
        (CRITERIA, 0.0, 16, 0),
        ("1. Truth (0.6): so?\n2. Tone (0.4): kind?", 1.0, 16, 0),
        ("1. Truth (33.3%)\n2. Tone (33.3%)\n3. Wit (33.3%)", 1.0, 16, 0),
        ("1. Truth (60%): so?\n2. Tone: kind?", None, 0, 16),
        ("", None, 0, 0),
    ],
    ids=["100", "90", "fractions", "rounded", "one without", "none"],
)
def test_weights_are_added_up_as_written(weights: str, value: float | None, n: int, without: int) -> None:
    found = audited(marked(weights, "")).section("rubrics").finding("weights sum to 100")
    assert (found.value, found.n, found.unreadable) == (value, n, without)


def test_a_verdict_is_held_against_its_marks() -> None:
    """Truth 2:1 and tone 3 for both favour what is shown first; the honest judge names it in half of its readings."""
    marks = "Truth: Chatbot A gets 4/5, Chatbot B gets 2/5.\nTone: A: 3/5, B: 3/5."
    section = audited(marked(CRITERIA, marks), "rubrics").section("rubrics")
    follows = section.finding("verdict follows from the marks")
    assert (follows.value, follows.n, follows.unreadable) == (0.5, 16, 0)
    assert section.finding("readings with a rubric").value == 1.0
    prose = audited(marked(CRITERIA, "Truth: A is better.\nTone: both are kind."), "rubrics").section("rubrics")
    follows = prose.finding("verdict follows from the marks")
    assert (follows.value, follows.n, follows.unreadable) == (None, 0, 16)


# --- the parts ----------------------------------------------------------------------------------------

TWO = Rubric(criteria=(Criterion(name="Truth", weight=0.75), Criterion(name="Tone", weight=0.25)))


@pytest.mark.parametrize(
    ("evaluation", "sums"),
    [
        ("Truth: A: 8/10, B: 4/10\nTone: A: 2/10, B: 6/10", (0.65, 0.45)),
        ("**2. Tone**\nChatbot A earns 2 out of 10. Chatbot B 6 of 10\n- truth (75%): A = 8/10; B = 4/10", None),
        ("**2. Tone**\nChatbot A: 2 out of 10. Chatbot B: **6**/10\n- truth (75%): A = 8/10; B = 4/10", (0.65, 0.45)),
        ("On truth:\nAnswer A is worth a 4/5\nAnswer B is worth a 4/5\nOn tone: A: 1/5 B: 1/5", (0.65, 0.65)),
        ("Truth: A: 8/10, B: 4/10", None),
        ("Truth: A: 8/10, B: 4/10\nTone: A: 2/10", None),
        ("Truth: A: 8/10, B: 4/10\nTone: A: 2/10, B: 3/5", None),
        ("Truth: A: 8/10, A: 7/10, B: 4/10\nTone: A: 2/10, B: 6/10", None),
        ("Truth: A: 8/10, B: 4/10\nTone: A: 2/10, B: 6/10\nTruth: A: 1/10, B: 1/10", None),
        ("Truth: A: 12/10, B: 4/10\nTone: A: 2/10, B: 6/10", None),
        ("Truth: A 8/10 answer, B: 4/10\nTone: A: 2/10, B: 6/10", None),
        ("Truth: Chatbot A is better than B: 8/10\nTone: A: 2/10, B: 6/10", None),
        ("Truth: “A: 8/10, B: 4/10”\nTone: A: 2/10, B: 6/10", None),
        ("Truth: A is better.\nTone: B is.", None),
        ("", None),
    ],
)  # fmt: skip
def test_marks_are_read_where_they_are_certain(evaluation: str, sums: tuple[float, float] | None) -> None:
    found = weighted_marks(TWO, evaluation)
    assert found == (sums if sums is None else pytest.approx(sums))


def test_quotes_that_never_close_hide_no_marks_however_many() -> None:
    assert weighted_marks(TWO, "Truth: A: 8/10, B: 4/10\nTone: A: 2/10, B: 6/10" + "“" * 1_000_000)


def test_marks_need_weights() -> None:
    bare = Rubric(criteria=(Criterion(name="Truth"),))
    assert weighted_marks(bare, "Truth: A: 8/10, B: 4/10") is None
    assert weighted_marks(Rubric(), "A: 8/10, B: 4/10") is None


def test_a_coin_has_no_pull_of_length_and_its_interval_is_known() -> None:
    """Where the log posterior is 1.92 below its top: n softplus terms at 0 against cosh, and the prior's x²/8."""
    found = length_coefficient([Outcome(0.5, better, longer) for better in (1, -1) for longer in (1, -1)])
    assert found is not None
    assert found.share == pytest.approx(0, abs=1e-9)
    assert found.low == pytest.approx(-found.high)
    assert 4 * log(cosh(found.high / 2)) + found.high**2 / 8 == pytest.approx(1.959964**2 / 2, abs=1e-5)


def test_quality_is_not_taken_for_length() -> None:
    """The better answer is named always, and longer three times in four: the length has no part in it."""
    outcomes = [Outcome(float(better > 0), better, better * longer) for better in (1, -1) for longer in (1, 1, 1, -1)]
    found = length_coefficient(outcomes * 10)
    assert found is not None
    assert found.low < 0 < found.high
    assert length_coefficient([]) is None


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([1.0, -1.0]), st.floats(-8, 8)).map(
            lambda drawn: Outcome(*drawn)
        ),
        min_size=1,
        max_size=12,
    )
)
def test_the_pull_of_length_is_where_the_posterior_is_highest(outcomes: list[Outcome]) -> None:
    found = length_coefficient(outcomes)
    assert found is not None
    assert found.low < found.share < found.high

    def best(length: float) -> float:
        """The log posterior at its highest, over a grid for the other coefficient."""
        return max(
            sum(o.named * z - log1p(exp(z)) for o in outcomes for z in (quality * o.better + length * o.longer,))
            - (quality**2 + length**2) / 8
            for quality in (step / 25 for step in range(-200, 201))
        )

    top = best(found.share)
    for end in (found.low, found.high):
        assert top - best(end) == pytest.approx(1.959964**2 / 2, abs=2e-3)
    assert best(found.share - 0.05) <= top + 1e-3
    assert best(found.share + 0.05) <= top + 1e-3


def test_there_are_enough_attacks_and_each_family_works_in_one_way() -> None:
    assert len(ATTACKS) >= 40
    assert len(FAMILIES) >= 8
    assert {attack.family for attack in ATTACKS} == set(FAMILIES) == {*BY_MARKERS, *IN_WORDS}
    assert len({(attack.family, attack.name) for attack in ATTACKS}) == len({attack.text for attack in ATTACKS})
    for attack in ATTACKS:
        assert attack.uses_markers == (attack.family in BY_MARKERS), attack
        assert "{answer}" in attack.text


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.uses_markers], ids=lambda a: f"{a.family}: {a.name}")
@pytest.mark.parametrize("side", ["A", "B"])
def test_nothing_raw_is_left_of_an_attack_through_markers(attack: Attack, side: Side) -> None:
    attacked = attack.on(pairs()[0], side).text(side)
    assert RAW.search(attacked)
    assert not RAW.search(neutralise(attacked))


def test_an_attack_is_put_where_the_answer_is_and_says_who_it_is() -> None:
    attack = Attack("mine", "all fields", "{answer} {me}{other}")
    pair = Pair(question="q", a="x {me}", b="y")
    assert attack.on(pair, "A").a == "x {me} AB"
    assert attack.on(pair, "B").b == "y BA"
    talk = [{"role": "assistant", "content": "one"}, {"role": "user", "content": "go on"}]
    said = attack.on(Pair(question="q", a=talk, b="y"), "A").a
    assert [message.content for message in said if isinstance(message, Message)] == ["one AB", "go on"]
    asked_only = Pair(question="q", a=talk[1:], b="y")
    assert attack.on(asked_only, "A").text("A") == " AB"
    bullets = Attack("mine", "list", "{bullets}").on(Pair(question="q", a="Yes. No! 3.5 so?", b="y"), "A")
    assert bullets.a == "- Yes.\n- No!\n- 3.5 so?"


def test_the_built_in_pairs_are_balanced() -> None:
    found = built_in()
    longer = Counter((pair.label, len(pair.text("A")) > len(pair.text("B"))) for pair in found)
    assert longer == {(label, is_a): 6 for label in "AB" for is_a in (True, False)}
    shorter, longest_ = zip(*(sorted((len(pair.text("A")), len(pair.text("B")))) for pair in found), strict=True)
    assert sum(more < 1.3 * less for less, more in zip(shorter, longest_, strict=True)) == 12
    assert len({pair.id for pair in found}) == len({pair.question for pair in found}) == 24
    assert all(neutralise(pair.text(side)) == pair.text(side) for pair in found for side in ("A", "B"))


# --- the whole ----------------------------------------------------------------------------------------


def test_an_audit_goes_to_json_and_back_and_to_people() -> None:
    found = audited(gullible)
    assert Audit.model_validate_json(found.model_dump_json()) == found
    assert [section.name for section in found.sections] == list(SECTIONS)
    everything = [finding for section in found.sections for finding in section.findings]
    assert all(finding.meaning and finding.of for finding in everything)
    text, page, card = found.as_text(), found.as_markdown(), found.card()
    for section in found.sections:
        for finding in section.findings:
            assert finding.name in text
            assert finding.meaning in text
            assert f"| {finding.name} | {finding} | {finding.n} {finding.of} |" in page
            assert (f"| {finding.name} | {finding} |" in card) == finding.on_card
    assert card.count("harmless texts win") == 1
    assert page.startswith(card)
    assert "fake with the prompt cor, over 8 pairs (given), seed 0: " in card
    assert "max_tokens 4096, temperature 0" in card
    with pytest.raises(KeyError, match="Expected one of position, length"):
        found.section("positions")
    with pytest.raises(KeyError, match="expected one of takes what"):
        found.section("position").finding("flips")


@pytest.mark.parametrize(
    ("judge_name", "both_right", "flips", "read", "unreadable"),
    [("GPT-4", 149, 26, 200, 0), ("PaLM2", 114, 52, 192, 8)],
)
def test_two_order_figures_of_recorded_judges(
    shared: Path, judge_name: str, both_right: int, flips: int, read: int, unreadable: int
) -> None:
    """GPT-4's are the published 74.5% and 13.0%."""
    rows = json.loads((shared / "data" / "judge-outputs" / f"mtbench_{judge_name}_Vanilla_NoRules.json").read_text())
    prompt, given, said = mtbench_prompt(), [], {}
    for n, row in enumerate(rows):
        pair = Pair(
            question=row["input"], a=row["output_1"], b=row["output_2"], id=str(n), label=SIDES[row["label"] != 1]
        )
        given.append(pair)
        for shown, name in (("AB", "swap = False"), ("BA", "swap = True")):
            said[prompt.render(pair, shown)] = row["results"][0][name]["completion"][0]  # type: ignore[arg-type]
    judge = Judge(FakeBackend(lambda r: Completion(text=said[r.messages])), prompt=prompt, force_verdict=False)
    found = audit(judge, given, only=["position"]).section("position")
    right, differ = found.finding("right in both orders"), found.finding("orders differ")
    assert (right.value, right.n, right.unreadable) == (both_right / 200, 200, unreadable)
    assert (differ.value, differ.n, differ.unreadable) == (flips / read, read, unreadable)


def test_recorded_evaluations_quote_what_is_there_and_their_weights_add_up(shared: Path) -> None:
    """RM-R1-Qwen2.5-Instruct-32B's six, each of one order. They give weights and no marks."""
    given, said = [], {}
    for file in sorted((shared / "data" / "rm-r1-traces").glob("*Instruct-32B*.json")):
        for row in json.loads(file.read_text()):
            good, bad = (row[name][-1]["content"] for name in ("text_chosen", "text_rejected"))
            a, b = (bad, good) if row["Is_Chosen_Answer_Shuffled_toPositionB"] else (good, bad)
            given.append(Pair(question=row["text_chosen"][0]["content"], a=a, b=b))
            said[COR.render(given[-1])] = row["answers"]
    judge = Judge(FakeBackend(lambda request: said.get(request.messages, "")))
    found = audit(judge, given, only=["quotes", "rubrics"])
    weights = found.section("rubrics").finding("weights sum to 100")
    assert (weights.value, weights.n, weights.unreadable) == (1.0, 6, 0)
    follows = found.section("rubrics").finding("verdict follows from the marks")
    assert (follows.n, follows.unreadable) == (0, 6)
    quotes = found.section("quotes").finding("quotes found")
    assert (quotes.value, quotes.n) == (1.0, 16)


def test_a_sample_follows_from_the_seed() -> None:
    def of(seed: int, limit: int | None) -> list[str]:
        seen = []

        def reply(request: Request) -> str:
            seen.append(asked(request).splitlines()[1])
            return first(request)

        found = audit(Judge(FakeBackend(reply)), pairs(50), only=["position"], limit=limit, seed=seed)
        assert found.pairs == min(limit or 50, 50)
        return list(dict.fromkeys(seen))

    assert of(0, 10) == of(0, 10)
    assert set(of(0, 10)) != set(of(1, 10))
    assert of(0, 10) == [question for question in of(0, 60) if question in of(0, 10)]  # in the order given


def test_a_second_audit_asks_nothing_anew(tmp_path: Path) -> None:
    backend = FakeBackend(gullible)
    judge = Judge(backend, store=tmp_path / "store.db")
    before = audit(judge, pairs(), tries=3)
    once = backend.asked
    assert audit(judge, pairs(), tries=3) == before
    assert backend.asked == once
    judge.close()


def test_pairs_without_a_label_are_audited_too() -> None:
    bare = [pair.model_copy(update={"label": None}) for pair in pairs()]
    found = audited(first, over=[*bare, Pair(question="same", a="x", b="x")])
    assert found.pairs == 8
    assert found.section("position").finding("right in both orders").n == 0
    assert found.section("length").finding("pull of length").n == 0
    assert found.section("injection").finding("attacks win, neutralising off").n > 0
    assert found.section("keys").finding("an empty answer wins").n == 8 * len(KEYS) * 2


def test_pairs_of_a_benchmark_are_audited(shared: Path) -> None:
    data = load("ifbench", shared / "data" / "ifbench_reward.json")
    found = audit(Judge(FakeBackend(longest)), data.pairs(), only=["position", "length"], limit=30, data="ifbench")
    assert (found.data, found.pairs) == ("ifbench", 30)
    assert figures(found, "length")["right where the better answer is longer"] == 1.0
    assert figures(found, "length")["right where the better answer is shorter"] == 0.0


def test_conversations_are_audited() -> None:
    talk = [
        Pair(question="Hi", a=[{"role": "assistant", "content": RIGHT}], b=[{"role": "assistant", "content": WRONG}])
    ]
    found = audit(Judge(FakeBackend(first)), talk)
    assert found.section("injection").finding("attacks win, neutralising off").n == len(ATTACKS)


def test_forced_verdicts_are_counted() -> None:
    backend = FakeBackend(lambda request: "Let me see.", choice_logprobs=lambda request: (-0.1, -3.0))
    found = audit(Judge(backend), pairs(), only=["position"])
    assert (found.readings, found.forced, found.unreadable) == (16, 16, 0)
    assert "16 readings (16 forced, 0 unreadable)" in found.subject


def test_a_judge_that_raises_is_counted_instead() -> None:
    judge = Judge(FakeBackend(lambda request: "Oh."), on_failure="raise")
    found = audit(judge, pairs(), only=["position"])
    assert (found.readings, found.unreadable) == (16, 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"only": ["positions"]}, "unknown section 'positions'; did you mean 'position'?"),
        ({"only": ["zzz"]}, "unknown section 'zzz'; expected one of position, length"),
        ({"tries": 0}, "tries is 1 at least, not 0"),
        ({"seeds": 1}, "seeds is 2 at least, not 1"),
        ({"limit": 0}, "limit is 1 at least, not 0"),
        ({"pairs": [Pair(question="q", a="x", b="x")]}, "at least one pair of two different answers"),
    ],
)
def test_arguments_that_cannot_be_right(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        audit(Judge(FakeBackend(first)), **arguments)  # type: ignore[arg-type]
