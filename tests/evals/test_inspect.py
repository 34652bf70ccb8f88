"""Real evaluations of inspect-ai, whose model is scripted and whose scorer is our judge."""

import sys
from collections.abc import Callable, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import BackendError, ConfigError, FakeBackend, Judge, Request
from tests.engines.server import Asked, Reply, Server, chat
from tests.replies import by_xs, by_xs_or_mute

pytest.importorskip("inspect_ai", reason="needs inspect-ai; `make test-evals` installs it")

import inspect_ai
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentImage,
    ContentReasoning,
    ContentText,
    ModelOutput,
    ModelUsage,
    get_model,
)
from inspect_ai.scorer import Score
from inspect_ai.solver import generate, user_message

from rmr1_sdk.rewards.inspect import judge_scorer
from tests import processes

# inspect's own call of tenacity
pytestmark = pytest.mark.filterwarnings("ignore:The 'initial' parameter is deprecated:DeprecationWarning")

BY_XS = "fake:tests.replies:by_xs"


def evaluate(folder: Path, samples: Sequence[Sample], replies: Sequence[str], scorer: Any, **options: Any) -> EvalLog:
    """Run the samples one after the other; the model says the replies in turn."""
    said = [ModelOutput.from_content("mockllm/model", reply) for reply in replies]
    for output in said:
        output.usage = ModelUsage()  # else inspect counts tokens, with a vocabulary that it downloads
    task = inspect_ai.Task(dataset=list(samples), scorer=scorer, solver=options.pop("solver", None) or generate())
    model = get_model("mockllm/model", custom_outputs=said)
    options = {"fail_on_error": True, **options}
    [log] = inspect_ai.eval(task, model=model, log_dir=str(folder / "logs"), display="none", max_samples=1, **options)
    return log


def scores(log: EvalLog) -> list[Score]:
    assert log.status == "success", log.error
    assert log.samples
    return [sample.scores["judge_scorer"] for sample in log.samples if sample.scores]


def noting(seen: list[str], reply: Callable[[Request], str] = by_xs) -> Judge:
    """A judge that notes what it is shown."""

    def noted(request: Request) -> str:
        seen.append(request.messages[-1].content)
        return reply(request)

    return Judge(FakeBackend(noted), orders="given")


def test_a_score_is_the_probability_that_the_submission_beats_the_target(tmp_path: Path) -> None:
    samples = [Sample(input=f"Question {i}", target="xx") for i in range(3)]
    log = evaluate(tmp_path, samples, ["xxx", "x", "xx"], judge_scorer(BY_XS))
    assert [score.value for score in scores(log)] == [0.75, 0.25, 0.5]
    first = scores(log)[0]
    assert first.answer == "xxx"
    assert first.explanation
    assert first.explanation.startswith("A is the answer, B is the reference.\n\nA is better (probability of A 0.75)")
    assert first.metadata
    assert first.metadata["position_consistent"] is True
    assert first.metadata["usage"]["prompt_tokens"] > 0
    assert (first.metadata["model"], first.metadata["prompt"], first.metadata["failures"]) == ("fake", "cor", {})
    assert log.results
    [result] = log.results.scores
    assert result.metrics["mean"].value == pytest.approx(0.5)
    assert (result.scored_samples, result.unscored_samples) == (3, 0)


@pytest.mark.parametrize("on_failure", ["value", "raise"])
def test_an_unreadable_judgment_is_unscored_left_out_of_the_mean_and_counted(tmp_path: Path, on_failure: str) -> None:
    samples = [Sample(input=f"Question {i}", target="x") for i in range(3)]
    scorer = judge_scorer("fake:tests.replies:by_xs_or_mute", on_failure=on_failure)
    log = evaluate(tmp_path, samples, ["xx", "mute", ""], scorer)
    better, unread, worse = scores(log)
    assert (better.value, worse.value) == (0.75, 0.25)
    assert isinstance(unread.value, float)
    assert isnan(unread.value)
    assert unread.reason == "grader_failed"
    assert unread.metadata
    assert unread.metadata["failures"] == {"no_answer": 1}
    assert unread.metadata["usage"]["completion_tokens"] > 0
    assert unread.explanation
    assert "Unreadable: " in unread.explanation
    assert log.results
    [result] = log.results.scores
    assert result.metrics["mean"].value == pytest.approx(0.5)
    assert (result.scored_samples, result.unscored_samples) == (2, 1)


def test_several_targets_are_met_one_by_one_and_what_fails_is_left_out(tmp_path: Path) -> None:
    samples = [Sample(input="Question", target=targets) for targets in (["x", "xxx", "xxxx"], ["x", "mute"])]
    first, second = scores(evaluate(tmp_path, samples, ["xx", "xx"], judge_scorer(Judge(FakeBackend(by_xs_or_mute)))))
    assert first.value == pytest.approx((0.75 + 0.25 + 0.25) / 3)
    assert second.value == 0.75
    assert second.metadata
    assert second.metadata["failures"] == {"no_answer": 1}
    assert second.explanation
    assert "A is the answer, B is reference 2 of 2.\n\nNo verdict." in second.explanation


