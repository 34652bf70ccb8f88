import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import ConfigError, DataError, MissingExtraError, Pair
from rmr1_sdk.files.pairs import PairFile, read_lists, read_pairs, scan_pairs


def written(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def as_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def as_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path = path.with_suffix(".csv")
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def as_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    import pyarrow
    from pyarrow import parquet

    path = path.with_suffix(".parquet")
    names = dict.fromkeys(name for row in rows for name in row)
    parquet.write_table(pyarrow.table({name: [row.get(name) for row in rows] for name in names}), path)
    return path


def test_a_pair_a_line(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    path = written(
        tmp_path,
        {"question": "Q", "a": "1", "b": "2", "label": "A", "id": "mine"},
        "",
        {"question": turns, "a": "1", "b": turns[1:], "reference": "R", "metadata": {"source": "x"}},
    )
    pairs, bad = read_pairs(path)
    assert bad == []
    assert [pair.id for pair in pairs] == ["mine", "3"]
    assert pairs[1].turns("B")[-1].content == "Yes?"
    assert pairs[1].metadata == {"source": "x"}


def test_our_own_pairs_are_read() -> None:
    pairs, bad = read_pairs(Path(__file__).parents[2] / "examples" / "pairs.jsonl")
    kinds = {pair.metadata["kind"] for pair in pairs}
    assert (len(pairs), bad) == (14, [])
    assert kinds == {"chat", "math", "code", "safety", "multi-turn", "injection", "identical"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "Q", "a": "1"', "not a whole JSON object (Expecting ',' delimiter at column 27)"),
        ({"question": "Q", "a": "1"}, "field b: Field required; the line has question, a. --field OURS=THEIRS says"),
        ({"question": "Q", "a": "1", "b": None}, "field b: Input should be a valid string"),
        ({"question": "Q", "a": "1", "b": "2", "lable": "A"}, "field lable: Extra inputs are not permitted"),
        ({"question": "Q", "a": "1", "b": "2", "label": "C"}, "field label: Input should be 'A', 'B' or 'tie'"),
        ({"question": [], "a": "1", "b": "2"}, "field question: question is an empty conversation"),
        (
            {"question": [{"role": "me", "content": "x"}], "a": "1", "b": "2"},
            "field question: message 1: its role is one of",
        ),
        ("[1, 2]", "a line is a JSON object, not list"),
    ],
)
def test_a_bad_line_is_named_with_its_field(tmp_path: Path, line: object, message: str) -> None:
    good = {"question": "Q", "a": "1", "b": "2"}
    pairs, bad = read_pairs(written(tmp_path, good, line, good))
    assert [pair.id for pair in pairs] == ["1", "3"]
    assert [error.line for error in bad] == [2]
    assert str(bad[0]).startswith(f"{tmp_path / 'pairs.jsonl'}:2: {message}")


def test_bytes_that_are_no_text_are_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b'{"question": "\xff", "a": "1", "b": "2"}\n')
    assert "1: not UTF-8" in str(read_pairs(path).bad[0])


def test_fields_of_other_names(tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "Q", "chosen": "1", "rejected": "2", "source": "x", "metadata": {"n": 1}})
    pairs, bad = read_pairs(path, fields={"question": "prompt", "a": "chosen", "b": "rejected"})
    assert bad == []
    assert pairs == [Pair(question="Q", a="1", b="2", id="1", metadata={"source": "x", "n": 1})]
    _, bad = read_pairs(path, fields={"question": "prompt", "a": "choosen", "b": "rejected"})
    assert "field choosen: Field required; the line has prompt, chosen, rejected, source" in str(bad[0])


def test_a_list_of_answers_a_line(tmp_path: Path) -> None:
    good = {"question": "Q", "answers": ["1", "2", [{"role": "assistant", "content": "3"}]], "anchor": "0"}
    path = written(tmp_path, good, {"question": "Q", "answers": ["1"]}, {"question": "Q", "answers": ["1", "2"]})
    lists, bad = read_lists(path)
    assert [(each.id, len(each.answers)) for each in lists] == [("1", 3), ("3", 2)]
    assert "2: field answers: Tuple should have at least 2 items" in str(bad[0])
    anchored, bad = read_lists(path, anchored=True)
    assert [each.anchor for each in anchored] == ["0"]
    assert "3: field anchor: Field required; the line has question, answers." in str(bad[1])
    other_names = written(tmp_path, {"prompt": "Q", "completions": ["1", "2"], "n": 2})
    renamed, bad = read_lists(other_names, fields={"question": "prompt", "answers": "completions"})
    assert bad == []
    assert (renamed[0].answers, renamed[0].metadata) == (("1", "2"), {"n": 2})


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.jsonl: No such file"):
        read_pairs(tmp_path / "none.jsonl")


