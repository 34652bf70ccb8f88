"""What others found on a benchmark: their files, and real outputs of published judges."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from rmr1_sdk import ConfigError, DataError
from rmr1_sdk.benchmarks import Benchmark, load, read_results
from rmr1_sdk.benchmarks.figures import grade
from rmr1_sdk.files.judgments import open_judgments, shard_name
from tests.published import decided, says, write


def tiny(name: str, tmp_path: Path) -> Benchmark:
    return load(name, write(name, tmp_path / name), partial=True)


def written(tmp_path: Path, rows: object, name: str = "judge.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) if isinstance(rows, list) else json.dumps(rows))
    return path


# --- real outputs -----------------------------------------------------------------------------------


def recorded(shared: Path, judge: str) -> Path:
    return shared / "data" / "judge-outputs" / f"mtbench_{judge}_Vanilla_NoRules.json"


def mtbench(shared: Path, tmp_path: Path) -> Benchmark:
    rows = json.loads(recorded(shared, "GPT-4").read_text())
    pairs = [
        {"question": row["input"], "a": row["output_1"], "b": row["output_2"], "label": "AB"[row["label"] - 1]}
        for row in rows
    ]
    return load("pairs", written(tmp_path, pairs))


@pytest.mark.parametrize(
    ("judge", "right_ab", "right_ba", "right_in_both", "flips", "read_in_both", "unread"),
    [("GPT-4", 159, 165, 149, 26, 200, 0), ("PaLM2", 138, 143, 114, 52, 192, 7)],
)
def test_two_order_figures_of_recorded_judges(
    shared: Path,
    tmp_path: Path,
    judge: str,
    right_ab: int,
    right_ba: int,
    right_in_both: int,
    flips: int,
    read_in_both: int,
    unread: int,
) -> None:
    """GPT-4's are the published ones: 79.5%, 82.5%, 74.5%, flips 13.0%. PaLM2's file holds figures of its own."""
    benchmark = mtbench(shared, tmp_path)
    scores = benchmark.score(read_results(benchmark, recorded(shared, judge)))
    assert scores.model == recorded(shared, judge).stem
    assert scores.unreadable == unread
    assert {rate.name: (round(rate.value * rate.n), rate.n) for rate in scores.position[:4]} == {
        "right in the order given": (right_ab, 200),
        "right in the other order": (right_ba, 200),
        "right in both": (right_in_both, 200),
        "orders differ": (flips, read_in_both),
    }


@pytest.mark.parametrize(("judge", "by_order", "by_majority"), [("GPT-4", 0.81, 0.81), ("PaLM2", 0.7025, 0.705)])
def test_llmbar_takes_the_mean_of_both_orders(
    shared: Path, tmp_path: Path, judge: str, by_order: float, by_majority: float
) -> None:
    """As its authors' evaluate.py does: an order that cannot be read is not made up for by the other."""
    benchmark = mtbench(shared, tmp_path)
    judgments = {judgment.pair_id: judgment for judgment in read_results(benchmark, recorded(shared, judge))}
    assert benchmark.score(judgments.values()).figures[0].value == pytest.approx(by_majority)
    worth = tiny("llmbar", tmp_path).protocol().worth
    values = [grade(pair, judgments[pair.id], worth).value for pair in benchmark.pairs()]
    assert mean(values) == pytest.approx(by_order)


def test_two_recorded_judges_compared(shared: Path, tmp_path: Path) -> None:
    benchmark = mtbench(shared, tmp_path)
    one, other = (read_results(benchmark, recorded(shared, judge)) for judge in ("GPT-4", "PaLM2"))
    found = benchmark.compare(one, other)
    assert (found.n, found.only_first, found.only_second) == (200, 42, 8)
    assert found.p < 1e-5
    assert found.differences[0].low > 0


@pytest.mark.parametrize("judge", ["RM-R1-DeepSeek-Distilled-Qwen-32B", "RM-R1-Qwen2.5-Instruct-32B"])
def test_traces_of_rm_r1_read_to_the_logged_results(shared: Path, tmp_path: Path, judge: str) -> None:
    files = sorted((shared / "data" / "rm-r1-traces").glob(f"{judge}.*.json"))
    logged = {file: json.loads(file.read_text()) for file in files}
    assert len(files) == 3
    for file, rows in logged.items():
        benchmark = load("rmb", written(tmp_path, _as_published(rows), f"{file.stem}.jsonl"), partial=True)
        judgments = {judgment.pair_id: judgment for judgment in read_results(benchmark, file)}
        for pair, row in zip(benchmark.pairs(), rows, strict=True):
            judgment = judgments[pair.id]
            assert (judgment.winner == pair.label) == (row["results"] == 1)
            assert judgment.verdicts[0].text == row["answers"]
            assert pair.label == "B"
            assert judgment.verdicts[0].shown == "AB"  # it stands here where it stood there


