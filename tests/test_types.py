import pytest
from pydantic import ValidationError

from rmr1_sdk.types import Criterion, Judgment, Message, Pair, Rubric, Verdict

TURNS = (Message(role="user", content="Hi"), Message(role="assistant", content="Hello"))


def test_a_string_answer_is_one_assistant_message() -> None:
    pair = Pair(question="Q", a="same", b=[{"role": "assistant", "content": "same"}])
    assert pair.is_identical
    assert not pair.is_single_turn
    assert pair.turns("A") == pair.turns("B")


def test_text_joins_the_assistant_messages() -> None:
    pair = Pair(question="Q", a=[*TURNS, {"role": "assistant", "content": "Bye"}], b="x")
    assert pair.text("A") == "Hello\nBye"


def test_one_user_turn_as_a_list_is_single_turn() -> None:
    assert Pair(question=[{"role": "user", "content": "Q"}], a="1", b="2").is_single_turn
    assert not Pair(question=[*TURNS, {"role": "user", "content": "Q"}], a="1", b="2").is_single_turn


def test_swapping_turns_the_label() -> None:
    assert Pair(question="Q", a="1", b="2", label="A").swapped() == Pair(question="Q", a="2", b="1", label="B")
    assert Pair(question="Q", a="1", b="2", label="tie").swapped().label == "tie"


def test_an_empty_conversation_is_refused_but_an_empty_answer_is_not() -> None:
    assert Pair(question="Q", a="", b="x").text("A") == ""
    with pytest.raises(ValidationError, match="a is an empty conversation"):
        Pair(question="Q", a=[], b="x")


def test_weights_are_fractions_or_absent() -> None:
    Rubric(criteria=(Criterion(name="x", weight=0.4), Criterion(name="y", weight=0.6)))
    with pytest.raises(ValidationError, match="sum to 1"):
        Rubric(criteria=(Criterion(name="x", weight=40.0), Criterion(name="y", weight=60.0)))
    with pytest.raises(ValidationError, match="every criterion"):
        Rubric(criteria=(Criterion(name="x", weight=1.0), Criterion(name="y")))


def test_values_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Pair(question="Q", a="1", b="2").a = "3"


def test_explain_says_where_the_sides_are_exchanged() -> None:
    judgment = Judgment(
        winner="A",
        p_a=0.8,
        verdicts=(
            Verdict(winner="A", shown="BA", evaluation="B is right."),
            Verdict(winner="A", shown="AB", evaluation="A is right."),
        ),
    )
    text = judgment.explain()
    assert (
        text.index("A is right.") < text.index("shown in the other order: its A is your B") < text.index("B is right.")
    )
    assert text.startswith("A is better (probability of A 0.80)")
    assert Judgment.model_validate_json(judgment.model_dump_json()) == judgment
