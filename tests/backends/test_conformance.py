"""The conformance checks: a real engine passes them, and each fails an engine that does what it forbids."""

import asyncio
import json
from collections.abc import Callable
from math import inf, log
from pathlib import Path

import pytest

from rmr1_sdk.backends import Capabilities
from rmr1_sdk.backends.conformance import CHECKS, check, likeness
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.types import Completion, Request, Usage
from tests import processes

TEXT = "one two three four five six seven eight nine ten eleven twelve"


class Model:
    """An engine that does everything right, in a few lines; the tests break one thing at a time."""

    model = identity = "model"
    capabilities = Capabilities(choices=True, prefix=True, seed=True)
    cuts_prompts = shuffles = ignores_seeds = loses_stops = never_cut = stops_in_thought = False
    even_choices = endless = deaf_to_choices = False

    async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        await asyncio.sleep(0)
        words = request.messages[-1].content.split()
        read = min(len(words), 100) if self.cuts_prompts else len(words) + 5
        if self.shuffles:
            read += id(asyncio.current_task()) % 7919
        if len(words) > 8_000 and not self.cuts_prompts:
            return Completion(text="", stop="too_long")
        if request.choices:
            return self._choose(request, read)
        return self._write(request, read, on_text)

    def _choose(self, request: Request, read: int) -> Completion:
        if self.deaf_to_choices:
            return Completion(text="")
        own = [
            0.4 if choice.strip() and (choice.strip() in TEXT or "A" in choice) else 0.1 for choice in request.choices
        ]
        scores = [log(0.4) if self.even_choices else log(p) for p in own]
        return Completion(text="", choice_logprobs=tuple(scores), usage=Usage(prompt_tokens=read))

    def _write(self, request: Request, read: int, on_text: Callable[[str], None] | None) -> Completion:
        sampling = request.sampling
        seed = 0 if self.ignores_seeds else sampling.seed or 0
        words = TEXT.split()[seed % 5 :][: sampling.max_tokens]
        text, stop = " ".join(words), "length" if sampling.max_tokens < 12 else "stop"
        thinks = "<think>" in request.prefix and not self.stops_in_thought
        for end in sampling.stop:
            if end in text and not thinks:
                text, stop = text.partition(end)[0] + ("" if self.loses_stops else end), "stop"
        if on_text:
            on_text(text)
        usage = Usage(prompt_tokens=read, completion_tokens=len(words))
        return Completion.model_validate(
            {"text": text, "stop": "stop" if self.never_cut else stop, "usage": usage, "latency_s": 0.1}
        )

    async def aclose(self) -> None:
        pass


def outcomes(backend: object) -> dict[str, str]:
    return {result.name: result.outcome for result in wait(submit(check(backend)))}  # type: ignore[arg-type]


def test_an_engine_that_does_everything_right_passes() -> None:
    assert outcomes(Model()) == dict.fromkeys(CHECKS, "ok")


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("cuts_prompts", "a prompt of 30,000 words is refused or read whole"),
        ("shuffles", "keeps answers with their requests"),
        ("ignores_seeds", "the seed decides"),
        ("loses_stops", "stop strings end the text and belong to it"),
        ("never_cut", "says when a text was cut short"),
        ("stops_in_thought", "stop strings do not stop its thoughts"),
        ("even_choices", "goes on with a turn"),
    ],
)
def test_each_fault_is_found(fault: str, name: str) -> None:
    backend = type("Faulty", (Model,), {fault: True})()
    assert outcomes(backend)[name] == "failed"


def test_choices_must_be_probabilities() -> None:
    class TooLikely(Model):
        def _choose(self, request: Request, read: int) -> Completion:
            return Completion(text="", choice_logprobs=tuple(-0.1 - 0.1 * n for n in range(len(request.choices))))

    class Impossible(Model):
        def _choose(self, request: Request, read: int) -> Completion:
            return Completion(text="", choice_logprobs=tuple(-inf for _ in request.choices))

    name = "choices are probabilities, in any order"
    assert outcomes(TooLikely())[name] == "failed"
    assert outcomes(Impossible())["goes on with a turn"] == "failed"


def test_what_an_engine_cannot_do_is_left_out() -> None:
    class Plain(Model):
        capabilities = Capabilities()

    class Deaf(Model):
        deaf_to_choices = True

    left_out = [name for name, outcome in outcomes(Plain()).items() if outcome == "left out"]
    assert len(left_out) == 4
    assert [name for name, outcome in outcomes(Deaf()).items() if outcome == "left out"] == [
        "goes on with a turn", "choices are probabilities, in any order",
    ]  # fmt: skip


def test_an_engine_that_raises_fails() -> None:
    class Broken(Model):
        async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
            raise ValueError("no")

    results = wait(submit(check(Broken())))
    assert {result.outcome for result in results} <= {"failed", "left out"}
    assert results[0].detail == "ValueError: no"


def test_likeness_counts_texts_lengths_and_compares_probabilities() -> None:
    class Other(Model):
        def _write(self, request: Request, read: int, on_text: Callable[[str], None] | None) -> Completion:
            longer = read + 1 if "fruits" in request.messages[-1].content else read
            completion = super()._write(request, longer, on_text)
            return (
                completion if "Hamlet" in request.messages[-1].content else completion.model_copy(update={"text": ""})
            )

    class Silent(Model):
        deaf_to_choices = True

    assert wait(submit(likeness(Model(), Model()))) == (1.0, 1.0, (0.8, 0.8))
    assert wait(submit(likeness(Model(), Other()))) == (1 / 20, 19 / 20, (0.8, 0.8))
    assert wait(submit(likeness(Silent(), Model()))).p_a is None


@pytest.mark.llama_cpp
def test_llama_cpp_conforms(gguf: Path, rmr1: list[str]) -> None:
    command = [*rmr1, "doctor", "--conformance", "llama_cpp:smollm2-135m"]
    said = processes.run(command)
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    assert {row["check"]: row["outcome"] for row in rows} == dict.fromkeys(CHECKS, "ok"), said.stdout
    assert said.returncode == 0
