"""What supervised fine-tuning decides before a model is there: labels, rates, figures."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import Completion, ConfigError, DataError, FakeBackend, Judge, Pair, Request
from rmr1_sdk.training.data.held_out import HeldOut, read_held_out
from rmr1_sdk.training.domain import generate, trace
from rmr1_sdk.training.learn.sft import SftPlan, example, learning_rate, sft
from rmr1_sdk.training.stage import Trace

PAIR = next(iter(generate(1)))
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


class Characters:
    """A tokenizer of one token a character, and one for each word of `merged`."""

    bos_token = None
    eos_token = "$"
    eos_token_id = 0

    def __init__(self, template: str = TEMPLATE, *merged: str) -> None:
        self.chat_template = template
        self._token = re.compile("|".join([*map(re.escape, merged), "."]), re.DOTALL)
        self._names: list[str] = ["$"]

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        found = list(self._token.finditer(text))
        self._names += sorted({match.group() for match in found} - set(self._names))
        return {
            "input_ids": [self._names.index(match.group()) for match in found],
            "offset_mapping": [match.span() for match in found],
        }

    def encode(self, text: str, **_: Any) -> list[int]:
        return list(self(text)["input_ids"])

    def decode(self, tokens: list[int]) -> str:
        return "".join(self._names[token] for token in tokens)


def made(text: str, family: str = "cor") -> Trace:
    values = {"pair": PAIR, "text": text, "family": family, "prompt": family, "teacher": 1, "model": "tiny"}
    return Trace.model_validate(values)


@pytest.mark.parametrize("family", ["cor", "reasoning"])
def test_the_labels_are_what_the_judge_writes_and_the_end_of_its_turn(family: Any) -> None:
    text = trace(PAIR, family)
    tokenizer = Characters()
    tokens = example(made(f"{text}\n", family), tokenizer)
    read = [token for token, label in zip(tokens.input_ids, tokens.labels, strict=True) if label == -100]
    assert tokenizer.decode(read).endswith("\nassistant:")
    assert "[Client Question]" in tokenizer.decode(read)
    assert tokens.labels[: len(read)] == [-100] * len(read)
    assert tokens.input_ids[len(read) :] == tokens.labels[len(read) :]
    assert tokenizer.decode(tokens.labels[len(read) :]) == f"{text}$"
    verdict = [token for token, inside in zip(tokens.input_ids, tokens.verdict, strict=True) if inside]
    assert tokenizer.decode(verdict) == f"<answer>[[{PAIR.label}]]</answer>"


def test_a_thought_that_the_template_opens_is_not_opened_again() -> None:
    tokenizer = Characters(TEMPLATE + r"{{ '<think>\n' }}")
    tokens = example(made("<think>\nHm.</think>\n<answer>[[A]]</answer>", "reasoning"), tokenizer)
    assert tokenizer.decode(tokens.input_ids).endswith("assistant:<think>\nHm.</think>\n<answer>[[A]]</answer>$")


def test_a_trace_must_end_the_thought_that_the_template_opens() -> None:
    """Else the judge learned to think on, with its verdict inside, which nobody reads."""
    with pytest.raises(DataError, match="the trace of pair tiny/0/0 does not end the thought"):
        example(made("<eval>Hm.</eval>\n<answer>[[A]]</answer>"), Characters(TEMPLATE + r"{{ '<think>\n' }}"))


def test_the_prompt_has_the_tokens_that_it_has_when_the_judge_is_asked() -> None:
    """Over the border ":" and "<" are one token, in the prompt alone they cannot be."""
    text = "<eval>Hm.</eval><answer>[[B]]</answer>"
    tokenizer = Characters(TEMPLATE, ":<")
    tokens = example(made(text), tokenizer)
    written = [label for label in tokens.labels if label != -100]
    assert tokenizer.decode(written) == f"{text}$"
    assert tokenizer.decode(tokens.input_ids[-len(written) - 1 : -len(written)]) == ":"
    assert sum(tokens.verdict) == len("<answer>[[B]]</answer>")


def test_a_token_that_begins_before_the_verdict_belongs_to_it() -> None:
    tokens = example(made("<eval>Hm.</eval>\n<answer>[[B]]</answer>"), Characters(TEMPLATE, "\n<"))
    assert sum(tokens.verdict) == len("<answer>[[B]]</answer>")


@pytest.mark.parametrize("text", ["Hm.", "<answer>[[A]]</answer> or so", "I would say </answer>"])
def test_a_trace_must_end_in_its_verdict(text: str) -> None:
    with pytest.raises(DataError, match="the trace of pair tiny/0/0 does not end in its verdict"):
        example(made(text), Characters())


@pytest.mark.parametrize(
    ("billions", "adapters", "rate"),
    [(0.1, False, 5e-6), (7.6, False, 5e-6), (14.8, False, 3e-6), (32.8, False, 2e-6), (7.6, True, 5e-5)],
)
def test_the_learning_rate_is_that_of_the_paper(billions: float, adapters: bool, rate: float) -> None:
    assert learning_rate(int(billions * 1e9), adapters=adapters) == pytest.approx(rate)


def test_traces_to_several_prompts_are_refused(tmp_path: Path) -> None:
    traces = tmp_path / "traces.jsonl"
    traces.write_text("".join(made(trace(PAIR), family).model_dump_json() + "\n" for family in ("cor", "reasoning")))
    plan = SftPlan(model="none/there", traces=traces)
    with pytest.raises(DataError, match=r"traces\.jsonl: traces to one prompt are wanted, and these are to cor, reaso"):
        sft(plan, tmp_path / "out")
    traces.write_text("")
    with pytest.raises(ConfigError, match=r"was made with something else \(what is in"):
        sft(plan, tmp_path / "out")
    with pytest.raises(DataError, match="these are to none"):
        sft(plan, tmp_path / "another")


def test_figures_of_held_out_pairs() -> None:
    """Of four pairs, read in both orders: right twice, right once and cut once, always the first, wrong twice."""
    named = {"sure": "AB", "half": "A-", "first": "AA", "wrong": "BA"}  # where the right answer is shown first, and not

    def reply(request: Request) -> str | Completion:
        text = request.messages[-1].content
        pick = named[text.split("\n")[1]][text.index("right") > text.index("bad")]
        return Completion(text="Hm.", stop="length") if pick == "-" else f"<answer>[[{pick}]]</answer>"

    pairs = [Pair(question=name, a="right", b="bad", label="A") for name in named]
    pairs = [pair.swapped() if number % 2 else pair for number, pair in enumerate(pairs)]
    with Judge(FakeBackend(reply), force_verdict=False, ask_again=False) as judge:
        figures = HeldOut.of(pairs, list(judge.compare_many(pairs)))
    assert (figures.accuracy.share, figures.accuracy.of) == (4 / 8, 4)
    assert (figures.both_right.share, figures.both_right.of) == (1 / 4, 4)
    assert (figures.readable.share, figures.readable.of) == (7 / 8, 8)
    assert figures.first
    assert (figures.first.share, figures.first.of) == (5 / 7, 7)
    assert figures.cut
    assert (figures.cut.share, figures.cut.of) == (1 / 8, 8)
    assert str(figures).startswith("accuracy 50.0% [15.0%, 85.0%] of 4, both orders 25.0%")


def test_held_out_pairs_have_a_better_answer(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(PAIR.model_dump_json() + "\n" + json.dumps({"question": "?", "a": "1", "b": "2", "label": "tie"}))
    with pytest.raises(DataError, match=r"pairs\.jsonl: pair 2 has no better answer; label pairs A or B"):
        read_held_out(path)
    path.write_text("no\n")
    with pytest.raises(DataError, match=r"pairs\.jsonl:1: "):
        read_held_out(path)
    path.write_text("\n")
    with pytest.raises(DataError, match="no pairs in this file"):
        read_held_out(path)
