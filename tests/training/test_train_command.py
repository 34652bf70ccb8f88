"""`rmr1 train`."""

import json
import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rmr1_sdk.cli import app, train
from rmr1_sdk.errors import ConfigError
from rmr1_sdk.training.domain import generate
from tests import processes
from tests.command import run_here

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run() -> Run:
    return partial(run_here, "train")


def test_from_nothing_to_traces(run: Run, tmp_path: Path) -> None:
    parts = [option for part in ("distill=40", "dev=20", "rl=rest") for option in ("--part", part)]
    made = run("data", "tiny:200", "--out", tmp_path / "data", *parts)
    assert made.returncode == 0, made.stderr
    assert {name: rows["rows"] for name, rows in json.loads(made.stdout)["parts"].items()} == {
        "distill": 40, "dev": 20, "rl": 140,
    }  # fmt: skip
    said = run("distill", tmp_path / "data" / "distill.jsonl", "--teacher", "tiny", "--out", tmp_path / "traces")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["kept"] == 40
    assert "40 pairs: about 19," in said.stderr
    assert (tmp_path / "traces" / "traces.jsonl").read_text().count("\n") == 40


def test_a_dry_run_says_what_would_be_done(run: Run, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("prompt,chosen,rejected\nHi,Hello.,No.\n")
    told = json.loads(run("data", f"{rows},name=mine", "--out", tmp_path / "out", "--dry-run").stdout)
    assert told["sources"][0]["first_pair"]["metadata"] == {"source": "mine"}
    assert told["plan"]["parts"] == {"distill": 0.12, "rl": "rest"}
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(pair.model_dump_json() + "\n" for pair in generate(4)))
    said = run("distill", pairs, "--teacher", "openai:m", "--out", tmp_path / "out", "--max-tokens", 10, "--dry-run")
    assert json.loads(said.stdout)["written_at_most"] == 40
    assert not (tmp_path / "out").exists()


def test_a_person_gets_a_page_and_lines(rmr1: list[str], run: Run, tmp_path: Path) -> None:
    pairs = tmp_path / "data" / "rl.jsonl"

    def shown(*arguments: object) -> str:
        return processes.run_on_a_terminal([*rmr1, "train", *arguments]).stdout

    assert "| rl | 40 | 50.0%" in shown("data", "tiny:40", "--part", "rl=rest", "--out", pairs.parent)
    lines = shown("distill", pairs, "--teacher", "tiny", "--out", tmp_path / "traces")
    assert "first teacher right 100.0% [91.2%, 100.0%] of 40" in lines
    assert "kept               40 of the first teacher, 0 of the second" in lines


@pytest.mark.parametrize(
    ("name", "given"), [("sft", ["x", "--model", "m"]), ("grpo", ["x", "--model", "m"]), ("export", ["x"])]
)
def test_nobody_draws_bars_where_nobody_watches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, given: list[str]
) -> None:
    bars = ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")
    for bar in bars:
        monkeypatch.setenv(bar, "0")

    def begun(*_: object) -> None:
        raise ConfigError(" ".join(os.environ[bar] for bar in bars))

    monkeypatch.setattr(train, f"{name}_stage", begun)
    with pytest.raises(ConfigError, match="1 1"):
        CliRunner().invoke(app, ["train", name, *given, "--out", str(tmp_path)], catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["data", "none.jsonl"], 2, "none.jsonl: No such file or directory"),
        (["data", "rows.jsonl,drop"], 2, "'drop' is not of the form OPTION=VALUE"),
        (["data", "rows.jsonl", "--part", "rl=0.5"], 2, "one of the parts, and no other, is the rest"),
        (["data", "rows.jsonl", "--sides", "given"], 2, "'given' is not one of"),
        (["data", "rows.jsonl"], 1, "rows.jsonl:1: field rejected: Input should be text or a list of messages"),
        (["data", "rows.jsonl", "--dry-run"], 1, "rows.jsonl:1: field rejected: Input should be text"),
        (["data", "tiny:4", "--prompt", "corr"], 2, "unknown prompt 'corr'; did you mean 'cor'?"),
        (["distill", "none.jsonl", "--teacher", "tiny"], 2, "none.jsonl: No such file or directory"),
        (["distill", "pairs.jsonl", "--teacher", "tini:x"], 2, "unknown backend 'tini'"),
        (["distill", "pairs.jsonl", "--teacher", "replay:none.jsonl"], 2, "none.jsonl: No such file"),
        (
            ["distill", "pairs.jsonl", "--teacher", "tiny", "--max-tokens-total", "1"],
            1,
            "with a larger budget the same",
        ),
        (["distill", "rows.jsonl", "--teacher", "tiny"], 1, "rows.jsonl:1: field rejected: Input should be text"),
        (["sft", "none.jsonl", "--model", "m/m"], 2, "none.jsonl: No such file or directory"),
        (["sft", "rows.jsonl", "--model", "m/m"], 1, "rows.jsonl:1: field pair: Field required"),
        (
            ["sft", "rows.jsonl", "--model", "m/m", "--verdict-weight", "0.5", "--every", "0"],
            2,
            "--verdict-weight: Input should be greater than or equal to 1; --every: Input should be",
        ),
        (["export", "."], 2, "has no rmr1.json"),
    ],
)
def test_bad_input_is_said_with_its_exit_code(
    run: Run, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Hi", "chosen": "x", "rejected": {}}\n')
    (tmp_path / "pairs.jsonl").write_text("".join(pair.model_dump_json() + "\n" for pair in generate(100)))
    said = run(
        *(f"{tmp_path}/{part}" if ".jsonl" in part and ":" not in part else part for part in arguments),
        "--out",
        tmp_path / "out",
    )
    assert said.returncode == code, said.stderr
    assert message in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--reward", "quotes"], "--reward quotes: write NAME=VALUE"),
        (["--reward", "quotes=much"], "--reward: Input should be a valid number"),
        (["--rule", "lenient"], "'lenient' is not one of"),
        (["--batch-size", "100"], "error: rollout_size 1024 is no multiple of batch_size 100"),
    ],
)
def test_grpo_refuses(run: Run, tmp_path: Path, options: list[str], says: str) -> None:
    said = run("grpo", tmp_path / "pool.jsonl", "--model", "m", "--out", tmp_path / "out", *options)
    assert (said.returncode, said.stdout) == (2, "")
    assert says in said.stderr
