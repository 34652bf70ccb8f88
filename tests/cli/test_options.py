"""Options of commands: none is lost, none is forgotten, and help shows every default."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from rmr1_sdk.cli import app
from rmr1_sdk.cli.audit import SET_BY_AUDIT
from rmr1_sdk.judging.options import JudgeOptions
from tests.cli.options import ADDED, KEPT

NO_OPTION = {
    "sampling": "given field by field, as --temperature",
    "on_failure": "a command reports failures with its results",
}
SET_BY_COMMAND: dict[str, tuple[str, ...]] = {"audit": SET_BY_AUDIT}
"""Options of a judge that a command chooses by itself."""


def commands(command: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    command = command or get_command(app)
    for part in command.list_commands(None) if hasattr(command, "list_commands") else ():
        used = command.get_command(None, part).make_context(part, [], resilient_parsing=True)
        yield from commands(used.command, f"{name} {part}".strip())
    if not hasattr(command, "list_commands"):
        yield name, command


COMMANDS = dict(commands())


def options(name: str) -> list[Any]:
    return [each for each in COMMANDS[name].params if each.param_type_name == "option" and each.name != "help"]


def test_no_command_has_lost_an_option() -> None:
    assert COMMANDS.keys() == KEPT.keys()
    for name in COMMANDS:
        there = {flag for option in options(name) for flag in (*option.opts, *option.secondary_opts)}
        assert there == {*KEPT[name].split(), *ADDED.get(name, "").split()}, name


@pytest.mark.parametrize("name", ["judge", "rank", "bench", "serve", "audit"])
def test_every_option_of_a_judge_is_one_of_the_command(name: str) -> None:
    derived = {option.name for option in options(name)}
    assert set(JudgeOptions.model_fields) - derived == {*NO_OPTION, *SET_BY_COMMAND.get(name, ())}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_each_default(name: str) -> None:
    said = CliRunner(env={"COLUMNS": "400"}).invoke(app, [*name.split(), "--help"])
    assert said.exit_code == 0, said.output
    for option in options(name):
        [row] = [line for line in said.output.splitlines() if re.match(rf"│ [* ]*{option.opts[0]} ", line)]
        assert option.help in row  # brackets would be taken for markup
        is_off = option.default is False and not option.secondary_opts
        if option.name != "model" and not is_off:  # --model has its own error, which says how to write one
            assert re.search(r"\[default: .+\]" if not option.required else r"\[required\]", row), row
