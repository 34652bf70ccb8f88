"""Rows of pairs as other people publish them, recognised by their fields."""

import gzip
import io
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk.benchmarks import load
from rmr1_sdk.errors import DataError, RMR1Error
from rmr1_sdk.files.pairs import read_lists, read_pairs
from rmr1_sdk.files.schemas import outcome
from rmr1_sdk.types import Pair
from tests.command import run_here

SAY = {"role": "user", "content": "Hi"}
ANSWER, OTHER = ({"role": "assistant", "content": text} for text in "xy")
BATTLE = {"model_a": "m", "model_b": "n", "conversation_a": [SAY, ANSWER], "conversation_b": [SAY, OTHER]}
PANDA = {"instruction": "Hi", "input": "", "response1": "x", "response2": "y"}
IMAGE = {"role": "assistant", "content": [{"type": "image"}]}


def rows(tmp_path: Path, *given: object, name: str = "pairs.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    return path


def one(tmp_path: Path, row: Mapping[str, Any], **form: Any) -> Pair:
    found = read_pairs(rows(tmp_path, row), **form)
    assert not found.bad, found.bad
    (pair,) = found.rows
    return pair


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ({"prompt": "Hi", "response 1": "x", "response 2": "y", "label": 1, "scenario": "chat"}, "B"),
        ({"prompt": "Hi", "response 1": "x", "response 2": "y", "label": 2}, "tie"),
        (PANDA | {"annotator1": 2, "annotator2": 2, "annotator3": 0}, "B"),
        (PANDA | {"annotator1": 2, "annotator2": 1, "annotator3": 0}, "B"),
        (PANDA | {"annotator1": None, "annotator2": None, "annotator3": 1}, "A"),
        ({"question": "Hi", "response_A": "x", "response_B": "y", "label": "A>B"}, "A"),
        ({"input": "Hi", "output_1": "x", "output_2": "y", "label": 1}, "A"),
        ({"prompt": "Hi", "answer_a": "x", "answer_b": "y", "winner": "model_b"}, "B"),
        (BATTLE | {"turn": 1, "winner": "model_a", "conversation_a": [SAY, ANSWER, SAY, OTHER]}, "A"),
        (BATTLE | {"turn": "1", "winner": "model_a", "conversation_a": [SAY, ANSWER, SAY, OTHER]}, "A"),
        (BATTLE | {"winner": "tie (bothbad)"}, "tie"),
        (BATTLE | {"winner": "n"}, "B"),
    ],
)
def test_a_pair_with_its_sides_is_recognised(tmp_path: Path, row: dict[str, Any], label: str) -> None:
    pair = one(tmp_path, row)
    assert (pair.question, pair.a, pair.b, pair.label, pair.id) == ("Hi", "x", "y", label, "1")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": "x", "rejected": "y", "subset": "chat", "id": 30},
        {"prompt": "Hi", "chosen": [SAY, ANSWER], "rejected": [SAY, OTHER], "id": "30"},
        {"chosen": "\n\nHuman: Hi\n\nAssistant: x", "rejected": "\n\nHuman: Hi\n\nAssistant: y", "id": 30.0},
        {"text_chosen": [SAY, ANSWER], "text_rejected": [SAY, OTHER], "id": 30},
        {"input": "Hi", "accepted": "x", "rejected": "y", "id": 30},
        {"instruction": "Hi", "input": "", "chosen": "x", "rejected": "y", "id": 30},
        {"input": "Hi", "chosen": "x", "rejected": "y", "id": 30},
    ],
)
def test_the_side_of_the_better_answer_is_drawn_from_seed_and_text(tmp_path: Path, row: dict[str, Any]) -> None:
    found = [one(tmp_path, row, seed=seed) for seed in range(40)]
    assert {pair.id for pair in found} == {"30"}
    assert {pair.text(pair.label) for pair in found if pair.label in ("A", "B")} == {"x"}
    assert {pair.metadata["side"] for pair in found} == {"drawn"}
    assert 8 < sum(pair.label == "A" for pair in found) < 32
    assert found == [one(tmp_path, row, seed=seed) for seed in range(40)]


def test_what_belongs_to_the_question_is_shown(tmp_path: Path) -> None:
    preference = {"system": "Be brief.", "question": "Hi", "chosen": "x", "rejected": "y"}
    assert [turn.content for turn in one(tmp_path, preference).turns("A")[:2]] == ["Be brief.", "Hi"]
    row: dict[str, Any] = {
        "instruction": "Add.",
        "input": "1, 2",
        "output_1": "3",
        "output_2": "4",
        "label": 1,
        "extra": 5,
    }
    pair = one(tmp_path, row)
    assert (pair.question, pair.metadata) == ("Add.\n\n1, 2", {"extra": 5})
    mapped = {"instruction": "Add.", "input": "1, 2", "p": "3", "q": "4", "extra": 5}
    pair = one(tmp_path, mapped, fields={"question": "instruction", "a": "p", "b": "q"})
    assert (pair.question, pair.metadata) == ("Add.\n\n1, 2", {"extra": 5})


