"""What docs/rewards.md shows for these libraries is what runs here."""

import inspect
import re
import tomllib
from pathlib import Path

import pytest

from tests.evals.conftest import PLUGINS

pytest.importorskip("inspect_ai", reason="needs inspect-ai; `make test-evals` installs it")
pytest.importorskip("verifiers", reason="needs verifiers; `make test-evals` installs it")

import verifiers.v1 as vf
from inspect_ai import Task
from inspect_ai.scorer import Scorer

PAGE = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_its_task_has_a_scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(blocks("py")[0], names)
    task = names["task"]
    assert isinstance(task, Task)
    assert task.scorer
    assert isinstance(task.scorer[0], Scorer)


def test_its_entry_is_taken() -> None:
    [block] = blocks("toml")
    task = vf.TaskConfig.model_validate(tomllib.loads(block)["env"]["taskset"]["task"])
    [judge] = vf.Task(vf.TaskData(prompt="Q"), task).plugged_judges()
    assert type(judge).__name__ == "PreferenceJudge"
    assert judge.reward_name == "rmr1-judge"
    assert judge.config.options == {"store": "verdicts.db"}


def test_its_environment_is_the_one_that_is_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGINS)
    monkeypatch.chdir(tmp_path)
    tested = inspect.getsource(vf.environment_class("", "rmr1_tournament"))
    assert tested in PAGE
    names: dict[str, object] = {}
    exec(blocks("py")[1], names)
    assert isinstance(names["TournamentEnv"], type)
