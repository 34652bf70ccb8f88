"""GRPO: reinforcement learning of a judge from labels alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import ConfigDict, Field, model_validator

from rmr1_sdk import prompts
from rmr1_sdk.backends.checkpoint import ChatTokenizer, Checkpoint
from rmr1_sdk.errors import ConfigError, MissingExtraError, unknown
from rmr1_sdk.parsing.tags import ends_thought, opens_thought
from rmr1_sdk.prompts import Family, Prompt
from rmr1_sdk.rewards.verdict import Rule, verdict_reward
from rmr1_sdk.training.data.held_out import HeldOut, read_held_out, read_labelled
from rmr1_sdk.training.learn.trace_rewards import Part, trace_reward
from rmr1_sdk.training.learn.trainers import (
    EvalTracker,
    Figures,
    adapters,
    finish,
    is_first_process,
    judged,
    load,
    micro_batches,
    processes,
    quiet_trl,
    settings,
    train,
)
from rmr1_sdk.training.stage import Step
from rmr1_sdk.types import AsOption, Pair, Value

__all__ = ["GrpoPlan", "GrpoResult", "collapse", "grpo", "learning_rate"]


class GrpoPlan(Value):
    """Settings of GRPO, which learns from labels alone. The defaults are RM-R1's (arXiv 2505.02387, appendix G)."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str
    """The folder of a checkpoint, or its name on the Hugging Face hub."""
    pool: Path
    """The file of labelled pairs to learn from. Sides are shown as they are, so they should take turns."""
    held_out: Annotated[Path | None, AsOption(unset="none")] = None
    """A file of labelled pairs to judge during training; the best checkpoint is kept."""
    canary: Annotated[Path | None, AsOption(unset="the held-out pairs")] = None
    """A file of labelled pairs that stops a run that collapses, see `collapse`."""
    prompt: str = "auto"
    """The prompt's name; "auto" is the one the checkpoint was trained with, or `cor`."""
    reward: dict[Part, float] = {}  # noqa: RUF012  # pydantic copies it
    """Reward added to the verdict's +1 or -1: a weight for each part of the trace that `trace_reward` scores.
    With a weight of 0 it is measured alone."""
    rule: Rule = "strict"
    """Rule by which the verdict is read, see `verdict_reward`."""
    group: int = Field(default=7, ge=2)
    """Completions of each prompt; their rewards are compared with each other."""
    temperature: float = Field(default=1, gt=0)
    """Sampling temperature of the completions."""
    learning_rate: Annotated[float | None, AsOption(unset="RM-R1's for the model's size")] = Field(default=None, gt=0)
    """Peak learning rate."""
    kl: float = Field(default=1e-3, ge=0)
    """Weight of the KL divergence from the first checkpoint in the loss."""
    clip: float = Field(default=0.2, gt=0)
    """Clipping range of the probability ratio (epsilon)."""
    rollout_size: int = Field(default=1024, ge=1)
    """Prompts per rollout: their completions are generated with the same weights."""
    batch_size: int = Field(default=128, ge=1)
    """Prompts in a step; a rollout makes `rollout_size / batch_size` steps."""
    micro_batch_size: int = Field(default=1, ge=1)
    """Completions at once in a process."""
    epochs: float = Field(default=1, gt=0)
    """Passes over the pairs; an incomplete last rollout is left out."""
    max_prompt_tokens: int = Field(default=4096, ge=1)
    """Tokens that a prompt may have; pairs with longer ones are left out and counted, not cut."""
    max_completion_tokens: int = Field(default=8192, ge=1)
    """Tokens that a completion may have; a verdict after them does not count."""
    collapse_margin: float = Field(default=0.1, gt=0, le=1)
    """Allowed drop of a share on the canary pairs, in two evaluations in a row, see `collapse`."""
    lora_rank: Annotated[int | None, AsOption(unset="all weights")] = Field(default=None, ge=1)
    """Train LoRA adapters of this rank on all linear layers."""
    gradient_checkpointing: bool = True
    """Recompute activations instead of keeping them."""
    every: int = Field(default=5, ge=1)
    """Rollouts between checkpoints and between evaluations; a killed run resumes from the last."""
    trl: dict[str, Any] = {}  # noqa: RUF012  # pydantic copies it
    """More fields of TRL's GRPOConfig, such as those for vLLM; none that this plan sets."""
    seed: int = 0
    """Seed of all randomness."""

    @model_validator(mode="after")
    def _fits(self) -> "GrpoPlan":
        if self.rollout_size % self.batch_size:
            raise ValueError(f"rollout_size {self.rollout_size} is no multiple of batch_size {self.batch_size}")
        if self.canary and not self.held_out:
            raise ValueError("a canary needs held_out too: when it stops a run, the best checkpoint is chosen there")
        return self

    def micro_batches(self, processes: int) -> int:
        """Of each process, in a step. Raises ConfigError where that does not come out even."""
        completions = self.batch_size * self.group
        what = f"the {completions} completions of a step are"
        return micro_batches(what, completions, self.micro_batch_size, processes)


