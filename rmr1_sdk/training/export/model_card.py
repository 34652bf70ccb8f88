"""Model card of an exported judge, from its measurements."""

import json
from pathlib import Path

from rmr1_sdk.training.data.held_out import HeldOut
from rmr1_sdk.training.export.parity import Parity
from rmr1_sdk.types import Value

__all__ = ["Exported", "ExportedFile", "model_card"]


class ExportedFile(Value):
    """A GGUF file, and how it judges beside the checkpoint; None where there were no pairs to judge."""

    name: str
    bytes: int
    parity: Parity | None


class Exported(Value):
    """An exported judge: its checkpoint's figures, None where there were no pairs to judge, and its files."""

    name: str
    prompt: str
    checkpoint: HeldOut | None
    files: tuple[ExportedFile, ...]


def model_card(exported: Exported, trained: Path, held_out: Path | None, data_card: Path | None) -> str:
    """The card as Markdown. What is known of the training is read from the `step.json` beside the trained folder."""
    file = exported.files[:2][-1].name
    parts = [
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [rmr1, judge, reward-model]\n---",
        f"# {exported.name}",
        f"A judge that reasons: it says which of two answers is better, and why. It is asked with the prompt "
        f"`{exported.prompt}` of rmr1_sdk, whose name is in every file.",
        f'```python\nfrom rmr1_sdk import Judge\n\njudge = Judge("llama_cpp:{file}")\n```',
        "## How well it judges",
        _figures(exported, held_out),
        "## How it was trained",
        _training(trained.parent / "step.json"),
        *(["## What it learned from", _without_title(data_card)] if data_card else []),
        "## Limits",
        _limits(exported),
    ]
    return "\n\n".join(parts) + "\n"


def _figures(exported: Exported, held_out: Path | None) -> str:
    if exported.checkpoint is None or held_out is None:
        return "Not measured: it was exported without labelled pairs."
    head = [
        "",
        "MB",
        "accuracy",
        "both orders right",
        "readable",
        "agrees with the checkpoint",
        "accuracy less its, points",
    ]
    rows = [["checkpoint", "", *_shares(exported.checkpoint), "", ""]]
    for file in exported.files:
        assert file.parity
        of_file = [str(file.parity.agreement), str(file.parity.difference)]
        rows.append([file.name, f"{file.bytes / 1e6:.1f}", *_shares(file.parity.held_out), *of_file])
    table = "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))
    pairs = exported.checkpoint.both_right.of
    return (
        f"{pairs:,} pairs of `{held_out.name}`, each in both orders, one reading at temperature 0, nothing forced and "
        f"nothing asked twice. An unreadable verdict is wrong. Intervals at 95%: Wilson's, and for the differences a "
        f"paired bootstrap over pairs; one without width says that nothing differed here.\n\n{table}"
    )


def _shares(figures: HeldOut) -> list[str]:
    return [str(figures.accuracy), str(figures.both_right), str(figures.readable)]


def _training(step: Path) -> str:
    if not step.is_file():
        return "Not known: there is no `step.json` beside the folder it was exported from."
    record = json.loads(step.read_text(encoding="utf-8"))
    made_with = record["settings"] | {name: record[name] for name in ("model_commit",) if name in record}
    settings = [f"- {name}: `{json.dumps(_named(value))}`" for name, value in made_with.items()]
    return "\n".join([f"Stage `{record['stage']}` of rmr1_sdk {record['rmr1_sdk']}.", "", *settings])


def _named(value: object) -> object:
    """A path of this machine by its last part; others as they are."""
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _without_title(data_card: Path) -> str:
    text = data_card.read_text(encoding="utf-8").strip()
    if data_card.suffix == ".json":
        return f"```json\n{text}\n```"
    lines = text.splitlines()
    body = "\n".join(lines[1:] if lines[:1] and lines[0].startswith("# ") else lines).strip()
    return body.replace("\n## ", "\n### ").removeprefix("## ")


def _limits(exported: Exported) -> str:
    limits = [
        "- The figures are of the pairs named above; they promise nothing about other questions and answers.",
        "- The reasons are text like any other: a right verdict may come with wrong ones.",
        "- Answers can be written to deceive a judge.",
    ]
    if exported.checkpoint and exported.checkpoint.first:
        limits.insert(
            1, f"- It names the answer shown first in {exported.checkpoint.first} readings; ask in both orders."
        )
    return "\n".join(limits)
