"""Export stage: a trained checkpoint becomes a merged checkpoint and measured GGUF files."""

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict

from rmr1_sdk import prompts
from rmr1_sdk.backends.base import recorded_prompt
from rmr1_sdk.backends.checkpoint import Checkpoint
from rmr1_sdk.errors import ConfigError, MissingExtraError
from rmr1_sdk.files.cache import replacing
from rmr1_sdk.training.data.held_out import HeldOut, read_held_out
from rmr1_sdk.training.export.gguf_files import convert, quantise
from rmr1_sdk.training.export.model_card import Exported, ExportedFile, model_card
from rmr1_sdk.training.export.parity import judged, parity
from rmr1_sdk.training.stage import Step
from rmr1_sdk.types import AsOption, Value

__all__ = ["ExportPlan", "export", "merge"]


class ExportPlan(Value):
    """The files to make of a trained judge."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    checkpoint: Path
    """A folder that training wrote: weights or adapters, a tokenizer and `rmr1.json`."""
    precisions: Annotated[tuple[str, ...], AsOption("--precision")] = ("Q8_0", "Q4_K_M")
    """Precision of a GGUF file, as llama.cpp names it; one in F16 is always written."""
    held_out: Annotated[Path | None, AsOption(unset="none")] = None
    """A file of labelled pairs that the checkpoint and all files judge in both orders."""
    data_card: Annotated[Path | None, AsOption(unset="none")] = None
    """A file that describes the training data, such as card.md; it is copied into checkpoint and model card."""


def export(plan: ExportPlan, out: Path) -> Exported:
    """Write `out/checkpoint`, a GGUF file for each precision, how they judge, and a model card of that.

    Adapters are merged. The checkpoint and every file name their prompt, so that `Judge(prompt="auto")` finds it. The
    files are called by the folder: `out/NAME-Q8_0.gguf`. A run that was killed goes on where it was. A folder that
    holds the same already is left alone.

    Raises ConfigError where the checkpoint does not name its prompt, and as `convert` and `quantise` do.
    """
    prompt = recorded_prompt(plan.checkpoint)
    if prompt is None:
        raise ConfigError(
            f'{plan.checkpoint} has no rmr1.json; write one, {{"prompt": "NAME"}}, with the prompt\'s name'
        )
    prompts.get(prompt)
    inputs = [path for path in (plan.held_out, plan.data_card) if path]
    settings = {**plan.model_dump(mode="json"), "base_digest": _base_digest(plan.checkpoint)}
    step = Step("export", out, settings, [*inputs, *_made(plan.checkpoint)])
    if not step.is_done():
        step.begin()
        _write_checkpoint(plan.checkpoint, out / "checkpoint", plan.data_card)
        files = _write_files(plan, out, prompt)
        result = _measured(plan, out, prompt, files)
        step.write("result.json", result.model_dump_json(indent=2) + "\n")
        step.write("README.md", model_card(result, plan.checkpoint, plan.held_out, plan.data_card))
        step.keep(*(file.name for file in files))
        _keep_checkpoint(step)
        step.finish()
        for left in out.glob("judgments.db*"):
            left.unlink()
    return Exported.model_validate_json((out / "result.json").read_text(encoding="utf-8"))


def merge(checkpoint: Path, out: Path) -> None:
    """Write `out/checkpoint`: that checkpoint, adapters merged into their model, for a stage that goes on from it.

    A folder that holds the same already is left alone. Raises ConfigError where a file cannot be read.
    """
    settings = {"checkpoint": str(checkpoint), "base_digest": _base_digest(checkpoint)}
    step = Step("merge", out, settings, _made(checkpoint))
    if not step.is_done():
        step.begin()
        _write_checkpoint(checkpoint, out / "checkpoint")
        _keep_checkpoint(step)
        step.finish()


def _made(checkpoint: Path) -> list[Path]:
    """The files of a checkpoint that count."""
    return sorted({file for pattern in (*_BELONGING, *_ADAPTERS) for file in checkpoint.glob(pattern)})


def _keep_checkpoint(step: Step) -> None:
    step.keep(*(f"checkpoint/{file.name}" for file in sorted((step.out / "checkpoint").iterdir())))


def _write_checkpoint(checkpoint: Path, folder: Path, data_card: Path | None = None) -> None:
    if folder.exists():
        return
    part = folder.with_name("checkpoint.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    if (checkpoint / "adapter_config.json").exists():
        _merge(checkpoint, part)
    for pattern in _BELONGING:
        for file in checkpoint.glob(pattern):
            if not (part / file.name).exists():
                shutil.copy2(file, part)
    if data_card:
        shutil.copy2(data_card, part / f"data_card{data_card.suffix}")
    part.rename(folder)


_BELONGING = (
    *("model*", "config.json", "generation_config.json", "rmr1.json", "tokenizer*", "*.jinja"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt"),
)
"""Files of a checkpoint. Trainers leave more."""


_ADAPTERS = ("adapter_config.json", "adapter_model*")


def _base_digest(checkpoint: Path) -> str | None:
    """The fingerprint of the folder that adapters belong to; None for other checkpoints and for a name on the hub."""
    config = checkpoint / "adapter_config.json"
    if not config.exists():
        return None
    base = json.loads(config.read_bytes()).get("base_model_name_or_path")
    return Checkpoint(base, "auto", None).digest if base else None


def _merge(adapters: Path, folder: Path) -> None:
    try:
        from peft import AutoPeftModelForCausalLM
    except ImportError as error:
        raise MissingExtraError("peft", "train") from error
    tuned: Any = AutoPeftModelForCausalLM.from_pretrained(adapters, dtype="auto")
    tuned.merge_and_unload().save_pretrained(folder)


def _write_files(plan: ExportPlan, out: Path, prompt: str) -> list[Path]:
    full = out / f"{out.resolve().name}-F16.gguf"
    files = [full]
    if not full.exists():
        with replacing(full, full.with_suffix(".part")) as part:
            convert(out / "checkpoint", part, prompt)
    for precision in plan.precisions:
        file = full.with_name(full.name.replace("-F16.gguf", f"-{precision}.gguf"))
        files.append(file)
        if not file.exists():
            with replacing(file, file.with_suffix(".part")) as part:
                quantise(full, part, precision)
    return files


def _measured(plan: ExportPlan, out: Path, prompt: str, files: list[Path]) -> Exported:
    sizes = {file.name: file.stat().st_size for file in files}
    if plan.held_out is None:
        return Exported(
            name=out.resolve().name,
            prompt=prompt,
            checkpoint=None,
            files=tuple(ExportedFile(name=name, bytes=size, parity=None) for name, size in sizes.items()),
        )
    pairs = read_held_out(plan.held_out)
    store = out / "judgments.db"
    by_checkpoint = judged(f"transformers:{out / 'checkpoint'}", pairs, store)
    exported = []
    for file in files:
        compared = parity(pairs, by_checkpoint, judged(f"llama_cpp:{file}", pairs, store))
        exported.append(ExportedFile(name=file.name, bytes=sizes[file.name], parity=compared))
    return Exported(
        name=out.resolve().name, prompt=prompt, checkpoint=HeldOut.of(pairs, by_checkpoint), files=tuple(exported)
    )