class GrpoResult(Value):
    """Result of GRPO: `pairs` were tried in `steps`, `too_long` were left out.

    The checkpoint is that after `best_step`, 0 being the model it began with. `stopped` says why the run ended early.
    `before` and `best` are what the judge did on the held-out pairs at first and after `best_step`, None without such
    pairs. `reward` is the mean of the last rollout, `zero_variance` the share of all groups whose completions had
    the same reward, from which nothing is learned.
    """

    pairs: int
    too_long: int
    steps: int
    best_step: int
    stopped: str | None
    before: HeldOut | None
    best: HeldOut | None
    reward: float
    zero_variance: float


def learning_rate(parameters: int, family: Family, *, adapters: bool) -> float:
    """RM-R1's learning rate for a model of that many parameters.

    1e-6 at 7B, 7e-7 at 14B, 5e-7 at 32B; where the model thinks by itself, 1e-6, 1e-6 and 8e-7. Smaller models get
    that of 7B. Adapters get ten times as much (Schulman et al., LoRA Without Regret, 2025); RM-R1 has none.
    """
    small, medium, large = (1e-6, 1e-6, 8e-7) if family == "reasoning" else (1e-6, 7e-7, 5e-7)
    rate = small if parameters < 10e9 else medium if parameters < 20e9 else large
    return 10 * rate if adapters else rate


def collapse(judgments: Sequence[HeldOut], margin: float) -> str | None:
    """Why a run is to stop, None where it is not: one of two shares fell, and stays down.

    That is where in the last two judgments of the canary pairs, one after the other, the share of readings that can be
    read, or the accuracy, was lower than before the first step by more than `margin` (0.1: ten points).

    Args:
        judgments: in the order of steps, the first before any.
        margin: a share; with 1 no run is stopped.
    """
    if len(judgments) < 3:
        return None
    start, *_, one, other = judgments
    for name in ("readable", "accuracy"):
        first, then, now = (getattr(each, name).share for each in (start, one, other))
        if max(then, now) < first - margin:
            return f"{name} was {first:.1%} at first, and then {then:.1%} and {now:.1%}"
    return None


def grpo(plan: GrpoPlan, out: Path) -> GrpoResult:
    """Train, and leave the best judge in `out/checkpoint`: weights or adapters, tokenizer, and `rmr1.json`.

    The best is the one with the highest accuracy on `held_out`, of those before the first step, every `plan.every`
    rollouts and after the last step, and of equals the earliest; without such pairs, the last. `out/figures.jsonl`
    grows by a line a step, and by one with `held_out` and `canary` where the judge was tried on them. A run that was
    killed goes on from its last checkpoint, and ends with the same files on the same machine. A folder that holds the
    same already is left alone. Processes begun by torchrun or `accelerate launch` share the work and the folder.

    Raises ConfigError for a plan that cannot be carried out, DataError for pairs that cannot be used.
    """
    if (Path(plan.model).expanduser() / "adapter_config.json").exists():
        raise ConfigError(
            f"--model {plan.model} holds adapters: merge them into their model first, as `rmr1 train export` does"
        )
    inputs = [path for path in (plan.pool, plan.held_out, plan.canary) if path]
    settings = {**plan.model_dump(mode="json"), "model_digest": Checkpoint(plan.model, "auto", None).digest}
    step = Step("grpo", out, settings, inputs)
    if not step.is_done():
        if is_first_process():
            step.begin()
        trained = _train(plan, out)
        if is_first_process():
            result = _result(trained)
            step.note("model_commit", Checkpoint(plan.model, "auto", None).commit)
            finish(step, result, result.best_step, trained.prompt, plan.model, lora=plan.lora_rank is not None)
        trained.trainer.accelerator.wait_for_everyone()
    return GrpoResult.model_validate_json((out / "result.json").read_text(encoding="utf-8"))


