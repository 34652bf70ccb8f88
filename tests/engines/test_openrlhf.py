"""OpenRLHF's calling convention: our function called as its single-turn executor does, and its answer read likewise."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rmr1_sdk import BackendError, FakeBackend, Judge, Message, Request
from rmr1_sdk.rewards.openrlhf import JudgeReward, read_template
from tests.replies import by_xs, by_xs_or_mute, mute
from tests.serving import serving

torch = pytest.importorskip("torch", reason="needs torch; `make test-engines` installs it")

CHATML = "<|im_start|>user\nHow many?<|im_end|>\n<|im_start|>assistant\n"


def call_as_openrlhf(reward_func: Callable[..., Any], prompt: str, response: str, label: Any) -> dict[str, float]:
    """One sample a call, positional, in a thread; then what its experience is made of."""

    async def execute() -> Any:
        return await asyncio.to_thread(reward_func, [prompt + response], [prompt], [label])

    info = asyncio.run(execute())
    assert set(info) == {"rewards", "scores", "extra_logs"}
    reward = info.get("rewards")
    score = info.get("scores") or info.get("rewards")  # as the executor does: fails on more than one number
    read = {"reward": torch.tensor([reward]), "score": torch.tensor([score])}
    for name, value in info["extra_logs"].items():
        read[name] = torch.tensor([value.flatten()[0].item()])
    assert [value.shape for value in read.values()] == [(1,)] * len(read)
    return {name: value.item() for name, value in read.items()}


def call_over_http(urls: list[str], prompt: str, response: str, label: Any) -> dict[str, float]:
    """The same where the reward is a list of URLs: a sample goes to the first, and nothing to the others."""

    async def post(url: str, data: dict[str, list[Any]]) -> Any:
        async with httpx2.AsyncClient(timeout=180) as session:
            answer = await session.post(url, json=data)
            return answer.raise_for_status().json()  # what fails is tried five times; here it may be seen

    async def execute() -> list[Any]:
        queries, prompts, labels = [prompt + response], [prompt], [label]
        size = (len(queries) + len(urls) - 1) // len(urls)
        parts = [slice(i * size, min((i + 1) * size, len(queries))) for i in range(len(urls))]
        sent = [{"query": queries[part], "prompts": prompts[part], "labels": labels[part]} for part in parts]
        return await asyncio.gather(*(post(url, data) for url, data in zip(urls, sent, strict=True)))

    info = asyncio.run(execute())[0]
    read = {"reward": torch.tensor([info.get("rewards")])}
    read["score"] = torch.tensor([info.get("scores") or info.get("rewards")])
    read |= {name: torch.tensor([value]) for name, value in (info.get("extra_logs") or {}).items()}
    assert [value.shape for value in read.values()] == [(1, 1)] * len(read)
    return {name: value.item() for name, value in read.items()}


def test_a_sample_is_compared_with_its_label() -> None:
    seen: list[str] = []

    def reply(request: Request) -> str:
        seen.append(request.messages[-1].content)
        return by_xs(request)

    reward_func = JudgeReward(Judge(FakeBackend(reply)))
    assert call_as_openrlhf(reward_func, CHATML, "xx<|im_end|>\n<|endoftext|>", "x") == {
        "reward": 0.75, "score": 0.75, "judge_failed": 0.0,
    }  # fmt: skip
    assert call_as_openrlhf(reward_func, CHATML, "x<|im_end|>", "xx")["reward"] == 0.25
    assert "\nHow many?\n" in seen[0]
    assert "<|" not in "".join(seen)


@pytest.mark.parametrize(
    ("reply", "prompt", "label"),
    [
        pytest.param(mute, "Q", "x", id="unreadable"),
        pytest.param(by_xs, "Q", "", id="no label"),
        pytest.param(by_xs, "Q", None, id="None for a label"),
    ],
)
def test_the_answer_is_finite_whatever_fails(
    reply: Callable[[Request], str], prompt: str, label: Any, caplog: pytest.LogCaptureFixture
) -> None:
    reward_func = JudgeReward(Judge(FakeBackend(reply)))
    assert call_as_openrlhf(reward_func, prompt, "xx", label) == {"reward": 0.5, "score": 0.5, "judge_failed": 1.0}
    assert "No judgment, so a neutral reward" in caplog.text


def test_an_engine_that_is_gone_and_a_prompt_that_was_cut_are_neutral_too() -> None:
    def gone(request: Request) -> str:
        raise BackendError("connection refused")

    assert call_as_openrlhf(JudgeReward(Judge(FakeBackend(gone))), "Q", "x", "xx")["judge_failed"] == 1
    cut = JudgeReward(Judge(FakeBackend(by_xs)))(["uestion: x"], ["question: "], ["xx"])
    assert cut["rewards"].tolist() == [0.5]


@pytest.mark.parametrize("reply", [by_xs, mute], ids=["read", "unreadable"])
@pytest.mark.parametrize("label", ["x", "", None])
def test_over_http_it_is_the_same_reward(reply: Callable[[Request], str], label: Any) -> None:
    judge = Judge(FakeBackend(reply))
    with serving(judge, keys=["k"]) as one, serving(judge, keys=["k"]) as two:
        urls = [f"{server.url.replace('//', '//any:k@')}/get_reward" for server in (one, two)]
        told = call_over_http(urls, CHATML, "xx<|im_end|>\n", label)
    assert told == call_as_openrlhf(JudgeReward(judge), CHATML, "xx<|im_end|>\n", label)


def test_several_samples_at_once_fail_one_by_one() -> None:
    info = JudgeReward(Judge(FakeBackend(by_xs_or_mute)))(["Qxx", "Qmute"], ["Q", "Q"], ["x", "x"])
    assert info["rewards"].tolist() == [0.75, 0.5]
    assert info["extra_logs"]["judge_failed"].item() == 0.5


def test_a_file_with_the_function_is_all_it_takes(tmp_path: Path) -> None:
    import importlib.util

    file = tmp_path / "reward.py"
    file.write_text(
        "from rmr1_sdk import Judge\nfrom rmr1_sdk.rewards.openrlhf import JudgeReward\n\n"
        'reward_func = JudgeReward(Judge("fake:tests.replies:by_xs"))\n'
    )
    spec = importlib.util.spec_from_file_location("reward_func", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert call_as_openrlhf(module.reward_func, "Q", "xx", "x")["reward"] == 0.75


@pytest.mark.parametrize(
    ("prompt", "turns"),
    [
        (CHATML, [("user", "How many?")]),
        (
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHow\nmany?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            [("system", "Be brief."), ("user", "How\nmany?")],
        ),
    ],
    ids=["ChatML", "Llama 3"],
)
def test_turns_are_read_from_a_prompts_template(prompt: str, turns: list[tuple[Any, str]]) -> None:
    assert read_template(prompt) == [Message(role=role, content=content) for role, content in turns]
    assert read_template("Human: How many?\nAssistant:") == "Human: How many?\nAssistant:"


def test_a_judge_in_the_making_is_rewarded_for_its_verdict() -> None:
    """As OpenRLHF decodes it, with the tokens that end a turn; whatever the prompt says of answers."""
    from rmr1_sdk.rewards.openrlhf import VerdictReward

    prompt = "<|im_start|>user\nEnd in <answer>[[A]]</answer>.<|im_end|>\n<|im_start|>assistant\n"
    said = ["<answer>[[B]]</answer><|im_end|>", "<answer>[[A]]</answer><|im_end|>\n", "Hm.<|im_end|>"]
    rewarded = VerdictReward()([prompt + text for text in said], [prompt] * 3, ["B", "B", "A"])
    assert rewarded["rewards"].tolist() == [1, -1, -1]
    assert rewarded["scores"].tolist() == [1, 0, 0]
    assert rewarded["extra_logs"] == {}
