import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import ConfigError, DataError, Message, Pair
from rmr1_sdk.training.data.sources import Source, read_pairs

SYSTEM = {"role": "system", "content": "Be brief."}
USER, BOT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}
SAID, UNSAID = {"role": "assistant", "content": "Said."}, {"role": "assistant", "content": "Unsaid."}


def rows_file(folder: Path, *rows: object) -> Path:
    path = folder / "some.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def pairs(path: Path, **options: Any) -> Sequence[Pair]:
    found = list(read_pairs(Source(path=str(path), **options)))
    errors = [error for error in found if isinstance(error, DataError)]
    assert not errors, errors
    return [pair for pair in found if isinstance(pair, Pair)]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(
            {"chosen": [USER, SAID], "rejected": [USER, UNSAID], "source": "magpie_pro"},
            Pair(question="Hi", a="Said.", b="Unsaid.", label="A", metadata={"source": "magpie_pro"}),
            id="skywork",
        ),
        pytest.param(
            {"chosen": [USER, BOT, USER, SAID], "rejected": [USER, BOT, USER, UNSAID]},
            Pair(question=[USER, BOT, USER], a="Said.", b="Unsaid.", label="A", metadata={"source": "some"}),
            id="skywork, several turns",
        ),
        pytest.param(
            {"chosen": [USER, SAID, USER, BOT], "rejected": [USER, UNSAID, USER, BOT]},
            Pair(question="Hi", a=[SAID, USER, BOT], b=[UNSAID, USER, BOT], label="A", metadata={"source": "some"}),
            id="conversations that part early",
        ),
        pytest.param(
            {"input": "Sort it.", "accepted": "sorted(x)", "rejected": "x", "ID": 7},
            Pair(question="Sort it.", a="sorted(x)", b="x", label="A", metadata={"ID": 7, "source": "some"}),
            id="code",
        ),
        pytest.param(
            {
                "dataset": "MATH",
                "prompt": "2 + 2 + 2?",
                "initial_reason_steps": "Step 1: 2 + 2 = 4.\nStep 2:",
                "chosen": " 4 + 2 = 6.",
                "rejected": " 4 + 2 = 7.",
                "full_chosen": " 4 + 2 = 6.\nSo 6.",
                "full_rejected": " 4 + 2 = 7.\nSo 7.",
                "answer": "6",
            },
            Pair(
                question="2 + 2 + 2?",
                a="Step 1: 2 + 2 = 4.\nStep 2: 4 + 2 = 6.\nSo 6.",
                b="Step 1: 2 + 2 = 4.\nStep 2: 4 + 2 = 7.\nSo 7.",
                label="A",
                metadata={"dataset": "MATH", "answer": "6", "source": "some"},
            ),
            id="math, with the steps before",
        ),
        pytest.param(
            {"prompt": "Hi", "chosen": "Said.", "rejected": "Unsaid."},
            Pair(question="Hi", a="Said.", b="Unsaid.", label="A", metadata={"source": "some"}),
            id="chosen and rejected",
        ),
        pytest.param(
            {"prompt": "Hi", "chosen": [SAID], "rejected": [UNSAID]},
            Pair(question="Hi", a="Said.", b="Unsaid.", label="A", metadata={"source": "some"}),
            id="a prompt of its own",
        ),
        pytest.param(
            {"chosen": "\n\nHuman: Hi\n\nAssistant: Said.", "rejected": "\n\nHuman: Hi\n\nAssistant: Unsaid."},
            Pair(question="Hi", a="Said.", b="Unsaid.", label="A", metadata={"source": "some"}),
            id="HH transcript",
        ),
        pytest.param(
            {"text_chosen": [USER, SAID], "text_rejected": [USER, UNSAID], "id": 3, "domain": "IF"},
            Pair(question="Hi", a="Said.", b="Unsaid.", label="A", metadata={"domain": "IF", "source": "some"}),
            id="text_chosen",
        ),
        pytest.param(
            {"system": "Be brief.", "question": "Hi", "chosen": "Said.", "rejected": "Unsaid.", "input": ""},
            Pair(question=[SYSTEM, USER], a="Said.", b="Unsaid.", label="A", metadata={"source": "some"}),
            id="a system column",
        ),
        pytest.param(
            {"system": "Be brief.", "chosen": [USER, SAID], "rejected": [USER, UNSAID]},
            Pair(question=[SYSTEM, USER], a="Said.", b="Unsaid.", label="A", metadata={"source": "some"}),
            id="a system column beside conversations",
        ),
        pytest.param(
            {"prompt": "Add.", "input": "1, 2", "a": "3", "b": "4", "label": "A", "system": None},
            Pair(question="Add.\n\n1, 2", a="3", b="4", label="A", metadata={"source": "some"}),
            id="an input column",
        ),
        pytest.param(
            {"question": "Hi", "a": "1", "b": "2", "label": "B", "id": "mine", "reference": "2", "metadata": {"n": 1}},
            Pair(question="Hi", a="1", b="2", label="B", id="mine", reference="2", metadata={"n": 1, "source": "some"}),
            id="our own rows",
        ),
        pytest.param(
            {"question": "Hi", "a": "1", "b": "2", "metadata": {"source": "x"}},
            Pair(question="Hi", a="1", b="2", metadata={"source": "x"}),
            id="without a label",
        ),
    ],
)
def test_every_published_form_is_read(tmp_path: Path, row: dict[str, Any], expected: Pair) -> None:
    (pair,) = pairs(rows_file(tmp_path, row))
    assert pair == expected.model_copy(update={"id": expected.id or "some/1"})