def test_another_name_for_one_field_leaves_a_schema_as_it_is(tmp_path: Path) -> None:
    row = {"prompt": "Hi", "chosen": "x", "rejected": "y", "number": 7.0, "subset": "chat"}
    pair = one(tmp_path, row, fields={"id": "number"})
    assert (pair.id, pair.metadata) == ("7", {"number": 7.0, "subset": "chat", "side": "drawn"})


def test_annotators_labels_are_kept(tmp_path: Path) -> None:
    pair = one(tmp_path, PANDA | {"annotator1": 2, "annotator2": "0", "annotator3": None, "cmp_key": "k"})
    assert pair.metadata == {"annotators": {"annotator1": "B", "annotator2": "tie"}, "cmp_key": "k"}


def test_answers_to_rank_may_be_numbers(tmp_path: Path) -> None:
    (found,) = read_lists(rows(tmp_path, {"question": 1, "answers": [4, 5.0, True], "anchor": 6})).rows
    assert (found.question, found.answers, found.anchor) == ("1", ("4", "5", "true"), "6")


def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(",question,a,b,\n0,Q,x,y,\n")
    (pair,) = read_pairs(path).rows
    assert (pair.question, pair.a, pair.b, pair.metadata) == ("Q", "x", "y", {})


def test_scalars_are_text_and_metadata_may_be_text_or_nothing(tmp_path: Path) -> None:
    rest: dict[str, Any] = {"question": "Q", "a": 4, "b": True, "reference": 4.5, "label": None}
    pair = one(tmp_path, {**rest, "id": 17, "metadata": '{"subset": "sums"}'})
    assert (pair.id, pair.a, pair.b, pair.reference, pair.metadata) == ("17", "4", "true", "4.5", {"subset": "sums"})
    assert one(tmp_path, {**rest, "id": 17.0, "metadata": None}).metadata == {}


def test_a_path_leads_into_objects_and_lists(tmp_path: Path) -> None:
    row = {"q": {"text": "Hi"}, "answers": [{"text": "x"}, {"text": "y"}], "a.b": "z", "n": 1}
    pair = one(tmp_path, row, fields={"question": "q.text", "a": "answers.0.text", "b": "answers.1.text"})
    assert (pair.question, pair.a, pair.b, pair.metadata) == ("Hi", "x", "y", {"a.b": "z", "n": 1})
    assert one(tmp_path, row, fields={"question": "q.text", "a": "a.b", "b": "answers.1.text"}).a == "z"
    bad = read_pairs(rows(tmp_path, row), fields={"question": "q.text", "a": "answers.2.text", "b": "a.b"}).bad
    assert "field answers.2.text: Field required" in str(bad[0])


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("A", "A"),
        ("model_b", "B"),
        ("B>>A", "B"),
        ("[[A]]", "A"),
        ("[[C]]", "tie"),
        ("A=B", "tie"),
        (" Tie ", "tie"),
        ("response_a", "A"),
        ("[[A>B]]", "A"),
        ("", None),
        (None, None),
    ],
)
def test_labels_are_read_in_the_fields_forms(said: str | None, label: str | None) -> None:
    assert outcome(said) == label


@pytest.mark.parametrize("label", [2, 2.0, "2", "2.0", True, "TRUE", "second"])
def test_labels_mean_what_a_user_says(tmp_path: Path, label: object) -> None:
    theirs = {bool: "true", str: str(label).lower()}.get(type(label), "2")
    row = {"question": "Q", "a": "x", "b": "y", "label": label}
    assert one(tmp_path, row, labels={"A": "1", "B": theirs, "tie": "0"}).label == "B"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"question": "Q", "a": "x", "b": "y", "label": 1}, "field label: Input should be 'A', 'B' or 'tie', not 1"),
        ({"question": "Q", "a": "x", "b": "y", "label": ["A"]}, "field label: Input should be"),
        ({"prompt": "Q", "response 1": "x", "response 2": "y", "label": 3}, "field label: 3 is none of 0, 1, 2"),
        ({"question": "Q", "a": float("nan"), "b": "y"}, "field a: nan is no number"),
        (
            {"question": "Q", "a": "x", "b": "y", "metadata": {"p": float("-inf")}},
            "field metadata.p: -inf is no number",
        ),
        (
            {"question": "Q", "a": "x", "b": "y", "metadata": {"p": [{"q": float("nan")}]}},
            "field metadata.p.0.q: nan is",
        ),
        ({"question": "Q", "a": "x", "b": "y", "metadata": '{"p": Infinity}'}, "field metadata.p: inf is no number"),
        ({"question": "Q", "a": "x", "b": "y", "label": "[" * 100_000}, "field label: Input should be"),
        (PANDA | {"annotator1": [1], "annotator2": 2}, "field annotator1: [1] is none of 1, 2, 0"),
        ({"prompt": "Q", "chosen": "x", "rejected": "y", "score": float("inf")}, "field score: inf is no number"),
        ({"question": "Q", "a": "x", "b": "y", "metadata": "{"}, "field metadata: not a whole JSON object"),
        ({"question": "Q", "a": "x", "b": "y", "metadata": [1]}, "field metadata: Input should be an object"),
        ({"question": "Q", "answer": "x"}, "none of the known forms of two answers"),
        ({"chosen": [SAY, IMAGE], "rejected": [SAY, OTHER]}, "field chosen: message 2: a judge reads text"),
    ],
)
def test_a_row_that_cannot_be_a_pair_says_why(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    found = read_pairs(rows(tmp_path, row))
    assert not found.rows
    assert str(found.bad[0]).startswith(f"{tmp_path / 'pairs.jsonl'}:1: ")
    assert says in str(found.bad[0])


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.parquet", "x.jsonl.gz", "x.txt"])
def test_a_git_lfs_pointer_is_named_as_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'7' * 64}\nsize 99\n")
    with pytest.raises(DataError, match=f"{name}: a Git LFS pointer"):
        read_pairs(tmp_path / name)


