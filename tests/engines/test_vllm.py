"""vLLM with a real model, in process and as a server: the checkpoint of the transformers tests, on a CPU."""

import asyncio
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from math import exp
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import BackendError, ConfigError, Judge, Pair, connect
from rmr1_sdk.backends import vllm
from rmr1_sdk.backends.conformance import CHECKS, check
from rmr1_sdk.backends.llama_cpp import LlamaCpp
from rmr1_sdk.backends.openai import OpenAI
from rmr1_sdk.backends.transformers import Transformers
from rmr1_sdk.backends.vllm import VLLM
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.errors import MissingExtraError
from rmr1_sdk.prompts import COR
from rmr1_sdk.types import Completion, Message, Request, Sampling
from tests.engines.process import Served, outlive
from tests.processes import LIMIT_S

pytest.importorskip("vllm", reason="needs vLLM; `make test-engines` installs its CPU build")

OPTIONS: dict[str, Any] = {
    "dtype": "float32", "max_model_len": 4096, "gpu_memory_utilization": 0.3, "enforce_eager": True,
}  # fmt: skip
CAPITAL = Request(
    messages=(Message(role="user", content="What is the capital of France?"),),
    prefix="The capital of France is",
    sampling=Sampling(max_tokens=12),
)
STORY = Request(messages=(Message(role="user", content="Tell a long story."),), sampling=Sampling(max_tokens=12))
EITHER = Request(messages=(Message(role="user", content="Write [[A]] or [[B]], as you like."),), prefix="[[")
ENDLESS = STORY.model_copy(update={"sampling": Sampling(max_tokens=3000, temperature=1.0, seed=1)})
CHOICES = (" Paris", " London", " the moon")
RULES = Message(role="system", content="Be fair, be brief, be exact. " * 60)
BLOCK = 128  # tokens: what vLLM's cache on CPUs is divided into


@pytest.fixture(scope="module", autouse=True)
def _settings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patch.setenv("VLLM_NO_USAGE_STATS", "1")  # nothing leaves this machine
        patch.setenv("TORCHDYNAMO_DISABLE", "1")  # compiling takes longer than all that is asked here
        yield


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Iterator[VLLM]:
    backend = VLLM(checkpoint, **OPTIONS)
    yield backend
    wait(submit(backend.aclose()))


def ask(backend: VLLM | Transformers | LlamaCpp | OpenAI, request: Request = CAPITAL, **update: Any) -> Completion:
    return wait(submit(backend.generate(request.model_copy(update=update))))


def probabilities(completion: Completion) -> list[float]:
    assert completion.choice_logprobs is not None
    return [exp(score) for score in completion.choice_logprobs]


def inside(backend: VLLM) -> Any:
    """The AsyncLLM under it."""
    return backend._engine.get().load()._llm


def test_a_real_answer(engine: VLLM) -> None:
    completion = ask(engine)
    assert completion.text.startswith(" Paris")
    assert completion.model == engine.model == "smollm2"
    assert completion.usage.prompt_tokens > completion.usage.completion_tokens > 1


def test_it_conforms(engine: VLLM) -> None:
    assert {result.name: result.outcome for result in wait(submit(check(engine)))} == dict.fromkeys(CHECKS, "ok")


def test_it_reads_the_tokens_that_other_engines_read(engine: VLLM, gguf: Path, checkpoint: Path) -> None:
    """And on the same weights in the same arithmetic tells the same probabilities, within 0.001."""
    llama, transformers = LlamaCpp(gguf, n_ctx=2048), Transformers(checkpoint, device="cpu", dtype="float32")
    context, speech = llama._worker.get().context(), engine._engine.get().load().speech
    pair = Pair(question="What is 2 + 2?", a="It is 4. 🙂", b="It is 5.")
    for request in (CAPITAL, STORY, Request(messages=COR.render(pair), prefix="<answer>[[")):
        text = speech.rendered(request.messages) + request.prefix
        assert speech.tokens(text) == context.tokens(text)
        sides = request.model_copy(update={"choices": COR.choices or ()})
        told = [ask(backend, sides) for backend in (engine, transformers, llama)]
        assert len({completion.usage.prompt_tokens for completion in told}) == 1
        assert probabilities(told[0]) == pytest.approx(probabilities(told[1]), abs=0.001)
        assert probabilities(told[0]) == pytest.approx(probabilities(told[2]), abs=0.05)
        short = request.model_copy(update={"sampling": Sampling(max_tokens=12)})
        assert ask(engine, short).text == ask(transformers, short).text
    for other in (llama, transformers):
        wait(submit(other.aclose()))


