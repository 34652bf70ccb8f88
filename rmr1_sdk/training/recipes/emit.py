"""Export a recipe's GRPO for verl or OpenRLHF: data, settings and our reward.

Names of options are those of verl's `ppo_trainer` configuration (commit 01d4d76) and of OpenRLHF's dotted
command line (0.10.2 and later).
"""

import json
import re
import shlex
from pathlib import Path
from typing import Any, Literal

from rmr1_sdk import prompts
from rmr1_sdk.errors import ConfigError, MissingExtraError
from rmr1_sdk.files.cache import write_atomic
from rmr1_sdk.prompts import Prompt
from rmr1_sdk.training.data.held_out import read_labelled
from rmr1_sdk.training.learn.grpo import GrpoPlan
from rmr1_sdk.training.recipes.memory import Machine
from rmr1_sdk.training.recipes.recipe import Recipe
from rmr1_sdk.types import Pair

__all__ = ["Trainer", "emit", "openrlhf_options", "verl_options"]

Trainer = Literal["verl", "openrlhf"]


def emit(recipe: Recipe, trainer: Trainer) -> Path:
    """Write `OUT/TRAINER`, with the pool in the trainer's form and `train.sh`, which begins the training; return it.

    Raises ConfigError for a recipe without GRPO, or with what the trainer is not told (see docs/recipes.md), and what
    reading the pool raises.
    """
    plan, prompt = _checked(recipe)
    pool = read_labelled(plan.pool)
    folder = recipe.out / trainer
    folder.mkdir(parents=True, exist_ok=True)
    if trainer == "verl":
        _write_parquet(folder / "pool.parquet", [_verl_row(prompt, pair) for pair in pool])
        options = [f"{name}={_text(value)}" for name, value in verl_options(plan, recipe.machine, folder).items()]
        lines = ["python3 -m verl.trainer.main_ppo", *map(shlex.quote, options)]
    else:
        rows = [{"prompt": _messages(prompt, pair), "label": pair.label} for pair in pool]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_atomic(folder / "pool.jsonl", text)
        write_atomic(folder / "reward.py", _REWARD.format(rule=plan.rule))
        named = openrlhf_options(plan, recipe.machine, folder)
        options = [_flag(name, value) for name, value in named.items() if value is not False]
        lines = ["python3 -m openrlhf.cli.train_ppo_ray", *options]
    write_atomic(folder / "train.sh", "#!/bin/sh\n" + " \\\n    ".join(lines) + "\n")
    return folder


_REWARD = """from rmr1_sdk.rewards.openrlhf import VerdictReward

reward_func = VerdictReward("{rule}")
"""


def _checked(recipe: Recipe) -> tuple[GrpoPlan, Prompt]:
    plan = recipe.grpo
    if plan is None:
        raise ConfigError("this recipe has no grpo")
    if plan.reward:
        raise ConfigError(f"grpo.reward: there the verdict alone is rewarded, and not {', '.join(plan.reward)}")
    if plan.learning_rate is None:
        raise ConfigError("grpo.learning_rate: name it")
    if plan.prompt == "auto":
        raise ConfigError("grpo.prompt: name it; auto is found out from a checkpoint, when ours trains")
    if not recipe.machine.gpus:
        raise ConfigError("machine.gpus: name how many GPUs a node has")
    return plan, prompts.get(plan.prompt)


def _messages(prompt: Prompt, pair: Pair) -> list[dict[str, Any]]:
    return [message.model_dump() for message in prompt.render(pair)]


def _verl_row(prompt: Prompt, pair: Pair) -> dict[str, Any]:
    return {
        "data_source": "rmr1",
        "prompt": _messages(prompt, pair),
        "reward_model": {"style": "rule", "ground_truth": pair.label},
        "extra_info": {"id": str(pair.id)},
    }


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "train") from error
    parquet.write_table(pa.Table.from_pylist(rows), path)