class _Trained(NamedTuple):
    trainer: Any
    prompt: str
    pairs: int
    too_long: int
    tracker: EvalTracker


def _train(plan: GrpoPlan, out: Path) -> _Trained:
    pool = read_labelled(plan.pool)
    held_out = read_held_out(plan.held_out) if plan.held_out else []
    canary = read_held_out(plan.canary) if plan.canary else []
    model, tokenizer = load(plan.model, lora=plan.lora_rank is not None)
    prompt = _prompt(plan, tokenizer)
    speech = ChatTokenizer(tokenizer)
    fitting = [
        pair for pair in pool if len(speech.tokens(speech.rendered(prompt.render(pair)))) <= plan.max_prompt_tokens
    ]
    if len(fitting) < plan.rollout_size:
        raise ConfigError(
            f"{plan.pool}: {len(fitting)} of {len(pool)} pairs have at most {plan.max_prompt_tokens} tokens, and a "
            f"rollout takes {plan.rollout_size}: make --rollout-size smaller"
        )
    opened = opens_thought(speech.rendered(prompt.render(fitting[0]))) if prompt.family == "reasoning" else ""
    rewards = _Rewards(plan, fitting, tokenizer, opened)
    trainer = _trainer(plan, out / "checkpoints", model, tokenizer, prompt, fitting, rewards)

    def judge(pairs: Sequence[Pair]) -> HeldOut:
        return judged(trainer.model, tokenizer, prompt.name, pairs, max_tokens=plan.max_completion_tokens)

    def collapsed(evaluations: Sequence[HeldOut]) -> str | None:
        return collapse(evaluations, plan.collapse_margin)

    tracker = EvalTracker(Figures(out / "figures.jsonl"), judge, held_out, canary, collapsed)
    train(trainer, tracker, _figures, out / "checkpoints")
    return _Trained(trainer, prompt.name, len(fitting), len(pool) - len(fitting), tracker)


def _prompt(plan: GrpoPlan, tokenizer: Any) -> Prompt:
    recorded = Checkpoint(plan.model, "auto", None).prompt
    return prompts.resolve(plan.prompt, model=plan.model, chat_template=tokenizer.chat_template, recorded=recorded)


def _result(trained: _Trained) -> GrpoResult:
    tracker = trained.tracker
    rows = tracker.figures.rows()
    rollouts = [row for row in rows if "reward" in row]
    best = tracker.best
    return GrpoResult(
        pairs=trained.pairs,
        too_long=trained.too_long,
        steps=rows[-1]["step"],
        best_step=best.step if best else rows[-1]["step"],
        stopped=tracker.stopped,
        before=tracker.evaluations[0].held_out if tracker.evaluations else None,
        best=best.held_out if best else None,
        reward=rollouts[-1]["reward"],
        zero_variance=sum(row["zero_variance"] for row in rollouts) / len(rollouts),
    )


class _Rewards:
    """Reward functions in TRL's manner, one for the verdict and one for each part of the trace."""

    def __init__(self, plan: GrpoPlan, pairs: Sequence[Pair], tokenizer: Any, opened: str) -> None:
        self._pairs = pairs
        self._tokenizer = tokenizer
        self._opened = opened  # a thought that the chat template begins
        self._rule = plan.rule
        self._most = plan.max_completion_tokens
        self.weights = [1.0, *plan.reward.values()]
        self.functions = [self._named("verdict", self._verdicts)]
        self.functions += [self._named(part, self._of(part)) for part in plan.reward]

    def _named(self, name: str, score: Callable[[list[str], list[Pair]], list[float | None]]) -> Callable[..., Any]:
        def reward(completion_ids: list[list[int]], row: list[int], **_: Any) -> list[float | None]:
            # not TRL's text, which for some tokenizers comes without the thought
            texts = self._tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
            read = [self._as_read(text, ids) for text, ids in zip(texts, completion_ids, strict=True)]
            return score(read, [self._pairs[number] for number in row])

        reward.__name__ = name
        return reward

    def _as_read(self, text: str, tokens: Sequence[int]) -> str:
        """A completion with the thought that the chat template begins, where it ends that or was cut in it.

        A text that ends of itself and never spoke of a thought is read as it stands, as Judge reads it.
        """
        is_cut = len(tokens) >= self._most and tokens[-1] != self._tokenizer.eos_token_id
        return self._opened + text if ends_thought(text) or is_cut else text

    def _verdicts(self, texts: list[str], pairs: list[Pair]) -> list[float | None]:
        winners = [pair.label for pair in pairs]
        return list(verdict_reward(texts, winners, self._rule))  # type: ignore[arg-type]  # all are A or B

    def _of(self, part: Part) -> Callable[[list[str], list[Pair]], list[float | None]]:
        return lambda texts, pairs: [trace_reward(part, text, pair) for text, pair in zip(texts, pairs, strict=True)]


