"""`rmr1 bench`."""

import json
import os
import subprocess
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from rmr1_sdk import Judgment
from rmr1_sdk.benchmarks import BENCHMARKS, Scores, load
from rmr1_sdk.bulk import Shards
from rmr1_sdk.files.cache import cache_folder
from rmr1_sdk.files.judgments import read_judgments
from tests import processes
from tests.command import run_here
from tests.published import says, write

Run = Callable[..., "subprocess.CompletedProcess[str]"]
FAKE = "fake:tests.replies:decided"


@pytest.fixture
def run() -> Run:
    return partial(run_here, "bench")


def scores(said: "subprocess.CompletedProcess[str]") -> list[Scores]:
    assert said.returncode == 0, said.stderr
    return [Scores.model_validate(one) for one in json.loads(said.stdout)["scores"]]


def test_a_run_leaves_judgments_scores_and_a_record(run: Run, tmp_path: Path) -> None:
    data, out = write("rewardbench", tmp_path), tmp_path / "out"
    said = run("rewardbench", "--model", "fake:tests.replies:by_xs", "--data", data, "--partial", "--out", out)
    (found,) = scores(said)
    assert found.figure("all pairs").value == 1.0
    assert (found.judged, found.unreadable, found.profile) == (13, 0, "official")
    assert Scores.model_validate(json.loads((out / "scores.json").read_text())["scores"][0]) == found
    judgments = [Judgment.model_validate_json(line) for line in (out / "judgments.jsonl").read_text().splitlines()]
    assert [judgment.pair_id for judgment in judgments] == [
        pair.id for pair in load("rewardbench", data, partial=True).pairs()
    ]
    assert {len(judgment.verdicts) for judgment in judgments} == {1}
    record = json.loads((out / "run.json").read_text())
    kept = ("benchmark", "profile", "orders", "votes", "seed", "pairs", "partial", "prompt", "data")
    assert [record[name] for name in kept] == ["rewardbench", "official", "random", 1, 0, 13, True, "cor", str(data)]
    assert record["sampling"]["temperature"] == 0
    assert "rewardbench, official: one order, drawn by the judge's seed; greedy; a tie is worth 0.5" in said.stderr
    assert "note: a part of RewardBench: 13 of 2,985" in said.stderr


def test_a_run_that_was_cut_goes_on_where_it_was(run: Run, tmp_path: Path) -> None:
    data, out, asked = write("judgebench", tmp_path), tmp_path / "out", tmp_path / "asked"
    environment = {**os.environ, "ASKED": str(asked)}
    given = ("judgebench", "--model", "fake:tests.replies:logged", "--data", data, "--partial", "--out", out)
    cut = run(*given, "--max-tokens-total", 500, env=environment)
    assert (cut.returncode, (out / "judgments.jsonl").exists()) == (1, False)
    assert "tokens are spent of max_tokens_total=500" in cut.stderr
    scores(run(*given, env=environment))
    requests = asked.read_text().splitlines()
    assert len(requests) == len(set(requests)) == 9 * 2


def test_a_finished_run_is_scored_again_without_a_model(run: Run, tmp_path: Path) -> None:
    data, out = write("judgebench", tmp_path), tmp_path / "out"
    first = run("judgebench", "--model", FAKE, "--data", data, "--partial", "--out", out)
    assert scores(run("judgebench", "--from", out)) == scores(first)
    (compat,) = scores(run("judgebench", "--from", out, "--profile", "rmr1_compat"))
    assert compat.profile == "rmr1_compat"
    assert [note for note in compat.notes if note.startswith("fake: asked with ")] == [
        'fake: asked with orders "both", where the profile has "given"',
        "fake: asked with max_tokens 4096, where the profile has 50000",
        "fake: asked with top_p null, where the profile has 1.0",
        'fake: asked with stop ["</answer>"], where the profile has []',
        "fake: asked with prompt 'cor', where the profile has the published one as it is",
    ]
    elsewhere = write("judgebench", tmp_path / "other", {"gpt-4o-2024-05-13": 9})
    refused = run("judgebench", "--from", out, "--data", elsewhere)
    assert refused.returncode == 1
    assert "out: a run of other data: its SHA-256 was" in refused.stderr
    twice = run("judgebench", "--from", out, "--from", out / "judgments.jsonl")
    assert scores(twice) == scores(first) * 2
    assert "1. fake less 2. fake, over 9 pairs:" in twice.stderr
    wrong = run("llmbar", "--from", out, "--data", write("llmbar", tmp_path))
    assert "out: a run of judgebench, not of llmbar" in wrong.stderr


