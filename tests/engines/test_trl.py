"""Real TRL trainers on this CPU, with a policy made from nothing and our judge as their reward."""

import json
import logging
import sys
from collections import Counter
from math import isnan
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import FakeBackend, Judge, JudgeUnavailable, Request
from rmr1_sdk.rewards.trl import SyncJudgeReward
from tests import processes
from tests.engines import trl_policy
from tests.engines.trl_policy import Kept, Recorded, grpo

pytest.importorskip("trl", reason="needs TRL; `make test-engines` installs it")
pytestmark = pytest.mark.filterwarnings(
    f"ignore:{trl_policy.UNTESTED_VLLM}",
    "ignore:'pin_memory' argument is set as true but no accelerator is found:UserWarning",
)


@pytest.mark.parametrize(
    ("trainer", "chat"), [("GRPO", False), ("GRPO", True), ("RLOO", True)], ids=["GRPO-plain", "GRPO-chat", "RLOO-chat"]
)
def test_rewards_arrive(tmp_path: Path, chat: bool, trainer: str) -> None:
    recorded = Recorded()
    reward = Kept(Judge(FakeBackend(recorded)))
    run, advantages = grpo(tmp_path, reward, chat=chat, trainer=trainer)
    assert len(reward.calls) == len(advantages) == 2
    for call, advantage in zip(reward.calls, advantages, strict=True):
        values = call["rewards"]
        assert len(values) == 4
        assert sum(values) / 4 == pytest.approx(0.5)
        assert [value > 0.5 for value in values] == [each > 1e-6 for each in advantage]
    logged = [entry for entry in run.state.log_history if "rewards/judge_reward/mean" in entry]
    assert [entry["rewards/judge_reward/mean"] for entry in logged] == pytest.approx([0.5, 0.5])
    assert [entry["judge_reward/failed_share"] for entry in logged] == [0, 0]
    assert all(question in trl_policy.QUESTIONS for question, _, _ in recorded.pairs)
    assert all("judge_reward_failure" in run._logs["extra"] for _ in logged)


def test_a_failed_judgment_has_advantage_0_and_the_others_are_measured_without_it(tmp_path: Path) -> None:
    """The judge cannot read what has the first answer of each group in it: half of the duels."""
    recorded = Recorded()
    muted: set[str] = set()

    def reply(request: Request) -> str:
        verdict = recorded(request)
        return "I would rather not say." if muted & set(recorded.pairs[-1][1:]) else verdict

    class Muting(Kept):
        async def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
            muted.add(completions[0])
            return await super().__call__(prompts, completions, **columns)

    reward = Muting(Judge(FakeBackend(reply)))
    _, advantages = grpo(tmp_path, reward)
    for call, advantage in zip(reward.calls, advantages, strict=True):
        assert call["rewards"][0] is None
        assert None not in call["rewards"][1:]
        assert advantage[0] == 0
        assert sum(advantage[1:]) == pytest.approx(0, abs=1e-4)


def test_when_all_judgments_fail_training_stops(tmp_path: Path) -> None:
    reward = Kept(Judge(FakeBackend(lambda request: "I would rather not say.")))
    with pytest.raises(JudgeUnavailable, match="6 of 6 judgments failed"):
        grpo(tmp_path, reward)
    assert reward.calls == []


def test_groups_over_two_processes_never_mix_prompts(tmp_path: Path) -> None:
    """Each process has two of four completions: whole groups are judged, each by one process.

    Begun by torchrun, which is what `accelerate launch` begins processes with; on CPUs alone that wants MPI.
    """
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    ran = processes.run(
        [sys.executable, *command, "-m", "tests.engines.trl_policy", tmp_path], cwd=Path(__file__).parents[2]
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    written: dict[str, Counter[str]] = {}
    for one, other in zip(first["calls"], second["calls"], strict=True):
        step = [*zip(one["prompts"], one["completions"], one["rewards"], strict=True)]
        step += [*zip(other["prompts"], other["completions"], other["rewards"], strict=True)]
        assert len(one["prompts"]) == len(other["prompts"]) == 2
        assert len({prompt for prompt, _, _ in step}) == 1
        assert sum(value for _, _, value in step) / 4 == pytest.approx(0.5)
        for prompt, completion, _ in step:
            written.setdefault(prompt, Counter())[completion] += 1
    judged = [tuple(pair) for pair in (*first["pairs"], *second["pairs"])]
    assert len(judged) == 2 * 6 * 2  # steps, duels of four answers, orders
    assert len(set(judged)) == len(judged)
    for question, a, b in judged:
        assert {a, b} <= set(written[question])
    within = [set(call["completions"]) for call in (*first["calls"], *second["calls"])]
    assert any(not any({a, b} <= own for own in within) for _, a, b in judged)  # answers of both processes met
    assert first["log"]
    assert first["log"][0]["judge_reward/duels_played"] == 6


def test_online_dpo_pairs_are_told_by_their_prompts(tmp_path: Path) -> None:
    from datasets import Dataset

    online = "trl.experimental.online_dpo"
    config = trl_policy.options(tmp_path, max_new_tokens=8, max_length=64, missing_eos_penalty=None)
    recorded = Recorded()
    made = trl_policy.tokenizer()
    trainer = trl_policy.load("OnlineDPOTrainer", online)(
        model=trl_policy.model(made),
        reward_funcs=SyncJudgeReward(Judge(FakeBackend(recorded))),
        args=trl_policy.load("OnlineDPOConfig", online)(**config),
        train_dataset=Dataset.from_dict(
            {"prompt": [[{"role": "user", "content": text}] for text in trl_policy.QUESTIONS]}
        ),
        processing_class=made,
    )
    trainer.train()
    asked = Counter(question for question, _, _ in recorded.pairs)
    assert len(asked) == 8  # two steps of four prompts
    assert set(asked.values()) == {2}  # one duel each, in both orders


@pytest.mark.llama_cpp
def test_a_real_judge_rewards_a_real_run(tmp_path: Path, gguf: Path, caplog: pytest.LogCaptureFixture) -> None:
    # one request at a time, so that each has the same answer in every run: a duel that fails would move the mean
    with Judge(f"llama_cpp:{gguf}", sampling={"max_tokens": 4}, orders="random", max_concurrency=1) as judge:
        reward = Kept(judge, max_failed=1.0)
        with caplog.at_level(logging.WARNING):
            run, _ = grpo(tmp_path, reward, max_steps=1)
    [call] = reward.calls
    values = [value for value in call["rewards"] if value is not None]
    assert len(values) == 4  # made to name a side, it does
    assert sum(values) / 4 == pytest.approx(0.5)
    assert len(set(values)) > 1
    [entry] = [entry for entry in run.state.log_history if "judge_reward/latency_p95_s" in entry]
    assert entry["judge_reward/latency_p95_s"] > 0
    assert entry["judge_reward/failed_share"] == 0
    assert not isnan(entry["rewards/judge_reward/mean"])