def test_names_and_labels_of_others(tmp_path: Path) -> None:
    path = rows_file(tmp_path, {"prompt": "Hi", "one": "1", "two": "2", "winner": 2, "extra": "x"})
    source = Source.parse(f"{path},a=one,b=two,label=winner,A=1,B=2,name=mine")
    (pair,) = read_pairs(source)
    assert pair == Pair(question="Hi", a="1", b="2", label="B", id="mine/1", metadata={"extra": "x", "source": "mine"})


@pytest.mark.parametrize(
    ("options", "taken"),
    [({"drop": ("magpie_ultra",)}, "bc"), ({"keep": ("b", "c")}, "bc"), ({"keep": ("b",)}, "b"), ({}, "abc")],
)
def test_rows_of_unwanted_sources_are_not_even_looked_at(tmp_path: Path, options: dict[str, Any], taken: str) -> None:
    rows = [{"source": name, "prompt": "Hi", "chosen": name, "rejected": ""} for name in ("magpie_ultra", "b", "c")]
    rows[0]["chosen"] = "a" if taken == "abc" else None  # type: ignore[assignment]
    assert "".join(str(pair.a) for pair in pairs(rows_file(tmp_path, *rows), **options)) == taken


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not a whole JSON object"),
        ({"prompt": "Hi", "chosen": "x"}, "the row has prompt, chosen, which is none of the known forms"),
        ({"prompt": "Hi", "chosen": "x", "rejected": {}}, "field rejected: Input should be text or a list of messages"),
        ({"chosen": "x", "rejected": "y"}, "field prompt: Field required, since chosen is text"),
        ({"chosen": [USER, SAID], "rejected": "y"}, "fields chosen and rejected: one is text and the other"),
        ({"chosen": [USER, SAID], "rejected": [BOT]}, "the conversations do not begin with the same turn"),
        ({"chosen": [USER, {"role": "me", "content": ""}], "rejected": [USER]}, "field chosen: message 2: its role"),
        ({"chosen": [USER, {"content": ""}], "rejected": [USER]}, "field chosen: message 2: its role"),
        ({"input": None, "accepted": "x", "rejected": "y"}, "field input: Input should be a valid string"),
        (
            {"prompt": "", "initial_reason_steps": None, "full_chosen": "", "full_rejected": ""},
            "field initial_reason_steps: Input should be a valid string",
        ),
        ({"question": "Hi", "a": "1", "b": "2", "label": "x"}, "field label: Input should be 'A', 'B' or 'tie'"),
        ({"question": "Hi", "a": "1", "b": "2", "metadata": 3}, "field metadata: Input should be an object"),
    ],
)
def test_a_bad_row_is_named_with_its_field(tmp_path: Path, row: object, message: str) -> None:
    good = {"prompt": "Hi", "chosen": "x", "rejected": "y"}
    path = rows_file(tmp_path, good, row, good)
    first, error, last = read_pairs(Source(path=str(path)))
    assert isinstance(first, Pair)
    assert isinstance(last, Pair)
    assert isinstance(error, DataError)
    assert str(error).startswith(f"{path}:2: ")
    assert message in str(error)


