"""Rewards: the arithmetic, over FakeBackend, and the adapters that need no trainer to be tested."""

import asyncio
import json
import pickle
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from math import isfinite, isnan
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from rmr1_sdk import (
    BackendError,
    BudgetExceeded,
    Completion,
    ConfigError,
    DataError,
    FakeBackend,
    Judge,
    JudgeUnavailable,
    Message,
    MissingExtraError,
    Request,
    StoreError,
)
from rmr1_sdk.backends.openai import OpenAI
from rmr1_sdk.concurrency import PerProcess
from rmr1_sdk.rewards import PreferenceRewards, RewardMetrics, preference_reward, verdict_reward
from rmr1_sdk.rewards.configured import judge_for
from rmr1_sdk.rewards.conversations import history, question
from rmr1_sdk.rewards.openrlhf import _without_ends, read_template
from rmr1_sdk.rewards.preference import Row, grouped
from rmr1_sdk.rewards.trl import JudgeReward, SyncJudgeReward, _ProcessGroup
from rmr1_sdk.rewards.verl import compute_score
from tests import processes
from tests.replies import by_xs, by_xs_or_mute, mute

A, B = "<answer>[[A]]</answer>", "<answer>[[B]]</answer>"


def rewards(judge: Judge, prompts: Sequence[Any], completions: Sequence[Any], **config: Any) -> PreferenceRewards:
    return asyncio.run(preference_reward(judge, prompts, completions, **config))


def judge(reply: Callable[[Request], Any] = by_xs, **options: Any) -> Judge:
    return Judge(FakeBackend(reply), **options)


# --- verdicts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("completion", "strict", "robust"),
    [
        pytest.param(A, 1.0, 1.0, id="right"),
        pytest.param(B, -1.0, -1.0, id="wrong"),
        pytest.param("It is A.", -1.0, -1.0, id="unreadable"),
        pytest.param(f"{B} no: {A}", -1.0, -1.0, id="both"),
        pytest.param(A + "." * 80, -1.0, 1.0, id="too far from the end for the strict rule"),
        pytest.param(A + "." * 58, 1.0, 1.0, id="just within the last 80 characters"),
        pytest.param(A + "." * 59, -1.0, 1.0, id="one character too far"),
        pytest.param(A + "\n" * 59, -1.0, 1.0, id="white space counts"),
        pytest.param(B + "." * 36 + A, -1.0, -1.0, id="both within the last 80 characters"),
        pytest.param(B + "." * 37 + A, 1.0, -1.0, id="the other is cut by one character"),
        pytest.param(A + " " + A, 1.0, 1.0, id="twice the same"),
        pytest.param("<answer> [[A]] </answer>", -1.0, 1.0, id="not literal"),
        pytest.param(f"<think>{B}</think>" + "." * 80 + A, 1.0, 1.0, id="thought otherwise"),
        pytest.param([{"role": "assistant", "content": A}], 1.0, 1.0, id="messages"),
        pytest.param([{"role": "assistant", "content": [{"type": "text", "text": A}]}], 1.0, 1.0, id="blocks"),
    ],
)
def test_verdicts_are_right_or_wrong(completion: Any, strict: float, robust: float) -> None:
    assert verdict_reward([completion], "A") == [strict]
    assert verdict_reward([completion], ["A"], rule="robust") == [robust]


