"""Help, shell completion and suggestions of `rmr1`: complete, though no command is imported to be listed."""

import inspect
import json
import re
import sys
from importlib import import_module

import pytest
from typer.testing import CliRunner

from rmr1_sdk.cli import COMMANDS, app
from tests import processes

GROUPS = {path.partition(" ")[0] for path in COMMANDS if " " in path}
BARE = """
import typer
app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})
group = typer.Typer()
app.add_typer(group, name="train")
group.command("one")(lambda: None)
group.command("two")(lambda: None)
"""


def loaded(app: str, arguments: list[str]) -> set[str]:
    """The modules that a process has imported when it has printed its help."""
    code = f"import json, sys\n{app}\ntry:\n    app({arguments})\nfinally:\n    print(json.dumps(list(sys.modules)))"
    said = processes.run([sys.executable, "-c", code], check=True)
    assert "Usage:" in said.stdout
    return set(json.loads(said.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["-h"], ["train", "-h"]], ids=" ".join)
def test_help_imports_no_command(arguments: list[str]) -> None:
    ours = loaded("from rmr1_sdk.cli import app", arguments)
    assert ours - loaded(BARE, arguments) == {"rmr1_sdk", "rmr1_sdk.cli", "rmr1_sdk.errors"}


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_is_listed_with_the_first_line_of_its_docstring(path: str) -> None:
    place, line = COMMANDS[path]
    module, _, function = place.partition(":")
    found = getattr(import_module(f"rmr1_sdk.cli.{module}"), function)
    assert line == (inspect.getdoc(found) or "").splitlines()[0]


@pytest.mark.parametrize("group", ["", *sorted(GROUPS)])
def test_help_lists_every_command_with_its_line(group: str) -> None:
    said = CliRunner(env={"COLUMNS": "400"}).invoke(app, [*group.split(), "-h"])
    listed = dict(re.findall(r"^│ ([a-z][a-z-]*) +(\S.*?) *│$", said.stdout, re.MULTILINE))
    here = {path.rpartition(" ")[2]: line for path, (_, line) in COMMANDS.items() if path.rpartition(" ")[0] == group}
    assert listed.items() >= here.items()
    assert listed.keys() == here.keys() | (set() if group else GROUPS)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tr", ["train"]),
        ("ser", ["serve"]),
        ("store ", ["ls", "prune", "export"]),
        ("bench --prof", ["--profile"]),
        ("train run rm-r1-14", ["rm-r1-14b-instruct", "rm-r1-14b-reasoning"]),
    ],
)
def test_a_shell_completes_commands_options_and_arguments(typed: str, offered: list[str]) -> None:
    words = f"rmr1 {typed}"
    shell = {"_RMR1_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    said = CliRunner().invoke(app, env=shell, prog_name="rmr1")
    assert (said.exit_code, said.stdout.split()) == (0, offered), said.output


@pytest.mark.parametrize(
    ("typed", "nearest"), [("judeg", "'judge'"), ("prompts shwo", "'show'"), ("train grop", "'grpo'"), ("nonsense", "")]
)
def test_an_unknown_command_is_told_of_the_nearest(typed: str, nearest: str) -> None:
    said = CliRunner(env={"COLUMNS": "400"}).invoke(app, typed.split())
    wanted = f"No such command '{typed.split()[-1]}'." + (f" Did you mean {nearest}?" if nearest else " ")
    assert (said.exit_code, wanted in said.stderr) == (2, True), said.stderr