@pytest.mark.parametrize("write", [as_jsonl, as_csv, as_parquet])
def test_files_of_pairs_of_any_kind(tmp_path: Path, write: Callable[..., Path]) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "Two\nlines, and a comma?", "a": "1", "b": "", "label": "A", "id": "mine"},
        {"question": 'Häßlich "so"', "a": "long " * 50_000, "b": "2", "reference": "R"},
    ]
    path = write(tmp_path / "pairs.jsonl", rows)
    pairs, bad = read_pairs(path)
    assert bad == []
    # the number of its line; of CSV, where the first row has two after the header, and of Parquet the row
    number = {".csv": "4"}.get(path.suffix, "2")
    assert pairs == [Pair(**row) for row in [rows[0], rows[1] | {"id": number}]]
    renamed = write(tmp_path / "other.jsonl", [{"prompt": "Q", "x": "1", "y": "2", "label": "B", "from": "there"}])
    assert read_pairs(renamed, fields={"question": "prompt", "a": "x", "b": "y"}).rows == [
        Pair(
            question="Q", a="1", b="2", label="B", id="2" if path.suffix == ".csv" else "1", metadata={"from": "there"}
        )
    ]


@pytest.mark.parametrize("write", [as_jsonl, as_csv, as_parquet])
def test_bad_rows_are_named_by_file_row_and_field(tmp_path: Path, write: Callable[..., Path]) -> None:
    good = {"question": "Q", "a": "1", "b": "2", "label": "A"}
    path = write(tmp_path / "pairs.jsonl", [good, good | {"label": "C"}, good])
    found = scan_pairs(path)
    line = 3 if path.suffix == ".csv" else 2
    assert [str(error).partition(", not ")[0] for error in found.bad] == [
        f"{path}:{line}: field label: Input should be 'A', 'B' or 'tie'"
    ]
    assert (len(found), len(list(found)), found.bad[0].line) == (2, 2, line)
    assert "field a: Field required; the line has question, b" in str(
        scan_pairs(write(tmp_path / "less.jsonl", [{"question": "Q", "b": "2"}])).bad[0]
    )


def test_conversations_and_metadata_come_from_parquet_too(tmp_path: Path) -> None:
    row: dict[str, Any] = {
        "question": [{"role": "user", "content": "Hi"}],
        "a": [{"role": "assistant", "content": "1"}],
        "b": [{"role": "assistant", "content": "2"}],
        "metadata": {"source": "x"},
    }
    pairs, bad = read_pairs(as_parquet(tmp_path / "pairs", [row, {**row, "metadata": None}]))
    assert bad == []
    assert pairs == [Pair(**row, id="1"), Pair(**{**row, "metadata": {}}, id="2")]
    lists = as_parquet(tmp_path / "lists", [{"question": "Q", "answers": ["1", "2"]}])
    assert [each.answers for each in read_lists(lists).rows] == [("1", "2")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b'Q,1,2,"{""n"": 1}"', None),
        (b"Q,1,2", "a row of 4 columns has more or fewer: 3"),
        (b"Q,1,2,{n}", "field metadata: not a whole JSON object (Expecting property name"),
        (b"\xff,1,2,", "field question: not UTF-8"),
        (b'"Q"x,1,2,', "not CSV ("),
        (b'Q,1,"2,', "not CSV (unexpected end of data)"),
    ],
)
def test_rows_of_csv(tmp_path: Path, row: bytes, message: str | None) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"question,a,b,metadata\nQ,1,2,\n" + row)
    pairs, bad = read_pairs(path)
    if message is None:
        assert [pair.metadata for pair in pairs] == [{}, {"n": 1}]
    else:
        assert [pair.id for pair in pairs] == ["2"]
        assert [str(error).startswith(f"{path}:3: {message}") for error in bad] == [True], bad


def test_files_that_are_not_what_their_suffix_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pairs.parquet"
    path.write_text("question,a,b")
    with pytest.raises(DataError, match=r"pairs\.parquet: not Parquet \("):
        scan_pairs(path)
    twice = tmp_path / "pairs.csv"
    twice.write_text("question,a,a\n")
    with pytest.raises(DataError, match=r"pairs\.csv:1: two columns are called 'a'"):
        scan_pairs(twice)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r'pip install "rmr1_sdk\[parquet\]"'):
        scan_pairs(path)


def test_a_checked_file_is_read_anew_and_may_not_change(tmp_path: Path) -> None:
    good = {"question": "Q", "a": "1", "b": "2"}
    path = written(tmp_path, good, "bad", good, good)
    found = scan_pairs(path, limit=2)
    assert isinstance(found, PairFile)
    assert [[pair.id for pair in found] for _ in range(2)] == [["1", "3"]] * 2
    assert (len(found), found.rows, len(found.bad)) == (2, 3, 1)
    path.write_text("")
    with pytest.raises(DataError, match="the file changed while it was judged"):
        list(found)


def test_half_a_character_is_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"question": "q", "a": "cut \\ud83d", "b": "b"}\n{"question": "q", "a": "a", "b": "b"}\n')
    rows, [bad] = read_pairs(path)
    assert len(rows) == 1
    assert "pairs.jsonl:1: field a" in str(bad)
    assert "half a character at 4" in str(bad)