def test_each_completion_has_its_own_winner() -> None:
    assert verdict_reward([A, A, B], ["A", "B", "B"]) == [1.0, -1.0, 1.0]
    assert verdict_reward([], "A") == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"winner": ["A", "B"]}, "1 completions and 2 winners"),
        ({"winner": "tie"}, "not 'tie'"),
        ({"winner": "A", "rule": "lenient"}, "unknown rule 'lenient'"),
    ],
)
def test_verdict_rewards_refuse(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        verdict_reward([A], **arguments)


# --- preferences -----------------------------------------------------------------------------------


def test_groups_are_told_by_their_prompts_not_by_their_places() -> None:
    """OnlineDPO lays its pairs out as p1 p2 p1 p2; GRPO as p1 p1 p2 p2."""
    strided = rewards(judge(), ["p1", "p2", "p1", "p2"], ["x", "xxx", "xx", ""])
    together = rewards(judge(), ["p1", "p1", "p2", "p2"], ["x", "xx", "xxx", ""])
    assert strided.values == [0.25, 0.75, 0.75, 0.25]  # one vote in each order comes to (1 + 0.5) / (1 + 1)
    assert together.values == [0.25, 0.75, 0.75, 0.25]
    assert strided.metrics.duels_planned == strided.metrics.duels_played == 2


def test_no_duel_ever_mixes_prompts() -> None:
    seen: list[str] = []

    def reply(request: Request) -> str:
        seen.append(request.messages[-1].content)
        return A

    prompts = [f"prompt-{n % 3}" for n in range(12)]
    rewards(judge(reply), prompts, [f"{prompt} answered {n}" for n, prompt in enumerate(prompts)])
    assert len(seen) == 3 * 6 * 2
    for content in seen:
        assert [content.count(f"prompt-{n} answered") for n in range(3)].count(2) == 1
        assert sum(content.count(f"prompt-{n} answered") for n in range(3)) == 2


@pytest.mark.parametrize("aggregate", ["win_rate", "bradley_terry"])
@pytest.mark.parametrize(("n", "duels"), [(2, 1), (4, 6), (7, 21), (8, 24), (12, 36)])
def test_small_groups_meet_in_full_and_larger_ones_within_the_budget(aggregate: str, n: int, duels: int) -> None:
    given = rewards(judge(), ["Q"] * n, ["x" * k for k in range(n)], aggregate=aggregate)
    values = [value for value in given.values if value is not None]
    assert given.metrics.duels_played == duels
    assert sum(values[: n // 2]) < sum(values[-(n // 2) :])
    assert sum(values) / n == pytest.approx(0.5)
    assert all(0 <= value <= 1 for value in values)


def test_identical_answers_share_their_reward_without_a_call() -> None:
    backend = FakeBackend(by_xs)
    same = rewards(Judge(backend), ["Q"] * 2, ["xx", "xx"])
    assert (same.values, backend.asked) == ([0.5, 0.5], 0)
    values = rewards(Judge(backend), ["Q"] * 3, ["xx", "x", "xx"]).values
    assert values[0] == values[2] == pytest.approx((0.75 + 0.5) / 2)
    assert backend.asked == 2


def test_an_answer_alone_has_no_reward() -> None:
    given = rewards(judge(), ["Q", "P", "P"], ["x", "x", "xx"])
    assert given.values == [None, 0.25, 0.75]
    assert given.reasons[0] is not None
    assert given.reasons[0].startswith("alone")
    assert given.reasons[1:] == [None, None]


def test_with_a_reference_an_answer_meets_that_alone() -> None:
    given = rewards(judge(), ["Q"] * 4, ["x", "xx", "xxx", "xxxx"], references=["xx", "xx", "xx", None])
    assert given.values == [0.25, 0.5, 0.75, None]
    assert given.metrics.duels_played == 2
    alone = rewards(judge(), ["Q"], ["xxx"], references=["xx"])
    assert alone.values == [0.75]


def test_what_fails_is_missing_and_never_lost() -> None:
    """The duels of "mute" cannot be read: half of them all, which is not more than max_failed."""
    given = rewards(judge(by_xs_or_mute), ["Q"] * 4, ["x", "mute", "xx", "xxx"])
    assert given.values == [0.25, None, 0.5, 0.75]
    assert given.reasons[1] is not None
    assert given.reasons[1].startswith("no_answer: ")
    assert given.metrics.failures == {"no_answer": 3}
    assert given.metrics.failed_share == 0.5
    assert given.metrics.position_consistency == 1.0


def test_on_failure_raise_is_a_failed_judgment_too() -> None:
    given = rewards(judge(by_xs_or_mute, on_failure="raise"), ["Q"] * 4, ["x", "mute", "xx", "xxx"])
    assert given.values == [0.25, None, 0.5, 0.75]


def test_more_failures_than_accepted_raise() -> None:
    with pytest.raises(JudgeUnavailable, match=r"3 of 6 judgments failed.*max_failed=0.4: 3 x no_answer"):
        rewards(judge(by_xs_or_mute), ["Q"] * 4, ["x", "mute", "xx", "xxx"], max_failed=0.4)
    with pytest.raises(JudgeUnavailable, match="1 of 1"):
        rewards(judge(by_xs_or_mute), ["Q"] * 2, ["mute", "x"])
    assert rewards(judge(by_xs_or_mute), ["Q"] * 2, ["mute", "x"], max_failed=1.0).values == [None, None]


def test_an_engine_that_fails_is_a_failed_judgment_and_an_engine_that_is_gone_raises() -> None:
    def gone(request: Request) -> str:
        raise BackendError("connection refused")

    def moody(request: Request) -> str:
        return gone(request) if "mute" in request.messages[-1].content else by_xs(request)

    given = rewards(judge(moody), ["Q"] * 4, ["x", "mute", "xx", "xxx"])
    assert given.values == [0.25, None, 0.5, 0.75]
    assert given.reasons[1] == "engine: connection refused"
    with pytest.raises(JudgeUnavailable, match="connection refused"):
        rewards(judge(gone), ["Q"] * 2, ["x", "xx"])


def test_a_spent_budget_is_raised_as_it_is() -> None:
    with pytest.raises(BudgetExceeded):
        rewards(judge(max_tokens_total=1, max_concurrency=1), ["Q"] * 3, ["x", "xx", "xxx"])


def test_time_that_runs_out_costs_duels_of_all_answers_alike() -> None:
    """The engine answers eight requests, four duels of twelve, and hangs on the others."""
    answered = 0

    async def reply(request: Request) -> str:
        nonlocal answered
        answered += 1
        if answered > 8:
            await asyncio.Event().wait()
        return by_xs(request)

    given = rewards(
        judge(reply, max_concurrency=2), ["P"] * 4 + ["Q"] * 4, ["x", "xx", "xxx", "xxxx"] * 2, step_time_s=1.0
    )
    assert given.metrics.duels_planned == 12
    assert given.metrics.duels_played == 4
    assert given.metrics.duels_failed == 0
    assert None not in given.values  # two duels in each group, and every answer was in one


def test_no_duel_in_time_is_an_unavailable_judge() -> None:
    async def reply(request: Request) -> str:
        await asyncio.Event().wait()
        return A

    with pytest.raises(JudgeUnavailable, match=r"0 of 0 judgments failed, of 28 planned.*step_time_s"):
        rewards(judge(reply), ["Q"] * 8, ["x" * n for n in range(8)], step_time_s=0.02, duels_per_answer=4)
    late = rewards(judge(reply), ["Q"] * 9, ["x" * n for n in range(9)], step_time_s=0.02, max_failed=1.0)
    assert late.values == [None] * 9
    assert {reason and reason.partition(":")[0] for reason in late.reasons} == {"no_time"}


def test_verdicts_are_kept_across_steps(tmp_path: Path) -> None:
    backend = FakeBackend(by_xs)
    with Judge(backend, store=tmp_path / "store.db") as kept:
        first = rewards(kept, ["Q"] * 3, ["x", "xx", "xxx"])
        asked = backend.asked
        again = rewards(kept, ["Q"] * 3, ["xxx", "x", "xx"])
        assert backend.asked == asked == 6
        rewards(kept, ["Q"] * 4, ["x", "xx", "xxx", "xxxx"])
        assert backend.asked == 12
    assert [again.values[i] for i in (1, 2, 0)] == first.values


def test_a_turn_in_messages_is_the_same_as_its_text() -> None:
    seen: set[str] = set()

    def reply(request: Request) -> str:
        seen.add(request.model_dump_json())
        return by_xs(request)

    rewards(judge(reply), ["Q"] * 2, ["x", "xx"])
    prompt = [{"role": "user", "content": "Q"}]
    completions = [[{"role": "assistant", "content": text}] for text in ("x", "xx")]
    assert rewards(judge(reply), [prompt] * 2, completions).values == [0.25, 0.75]
    assert len(seen) == 2


def test_tool_turns_and_empty_completions_can_be_judged() -> None:
    prompt = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Q"}]
    used = [
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look", "arguments": {}}}]},
        {"role": "tool", "name": "look", "content": "xxx"},
        {"role": "assistant", "content": "xx"},
    ]
    assert rewards(judge(), [prompt] * 3, [used, [], "x"]).values == [0.75, 0.25, 0.5]


def test_images_are_refused() -> None:
    prompt = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]
    with pytest.raises(ConfigError, match="cannot be shown a block of type 'image'"):
        rewards(judge(), [prompt] * 2, ["x", "xx"])


def test_groups_keep_the_order_and_the_places_of_their_rows() -> None:
    groups = grouped([Row("p", "1"), Row("q", "2"), Row("p", "3"), Row("p", "4", "reference")])
    assert [(group.question, group.answers, group.rows) for group in groups] == [
        ("p", ["1", "3"], [0, 2]),
        ("q", ["2"], [1]),
        ("p", ["4"], [3]),
    ]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"aggregate": "elo"}, "unknown aggregate 'elo'"),
        ({"duels_per_answer": 0}, "duels_per_answer"),
        ({"max_failed": 1.5}, "max_failed"),
        ({"step_time_s": 0}, "step_time_s"),
        ({"references": ["r"]}, "2 prompts, 2 completions, 1 references"),
    ],
)
def test_terms_that_cannot_be_right_are_refused(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        rewards(judge(), ["Q"] * 2, ["x", "xx"], **config)


def test_metrics_have_the_same_names_every_time_and_go_to_json() -> None:
    nothing = RewardMetrics()
    assert nothing.failed_share is None
    assert isnan(nothing.figures()["failed_share"])

    def reply(request: Request) -> Completion:
        return Completion(text=A, latency_s=2.0)

    given = rewards(judge(reply), ["Q"] * 2, ["x", "xx"]).metrics  # always what is shown first
    assert given.figures() == {
        "duels_planned": 1, "duels_played": 1, "failed_share": 0, "position_consistency": 0, "latency_p95_s": 2,
    }  # fmt: skip
    assert given.figures().keys() == nothing.figures().keys()
    assert RewardMetrics.model_validate_json(given.model_dump_json()) == given


# --- TRL's calling convention, without TRL ---------------------------------------------------------


def test_the_reward_is_a_picklable_coroutine_function_with_a_name() -> None:
    import inspect

    reward = pickle.loads(pickle.dumps(JudgeReward(Judge("fake:tests.replies:by_xs"), name="taste")))
    assert reward.__name__ == "taste"
    assert inspect.iscoroutinefunction(reward.__call__)
    called = reward(
        prompts=["Q"] * 2, completions=["x", "xx"], completion_ids=[[1], [2]], trainer_state=None, tag=[1, 2]
    )
    assert asyncio.run(called) == [0.25, 0.75]


def test_metrics_and_reasons_are_logged_under_the_rewards_name() -> None:
    metrics: dict[str, float] = {}
    extra: dict[str, list[Any]] = {}
    reward = JudgeReward(judge(by_xs_or_mute), name="taste")
    values = asyncio.run(
        reward(["Q"] * 4, ["x", "mute", "xx", "xxx"], log_metric=metrics.__setitem__, log_extra=extra.__setitem__)
    )
    assert values == [0.25, None, 0.5, 0.75]
    assert metrics["taste/failed_share"] == 0.5
    assert set(metrics) == {f"taste/{name}" for name in RewardMetrics().figures()}
    assert [reason and reason.partition(":")[0] for reason in extra["taste_failure"]] == [None, "no_answer", None, None]


def test_a_part_of_a_group_meets_the_reference_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    reward = JudgeReward(judge(), reference_column="gold", num_generations=3)
    for _ in range(2):
        values = asyncio.run(reward(["p", "p", "q", "q", "q"], ["x", "xxx", "x", "xx", "xxx"], gold=["xx"] * 5))
        assert values == [0.25, 0.75, 0.25, 0.5, 0.75]
    assert [record.message for record in caplog.records] == [
        "Only a part of some groups is in this process: its answers meet the reference instead."
    ]


def test_a_part_without_a_reference_meets_itself(caplog: pytest.LogCaptureFixture) -> None:
    reward = JudgeReward(judge(), num_generations=3)
    assert asyncio.run(reward(["p", "p", "q"], ["x", "xxx", "x"])) == [0.25, 0.75, None]
    assert len(caplog.records) == 1


def test_against_the_reference_everyone_meets_it() -> None:
    reward = JudgeReward(judge(), against="reference", reference_column="gold")
    assert asyncio.run(reward(["p", "p"], ["xx", "xxx"], gold=["x", "x"])) == [0.75, 0.75]
    with pytest.raises(ConfigError, match="no column 'gold'"):
        asyncio.run(reward(["p"], ["x"]))
    with pytest.raises(ConfigError, match="needs reference_column"):
        JudgeReward(judge(), against="reference")
    with pytest.raises(ConfigError, match="'nobody'"):
        JudgeReward(judge(), against="nobody")  # type: ignore[arg-type]


class Table(_ProcessGroup):
    """Two processes that sit in one event loop: what each of them gives, the other takes."""

    def __init__(self, rank: int, rounds: list[list[Any]], moved: asyncio.Condition) -> None:
        super().__init__()
        self.rank, self.count = rank, 2
        self._rounds, self._moved, self._at = rounds, moved, 0

    async def gather(self, mine: Any) -> list[Any]:
        async with self._moved:
            if self._at == len(self._rounds):
                self._rounds.append([None, None])
            given, self._at = self._rounds[self._at], self._at + 1
            given[self.rank] = mine
            self._moved.notify_all()
            await self._moved.wait_for(lambda: None not in given)
        return given


def in_two_processes(
    one: JudgeReward, other: JudgeReward, *calls: tuple[list[str], list[str]]
) -> list[list[float | None] | BaseException]:
    async def main() -> list[list[float | None] | BaseException]:
        rounds: list[list[Any]] = []
        moved = asyncio.Condition()
        for rank, reward in enumerate((one, other)):
            table = Table(rank, rounds, moved)
            reward._group = PerProcess(lambda table=table: table)  # type: ignore[misc]
        pairs = zip((one, other), calls, strict=True)
        return await asyncio.gather(*(reward(*call) for reward, call in pairs), return_exceptions=True)

    return asyncio.run(main())


def test_processes_put_their_parts_of_a_group_together() -> None:
    backends = FakeBackend(by_xs), FakeBackend(by_xs)
    one, other = (JudgeReward(Judge(backend), reference_column=None) for backend in backends)
    calls = ["p", "p", "q"], ["xx", "x", "x"]
    assert in_two_processes(one, other, calls, (["q", "q", "p"], ["xx", "xxx", "xxx"])) == [
        [0.5, 0.25, 0.25],
        [0.5, 0.75, 0.75],
    ]
    assert [backend.asked for backend in backends] == [6, 6]  # a group each


def test_what_fails_in_one_process_stops_both() -> None:
    def broken(request: Request) -> str:
        raise StoreError("disk full")

    calls = (["p", "q"], ["x", "x"]), (["p", "q"], ["xx", "xx"])
    first, second = in_two_processes(JudgeReward(judge()), JudgeReward(judge(broken)), *calls)
    assert isinstance(second, StoreError)
    assert isinstance(first, JudgeUnavailable)
    assert "process 1 failed: StoreError('disk full')" in str(first)
    half_mute = in_two_processes(JudgeReward(judge()), JudgeReward(judge(mute), max_failed=0.4), *calls)
    assert half_mute[0] == [0.25, None]  # its own max_failed is 0.5, and half of all judgments failed
    assert isinstance(half_mute[1], JudgeUnavailable)


def test_the_sync_face_tells_what_online_dpo_does_to_failures(caplog: pytest.LogCaptureFixture) -> None:
    reward = SyncJudgeReward(judge(by_xs_or_mute))
    prompts = ["p1", "p2"]
    assert reward(prompts=2 * prompts, completions=["x", "xxx", "xx", "mute"], completion_ids=[]) == [
        0.25, None, 0.75, None,
    ]  # fmt: skip
    assert ["takes the first answer for the better" in record.message for record in caplog.records] == [True]
    with pytest.raises(JudgeUnavailable):
        SyncJudgeReward(judge(by_xs_or_mute), max_failed=0)(["p", "p"], ["x", "mute"])


# --- verl ------------------------------------------------------------------------------------------


def call_as_verl(**given: Any) -> dict[str, float]:
    """By keyword, once for each sample, awaited where it is a coroutine function; what is no score is extra info."""
    import inspect
    from functools import partial

    compute = partial(compute_score, **given.pop("reward_kwargs", {}))
    assert inspect.iscoroutinefunction(compute_score)
    extra = {"num_turns": 2, "rollout_reward_scores": {}, **given.pop("extra_info", {})}
    return asyncio.run(compute(data_source="d", extra_info=extra, **given))


def test_verl_gets_a_finite_score_under_the_same_keys_every_time() -> None:
    model = {"model": "fake:tests.replies:by_xs_or_mute"}
    asked = {"question": "Q", "reference": "xx"}
    better = call_as_verl(solution_str="xxx", ground_truth="", extra_info=asked, reward_kwargs=model)
    failed = call_as_verl(solution_str="mute", ground_truth="xx", extra_info={"question": "Q"}, reward_kwargs=model)
    assert better == {"score": 0.75, "judge_failed": 0.0, "judge_inconsistent": 0.0, "judge_latency_s": 0.0}
    assert failed == {"score": 0.5, "judge_failed": 1.0, "judge_inconsistent": 0.0, "judge_latency_s": 0.0}
    assert all(isfinite(value) for value in (*better.values(), *failed.values()))


@pytest.mark.parametrize(
    ("extra_info", "says"),
    [({"reference": "x"}, "no question and no messages"), ({"question": "Q"}, "no reference and no ground_truth")],
)
def test_what_a_sample_lacks_is_raised(extra_info: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        call_as_verl(
            solution_str="x",
            ground_truth=None,
            extra_info=extra_info,
            reward_kwargs={"model": "fake:tests.replies:by_xs"},
        )
    with pytest.raises(ConfigError, match=r"reward_kwargs\.model"):
        call_as_verl(solution_str="x", ground_truth="x", extra_info=extra_info)


def test_a_judge_is_made_once_for_its_configuration() -> None:
    options: dict[str, Any] = {"sampling": {"max_tokens": 64}, "votes": 2}
    first = judge_for("fake:tests.replies:by_xs", **options)
    assert judge_for("fake:tests.replies:by_xs", votes=2, sampling={"max_tokens": 64}) is first
    assert judge_for("fake:tests.replies:by_xs") is not first


def test_verls_router_is_an_openai_compatible_server() -> None:
    pytest.importorskip("openai")
    asked: dict[str, Any] = {"solution_str": "x", "ground_truth": "x", "extra_info": {"question": "Q"}}  # no call
    for address in ({"base_url": "http://127.0.0.1:9/v1"}, {"reward_router_address": "127.0.0.1:9"}):
        assert call_as_verl(**asked, reward_kwargs={"model": "RM-R1", **address})["score"] == 0.5
    backend = judge_for("RM-R1", base_url="http://127.0.0.1:9/v1").backend
    assert isinstance(backend, OpenAI)
    assert backend.identity == "openai:http://127.0.0.1:9/v1:RM-R1"


# --- all of them -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("leaf", "library"), [("inspect", "inspect_ai"), ("verifiers", "verifiers")])
def test_a_leaf_without_its_library_says_what_to_install(
    leaf: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"rmr1_sdk.rewards.{leaf}", raising=False)
    with pytest.raises(MissingExtraError, match=rf'pip install "rmr1_sdk\[{leaf}\]"'):
        import_module(f"rmr1_sdk.rewards.{leaf}")


# --- OpenRLHF's texts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("x<|im_end|>", "x"),
        ("x \n<|im_end|>\n<|endoftext|> ", "x"),
        ("x</s><eos>\t<end_of_turn><|eos|>\u2028<|eot_id|><|end_of_text|>", "x"),
        ("</s> x </s>", "</s> x"),
        ("x \n", "x \n"),
        ("<|im_end|>", ""),
        (" </s>", ""),
        ("x</s>.", "x</s>."),
        ("x</s></S>", "x</s></S>"),
        ("", ""),
    ],
)
def test_the_tokens_that_end_a_turn_are_no_part_of_an_answer(response: str, answer: str) -> None:
    assert _without_ends(response) == answer


