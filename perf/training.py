"""What `rmr1 train` costs beside TRL: the time of a step of SFT and of GRPO, against bare scripts of the same settings.

`python perf/training.py` makes a model of two million weights and data of the tiny domain, and trains on one thread
in one process: five runs of each, alternated, after one of each that does not count. A step lasts from the end of the
one before to its own: fetching rows, completions and rewards, the model's passes, the optimizer and the figures of each
step are in; loading, the first step, checkpoints and judgments of held-out pairs are not, on either side. Both sides
must have the same losses and rewards in each step. It prints the ratio of the medians of each step, summed up over the
steps, and fails where one is above 1.03. Seconds of the CPU tell apart what another program took.
"""

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
from rmr1_sdk import prompts
from rmr1_sdk.cli import app
from rmr1_sdk.training import domain
from rmr1_sdk.training.stage import Trace
from rmr1_sdk.training.tiny.model import TinyModel, make
from rmr1_sdk.types import Pair, Value

RUNS, LIMIT = 5, 1.03
SFT_STEPS, SFT_ROWS = 24, 8
GRPO_STEPS, GRPO_PAIRS, GROUP, TOKENS = 10, 4, 4, 96
RATE = 1e-3
LEARNER = TinyModel(
    hidden=256, intermediate=512, layers=3, heads=8, convolutions=False, rope_theta=100, init=0.06
)  # two million weights


@dataclass
class Run:
    """The clocks at the end of each step, and the trainer's own figures of it."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    figures: list[dict[str, float]] = field(default_factory=list)


def tracker(train: Callable[[Path], None]) -> Run:
    """Train in an empty folder, tracker by a callback that every trainer of transformers gets first."""
    import transformers.trainer as library

    run = Run()

    class Clock(library.TrainerCallback):  # type: ignore[misc]  # transformers is not read by mypy
        def on_step_end(self, *_: Any, **__: Any) -> None:
            run.wall.append(time.perf_counter())
            run.cpu.append(time.process_time())

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" in logs:
                run.figures.append({name: logs[name] for name in ("loss", "reward") if name in logs})

    callbacks: list[Any] = library.DEFAULT_CALLBACKS
    callbacks.append(Clock)
    try:
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
            train(Path(folder))
    finally:
        callbacks.remove(Clock)
    return run


def compare(name: str, bare: Callable[[Path], None], ours: Callable[[Path], None]) -> float:
    """The ratio of the time of all steps, ours over the bare script's."""
    runs: list[tuple[Run, Run]] = []
    for number in range(RUNS + 1):
        if number % 2:
            one, other = tracker(bare), tracker(ours)
        else:
            other, one = tracker(ours), tracker(bare)
        same(one.figures, other.figures)
        if number:
            runs.append((one, other))
            means = (mean(seconds(run.wall)) for run in runs[-1])
            print(f"{name}: TRL {next(means):.3f} s a step, rmr1 train {next(means):.3f} s", flush=True)
    of_bare, of_ours = zip(*runs, strict=True)
    wall = medians(run.wall for run in of_ours) / medians(run.wall for run in of_bare)
    cpu = medians(run.cpu for run in of_ours) / medians(run.cpu for run in of_bare)
    print(f"{name}: {wall:.3f} times the time of a step, {cpu:.3f} times the CPU's", flush=True)
    return wall


def seconds(clock: list[float]) -> list[float]:
    """What each step took, from the end of the one before; the first one has none."""
    return [end - begin for begin, end in pairwise(clock)]


def medians(clocks: Iterable[list[float]]) -> float:
    """The median of each step over the runs, summed up: a burst of other work slows single steps of single runs."""
    steps: list[float] = [median(step) for step in zip(*map(seconds, clocks), strict=True)]
    return sum(steps)


def same(bare: list[dict[str, float]], ours: list[dict[str, float]]) -> None:
    for step, (one, other) in enumerate(zip(bare, ours, strict=True), start=1):
        for name, value in one.items():
            if abs(value - other[name]) > 1e-3 * max(1, abs(value)):
                sys.exit(f"step {step}: {name} is {value} in the bare script and {other[name]} in ours")


# --- both sides ---------------------------------------------------------------------------------------


def rmr1(*words: object) -> None:
    app(["train", *map(str, words)], standalone_mode=False)


def messages(pair: Pair) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in prompts.get("cor").render(pair)]


