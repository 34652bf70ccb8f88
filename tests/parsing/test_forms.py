"""Verdicts, rubrics and marks in the many forms that models write them in."""

from typing import get_args

import pytest

from rmr1_sdk import Rubric, read
from rmr1_sdk.parsing import Mode, read_marks, verdict_prefix
from rmr1_sdk.types import Criterion

UNWEIGHTED = [("Truth", None, "so"), ("Tone", None, "kind")]
E = "<eval>B is wrong.</eval>\n"


@pytest.mark.parametrize(
    ("text", "winner"),
    [
        (E + "<answer>\u00a0[[A]]\u2003</answer>", "A"),
        (E + "<answer>[[A]]!</answer>", "A"),
        (E + "<answer>[[B]],\n</answer> Thank you.", "B"),
        (E + "<answer>\u200b[[A]]\ufeff</answer>\u200b", "A"),
        (E + "<answer>［［Ａ］］</answer>", "A"),
        (E + "<answer>「B」。</answer>", "B"),
        (E + "<answer>Chatbot A.</answer>", "A"),
        (E + "<answer>[[A]]", "A"),
        (E + "<answer>[[B]]\n\n", "B"),
        ("<eval>B is wrong. <answer>[[A]]</answer></eval>", "A"),
        ("<type>Chat</type><eval>B is wrong.\n<answer>[[A]]</answer>\n</eval>\n", "A"),
        ("<answer>[[B]]</answer>\n<eval>A is wrong about the date.</eval>", "B"),
        ("<type>Chat</type>\n<answer>[[B]]</answer>\n\n<eval>A is wrong.</eval>", "B"),
        ("<think>A? <answer>[[B]]</answer></think>\n<eval>x <answer>[[A]]</answer></eval>", "A"),
    ],
)
def test_a_verdict_that_is_there_is_read(text: str, winner: str) -> None:
    verdict = read(text)
    assert (verdict.winner, verdict.failure) == (winner, None)
    prefix = verdict_prefix(text)
    assert prefix
    assert prefix.rstrip("［[").endswith(("<answer>", "<answer>\u00a0", "<answer>\u200b"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (E + "<answer>[[A]] or [[B]]</answer>", "bad_answer"),
        (E + "<answer>A and B</answer>", "bad_answer"),
        (E + "<answer>A", "no_answer"),
        (E + "<answer>[[A]] is what I would say if", "no_answer"),
        (E + "<answer>[[A]][[B]]", "no_answer"),
        ("<eval>I could say <answer>[[A]]</answer>, but then</eval>", "no_answer"),
        ("I must end in <answer>[[A]]</answer> or so.\n<eval>Both are fine.</eval>", "no_answer"),
        ("<rubric>1. Form: <answer>[[A]]</answer></rubric>\n<eval>x</eval>", "no_answer"),
        ("<solution>so <answer>[[A]]</answer></solution>\n<eval>x</eval>", "no_answer"),
        (
            "<answer>[[B]]</answer>\n<eval>A is wrong.</eval>\n<answer>[[A]]</answer>\n<eval>x</eval>",
            "conflicting_answers",
        ),
        ("<answer>[[B]]</answer>\n<eval>x <answer>[[A]]</answer></eval>", "conflicting_answers"),
        ("<think>so <answer>[[A]]</answer>", "unclosed_thinking"),
        ("<think>so <answer>[[A]]</answer></think>", "no_answer"),
    ],
)
def test_what_is_talked_about_is_no_verdict(text: str, kind: str) -> None:
    failure = read(text).failure
    assert failure
    assert failure.kind == kind


def test_the_modes_of_published_numbers_read_the_literal_tag_alone() -> None:
    text = E + "<answer>［［Ａ］］</answer>"
    assert {mode: read(text, mode=mode).winner for mode in get_args(Mode)} == {
        "robust": "A", "rmr1_reward": None, "rmr1_eval": None, "rewardbench": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "criteria"),
    [
        ("1、准确（40%）：对吗\n2、完整（60%）：全吗", [("准确", 0.4, "对吗"), ("完整", 0.6, "全吗")]),
        ("１．准确（４０％）：对吗\n２．完整（６０％）：全吗", [("准确", 0.4, "对吗"), ("完整", 0.6, "全吗")]),
        ("1. Justesse (33,3 %) : vrai\n2. Ton (66,7 %) : doux", [("Justesse", 0.333, "vrai"), ("Ton", 0.667, "doux")]),
        ("- Truth (0,25): so\n- Tone (0,75): kind", [("Truth", 0.25, "so"), ("Tone", 0.75, "kind")]),
        ("- Truth (1/3): so\n- Tone (2/3): kind", [("Truth", 1 / 3, "so"), ("Tone", 2 / 3, "kind")]),
        ("**1. Truth (40%)**: so\n**2. Tone (60%)**: kind", [("Truth", 0.4, "so"), ("Tone", 0.6, "kind")]),
        ("1. **Truth (40%)**: so\n2. **Tone** (60%): kind", [("Truth", 0.4, "so"), ("Tone", 0.6, "kind")]),
        ("### 1. Truth (40%)\nso\n### 2. Tone (60%)\nkind", [("Truth", 0.4, "so"), ("Tone", 0.6, "kind")]),
        (
            "| Criterion | Weight | Why |\n|:--|--:|---|\n| **Truth** | 40% | so |\n| Tone | 60 | kind |",
            [("Truth", 0.4, "so"), ("Tone", 0.6, "kind")],
        ),
        (
            "| # | Name | Why |\n|---|---|---|\n| 1 | Truth | so |\n| 2 | Tone | kind |",
            [("Truth", None, "so"), ("Tone", None, "kind")],
        ),
        ("| Truth | so |\n| Tone | kind |", UNWEIGHTED),
    ],
)
def test_rubrics_of_every_look_have_names_weights_and_descriptions(
    lines: str, criteria: list[tuple[str, float | None, str]]
) -> None:
    rubric = read(f"<rubric>\n{lines}\n</rubric>\n{E}<answer>[[A]]</answer>").rubric
    assert rubric
    found = [(c.name, c.weight, c.description) for c in rubric.criteria]
    assert found == [
        (name, weight if weight is None else pytest.approx(weight, abs=1e-3), why) for name, weight, why in criteria
    ]


@pytest.mark.parametrize(
    ("said", "points"),
    [
        ("4", 4.0), ("Score: 4", 4.0), ("Score: 4/5", 4.0), ("4/5 (good)", 4.0), ("4/5!", 4.0), ("4分", 4.0),
        ("得4分", 4.0), ("４", 4.0), ("\\boxed{4}", 4.0), ("$\\boxed{3}$", 3.0), ("**4.5** out of 5", 4.5),
        ("3,5", 3.5), ("4 points", 4.0), ("5 of 5", 5.0), ("4 or 5", None), ("4-5", None), ("14", None),
        ("-4", None), ("4/10", None), ("0", None), ("6", None), ("four", None), ("", None), ("1.2.3", None),
        ("4 (not 3)", None), ("/5", None),
    ],
)  # fmt: skip
def test_a_mark_is_the_one_number_that_is_there(said: str, points: float | None) -> None:
    rubric = Rubric(criteria=(Criterion(name="Truth"),))
    (mark,) = read_marks(f"It is right. <points_1>{said}</points_1>", rubric, answer="51")
    assert mark.points == points
    assert (mark.failure is None) == (points is not None)
