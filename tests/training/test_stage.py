import json
from contextlib import suppress
from pathlib import Path

import pytest

from rmr1_sdk import ConfigError, DataError, Pair
from rmr1_sdk.training.stage import Step, Trace, read_traces


def step(folder: Path, seed: int = 0, stage: str = "data") -> Step:
    return Step(stage, folder / "out", {"seed": seed}, [folder / "in.jsonl"])


def test_a_step_is_done_when_everything_is_there(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("{}")
    ours = step(tmp_path)
    assert not ours.is_done()
    ours.write("rows.jsonl", "1\n")
    assert not step(tmp_path).is_done()
    ours.finish()
    assert step(tmp_path).is_done()
    record = json.loads((tmp_path / "out" / "step.json").read_text())
    assert list(record["outputs"]) == ["rows.jsonl"]
    assert len(record["outputs"]["rows.jsonl"]) == 64
    (tmp_path / "out" / "rows.jsonl").unlink()
    assert not step(tmp_path).is_done()


def test_a_folder_of_other_settings_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("{}")
    step(tmp_path).finish()
    with pytest.raises(ConfigError, match=r"made with something else \(seed 0, now 1\); name another folder"):
        step(tmp_path, seed=1).is_done()
    with pytest.raises(ConfigError, match="stage data, now distill"):
        step(tmp_path, stage="distill").is_done()
    (tmp_path / "in.jsonl").write_text("[]")
    with pytest.raises(ConfigError, match=r"what is in .*in\.jsonl"):
        step(tmp_path).is_done()


def test_files_that_changed_places_are_something_else(tmp_path: Path) -> None:
    files = [tmp_path / "traces.jsonl", tmp_path / "held_out.jsonl"]
    for texts in (("1", "2"), ("2", "1")):
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        ours = Step("sft", tmp_path / "out", {}, files)
        if texts == ("1", "2"):
            ours.finish()
            assert ours.is_done()
        else:
            with pytest.raises(ConfigError, match=r"what is in .*held_out\.jsonl"):
                ours.is_done()


def test_what_was_begun_is_not_gone_on_with_for_something_else(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("{}")
    ours = step(tmp_path)
    ours.begin()
    assert not step(tmp_path).is_done()
    with pytest.raises(ConfigError, match="seed 0, now 1"):
        step(tmp_path, seed=1).is_done()
    (tmp_path / "out" / "weights").write_bytes(b"1")
    ours.keep("weights")
    ours.note("model_commit", "c0ffee")
    ours.note("nothing", None)
    ours.finish()
    assert step(tmp_path).is_done()
    record = json.loads((tmp_path / "out" / "step.json").read_text())
    assert (list(record["outputs"]), record["model_commit"]) == (["weights"], "c0ffee")
    assert "nothing" not in record


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("{}")
    with suppress(KeyError), step(tmp_path).writing("rows.jsonl") as file:
        file.write("half")
        raise KeyError
    assert not (tmp_path / "out" / "rows.jsonl").exists()


def test_a_folder_that_cannot_be_made_and_an_input_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"in\.jsonl: No such file"):
        step(tmp_path)
    (tmp_path / "in.jsonl").write_text("{}")
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="out: File exists"):
        step(tmp_path)


def test_traces_go_to_a_file_and_come_back(tmp_path: Path) -> None:
    pair = Pair(question="Q", a="1", b="2", label="A", metadata={"source": "x"})
    trace = Trace(pair=pair, text="<answer>[[A]]</answer>", family="cor", prompt="cor", teacher=1, model="m")
    path = tmp_path / "traces.jsonl"
    path.write_text(trace.model_dump_json() + "\n")
    assert read_traces(path) == [trace]
    path.write_text(trace.model_dump_json() + "\n" + '{"pair": 3}\n')
    with pytest.raises(DataError, match=r"traces\.jsonl:2: field pair: Input should be"):
        read_traces(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_traces(tmp_path / "none.jsonl")