def _trainer(
    plan: GrpoPlan,
    checkpoints: Path,
    model: Any,
    tokenizer: Any,
    prompt: Prompt,
    pairs: Sequence[Pair],
    rewards: _Rewards,
) -> Any:
    rate = plan.learning_rate or learning_rate(
        model.num_parameters(), prompt.family, adapters=plan.lora_rank is not None
    )
    rows = [
        {"prompt": [message.model_dump() for message in prompt.render(pair)], "row": number}
        for number, pair in enumerate(pairs)
    ]
    with quiet_trl():
        try:
            from datasets import Dataset
            from transformers import PrinterCallback
            from trl import GRPOConfig, GRPOTrainer
        except ImportError as error:
            raise MissingExtraError("trl", "train") from error
        given = _settings(plan, rate) | {"output_dir": str(checkpoints), "reward_weights": rewards.weights}
        for name in sorted(set(plan.trl) - set(GRPOConfig.__dataclass_fields__)):
            raise unknown("field of TRL's GRPOConfig", name, GRPOConfig.__dataclass_fields__, place="--trl: ")
        if ours := sorted(set(plan.trl) & set(given)):
            raise ConfigError(f"--trl {ours[0]}: that is set by this command's own options")
        made = GRPOTrainer(
            model=model,
            reward_funcs=rewards.functions,
            # the mean over each completion's tokens, as in the paper's equation 9
            args=GRPOConfig(**given, **({"loss_type": "grpo"} | plan.trl)),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=adapters(plan.lora_rank),
        )
    made.remove_callback(PrinterCallback)
    return made


def _settings(plan: GrpoPlan, rate: float) -> dict[str, Any]:
    """The fields of GRPOConfig. RM-R1 trained with verl; where it names no value, these are that trainer's own."""
    accumulate = plan.micro_batches(processes())
    steps = plan.rollout_size // plan.batch_size
    return {
        "num_generations": plan.group,
        "temperature": plan.temperature,
        "top_p": 1.0,
        "top_k": 0,
        "max_completion_length": plan.max_completion_tokens,
        "per_device_train_batch_size": plan.micro_batch_size,
        "gradient_accumulation_steps": accumulate,
        "steps_per_generation": accumulate * steps,
        "num_train_epochs": plan.epochs,
        "learning_rate": rate,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.01,
        "beta": plan.kl,
        "use_bias_correction_kl": False,  # the k3 estimate as it is
        "epsilon": plan.clip,
        "disable_dropout": True,  # else a token's probability moves without a step
        "gradient_checkpointing": plan.gradient_checkpointing,
        # between two rollouts: completions that are half used up cannot be gone on from
        "save_steps": plan.every * steps,
        "save_total_limit": 3,  # the last, the one before until that is whole, and the best
        **settings(plan.seed),
    }


_LOGGED = {
    "loss": "loss",
    "reward": "reward",
    "frac_reward_zero_std": "zero_variance",
    "completions/mean_length": "length",
    "completions/clipped_ratio": "cut",
    "entropy": "entropy",
    "kl": "kl",
    "clip_ratio/region_mean": "clipped",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
}
"""TRL's names, and those in figures.jsonl."""


def _figures(logs: dict[str, Any]) -> dict[str, Any]:
    """Metrics to keep of TRL's. Those of a rollout come with its first step alone."""
    kept = {ours: logs[theirs] for theirs, ours in _LOGGED.items() if theirs in logs}
    rewards = {
        name.split("/")[1]: value
        for name, value in logs.items()
        if name.startswith("rewards/") and name.endswith("/mean")
    }
    return kept | ({"rewards": rewards} if rewards else {})
