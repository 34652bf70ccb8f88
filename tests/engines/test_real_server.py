"""A real OpenAI-compatible server with a real model: `python -m llama_cpp.server`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rmr1_sdk.backends.conformance import check
from rmr1_sdk.backends.openai import OpenAI
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.types import Completion, Message, Request, Sampling
from tests.engines.process import Served, outlive

pytest.importorskip("starlette_context", reason="needs llama-cpp-python[server]; `make test-engines` installs it")

HELLO = Request(messages=(Message(role="user", content="Say hello."),), sampling=Sampling(max_tokens=12))


@pytest.fixture(scope="module")
def server(gguf: Path) -> Iterator[Served]:
    def command(port: int) -> list[str]:
        options = ["--model", str(gguf), "--port", str(port), "--n_ctx", "2048", "--verbose", "false"]
        return [sys.executable, "-W", "ignore", "-m", "llama_cpp.server", *options]

    with Served(command) as server:
        yield server


@pytest.fixture
def engine(server: Served) -> Iterator[OpenAI]:
    backend = OpenAI("smollm2", base_url=server.url)
    yield backend
    wait(submit(backend.aclose()))


def ask(engine: OpenAI, request: Request) -> Completion:
    return wait(submit(engine.generate(request)))


def test_a_real_answer(engine: OpenAI) -> None:
    completion = ask(engine, HELLO)
    assert completion.text
    assert completion.usage.prompt_tokens > 5
    assert completion.usage.completion_tokens > 0
    cut = ask(engine, HELLO.model_copy(update={"sampling": Sampling(max_tokens=2)}))
    assert (cut.stop, cut.usage.completion_tokens) == ("length", 2)
    assert completion.text.startswith(cut.text)


def test_seeds_reach_the_model(engine: OpenAI) -> None:
    def drawn(seed: int) -> str:
        sampling = Sampling(max_tokens=12, temperature=1.5, seed=seed)
        return ask(engine, HELLO.model_copy(update={"sampling": sampling})).text

    assert len({drawn(seed) for seed in range(4)}) > 1


def test_a_prompt_longer_than_the_context_is_refused(engine: OpenAI) -> None:
    long = HELLO.model_copy(update={"messages": (Message(role="user", content="word " * 30_000),)})
    assert ask(engine, long).stop == "too_long"


def test_this_server_begins_a_new_turn_and_that_is_found_out(engine: OpenAI) -> None:
    chosen = HELLO.model_copy(update={"prefix": "<answer>[[", "choices": ("A]]", "B]]")})
    assert ask(engine, chosen).choice_logprobs is None


def test_it_conforms_but_for_what_the_server_cannot_do(engine: OpenAI) -> None:
    results = {result.name: result.outcome for result in wait(submit(check(engine)))}
    left_out = [name for name, outcome in results.items() if outcome == "left out"]
    assert set(results.values()) == {"ok", "left out"}, results
    assert left_out == [
        "goes on with a turn",
        "choices are probabilities, in any order",
        "stop strings do not stop its thoughts",
    ]


def test_a_run_outlives_its_server(server: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outlive(server, tmp_path / "s.db", caplog)