def test_several_judges_stand_in_one_table(run: Run, tmp_path: Path) -> None:
    data = write("ifbench", tmp_path, {"": 60})
    rewards = tmp_path / "rewards.jsonl"
    rewards.write_text(
        "".join(json.dumps({"id": n, "score_chosen": n % 5, "score_rejected": 0.5}) + "\n" for n in range(60))
    )
    own = tmp_path / "own.jsonl"
    pairs = load("ifbench", data, partial=True).pairs()
    own.write_text("".join(says(pair, n % 2 == 0).model_dump_json() + "\n" for n, pair in enumerate(pairs)))
    said = run("ifbench", "--data", data, "--partial", "--from", rewards, "--from", own)
    found = scores(said)
    assert [one.model for one in found] == ["rewards", "m"]
    assert [one.figures[0].value for one in found] == [0.8, 0.5]
    assert found[0].notes[-1] == "rewards: judged by others; of this profile is the scoring alone"
    (comparison,) = json.loads(said.stdout)["comparisons"]
    assert (comparison["n"], comparison["only_first"], comparison["only_second"]) == (60, 24, 6)
    assert comparison["differences"][0]["difference"] == pytest.approx(0.3)
    lines = said.stderr.splitlines()
    assert next(line for line in lines if line.startswith("figure")).split() == ["figure", "rewards", "m"]
    assert "rewards less m, over 60 pairs:" in lines
    assert "right where the other is not: 24 and 6, McNemar's p 0.00143" in lines


def test_what_rmr1_judge_left_is_scored_too(run: Run, rmr1: list[str], tmp_path: Path) -> None:
    data, source = tmp_path / "pairs.jsonl", write("ifbench", tmp_path)
    pairs = list(load("ifbench", source, partial=True).pairs())
    data.write_text("".join(pair.model_dump_json() + "\n" for pair in pairs))
    judged = [*rmr1, "judge", data, "--model", FAKE, "--out", tmp_path / "said.csv", "--orders", "given"]
    processes.run(judged, check=True)
    (own,) = scores(run("pairs", "--from", tmp_path / "said.csv"))
    assert (own.judged, own.notes) == (4, ('fake: asked with orders "given", where the profile has "both"',))
    (theirs,) = scores(run("ifbench", "--from", tmp_path / "said.csv", "--data", source, "--partial"))
    assert theirs.figures[0].value == own.figures[0].value
    shards = Shards(tmp_path / "shards", 3)
    shards.settle(json.loads((tmp_path / "run.json").read_text()))
    said = read_judgments(tmp_path / "said.csv")
    for block in shards.missing(pairs):
        shards.put(block, islice(said, len(block.pairs)))
    assert scores(run("pairs", "--from", tmp_path / "shards")) == [own]


def test_a_sample_is_drawn_by_seed_and_said(run: Run, tmp_path: Path) -> None:
    data, out = write("llmbar", tmp_path, BENCHMARKS["llmbar"].counts), tmp_path / "out"
    given = ("llmbar", "--model", FAKE, "--data", data)
    (found,) = scores(run(*given, "--limit", 42, "--seed", 3, "--out", out))
    assert (found.judged, found.pairs) == (42, 42)
    assert found.notes == (
        "42 of 419 pairs, drawn by subset with seed 3: intervals are about 3.2 times as wide as over all pairs",
    )
    record = json.loads((out / "run.json").read_text())
    assert (record["limit"], record["notes"]) == (42, list(found.notes))
    other = tmp_path / "other.jsonl"
    names = [pair.id for pair in load("llmbar", data).pairs()]
    other.write_text("".join(json.dumps({"id": name, "winner": "A"}) + "\n" for name in names))
    (beside,) = scores(run("llmbar", "--data", data, "--limit", 42, "--seed", 3, "--from", other))
    assert beside.judged == 42
    (again,) = scores(run("llmbar", "--from", out))
    assert again.notes == ("42 of 419 pairs were judged",)
    assert again.figures == found.figures


def test_rmr1_compat_asks_as_rm_r1_does(run: Run, tmp_path: Path, texts: dict[str, str]) -> None:
    data, out = write("rewardbench", tmp_path), tmp_path / "out"
    given = ("rewardbench", "--data", data, "--partial", "--profile", "rmr1_compat", "--out", out)
    refused = run(*given, "--model", "fake:tests.replies:by_xs")
    assert refused.returncode == 2
    assert "run `rmr1 prompts pull`" in refused.stderr
    cache_folder().mkdir(parents=True)
    (cache_folder() / "published-prompts.json").write_text(json.dumps(texts))
    (found,) = scores(run(*given, "--model", "fake:tests.replies:loose"))
    assert (found.prompt, found.unreadable) == ("published-instruct, as evaluated", 4)  # the math pairs
    assert found.figure("math-prm").value == 0.0
    record = json.loads((out / "run.json").read_text())
    assert record["sampling"] == {"max_tokens": 50_000, "temperature": 0.0, "top_p": 1.0, "seed": None, "stop": []}
    assert (record["orders"], record["neutralise"]) == ("given", False)
    assert [len(json.loads(line)["verdicts"]) for line in (out / "judgments.jsonl").read_text().splitlines()] == [
        1
    ] * 13
    assert not any("asked with" in note for note in found.notes)
    (official,) = scores(run("rewardbench", "--from", out, "--profile", "official"))
    assert official.figure("math-prm").value == 0.5
    assert 'fake: asked with orders "given", where the profile has "random"' in official.notes