@pytest.mark.parametrize("unit", ["\n", "\t", "</s>", " <eos>", "<|im_end|>\n", "<|im_end|"])
def test_a_response_of_megabytes_is_read(unit: str) -> None:
    """In quadratic time each would take hours."""
    run = unit * (4_000_000 // len(unit))
    assert _without_ends(f"{run}x</s>") == f"{run}x"
    assert _without_ends(f"x</s>{run}.") == f"x</s>{run}."


@pytest.mark.parametrize("end", ["", "<|im_end|>", "<|eot_id|>"])
@pytest.mark.parametrize("header", ["<|im_start|>user\n", "<|start_header_id|>user<|end_header_id|>\n\n"])
def test_a_prompt_of_megabytes_of_turns_that_never_end_is_read(header: str, end: str) -> None:
    unended = header * (4_000_000 // len(header))
    is_this_templates = (header.startswith("<|im_start"), end) in ((True, "<|im_end|>"), (False, "<|eot_id|>"))
    turns = [Message(role="user", content="Q?")] if is_this_templates else None
    prompt = f"{header}Q?{end}{unended}"
    assert read_template(prompt) == (turns or prompt)


class Turn(BaseModel):
    """A message as libraries have it that keep theirs in pydantic values."""

    role: str
    content: str | list[dict[str, str]] | None = None
    name: str | None = None


TURNS = [
    Turn(role="user", content="How many?"),
    Turn(role="assistant", content=[{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "Of what?"}]),
]


def test_messages_may_be_pydantic_values_and_thoughts_are_not_said() -> None:
    assert question(TURNS) == (Message(role="user", content="How many?"), Message(role="assistant", content="Of what?"))
    assert question(TURNS[:1]) == "How many?"


@pytest.mark.parametrize("messages", [TURNS, TURNS[:1]], ids=["a reply at the end", "no reply"])
def test_what_a_reply_answers_is_all_before_it(messages: list[Turn]) -> None:
    assert history(messages) == "How many?"


def test_importing_them_brings_in_no_trainer_and_no_tensors() -> None:
    code = (
        "import json, sys\n"
        "import rmr1_sdk.rewards.trl, rmr1_sdk.rewards.verl, rmr1_sdk.rewards.openrlhf\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    ran = processes.run([sys.executable, "-c", code], check=True)
    heavy = {"torch", "trl", "transformers", "datasets", "numpy", "verl", "openrlhf", "openai", "rmr1_sdk.judge"}
    assert heavy & set(json.loads(ran.stdout)) == set()