def verl_options(plan: GrpoPlan, machine: Machine, folder: Path) -> dict[str, Any]:
    """The fields of verl's configuration, for a pool in `folder/pool.parquet`; the rest are verl's own."""
    pool = str(folder / "pool.parquet")
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    reward = "reward.custom_reward_function"
    return {
        "algorithm.adv_estimator": "grpo",
        "algorithm.use_kl_in_reward": False,
        "data.train_files": pool,
        "data.val_files": pool,  # verl wants one; it is not looked at
        "data.train_batch_size": plan.rollout_size,
        "data.max_prompt_length": plan.max_prompt_tokens,
        "data.max_response_length": plan.max_completion_tokens,
        "data.filter_overlong_prompts": True,
        "data.truncation": "error",
        "data.seed": plan.seed,
        "actor_rollout_ref.model.path": plan.model,
        "actor_rollout_ref.model.enable_gradient_checkpointing": plan.gradient_checkpointing,
        "actor_rollout_ref.model.lora_rank": plan.lora_rank or 0,
        "actor_rollout_ref.model.lora_alpha": 2 * (plan.lora_rank or 0),
        f"{actor}.optim.lr": plan.learning_rate,
        f"{actor}.ppo_mini_batch_size": plan.batch_size,
        f"{actor}.ppo_micro_batch_size_per_gpu": plan.micro_batch_size,
        f"{actor}.clip_ratio": plan.clip,
        f"{actor}.clip_ratio_low": plan.clip,
        f"{actor}.clip_ratio_high": plan.clip,
        f"{actor}.use_kl_loss": plan.kl > 0,
        f"{actor}.kl_loss_coef": plan.kl,
        f"{actor}.kl_loss_type": "low_var_kl",
        f"{actor}.entropy_coeff": 0,
        f"{actor}.loss_agg_mode": "seq-mean-token-mean",
        f"{rollout}.name": "vllm",
        f"{rollout}.n": plan.group,
        f"{rollout}.temperature": plan.temperature,
        f"{rollout}.tensor_model_parallel_size": plan.trl.get("vllm_tensor_parallel_size", 1),
        f"{rollout}.gpu_memory_utilization": plan.trl.get("vllm_gpu_memory_utilization", 0.4),
        f"{rollout}.log_prob_micro_batch_size_per_gpu": plan.micro_batch_size,
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": plan.micro_batch_size,
        f"{reward}.path": "pkg://rmr1_sdk.rewards.verl",
        f"{reward}.name": "verdict_score",
        f"+{reward}.reward_kwargs.rule": plan.rule,
        "trainer.nnodes": machine.nodes,
        "trainer.n_gpus_per_node": machine.gpus,
        "trainer.total_epochs": _whole(plan.epochs),
        "trainer.save_freq": plan.every,
        "trainer.test_freq": -1,
        "trainer.val_before_train": False,
        "trainer.default_local_dir": str(folder / "checkpoints"),
    }


def openrlhf_options(plan: GrpoPlan, machine: Machine, folder: Path) -> dict[str, Any]:
    """The options of OpenRLHF's command line, True for those without a value; the rest are its own."""
    parallel = plan.trl.get("vllm_tensor_parallel_size", 1)
    return {
        "actor.model_name_or_path": plan.model,
        "data.prompt_dataset": str(folder / "pool.jsonl"),
        "data.input_key": "prompt",
        "data.label_key": "label",
        "data.apply_chat_template": True,
        "data.max_len": plan.max_prompt_tokens + plan.max_completion_tokens,
        "reward.remote_url": str(folder / "reward.py"),
        "rollout.batch_size": plan.rollout_size,
        "rollout.micro_batch_size": plan.micro_batch_size,
        "rollout.n_samples_per_prompt": plan.group,
        "rollout.temperature": plan.temperature,
        "rollout.top_p": 1.0,
        "rollout.max_new_tokens": plan.max_completion_tokens,
        "train.batch_size": plan.batch_size * plan.group,  # completions
        "train.micro_batch_size": plan.micro_batch_size,
        "train.num_episodes": _whole(plan.epochs),
        "train.max_epochs": 1,
        "train.seed": plan.seed,
        "train.colocate_all": True,
        "algo.advantage.estimator": "group_norm",
        "algo.kl.use_loss": plan.kl > 0,
        "algo.kl.estimator": "k3",
        "algo.kl.init_coef": plan.kl,
        "actor.adam.lr": plan.learning_rate,
        "actor.lr_scheduler": "constant",
        "actor.eps_clip": plan.clip,
        "actor.gradient_checkpointing_enable": plan.gradient_checkpointing,
        "actor.num_nodes": machine.nodes,
        "actor.num_gpus_per_node": machine.gpus,
        "ref.num_nodes": machine.nodes,
        "ref.num_gpus_per_node": machine.gpus,
        "vllm.num_engines": machine.processes // parallel,
        "vllm.tensor_parallel_size": parallel,
        "vllm.gpu_memory_utilization": plan.trl.get("vllm_gpu_memory_utilization", 0.4),
        "vllm.enable_sleep": True,
        "ds.enable_sleep": True,
        "ds.zero_stage": 3,
        "ds.param_dtype": "bf16",
        "ds.lora.rank": plan.lora_rank or 0,
        "ds.lora.alpha": 2 * (plan.lora_rank or 0),
        "ckpt.output_dir": str(folder / "checkpoint"),
        "ckpt.path": str(folder / "checkpoints"),
        "ckpt.save_steps": plan.every,
    }


def _whole(epochs: float) -> int:
    if epochs != int(epochs):
        raise ConfigError(f"grpo.epochs: these trainers take whole numbers, and not {epochs:g}")
    return int(epochs)


_PLAIN = re.compile(r"[\w./:+-]+", re.ASCII)
"""Text that Hydra takes unquoted; in other text, quotes and the backslashes before them are escaped."""


def _text(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if _PLAIN.fullmatch(text):
        return text
    return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + (found[2] and "\\'"), text) + "'"


def _flag(name: str, value: Any) -> str:
    return f"--{name}" if value is True else f"--{name} {shlex.quote(str(value))}"
