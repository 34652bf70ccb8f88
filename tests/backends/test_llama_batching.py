"""llama.cpp with several requests at once: what they share, and that none disturbs another."""

import asyncio
import json
import signal
import sqlite3
from collections.abc import Iterator, Sequence
from math import exp
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import Pair, Store, prompts
from rmr1_sdk.backends.base import common_prefix
from rmr1_sdk.backends.chat import render_chat
from rmr1_sdk.backends.llama_context import Context, Options
from rmr1_sdk.backends.llama_cpp import LlamaCpp
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.errors import BackendError
from rmr1_sdk.types import Completion, Message, Request, Sampling
from tests import gguf_files, processes

pytestmark = pytest.mark.llama_cpp

QUESTION = Request(
    messages=(Message(role="user", content="Name the days of the week, " * 20),), sampling=Sampling(max_tokens=8)
)
PAIR = Pair(question="What is the capital of France?", a="Paris is. " * 9, b="London is. " * 9, id="capital")
COR = prompts.get("cor")


@pytest.fixture
def engine(gguf: Path) -> Iterator[LlamaCpp]:
    backend = LlamaCpp(gguf, n_ctx=1024, n_parallel=4)
    yield backend
    wait(submit(backend.aclose()))


def ask(backend: LlamaCpp, requests: Sequence[Request], **how: Any) -> list[Any]:
    """All at once."""

    async def together() -> list[Any]:
        outcomes: list[Any] = await asyncio.gather(*map(backend.generate, requests), **how)
        return outcomes

    return wait(submit(together()))


def sampled(request: Request, **sampling: Any) -> Request:
    return request.model_copy(update={"sampling": request.sampling.model_copy(update=sampling)})


def read(completions: Sequence[Completion]) -> int:
    return sum(completion.usage.prompt_tokens - completion.usage.cached_tokens for completion in completions)


def test_votes_read_their_prompt_once(engine: LlamaCpp) -> None:
    votes = ask(engine, [sampled(QUESTION, temperature=1.0, seed=seed) for seed in range(9)])
    assert read(votes) == votes[0].usage.prompt_tokens
    assert len({vote.text for vote in votes}) > 3


def test_orders_share_the_system_prompt_and_the_question(engine: LlamaCpp, gguf: Path) -> None:
    requests = [
        Request(messages=COR.render(PAIR, shown), sampling=Sampling(max_tokens=4)) for shown in ("AB", "BA")
    ]  # fmt: skip
    both = ask(engine, requests)
    context = Context(Options(gguf, n_ctx=64, n_parallel=1))
    assert context.template
    first, second = (
        context.tokens(render_chat(context.template, request.messages, bos=context.bos, eos=context.eos))
        for request in requests
    )
    context.free()
    shared = common_prefix([first, second])
    assert shared > 450
    assert read(both) == len(first) + len(second) - shared


def test_a_finished_verdict_gets_its_probability_for_a_few_tokens(engine: LlamaCpp) -> None:
    (text,) = ask(engine, [QUESTION])
    chosen = QUESTION.model_copy(update={"prefix": text.text, "choices": ("A", "B")})
    (choice,) = ask(engine, [chosen])
    assert read([choice]) <= 4


def test_choices_are_the_same_beside_others(engine: LlamaCpp) -> None:
    choices = QUESTION.model_copy(update={"prefix": "Monday,", "choices": (" Tuesday, Wednesday", " Friday")})
    (alone,) = ask(engine, [choices])
    beside = ask(engine, [sampled(QUESTION, max_tokens=20), choices, sampled(QUESTION, max_tokens=30), choices])
    for completion in (beside[1], beside[3]):
        assert list(map(exp, completion.choice_logprobs)) == pytest.approx(
            list(map(exp, alone.choice_logprobs)), abs=0.02
        )


def test_sequences_are_reused_when_they_run_out(engine: LlamaCpp) -> None:
    """Twelve prompts through four sequences, of different lengths, with texts that end at different times."""
    requests = [
        sampled(
            Request(messages=(Message(role="user", content=f"Count to {n}. " * (2 * n)),)), max_tokens=1 + n % 5
        )
        for n in range(1, 13)
    ]  # fmt: skip
    together = ask(engine, requests)
    assert [completion.usage.completion_tokens for completion in together] == [1 + n % 5 for n in range(1, 13)]
    lengths = [completion.usage.prompt_tokens for completion in together]
    assert lengths == [ask(engine, [request])[0].usage.prompt_tokens for request in requests]
    assert len(set(lengths)) == 12


