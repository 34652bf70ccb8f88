"""`rmr1 models` and `rmr1 doctor`: known models, installed backends and conformance checks."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from itertools import combinations
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rmr1_sdk.backends import BACKENDS, BackendSpec, connect
from rmr1_sdk.backends.conformance import QUESTIONS, check, likeness
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.errors import BackendError
from rmr1_sdk.files.cache import cache_folder
from rmr1_sdk.files.models import MODELS, PRECISIONS
from rmr1_sdk.prompts import published

__all__ = ["doctor", "models"]


def models() -> None:
    """List the models with a short name, and the memory of their weights."""
    rows = [
        {
            "name": name,
            "family": model.family,
            "params_b": model.params_b,
            "memory_gb": {precision: round(model.memory_gb(precision), 1) for precision in PRECISIONS},
            "source": model.source,
        }
        for name, model in MODELS.items()
    ]
    _show(
        rows,
        ["name", "family", "size", *PRECISIONS, "source"],
        lambda row: [
            row["name"],
            row["family"],
            f"{row['params_b']:g}B",
            *(f"{gb:g} GB" for gb in row["memory_gb"].values()),
            row["source"],
        ],
    )


def doctor(
    conformance: Annotated[
        list[str],
        typer.Option(
            help="Run the conformance checks on this backend, as in llama_cpp:model.gguf; repeat it.",
            show_default="none",
        ),
    ] = [],  # noqa: B006  # typer copies it
) -> None:
    """List the backends: installed, able to run, and the command that installs each."""
    if conformance:
        _conform(conformance)
        return
    _show(
        [_examine(name, engine) for name, engine in BACKENDS.items()],
        ["engine", "installed", "runs here", "to install"],
        lambda row: [row["engine"], row["installed"] or "no", row["problem"] or "yes", row["install"]],
    )
    if sys.stdout.isatty():
        texts = "there" if published.load() else "not there; `rmr1 prompts pull` gets them"
        print(f"Python {platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores")
        print(f"cache {cache_folder()}; texts of the published RM-R1 prompts: {texts}")


def _conform(specs: list[str]) -> None:
    """Each backend's checks, and where there are several, how alike each two are."""
    engines = {spec: connect(spec) for spec in specs}
    rows = [
        {"engine": spec, "check": result.name, "outcome": result.outcome, "detail": result.detail}
        for spec, engine in engines.items()
        for result in wait(submit(check(engine)))
    ]
    for one, two in combinations(engines, 2):
        detail = str(wait(submit(likeness(engines[one], engines[two]))))
        name = f"are alike on {len(QUESTIONS)} questions"
        rows.append({"engine": f"{one} and {two}", "check": name, "outcome": "seen", "detail": detail})
    for engine in engines.values():
        wait(submit(engine.aclose()))
    _show(rows, ["engine", "check", "outcome", "detail"], lambda row: list(map(str, row.values())))
    if failed := sum(row["outcome"] == "failed" for row in rows):
        raise BackendError(f"{failed} of {len(rows)} checks failed")


def _examine(name: str, engine: BackendSpec) -> dict[str, str | None]:
    missing = [module for module in engine.imports if find_spec(module) is None]
    first = engine.imports[0] if engine.imports else None
    problem = f"needs {', '.join(missing)}" if missing else _import_problem(engine)
    return {
        "engine": name,
        "installed": None if missing else _version(first) if first else version("rmr1_sdk"),
        "problem": problem,
        "install": f'pip install "rmr1_sdk[{engine.extra}]"' if engine.extra else "comes with rmr1_sdk",
    }


def _version(module: str) -> str:
    try:
        return version(packages_distributions()[module][0])
    except (KeyError, PackageNotFoundError):
        return "yes"


def _import_problem(engine: BackendSpec) -> str | None:
    """Import a backend in a process of its own: one that was built for another machine may take its process along."""
    code = "\n".join(f"import {module}" for module in (*engine.imports, engine.leaf))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)  # noqa: S603  # our own table
    if ran.returncode == 0:
        return None
    return (ran.stderr.strip().splitlines() or [f"ended with code {ran.returncode}"])[-1]


def _show(rows: list[dict[str, Any]], heads: list[str], cells: Callable[[dict[str, Any]], list[str]]) -> None:
    """A table for a person; a JSON object a line for a pipe."""
    if not sys.stdout.isatty():
        for row in rows:
            print(json.dumps(row))
        return
    table = Table(box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold", no_wrap=head == heads[0])
    for row in rows:
        table.add_row(*map(escape, cells(row)))
    Console().print(table)
