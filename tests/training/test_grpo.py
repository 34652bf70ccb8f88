"""What of the GRPO stage needs no trainer: when a run stops, what a plan allows, and the rewards of a trace's parts."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.prompts import REASONING
from rmr1_sdk.statistics.intervals import Share
from rmr1_sdk.training import domain
from rmr1_sdk.training.data.held_out import HeldOut
from rmr1_sdk.training.learn.grpo import GrpoPlan, _Rewards, collapse, grpo, learning_rate
from rmr1_sdk.training.learn.trace_rewards import PARTS, Part, trace_reward
from rmr1_sdk.training.learn.trainers import leave
from rmr1_sdk.types import Completion, Judgment, Pair, Verdict

NO = Share(share=0, low=0, high=0, of=1)


def tried(readable: float, accuracy: float) -> HeldOut:
    shares = {"readable": readable, "accuracy": accuracy}
    figures = {name: Share(share=share, low=0, high=1, of=100) for name, share in shares.items()}
    return HeldOut(both_right=NO, first=None, consistent=None, quotes_found=None, **figures)


@pytest.mark.parametrize(
    ("readable", "accuracy", "says"),
    [
        pytest.param([1, 0.5], [0.8, 0.4], None, id="once is not twice"),
        pytest.param([1, 0.5, 1, 0.5], [0.8] * 4, None, id="it recovers"),
        pytest.param([1, 0.91, 0.91], [0.8, 0.71, 0.71], None, id="within the margin"),
        pytest.param([1, 0.89, 0.5], [0.8] * 3, "readable was 100.0% at first, and then 89.0% and 50.0%", id="unread"),
        pytest.param(
            [1] * 4, [0.8, 0.9, 0.6, 0.69], "accuracy was 80.0% at first, and then 60.0% and 69.0%", id="wrong"
        ),
        pytest.param([1, 0.5, 1], [0.8, 0.8, 0.5], None, id="not the same share twice"),
    ],
)
def test_a_run_collapses_where_a_share_falls_twice(readable: list[float], accuracy: list[float], says: Any) -> None:
    evaluations = [tried(*each) for each in zip(readable, accuracy, strict=True)]
    assert collapse(evaluations, 0.1) == says
    assert collapse(evaluations, 1) is None


@pytest.mark.parametrize(
    ("billions", "family", "rate"),
    [(0.1, "cor", 1e-6), (7.6, "cor", 1e-6), (14.8, "cor", 7e-7), (32.8, "cor", 5e-7), (7.6, "reasoning", 1e-6),
     (14.8, "reasoning", 1e-6), (32.8, "reasoning", 8e-7)],
)  # fmt: skip
def test_rates_are_those_of_rm_r1(billions: float, family: Any, rate: float) -> None:
    assert learning_rate(int(billions * 1e9), family, adapters=False) == rate
    assert learning_rate(int(billions * 1e9), family, adapters=True) == pytest.approx(10 * rate)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"rollout_size": 100}, "rollout_size 100 is no multiple of batch_size 128"),
        ({"canary": Path("canary.jsonl")}, "a canary needs held_out too"),
        ({"reward": {"length": 1}}, "'quotes', 'cited', 'rubric' or 'solution'"),
        ({"group": 1}, "greater than or equal to 2"),
    ],
)
def test_plans_that_cannot_be_carried_out(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        GrpoPlan(model="m", pool=Path("pool.jsonl"), **given)


def test_what_trainers_keep_to_go_on_is_not_left(tmp_path: Path) -> None:
    """Of DeepSpeed and of FSDP too, which keep whole folders."""
    last = tmp_path / "checkpoints" / "checkpoint-8"
    kept = ["model.safetensors", "config.json", "tokenizer.json"]
    for name in [
        *kept,
        "optimizer.pt",
        "optimizer.bin",
        "pytorch_model_fsdp.bin",
        "latest",
        "zero_to_fp32.py",
        "whole",
    ]:
        last.mkdir(parents=True, exist_ok=True)
        (last / name).touch()
    for name in ["global_step8", "optimizer_0", "pytorch_model_fsdp_0"]:
        (last / name).mkdir()
    leave(tmp_path, 8, "cor", "m", lora=False)
    assert sorted(file.name for file in (tmp_path / "checkpoint").iterdir()) == sorted([*kept, "rmr1.json"])


def test_adapters_are_no_model_to_begin_with(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds adapters: merge them"):
        grpo(GrpoPlan(model=str(tmp_path), pool=tmp_path / "pool.jsonl"), tmp_path / "out")


class Letters:
    """A tokenizer of one token a character."""

    eos_token_id = 0

    def batch_decode(self, rows: list[list[int]], **_: Any) -> list[str]:
        return ["".join(chr(token) for token in row if token) for row in rows]


@pytest.mark.parametrize(
    ("text", "stop"),
    [
        ("Hm.</think><answer>[[A]]</answer>", "stop"),
        ("<answer>[[B]]</answer>?</think><answer>[[A]]</answer>", "stop"),
        ("Hm. <answer>[[A]]</answer>", "stop"),
        ("Hm. <answer>[[A]]</answer>", "length"),
        ("Hm.</think><answer>[[A]]</answer>", "length"),
        ("Hm. <think>So</think> <answer>[[A]]</answer>", "stop"),
    ],
)
def test_rewards_read_a_thought_that_the_template_begins_as_a_judge_does(text: str, stop: Any) -> None:
    tokens = [*map(ord, text), *([0] if stop == "stop" else [])]
    plan = GrpoPlan(model="m", pool=Path("x"), rule="robust", reward={"cited": 1}, max_completion_tokens=len(tokens))
    verdict, _ = _Rewards(plan, [SUM], Letters(), "<think>").functions
    judge = REASONING.read(Completion(text=text, stop=stop), SUM)
    assert verdict(completion_ids=[tokens], row=[0]) == [1.0 if judge.winner == "A" else -1.0]


# --- parts of a trace ------------------------------------------------------------------------------

SUM = Pair(question="What is 1,000 + 24?", a="It is 1024.", b="I make that 1025.", label="A", reference="so 1,024")
RUBRIC = "<type>Chat</type>\n<rubric>\n1. Count (40%): words\n2. With ({}%): fox\n</rubric>\n"
FRACTIONS = "<type>Chat</type><rubric>\n1. Count (weight: 0.4)\n2. With (weight: 0.6)\n</rubric>"
SOLVED = "<type>Reasoning</type><solution>1,000 + 24 = {}</solution>"


@pytest.mark.parametrize(
    ("part", "text", "reward"),
    [
        pytest.param("quotes", "<quote_A>It is 1024</quote_A><quote_B>that 1025</quote_B>", 1, id="both found"),
        pytest.param("quotes", "<quote_A>It is 1024</quote_A><quote_B>It is 1024</quote_B>", 0.5, id="the other's"),
        pytest.param("quotes", "<quote_A>It is 99</quote_A>", 0, id="made up"),
        pytest.param("quotes", "<summary_A>It is 1024</summary_A>", 0, id="none"),
        pytest.param("cited", "<quote_A>x</quote_A><summary_B>y</summary_B>", 1, id="both cited"),
        pytest.param("cited", "<quote_A>x</quote_A><summary_A>y</summary_A>", 0, id="one side"),
        pytest.param("cited", "<think><quote_A>x</quote_A><quote_B>y</quote_B></think>", 0, id="in thought"),
        pytest.param("rubric", RUBRIC.format(60), 1, id="100"),
        pytest.param("rubric", FRACTIONS, 1, id="fractions"),
        pytest.param("rubric", RUBRIC.format(50), 0, id="90"),
        pytest.param("rubric", "<type>Chat</type><rubric>\n1. Count\n2. With (60%)\n</rubric>", 0, id="no weight"),
        pytest.param("rubric", "<type>Chat</type>", 0, id="no rubric"),
        pytest.param("rubric", "<type>Reasoning</type>", 1, id="none wanted"),
        pytest.param("rubric", RUBRIC.format(50).replace("Chat", "Reasoning"), 0, id="not wanted, and 90"),
        pytest.param("solution", SOLVED.format("1024"), 1, id="right"),
        pytest.param("solution", SOLVED.format("1,024.0 in all"), 1, id="right in other words"),
        pytest.param("solution", SOLVED.format("1025"), 0, id="wrong"),
        pytest.param("solution", "<think>It is 1024, I think.</think>", 1, id="thought"),
        pytest.param("solution", "It is 1024.", 0, id="no solution"),
    ],
)  # fmt: skip
def test_parts_of_a_trace(part: Part, text: str, reward: float) -> None:
    assert trace_reward(part, text, SUM) == reward


@pytest.mark.parametrize(
    ("reference", "work", "reward"),
    [("Ann", "after Bob Ann.", 1), ("Ann.", "Ann, or Bob", 0), ("...", "...", 0), (None, "Ann", None)],
)
def test_solutions_without_numbers_end_in_the_words_of_the_reference(reference: Any, work: str, reward: Any) -> None:
    pair = SUM.model_copy(update={"reference": reference})
    assert trace_reward("solution", f"<type>Reasoning</type><solution>{work}</solution>", pair) == reward


@pytest.mark.parametrize("family", ["cor", "reasoning"])
def test_the_tiny_teacher_gets_full_marks_whatever_its_verdict(family: Any) -> None:
    parts = [part for part in PARTS if family == "cor" or part != "rubric"]
    for pair in domain.generate(8):
        text = domain.trace(pair, family).replace("[[A]]", "[[B]]")
        assert [trace_reward(part, text, pair) for part in parts] == [1.0] * len(parts)


def test_in_the_tiny_domain_the_work_counts_and_an_empty_rubric_is_none() -> None:
    pair = next(domain.generate(1))
    assert trace_reward("solution", domain.trace(pair).replace(" = ", " = 1"), pair) == 0
    assert trace_reward("solution", "<type>Chat</type><rubric></rubric>", pair) == 0


def test_held_out_pairs_tell_whether_orders_agree_and_quotes_are_there() -> None:
    def judgment(ab: Any, ba: Any, *found: bool | None) -> Judgment:
        cited = [{"side": "A", "kind": "quote", "text": "x", "found": each} for each in found]
        summed = [{"side": "A", "kind": "summary", "text": "x", "found": None}]
        return Judgment.model_validate(
            {
                "winner": None,
                "verdicts": [
                    Verdict.model_validate({"winner": ab, "shown": "AB", "citations": cited}),
                    Verdict.model_validate({"winner": ba, "shown": "BA", "citations": summed}),
                ],
            }
        )

    pairs = [SUM] * 4
    asked = [judgment("A", "A", True, False), judgment("A", "B"), judgment(None, "A", True, None), judgment("B", "B")]
    told = HeldOut.of(pairs, asked)
    assert told.consistent
    assert (round(told.consistent.share, 3), told.consistent.of) == (0.667, 3)
    assert told.quotes_found
    assert (round(told.quotes_found.share, 3), told.quotes_found.of) == (0.667, 3)
    assert HeldOut.of(pairs[:1], [judgment(None, None)]).consistent is None