def _as_published(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    published: dict[str, dict[str, Any]] = {}
    for row in rows:
        about = {"conversation_input": row["text_chosen"][:-1], "category_path": row["category_path"]}
        good, bad = ({"answer": row[name][-1]["content"]} for name in ("text_chosen", "text_rejected"))
        if "pair_uid" in row:
            published[row["pair_uid"]] = about | {"pair_uid": row["pair_uid"], "chosen": good, "reject": bad}
        else:
            new = about | {"bon_uid": row["bon_uid"], "bon_best": good, "loser_list": []}
            published.setdefault(row["bon_uid"], new)["loser_list"].append(bad)
    return list(published.values())


# --- formats ----------------------------------------------------------------------------------------


def test_our_own_judgments_and_a_folder_of_a_run(tmp_path: Path) -> None:
    benchmark = tiny("ifbench", tmp_path)
    judgments = [says(pair, True, False, p=0.8) for pair in benchmark.pairs()]
    written(tmp_path, [judgment.model_dump() for judgment in judgments], "judgments.jsonl")
    assert read_results(benchmark, tmp_path) == read_results(benchmark, tmp_path / "judgments.jsonl") == judgments


def test_an_id_and_a_winner_are_enough(tmp_path: Path) -> None:
    benchmark = tiny("ifbench", tmp_path)
    rows = [{"id": n, "winner": winner, "p_a": 0.7} for n, winner in enumerate(("A", "B", "tie", None))]
    judgments = read_results(benchmark, written(tmp_path, rows))
    assert [judgment.winner for judgment in judgments] == ["A", "B", "tie", None]
    assert {(judgment.model, judgment.p_a) for judgment in judgments} == {("judge", 0.7)}


@pytest.mark.parametrize("form", ["rows", "columns"])
def test_rewards_of_chosen_and_rejected_answers(tmp_path: Path, form: str) -> None:
    benchmark = tiny("rewardbench", tmp_path)
    pairs = list(benchmark.pairs())
    names = [str(pair.id).split("/") for pair in pairs]
    rows = [
        {"id": int(number), "subset": subset, "scores_chosen": 2.0, "scores_rejected": n - 3.0}
        for n, (subset, number) in enumerate(names)
    ]
    columns = {name: [row[name] for row in rows] for name in rows[0]} | {"model": "skywork", "results": [1] * len(rows)}
    path = written(
        tmp_path, rows if form == "rows" else columns, "reward.json" if form == "columns" else "reward.jsonl"
    )
    judgments = read_results(benchmark, path)
    assert [j.winner == p.label for j, p in zip(judgments, pairs, strict=True)] == [n < 5 for n, _ in enumerate(pairs)]
    assert judgments[5].winner == "tie"
    assert judgments[5].p_a == 0.5
    assert all(j.p_a is not None and (j.p_a > 0.5) == (j.winner == "A") for j in judgments if j.winner != "tie")
    assert judgments[4].p_a == pytest.approx(0.7310585786 if pairs[4].label == "A" else 0.2689414214)


def test_rewards_of_rm_bench_are_compared_cell_by_cell(tmp_path: Path) -> None:
    benchmark = tiny("rm-bench", tmp_path)
    units = dict.fromkeys((pair.metadata["subset"], pair.metadata["unit"].split("/")[1]) for pair in benchmark.pairs())
    rows = [
        {"id": int(n), "domain": domain, "score_chosen": [1, 2, 3], "score_rejected": [0, 2.5, 4]}
        for domain, n in units
    ]
    scores = benchmark.score(read_results(benchmark, written(tmp_path, rows)))
    assert [scores.figure(name).value for name in ("hard", "normal", "easy")] == pytest.approx([0, 1 / 3, 1])
    assert scores.judged == 72


def test_rewards_of_sides_have_no_limit(tmp_path: Path) -> None:
    benchmark = tiny("ifbench", tmp_path)
    rows = [
        {"id": n, "score_a": a, "score_b": b} for n, (a, b) in enumerate([(1e4, -1e4), (-1e4, 1e4), (0, 0), (1, 0)])
    ]
    judgments = read_results(benchmark, written(tmp_path, rows))
    assert [judgment.winner for judgment in judgments] == ["A", "B", "tie", "A"]
    assert [judgment.p_a for judgment in judgments[:3]] == [1.0, 0.0, 0.5]


def test_decisions_of_judgebench(tmp_path: Path) -> None:
    """The second decision is of the answers as they were shown then: the other way round."""
    benchmark = tiny("judgebench", tmp_path)
    said = [("A>B", "B>A"), ("A>B", "A>B"), ("A=B", "A=B"), (None, "B>A"), (None, None)]
    rows = [
        {
            "pair_id": f"pair-{n}",
            "response_model": "gpt-4o-2024-05-13",
            "judgments": [None if decision is None else {"decision": decision} for decision in decisions],
        }
        for n, decisions in enumerate(said)
    ]
    judgments = read_results(benchmark, written(tmp_path, rows))
    assert [judgment.winner for judgment in judgments] == ["A", "tie", "tie", "A", None]
    assert [judgment.position_consistent for judgment in judgments] == [True, False, True, None, None]
    alone = [row | {"judgments": row["judgments"][:1]} for row in rows]
    assert [j.winner for j in read_results(benchmark, written(tmp_path, alone))] == ["A", "A", "tie", None, None]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 9, "winner": "A"}, "row 1: pair '9' is none of ifbench's here"),
        ({"winner": "A"}, "row 1: no id: one of pair_id, id, pair_uid, bon_uid says which pair it is of"),
        ({"id": 1, "winner": "C"}, "row 1: field winner: Input should be 'A', 'B' or 'tie'"),
        ({"id": 1, "rating": 3}, "row 1: none of judgments, answers, score_a, score_chosen, scores_chosen, results, w"),
        ({"id": 1, "score_chosen": [1], "score_rejected": 0}, "row 1: one of the scores is a number and the other a"),
        ({"id": 1, "score_a": 1}, "row 1: field score_b: Field required"),
        ({"id": 1, "results": 1}, "row 1: field swap = False: Field required"),
        ({"id": 1, "judgments": [{}, {}, {}]}, "row 1: field judgments.0.decision: Field required"),
    ],
)  # fmt: skip
def test_rows_that_say_nothing_of_a_pair_are_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_results(tiny("ifbench", tmp_path), written(tmp_path, [row]))
    assert str(caught.value).startswith(f"{tmp_path / 'judge.jsonl'}: {message}")


