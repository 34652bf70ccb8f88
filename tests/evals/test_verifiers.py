"""Real runs of verifiers, whose policy answers over HTTP and whose rewards are our judge's."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import BackendError, Request
from tests.engines.server import Asked, Reply, Server, chat
from tests.evals.conftest import PLUGINS
from tests.replies import by_xs

vf = pytest.importorskip("verifiers.v1", reason="needs verifiers; `make test-evals` installs it")

from verifiers.v1.cli.eval.runner import run_eval
from verifiers.v1.configs.cli.eval import EvalConfig

from tests import processes

BY_XS = "fake:tests.replies:by_xs_or_mute"
SUBPROCESS = {"runtime": {"type": "subprocess"}}

seen: list[Request] = []


def noted(request: Request) -> str:
    seen.append(request)
    return by_xs(request)


def gone(request: Request) -> str:
    raise BackendError("connection refused")


@pytest.fixture(autouse=True)
def _plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(PLUGINS)
    monkeypatch.setattr("verifiers.v1.runtimes.subprocess.CACHE_DIR", tmp_path)
    seen.clear()
    yield
    seen.clear()


def rows(*answers: str | list[str], **fields: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"Question {i}", "answer": answer, **fields} for i, answer in enumerate(answers)]


def plan(server: Server, folder: Path, env: Mapping[str, Any], judge: Mapping[str, Any] | None) -> dict[str, Any]:
    """A run of the tasks in `env["rows"]`, rewarded by the judge that this describes."""
    task = {"judges": [{"id": "rmr1-judge", **judge}]} if judge else {}
    env = dict(env)
    taskset = {"id": "rmr1_questions", "rows": env.pop("rows"), "task": task}
    return {
        "env": {"agent": SUBPROCESS, "taskset": taskset, **env},
        "model": "policy",
        "client": {"base_url": f"{server.url}/v1", "api_key_var": "NO_KEY"},
        "output_dir": str(folder / "runs"),
        "push": False,
    }


def run(folder: Path, replies: Sequence[str], judge: Mapping[str, Any] | None, env: Mapping[str, Any]) -> list[Any]:
    """The episodes of a run whose policy says the replies in turn, one task after the other."""
    with Server(lambda asked: chat(replies[asked.number])) as server:
        config = EvalConfig.model_validate({**plan(server, folder, env, judge), "rich": None, "max_concurrent": 1})
        return asyncio.run(run_eval(config))


def only(episodes: Sequence[Any]) -> list[Any]:
    """The traces of episodes that have one each."""
    assert [len(episode.traces) for episode in episodes] == [1] * len(episodes)
    return [episode.traces[0] for episode in episodes]


def test_a_judge_that_a_run_names_rewards_its_traces(tmp_path: Path) -> None:
    judge = {"model": BY_XS, "name": "better", "weight": 2.0}
    first, second, same = only(run(tmp_path, ["xxx", "x", "xx"], judge, {"rows": rows("xx", "xx", "xx")}))
    assert all(trace.ok for trace in (first, second, same))
    assert [trace.rewards["better"].score for trace in (first, second, same)] == [0.75, 0.25, 0.5]
    assert first.reward == 1.5
    assert first.metrics == {"better/position_consistent": 1.0}
    assert same.metrics == {}  # identical texts need no judge
    [call] = first.info["judge_calls"]
    assert call["name"] == "better"
    assert call["request"] == {"model": "fake", "prompt": "cor"}
    assert call["response"]["message"]["content"].startswith("A is the answer, B is the reference.\n\nA is better")
    [usage] = first.extra_usage
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens > 0


@pytest.mark.parametrize("options", [{}, {"on_failure": "raise"}], ids=["value", "raise"])
def test_a_failed_judgment_fails_its_trace_and_no_other(tmp_path: Path, options: dict[str, str]) -> None:
    judge = {"model": BY_XS, "options": options}
    failed, good = run(tmp_path, ["mute", "xx"], judge, {"rows": rows("x", "x")})
    [trace] = failed.traces
    assert not failed.ok
    assert not trace.ok
    assert trace.rewards == {"rmr1-judge": None}
    assert "JudgmentFailed: There is no finished answer" in trace.errors[0].message
    assert trace.extra_usage[0].completion_tokens > 0  # it was paid for
    assert good.ok
    assert good.traces[0].reward == 0.75


def test_several_references_are_met_one_by_one_and_what_fails_is_left_out(tmp_path: Path) -> None:
    tasks = {"rows": rows(["x", "xxx", "xxxx"], ["x", "mute"])}
    first, second = only(run(tmp_path, ["xx", "xx"], {"model": BY_XS}, tasks))
    assert first.reward == pytest.approx((0.75 + 0.25 + 0.25) / 3)
    assert second.reward == 0.75


def test_the_judge_is_asked_as_its_entry_says(tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "Of what?"}]
    task = {"prompt": [*prompt, {"role": "user", "content": "Apples."}], "system_prompt": "Be brief.", "answer": "xx"}
    judge = {
        "model": "fake:tests.evals.test_verifiers:noted",
        "sampling": {"temperature": 0.5, "max_tokens": 99},
        "options": {"orders": "given"},
    }
    [trace] = only(run(tmp_path, ["x"], judge, {"rows": [task]}))
    assert trace.reward == 0.25
    [request] = seen
    assert (request.sampling.temperature, request.sampling.max_tokens) == (0.5, 99)
    shown = request.messages[-1].content
    for line in ("System: Be brief.", "User: How many?", "Of what?", "User: Apples."):
        assert line in shown


def test_where_a_simulated_user_speaks_the_question_is_the_conversation(tmp_path: Path) -> None:
    judge = {"model": "fake:tests.evals.test_verifiers:noted", "include_history": True, "options": {"orders": "given"}}
    user = {**SUBPROCESS, "harness": {"id": "rmr1_questions"}, "max_turns": 8}
    env = {"id": "user-sim", "assistant": SUBPROCESS, "user": user, "rows": rows("x")}
    said = ["Hello, how many?", "xx apples", "And shorter?", "xx", "###DONE###"]
    with Server(lambda asked: chat(said[asked.number])) as server:
        planned = plan(server, tmp_path, env, judge)
        del planned["env"]["agent"]
        [episode] = asyncio.run(run_eval(EvalConfig.model_validate({**planned, "rich": None})))
    [trace] = [trace for trace in episode.traces if trace.agent.name == "assistant"]
    assert trace.rewards["rmr1-judge"].score == 0.75
    assert trace.last_reply == "xx"
    [request] = seen
    shown = request.messages[-1].content
    assert shown.index("User: Hello, how many?") < shown.index("xx apples") < shown.index("User: And shorter?")
    assert shown.count("xx") == 3  # the first reply on both sides, and the one that is judged


@pytest.mark.parametrize(
    ("judge", "task", "says"),
    [
        pytest.param({}, {"answer": ""}, "DataError: task 0 has no 'answer'", id="no reference"),
        pytest.param({"answer_field": "gold"}, {"answer": "x"}, "task 0 has no 'gold'", id="no such field"),
        pytest.param({"options": {"votes": -1}}, {"answer": "x"}, "ConfigError: votes must be", id="a bad option"),
        pytest.param({"sampling": {"reasoning_effort": "low"}}, {"answer": "x"}, "reasoning_effort", id="bad sampling"),
        pytest.param({"model": f"fake:{__name__}:gone"}, {"answer": "x"}, "BackendError: connection", id="no engine"),
    ],
)
def test_what_is_no_judgment_fails_the_trace_and_says_why(
    tmp_path: Path, judge: dict[str, Any], task: dict[str, Any], says: str
) -> None:
    [trace] = only(run(tmp_path, ["xx"], {"model": BY_XS, **judge}, {"rows": [{"prompt": "Question", **task}]}))
    assert not trace.ok
    assert trace.rewards == {"rmr1-judge": None}
    assert says in trace.errors[0].message


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({}, "Field required"),
        ({"headers": {"X-Key": "1"}}, "headers has no effect on this judge"),
        ({"api_key_var": "MY_KEY"}, "api_key_var has no effect"),
        ({"prompt": "judge.txt"}, "prompt has no effect"),
        ({"vote": 3}, "vote"),
    ],
    ids=str,
)
def test_what_would_have_no_effect_is_refused_before_the_run(entry: dict[str, Any], says: str) -> None:
    model = {"model": "m"} if entry else {}
    with pytest.raises(ValueError, match=says):
        vf.TaskConfig.model_validate({"judges": [{"id": "rmr1-judge", **model, **entry}]})


# --- the traces of an episode against each other ---------------------------------------------------


def tournament(folder: Path, replies: Sequence[str]) -> Any:
    env = {"id": "rmr1_tournament", "n": len(replies), "rows": rows("")}
    [episode] = run(folder, replies, None, env)
    return episode


def test_the_traces_of_an_episode_are_rewarded_by_their_duels(tmp_path: Path) -> None:
    episode = tournament(tmp_path, ["x", "xxx", "xx", "xx"])
    assert episode.ok
    rewards = {trace.last_reply: trace.rewards["preference"].score for trace in episode.traces}
    assert rewards["x"] < rewards["xx"] < rewards["xxx"]
    assert sum(trace.reward for trace in episode.traces) / 4 == pytest.approx(0.5)
    for trace in episode.traces:
        assert trace.metrics["preference/position_consistency"] == 1
        assert trace.metrics["preference/failed_share"] == 0
        assert trace.metrics["preference/duels_played"] == 3  # of three different answers


@pytest.mark.parametrize(
    ("replies", "says"),
    [
        pytest.param(["x", "mute", "xx", "xxx"], "a trace has no reward: no_answer: ", id="one without a reward"),
        pytest.param(["x", "mute"], "1 of 1 judgments failed", id="most judgments failed"),
        pytest.param(["x"], "a trace has no reward: alone: ", id="alone"),
    ],
)
def test_a_trace_without_a_reward_fails_its_episode(tmp_path: Path, replies: list[str], says: str) -> None:
    episode = tournament(tmp_path, replies)
    assert not episode.ok
    assert f"JudgeUnavailable: {says}" in episode.errors[0].message
    assert all(trace.rewards == {} for trace in episode.traces)


def test_a_trace_that_failed_is_nobodys_opponent(tmp_path: Path) -> None:
    def behave(asked: Asked) -> Reply:
        replies = ["x", None, "xx"]
        reply = replies[asked.number]
        return chat(reply) if reply else Reply({"error": {"message": "no such model"}}, status=404)

    env = {"id": "rmr1_tournament", "n": 3, "rows": rows("")}
    with Server(behave) as server:
        config = EvalConfig.model_validate({**plan(server, tmp_path, env, None), "rich": None})
        [episode] = asyncio.run(run_eval(config))
    assert [trace.ok for trace in episode.traces] == [True, False, True]
    assert [trace.rewards.get("preference") and trace.reward for trace in episode.traces] == [0.25, None, 0.75]


# --- the command ------------------------------------------------------------------------------------


def test_verifiers_command_runs_it_from_a_file_with_a_judge_behind_a_server(tmp_path: Path) -> None:
    def behave(asked: Asked) -> Reply:
        if asked.body["model"] == "policy":
            return chat("xx")
        first, _, second = asked.body["messages"][-1]["content"].partition("Chatbot B")
        return chat(f"<answer>[[{'A' if first.count('x') > second.count('x') else 'B'}]]</answer>")

    with Server(behave) as server:
        judge = {"model": "judge", "base_url": f"{server.url}/v1", "options": {"force_verdict": False}}
        file = tmp_path / "run.json"
        file.write_text(json.dumps(plan(server, tmp_path, {"rows": rows("x")}, judge)))
        ran = processes.run(
            [Path(sys.executable).with_name("vf-eval"), "@", file, "--no-rich"],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": str(PLUGINS)},
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    [file] = (tmp_path / "runs").rglob("traces.jsonl")
    [line] = file.read_text().splitlines()
    [trace] = json.loads(line)["traces"]
    assert trace["ok"]
    assert trace["rewards"]["rmr1-judge"]["score"] > 0.5
    assert {asked.body["model"] for asked in server.asked} == {"judge", "policy"}
