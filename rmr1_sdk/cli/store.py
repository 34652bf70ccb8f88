"""`rmr1 store`: list, prune and export a store."""

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.files.store import Store

__all__ = ["export", "ls", "prune"]

StorePath = Annotated[Path, typer.Argument(help="The store's file.")]


def ls(path: StorePath) -> None:
    """List the contents of the store, one line for each backend."""
    for held in Store(path).ls():
        if sys.stdout.isatty():
            first, last = (datetime.fromtimestamp(t).strftime("%Y-%m-%d %H:%M") for t in (held.first, held.last))
            print(f"{held.completions:>9,}  {first} to {last}  {held.identity}")
        else:
            print(json.dumps(held._asdict()))


def prune(
    path: StorePath,
    identity: Annotated[
        str | None, typer.Option(help="Only completions of this backend, as `ls` names it.", show_default="all")
    ] = None,
    older_than_days: Annotated[
        float | None, typer.Option(help="Only completions older than this number of days.", show_default="all")
    ] = None,
) -> None:
    """Delete completions by backend, by age, or both."""
    if identity is None and older_than_days is None:
        raise ConfigError("say what to prune: --identity, --older-than-days, or both")
    before = None if older_than_days is None else time.time() - older_than_days * 86_400
    print(f"{Store(path).prune(identity=identity, before=before)} completions deleted")


def export(path: StorePath) -> None:
    """Print every request and completion as JSON lines, oldest first."""
    for row in Store(path).export():
        print(json.dumps(row, ensure_ascii=False))
