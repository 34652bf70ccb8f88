"""A policy small enough to train in a test: a Llama made from nothing, with a tokenizer of its own. Also a run of
it in several processes, begun as a module by torchrun."""

import json
import re
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from rmr1_sdk import FakeBackend, Judge, Request
from rmr1_sdk.rewards.trl import JudgeReward

# TRL looks at whichever vLLM is installed beside it, though nothing here uses it
UNTESTED_VLLM = "TRL currently supports vLLM versions"
_SHOWN = re.compile(
    r"^\[Client Question\]\n(.*)\n\n\[The Start of Chatbot A's Response\]\n(.*)\n\[The End of Chatbot A's Response\]"
    r"\n\n\[The Start of Chatbot B's Response\]\n(.*)\n\[The End of Chatbot B's Response\]$",
    re.DOTALL,
)
QUESTIONS = [f"question number {n}" for n in range(8)]


def load(name: str, module: str = "trl") -> Any:
    """A class of TRL. What others warn of while it imports them is not about us."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(import_module(module), name)


def tokenizer() -> Any:
    """Letters, digits and spaces, one token each."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789 .:\n"
    vocab = {token: index for index, token in enumerate(["<pad>", "<eos>", "<unk>", *letters])}
    plain = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made = PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )
    made.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    return made


def model(made: Any) -> Any:
    """Some 100,000 parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(made),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=256,
            pad_token_id=made.pad_token_id,
            eos_token_id=made.eos_token_id,
            bos_token_id=None,
        )
    )


def options(folder: Path, **given: Any) -> dict[str, Any]:
    """What all trainers here are told."""
    return {
        "output_dir": str(folder),
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        "seed": 3,
        **given,
    }


def grpo(
    folder: Path, reward: Callable[..., Any], *, chat: bool = False, trainer: str = "GRPO", **given: Any
) -> tuple[Any, list[Any]]:
    """A trained GRPOTrainer or RLOOTrainer, and the advantages of each of its batches."""
    from datasets import Dataset

    prompts = [[{"role": "user", "content": text}] if chat else text for text in QUESTIONS]
    config: dict[str, Any] = options(folder, num_generations=4, max_completion_length=8, beta=0.0) | given
    made = tokenizer()
    seen: list[Any] = []

    class Watched(load(f"{trainer}Trainer")):  # type: ignore[misc]  # TRL is not read by mypy
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            batch = super()._generate_and_score_completions(inputs)
            seen.append(batch["advantages"].tolist())
            return batch

    data = Dataset.from_dict({"prompt": prompts, "gold": QUESTIONS})
    run = Watched(
        model=model(made),
        reward_funcs=reward,
        args=load(f"{trainer}Config")(**config),
        train_dataset=data,
        processing_class=made,
    )
    run.train()
    return run, seen


class Recorded:
    """A judge's reply that keeps the question and both answers of each request it is asked."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str, str]] = []

    def __call__(self, request: Request) -> str:
        found = _SHOWN.search(request.messages[-1].content)
        assert found
        question, a, b = found.groups()
        self.pairs.append((question, a, b))
        return "<answer>[[A]]</answer>" if len(set(a)) > len(set(b)) else "<answer>[[B]]</answer>"


class Kept(JudgeReward):
    """A reward that keeps what it was asked and what it answered."""

    def __init__(self, judge: Judge, **given: Any) -> None:
        super().__init__(judge, **given)
        self.calls: list[dict[str, Any]] = []

    async def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        rewards = await super().__call__(prompts, completions, **columns)
        self.calls.append({"prompts": list(prompts), "completions": list(completions), "rewards": rewards})
        return rewards


def main(folder: Path) -> None:
    """One of two processes, each of which has half of every group."""
    import os

    warnings.filterwarnings("ignore", UNTESTED_VLLM)
    recorded = Recorded()
    reward = Kept(Judge(FakeBackend(recorded)))
    rank = os.environ["RANK"]
    run, advantages = grpo(folder / "run", reward, per_device_train_batch_size=2)
    (folder / f"{rank}.json").write_text(
        json.dumps(
            {
                "pairs": recorded.pairs,
                "calls": reward.calls,
                "advantages": advantages,
                "log": [entry for entry in run.state.log_history if "judge_reward/duels_played" in entry],
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
