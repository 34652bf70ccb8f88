"""transformers with a real model: the GGUF file of the llama.cpp tests, its weights de-quantised."""

import asyncio
import json
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from math import exp
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import BackendError, ConfigError, Judge, Pair, connect
from rmr1_sdk.backends.conformance import CHECKS, check
from rmr1_sdk.backends.llama_cpp import LlamaCpp
from rmr1_sdk.backends.transformers import Transformers
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.prompts import COR
from rmr1_sdk.training.tiny.model import make
from rmr1_sdk.types import Completion, Message, Request, Sampling
from tests import processes
from tests.engines.training import SMALL, on_the_hub, traces
from tests.processes import LIMIT_S

pytest.importorskip("torch", reason="needs torch and transformers; `make test-engines` installs them")

CAPITAL = Request(
    messages=(Message(role="user", content="What is the capital of France?"),),
    prefix="The capital of France is",
    sampling=Sampling(max_tokens=12),
)
STORY = Request(messages=(Message(role="user", content="Tell a long story."),), sampling=Sampling(max_tokens=12))
CHOICES = (" Paris", " London", " the moon")


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Iterator[Transformers]:
    backend = Transformers(checkpoint, device="cpu", dtype="float32")
    yield backend
    wait(submit(backend.aclose()))


def ask(backend: Transformers | LlamaCpp, request: Request = CAPITAL, **update: Any) -> Completion:
    return wait(submit(backend.generate(request.model_copy(update=update))))


def together(backend: Transformers, requests: list[Request]) -> list[Completion]:
    async def main() -> list[Completion]:
        return await asyncio.gather(*(backend.generate(request) for request in requests))

    return wait(submit(main()))


def seeded(seed: int) -> Request:
    return STORY.model_copy(update={"sampling": Sampling(max_tokens=12, temperature=1.0, top_p=0.95, seed=seed)})


def test_a_real_answer(engine: Transformers) -> None:
    completion = ask(engine)
    assert completion.text.startswith(" Paris")
    assert completion.model == engine.model == "smollm2"
    assert completion.usage.prompt_tokens > completion.usage.completion_tokens > 1


def test_a_batch_gives_what_each_gives_alone_in_the_order_asked(engine: Transformers) -> None:
    requests = [CAPITAL, *(seeded(n) for n in range(4)), CAPITAL.model_copy(update={"choices": CHOICES, "prefix": ""})]
    alone = [ask(engine, request) for request in requests]
    batched = together(engine, requests)
    assert [completion.text for completion in batched] == [completion.text for completion in alone]
    assert len({completion.text for completion in batched[1:5]}) == 4
    assert batched[5].choice_logprobs == pytest.approx(alone[5].choice_logprobs, abs=1e-4)


def test_the_seed_decides(engine: Transformers) -> None:
    assert ask(engine, seeded(1)).text == ask(engine, seeded(1)).text != ask(engine, seeded(2)).text


def test_it_agrees_with_llama_cpp_on_the_same_weights(engine: Transformers, gguf: Path) -> None:
    """The same prompt tokens; probabilities of whole continuations within 0.05: llama.cpp rounds activations."""
    llama = LlamaCpp(gguf, n_ctx=1024)
    pair = Pair(question="What is 2 + 2?", a="It is 4. 🙂", b="It is 5.")
    for request in (CAPITAL, STORY, Request(messages=COR.render(pair), prefix="<answer>[[")):
        sides = request.model_copy(update={"choices": COR.choices or ()})
        ours, theirs = ask(engine, sides), ask(llama, sides)
        assert ours.usage.prompt_tokens == theirs.usage.prompt_tokens
        assert ours.choice_logprobs is not None
        assert theirs.choice_logprobs is not None
        assert [exp(p) for p in ours.choice_logprobs] == pytest.approx(
            [exp(p) for p in theirs.choice_logprobs], abs=0.05
        )
    wait(submit(llama.aclose()))


