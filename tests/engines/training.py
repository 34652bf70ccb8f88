"""What the tests of training share: traces of the tiny domain, and models that are made from nothing."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from rmr1_sdk import Pair
from rmr1_sdk.training.domain import Domain, generate, trace
from rmr1_sdk.training.learn.sft import SftPlan
from rmr1_sdk.training.stage import Trace
from rmr1_sdk.training.tiny.model import TinyModel, make
from rmr1_sdk.types import Value

EASY = Domain(kinds=("order",), links=(3, 4), hops=(1, 2))
"""Who stands next, or next but one, in a row of four or five."""
SMALL = TinyModel(hidden=32, intermediate=64, layers=1, heads=2, convolutions=False, context=512)
"""A Llama, so that its sequences can be packed."""


def traces(count: int, family: Literal["cor", "reasoning"] = "cor", domain: Domain = EASY) -> list[Trace]:
    return [
        Trace(pair=pair, text=trace(pair, family), family=family, prompt=family, teacher=1, model="tiny")
        for pair in generate(count, seed=1, domain=domain)
    ]


def write(path: Path, rows: Iterable[Value]) -> Path:
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    return path


def on_the_hub(folder: Path, cache: Path) -> str:
    """Move a checkpoint to where a hub's cache has the newest commit of `someone/tiny`, as a download leaves it."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = cache / "hub" / "models--someone--tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    (cached / "snapshots").mkdir()
    shutil.move(folder, cached / "snapshots" / commit)
    return commit


def plan(folder: Path, learned: Sequence[Trace], held_out: Sequence[Pair] = (), **given: Any) -> SftPlan:
    """To learn from these traces with a model of SMALL's size, in that folder; it is made there once."""
    if not (folder / "base").exists():
        make(learned, folder / "base", SMALL)
        write(folder / "traces.jsonl", learned)
    options: dict[str, Any] = {
        "model": str(folder / "base"),
        "traces": folder / "traces.jsonl",
        "held_out": write(folder / "held_out.jsonl", held_out) if held_out else None,
        "learning_rate": 3e-3,
        "batch_size": 8,
        "micro_batch_size": 8,
        "max_length": 512,
        "packing": False,
        "gradient_checkpointing": False,
        **given,
    }
    return SftPlan.model_validate(options)