def test_judge_and_bench_read_the_same_pairs(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(
        'id,question,a,b,label,reference,metadata\n,Q,4,,[[A]],,"{""subset"": ""s""}"\nx,Q,5,6,model_b,six,\n'
    )
    assert list(load("pairs", path).pairs()) == read_pairs(path).rows
    assert [(pair.id, pair.reference, pair.metadata) for pair in read_pairs(path).rows] == [
        ("2", None, {"subset": "s"}),
        ("x", "six", {}),
    ]
    with pytest.raises(RMR1Error, match="row 1: field label"):
        load("pairs", rows(tmp_path, {"question": "Q", "a": "x", "b": "y", "label": 7}))


def head(path: Path, count: int, opened: Callable[..., Any] = open) -> list[Any]:
    with opened(path, "rt", encoding="utf-8") as file:
        if path.suffix == ".json":
            return json.load(file)[:count]  # type: ignore[no-any-return]
        return [json.loads(line) for line in itertools.islice(file, count)]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("autoj_pairwise.jsonl", {"A", "B", "tie"}),
        ("pandalm_testset.json", {"A", "B", "tie"}),
        ("ifbench_reward.json", {"A", "B"}),
        ("hh_harmless_test.jsonl.gz", {"A", "B"}),
    ],
)
def test_published_sets_are_judged_as_they_are(shared: Path, tmp_path: Path, name: str, labels: set[str]) -> None:
    found = read_pairs(shared / "data" / name)
    assert not found.bad
    assert {pair.label for pair in found.rows} == labels
    file = rows(tmp_path, *head(shared / "data" / name, 12, gzip.open if name.endswith(".gz") else open))
    said = run_here("judge", file, "--model", "fake:tests.replies:decided", "--out", tmp_path / "out.jsonl")
    assert said.returncode == 0, said.stderr
    summary = json.loads(said.stdout)
    assert (summary["labelled"], summary["sides_drawn"]) == (12, 12 if labels == {"A", "B"} else 0)


def test_a_set_without_pairs_says_what_to_do(shared: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    file = rows(tmp_path, *head(shared / "data" / "gsm8k_model_solutions.jsonl", 3))
    said = run_here("judge", file, "--model", "fake:tests.replies:decided", "--out", out)
    assert said.returncode == 1
    assert "no pair; `rmr1 bench gsm8k --data FILE` makes pairs of them" in said.stderr
    assert list(tmp_path.glob("out*")) == []


def test_standard_input_is_judged_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv = "question,first,second,winner\nQ,x,y,1\n"
    names = [part for name in ("a=first", "b=second", "label=winner") for part in ("--field", name)]
    out = tmp_path / "out.jsonl"
    for content, row in ((csv, "2"), (json.dumps({"question": "Q", "first": "x", "second": "y", "winner": 1}), "1")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        said = run_here(
            "judge", "-", "--model", "fake:tests.replies:decided", *names, "--label", "A=1,B=2,tie=0", "--out", out
        )
        assert said.returncode == 0, said.stderr
        assert json.loads(said.stdout)["labelled"] == 1
        assert json.loads(out.read_text())["pair_id"] == row


def test_a_label_option_that_says_nothing_is_refused(tmp_path: Path) -> None:
    file = rows(tmp_path, {"question": "Q", "a": "x", "b": "y", "label": 1})
    for label in ("1", "A=", "C=1", "A=1,2"):
        said = run_here("judge", file, "--model", "fake:tests.replies:decided", "--label", label)
        assert (said.returncode, said.stderr.partition(": ")[0]) == (2, "error")
        assert "as in A=1,B=2,tie=0" in said.stderr
