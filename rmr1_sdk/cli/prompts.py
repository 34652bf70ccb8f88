"""`rmr1 prompts`: list and show prompts, and get the published texts."""

from pathlib import Path
from typing import Annotated

import typer

from rmr1_sdk import prompts
from rmr1_sdk.files.cache import cache_folder
from rmr1_sdk.prompts import published
from rmr1_sdk.types import Pair

__all__ = ["import_file", "list_prompts", "pull", "show"]


def list_prompts() -> None:
    """List the prompts."""
    for name in prompts.PROMPTS:
        print(name)


def show(name: Annotated[str, typer.Argument(help="A prompt's name.")]) -> None:
    """Print the messages of a prompt, with the fields it fills."""
    prompt = prompts.get(name)
    pair = Pair(question="{question}", a="{answer A}", b="{answer B}")
    print(f"# {prompt.name} ({prompt.family}) {prompt.digest}")
    for message in prompt.render(pair):
        print(f"\n--- {message.role} ---\n{message.content}")


def import_file(file: Annotated[Path, typer.Argument(help="The authors' demo.ipynb.")]) -> None:
    """Import the published texts from a file, check and cache them."""
    _report(published.import_notebook(file))


def pull(url: Annotated[str, typer.Option(help="Where the authors' notebook is.")] = published.DEFAULT_URL) -> None:
    """Download the published texts from the authors' pinned release."""
    _report(published.pull(url))


def _report(names: list[str]) -> None:
    print(f"{len(names)} texts checked and cached in {cache_folder()}: {', '.join(names)}")
