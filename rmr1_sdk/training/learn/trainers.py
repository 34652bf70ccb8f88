"""Shared parts of the training stages: loading, evaluation during training, and resuming after a kill."""

import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rmr1_sdk.backends.transformers import InMemory
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.errors import ConfigError, MissingExtraError
from rmr1_sdk.files.cache import write_atomic
from rmr1_sdk.judge import Judge
from rmr1_sdk.training.data.held_out import HeldOut
from rmr1_sdk.training.stage import Step
from rmr1_sdk.types import Pair, Value

__all__ = [
    "EvalTracker", "Figures", "adapters", "finish", "is_first_process", "judged", "last_complete", "leave", "load",
    "micro_batches", "processes", "quiet_trl", "settings", "train",
]  # fmt: skip

_AT_ONCE = 32
"""Readings in one batch."""
_WAIT_S = 24 * 60 * 60
"""Seconds that processes wait for each other, as for the first while it judges. The launcher detects one that dies."""
_WHOLE = "whole"
"""An empty file that comes last into a checkpoint."""
_OF_THE_TRAINER = (
    "optimizer*",
    "scheduler*",
    "scaler*",
    "rng_state*",
    "trainer_state.json",
    "training_args.bin",
    "*.md",
    _WHOLE,
    *("pytorch_model_fsdp*", "global_step*", "latest", "zero_to_fp32.py"),  # of FSDP, and of DeepSpeed
)
"""Files of a checkpoint from which a trainer goes on, and no judge."""


def processes() -> int:
    """Number of processes that train together, as torchrun and `accelerate launch` tell each of them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """True in the one process that writes the files, as the launcher tells each process."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def quiet_trl() -> Iterator[None]:
    """TRL warns of any vLLM it was not tested with, though nothing may use it: that one warning is left out."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TRL currently supports vLLM versions")
        yield


def load(model: str, *, lora: bool) -> tuple[Any, Any]:
    """A model and its tokenizer. Full training keeps float32 weights; under adapters they are as they compute.

    Raises ConfigError where there is no such model.
    """
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("transformers", "train") from error
    folder = Path(model).expanduser()
    source = str(folder.resolve()) if folder.is_dir() else model  # adapters note where their base is
    dtype = "bfloat16" if lora and torch.cuda.is_available() else "float32"
    try:
        return AutoModelForCausalLM.from_pretrained(source, dtype=dtype), AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--model {model}: {error}") from error


def micro_batches(what: str, sequences: int, micro_batch_size: int, processes: int) -> int:
    """Number of micro-batches of each process in a step of so many sequences.

    Raises ConfigError where that does not come out even; `what` names the sequences in it, with their verb.
    """
    count, rest = divmod(sequences, micro_batch_size * processes)
    if rest or not count:
        raise ConfigError(f"{what} no multiple of micro_batch_size {micro_batch_size} times {processes} processes")
    return count


def settings(seed: int) -> dict[str, Any]:
    """The fields that the configurations of TRL's trainers share; of plans, only `seed` is in them."""
    import torch

    gpu = torch.cuda.is_available()
    return {
        "max_grad_norm": 1.0,
        "bf16": gpu and torch.cuda.is_bf16_supported(),
        "use_cpu": not gpu,
        "dataloader_pin_memory": gpu,
        "seed": seed,
        "ddp_timeout": _WAIT_S,
        "logging_steps": 1,  # so that figures do not depend on where a run was killed
        "report_to": [],
        "disable_tqdm": not sys.stderr.isatty(),
    }


def adapters(rank: int | None) -> Any:
    """LoRA configuration for TRL, of this rank on all linear layers; None trains all weights."""
    if rank is None:
        return None
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")


def judged(model: Any, tokenizer: Any, prompt: str, pairs: Sequence[Pair], *, max_tokens: int) -> HeldOut:
    """The model as it is now, as a judge of these pairs: both orders, one reading each, greedy."""
    engine = InMemory(model, tokenizer, name="in training", batch_size=_AT_ONCE)
    was_training = model.training
    model.eval()
    try:
        with Judge(
            engine, prompt=prompt, sampling={"max_tokens": max_tokens}, force_verdict=False, ask_again=False
        ) as judge:
            return HeldOut.of(pairs, list(judge.compare_many(pairs)))
    finally:
        wait(submit(engine.aclose()))
        model.train(was_training)


class Figures:
    """Lines of figures in a file, each with the step after which they hold."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self) -> list[dict[str, Any]]:
        """All that were written."""
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        return [json.loads(line) for line in lines]

    def add(self, row: dict[str, Any]) -> None:
        """Write one more."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def begin_after(self, step: int) -> None:
        """Keep the lines up to that step: those after it will come again. A line that was cut off is after it."""
        lines = self._path.read_bytes().split(b"\n")[:-1] if self._path.exists() else []
        kept = [line for line in lines if step and json.loads(line)["step"] <= step]
        self._path.write_bytes(b"".join(line + b"\n" for line in kept))


class Evaluation(NamedTuple):
    """Evaluation of a judge after a step."""

    step: int
    held_out: HeldOut
    canary: HeldOut


