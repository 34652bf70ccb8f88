"""`rmr1 judge`, `rank` and the small commands."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rmr1_sdk import Judgment, Ranking
from rmr1_sdk.files.judgments import read_judgments
from rmr1_sdk.files.models import MODELS
from tests import processes
from tests.command import run_here

GOOD = {"question": "2 + 2?", "a": "4", "b": "5", "label": "A"}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run() -> Run:
    return run_here


def pairs_file(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def lists_file(tmp_path: Path, *lines: object) -> Path:
    return pairs_file(tmp_path, *lines).rename(tmp_path / "lists.jsonl")


def ranked(name: str, *more: object) -> list[object]:
    return ["rank", "--model", f"fake:tests.replies:{name}", *more]


def judged(name: str, *more: object) -> list[object]:
    return ["judge", "--model", f"fake:tests.replies:{name}", *more]


def test_one_pair(run: Run, tmp_path: Path) -> None:
    answer = tmp_path / "answer.txt"
    answer.write_text("four, of course")
    said = run(*judged("decided"), "--question", "@@home, 2 + 2?", "--a", f"@{answer}", "--b", "5")
    assert said.returncode == 0, said.stderr
    judgment = Judgment.model_validate_json(said.stdout)
    assert [verdict.shown for verdict in judgment.verdicts] == ["AB", "BA"]
    assert said.stderr == ""
    explained = run(*judged("decided"), "--question", "2 + 2?", "--a", "4", "--b", "5", "--explain")
    assert "shown in the other order: its A is your B" in explained.stdout
    assert "{" not in explained.stdout
    missing = run(*judged("decided"), "--question", "2 + 2?", "--a", f"@{tmp_path / 'none.txt'}", "--b", "5")
    assert (missing.returncode, missing.stderr) == (
        2,
        f"error: --a @{tmp_path / 'none.txt'}: No such file or directory\n",
    )


def test_a_file_with_a_summary_and_a_record_of_the_run(run: Run, tmp_path: Path) -> None:
    same = {"question": "Hi", "a": "Hello", "b": "Hello", "label": "tie"}
    path = pairs_file(tmp_path, GOOD, same, GOOD | {"b": "", "label": "B"})
    out = tmp_path / "out" / "judgments.jsonl"
    said = run(*judged("always_a"), path, "--out", out)
    assert said.returncode == 0, said.stderr
    judgments = [Judgment.model_validate_json(line) for line in out.read_text().splitlines()]
    assert [judgment.winner for judgment in judgments] == ["tie", "tie", "tie"]
    record = json.loads((out.parent / "run.json").read_text())
    summary = record["summary"]
    assert json.loads(said.stdout) == summary
    assert {name: summary[name] for name in ("pairs", "identical", "empty", "readings", "forced", "unreadable")} == {
        "pairs": 3, "identical": 1, "empty": 1, "readings": 4, "forced": 0, "unreadable": 0,
    }  # fmt: skip
    assert summary["winners"] == {"tie": 3}
    assert (summary["labelled"], summary["right"]) == (3, 1)
    assert summary["accuracy"]["share"] == pytest.approx(1 / 3)
    assert (summary["both_orders_read"], summary["position_consistent"], summary["position_effect"]) == (2, 0, 0.25)
    assert record["sampling"] == {
        "max_tokens": 4096,
        "temperature": 0.0,
        "top_p": None,
        "seed": None,
        "stop": ["</answer>"],
    }
    assert (record["model"], record["prompt"], record["orders"], record["votes"], record["seed"]) == (
        "fake",
        "cor",
        "both",
        1,
        0,
    )
    assert all(len(record[name]) == 64 for name in ("prompt_sha256", "data_sha256"))
    assert (record["max_votes"], record["risk"]) == (None, 0.05)
    assert "both orders agree  0.0% [0.0%, 65.8%] of 2" in said.stderr
    assert "position effect    +0.25 (above 0: favours what is shown first)" in said.stderr
    assert "agrees with label  33.3%" in said.stderr


def test_votes_of_a_file_stop_early(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "judgments.jsonl"
    said = run(*judged("always_a"), pairs_file(tmp_path, GOOD), "--out", out, "--max-votes", 10, "--risk", 0.1)
    assert said.returncode == 0, said.stderr
    record = json.loads((tmp_path / "run.json").read_text())
    assert (record["votes"], record["max_votes"], record["risk"]) == (1, 10, 0.1)
    assert record["sampling"]["temperature"] == 0.7
    readings = record["summary"]["readings"]
    assert 2 < readings < 20
    assert len(Judgment.model_validate_json(out.read_text()).verdicts) == readings


def test_a_person_gets_a_table(rmr1: list[str], tmp_path: Path) -> None:
    path = pairs_file(tmp_path, GOOD | {"id": "first"}, GOOD | {"a": "5"})
    shown = processes.run_on_a_terminal([*rmr1, *judged("always_a", path)]).stdout
    table = [line.split() for line in shown.splitlines()]
    assert table[0] == ["pair", "winner", "p(A)", "orders", "forced", "seconds"]
    assert table[1] == ["first", "tie", "0.50", "differ", "0", "0.0"]
    assert table[2][:4] == ["2", "tie", "0.50", "-"]


def test_unreadable_verdicts_are_counted_and_never_guessed(run: Run, tmp_path: Path) -> None:
    said = run(*judged("mute"), pairs_file(tmp_path, GOOD, GOOD), "--out", tmp_path / "o.jsonl")
    assert said.returncode == 1
    assert "error: no verdict could be read (no_answer)" in said.stderr
    summary = json.loads(said.stdout)
    assert (summary["winners"], summary["unreadable"], summary["right"]) == ({"none": 2}, 4, 0)
    assert [json.loads(line)["winner"] for line in (tmp_path / "o.jsonl").read_text().splitlines()] == [None, None]


def test_names_of_fields_can_be_mapped(run: Run, tmp_path: Path) -> None:
    path = pairs_file(tmp_path, {"prompt": "2 + 2?", "chosen": "4", "rejected": "5", "source": "x"})
    fields = [part for field in ("question=prompt", "a=chosen", "b=rejected") for part in ("--field", field)]
    said = run(*judged("decided"), path, *fields)
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["pair_id"] == "1"
    wrong = run(*judged("decided"), path, "--field", "query=prompt")
    assert wrong.returncode == 2
    assert "--field query=prompt: write OURS=THEIRS, as in question=prompt; ours are question, a, b, id" in wrong.stderr


def test_bad_lines_stop_the_run_before_any_work_or_are_listed(run: Run, tmp_path: Path) -> None:
    path = pairs_file(tmp_path, GOOD, '{"question": "cut', {"question": "no answers"})
    stopped = run(*judged("decided"), path, "--out", tmp_path / "o.jsonl")
    assert stopped.returncode == 1
    assert f"error: {path}:2: not a whole JSON object" in stopped.stderr
    assert "(and 1 more bad lines); nothing was judged" in stopped.stderr
    assert not (tmp_path / "o.jsonl").exists()
    skipped = run(*judged("decided"), path, "--skip-bad", "--out", tmp_path / "o.jsonl")
    assert skipped.returncode == 0
    assert "bad lines skipped  2" in skipped.stderr
    assert [line.split(":")[1] for line in json.loads(skipped.stdout)["skipped_lines"]] == ["2", "3"]


def test_judgments_of_a_table_go_to_a_table(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("prompt,a,b,label\n2 + 2?,4,5,A\n3 + 3?,6,7,C\n4 + 4?,8,,B\n")
    field = ["--field", "question=prompt"]
    stopped = run(*judged("decided"), path, *field)
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert f"error: {path}:3: field label: Input should be 'A', 'B' or 'tie', not " in stopped.stderr
    assert "; nothing was judged" in stopped.stderr
    said = run(*judged("decided"), path, *field, "--skip-bad", "--out", tmp_path / "o.parquet")
    assert said.returncode == 0, said.stderr
    assert [judgment.pair_id for judgment in read_judgments(tmp_path / "o.parquet")] == ["2", "4"]
    summary = json.loads(said.stdout)
    assert (summary["pairs"], summary["empty"], summary["labelled"], len(summary["skipped_lines"])) == (2, 1, 2, 1)
    assert not (tmp_path / "o.parquet.part").exists()
    first = run(*judged("decided"), path, *field, "--skip-bad", "--limit", 1, "--out", tmp_path / "o.csv")
    assert json.loads(first.stdout)["pairs"] == 1
    assert [judgment.pair_id for judgment in read_judgments(tmp_path / "o.csv")] == ["2"]


def test_rankings_are_not_written_as_a_table(run: Run, tmp_path: Path) -> None:
    said = run(*ranked("decided"), lists_file(tmp_path, LIST), "--out", tmp_path / "o.parquet")
    assert said.returncode == 2
    assert "o.parquet: rankings are written as JSONL" in said.stderr


LIST = {"question": "2 + 2?", "answers": ["4", "5", "four", "4"]}


def test_one_list_is_ranked(run: Run, tmp_path: Path) -> None:
    answer = tmp_path / "answer.txt"
    answer.write_text("four, of course")
    given = ["--question", "2 + 2?", "--answer", f"@{answer}", "--answer", "5", "--answer", "4"]
    said = run(*ranked("decided"), *given)
    assert said.returncode == 0, said.stderr
    ranking = Ranking.model_validate_json(said.stdout)
    assert (ranking.method, len(ranking.comparisons), sorted(ranking.order)) == ("round_robin", 3, [0, 1, 2])
    assert said.stderr == ""
    against = run(*ranked("decided"), *given, "--method", "anchor", "--anchor", "5", "--aggregate", "win_rate")
    assert Ranking.model_validate_json(against.stdout).scores[1] == 0.5


def test_duels_of_a_ranking_take_as_many_votes_as_they_need(run: Run) -> None:
    given = ["--question", "x?", "--answer", "x", "--answer", "", "--max-votes", 9, "--risk", 0.2]
    ranking = Ranking.model_validate_json(run(*ranked("by_xs"), *given).stdout)
    assert [len(judgment.verdicts) for judgment in ranking.judgments] == [2]
    assert run(*ranked("by_xs"), *given, "--votes", 10).returncode == 2


def test_a_file_of_lists_is_ranked(run: Run, tmp_path: Path) -> None:
    path = lists_file(tmp_path, *[LIST | {"question": f"{n}?", "id": f"list {n}"} for n in range(40)])
    out = tmp_path / "out" / "rankings.jsonl"
    said = run(*ranked("decided"), path, "--method", "swiss", "--budget", 2, "--out", out)
    assert said.returncode == 0, said.stderr
    rankings = [Ranking.model_validate_json(line) for line in out.read_text().splitlines()]
    assert [ranking.id for ranking in rankings] == [f"list {n}" for n in range(40)]
    assert {(ranking.method, len(ranking.comparisons)) for ranking in rankings} == {("swiss", 2)}
    record = json.loads((out.parent / "run.json").read_text())
    assert (record["method"], record["budget"], record["aggregate"]) == ("swiss", 2, "bradley_terry")
    assert record["summary"] == json.loads(said.stdout)
    summary = record["summary"]
    assert {name: summary[name] for name in ("lists", "answers", "unranked", "duels", "failed_duels")} == {
        "lists": 40, "answers": 160, "unranked": 0, "duels": 80, "failed_duels": 0,
    }  # fmt: skip
    assert "duels              80 (0 failed)" in said.stderr
    assert not Path(f"{out}.part").exists()
    kept = json.loads(run("store", "ls", f"{out}.store.db").stdout)["completions"]
    assert kept == 160


def test_a_person_gets_a_table_of_ranks(rmr1: list[str], tmp_path: Path) -> None:
    path = lists_file(tmp_path, LIST | {"id": "first", "answers": ["4", "a long answer " * 9, "4"]})
    table = processes.run_on_a_terminal([*rmr1, *ranked("always_a", path)]).stdout.splitlines()
    assert [line.split() for line in table[:4]] == [
        ["==", "first"],
        ["rank", "score", "answer"],
        ["1", "0.50", "±", "0.20", "0:", "4"],
        ["1", "0.50", "±", "0.41", "1:", *["a", "long", "answer"] * 4, "..."],
    ]


def test_a_killed_ranking_goes_on_where_it_was(run: Run, tmp_path: Path) -> None:
    path = lists_file(tmp_path, *[LIST | {"question": f"{n}?"} for n in range(30)])
    out, asked = tmp_path / "o.jsonl", tmp_path / "asked"
    environment = {**os.environ, "ASKED": str(asked)}
    assert run(*ranked("logged"), path, "--out", out, "--max-tokens-total", 8_000, env=environment).returncode == 1
    assert not out.exists()
    assert run(*ranked("logged"), path, "--out", out, env=environment).returncode == 0
    assert len(out.read_text().splitlines()) == 30
    requests = asked.read_text().splitlines()
    assert len(requests) == len(set(requests)) == 30 * 3 * 2


def test_answers_that_cannot_be_judged_have_no_rank(run: Run, tmp_path: Path) -> None:
    said = run(*ranked("mute"), lists_file(tmp_path, LIST, LIST), "--out", tmp_path / "o.jsonl")
    assert said.returncode == 1
    assert "error: no verdict could be read (no_answer)" in said.stderr
    assert json.loads(said.stdout)["unranked"] == 8


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["judge", "none.jsonl", "--model", "fake:tests.replies:decided"], 2, "none.jsonl: No such file or directory"),
        (["judge", "--model", "fake:tests.replies:decided"], 2, "give a file of pairs, or --question, --a and --b"),
        (["judge", "p.jsonl"], 2, "--model is missing"),
        (["judge", "p.jsonl", "--model", "lama_cpp:m.gguf"], 2, "unknown backend 'lama_cpp'"),
        (["judge", "p.jsonl", "--model", "lama_cpp:m.gguf"], 2, "did you mean llama_cpp:m.gguf?"),
        (["judge", "p.jsonl", "--model", "llama_cpp:"], 2, "'llama_cpp:' does not say which model"),
        (["judge", "p.jsonl", "--model", "llama_cpp:none.gguf"], 2, "none.gguf: No such file or directory"),
        (["judge", "p.jsonl", "--model", "fake:tests.replies:none"], 2, "fake:tests.replies:none: give it as"),
        (judged("decided", "p.jsonl", "--votes", 8, "--temperature", 0), 2, "8 votes at temperature 0 would be"),
        (judged("decided", "p.jsonl", "--votes", 0), 2, "votes must be more than 0, not 0"),
        (judged("decided", "p.jsonl", "--votes", 3, "--max-votes", 2), 2, "max_votes=2 is fewer than votes=3"),
        (judged("decided", "p.jsonl", "--max-votes", 2, "--risk", 2), 2, "risk is a probability from 0 to below 1"),
        (judged("decided", "p.jsonl", "--orders", "all"), 2, "'all' is not one of"),
        (judged("decided", "p.jsonl", "--prompt", "corr"), 2, "unknown prompt 'corr'; did you mean 'cor'?"),
        (judged("decided", "p.jsonl", "--prompt", "published"), 2, "run `rmr1 prompts pull`"),
        (judged("decided", "p.jsonl", "--max-tokens", 0), 2, "sampling.max_tokens: Input should be greater"),
        (judged("decided", "p.jsonl", "--out", "/proc/none/o.jsonl"), 2, "--out /proc/none/o.jsonl: cannot be written"),
        (judged("decided", "p.jsonl", "--store", "/proc/none/s.db"), 1, "unable to open database file"),
        (judged("decided", "p.jsonl", "--max-tokens-total", 10), 1, "tokens are spent of max_tokens_total=10"),
        (judged("decided", "p.jsonl", "--question", "Q"), 2, "not both"),
        (ranked("decided"), 2, "give a file of lists, or --question and two or more of --answer"),
        (ranked("decided", "l.jsonl", "--method", "elo"), 2, "unknown method 'elo'; expected one of round_r"),
        (ranked("decided", "l.jsonl", "--budget", 3), 2, "budget= goes with method='swiss'"),
        (ranked("decided", "l.jsonl", "--anchor", "3"), 2, "not both"),
        (ranked("decided", "l.jsonl", "--method", "anchor"), 1, "field anchor: Field required"),
        (ranked("decided", "p.jsonl"), 1, "field answers: Field required; the line has question, a, b, label."),
        (ranked("decided", "l.jsonl", "--field", "answer=a"), 2, "ours are question, answers, id, anchor"),
        (["store", "ls", "none.db"], 1, "none.db: no such store"),
        (["store", "prune", "none.db"], 2, "say what to prune"),
        (["prompts", "show", "reasonin"], 2, "did you mean 'reasoning'?"),
        (["judge", "--no-such-flag"], 2, "No such option"),
    ],
)  # fmt: skip
def test_bad_input_is_said_with_its_exit_code(
    run: Run, tmp_path: Path, arguments: list[object], code: int, message: str
) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD | {"question": "3 + 3?"}) + "\n")
    (tmp_path / "l.jsonl").write_text(json.dumps(LIST) + "\n")
    in_folder = [tmp_path / part if part in ("p.jsonl", "l.jsonl") else part for part in arguments]
    said = run(*in_folder)
    assert said.returncode == code, said.stderr
    assert message in said.stderr.replace("\n", " ")
    assert "Traceback" not in said.stderr


def test_a_disk_that_fills_up_leaves_what_was_done(run: Run, rmr1: list[str], tmp_path: Path) -> None:
    """The system refuses to let a file grow beyond a limit; the second run goes on without one."""
    path = pairs_file(tmp_path, *[GOOD | {"question": f"{n}?"} for n in range(500)])
    out = tmp_path / "o.jsonl"

    store = f"{out}.store.db"
    assert run(*judged("decided"), path, "--limit", 5, "--store", store).returncode == 0
    limited = ["bash", "-c", 'ulimit -f 293; exec "$@"', "_"]  # in units of 1,024 bytes
    said = processes.run([*limited, *rmr1, *judged("decided"), path, "--out", out])
    assert said.returncode == 1
    assert f"error: store {store}: " in said.stderr or f"error: {out}.part: File too large" in said.stderr
    assert "Traceback" not in said.stderr
    assert not out.exists()
    kept = json.loads(run("store", "ls", store).stdout)["completions"]
    assert 10 <= kept < 1000
    again = run(*judged("decided"), path, "--out", out)
    assert again.returncode == 0, again.stderr
    assert len(out.read_text().splitlines()) == 500


@pytest.mark.llama_cpp
def test_real_models_that_cannot_judge(run: Run, tmp_path: Path, gguf: Path) -> None:
    text = tmp_path / "text.gguf"
    text.write_text("hello")
    path = pairs_file(tmp_path, GOOD)
    refused = run("judge", path, "--model", f"llama_cpp:{text}")
    assert (refused.returncode, "text.gguf is not a GGUF file" in refused.stderr) == (2, True)
    long = pairs_file(tmp_path, GOOD | {"a": "word " * 30_000}, GOOD | {"b": "word " * 30_000})
    said = run("judge", long, "--model", "llama_cpp:smollm2-135m", "--out", tmp_path / "o.jsonl")
    assert said.returncode == 1
    assert "(prompt_too_long); every prompt is longer than the model's context" in said.stderr
    assert json.loads(said.stdout)["failures"] == {"prompt_too_long": 4}


def test_models_and_doctor(run: Run) -> None:
    models = [json.loads(line) for line in run("models").stdout.splitlines()]
    assert [model["name"] for model in models] == list(MODELS)
    assert models[1]["memory_gb"] == {"F16": 15.2, "Q8_0": 8.1, "Q4_K_M": 4.6}
    engines = {row["engine"]: row for row in map(json.loads, run("doctor").stdout.splitlines())}
    assert engines["fake"]["problem"] is None
    assert engines["llama_cpp"]["install"] == 'pip install "rmr1_sdk[llama-cpp]"'
    installed = engines["llama_cpp"]["installed"] is not None
    assert installed == (engines["llama_cpp"]["problem"] is None)


def test_prompts_are_listed_and_shown(run: Run) -> None:
    assert run("prompts", "ls").stdout.split() == ["cor", "reasoning", "cor-ties"]
    shown = run("prompts", "show", "cor").stdout
    assert "--- system ---" in shown
    assert "{answer A}" in shown


def test_what_is_read_is_not_written_over(run: Run, tmp_path: Path) -> None:
    path = pairs_file(tmp_path, {"question": "q", "a": "a", "b": "b"})
    before = path.read_bytes()
    said = run("judge", "--model", "fake:tests.replies:decided", path, "--out", path)
    assert said.returncode == 2
    assert "is the file that is read" in said.stderr
    assert path.read_bytes() == before
    said = run("judge", "--model", "fake:tests.replies:decided", path, "--out", tmp_path)
    assert (said.returncode, "is a folder" in said.stderr) == (2, True)
