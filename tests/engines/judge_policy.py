"""A judge small enough to learn in a test, that names a side about as often as not: its verdicts are single tokens.

Also runs of it as a process of its own: one that is killed, and one of two that train together."""

import json
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk.rewards import verdict_reward
from rmr1_sdk.training.domain import generate
from rmr1_sdk.training.learn.grpo import GrpoPlan, grpo
from rmr1_sdk.types import Pair
from tests.engines.trl_policy import UNTESTED_VLLM, load

A, B = "<answer>[[A]]</answer>", "<answer>[[B]]</answer>"
SPECIAL = ("<pad>", "<eos>", "<unk>")
TURNS = ("one " + A, B, "one two", A, "two two " + B)  # five, so that groups of four differ
WORDS = ("one", "two", "<quote_A>", "</quote_A>", A, B)


def checkpoint(folder: Path) -> Path:
    """A Llama of 20,000 weights made from nothing, with a tokenizer of a few words, to which all others are unknown."""
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tags = pre_tokenizers.Split(Regex(r"<answer>\[\[[AB]\]\]</answer>|</?\w+>"), "isolated")
    plain.pre_tokenizer = pre_tokenizers.Sequence([tags, pre_tokenizers.WhitespaceSplit()])
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}one {% endif %}"
    )
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        **size,
    )
    made: Any = LlamaForCausalLM(config)
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def pairs_file(path: Path, count: int, *, seed: int = 0) -> Path:
    """So many pairs of the tiny domain, whose better answers take turns."""

    def turns() -> Iterator[Pair]:
        for number, pair in enumerate(generate(count, seed=seed)):
            yield pair if pair.label == "AB"[number % 2] else pair.swapped()

    path.write_text("".join(pair.model_dump_json(exclude_defaults=True) + "\n" for pair in turns()))
    return path


def plan(folder: Path, **given: Any) -> GrpoPlan:
    """A plan for the files in that folder that takes a second."""
    small: dict[str, Any] = {
        "model": str(folder / "model"),
        "pool": folder / "pool.jsonl",
        "group": 4,
        "rollout_size": 8,
        "batch_size": 4,
        "micro_batch_size": 16,
        "max_completion_tokens": 4,
        "learning_rate": 1e-2,
        "every": 1,
        "seed": 1,
    }
    return GrpoPlan(**(small | given))


def slow(folder: Path, **given: Any) -> GrpoPlan:
    """A plan that goes to its end, though a model from nothing that named a side by chance soon names none."""
    given = {"held_out": folder / "held_out.jsonl", "learning_rate": 1e-4, "collapse_margin": 1, **given}
    return plan(folder, **given)


def together(folder: Path, **given: Any) -> GrpoPlan:
    """A plan whose steps do not depend on who takes part: each is a whole rollout."""
    return slow(folder, rollout_size=4, **given)


def watched(patch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the trainer makes of each rollout: tokens, rewards and advantages of this process."""
    trainer = load("GRPOTrainer")
    seen: list[dict[str, Any]] = []
    score, rewards = trainer._generate_and_score_completions, trainer._calculate_rewards

    def scored(self: Any, inputs: Any) -> Any:
        batch = score(self, inputs)
        names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages")
        seen[-1] |= {name: batch[name].tolist() for name in names}
        return batch

    def calculated(self: Any, *arguments: Any) -> Any:
        values = rewards(self, *arguments)
        seen.append({"rewards": values.tolist()})
        return values

    patch.setattr(trainer, "_generate_and_score_completions", scored)
    patch.setattr(trainer, "_calculate_rewards", calculated)
    return seen


def scripted(patch: pytest.MonkeyPatch, *texts: str) -> None:
    """Completions by turns, by their place in the whole batch, however many processes write them."""
    trainer = load("GRPOTrainer")

    def written(self: Any, prompt_ids: list[list[int]], *_: Any) -> tuple[list[list[int]], None]:
        first = self.accelerator.process_index * len(prompt_ids)
        turns = [texts[place % len(texts)] for place in range(first, first + len(prompt_ids))]
        return [[*self.processing_class(text)["input_ids"], 1] for text in turns], None

    patch.setattr(trainer, "_generate_single_turn", written)


def _killed(folder: Path) -> None:
    """A run that kills itself in the middle of its third rollout."""
    calls: list[int] = []

    def deadly(*arguments: Any) -> list[float]:
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return verdict_reward(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rmr1_sdk.training.learn.grpo.verdict_reward", deadly)
        grpo(slow(folder), folder / "killed")


def _one_of_two(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        scripted(patch, *TURNS)
        seen = watched(patch)
        grpo(together(folder, micro_batch_size=8), folder / "two")
    (folder / f"seen-{os.environ['RANK']}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    warnings.filterwarnings("ignore", UNTESTED_VLLM)
    {"killed": _killed, "two": _one_of_two}[sys.argv[1]](Path(sys.argv[2]))