def test_texts_that_are_no_pair_are_named(tmp_path: Path) -> None:
    orders = {name: {"winner": "1"} for name in ("swap = False", "swap = True")}
    row = {"input": "x", "output_1": "y", "output_2": "z", "results": [orders]}
    with pytest.raises(DataError, match="row 1: these texts are no pair of llmbar's here"):
        read_results(tiny("llmbar", tmp_path), written(tmp_path, [row]))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    benchmark = tiny("ifbench", tmp_path)
    with pytest.raises(ConfigError, match=r"none\.jsonl: no such file"):
        read_results(benchmark, tmp_path / "none.jsonl")
    with pytest.raises(ConfigError, match=r"neither judgments\.jsonl nor shards"):
        read_results(benchmark, tmp_path)
    assert benchmark.score([decided(pair, pair.label) for pair in benchmark.pairs()]).figures[0].value == 1


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_judgments_of_every_format_are_read_whole(tmp_path: Path, suffix: str) -> None:
    benchmark = tiny("ifbench", tmp_path)
    said = [says(pair, None if n == 2 else True, p=0.8) for n, pair in enumerate(benchmark.pairs())]
    path = tmp_path / f"judgments{suffix}"
    writer = open_judgments(path, suffix)
    for judgment in said:
        writer.write(judgment)
    writer.close()
    assert read_results(benchmark, path) == said
    shards = tmp_path / "run" / "judgments.jsonl"
    shards.mkdir(parents=True)
    path.rename(shards / shard_name(0, suffix))
    assert read_results(benchmark, shards) == read_results(benchmark, shards.parent) == said
