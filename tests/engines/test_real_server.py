"""A real OpenAI-compatible server with a real model: `python -m llama_cpp.server`."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from rmr1_sdk import Judge, Pair
from rmr1_sdk.backends.conformance import check
from rmr1_sdk.backends.openai import OpenAI
from rmr1_sdk.loop import submit, wait
from rmr1_sdk.types import Completion, Message, Request, Sampling

pytest.importorskip("starlette_context", reason="needs llama-cpp-python[server]; `make test-engines` installs it")

HELLO = Request(messages=(Message(role="user", content="Say hello."),), sampling=Sampling(max_tokens=12))


class LlamaServer:
    """A server process that can be killed and started again on its port."""

    def __init__(self, gguf: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._gguf = gguf
        self.start()

    def start(self) -> None:
        options = ["--model", str(self._gguf), "--port", str(self.port), "--n_ctx", "2048", "--verbose", "false"]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "llama_cpp.server", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self) -> None:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.url}/models", timeout=5).close()
            except OSError:
                assert self.process.poll() is None, "the server ended"
                time.sleep(0.1)
            else:
                return
        raise AssertionError("the server did not come up")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@pytest.fixture(scope="module")
def server(gguf: Path) -> Iterator[LlamaServer]:
    server = LlamaServer(gguf)
    server.wait()
    yield server
    server.kill()


@pytest.fixture
def engine(server: LlamaServer) -> Iterator[OpenAI]:
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


def test_a_run_outlives_its_server(server: LlamaServer, engine: OpenAI, tmp_path: Path) -> None:
    """kill -9 of the server in the middle; the run waits, and goes on when it is back."""
    pairs = [Pair(question=f"What is {n} + {n}?", a=str(2 * n), b="0", id=str(n)) for n in range(1, 7)]
    with Judge(engine, store=tmp_path / "s.db", sampling={"max_tokens": 16}) as judge:
        judgments = judge.compare_many(pairs)
        done = [next(judgments)]
        server.kill()
        time.sleep(1)
        server.start()
        done += list(judgments)
    assert [judgment.pair_id for judgment in done] == [str(n) for n in range(1, 7)]
    assert all(len(judgment.verdicts) == 2 for judgment in done)
