"""The `rmr1` command. Exit codes: 0 success, 1 failure, 2 wrong usage."""

import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from rmr1_sdk.errors import ConfigError, RMR1Error

__all__ = ["COMMANDS", "LateCommand", "app", "main"]

_INTERRUPTED = 130  # what typer makes of Ctrl-C

COMMANDS = {
    "judge": ("judge:judge", "Judge one pair (--question, --a, --b) or a file of pairs."),
    "rank": ("rank:rank", "Rank one list of answers (--question, --answer ...) or a file of lists."),
    "serve": ("serve:serve", "Serve a judge over HTTP: comparisons, rankings, grades and rewards."),
    "bench": ("bench:bench", "Score a judge (--model) or existing results (--from) on a benchmark."),
    "report": ("report:report", "Write a report of one run, or of several runs over the same pairs."),
    "audit": ("audit:audit", "Audit a judge: position, length, injections, quotes, rubrics, consistency."),
    "models": ("machine:models", "List the models with a short name, and the memory of their weights."),
    "doctor": ("machine:doctor", "List the backends: installed, able to run, and the command that installs each."),
    "prompts ls": ("prompts:list_prompts", "List the prompts."),
    "prompts show": ("prompts:show", "Print the messages of a prompt, with the fields it fills."),
    "prompts import": ("prompts:import_file", "Import the published texts from a file, check and cache them."),
    "prompts pull": ("prompts:pull", "Download the published texts from the authors' pinned release."),
    "store ls": ("store:ls", "List the contents of the store, one line for each backend."),
    "store prune": ("store:prune", "Delete completions by backend, by age, or both."),
    "store export": ("store:export", "Print every request and completion as JSON lines, oldest first."),
    "train data": ("train:data", "Mix, clean and split preference data, and write a data card."),
    "train distill": ("train:distill", "Distil reasoning traces from teachers, and keep those that pass every check."),
    "train tiny-model": ("train:tiny_model", "Make a tiny model from nothing, small enough to train on a laptop."),
    "train sft": ("train:sft", "Fine-tune a model on traces, and evaluate it on held-out pairs."),
    "train grpo": ("train:grpo", "Train a judge from labels alone (GRPO), and keep the best checkpoint."),
    "train export": ("train:export", "Merge adapters, write GGUF files, and measure their agreement."),
    "train run": ("recipes:run", "Run all stages of a recipe; finished stages are skipped."),
    "train emit": ("recipes:emit", "Write a recipe's GRPO for verl or OpenRLHF."),
}
"""The function of each command, imported on use, and its line in the help: the first of the function's docstring."""

_GROUPS = {
    "prompts": "Prompts, and the texts that published RM-R1 checkpoints expect.",
    "store": "Look at, prune and export a store of completions.",
    "train": "Train a judge, from preference data to GGUF files, in stages.",
}


class LateCommand(TyperCommand):
    """A command listed without importing its module: its callback imports and returns the function to run."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Import the function, and parse the arguments as the command made of it."""
        assert self.callback
        alone = typer.Typer(add_completion=False)
        alone.command(self.name)(self.callback())
        return get_command(alone).make_context(*args, **extra)


def _importer(place: str) -> Callable[[], Callable[..., None]]:
    module, function = place.split(":")
    return lambda: getattr(import_module(f"rmr1_sdk.cli.{module}"), function)


def _build() -> typer.Typer:
    built = typer.Typer(
        name="rmr1",
        help="Judges that reason: which of two answers is better, and why.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    groups = {name: typer.Typer(help=line, no_args_is_help=True) for name, line in _GROUPS.items()}
    for name, group in groups.items():
        built.add_typer(group, name=name)
    for path, (place, line) in COMMANDS.items():
        of, _, name = path.rpartition(" ")
        groups.get(of, built).command(name, cls=LateCommand, help=line)(_importer(place))
    return built


app = _build()


def main() -> None:
    """Run the command and exit with its code; errors go to standard error as one line."""
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    try:
        app()
    except ConfigError as error:
        _fail(error, 2)
    except RMR1Error as error:
        _fail(error, 1)
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:
            print("interrupted; with a store or --ray, the same command resumes", file=sys.stderr)
        raise


def _fail(error: Exception, code: int) -> None:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(code)
