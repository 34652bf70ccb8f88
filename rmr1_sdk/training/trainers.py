"""What the stages share that train a model: loading it, judging with it on the way, and going on after a kill."""

import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rmr1_sdk.backends.transformers import InMemory
from rmr1_sdk.errors import ConfigError, MissingExtraError
from rmr1_sdk.judge import Judge
from rmr1_sdk.loop import submit, wait
from rmr1_sdk.training.held_out import HeldOut
from rmr1_sdk.types import Pair

__all__ = [
    "Figures",
    "adapters",
    "is_first_process",
    "judged",
    "last_whole",
    "leave",
    "load",
    "micro_batches",
    "processes",
    "quiet_trl",
    "recorder",
    "settings",
]

_AT_ONCE = 32
"""Readings in one batch."""
_WAIT_S = 24 * 60 * 60
"""How long processes wait for each other, as for the first while it judges. Their launcher sees one that dies."""
_WHOLE = "whole"
"""An empty file that comes last into a checkpoint."""


def processes() -> int:
    """How many train together, as torchrun and `accelerate launch` tell each of them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this one of the processes that train together writes the files; their launcher tells each."""
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


def micro_batches(what: str, sequences: int, micro_batch_size: int) -> int:
    """How many micro batches of a process a step of so many sequences takes.

    Raises ConfigError where that does not come out even; `what` names the sequences in it, with their verb.
    """
    count, rest = divmod(sequences, micro_batch_size * processes())
    if rest or not count:
        raise ConfigError(f"{what} no multiple of micro_batch_size {micro_batch_size} times {processes()} processes")
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
    """What tells TRL to train adapters of this rank on all linear layers; None trains all weights."""
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


def recorder(figures: Figures, kept: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """What writes down the figures of each step while a trainer runs, and marks the checkpoints that are whole.

    `kept` chooses of what the trainer logs.
    """
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):  # type: ignore[misc]  # transformers is not read by mypy
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
            if state.is_world_process_zero and "loss" in logs:
                figures.add({"step": state.global_step, **kept(logs)})

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                (Path(args.output_dir) / f"checkpoint-{state.global_step}" / _WHOLE).touch()

    return Recorder()


def leave(checkpoint: Path, prompt: str) -> None:
    """Make a judge of what a trainer left: note its prompt, and put into order what adapters name in any."""
    (checkpoint / "rmr1.json").write_text(json.dumps({"prompt": prompt}) + "\n", encoding="utf-8")
    adapter = checkpoint / "adapter_config.json"
    if adapter.exists():
        config = json.loads(adapter.read_text(encoding="utf-8"))
        if isinstance(config["target_modules"], list):
            config["target_modules"].sort()
        adapter.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def last_whole(checkpoints: Path) -> Path | None:
    """The last checkpoint that was written to its end; those that were not are deleted."""
    whole = []
    for folder in checkpoints.glob("checkpoint-*"):
        if (folder / _WHOLE).exists():
            whole.append(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)  # another process may be at it too
    return max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)
