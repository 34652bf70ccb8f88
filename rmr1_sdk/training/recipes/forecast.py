"""Forecast of a recipe before it runs: its stages, their steps, and the memory of a GPU."""

import json
from math import ceil
from pathlib import Path

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.training.data.prepare import DataPlan
from rmr1_sdk.training.learn.grpo import GrpoPlan
from rmr1_sdk.training.learn.sft import SftPlan
from rmr1_sdk.training.recipes.memory import Generation, Machine, Memory, Shape, Trained, memory
from rmr1_sdk.training.recipes.recipe import Recipe, StageName
from rmr1_sdk.training.tiny.model import LARGEST_VOCABULARY
from rmr1_sdk.types import Value

__all__ = ["Forecast", "StageForecast", "forecast", "grpo_memory", "grpo_steps", "sft_memory", "sft_steps"]


class StageForecast(Value):
    """Forecast of a stage.

    Args:
        stage: its name.
        folder: where it leaves its files.
        is_done: whether its step.json says that they are all there.
        rows: pairs, or traces, that it works on; None where nobody knows yet.
        is_counted: whether these are counted in files, and not what the recipe expects.
        steps: of training, at most; with packing there are fewer, since a sequence holds several traces.
        memory: of a GPU, or of the process on a CPU; None where it trains nothing or the model's shape is not known.
    """

    stage: StageName
    folder: Path
    is_done: bool
    rows: int | None = None
    is_counted: bool = False
    steps: int | None = None
    memory: Memory | None = None


class Forecast(Value):
    """Forecast of a recipe.

    Args:
        recipe: it, with all paths and defaults.
        parameters: of the model; None where its shape is not known.
        stages: in order.
        notes: what cannot be told, and what will not go well.
    """

    recipe: Recipe
    parameters: int | None
    stages: tuple[StageForecast, ...]
    notes: tuple[str, ...]


def sft_memory(plan: SftPlan, shape: Shape, machine: Machine) -> Memory:
    """Of a GPU while it fine-tunes."""
    trained = Trained(
        tokens=plan.micro_batch_size * plan.max_length,
        lora_rank=plan.lora_rank,
        checkpointing=plan.gradient_checkpointing,
    )
    return memory(shape, machine, trained)


def grpo_memory(plan: GrpoPlan, shape: Shape, machine: Machine) -> Memory:
    """Of a GPU in GRPO. A model to diverge from is there where `kl` counts; adapters are switched off for it."""
    length = plan.max_prompt_tokens + plan.max_completion_tokens
    trained = Trained(
        tokens=plan.micro_batch_size * length,
        lora_rank=plan.lora_rank,
        checkpointing=plan.gradient_checkpointing,
        reference=plan.kl > 0 and plan.lora_rank is None,
    )
    sequences = ceil(plan.rollout_size * plan.group / machine.processes)
    return memory(shape, machine, trained, Generation(sequences=sequences, tokens=length, vllm_share=_vllm_share(plan)))


def _vllm_share(plan: GrpoPlan) -> float | None:
    """The GPU's share that vLLM takes, by TRL's defaults where the plan does not say; None where it is not used."""
    if not plan.trl.get("use_vllm"):
        return None
    if plan.trl.get("vllm_mode", "colocate") == "server":
        return 0.0
    return float(plan.trl.get("vllm_gpu_memory_utilization", 0.3))


