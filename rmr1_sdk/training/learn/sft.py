"""Supervised fine-tuning of a judge on traces of teachers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import ConfigDict, Field

from rmr1_sdk import prompts
from rmr1_sdk.backends.checkpoint import ChatTokenizer, Checkpoint
from rmr1_sdk.errors import ConfigError, DataError, MissingExtraError
from rmr1_sdk.parsing.tags import ends_thought, final_verdict_start, opens_thought, without_open_thought
from rmr1_sdk.training.data.held_out import HeldOut, read_held_out
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
    settings,
    train,
)
from rmr1_sdk.training.stage import Step, Trace, read_traces
from rmr1_sdk.types import AsOption, Pair, Value

__all__ = ["Example", "SftPlan", "SftResult", "example", "learning_rate", "make_trainer", "sft"]


class SftPlan(Value):
    """Settings of supervised fine-tuning on traces.

    The defaults are those of RM-R1 (arXiv 2505.02387, appendix G, and its scripts).
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str
    """The folder of a checkpoint, or its name on the Hugging Face hub."""
    traces: Path
    """The file of traces; all of them are to one prompt."""
    held_out: Annotated[Path | None, AsOption(unset="none")] = None
    """A file of labelled pairs to judge in both orders during training; the best checkpoint is kept."""
    learning_rate: Annotated[float | None, AsOption(unset="RM-R1's for the model's size")] = Field(default=None, gt=0)
    """Peak learning rate."""
    epochs: float = Field(default=1, gt=0)
    """Passes over the traces."""
    batch_size: int = Field(default=128, ge=1)
    """Sequences in a step, over all processes; with packing, each holds as many traces as fit."""
    micro_batch_size: int = Field(default=1, ge=1)
    """Sequences at once in a process."""
    max_length: int = Field(default=12288, ge=1)
    """Tokens of a sequence; longer traces are left out and counted, not cut."""
    packing: bool = True
    """Put several traces into a sequence; they do not attend to each other."""
    gradient_checkpointing: bool = True
    """Recompute activations instead of keeping them."""
    verdict_weight: float = Field(default=1, ge=1)
    """Weight of the verdict's tokens in the loss; every other token has 1."""
    lora_rank: Annotated[int | None, AsOption(unset="all weights")] = Field(default=None, ge=1)
    """Train LoRA adapters of this rank on all linear layers."""
    every: int = Field(default=50, ge=1)
    """Steps between checkpoints and between evaluations of the held-out pairs; a killed run resumes from the last."""
    seed: int = 0
    """Seed of all randomness."""

    def micro_batches(self, processes: int) -> int:
        """Of each process, in a step. Raises ConfigError where that does not come out even."""
        return micro_batches(f"batch_size {self.batch_size} is", self.batch_size, self.micro_batch_size, processes)


class SftResult(Value):
    """Result of fine-tuning: `traces` were learned from in `steps`, `too_long` were left out.

    The checkpoint is that after `best_step`, 0 being the model it began with. `loss` is that of the last step. `before`
    and `best` are what the judge did on the held-out pairs at first and after `best_step`, None without such pairs.
    """

    traces: int
    too_long: int
    steps: int
    best_step: int
    loss: float
    before: HeldOut | None
    best: HeldOut | None


def learning_rate(parameters: int, *, adapters: bool) -> float:
    """RM-R1's learning rate for a model of that many parameters.

    5e-6 at 7B, 3e-6 at 14B, 2e-6 at 32B by the paper's appendix G; its scripts have 5e-6 throughout. Smaller models
    get that of 7B. Adapters get ten times as much (Schulman et al., LoRA Without Regret, 2025); RM-R1 has none.
    """
    rate = 5e-6 if parameters < 10e9 else 3e-6 if parameters < 20e9 else 2e-6
    return 10 * rate if adapters else rate


class Example(NamedTuple):
    """A trace as tokens, all of one length.

    `labels` are the tokens the judge writes, its end of turn too, and -100 where it reads; `verdict` is 1 at the
    tokens of `<answer>[[A]]</answer>` and 0 elsewhere.
    """

    input_ids: list[int]
    labels: list[int]
    verdict: list[int]