def test_the_question_is_the_whole_input_and_not_what_solvers_make_of_it(tmp_path: Path) -> None:
    seen: list[str] = []
    turns = [
        ChatMessageSystem(content="Be brief."),
        ChatMessageUser(content="How many?"),
        ChatMessageAssistant(content=[ContentReasoning(reasoning="Hm."), ContentText(text="Of what?")]),
        ChatMessageUser(content="Apples."),
    ]
    solver = [generate(), user_message("And shorter?"), generate()]
    for include_history in (False, True):
        scorer = judge_scorer(noting(seen), include_history=include_history)
        log = evaluate(tmp_path, [Sample(input=turns, target="x")], ["xx apples", "xx"], scorer, solver=solver)
        assert [score.answer for score in scores(log)] == ["xx"]
    plain, whole = seen
    for shown in (plain, whole):
        assert "System: Be brief." in shown
        assert "User: How many?" in shown
        assert "Of what?" in shown
        assert "Hm." not in shown
        assert "User: Apples." in shown
    assert "And shorter?" not in plain
    assert "xx apples" not in plain
    assert whole.index("xx apples") < whole.index("User: And shorter?")
    assert whole.count("xx") == 3  # the first reply on both sides, and the one that is judged


def gone(request: Request) -> str:
    raise BackendError("connection refused")


PICTURE = [ChatMessageUser(content=[ContentImage(image="data:image/png;base64,AAAA")])]


@pytest.mark.parametrize(
    ("sample", "judge", "says"),
    [
        pytest.param(Sample(input="Question"), by_xs, "sample 1 has no target", id="no target"),
        pytest.param(Sample(input="Question", target=["x", ""]), by_xs, "or an empty one", id="an empty target"),
        pytest.param(Sample(input=PICTURE, target="x"), by_xs, "block of type 'image'", id="an image"),
        pytest.param(Sample(input="Question", target="x"), gone, "connection refused", id="no engine"),
    ],
)
def test_what_is_no_judgment_is_an_error_of_the_sample(
    tmp_path: Path, sample: Sample, judge: Callable[[Request], str], says: str
) -> None:
    scorer = judge_scorer(Judge(FakeBackend(judge)))
    stopped = evaluate(tmp_path, [sample], ["xx"], scorer)
    assert stopped.status == "error"
    assert stopped.error
    assert says in stopped.error.message
    went_on = evaluate(tmp_path, [sample, Sample(input="Q", target="xx")], ["xx", "xx"], scorer, fail_on_error=False)
    assert [score.value for score in scores(went_on)] == [0.5]
    assert went_on.samples
    assert went_on.samples[0].error
    assert says in went_on.samples[0].error.message


@pytest.mark.parametrize("options", [{"votes": 3}, {"base_url": "http://127.0.0.1:1/v1"}], ids=str)
def test_options_of_a_judge_belong_to_one_that_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(options))}: these belong to a judge that is named"):
        judge_scorer(Judge(FakeBackend(by_xs)), **options)
    with pytest.raises(ConfigError, match="votes"):
        judge_scorer(BY_XS, votes=-1)


def test_inspects_command_scores_a_log_again_by_the_scorers_name(tmp_path: Path) -> None:
    log = evaluate(tmp_path, [Sample(input="Question", target="x")], ["xx"], judge_scorer(BY_XS))
    assert log.eval.scorers
    assert log.eval.scorers[0].options == {"judge": BY_XS}
    again = tmp_path / "again.eval"
    command = ["score", log.location, "--scorer", "rmr1_sdk/judge_scorer", "-S", f"judge={BY_XS}", "-S", "votes=3"]
    ran = processes.run(
        [Path(sys.executable).with_name("inspect"), *command, "--output-file", again, "--action", "overwrite"],
        cwd=Path(__file__).parents[2],
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    [score] = scores(read_eval_log(str(again)))
    assert score.value == pytest.approx(3.5 / 4)  # three readings in each order


def test_a_judge_behind_a_server_scores(tmp_path: Path) -> None:
    def behave(asked: Asked) -> Reply:
        first, _, second = asked.body["messages"][-1]["content"].partition("Chatbot B")
        return chat(f"<answer>[[{'A' if first.count('x') > second.count('x') else 'B'}]]</answer>")

    with Server(behave) as server:
        scorer = judge_scorer("m", base_url=f"{server.url}/v1", force_verdict=False)
        log = evaluate(tmp_path, [Sample(input="Question", target="x")], ["xx"], scorer)
    [score] = scores(log)
    assert isinstance(score.value, float)
    assert score.value > 0.5
    assert score.metadata
    assert score.metadata["usage"]["prompt_tokens"] >= 100
    assert {asked.body["model"] for asked in server.asked} == {"m"}
