import csv
import sys
from pathlib import Path

import pytest

from rmr1_sdk import ConfigError, DataError, Judgment, MissingExtraError, Usage, Verdict
from rmr1_sdk.files.judgments import (
    judgment_files,
    judgments_of,
    open_judgments,
    read_judgments,
    read_record,
    row,
    shard_name,
)
from rmr1_sdk.types import Failure

JUDGMENTS = [
    Judgment(
        winner="A",
        p_a=0.75,
        verdicts=(Verdict(winner="A", text='says "so",\nand so'), Verdict(winner="A", shown="BA")),
        agreement=1.0,
        position_consistent=True,
        position_effect=0.125,
        usage=Usage(prompt_tokens=100, completion_tokens=10),
        latency_s=1.5,
        pair_id="first",
        model="fake",
        prompt="cor",
    ),
    Judgment(verdicts=(Verdict(failure=Failure(kind="no_answer", message="nothing")),), pair_id="second"),
]
FLAT: list[dict[str, object]] = [
    {
        "pair_id": "first", "winner": "A", "p_a": 0.75, "agreement": 1.0, "position_consistent": True,
        "position_effect": 0.125, "failure": None, "readings": 2, "unreadable": 0, "prompt_tokens": 100,
        "completion_tokens": 10, "latency_s": 1.5, "model": "fake", "prompt": "cor",
    },
    {
        "pair_id": "second", "winner": None, "p_a": None, "agreement": None, "position_consistent": None,
        "position_effect": None, "failure": "no_answer", "readings": 1, "unreadable": 1, "prompt_tokens": 0,
        "completion_tokens": 0, "latency_s": 0.0, "model": "", "prompt": "",
    },
]  # fmt: skip


def write(path: Path, judgments: list[Judgment]) -> Path:
    writer = open_judgments(path, path.suffix)
    for judgment in judgments:
        writer.write(judgment)
    writer.close()
    return path


def test_a_row_has_what_one_filters_by_and_all_of_it_as_json() -> None:
    for judgment, flat in zip(JUDGMENTS, FLAT, strict=True):
        assert row(judgment) == flat | {"judgment": judgment.model_dump_json()}


@pytest.mark.parametrize("name", ["j.jsonl", "j.csv", "j.parquet", "j.PARQUET", "j"])
def test_what_was_written_is_read_back(tmp_path: Path, name: str) -> None:
    assert list(read_judgments(write(tmp_path / name, JUDGMENTS))) == JUDGMENTS
    assert list(read_judgments(write(tmp_path / name, []))) == []


def test_columns_of_parquet_have_their_types_and_its_groups_a_limit(tmp_path: Path) -> None:
    from pyarrow import parquet

    path = write(tmp_path / "j.parquet", JUDGMENTS * 1001)
    rows = parquet.read_table(path).to_pylist()
    assert [{name: value for name, value in row.items() if name != "judgment"} for row in rows[:2]] == FLAT
    groups = parquet.ParquetFile(path).metadata
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [1000, 1000, 2]


def test_in_csv_nothing_is_an_empty_cell(tmp_path: Path) -> None:
    with write(tmp_path / "j.csv", JUDGMENTS).open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["p_a"], first["position_consistent"], first["failure"]) == ("0.75", "true", "")
    assert (second["winner"], second["failure"], second["unreadable"]) == ("", "no_answer", "1")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("j.jsonl", b'{"winner": "A"}\n{"winner": "C"}\n', r"j\.jsonl:2: not a judgment \(winner: Input should be"),
        ("j.jsonl", b'{"winner": "A"}\n\xff\n', r"j\.jsonl:2: not a judgment \(the line: Invalid JSON"),
        ("j.csv", b"pair_id,winner\n1,A\n", r"j\.csv:2: not a judgment: the column judgment is not there, or empty"),
        ("j.csv", b"judgment,a\n{},1,2\n", r"j\.csv:2: not a judgment \(a row of 2 columns has more or fewer: 3"),
        ("j.csv", b'judgment\n"{""winner"": 1}"\n', r"j\.csv:2: not a judgment \(winner"),
        ("j.parquet", b"PAR0", r"j\.parquet: not Parquet"),
    ],
)
def test_what_is_no_judgment_is_named_by_file_and_row(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_judgments(tmp_path / name))


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet", ".CSV"])
def test_a_folder_of_shards_is_read_like_a_file(tmp_path: Path, suffix: str) -> None:
    for number, judgment in enumerate(JUDGMENTS):
        write(tmp_path / shard_name(number, suffix), [judgment])
    write(tmp_path / "part-000002.part", JUDGMENTS)  # not whole yet
    (tmp_path / "_run.json").write_text('{"seed": 1}')
    assert list(read_judgments(tmp_path)) == JUDGMENTS
    assert [path.name for path in judgment_files(tmp_path)] == [f"part-00000{n}{suffix}" for n in range(2)]


def test_a_record_is_read_where_it_is_that_of_these_judgments(tmp_path: Path) -> None:
    file, shards = tmp_path / "said.jsonl", tmp_path / "judgments.jsonl"
    file.write_text("")
    assert read_record(file) == {}
    shards.mkdir()
    (shards / "_run.json").write_text('{"seed": 1}')
    assert judgments_of(tmp_path) == shards
    assert (judgments_of(file), judgments_of(shards)) == (file, shards)
    assert read_record(shards) == {"seed": 1}
    record = tmp_path / "run.json"
    record.write_text('{"out": "said.jsonl", "seed": 2}')
    assert read_record(file) == {"out": "said.jsonl", "seed": 2}
    assert read_record(shards) == {"seed": 1}
    record.write_text('{"out": "judgments.jsonl", "seed": 1, "summary": {}}')
    assert read_record(file) == {}
    assert "summary" in read_record(shards)


def test_where_there_are_no_judgments_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none: no such file or folder"):
        judgments_of(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"neither judgments\.jsonl nor shards \(part-000000\.jsonl, \.\.\.\)"):
        list(read_judgments(tmp_path))
    with pytest.raises(ConfigError, match=r"none\.jsonl: No such file or directory"):
        list(read_judgments(tmp_path / "none.jsonl"))


def test_parquet_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r'pip install "rmr1_sdk\[parquet\]"'):
        open_judgments(tmp_path / "j.parquet", ".parquet")
