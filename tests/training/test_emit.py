"""What verl and OpenRLHF are told of a recipe, and that their form of our reward reads what they hand over."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.prompts import COR
from rmr1_sdk.rewards.verl import verdict_score
from rmr1_sdk.training import domain
from rmr1_sdk.training.recipes.emit import emit, openrlhf_options, verl_options
from rmr1_sdk.training.recipes.recipe import Recipe, read_recipe
from tests import processes

PAIRS = list(domain.generate(4, seed=3))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """RM-R1's 14B, with a pool that is there."""
    read = read_recipe("rm-r1-14b-instruct", tmp_path)
    assert read.grpo
    pool = tmp_path / "pool.jsonl"
    pool.write_text("".join(pair.model_dump_json() + "\n" for pair in PAIRS))
    return read.model_copy(update={"grpo": read.grpo.model_copy(update={"pool": pool})})


def words(folder: Path) -> list[str]:
    """The command of a script, as a shell reads it."""
    script = folder / "train.sh"
    processes.run(["sh", "-n", script], check=True)
    return shlex.split(script.read_text().partition("\n")[2].replace("\\\n", " "))


def test_verl_is_told_the_recipes_settings(recipe: Recipe) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    folder = emit(recipe, "verl")
    command = words(folder)
    assert command[:3] == ["python3", "-m", "verl.trainer.main_ppo"]
    told = dict(word.split("=", 1) for word in command[3:])
    by_hand = {
        "algorithm.adv_estimator": "grpo",
        "data.train_files": str(folder / "pool.parquet"),
        "data.train_batch_size": "1024",
        "data.max_prompt_length": "4096",
        "data.max_response_length": "8192",
        "actor_rollout_ref.model.path": str(recipe.out / "sft" / "checkpoint"),
        "actor_rollout_ref.actor.optim.lr": "7e-07",
        "actor_rollout_ref.actor.ppo_mini_batch_size": "128",
        "actor_rollout_ref.actor.use_kl_loss": "true",
        "actor_rollout_ref.actor.kl_loss_coef": "0.001",
        "actor_rollout_ref.actor.kl_loss_type": "low_var_kl",
        "actor_rollout_ref.actor.clip_ratio": "0.2",
        "actor_rollout_ref.rollout.n": "7",
        "actor_rollout_ref.rollout.tensor_model_parallel_size": "4",
        "reward.custom_reward_function.path": "pkg://rmr1_sdk.rewards.verl",
        "reward.custom_reward_function.name": "verdict_score",
        "+reward.custom_reward_function.reward_kwargs.rule": "strict",
        "trainer.nnodes": "2",
        "trainer.n_gpus_per_node": "8",
        "trainer.total_epochs": "1",
        "trainer.save_freq": "5",
    }
    assert {name: told.get(name) for name in by_hand} == by_hand
    rows = pq.read_table(folder / "pool.parquet").to_pylist()
    assert [row["reward_model"]["ground_truth"] for row in rows] == [pair.label for pair in PAIRS]
    assert rows[0]["prompt"] == [message.model_dump() for message in COR.render(PAIRS[0])]
    for row, pair in zip(rows, PAIRS, strict=True):
        score = verdict_score(
            row["data_source"], domain.trace(pair), row["reward_model"]["ground_truth"], row["extra_info"]
        )
        assert score == {"score": 1.0}
    assert verdict_score("rmr1", "<answer>[[A]]</answer>", "B", rule="robust", num_turns=2) == {"score": -1.0}


def test_hydra_gets_quotes_where_it_would_read_more_than_text(recipe: Recipe) -> None:
    """By its grammar of overrides: `hydra.core.override_parser` reads each of them as the folder's name again."""
    quoted = {
        "plain-1.0": "plain-1.0",
        "a b,c": "'a b,c'",
        "it's": r"'it\'s'",
        r"a\'b": r"'a\\\'b'",
        "end\\": r"'end\\'",
    }
    assert recipe.grpo
    for name, told in quoted.items():
        named = recipe.model_copy(update={"grpo": recipe.grpo.model_copy(update={"model": name})})
        assert f"actor_rollout_ref.model.path={told}" in words(emit(named, "verl"))


def test_openrlhf_is_told_the_recipes_settings(recipe: Recipe) -> None:
    folder = emit(recipe, "openrlhf")
    command = words(folder)
    assert command[:3] == ["python3", "-m", "openrlhf.cli.train_ppo_ray"]
    told = {word: after for word, after in zip(command, [*command[1:], ""], strict=True) if word.startswith("--")}
    by_hand = {
        "--actor.model_name_or_path": str(recipe.out / "sft" / "checkpoint"),
        "--reward.remote_url": str(folder / "reward.py"),
        "--rollout.batch_size": "1024",
        "--rollout.n_samples_per_prompt": "7",
        "--rollout.max_new_tokens": "8192",
        "--train.batch_size": "896",
        "--algo.advantage.estimator": "group_norm",
        "--algo.kl.estimator": "k3",
        "--algo.kl.init_coef": "0.001",
        "--actor.adam.lr": "7e-07",
        "--vllm.num_engines": "4",
        "--vllm.tensor_parallel_size": "4",
        "--ckpt.save_steps": "5",
    }
    assert {name: told.get(name) for name in by_hand} == by_hand
    rows = [json.loads(line) for line in (folder / "pool.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == [pair.label for pair in PAIRS]
    assert rows[1]["prompt"] == [message.model_dump() for message in COR.render(PAIRS[1])]
    assert 'reward_func = VerdictReward("strict")' in (folder / "reward.py").read_text()


def test_what_is_off_is_left_out(recipe: Recipe, tmp_path: Path) -> None:
    assert recipe.grpo
    off = recipe.grpo.model_copy(update={"kl": 0.0, "gradient_checkpointing": False})
    assert verl_options(off, recipe.machine, tmp_path)["actor_rollout_ref.actor.use_kl_loss"] is False
    assert openrlhf_options(off, recipe.machine, tmp_path)["algo.kl.use_loss"] is False
    folder = emit(recipe.model_copy(update={"grpo": off}), "openrlhf")
    assert "--algo.kl.use_loss" not in words(folder)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"reward": {"quotes": 0.2}}, "grpo.reward: there the verdict alone is rewarded, and not quotes"),
        ({"learning_rate": None}, "grpo.learning_rate: name it"),
        ({"prompt": "auto"}, "grpo.prompt: name it"),
        ({"epochs": 0.5}, "grpo.epochs: these trainers take whole numbers, and not 0.5"),
    ],
)
def test_what_they_cannot_be_told_is_refused(recipe: Recipe, changed: dict[str, Any], says: str) -> None:
    assert recipe.grpo
    with pytest.raises(ConfigError, match=says):
        emit(recipe.model_copy(update={"grpo": recipe.grpo.model_copy(update=changed)}), "openrlhf")


def test_the_command_says_where(rmr1: list[str], tmp_path: Path) -> None:
    def said(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [*rmr1, "train", "emit", *arguments, "--out", str(tmp_path)]
        return processes.run(command)

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rl.jsonl").write_text("".join(pair.model_dump_json() + "\n" for pair in PAIRS))
    assert said("rm-r1-7b-reasoning", "--to", "openrlhf").stdout == f"{tmp_path / 'openrlhf'}\n"
    assert "error: --to is verl or openrlhf, not 'trl'" in said("tiny", "--to", "trl").stderr
    assert "error: grpo.reward: there the verdict alone is rewarded" in said("tiny", "--to", "verl").stderr
