"""Reports: what they say, what they hold, and what they say is missing."""

import base64
import json
import re
import subprocess
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring, tostring

import pytest

from rmr1_sdk import ConfigError, DataError, Judgment, Pair, Verdict
from rmr1_sdk.benchmarks import Rate, Scores, load
from rmr1_sdk.bulk import Shards
from rmr1_sdk.files.rows import file_digest
from rmr1_sdk.report import Report, as_markdown, as_page, make_report, plots, read_runs
from rmr1_sdk.report.data import BLOCK
from rmr1_sdk.report.elements import el
from rmr1_sdk.report.figures import Cell, Readings, StyleMatrix
from rmr1_sdk.statistics.intervals import Bin, CoveragePoint, Interval
from rmr1_sdk.types import Failure
from tests import processes
from tests.published import decided, says, write

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(rmr1: list[str]) -> Command:
    def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
        given = [*rmr1, *map(str, arguments)]
        return processes.run(given)

    return command


def bench_run(folder: Path, benchmark: str, data: Path, judge: Callable[[Pair, int], Judgment | None]) -> Path:
    """A folder as `rmr1 bench --out` leaves it."""
    loaded = load(benchmark, data, partial=True)
    said = [found for n, pair in enumerate(loaded.pairs()) if (found := judge(pair, n))]
    folder.mkdir(parents=True)
    (folder / "judgments.jsonl").write_text("".join(one.model_dump_json() + "\n" for one in said))
    scores = {"scores": [loaded.score(said).model_dump(mode="json")], "comparisons": []}
    (folder / "scores.json").write_text(json.dumps(scores))
    record = {
        "benchmark": benchmark, "data": str(data), "data_sha256": loaded.data_sha256, "partial": True, "model": "m",
        "prompt": "cor", "profile": "official", "sampling": {"temperature": 0.0, "max_tokens": 64}, "orders": "both",
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def mostly_right(pair: Pair, n: int) -> Judgment:
    return says(pair, n % 4 != 0, n % 3 != 0, p=0.6 + 0.3 * (n % 10) / 10)


def pairs_file(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def judge_run(folder: Path, judgments: Sequence[Judgment], **record: object) -> Path:
    """A file as `rmr1 judge --out` leaves it."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"out": "said.jsonl", "model": "m", **record}))
    file = folder / "said.jsonl"
    file.write_text("".join(one.model_dump_json() + "\n" for one in judgments))
    return file


def unpacked(page: str) -> tuple[Any, list[Any]]:
    """The index of a page, and the rows of its blocks."""
    scripts = re.findall(r'<script type="text/plain" (id="index"|class="block")>([^<]*)</script>', page)
    (first, index), *blocks = [(kind, json.loads(zlib.decompress(base64.b64decode(text)))) for kind, text in scripts]
    assert first == 'id="index"'
    assert [len(block) for _, block in blocks[:-1]] == [BLOCK] * (len(blocks) - 1)
    return index, [row for _, block in blocks for row in block]


# --- what it says -----------------------------------------------------------------------------------


def test_figures_are_those_of_the_benchmark(tmp_path: Path) -> None:
    data = write("rewardbench", tmp_path / "data")
    run = bench_run(tmp_path / "run", "rewardbench", data, mostly_right)
    judged = read_runs([run])
    report = make_report(judged)
    (found,) = report.runs
    assert (report.title, found.name, report.missing, found.missing) == ("RewardBench", "m", (), ())
    scores = load("rewardbench", data, partial=True).score(judged.runs[0].judgments.values())
    assert found.scores
    assert found.scores.figures == scores.figures
    assert found.scores.notes == (
        *scores.notes,
        'm: asked with orders "both", where the profile has "random"',
        "m: asked with votes null, where the profile has 1",
    )
    assert found.outcomes.model_dump() == {
        "judged": 13, "right": 6, "wrong": 2, "tie": 5, "unreadable": 0, "unlabelled": 0, "inconsistent": 5,
        "forced": 0,
    }  # fmt: skip
    assert found.consistent
    assert (found.consistent.value, found.consistent.n) == (8 / 13, 13)
    assert [rate.name for rate in found.length] == ["longer"]
    assert found.asked["temperature"] == "0.0"
    assert found.asked["data"] == data.name, "no path: a report goes to others"


@pytest.mark.parametrize(
    ("label", "winner", "state"),
    [
        ("A", "A", "right"),
        ("A", "B", "wrong"),
        ("A", "tie", "tie"),
        ("A", None, "unreadable"),
        ("tie", "tie", "right"),
        ("tie", "B", "wrong"),
        (None, "B", "unlabelled"),
        (None, "tie", "unlabelled"),
        (None, None, "unreadable"),
    ],
)
def test_what_became_of_a_pair(tmp_path: Path, label: Any, winner: Any, state: str) -> None:
    pair = Pair(question="?", a="1", b="2", id="x", label=label)
    data = pairs_file(tmp_path / "pairs.jsonl", pair.model_dump(mode="json"))
    report = make_report(read_runs([judge_run(tmp_path / "run", [decided(pair, winner)])], data))
    counts = report.runs[0].outcomes.model_dump()
    assert {name for name in ("right", "wrong", "tie", "unreadable", "unlabelled") if counts[name]} == {state}


@pytest.mark.parametrize(
    ("better", "other", "name"),
    [
        ("x" * 49, "y" * 100, "less than half as long"),
        ("x" * 50, "y" * 100, "less than half as long"),
        ("x" * 90, "y" * 100, "shorter"),
        ("x" * 100, "y" * 100, "about as long"),
        ("x" * 112, "y" * 100, "longer"),
        ("x" * 201, "y" * 100, "more than twice as long"),
        ("x", "", "more than twice as long"),
        ("", "y", "less than half as long"),
    ],
)
def test_length_is_that_of_the_better_answer_beside_the_other(
    tmp_path: Path, better: str, other: str, name: str
) -> None:
    pair = Pair(question="?", a=other, b=better, id="x", label="B")
    data = pairs_file(tmp_path / "pairs.jsonl", pair.model_dump(mode="json"))
    report = make_report(read_runs([judge_run(tmp_path / "run", [decided(pair, "B")])], data))
    assert [(rate.name, rate.value, rate.n) for rate in report.runs[0].length] == [(name, 1.0, 1)]


def test_rm_bench_has_its_matrix_of_styles(tmp_path: Path) -> None:
    data = write("rm-bench", tmp_path / "data")

    def likes_style(pair: Pair, n: int) -> Judgment:
        chosen, rejected = pair.metadata["cell"]
        return says(pair, chosen >= rejected)

    report = make_report(read_runs([bench_run(tmp_path / "run", "rm-bench", data, likes_style)]))
    matrices = report.runs[0].styles
    assert [matrix.name for matrix in matrices] == ["all domains", "chat", "math", "code", "safety"]
    for matrix in matrices:
        assert [cell.value for cell in matrix.cells] == [1, 0, 0, 1, 1, 0, 1, 1, 1]
    assert {cell.n for cell in matrices[0].cells} == {8}


def test_two_runs_are_compared_and_have_names_that_differ(tmp_path: Path) -> None:
    data = write("llmbar", tmp_path / "data", {"Natural": 30})
    better = bench_run(tmp_path / "better", "llmbar", data, lambda pair, n: says(pair, n % 10 != 0, n % 10 != 0))
    worse = bench_run(tmp_path / "worse", "llmbar", data, lambda pair, n: says(pair, n % 2 == 0, n % 2 == 0))
    judged = read_runs([better, worse])
    report = make_report(judged)
    assert [run.name for run in report.runs] == ["m (better)", "m (worse)"]
    (comparison,) = report.comparisons
    assert (comparison.first, comparison.second, comparison.n) == ("m (better)", "m (worse)", 30)
    assert (comparison.only_first, comparison.only_second) == (15, 3)
    text = as_markdown(report)
    assert "## m (better) less m (worse)" in text
    assert "the first alone is right on 15 and the second alone on 3" in text
    assert [run.name for run in read_runs([better, better]).runs] == ["m (better), 1", "m (better), 2"]


def test_a_reward_model_stands_beside_a_judge(tmp_path: Path) -> None:
    data = write("ifbench", tmp_path / "data", {"": 20})
    run = bench_run(tmp_path / "run", "ifbench", data, mostly_right)
    rewards = pairs_file(
        tmp_path / "rewards.jsonl", *({"id": n, "score_chosen": n % 5, "score_rejected": 0.5} for n in range(20))
    )
    report = make_report(read_runs([run, rewards]))
    assert [run.name for run in report.runs] == ["m", "rewards"]
    assert report.runs[1].outcomes.right == 16
    assert report.runs[1].missing == ("There is no run.json of these judgments: how they were asked for is not known.",)


# --- what it holds ----------------------------------------------------------------------------------


def test_every_judgment_is_in_the_page_as_it_was(tmp_path: Path) -> None:
    data = write("ifbench", tmp_path / "data", {"": 250})
    one = bench_run(tmp_path / "one", "ifbench", data, mostly_right)
    other = bench_run(tmp_path / "other", "ifbench", data, lambda pair, n: says(pair, True) if n % 5 else None)
    judged = read_runs([one, other])
    index, rows = unpacked(as_page(make_report(judged), judged))
    pairs = list(load("ifbench", data, partial=True).pairs())
    assert len(index["rows"]) == len(rows) == 250
    for n, (pair, (held, said)) in enumerate(zip(pairs, rows, strict=True)):
        assert Pair.model_validate(held | {"id": pair.id, "metadata": pair.metadata}) == pair
        first, second = (judgment and Judgment.model_validate(judgment) for judgment in said)
        assert first == mostly_right(pair, n)
        assert second == (says(pair, True) if n % 5 else None)
    assert index["runs"] == ["m (one)", "m (other)"]
    cell = ["wrong", "A", 0.6, True, False]
    assert index["rows"][0] == [pairs[0].id, "level-1", pairs[0].label, "do 0", [cell, None]]


ATTACK = '</script><img src=x onerror="window.hurt=1"><!--'


def test_what_others_wrote_is_never_markup(tmp_path: Path) -> None:
    pair = Pair(question=ATTACK, a=ATTACK, b="2 " + ATTACK, id=ATTACK, label="A", metadata={"subset": ATTACK})
    data = pairs_file(
        tmp_path / "pairs.jsonl", pair.model_dump(mode="json"), {**pair.model_dump(mode="json"), "id": "y"}
    )
    said = [decided(pair, "A"), decided(pair.model_copy(update={"id": "y"}), "B")]
    run = judge_run(tmp_path / "run", said, model=ATTACK, prompt=ATTACK, engines={ATTACK: ATTACK})
    judged = read_runs([run], data)
    report = make_report(judged)
    page = as_page(report, judged)
    assert "<img" not in page
    assert "<!--" not in page
    assert page.count("</script>") == 3  # the index, a block, the module
    assert re.findall(r"(?<!\\)<", as_markdown(report)) == []


def test_the_page_asks_for_nothing_and_its_policy_fits(tmp_path: Path) -> None:
    judged = read_runs([bench_run(tmp_path / "run", "rm-bench", write("rm-bench", tmp_path / "data"), mostly_right)])
    page = as_page(make_report(judged), judged)
    assert re.findall(r'\b(?:src|srcset|action|data|href)="([^"]*)"', page) == ["data:,"]
    assert re.findall(r"@import|url\(|\bstyle=|\bon\w+=|\beval\(|innerHTML|insertAdjacent|document\.write", page) == []
    assert set(re.findall(r"https?://[^\s\"']+", page)) == {"http://www.w3.org/2000/svg"}


def test_markdown_is_tables_of_the_figures(tmp_path: Path) -> None:
    data = write("rm-bench", tmp_path / "data")
    text = as_markdown(make_report(read_runs([bench_run(tmp_path / "run", "rm-bench", data, mostly_right)])))
    assert text.startswith("# RM-Bench\n\nProfile official: one order")
    for line in ("| judged | 72 |", "## Position", "## Right, by how long the better answer is", "- temperature: 0.0"):
        assert line in text.splitlines()
    assert "> a part of RM-Bench: 8 of 1,327." in text.splitlines()
    assert re.search(r"^\| RM-Bench \| \d+\.\d% \[\d+\.\d%, \d+\.\d%\] (\| \d+\.\d% ){3}\| 72 \|$", text, re.MULTILINE)
    tables = [part for part in text.split("\n\n") if part.startswith("|")]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_how_verdicts_came_and_who_agrees_is_said_in_markdown(tmp_path: Path) -> None:
    data = write("pandalm", tmp_path / "data", {"": 8})

    def weak(pair: Pair, n: int) -> Judgment:
        """Forced in one order, and read in none of the last pair."""
        failed = Verdict(shown="BA", failure=Failure(kind="no_answer", message="none"))
        first = Verdict(winner="A", shown="AB", forced=True)
        cut = Verdict(shown="AB", failure=Failure(kind="truncated", message="cut"))
        return Judgment(winner=None if n == 7 else "A", verdicts=(cut if n == 7 else first, failed), pair_id=pair.id)

    run = bench_run(tmp_path / "run", "pandalm", data, weak)
    other = bench_run(tmp_path / "other", "pandalm", data, mostly_right)
    record = json.loads((run / "run.json").read_text()) | {"notes": ["8 of 999 pairs, drawn by subset with seed 0"]}
    (run / "run.json").write_text(json.dumps(record))
    report = make_report(read_runs([run]))
    assert report.runs[0].readings == Readings(n=16, finished=0, forced=7, failures={"no_answer": 8, "truncated": 1})
    text = as_markdown(report)
    for line in (
        "> 8 of 999 pairs, drawn by subset with seed 0.",
        "## How verdicts came",
        "| by themselves | 0 | 0.0% |",
        "| forced | 7 | 43.8% |",
        "| not at all: no answer | 8 | 50.0% |",
        "| not at all: truncated | 1 | 6.2% |",
        "## Agreement with annotators",
        "|  | agree | Cohen’s kappa | where both name a side | n |",
    ):
        assert line in text.splitlines()
    assert re.search(r"^\| annotator 1 and annotator 2 \| .* \| -?\d\.\d\d \| .* \| 8 \|$", text, re.MULTILINE)
    assert "of 16 readings; forced 7, no answer 8, truncated 1" in as_page(report, read_runs([run]))
    several = as_markdown(make_report(read_runs([run, other]))).splitlines()
    assert "## How verdicts came: m (run)" in several
    assert "## Agreement with annotators: m (other)" in several


# --- the command ------------------------------------------------------------------------------------


def test_bench_then_report_in_each_form(command: Command, tmp_path: Path) -> None:
    data, run = write("rewardbench", tmp_path), tmp_path / "run"
    model = ("--model", "fake:tests.replies:reasoned", "--orders", "both")
    benched = command("bench", "rewardbench", *model, "--data", data, "--partial", "--out", run)
    assert benched.returncode == 0, benched.stderr
    for suffix in ("html", "md", "json"):
        said = command("report", run, "-o", tmp_path / f"r.{suffix}")
        assert said.returncode == 0, said.stderr
        assert f"r.{suffix}: 13 pairs, 0.0 MB" in said.stderr or suffix == "html"
    report = Report.model_validate_json((tmp_path / "r.json").read_bytes())
    (scores,) = json.loads((run / "scores.json").read_text())["scores"]
    assert report.runs[0].scores == Scores.model_validate(scores)
    assert report.runs[0].quotes
    page = (tmp_path / "r.html").read_text()
    assert page.startswith("<!doctype html>")
    at_once = command(
        "bench", "rewardbench", *model, "--data", data, "--partial", "--out", tmp_path / "again",
        "--report", tmp_path / "again.html", "--from", run,
    )  # fmt: skip
    assert at_once.returncode == 0, at_once.stderr
    index, _ = unpacked((tmp_path / "again.html").read_text())
    assert index["runs"] == ["fake (again)", "fake (run)"]
    assert not list(tmp_path.glob("*.part"))


def test_pairs_of_a_judged_file_are_found_again(command: Command, tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "a": "yes", "b": "no", "label": "A", "topic": n} for n in range(3)]
    data = pairs_file(tmp_path / "pairs.jsonl", *rows)
    given = ("--model", "fake:tests.replies:always_a", "--field", "question=prompt", "--orders", "given")
    judged = command("judge", data, *given, "--out", tmp_path / "run" / "said.jsonl")
    assert judged.returncode == 0, judged.stderr
    said = command("report", tmp_path / "run" / "said.jsonl", "-o", tmp_path / "r.json")
    assert said.returncode == 0, said.stderr
    report = Report.model_validate_json((tmp_path / "r.json").read_bytes())
    assert (report.title, report.missing, report.runs[0].outcomes.right) == ("pairs.jsonl", (), 3)
    data.unlink()
    moved = command("report", tmp_path / "run" / "said.jsonl", "-o", tmp_path / "r.json")
    assert moved.returncode == 0
    assert "note: The pairs are not at hand" in moved.stderr
    assert "--data names their file" in moved.stderr


def test_shards_are_a_run_whether_it_has_ended_or_not(tmp_path: Path) -> None:
    rows = [{"question": f"{n}?", "a": "yes", "b": "no", "label": "A", "id": str(n)} for n in range(3)]
    data = pairs_file(tmp_path / "pairs.jsonl", *rows)
    shards = Shards(tmp_path / "said.parquet", 2)
    shards.settle({"model": "m", "data": str(data), "data_sha256": file_digest(data), "orders": "both"})
    first, last = shards.missing([Pair.model_validate(row) for row in rows])
    shards.put(first, [decided(pair, "A") for pair in first.pairs])
    begun = read_runs([tmp_path / "said.parquet"])
    assert (begun.title, len(begun.pairs), begun.runs[0].record["orders"]) == ("pairs.jsonl", 2, "both")
    shards.put(last, [decided(pair, "B") for pair in last.pairs])
    (tmp_path / "run.json").write_text(json.dumps({"out": "said.parquet", "model": "n", "data": str(data)}))
    report = make_report(read_runs([tmp_path / "said.parquet"]))
    assert (report.runs[0].name, report.runs[0].outcomes.right, report.runs[0].outcomes.wrong) == ("n", 2, 1)


# --- what is missing --------------------------------------------------------------------------------


def test_without_its_data_a_benchmark_has_the_scores_of_then(tmp_path: Path) -> None:
    data = write("llmbar", tmp_path / "data")
    run = bench_run(tmp_path / "run", "llmbar", data, mostly_right)
    whole = make_report(read_runs([run]))
    moved = tmp_path / "moved"
    data.rename(moved)
    judged = read_runs([run])
    report = make_report(judged)
    (missing,) = report.missing
    assert missing.startswith("The pairs are not at hand (")
    assert report.runs[0].scores
    assert whole.runs[0].scores
    assert report.runs[0].scores.figures == whole.runs[0].scores.figures
    assert report.runs[0].outcomes.unlabelled == whole.runs[0].outcomes.judged
    index, rows = unpacked(as_page(report, judged))
    assert [row[0] for row in rows] == [None] * 11
    assert len(index["rows"]) == 11
    assert make_report(read_runs([run], moved)) == whole
    (run / "scores.json").unlink()
    bare = make_report(read_runs([run]))
    assert bare.runs[0].scores is None
    assert "| judged | 11 |" in as_markdown(bare)


def test_pairs_without_labels_are_shown_without_right_and_wrong(tmp_path: Path) -> None:
    pairs = [Pair(question="?", a="1", b="2", id=str(n)) for n in range(3)]
    data = pairs_file(tmp_path / "pairs.jsonl", *(pair.model_dump(mode="json") for pair in pairs))
    run = judge_run(tmp_path / "run", [decided(pair, "A") for pair in pairs])
    judged = read_runs([run], data)
    report = make_report(judged)
    assert report.missing == ("No pair has a label: nothing is known of right and wrong.",)
    assert as_page(report, judged)
    unknown = make_report(read_runs([run]))
    assert unknown.missing[0].startswith("The pairs are not known:")
    labelled = pairs_file(
        tmp_path / "some.jsonl",
        *(p.model_dump(mode="json") for p in [*pairs[:2], pairs[2].model_copy(update={"label": "B"})]),
    )
    some = make_report(read_runs([run], labelled))
    assert some.missing == ("1 of 3 pairs have a label.",)
    assert (some.runs[0].outcomes.wrong, some.runs[0].outcomes.unlabelled) == (1, 2)


def test_runs_of_different_pairs_are_refused(tmp_path: Path) -> None:
    one = bench_run(tmp_path / "one", "llmbar", write("llmbar", tmp_path / "data"), mostly_right)
    other = bench_run(tmp_path / "other", "ifbench", write("ifbench", tmp_path / "data2"), mostly_right)
    with pytest.raises(DataError, match=r"other/run\.json: its benchmark is ifbench, that of the first run llmbar"):
        read_runs([one, other])
    more = bench_run(tmp_path / "more", "llmbar", write("llmbar", tmp_path / "data3", {"Natural": 5}), mostly_right)
    with pytest.raises(DataError, match="its data_sha256 is"):
        read_runs([one, more])
    with pytest.raises(DataError, match="these are other pairs: SHA-256"):
        read_runs([one], tmp_path / "data3" / "Dataset" / "LLMBar" / "Natural" / "dataset.json")


@pytest.mark.parametrize(
    ("place", "content", "error", "message"),
    [
        ("none", None, ConfigError, "none: no such file or folder"),
        (".", None, ConfigError, "neither judgments.jsonl nor shards"),
        ("said.jsonl", "", DataError, r"said\.jsonl: no judgments in it"),
        ("said.jsonl", '{"winner": "C"}\n', DataError, r"said\.jsonl:1: not a judgment \(winner"),
        ("said.jsonl", "{}\n{}\n", DataError, "two judgments are of one pair"),
        ("run.json", "[]", DataError, r"run\.json: not a record of a run"),
        ("run.json", "{", DataError, r"run\.json: not a record of a run"),
        ("scores.json", "{}", DataError, r"scores\.json: not the scores of `rmr1 bench`"),
    ],
)
def test_what_is_no_run_is_refused(
    tmp_path: Path, place: str, content: str | None, error: type[Exception], message: str
) -> None:
    (tmp_path / "said.jsonl").write_text('{"winner": "A", "pair_id": "1"}\n')
    if content is not None:
        (tmp_path / place).write_text(content)
    with pytest.raises(error, match=message):
        read_runs([tmp_path / (place if place in (".", "none") else "said.jsonl")])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "1"}, {"id": "1"}], "2 pairs are called '1'"),
        ([{"id": "2"}], "no pair there is called '1', and one was judged"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(tmp_path: Path, rows: list[dict[str, str]], message: str) -> None:
    pair = Pair(question="?", a="1", b="2", id="1")
    data = pairs_file(tmp_path / "pairs.jsonl", *({"question": "?", "a": "1", "b": "2", **row} for row in rows))
    with pytest.raises(DataError, match=message):
        read_runs([judge_run(tmp_path / "run", [decided(pair, "A")])], data)


@pytest.mark.parametrize(
    ("out", "code", "message"),
    [
        ("report.pdf", 2, "a report's name ends in .html, .md, .json"),
        ("no/such/folder.html", 2, "folder.html: cannot be written: No such file or directory"),
    ],
)
def test_bad_outputs_are_said(command: Command, tmp_path: Path, out: str, code: int, message: str) -> None:
    run = judge_run(tmp_path / "run", [decided(Pair(question="?", a="1", b="2", id="1"), "A")])
    said = command("report", run, "-o", tmp_path / out)
    assert (said.returncode, message in said.stderr.replace("\n", "")) == (code, True), said.stderr


# --- plots ------------------------------------------------------------------------------------------

SCORE = Rate(name="x", value=0.5, low=0.4, high=0.6, n=10, method="wilson")


@pytest.mark.parametrize(
    "drawn",
    [
        plots.reliabilities([[Bin(1, 1.0, 0.0)], [Bin(5, 0.5, 1.0), Bin(5, 0.75, 0.25)], []]),
        plots.coverages([[CoveragePoint(0.001, 0.0, 0.9), CoveragePoint(1.0, 1.0, 0.5)], []]),
        plots.coverages([[CoveragePoint(1.0, 0.5, 0.5)]]),
        plots.costs([plots.Cost("a", 0.0, SCORE), plots.Cost("b", 12_345.6, SCORE)]),
        plots.costs([plots.Cost("a", 0.0, SCORE)]),
        plots.costs([plots.Cost("a", 0.7, SCORE), plots.Cost("b", 999.0, SCORE)]),
        plots.style_matrix(StyleMatrix(name="x", cells=(Cell(chosen=0, rejected=2, value=0.0, n=1),)), 0),
    ],
    ids=["reliability", "coverage", "one point", "cost", "nothing written", "little written", "styles"],
)
def test_plots_stay_in_their_frame(drawn: Any) -> None:
    box = fromstring(tostring(drawn))
    _, _, width, height = map(float, box.attrib["viewBox"].split())
    for element in box.iter():
        for name, most in (("x", width), ("cx", width), ("x1", width), ("x2", width), ("y", height), ("cy", height)):
            assert 0 <= float(element.get(name, 0)) <= most, (element.tag, element.attrib)
        for point in element.get("points", "").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height


def test_whiskers_stand_where_they_should() -> None:
    drawn = plots.whiskers([Interval(0.75, 0.6, 0.9), None], 0.5, 1.0)
    assert drawn.get("aria-label") == "75.0% [60.0%, 90.0%]"
    span = next(element for element in drawn if element.get("class") == "span run-0")
    dot = next(element for element in drawn if element.get("class") == "dot run-0")
    assert [span.get("x1"), span.get("x2"), dot.get("cx")] == ["20.00%", "80.00%", "50.00%"]
    assert plots.spread([Interval(0.75, 0.61, 0.91)]) == pytest.approx((0.6, 1.0))
    assert plots.spread([Interval(1.0, 1.0, 1.0)]) == pytest.approx((0.9, 1.0))
    assert plots.spread([Interval(0.0, 0.0, 0.0)]) == pytest.approx((0.0, 0.1))


def test_elements_keep_text_as_text() -> None:
    made = el("p", {"class": "x", "id": None}, "a < b", el("b", {}, "&"), None, " and", " more")
    assert tostring(made, encoding="unicode") == '<p class="x">a &lt; b<b>&amp;</b> and more</p>'