def test_labels_that_are_none_of_those_named(tmp_path: Path) -> None:
    path = rows_file(tmp_path, {"question": "Hi", "a": "1", "b": "2", "label": 5})
    (error,) = read_pairs(Source(path=str(path), labels={"A": "0", "B": "1"}))
    assert "field label: 5 is none of 0, 1" in str(error)


def test_every_kind_of_file_gives_the_same_pairs(tmp_path: Path) -> None:
    rows = [{"prompt": f"Sum {n}, or\nmore?", "chosen": str(n), "rejected": "no" * 90_000} for n in range(3)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "x.json").write_text(json.dumps(rows))
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "x.json").write_text((tmp_path / "x.jsonl").read_text())
    with gzip.open(tmp_path / "x.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, rows)))
    with (tmp_path / "x.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    plain = [pair.model_copy(update={"id": None}) for pair in pairs(tmp_path / "x.jsonl")]
    assert [pair.question for pair in plain] == [row["prompt"] for row in rows]
    for name in ("x.json", "lines/x.json", "x.jsonl.gz", "x.csv"):
        assert [pair.model_copy(update={"id": None}) for pair in pairs(tmp_path / name)] == plain, name


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"", "the name must end in one of .jsonl, .json, .csv, .parquet"),
        ("x.json", b"[", "x.json: not JSON"),
        ("x.json", b'["\xff"]', "x.json: not UTF-8"),
        ("x.json", b'{"a": 1}', "a JSON file of rows is a list, not dict"),
        ("x.jsonl.gz", b"no", "x.jsonl.gz: Not a gzipped file"),
        ("x.jsonl.gz", gzip.compress(b"{}" * 999)[:20], "x.jsonl.gz: Compressed file ended"),
        ("none.jsonl", None, "none.jsonl: No such file"),
    ],
)
def test_files_of_which_nothing_can_be_read(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((ConfigError, DataError), match=message):
        list(read_pairs(Source(path=str(tmp_path / name))))


def test_a_row_of_csv_with_too_few_columns_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("prompt,chosen,rejected\nHi,1,2\nHi,1\n")
    pair, error = read_pairs(Source(path=str(tmp_path / "x.csv")))
    assert isinstance(pair, Pair)
    assert "x.csv:3: a row of 3 columns has more or fewer" in str(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x.jsonl,drop", "'drop' is not of the form OPTION=VALUE"),
        ("x.jsonl,dorp=x", "unknown option 'dorp'; did you mean 'drop'\\? Expected one of question, a, b"),
        ("x.jsonl,take=none", "take: Input should be a valid integer"),
    ],
)
def test_a_source_on_the_command_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Source.parse(text)
    source = Source.parse("hub:ORG/NAME,drop=x|y,take=8000,split=test,revision=main")
    assert (source.path, source.drop, source.take, source.split) == ("hub:ORG/NAME", ("x", "y"), 8000, "test")


def test_a_count_of_made_up_problems_that_is_none() -> None:
    with pytest.raises(ConfigError, match='write "tiny:COUNT"'):
        list(read_pairs(Source(path="tiny:many")))


def test_real_data(shared: Path) -> None:
    hh = pairs(shared / "data" / "hh_harmless_test.jsonl.gz")
    assert len(hh) == 2312
    assert isinstance(hh[0].question, tuple)
    assert [turn.role for turn in hh[0].question[:2]] == ["user", "assistant"]
    assert hh[0].question[0] == Message(role="user", content="what are some pranks with a pen i can do?")
    ifbench = pairs(shared / "data" / "ifbench_reward.json")
    assert len(ifbench) == 444
    assert all(pair.is_single_turn for pair in ifbench)