class EvalTracker:
    """A judge's evaluations on pairs that it does not learn from, and the figures of every step.

    All processes know the evaluations; the first one writes them down.
    """

    def __init__(
        self,
        figures: Figures,
        judge: Callable[[Sequence[Pair]], HeldOut],
        held_out: Sequence[Pair],
        canary: Sequence[Pair] = (),
        collapsed: Callable[[Sequence[HeldOut]], str | None] = lambda _: None,
        *,
        of_equals_the_latest: bool = False,
    ) -> None:
        self.figures = figures
        self._judge = judge
        self._held_out = held_out
        self._canary = canary
        self._collapsed = collapsed
        self._latest = of_equals_the_latest
        self.evaluations: list[Evaluation] = []

    @property
    def best(self) -> Evaluation | None:
        """The most accurate."""
        evaluations = reversed(self.evaluations) if self._latest else self.evaluations
        return max(evaluations, key=lambda tried: tried.held_out.accuracy.share, default=None)

    @property
    def stopped(self) -> str | None:
        """Why the run is to end."""
        why = self._collapsed([tried.canary for tried in self.evaluations])
        return None if why is None else f"after step {self.evaluations[-1].step}: {why}"

    def begin_after(self, step: int) -> None:
        """Go on where a checkpoint is, or begin with what the judge does before it has learned anything."""
        rows: list[dict[str, Any]] = []
        if is_first_process():
            self.figures.begin_after(step)
            rows = [row for row in self.figures.rows() if "held_out" in row]
        self.evaluations = [self._evaluation(row) for row in _broadcast(rows)]
        if not step:
            self.look(0)

    def look(self, step: int) -> None:
        """Let the judge try."""
        if not self._held_out:
            return
        rows: list[dict[str, Any]] = []
        if is_first_process():
            row = {"step": step, "held_out": self._judge(self._held_out).model_dump(mode="json")}
            if self._canary:
                row["canary"] = self._judge(self._canary).model_dump(mode="json")
            self.figures.add(row)
            rows = [row]
        self.evaluations += [self._evaluation(row) for row in _broadcast(rows)]

    def _evaluation(self, row: dict[str, Any]) -> Evaluation:
        held_out = HeldOut.model_validate(row["held_out"])
        canary = HeldOut.model_validate(row["canary"]) if "canary" in row else held_out
        return Evaluation(row["step"], held_out, canary)


def _broadcast(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Broadcast the first process's value to all."""
    from accelerate.utils import broadcast_object_list

    told: list[dict[str, Any]] = broadcast_object_list([rows])[0]
    return told


def train(
    trainer: Any, tracker: EvalTracker, kept: Callable[[dict[str, Any]], dict[str, Any]], checkpoints: Path
) -> None:
    """Let it learn, from its last whole checkpoint on, and the judge try wherever a checkpoint is written.

    `kept` chooses of what the trainer logs what becomes a line of figures.
    """
    trainer.add_callback(_recorder(tracker, kept))
    last = last_complete(checkpoints)
    tracker.begin_after(int(last.name.rpartition("-")[2]) if last else 0)
    if tracker.stopped is None:
        trainer.train(resume_from_checkpoint=last and str(last))


def _recorder(tracker: EvalTracker, kept: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Callback that records the metrics of each step, marks complete checkpoints, and ends a run that is over."""
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):  # type: ignore[misc]  # transformers is not read by mypy
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
            if state.is_world_process_zero and "loss" in logs:
                tracker.figures.add({"step": state.global_step, **kept(logs)})

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                (Path(args.output_dir) / f"checkpoint-{state.global_step}" / _WHOLE).touch()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % args.save_steps == 0 or state.global_step == state.max_steps:
                tracker.look(state.global_step)
                if tracker.best:
                    state.best_global_step = tracker.best.step  # the trainer does not delete that checkpoint
                if tracker.stopped:
                    control.should_training_stop = True

    return Recorder()


def leave(out: Path, step: int, prompt: str, model: str, *, lora: bool) -> None:
    """Leave the judge after that step in `out/checkpoint`, and note its prompt. 0 is the model before the first."""
    checkpoint = out / "checkpoint"
    if step:
        ours = shutil.ignore_patterns(*_OF_THE_TRAINER)
        shutil.copytree(out / "checkpoints" / f"checkpoint-{step}", checkpoint, ignore=ours, dirs_exist_ok=True)
    else:
        for part in load(model, lora=lora):
            part.save_pretrained(checkpoint)
    write_atomic(checkpoint / "rmr1.json", json.dumps({"prompt": prompt}) + "\n")
    adapter = checkpoint / "adapter_config.json"
    if adapter.exists():  # what it names comes in any order
        config = json.loads(adapter.read_text(encoding="utf-8"))
        if isinstance(config["target_modules"], list):
            config["target_modules"].sort()
        write_atomic(adapter, json.dumps(config, indent=2, sort_keys=True))


def finish(step: Step, result: Value, best_step: int, prompt: str, model: str, *, lora: bool) -> None:
    """End a stage with the judge after `best_step` and with what came of it, and keep nothing to go on from."""
    leave(step.out, best_step, prompt, model, lora=lora)
    step.write("result.json", result.model_dump_json(indent=2) + "\n")
    step.keep("figures.jsonl", *(f"checkpoint/{file.name}" for file in sorted((step.out / "checkpoint").iterdir())))
    step.finish()
    shutil.rmtree(step.out / "checkpoints")


def last_complete(checkpoints: Path) -> Path | None:
    """The last checkpoint that was written to its end; those that were not are deleted."""
    whole = []
    for folder in checkpoints.glob("checkpoint-*"):
        if (folder / _WHOLE).exists():
            whole.append(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)  # another process may be at it too
    return max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)