def example(trace: Trace, tokenizer: Any) -> Example:
    """A trace as a judge with this tokenizer would have read and written it.

    A thought that the chat template has opened is not opened again. Raises DataError where the trace does not end such
    a thought, or does not end in its verdict.
    """
    speech = ChatTokenizer(tokenizer)
    rendered = speech.rendered(prompts.get(trace.prompt).render(trace.pair))
    text = trace.text.rstrip()
    if opens_thought(rendered):
        text = without_open_thought(text)
        if not ends_thought(text):
            raise DataError(
                f"the trace of pair {trace.pair.id} does not end the thought that the model's chat template opens: "
                "learn from traces that think, or take another model"
            )
    verdict = final_verdict_start(text)
    if verdict is None:
        raise DataError(f"the trace of pair {trace.pair.id} does not end in its verdict")
    read = speech.tokens(rendered)
    written, ends = _encoded(tokenizer, rendered + text, len(rendered))
    if written[: len(read)] == read:
        written, ends = written[len(read) :], ends[len(read) :]
    else:  # tokens merged over the border, which they cannot when the judge is asked
        written, ends = _encoded(tokenizer, text, 0)
    return Example(
        input_ids=[*read, *written, tokenizer.eos_token_id],
        labels=[*(-100 for _ in read), *written, tokenizer.eos_token_id],
        verdict=[*(0 for _ in read), *(int(end > verdict) for end in ends), 0],
    )


def _encoded(tokenizer: Any, text: str, begin: int) -> tuple[list[int], list[int]]:
    """A text's tokens, and where each ends, in characters from `begin`."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return list(encoded["input_ids"]), [end - begin for _, end in encoded["offset_mapping"]]


def _trainer_class() -> Any:
    """TRL's SFTTrainer with a weight on the verdict: the loss is the weighted mean over all written tokens of a step.

    Its batches carry `verdict` beside `labels`. It logs `verdict_loss`, that of the verdict's tokens alone.
    """
    try:
        import torch
        from trl import SFTTrainer
        from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
    except ImportError as error:
        raise MissingExtraError("trl", "train") from error

    class Collator(DataCollatorForLanguageModeling):  # type: ignore[misc]  # TRL is not read by mypy
        def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            batch: dict[str, Any] = super().torch_call(examples)
            rows = [torch.tensor(row["verdict"]) for row in examples]
            if self.padding_free:
                rows = [torch.cat(rows)]
            batch["verdict"] = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            return batch

    class Trainer(SFTTrainer):  # type: ignore[misc]  # TRL is not read by mypy
        loss_is_scaled_for_ga = True  # by `_get_num_items_in_batch`, whatever the model takes

        def __init__(self, *, verdict_weight: float, **given: Any) -> None:
            super().__init__(**given)
            self._verdict_weight = verdict_weight
            # handed over late: the trainer takes none where sequences are packed
            self.data_collator = Collator(self.processing_class.pad_token_id, padding_free=self.padding_free)

        def _weights(self, batch: dict[str, Any]) -> Any:
            """Loss weight of each predicted token, [rows, tokens - 1]."""
            written = batch["labels"][:, 1:] != -100
            return written * (1 + (self._verdict_weight - 1) * batch["verdict"][:, 1:])

        def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
            """Divisor of a step's losses: the sum of all weights in it, over all processes."""
            weights = torch.stack([self._weights(batch).sum() for batch in batch_samples]).sum().to(device)
            return self.accelerator.gather(weights).sum()

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            weights, verdict = self._weights(inputs), inputs.pop("verdict")[:, 1:]

            def weighted(**given: Any) -> Any:
                out = model(**given)
                sums = torch.stack([-(out.log_probs.detach() * verdict).sum(), verdict.sum()])
                loss, count = self.accelerator.gather(sums).view(-1, 2).sum(0)
                self._metrics["train"]["verdict_loss"].append((loss / count).item())
                out.log_probs = out.log_probs * weights
                return out

            return super().compute_loss(weighted, inputs, return_outputs, num_items_in_batch)

    return Trainer


def sft(plan: SftPlan, out: Path) -> SftResult:
    """Train, and leave the best judge in `out/checkpoint`: weights or adapters, tokenizer, and `rmr1.json`.

    The best is the one with the highest accuracy on `held_out`, of those before the first step, every `plan.every`
    steps and after the last, and of equals the latest; without such pairs, the last. `out/figures.jsonl` grows by a
    line a step, and by one with `held_out` where the model judged. A run that was killed goes on from its last
    checkpoint, and ends with the same files on the same machine. A folder that holds the same already is left alone.

    Raises ConfigError for a plan that cannot be carried out, DataError for traces and pairs that cannot be used.
    """
    inputs = [plan.traces, *([plan.held_out] if plan.held_out else [])]
    settings = {**plan.model_dump(mode="json"), "model_digest": Checkpoint(plan.model, "auto", None).digest}
    step = Step("sft", out, settings, inputs)
    if not step.is_done():
        if is_first_process():
            step.begin()
        _train(plan, step)
    return SftResult.model_validate_json((out / "result.json").read_text(encoding="utf-8"))