def bare_sft(model: Path, traces: list[Trace], out: Path) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    rows = [
        {"prompt": messages(trace.pair), "completion": [{"role": "assistant", "content": trace.text}]}
        for trace in traces
    ]
    SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype="float32"),
        processing_class=AutoTokenizer.from_pretrained(model),
        train_dataset=Dataset.from_list(rows),
        args=SFTConfig(
            output_dir=str(out),
            learning_rate=RATE,
            lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr_rate": 0.1},
            warmup_steps=0.03,
            adam_beta2=0.95,
            weight_decay=0.0,
            max_grad_norm=1.0,
            num_train_epochs=1,
            per_device_train_batch_size=SFT_ROWS,
            gradient_checkpointing=False,
            max_length=2048,
            **COMMON,
        ),
    ).train()


def our_sft(model: Path, traces: Path, out: Path) -> None:
    rmr1(
        "sft", traces, "--model", model, "--out", out / "sft", "--learning-rate", RATE, "--batch-size", SFT_ROWS,
        "--micro-batch-size", SFT_ROWS, "--max-length", 2048, "--no-packing", "--no-gradient-checkpointing",
    )  # fmt: skip


def bare_grpo(model: Path, pool: list[Pair], out: Path) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    def reward(completions: list[list[dict[str, str]]], label: list[str], **_: Any) -> list[float]:
        texts = [completion[0]["content"][-80:] for completion in completions]
        return [
            1.0 if f"<answer>[[{side}]]</answer>" in text else -1.0 for text, side in zip(texts, label, strict=True)
        ]

    GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype="float32"),
        processing_class=AutoTokenizer.from_pretrained(model),
        train_dataset=Dataset.from_list([{"prompt": messages(pair), "label": pair.label} for pair in pool]),
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=str(out),
            loss_type="grpo",
            num_generations=GROUP,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            max_completion_length=TOKENS,
            per_device_train_batch_size=GRPO_PAIRS * GROUP,
            learning_rate=RATE / 10,
            lr_scheduler_type="constant",
            weight_decay=0.01,
            max_grad_norm=1.0,
            num_train_epochs=1,
            beta=1e-3,
            use_bias_correction_kl=False,
            epsilon=0.2,
            disable_dropout=True,
            gradient_checkpointing=False,
            **COMMON,
        ),
    ).train()


def our_grpo(model: Path, pool: Path, out: Path) -> None:
    rmr1(
        "grpo", pool, "--model", model, "--out", out / "grpo", "--prompt", "cor", "--learning-rate", RATE / 10,
        "--group", GROUP, "--rollout-size", GRPO_PAIRS, "--batch-size", GRPO_PAIRS,
        "--micro-batch-size", GRPO_PAIRS * GROUP, "--max-completion-tokens", TOKENS, "--no-gradient-checkpointing",
        "--every", 1000,
    )  # fmt: skip


COMMON: dict[str, Any] = {
    "save_steps": 1000,
    "logging_steps": 1,
    "report_to": [],
    "disable_tqdm": True,
    "use_cpu": True,
    "bf16": False,
    "dataloader_pin_memory": False,
    "seed": 0,
}


def write(path: Path, rows: Iterable[Value]) -> Path:
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    return path


def main() -> None:
    import torch

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "TRL currently supports vLLM versions")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawn = domain.generate(SFT_STEPS * SFT_ROWS)
        pairs = [pair if pair.label == "AB"[n % 2] else pair.swapped() for n, pair in enumerate(drawn)]
        learned = [
            Trace(pair=pair, text=domain.trace(pair), family="cor", prompt="cor", teacher=1, model="tiny")
            for pair in pairs
        ]
        pool = pairs[: GRPO_STEPS * GRPO_PAIRS]
        traces, labelled, model = (
            write(folder / "traces.jsonl", learned),
            write(folder / "pool.jsonl", pool),
            folder / "m",
        )
        make(learned, model, LEARNER)
        ratios = [
            compare("SFT", lambda out: bare_sft(model, learned, out), lambda out: our_sft(model, traces, out)),
            compare("GRPO", lambda out: bare_grpo(model, pool, out), lambda out: our_grpo(model, labelled, out)),
        ]
    if max(ratios) > LIMIT:
        sys.exit(f"a step takes more than {LIMIT} times that of a bare script")


if __name__ == "__main__":
    main()
