"""What a tiny model reads before it meets a judgment: real training of a model of a few thousand weights."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rmr1_sdk import prompts
from rmr1_sdk.cli import app
from rmr1_sdk.errors import ConfigError, DataError
from rmr1_sdk.training.domain import Domain, generate, worked
from rmr1_sdk.training.learn.sft import sft
from rmr1_sdk.training.tiny import lessons
from rmr1_sdk.training.tiny.lessons import Lessons
from rmr1_sdk.training.tiny.model import TinyModel, make
from tests.engines.training import EASY, plan, traces, write
from tests.engines.trl_policy import UNTESTED_VLLM

pytest.importorskip("trl", reason="needs TRL; `make test-engines` installs it")
pytestmark = pytest.mark.filterwarnings(f"ignore:{UNTESTED_VLLM}")

SIZE: dict[str, Any] = {"hidden": 32, "intermediate": 64, "layers": 2, "heads": 2, "context": 512}


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "figures.jsonl").read_text().splitlines()]


def test_the_loss_on_what_is_worked_out_falls(tmp_path: Path) -> None:
    make(traces(40), tmp_path, TinyModel(**SIZE, lessons=Lessons(domain=EASY, steps=60, batch_size=8)))
    figures = lines(tmp_path)
    assert [row["step"] for row in figures] == [60]
    assert figures[0]["loss"] < 6  # from log(540), over all 60 steps
    assert not (tmp_path / "lessons.pt").exists()


def test_a_killed_reader_goes_on_and_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = TinyModel(**SIZE, lessons=Lessons(domain=EASY, steps=12, batch_size=8))
    monkeypatch.setattr(lessons, "_EVERY", 4)
    make(traces(40), tmp_path / "whole", read)
    save, saved = lessons._save, []

    def killed(file: Path, step: int, *state: Any) -> None:
        save(file, step, *state)
        saved.append(step)
        if step == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(lessons, "_save", killed)
    with pytest.raises(KeyboardInterrupt):
        make(traces(40), tmp_path / "killed", read)
    make(traces(40), tmp_path / "killed", read)
    assert saved == [4, 8, 12]
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


def test_problems_of_files_are_left_out_in_whatever_words(tmp_path: Path) -> None:
    domain = Domain(kinds=("order",), links=(3, 3), hops=(1, 2))
    ahead = [worked(number, domain=domain) for number in range(30)]
    pairs = [pair.model_copy(update={"question": ahead[3].pair.question}) for pair in generate(1)]
    file = write(tmp_path / "test.jsonl", pairs)
    make(traces(40), tmp_path, TinyModel(**SIZE))
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path)
    kept = lessons._texts(Lessons(domain=domain, leave_out=(file,)), tokenizer, prompts.get("cor"), 0)
    read = [tokenizer.decode(next(kept)[0], skip_special_tokens=True) for _ in range(29)]
    wanted = [text for text in ahead if text.key != ahead[3].key][:29]
    for seen, text in zip(read, wanted, strict=True):
        assert str(text.pair.question) in seen
        assert seen.endswith(text.told)


def test_a_line_that_is_no_pair_is_not_taken_for_nothing_to_leave_out(tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    file.write_text('{"question": "Say Ann has 12 cups."}\n')
    with pytest.raises(DataError, match=r"test\.jsonl:1"):
        make(traces(20), tmp_path / "tiny", TinyModel(**SIZE, lessons=Lessons(domain=EASY, steps=1, leave_out=(file,))))


def test_the_command_makes_a_model_that_has_read(tmp_path: Path) -> None:
    rows = write(tmp_path / "traces.jsonl", traces(20))
    said = CliRunner().invoke(
        app, ["train", "tiny-model", str(rows), "--lessons", "1", "--out", str(tmp_path / "tiny")]
    )
    assert said.exit_code == 0, said.output
    assert [row["step"] for row in lines(tmp_path / "tiny")] == [1]


def test_traces_are_not_packed_through_convolutions(tmp_path: Path) -> None:
    make(traces(20), tmp_path / "base", TinyModel(**SIZE))
    write(tmp_path / "traces.jsonl", traces(20))
    with pytest.raises(ConfigError, match=r"layers of conv; do without packing"):
        sft(plan(tmp_path, traces(20), packing=True), tmp_path / "out")