def test_cancelling_one_leaves_the_others(engine: LlamaCpp) -> None:
    alone = ask(engine, [sampled(QUESTION, max_tokens=40)])[0]

    async def cancel_two() -> list[Any]:
        begun = asyncio.Event()
        long = sampled(QUESTION, max_tokens=600, temperature=1.0)
        doomed = [
            asyncio.create_task(engine.generate(sampled(long, seed=seed), on_text=lambda _: begun.set()))
            for seed in (1, 2)
        ]
        stays = asyncio.create_task(engine.generate(sampled(QUESTION, max_tokens=40)))
        await begun.wait()
        for task in doomed:
            task.cancel()
        return await asyncio.gather(*doomed, stays, return_exceptions=True)

    *cancelled, stayed = wait(submit(cancel_two()))
    assert [type(outcome) for outcome in cancelled] == [asyncio.CancelledError] * 2
    assert stayed.usage.completion_tokens == alone.usage.completion_tokens
    assert ask(engine, [QUESTION] * 4), "the sequences are free again"


def test_what_breaks_the_thread_reaches_everyone_and_the_next_request_loads_again(
    engine: LlamaCpp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bool:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr(Context, "step", broken)
        outcomes = ask(engine, [sampled(QUESTION, seed=seed) for seed in range(9)], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [BackendError] * 9
    assert "llama.cpp failed: RuntimeError('out of luck')" in str(outcomes[0])
    assert ask(engine, [QUESTION])[0].text


def test_closing_reaches_everyone(gguf: Path) -> None:
    backend = LlamaCpp(gguf, n_ctx=1024, n_parallel=2)

    async def close_in_the_middle() -> list[Any]:
        begun = asyncio.Event()
        tasks = [
            asyncio.create_task(
                backend.generate(sampled(QUESTION, max_tokens=600, seed=seed), on_text=lambda _: begun.set())
            )
            for seed in range(5)
        ]
        await begun.wait()
        await backend.aclose()
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = wait(submit(close_in_the_middle()))
    assert [type(outcome) for outcome in outcomes] == [BackendError] * 5


def test_an_adapter_changes_answers_and_identity(gguf: Path, tmp_path: Path, engine: LlamaCpp) -> None:
    adapter = gguf_files.lora(tmp_path / "lora.gguf")
    choices = QUESTION.model_copy(update={"prefix": "Monday,", "choices": (" Tuesday", " Friday")})
    (plain,) = ask(engine, [choices])
    seen = {}
    for scale in (0.0, 1.0):
        adapted = LlamaCpp(gguf, n_ctx=1024, n_parallel=1, adapters=[(adapter, scale)])
        seen[scale] = ask(adapted, [choices])[0].choice_logprobs
        assert adapted.identity != engine.identity
        wait(submit(adapted.aclose()))
    assert seen[0.0] == pytest.approx(plain.choice_logprobs, abs=0.2)
    assert seen[1.0] != pytest.approx(plain.choice_logprobs, abs=0.2)
    with pytest.raises(BackendError, match="does not fit"):
        ask(LlamaCpp(gguf, n_ctx=1024, adapters=[gguf]), [QUESTION])


def test_a_recurrent_model_reads_every_prompt_whole(gguf: Path, tmp_path: Path) -> None:
    backend = LlamaCpp(gguf_files.mamba(tmp_path / "mamba.gguf", gguf), n_ctx=1024, n_parallel=3)
    requests = [sampled(QUESTION, seed=seed, temperature=1.0) for seed in range(5)]
    completions = ask(backend, requests)
    assert read(completions) == 5 * completions[0].usage.prompt_tokens
    assert len({completion.text for completion in completions}) > 1
    assert [completion.text for completion in ask(backend, requests)] == [c.text for c in completions]
    choices = QUESTION.model_copy(update={"choices": ("A and B", "B and A", "C")})
    (scored,) = ask(backend, [choices])
    (again,) = ask(backend, [choices])
    assert scored.choice_logprobs == pytest.approx(again.choice_logprobs)
    assert len(set(scored.choice_logprobs)) == 3

    async def interrupted() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(
            backend.generate(sampled(QUESTION, max_tokens=700), on_text=lambda _: begun.set())
        )  # fmt: skip
        await begun.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    wait(submit(interrupted()))
    assert ask(backend, [requests[0]])[0].text == completions[0].text
    wait(submit(backend.aclose()))


def test_ctrl_c_in_the_middle_of_a_batch_leaves_the_store_whole(tmp_path: Path, gguf: Path, rmr1: list[str]) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(
        "".join(json.dumps({"question": f"What is {n} + 1?", "a": f"{n + 1}", "b": "2"}) + "\n" for n in range(40))
    )
    out = tmp_path / "out.jsonl"
    command = [*rmr1, "judge", str(pairs), "--model", f"llama_cpp:{gguf}", "--max-tokens", "48", "--out", str(out)]
    store = Path(f"{out}.store.db")
    with processes.Child(command) as running:
        running.until(lambda: store.exists() and len(list(Store(store).export())) >= 9)
        running.send(signal.SIGINT)
        said = running.finish()
    assert said.returncode == 130, said
    db = sqlite3.connect(store)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    kept = [row["request"] for row in Store(store).export()]
    command += ["--limit", "5"]
    processes.run(command, check=True)
    assert [row["request"] for row in Store(store).export()][: len(kept)] == kept
    assert len(out.read_text().splitlines()) == 5