def test_choices_find_their_prompt_in_the_cache(engine: VLLM) -> None:
    asked = Request(messages=(RULES, Message(role="user", content="A or B?")), sampling=Sampling(max_tokens=40))
    written = ask(engine, asked)
    chosen = ask(engine, asked, prefix=f"{written.text}<answer>[[", choices=COR.choices)
    assert written.usage.prompt_tokens > 3 * BLOCK
    assert chosen.usage.cached_tokens > written.usage.prompt_tokens - BLOCK
    assert chosen.usage.prompt_tokens > written.usage.total_tokens


def test_choices_that_begin_each_other_or_say_nothing(engine: VLLM) -> None:
    short, long, nothing = probabilities(ask(engine, choices=(" Paris", " Paris.", "")))
    assert short > long > 0.1
    assert nothing == 1.0
    both = ask(engine, prefix=CAPITAL.prefix + " Paris", choices=(".", ","))
    assert probabilities(both)[0] == pytest.approx(long / short, abs=0.001)


def test_ways_to_end(engine: VLLM) -> None:
    stopped = ask(engine, sampling=Sampling(max_tokens=12, stop=("Paris", "", "zebra")))
    assert (stopped.text, stopped.stop) == (" Paris", "stop")
    ended = ask(engine)
    assert (ended.stop, "<|im_end|>" in ended.text) == ("stop", False)
    cut = ask(engine, STORY, sampling=Sampling(max_tokens=3))
    assert (cut.stop, cut.usage.completion_tokens) == ("length", 3)
    long = (Message(role="user", content="word " * 30_000),)
    for completion in (ask(engine, messages=long), ask(engine, messages=long, choices=CHOICES)):
        assert (completion.text, completion.stop, completion.usage.total_tokens) == ("", "too_long", 0)


def test_a_thought_that_the_model_opens_by_itself_is_not_stopped(engine: VLLM) -> None:
    """The engine's own stop reaches into it; such a text is written again, piece by piece."""
    said = "red", "<think> red is a colour </think> red it is", "blue", "<think> blue is a colour </think> blue it is"
    turns = [Message(role="assistant" if n % 2 else "user", content=text) for n, text in enumerate(said)]
    green = Request(messages=(*turns, Message(role="user", content="green")))

    def written(*stop: str) -> str:
        return ask(engine, green, sampling=Sampling(max_tokens=40, stop=stop)).text

    assert written() == written("colour") == "<think> green is a colour </think> green it is"
    assert written("green") == "<think> green is a colour </think> green"


def test_pieces_of_characters_are_joined(engine: VLLM) -> None:
    pieces: list[str] = []
    hot = STORY.model_copy(update={"sampling": Sampling(max_tokens=120, temperature=2.0, top_p=1.0, seed=3)})
    completion = wait(submit(engine.generate(hot, on_text=pieces.append)))
    wait(submit(asyncio.sleep(0)))
    assert "".join(pieces) == completion.text == ask(engine, hot).text
    assert len(pieces) > 20
    assert any(ord(letter) > 127 for letter in completion.text)


def test_cancelling_stops_the_work(engine: VLLM) -> None:
    begun = threading.Event()
    flight = submit(engine.generate(ENDLESS, on_text=lambda _: begun.set()))
    assert begun.wait(LIMIT_S)
    llm = inside(engine)
    assert not wait(submit(llm.reset_prefix_cache())), "its blocks are in use"
    flight.cancel()
    assert ask(engine).text.startswith(" Paris")
    assert wait(submit(llm.reset_prefix_cache())), "nothing is"


def test_more_prompts_with_seeds_than_one_step_reads(engine: VLLM) -> None:
    async def drawn() -> list[str]:
        sampling = Sampling(max_tokens=4, temperature=1.0, seed=1)
        messages = [(Message(role="user", content=f"{n}. {RULES.content} Go on."),) for n in range(9)]
        requests = [Request(messages=each, sampling=sampling) for each in messages]
        completions = await asyncio.gather(*map(engine.generate, requests))
        assert sum(completion.usage.prompt_tokens for completion in completions) > 4096
        return [completion.text for completion in completions]

    assert all(wait(submit(drawn())))


def test_a_judgment_with_probabilities(engine: VLLM) -> None:
    judgment = Judge(engine, sampling={"max_tokens": 48}).compare("What is the capital of France?", "Paris.", "London.")
    assert judgment.prompt == "cor"
    assert len(judgment.verdicts) == 2
    assert any(verdict.mass for verdict in judgment.verdicts)


def test_sections_arrive_while_they_are_written_and_end_in_what_compare_returns(engine: VLLM) -> None:
    judge = Judge(engine, orders="given", max_concurrency=1, sampling={"max_tokens": 96})
    pair = Pair(question="What is the capital of France?", a="Paris.", b="London.")
    *sections, last = judge.stream(pair)
    assert len([event for event in sections if event.attempt == 0]) > 9
    assert last.judgment
    compared = judge.compare(pair)
    assert last.judgment.winner == compared.winner
    assert last.judgment.p_a == pytest.approx(compared.p_a)
    assert [verdict.text for verdict in last.judgment.verdicts] == [verdict.text for verdict in compared.verdicts]