def test_a_folder_is_gone_on_with_as_it_was_begun(run: Run, tmp_path: Path) -> None:
    data, out = write("ifbench", tmp_path), tmp_path / "out"
    given = ("ifbench", "--data", data, "--partial", "--model", FAKE, "--out", out)
    scores(run(*given))
    refused = run(*given, "--ray", "local")
    assert (refused.returncode, refused.stderr) == (
        2, f"error: --out {out}: begun without --ray; resume it as begun, or name a new folder\n",
    )  # fmt: skip
    (out / "judgments.jsonl").unlink()
    (out / "judgments.jsonl").mkdir()
    refused = run(*given)
    assert (refused.returncode, refused.stderr.split(";")[0]) == (2, f"error: --out {out}: begun with --ray")


def test_a_person_gets_a_table_on_the_screen(rmr1: list[str], tmp_path: Path) -> None:
    data = write("pandalm", tmp_path, {"": 30})
    command = [*rmr1, "bench", "pandalm", "--data", str(data), "--partial", "--model", FAKE]
    said = processes.run_on_a_terminal(command)
    table = said.stdout
    assert said.stderr == ""
    for part in (
        "figure ",
        "PandaLM ",
        "a_b ",
        "orders differ ",
        "annotator 1 and annotator 2 ",
        "right within so many",
    ):
        assert f"\n{part}" in table
    assert "{" not in table


def test_what_cannot_be_read_is_counted_and_fails_the_run(run: Run, tmp_path: Path) -> None:
    data = write("ifbench", tmp_path)
    said = run("ifbench", "--data", data, "--partial", "--model", "fake:tests.replies:mute")
    assert said.returncode == 1
    assert "error: no verdict of fake could be read" in said.stderr
    (found,) = (Scores.model_validate(one) for one in json.loads(said.stdout)["scores"])
    assert (found.unreadable, found.figures[0].value, found.figures[0].coverage) == (4, 0.0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ifbench"], 2, "--model is missing"),
        (["ifbnch", "--model", FAKE], 2, "unknown benchmark 'ifbnch'; did you mean 'ifbench'?"),
        (["ifbench", "--model", FAKE], 2, "ifbench is not on the hub: give its file or"),
        (["ifbench", "--data", "d", "--model", FAKE], 1, "4 rows where IFBench has 444"),
        (["ifbench", "--data", "d", "--partial", "--model", "lama_cpp:m"], 2, "unknown backend 'lama_cpp'"),
        (["ifbench", "--data", "d", "--partial", "--profile", "x", "--model", "m"], 2, "unknown profile 'x'; expected"),
        (["ifbench", "--data", "d", "--partial", "--from", "none.jsonl"], 2, "none.jsonl: no such file"),
        (["ifbench", "--data", "d", "--partial", "--from", "d"], 1, "row 1: none of judgments, answers"),
        (["ifbench", "--data", "d", "--partial", "--orders", "all", "--model", FAKE], 2, "'all' is not one of"),
        (["ifbench", "--data", "d", "--partial", "--out", "/proc/x", "--model", FAKE], 2, "--out /proc/x"),
        (["ifbench", "--data", "d", "--model", FAKE, "--report", "r.pdf"], 2, "r.pdf: a report's name ends in"),
        (["ifbench", "--data", "d", "--model", FAKE, "--report", "r.html"], 2, "give --model and --out; `rmr1 report`"),
        (["ifbench", "--data", "d", "--model", FAKE, "--ray", "local"], 2, "--ray needs --out: a folder"),
        (["ifbench", "--model", FAKE, "--ray", "local", "--out", "o", "--store", "s"], 2, "--store does not go with"),
        (["ifbench", "--from", "d", "--ray", "local", "--out", "o"], 2, "--ray is for a run: give --model"),
    ],
)  # fmt: skip
def test_bad_input_is_said_with_its_exit_code(
    run: Run, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    data = write("ifbench", tmp_path)
    said = run(*(str(data) if part == "d" else part for part in arguments))
    assert said.returncode == code, said.stderr
    assert message in said.stderr.replace("\n", " ")
    assert "Traceback" not in said.stderr
