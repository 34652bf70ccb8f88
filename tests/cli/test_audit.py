"""`rmr1 audit`."""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from rmr1_sdk.audit import SECTIONS, Audit
from tests import processes
from tests.command import run_here

FIRST = ["--model", "fake:tests.replies:always_a"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run() -> Run:
    return partial(run_here, "audit")


def test_an_audit_leaves_its_figures_a_page_a_card_and_a_record(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = run(*FIRST, "--out", out, "--tries", 2, "--seeds", 2, "--max-tokens", 99, "--seed", 3)
    assert said.returncode == 0, said.stderr
    found = Audit.model_validate_json(said.stdout)
    assert Audit.model_validate_json((out / "audit.json").read_text()) == found
    assert [section.name for section in found.sections] == list(SECTIONS)
    assert (out / "audit.md").read_text() == found.as_markdown()
    assert (out / "card.md").read_text() == found.card() + "\n"
    assert (found.model, found.data, found.pairs, found.sampling.max_tokens) == ("fake", "our own", 24, 99)
    record = json.loads((out / "run.json").read_text())
    asked = {
        name: record[name] for name in ("sections", "limit", "tries", "seeds", "seed", "data_sha256", "neutralise")
    }
    assert asked == {
        "sections": list(SECTIONS), "limit": None, "tries": 2, "seeds": 2, "seed": 3, "data_sha256": None,
        "neutralise": True,
    }  # fmt: skip
    assert (out / "audit.store.db").exists()


def test_sections_and_a_sample_can_be_chosen(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "mine.jsonl"
    rows = [{"question": f"{n}?", "good": "yes", "bad": "no", "label": "A"} for n in range(9)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{cut\n")
    fields = ["--field", "a=good", "--field", "b=bad"]
    stopped = run(*FIRST, "--data", data, *fields)
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert f"error: {data}:10: not a whole JSON object" in stopped.stderr
    said = run(*FIRST, "--data", data, *fields, "--skip-bad", "--only", "keys, position", "--limit", 5)
    assert said.returncode == 0, said.stderr
    found = Audit.model_validate_json(said.stdout)
    assert [section.name for section in found.sections] == ["position", "keys"]
    assert (found.data, found.pairs) == ("mine.jsonl", 5)
    assert "bad lines skipped" in said.stderr
    assert f"{data}:10" in said.stderr


def test_a_killed_audit_goes_on_where_it_was(rmr1: list[str], run: Run, tmp_path: Path) -> None:
    out, asked = tmp_path / "out", tmp_path / "asked"
    options = ["--model", "fake:tests.replies:logged", "--out", out, "--tries", 4, "--max-concurrency", 4]
    environment = {**os.environ, "ASKED": str(asked)}
    with processes.Child([*rmr1, "audit", *options], env=environment) as begun:
        begun.until(lambda: asked.exists() and len(asked.read_text().splitlines()) >= 200)
        begun.kill()
    assert not (out / "audit.json").exists()
    said = run(*options, env=environment)
    assert said.returncode == 0, said.stderr
    times = Counter(asked.read_text().splitlines())
    assert sum(n - 1 for n in times.values()) <= 4  # what was in flight
    whole = run("--model", "fake:tests.replies:decided", "--tries", 4)
    figures = [[f.value for f in section.findings] for section in Audit.model_validate_json(said.stdout).sections]
    assert figures == [
        [f.value for f in section.findings] for section in Audit.model_validate_json(whole.stdout).sections
    ]


def test_a_person_gets_text(rmr1: list[str]) -> None:
    text = processes.run_on_a_terminal([*rmr1, "audit", *FIRST, "--only", "position"]).stdout
    assert "== position: does it matter which answer is shown first?" in text
    assert "takes what is shown first                 100.0% [86.2%, 100.0%]   48 readings" in text


def test_a_judge_that_says_nothing_is_a_failure_with_its_figures(run: Run) -> None:
    said = run("--model", "fake:tests.replies:mute", "--only", "position")
    assert said.returncode == 1
    assert "error: no verdict could be read" in said.stderr
    found = Audit.model_validate_json(said.stdout)
    assert (found.readings, found.unreadable) == (48, 48)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--model is missing"),
        ([*FIRST, "--only", "positions"], "unknown section 'positions'; did you mean 'position'?"),
        ([*FIRST, "--data", "none.jsonl"], "none.jsonl: No such file or directory"),
        ([*FIRST, "--out", "/dev/null/x"], "--out /dev/null/x: cannot be made: Not a directory"),
        ([*FIRST, "--seeds", "1"], "error: seeds is 2 at least, not 1"),
    ],
)
def test_arguments_that_cannot_be_right(run: Run, arguments: list[str], message: str) -> None:
    said = run(*arguments)
    assert (said.returncode, said.stdout) == (2, "")
    assert message in said.stderr