def test_it_works_from_any_event_loop(engine: VLLM) -> None:
    async def many() -> list[Completion]:
        return list(await asyncio.gather(*(engine.generate(CAPITAL) for _ in range(3))))

    assert len({completion.text for completion in asyncio.run(many())}) == 1


def test_what_vllm_refuses_is_an_error(engine: VLLM) -> None:
    with pytest.raises(BackendError, match="vLLM failed: temperature must be in"):
        ask(engine, sampling=Sampling(temperature=9.0))


def test_arguments_that_cannot_be_right(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"engine 'max_model_length'; did you mean 'max_model_len'"):
        connect(f"vllm:{checkpoint}", max_model_length=100)
    with pytest.raises(ConfigError, match="logprobs_mode is set by this engine itself"):
        VLLM(checkpoint, logprobs_mode="raw_logits")
    with pytest.raises(ConfigError, match=r"is no checkpoint: there is no config\.json in it"):
        VLLM(tmp_path)
    monkeypatch.setattr(vllm, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"rmr1_sdk\[vllm\]"):
        VLLM(checkpoint)


def test_what_changes_answers_is_in_the_identity(checkpoint: Path, adapter: Path) -> None:
    backends = [
        VLLM(checkpoint),
        VLLM(checkpoint, dtype="float32"),
        VLLM(checkpoint, max_model_len=512),
        VLLM(checkpoint, quantization="fp8"),
        VLLM(checkpoint, adapter=str(adapter)),
    ]
    assert len({backend.identity for backend in backends}) == len(backends)
    assert VLLM(checkpoint, gpu_memory_utilization=0.5, tensor_parallel_size=2).identity == backends[0].identity


def test_an_engine_that_dies_tells_everyone_and_starts_again(checkpoint: Path, adapter: Path, engine: VLLM) -> None:
    """Of an engine with an adapter, made from a pickled one; and what is closed tells everyone too."""
    before = set(multiprocessing.active_children())
    adapted = pickle.loads(pickle.dumps(VLLM(checkpoint, adapter=str(adapter), **OPTIONS)))
    scores = ask(adapted, choices=CHOICES).choice_logprobs
    assert scores != ask(engine, choices=CHOICES).choice_logprobs
    flights = [submit(adapted.generate(ENDLESS)) for _ in range(3)]
    (core,) = set(multiprocessing.active_children()) - before
    assert core.pid
    os.kill(core.pid, signal.SIGKILL)
    for flight in flights:
        with pytest.raises(BackendError, match="vLLM's engine has died; the next request starts it again"):
            wait(flight)
    assert ask(adapted, choices=CHOICES).choice_logprobs == scores

    begun = threading.Event()
    flight = submit(adapted.generate(ENDLESS, on_text=lambda _: begun.set()))
    assert begun.wait(LIMIT_S)
    wait(submit(adapted.aclose()))
    with pytest.raises(BackendError, match="the backend was closed"):
        wait(flight)
    for child in set(multiprocessing.active_children()) - before:
        child.join(LIMIT_S)  # they were told to end
        assert not child.is_alive()


# vllm-cpu's command asks for the version of a package named vllm, which it is not
SERVE = """
from importlib import metadata
known = metadata.version
metadata.version = lambda name: known("vllm-cpu") + "+cpu" if name == "vllm" else known(name)
from vllm.entrypoints.cli.main import main
if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`vllm serve`."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "serve.py").write_text(SERVE)

    def command(port: int) -> list[str]:
        options = ["--served-model-name=smollm2", "--host=127.0.0.1", f"--port={port}", "--dtype=float32"]
        options += ["--enforce-eager", "--max-model-len=4096", "--gpu-memory-utilization=0.3"]
        options += ["--no-enable-chunked-prefill", "--max-num-batched-tokens=4096"]
        return [sys.executable, str(folder / "serve.py"), "serve", str(checkpoint), *options]

    with Served(command) as server:
        yield server


def test_a_server_conforms(server: Served, engine: VLLM) -> None:
    served = OpenAI("smollm2", base_url=server.url)
    assert {result.name: result.outcome for result in wait(submit(check(served)))} == dict.fromkeys(CHECKS, "ok")
    assert ask(served, STORY).text == ask(engine, STORY).text
    assert ask(served).text == ask(engine).text, "it goes on with a turn"
    assert ask(served, sampling=Sampling(max_tokens=4096)).text == ask(engine).text, "more than there is room for"
    firsts = ask(engine, EITHER, choices=("A", "B"))  # all that is read of a choice over HTTP
    sides = ask(served, EITHER, choices=COR.choices)
    assert probabilities(sides) == pytest.approx(probabilities(firsts), abs=0.001)
    wait(submit(served.aclose()))


def test_a_run_outlives_its_server(server: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outlive(server, tmp_path / "s.db", caplog)