def sft_steps(plan: SftPlan, traces: int, processes: int) -> int:
    """Steps of fine-tuning; with packing as many as if each trace had a sequence of its own."""
    batches = ceil(traces / (plan.micro_batch_size * processes))
    in_a_step = max(1, plan.batch_size // (plan.micro_batch_size * processes))
    return ceil(plan.epochs * ceil(batches / in_a_step))


def grpo_steps(plan: GrpoPlan, pairs: int) -> int:
    """Steps of GRPO: of whole rollouts alone."""
    return ceil(plan.epochs * (pairs // plan.rollout_size) * (plan.rollout_size // plan.batch_size))


def forecast(recipe: Recipe) -> Forecast:
    """Forecast a recipe. Rows are counted where the stage before is done, else taken from the recipe's `rows`."""
    notes: list[str] = []
    shape = _shape(recipe, notes)
    stages = tuple(_stage(recipe, stage, shape, notes) for stage in recipe.stages)
    return Forecast(recipe=recipe, parameters=shape.parameters if shape else None, stages=stages, notes=tuple(notes))


def _shape(recipe: Recipe, notes: list[str]) -> Shape | None:
    learner = recipe.model
    if learner is None:
        return None
    if tiny := learner.tiny:  # a short convolution has about as many weights as the attention in its place
        sizes = {name: getattr(tiny, name) for name in ("layers", "hidden", "intermediate", "heads")}
        return Shape(**sizes, kv_heads=tiny.heads, vocab=LARGEST_VOCABULARY, tied=True)
    try:
        return learner.shape or Shape.read(Path(str(learner.name)).expanduser())
    except ConfigError as error:
        notes.append(f"memory is not known without model.shape: {error}")
        return None


def _stage(recipe: Recipe, stage: StageName, shape: Shape | None, notes: list[str]) -> StageForecast:
    rows, is_counted = _rows(recipe, stage)
    steps: int | None = None
    needed: Memory | None = None
    if stage == "sft" and recipe.sft:
        steps = rows and sft_steps(recipe.sft, rows, recipe.machine.processes)
        needed = sft_memory(recipe.sft, shape, recipe.machine) if shape else None
        _note_rest(notes, stage, recipe.sft, recipe.machine.processes)
    if stage == "grpo" and recipe.grpo:
        plan = recipe.grpo
        steps = rows and grpo_steps(plan, rows)
        needed = grpo_memory(plan, shape, recipe.machine) if shape else None
        _note_rest(notes, stage, plan, recipe.machine.processes)
        if rows and rows < plan.rollout_size:
            notes.append(f"grpo: a rollout takes {plan.rollout_size} pairs, and there are {rows}")
    if needed and recipe.machine.gpus and needed.total > recipe.machine.memory_gib * 2**30:
        has = f"a GPU has {recipe.machine.memory_gib:g}"
        notes.append(f"{stage}: {needed.total / 2**30:.1f} GiB are needed, and {has}")
    folder = recipe.folder(stage)
    return StageForecast(
        stage=stage,
        folder=folder,
        is_done=_is_done(folder),
        rows=rows,
        is_counted=is_counted,
        steps=steps,
        memory=needed,
    )


def _note_rest(notes: list[str], stage: str, plan: SftPlan | GrpoPlan, processes: int) -> None:
    try:
        plan.micro_batches(processes)
    except ConfigError as error:
        notes.append(f"{stage}: {error}")


def _is_done(folder: Path) -> bool:
    """True where a stage's record has outputs. Its settings are compared where the stage runs."""
    record = folder / "step.json"
    return record.exists() and "outputs" in json.loads(record.read_text(encoding="utf-8"))


def _rows(recipe: Recipe, stage: StageName) -> tuple[int | None, bool]:
    """Number of rows of a stage, and whether they were counted: in the file, or in the data's card."""
    if stage == "distill" and recipe.distill:
        return _rows_of(recipe, recipe.distill.pairs, recipe.distill.pairs.stem)
    if stage == "sft" and recipe.sft:
        return _rows_of(recipe, recipe.sft.traces, "traces")
    if stage == "grpo" and recipe.grpo:
        return _rows_of(recipe, recipe.grpo.pool, recipe.grpo.pool.stem)
    return None, False


def _rows_of(recipe: Recipe, file: Path, name: str) -> tuple[int | None, bool]:
    if file.exists():
        with file.open("rb") as lines:
            return sum(1 for _ in lines), True
    if name in recipe.rows:
        return recipe.rows[name], False
    if name == "traces" and recipe.distill:
        return _rows(recipe, "distill")[0], False
    return (_size(recipe.data, name) if recipe.data else None), False


def _size(plan: DataPlan, part: str) -> int | None:
    """Rows of a part, where the plan alone tells them: they are its own number, or all is made up."""
    size = plan.parts.get(part)
    made_up = [(source.path.removeprefix("tiny:"), source.take) for source in plan.sources]
    numbers = [other for other in plan.parts.values() if isinstance(other, int)]
    if size == "rest" and all(made.isdecimal() for made, _ in made_up) and len(numbers) == len(plan.parts) - 1:
        return sum(min(int(made), take or int(made)) for made, take in made_up) - sum(numbers)
    return size if isinstance(size, int) else None
