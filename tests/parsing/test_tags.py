"""Questions about tags and thoughts, in texts that models write."""

from collections.abc import Callable

import pytest

from rmr1_sdk.parsing import tags
from rmr1_sdk.parsing.verdict import is_closed

A = "<answer>[[A]]</answer>"


@pytest.mark.parametrize(
    ("asks", "text", "answer"),
    [
        (tags.writes_thoughts, "{{ '<think>' }}", True),
        (tags.writes_thoughts, None, False),
        (tags.opens_thought, "<|assistant|><think>\n", "<think>"),
        (tags.opens_thought, "<|assistant|><think>\n\n</think>", ""),
        (tags.is_in_thought, "<think>a</think>b<think>c", True),
        (tags.is_in_thought, "<think>a</think>b", False),
        (tags.ends_thought, "a</think>b", True),
        (tags.without_open_thought, "  <think>\na</think>b", "a</think>b"),
        (tags.without_open_thought, "a <think>b", "a <think>b"),
        (tags.without_thought, f"<think>a</think>\n{A}\n", A),
        (tags.final_verdict_start, f"x {A}", 2),
        (tags.final_verdict_start, f"{A} x", None),
        (tags.final_verdict_start, "none </answer>", None),
        (is_closed, f"<eval>a</eval>\n{A}", True),
        (is_closed, f"<eval>a\n{A}", False),
    ],
)
def test_a_question_has_one_answer(asks: Callable[[str | None], object], text: str | None, answer: object) -> None:
    assert asks(text) == answer


@pytest.mark.parametrize(
    ("text", "thinking", "whole"),
    [
        ("a</think>b", None, "<think>\na</think>b"),  # the chat template had opened it
        ("<think>a</think>b", None, "<think>a</think>b"),
        ("b", "a", "<think>\na\n</think>\n\nb"),  # it was delivered apart
        ("b", None, "b"),
    ],
)
def test_a_text_is_completed_with_its_thought(text: str, thinking: str | None, whole: str) -> None:
    assert tags.with_thought(text, thinking) == whole


def test_a_text_ends_in_its_verdict_or_not() -> None:
    assert tags.ends_in_verdict(f"x {A}\n", "A")
    assert not tags.ends_in_verdict(f"x {A}\n", "B")
    assert not tags.ends_in_verdict("<answer>A</answer>", "A")


def test_models_that_think_have_no_stop_strings() -> None:
    assert tags.safe_stops(thinks=True) == ()
    assert tags.safe_stops(thinks=False) == ("</answer>",)
