import json
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import ConfigError, DataError, Pair
from rmr1_sdk.training.data.contamination import NGRAM, Benchmarks

TEXT = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    path = tmp_path / "bench.jsonl"
    rows = [
        {"prompt": "How much is 2 + 2?", "answers": ["4", "Yes."]},
        {"conversation": [{"role": "user", "content": f"Say: {TEXT}."}]},
        {"question": "Why is the sky so very blue?"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


COPIED = f"{{}}:2 has: {' '.join(TEXT.split()[:NGRAM])}"


def pair(**given: Any) -> Pair:
    return Pair.model_validate({"question": "Q", "a": "1", "b": "2", **given})


def conversation(asked: str) -> list[dict[str, str]]:
    """An answer, a user who goes on, and another answer."""
    turns = [("assistant", "Yes, that is so."), ("user", asked), ("assistant", "Indeed.")]
    return [{"role": role, "content": content} for role, content in turns]


@pytest.mark.parametrize(
    ("row", "found"),
    [
        (pair(question="how much is 2+2"), "the question is in {}:1"),
        (pair(question="How much is 2 - 2?"), None),
        (pair(question="yes"), "the question is in {}:1"),
        (pair(question=TEXT.upper().replace(" ", ",\n ")), f"{{}}:2 has: {' '.join(TEXT.split()[:NGRAM])}"),
        (pair(a=f"I think that {TEXT}"), f"{{}}:2 has: {' '.join(TEXT.split()[:NGRAM])}"),
        (pair(b=f"x {TEXT.removeprefix('one ')}"), f"{{}}:2 has: {' '.join(TEXT.split()[1:])}"),
        (pair(question=" ".join(TEXT.split()[: NGRAM - 1])), None),
        (pair(question=" ".join(reversed(TEXT.split()))), None),
        (
            Pair(
                question=[
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "Yes."},
                    {"role": "user", "content": "Ok. Why is the sky so very blue?"},
                ],
                a="1",
                b="2",
            ),
            None,
        ),
        (
            Pair(
                question=[
                    {"role": "user", "content": "Why is the sky so very blue?"},
                    {"role": "assistant", "content": "Yes."},
                    {"role": "user", "content": "yes"},
                ],
                a="1",
                b="2",
            ),
            "the question is in {}:3",
        ),
        (pair(b=conversation("Why is the sky so very blue?")), "the question is in {}:3"),
        (pair(a=conversation(f"So {TEXT}")), COPIED),
        (pair(a=conversation("Yes.")), None),
        (pair(reference=TEXT), COPIED),
        (pair(rubric=f"Be brief. {TEXT}"), COPIED),
        (pair(rubric={"criteria": [{"name": "Count", "description": TEXT}]}), COPIED),
        (pair(rubric={"justification": TEXT}), COPIED),
    ],
)
def test_what_is_shared_with_a_benchmark(benchmark: Path, row: Pair, found: str | None) -> None:
    assert Benchmarks([benchmark]).find(row) == (found and found.format(benchmark))


def test_every_file_is_named_by_its_own_lines(benchmark: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("prompt,answer\nWho?,me\nWhere?,here\n")
    benchmarks = Benchmarks([benchmark, other])
    assert benchmarks.find(pair(question="where")) == f"the question is in {other}:3"
    assert benchmarks.find(pair(question="Why is the sky so very blue")) == f"the question is in {benchmark}:3"


def test_a_benchmark_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"prompt": "Hi"}\n{')
    with pytest.raises(DataError, match=r"x\.jsonl:2: not a whole JSON object"):
        Benchmarks([tmp_path / "x.jsonl"])
    with pytest.raises(ConfigError, match=r"none\.jsonl: No such file"):
        Benchmarks([tmp_path / "none.jsonl"])


def test_real_questions_are_found_in_their_own_file(shared: Path) -> None:
    file = shared / "data" / "pandalm_testset.json"
    questions = [row["instruction"] for row in json.loads(file.read_text()) if row["instruction"].strip()]
    benchmarks = Benchmarks([file])
    assert all(benchmarks.find(pair(question=question)) for question in questions)
    assert benchmarks.find(pair(question="What is the capital of the land whose flag is a red disc on white?")) is None
