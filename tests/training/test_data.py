import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import ConfigError, DataError, Pair
from rmr1_sdk.files.pairs import read_pairs
from rmr1_sdk.training.data.prepare import DataPlan, prepare
from rmr1_sdk.training.data.sources import Source
from rmr1_sdk.training.domain import Domain, generate, solve
from tests import processes


def rows_file(folder: Path, *rows: object, name: str = "some.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"Number {number}?", "chosen": f"It is {number}.", "rejected": "I do not know.", **more}


def plan(*paths: Path | str, **options: Any) -> DataPlan:
    sources = tuple(Source.parse(str(path)) for path in paths)
    return DataPlan(**{"sources": sources, "parts": {"distill": 0.25, "rl": "rest"}, **options})


def written(out: Path, part: str) -> list[Pair]:
    pairs, bad = read_pairs(out / f"{part}.jsonl")
    assert bad == []
    return pairs


def removed(out: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (out / "removed.jsonl").read_text().splitlines()]


def test_rows_become_parts_of_pairs_and_a_card(tmp_path: Path) -> None:
    out = tmp_path / "out"
    card = prepare(plan(rows_file(tmp_path, *map(row, range(100)))), out)
    assert (card.read, card.kept, card.dropped) == (100, 100, {})
    distill, rl = written(out, "distill"), written(out, "rl")
    assert (len(distill), len(rl)) == (25, 75)
    assert {pair.id for pair in distill + rl} == {f"some/{n}" for n in range(1, 101)}
    for pair in distill + rl:
        assert pair.text("A" if pair.label == "A" else "B").startswith("It is")
    assert card.parts["rl"].rows == 75
    assert card.sources["some"].longer_is_better is not None
    assert card.sources["some"].longer_is_better.share == 0
    assert card.sources["some"].better.longest == len("It is 99.")
    assert json.loads((out / "card.json").read_text()) == card.model_dump(mode="json")
    page = (out / "card.md").read_text()
    assert "100 rows were read, 100 kept and 0 dropped." in page
    assert "| rl | 75 | 50.7% [39.6%, 61.7%] of 75 | 0.0% [0.0%, 4.9%] of 75 |" in page
    assert not list(out.glob("*.part"))


def test_what_is_dropped_and_why(tmp_path: Path) -> None:
    benchmark = rows_file(tmp_path, {"q": "number 8"}, name="bench.jsonl")
    path = rows_file(
        tmp_path,
        row(1),
        row(1),  # again
        row(2),
        row(2, chosen="I do not know.", rejected="It is 2."),  # the other way round
        row(3, chosen="Same.", rejected="Same."),
        {"question": "Tie?", "a": "1", "b": "2", "label": "tie"},
        {"question": "No label?", "a": "1", "b": "2"},
        row(8),
        row(9, source="unwanted"),
        "{",
        row(10),
    )
    out = tmp_path / "out"
    card = prepare(
        plan(f"{path},drop=unwanted", against=(benchmark,), skip_bad=True, parts={"distill": 1, "rl": "rest"}), out
    )
    assert card.dropped == {
        "bad": 1, "filtered": 1, "no winner": 2, "identical": 1, "duplicate": 2, "contradicted": 1, "contaminated": 1,
    }  # fmt: skip
    assert (card.read, card.kept) == (11, 2)
    assert sum(card.dropped.values()) == card.read - card.kept
    assert card.bad_rows[0].startswith("some.jsonl:10: not a whole JSON object")
    reasons = {line["id"]: (line["reason"], line["detail"]) for line in removed(out)}
    assert reasons["some/2"] == ("duplicate", "")
    assert reasons["some/3"] == ("contradicted", "")
    assert reasons["some/4"] == ("duplicate", "")
    assert reasons["some/6"] == ("no winner", "the label is tie")
    assert reasons["some/8"] == ("contaminated", f"the question is in {benchmark}:1")
    assert len(reasons) == 7  # all but the filtered and the bad one
    assert {pair.id for part in ("distill", "rl") for pair in written(out, part)} == {"some/1", "some/11"}


def test_a_bad_row_stops_before_anything_is_written(tmp_path: Path) -> None:
    path = rows_file(tmp_path, row(1), "{")
    with pytest.raises(DataError, match=r"some\.jsonl:2: not a whole JSON object .*; nothing was written. --skip-bad"):
        prepare(plan(path), tmp_path / "out")
    assert not (tmp_path / "out" / "rl.jsonl").exists()


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    path = rows_file(tmp_path, row(1, chosen="x", rejected="x"))
    with pytest.raises(DataError, match=r"no row of 1 is left: \{'identical': 1\}"):
        prepare(plan(path), tmp_path / "out")


def test_only_so_many_rows_of_a_source_drawn_by_the_seed(tmp_path: Path) -> None:
    one, two = (
        rows_file(tmp_path, *map(row, range(50))),
        rows_file(tmp_path, *map(row, range(50, 80)), name="two.jsonl"),
    )
    card = prepare(plan(f"{one},take=20", two), tmp_path / "a")
    assert (card.kept, card.dropped) == (50, {"not taken": 30})
    assert {name: rows.rows for name, rows in card.sources.items()} == {"some": 20, "two": 30}
    first = {pair.id for part in ("distill", "rl") for pair in written(tmp_path / "a", part)}
    prepare(plan(f"{one},take=20", two, seed=1), tmp_path / "b")
    assert first != {pair.id for part in ("distill", "rl") for pair in written(tmp_path / "b", part)}


@pytest.mark.parametrize("sides", ["alternate", "seeded"])
def test_sides_are_even_and_follow_from_the_seed(tmp_path: Path, sides: str) -> None:
    rows = [row(n, source=f"source {n % 4}") for n in range(400)]
    card = prepare(plan(rows_file(tmp_path, *rows), sides=sides), tmp_path / "out")
    share = card.parts["rl"].first_is_better
    assert share is not None
    assert share.low < 0.5 < share.high
    if sides == "alternate":  # in each source too, though they come by turns themselves
        assert card.parts["rl"].rows == 300
        assert share.share == 0.5
        by_source = Counter((pair.metadata["source"], pair.label) for pair in written(tmp_path / "out", "rl"))
        assert set(by_source.values()) <= {37, 38}


def test_the_same_plan_writes_the_same_bytes(tmp_path: Path) -> None:
    path = rows_file(tmp_path, *map(row, range(60)))
    for folder in ("a", "b"):
        prepare(plan(path), tmp_path / folder)
    for name in ("distill.jsonl", "rl.jsonl", "removed.jsonl", "card.json", "card.md", "step.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_what_is_there_already_is_not_made_again(tmp_path: Path) -> None:
    path = rows_file(tmp_path, *map(row, range(10)))
    rows = []
    first = prepare(plan(path), tmp_path / "out", advance=lambda: rows.append(1))
    assert prepare(plan(path), tmp_path / "out", advance=lambda: rows.append(1)) == first
    assert len(rows) == 10
    with pytest.raises(ConfigError, match=r"made with something else \(seed 0, now 1\)"):
        prepare(plan(path, seed=1), tmp_path / "out")


def test_the_same_problem_is_never_in_two_parts(tmp_path: Path) -> None:
    small = Domain(kinds=("list",), words=(4, 4))
    source = Source(path="tiny:3000", domain=small)
    prepare(DataPlan(sources=(source,), parts={"test": 0.3, "rl": "rest"}), tmp_path)
    test, rl = ({pair.metadata["problem"] for pair in written(tmp_path, part)} for part in ("test", "rl"))
    assert len(test | rl) < 3000
    assert not test & rl


def test_the_same_question_is_never_in_two_parts(tmp_path: Path) -> None:
    rows = [{"prompt": f"Number {n // 3}?", "chosen": f"It is {n}.", "rejected": "No."} for n in range(90)]
    prepare(plan(rows_file(tmp_path, *rows)), tmp_path / "out")
    distill, rl = ({pair.question for pair in written(tmp_path / "out", part)} for part in ("distill", "rl"))
    assert not distill & rl


def test_a_question_stays_in_one_part_where_only_some_of_its_rows_name_a_problem(tmp_path: Path) -> None:
    """And of the tiny domain its problem does, which other words ask for too."""
    said = [pair.model_dump(mode="json") for pair in generate(400, domain=Domain(kinds=("list",), words=(4, 4)))]
    plain = [{"question": row["question"], "a": "It is 1.", "b": "It is 2.", "label": "A"} for row in said]
    prepare(plan(rows_file(tmp_path, *plain, *said)), tmp_path / "out")
    distill, rl = (
        {solve(str(pair.question)).key for pair in written(tmp_path / "out", part)} for part in ("distill", "rl")
    )
    assert len(distill) > 80
    assert not distill & rl


def test_a_column_called_problem_holds_nothing_together(tmp_path: Path) -> None:
    prepare(plan(rows_file(tmp_path, *(row(n, problem="algebra") for n in range(100)))), tmp_path / "out")
    assert [len(written(tmp_path / "out", part)) for part in ("distill", "rl")] == [25, 75]


def test_a_row_that_was_not_taken_makes_no_duplicate_of_another(tmp_path: Path) -> None:
    one, two, three = (
        rows_file(tmp_path, *map(row, numbers), name=f"{name}.jsonl")
        for name, numbers in {"one": range(40), "two": range(60), "three": range(61)}.items()
    )
    card = prepare(plan(f"{one},take=10", f"{two},take=40", three), tmp_path / "out")
    assert {name: rows.rows for name, rows in card.sources.items()} == {"one": 10, "two": 40, "three": 11}
    pairs = [pair for part in ("distill", "rl") for pair in written(tmp_path / "out", part)]
    assert Counter(pair.question for pair in pairs).most_common(1)[0][1] == 1
    assert card.read - card.kept == sum(card.dropped.values())
    assert card.dropped["duplicate"] == sum(line["reason"] == "duplicate" for line in removed(tmp_path / "out"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": {"rl": 0.5}}, "one of the parts, and no other, is the rest"),
        ({"parts": {"test": 100, "rl": "rest"}}, "part test is to have 100 rows, and 3 of 3 are left"),
        ({"parts": {"test": 3, "rl": "rest"}}, "part rl comes out empty: there are 3 rows in 3 groups"),
        ({"parts": {"test": 0.1, "rl": "rest"}}, "part test comes out empty"),
        ({"prompt": "corr"}, "unknown prompt 'corr'"),
        ({"against": (Path("none.jsonl"),)}, r"none\.jsonl: No such file"),
    ],
)
def test_plans_that_cannot_be_carried_out(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(plan(rows_file(tmp_path, *map(row, range(3))), **options), tmp_path / "out")


def test_killed_in_the_middle_the_same_command_ends_with_the_same_files(rmr1: list[str], tmp_path: Path) -> None:
    def command(out: str) -> list[str]:
        return [
            *rmr1,
            "train",
            "data",
            "tiny:6000",
            "--out",
            str(tmp_path / out),
            "--part",
            "test=600",
            "--part",
            "rl=rest",
        ]

    kept = tmp_path / "killed" / "kept.part"
    with processes.Child(command("killed")) as running:
        running.until(lambda: kept.exists() and kept.stat().st_size)
        running.kill()
    assert not (tmp_path / "killed" / "step.json").exists()
    for out in ("killed", "whole"):
        processes.run(command(out), check=True)
    files = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert files == ["card.json", "card.md", "removed.jsonl", "rl.jsonl", "step.json", "test.jsonl"]
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == files
    for name in files:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_the_length_cue_of_real_data_is_the_known_one(shared: Path, tmp_path: Path) -> None:
    data = shared / "data"
    autoj = f"{data / 'autoj_pairwise.jsonl'},a=response 1,b=response 2,A=0,B=1,tie=2"
    card = prepare(plan(data / "ifbench_reward.json", data / "hh_harmless_test.jsonl.gz", autoj), tmp_path)
    assert card.dropped == {"no winner": 373, "identical": 1}
    cues = {name: rows.longer_is_better for name, rows in card.sources.items()}
    assert {name: round(cue.share, 3) for name, cue in cues.items() if cue} == {
        "ifbench_reward": 0.457,
        "hh_harmless_test": 0.445,
        "autoj_pairwise": 0.718,
    }


def test_real_data_is_kept_apart_from_a_real_benchmark(shared: Path, tmp_path: Path) -> None:
    data = shared / "data"
    benchmark = rows_file(tmp_path, *(json.loads((data / "ifbench_reward.json").read_text())[:100]), name="bench.jsonl")
    card = prepare(plan(data / "ifbench_reward.json", against=(benchmark,)), tmp_path / "out")
    details = [line["detail"] for line in removed(tmp_path / "out") if line["reason"] == "contaminated"]
    assert 100 <= card.dropped["contaminated"] == len(details) < 150
    assert all(str(benchmark) in detail for detail in details)