def _train(plan: SftPlan, step: Step) -> None:
    traces = read_traces(plan.traces)
    prompt = _prompt_of(traces, plan.traces)
    held_out = read_held_out(plan.held_out) if plan.held_out else []
    model, tokenizer = load(plan.model, lora=plan.lora_rank is not None)
    step.note("model_commit", Checkpoint(plan.model, "auto", None).commit)
    examples = [example(trace, tokenizer) for trace in traces]
    fitting = [each for each in examples if len(each.input_ids) <= plan.max_length]
    if not fitting:
        raise DataError(f"no trace has at most {plan.max_length} tokens", path=plan.traces)
    longest = max(sum(label != -100 for label in each.labels) for each in fitting)
    checkpoints = step.out / "checkpoints"
    trainer = make_trainer(plan, checkpoints, model, tokenizer, fitting)

    def judge(pairs: Sequence[Pair]) -> HeldOut:
        return judged(trainer.model, tokenizer, prompt, pairs, max_tokens=longest + longest // 2)

    tracker = EvalTracker(Figures(step.out / "figures.jsonl"), judge, held_out, of_equals_the_latest=True)
    train(trainer, tracker, lambda logs: {name: logs[name] for name in _LOGGED}, checkpoints)
    if is_first_process():
        result = _result(tracker, learned=len(fitting), too_long=len(examples) - len(fitting))
        finish(step, result, result.best_step, prompt, plan.model, lora=plan.lora_rank is not None)
    trainer.accelerator.wait_for_everyone()


def _result(tracker: EvalTracker, *, learned: int, too_long: int) -> SftResult:
    last = [row for row in tracker.figures.rows() if "loss" in row][-1]
    best = tracker.best
    return SftResult(
        traces=learned,
        too_long=too_long,
        steps=last["step"],
        best_step=best.step if best else last["step"],
        loss=last["loss"],
        before=tracker.evaluations[0].held_out if best else None,
        best=best.held_out if best else None,
    )


def _prompt_of(traces: Sequence[Trace], path: Path) -> str:
    names = sorted({trace.prompt for trace in traces})
    if len(names) != 1:
        raise DataError(f"traces to one prompt are wanted, and these are to {', '.join(names) or 'none'}", path=path)
    return names[0]


def make_trainer(plan: SftPlan, checkpoints: Path, model: Any, tokenizer: Any, examples: Sequence[Example]) -> Any:
    """TRL's SFTTrainer, ready to learn from these examples.

    Raises ConfigError where `batch_size` cannot be parted as the plan says, and where the model's layers do not let
    sequences be packed.
    """
    trainer = _trainer_class()
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import pack_dataset

    data = Dataset.from_list([each._asdict() for each in examples])
    if plan.packing:
        _check_packing(model)
        data = pack_dataset(data, plan.max_length, "bfd")
    made = trainer(
        verdict_weight=plan.verdict_weight,
        model=model,
        args=_config(plan, checkpoints, model.num_parameters()),
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=adapters(plan.lora_rank),
    )
    made.remove_callback(PrinterCallback)
    return made


def _check_packing(model: Any) -> None:
    """Convolutions and recurrent layers carry from one trace into the next."""
    kinds = set(getattr(model.config, "layer_types", None) or ())
    if others := sorted(kinds - {"full_attention", "sliding_attention", "chunked_attention"}):
        raise ConfigError(
            f"packing: traces of one sequence would see each other through layers of {others[0]}; do without packing"
        )


def _config(plan: SftPlan, checkpoints: Path, parameters: int) -> Any:
    from trl import SFTConfig

    # RM-R1 trained with OpenRLHF; where it names no value, these are that trainer's own
    return SFTConfig(
        output_dir=str(checkpoints),
        learning_rate=plan.learning_rate or learning_rate(parameters, adapters=plan.lora_rank is not None),
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        warmup_steps=0.03,  # of all steps
        adam_beta2=0.95,
        weight_decay=0.0,
        num_train_epochs=plan.epochs,
        per_device_train_batch_size=plan.micro_batch_size,
        gradient_accumulation_steps=plan.micro_batches(processes()),
        gradient_checkpointing=plan.gradient_checkpointing,
        packing=plan.packing,
        max_length=plan.max_length,
        dataset_kwargs={"skip_prepare_dataset": True},  # it is prepared
        remove_unused_columns=False,
        save_steps=plan.every,
        save_total_limit=3,  # the last, the one before until that is whole, and the best
        **settings(plan.seed),
    )


_LOGGED = ("loss", "verdict_loss", "learning_rate", "grad_norm", "mean_token_accuracy")
