import json
from pathlib import Path

import pytest

from rmr1_sdk import ConfigError, Pair
from rmr1_sdk.pairs import read_lists, read_pairs


def written(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
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
    pairs, bad = read_pairs(Path(__file__).parents[1] / "examples" / "pairs.jsonl")
    kinds = {pair.metadata["kind"] for pair in pairs}
    assert (len(pairs), bad) == (14, [])
    assert kinds == {"chat", "math", "code", "safety", "multi-turn", "injection", "identical"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "Q", "a": "1"', "not a whole JSON object (Expecting ',' delimiter at column 27)"),
        ({"question": "Q", "a": "1"}, "field b: Field required; the line has question, a. --field OURS=THEIRS says"),
        ({"question": "Q", "a": "1", "b": 2}, "field b: Input should be a valid string"),
        ({"question": "Q", "a": "1", "b": "2", "lable": "A"}, "field lable: Extra inputs are not permitted"),
        ({"question": "Q", "a": "1", "b": "2", "label": "C"}, "field label: Input should be 'A', 'B' or 'tie'"),
        ({"question": [], "a": "1", "b": "2"}, "field question: Value error, question is an empty conversation"),
        ({"question": [{"role": "me", "content": "x"}], "a": "1", "b": "2"}, "field question.0.role: Input should be"),
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