def test_ways_to_end(engine: Transformers) -> None:
    stopped = ask(engine, sampling=Sampling(max_tokens=12, stop=("Paris",)))
    assert (stopped.text, stopped.stop) == (" Paris", "stop")
    cut = ask(engine, STORY, sampling=Sampling(max_tokens=3))
    assert (cut.stop, cut.usage.completion_tokens) == ("length", 3)
    long = (Message(role="user", content="word " * 30_000),)
    for completion in (ask(engine, messages=long), ask(engine, messages=long, choices=CHOICES)):
        assert (completion.text, completion.stop, completion.usage.total_tokens) == ("", "too_long", 0)


def test_pieces_of_characters_are_joined(engine: Transformers) -> None:
    pieces: list[str] = []
    hot = STORY.model_copy(update={"sampling": Sampling(max_tokens=120, temperature=5.0, top_p=1.0, seed=3)})
    completion = wait(submit(engine.generate(hot, on_text=pieces.append)))
    wait(submit(asyncio.sleep(0)))
    assert "".join(pieces) == completion.text
    assert any(ord(letter) > 127 for letter in completion.text)
    emoji = ask(engine, prefix="I feel ", choices=("🙂", "🙃👩‍👩‍👧")).choice_logprobs
    assert emoji
    assert all(score < 0 for score in emoji)


def test_cancelling_stops_the_work(engine: Transformers) -> None:
    begun = threading.Event()
    long = STORY.model_copy(update={"sampling": Sampling(max_tokens=4000, temperature=1.0, seed=1)})
    flight = submit(engine.generate(long, on_text=lambda _: begun.set()))
    assert begun.wait(LIMIT_S)
    flight.cancel()
    assert ask(engine).text.startswith(" Paris"), "long before 4,000 tokens"


def test_a_judgment_with_probabilities(engine: Transformers) -> None:
    judge = Judge(engine, sampling={"max_tokens": 48})
    judgment = judge.compare("What is the capital of France?", "Paris.", "London.")
    assert judge.prompt.name == "cor"
    assert len(judgment.verdicts) == 2
    assert any(verdict.mass for verdict in judgment.verdicts)


def test_it_conforms(engine: Transformers) -> None:
    assert {result.name: result.outcome for result in wait(submit(check(engine)))} == dict.fromkeys(CHECKS, "ok")


def test_an_adapter_changes_answers_and_identity(checkpoint: Path, adapter: Path, engine: Transformers) -> None:
    adapted = Transformers(checkpoint, dtype="float32", adapter=str(adapter))
    assert adapted.identity != engine.identity
    assert ask(adapted, choices=CHOICES).choice_logprobs != ask(engine, choices=CHOICES).choice_logprobs
    wait(submit(adapted.aclose()))


def test_engines_pickle_as_their_arguments(engine: Transformers) -> None:
    copy = pickle.loads(pickle.dumps(engine))
    assert copy.identity == engine.identity
    assert ask(copy).text == ask(engine).text
    wait(submit(copy.aclose()))


def test_the_commit_of_a_name_on_the_hub_is_in_its_identity(tmp_path: Path) -> None:
    """In a process of its own: where the hub's cache is, is looked up on import."""
    make(traces(4), tmp_path / "made", SMALL)
    commit = on_the_hub(tmp_path / "made", tmp_path / "home")
    code = "from rmr1_sdk.backends.transformers import Transformers; print(Transformers('someone/tiny').identity)"
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command, root = [sys.executable, "-c", code], Path(__file__).parents[2]
    ran = processes.run(command, cwd=root, env=environment)
    assert ran.stdout.startswith(f"transformers:someone/tiny:{commit}:"), ran.stderr[-3000:]


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, checkpoint: Path, gguf: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no checkpoint: there is no config\.json in it"):
        connect(f"transformers:{tmp_path}")
    with pytest.raises(ConfigError, match="batch_size must be more than 0"):
        Transformers(checkpoint, batch_size=0)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BackendError, match="could not be loaded"):
        ask(Transformers(tmp_path))


def test_the_prompt_recorded_beside_the_weights_is_used(tmp_path: Path, checkpoint: Path) -> None:
    for file in checkpoint.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "rmr1.json").write_text(json.dumps({"prompt": "reasoning"}))
    with Judge(f"transformers:{tmp_path}") as judge:
        assert judge.prompt.name == "reasoning"
