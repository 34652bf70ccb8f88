"""How callers use us, for the type checker: `mypy --strict` reads this file, nobody runs it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Unpack, assert_type

from rmr1_sdk import (
    Backend,
    Calibration,
    Comparer,
    Completion,
    FakeBackend,
    Grade,
    Judge,
    JudgeArgs,
    JudgeOptions,
    Judgment,
    Message,
    Pair,
    Prompt,
    Ranking,
    Request,
    Rubric,
    Sampling,
    Section,
    Store,
    Verdict,
    acompare_many,
    arank,
    compare_many,
    connect,
    rank,
    read,
)
from rmr1_sdk.audit import Audit, audit
from rmr1_sdk.benchmarks import Scores, judge_options, load, read_results
from rmr1_sdk.rewards import RewardMetrics, openrlhf, preference_reward, trl, verdict_reward, verl
from rmr1_sdk.server import Limits, create_app, listen, run


def own_backend(backend: Backend) -> Backend:
    return backend


def builds() -> None:
    Judge("llama_cpp:model.gguf")
    Judge(connect("llama_cpp:model.gguf", n_ctx=4096), orders="random", votes=8, store=Path("s.db"), timeout_s=60)
    Judge(FakeBackend(lambda request: Completion(text="")), sampling={"max_tokens": 64}, store=Store("s.db"))
    Judge(own_backend(FakeBackend(["<answer>[[A]]</answer>"])), sampling=Sampling(temperature=0.7), prompt="cor")
    Judge("m", votes=2, max_votes=16, risk=0.01)
    Judge("m", force_verdict=False, ask_again=False)
    Judge("m", orders="neither")  # type: ignore[arg-type]
    Judge("m", "cor")  # type: ignore[call-arg]  # options are named


def varies(judge: Judge) -> None:
    assert_type(judge.like(orders="given", votes=4, sampling={"temperature": 1.0}), Judge)
    assert_type(audit(judge, pairs(), only=["position"]), Audit)
    judge.like(orders="neither")  # type: ignore[arg-type]


def pairs() -> list[Pair]:
    turns = [{"role": "user", "content": "Hi"}]
    return [
        Pair(question="Q", a="1", b="2", label="tie", metadata={"any": 1}),
        Pair(question=turns, a=[Message(role="assistant", content="1")], b="2"),
        Pair(question="Q", a="1", b="2", label="C"),  # type: ignore[arg-type]
    ]


def compares(judge: Judge) -> None:
    assert_type(judge.compare("Q", "1", "2"), Judgment)
    assert_type(judge.compare(pairs()[0]), Judgment)
    assert_type(judge.compare_many(pairs(), progress=True), Iterator[Judgment])
    assert_type(judge.compare("Q", "1", "2").verdicts, tuple[Verdict, ...])
    judge.compare("Q", "1")  # type: ignore[call-overload]


def calibrates(judge: Judge) -> None:
    judgments = list(judge.compare_many(pairs()))
    calibration = Calibration.fit(judgments, [pair.label for pair in pairs()], method="platt")
    calibration.save("calibration.json")
    assert_type(Calibration.load(Path("calibration.json")).apply(judgments[0]), Judgment)
    assert_type(judgments[0].position_effect, float | None)
    Calibration.fit(judgments, ["A", None], method="isotonic")  # type: ignore[arg-type]


def ranks(judge: Judge) -> None:
    assert_type(judge.rank("Q", ["1", "2"]), Ranking)
    ranking = judge.rank("Q", ["1", [{"role": "assistant", "content": "2"}]], method="swiss", budget=9, progress=True)
    assert_type(ranking.scores, tuple[float | None, ...])
    judge.rank("Q", ["1", "2"], method="anchor", anchor="3", aggregate="win_rate", reference="R", rubric="Brief.")
    judge.rank("Q", ["1", "2"], method="elo")  # type: ignore[arg-type]
    judge.rank("Q", ["1", "2"], "swiss")  # type: ignore[call-arg, arg-type]


class Panel:
    """A comparer of one's own."""

    async def acompare(self, pair: Pair) -> Judgment:
        return Judgment(pair_id=pair.id, winner="A")


class Deaf:
    def acompare(self, pair: Pair) -> Judgment:
        return Judgment(pair_id=pair.id)


async def compares_by_any(judge: Judge) -> None:
    comparers: list[Comparer] = [judge, Panel()]
    assert_type(rank(comparers[0], "Q", ["1", "2"], method="swiss", budget=3, seed=1), Ranking)
    assert_type(await arank(Panel(), "Q", ["1", "2"], progress=True), Ranking)
    for judgment in compare_many(Panel(), pairs(), ahead=8, as_completed=True):
        assert_type(judgment, Judgment)
    async with aclosing(acompare_many(Panel(), pairs())) as judgments:
        assert_type([judgment async for judgment in judgments], list[Judgment])
    await preference_reward(Panel(), ["Q", "Q"], ["1", "2"])
    trl.JudgeReward(Panel())
    openrlhf.JudgeReward(Panel())
    audit(Panel(), pairs())  # type: ignore[arg-type]  # it asks for more than comparisons
    compare_many(Deaf(), pairs())  # type: ignore[arg-type]  # not awaited
    rank(Panel(), "Q", ["1", "2"], method="elo")  # type: ignore[arg-type]


def with_options(**options: Unpack[JudgeArgs]) -> Judge:
    assert_type(JudgeOptions.of(options).votes, int)
    judge = Judge("m", **options)
    assert_type(judge.load(), None)
    assert_type(judge.ahead, int)
    return judge


def grades(judge: Judge) -> None:
    rubric = judge.rubric("Q", principles="Brief.", reference="R")
    assert_type(rubric, Rubric)
    grade = judge.grade("Q", [{"role": "assistant", "content": "1"}], rubric=rubric, reference="R")
    assert_type(grade, Grade)
    assert_type(grade.score, float | None)
    judge.grade("Q", "1", rubric="Brief.")
    judge.grade("Q", "1", "Brief.")  # type: ignore[call-arg]


def streams(judge: Judge) -> None:
    with closing(judge.stream(pairs()[0])) as events:
        for event in events:
            assert_type(event, Section)
            assert_type(event.judgment, Judgment | None)
    judge.stream("Q", "1", "2")
    judge.stream("Q", "1")  # type: ignore[call-overload]


def benchmarked(judge: Judge) -> None:
    benchmark = load("rewardbench", Path("reward-bench"), partial=True)
    asked = Judge(judge.backend, **judge_options(benchmark.protocol("rmr1_compat"), judge.backend))
    judgments = list(asked.compare_many(benchmark.sample(200, seed=1).pairs()))
    scores = benchmark.score(judgments, profile="rmr1_compat")
    assert_type(scores, Scores)
    assert_type(scores.figure("Chat Hard").covered_accuracy, float | None)
    assert_type(benchmark.compare(judgments, read_results(benchmark, "other.jsonl")).p, float)
    benchmark.score(judgments, profile="strict")  # type: ignore[arg-type]


async def rewards(judge: Judge) -> None:
    turns = [{"role": "assistant", "content": "1"}]
    given = await preference_reward(judge, ["Q", "Q"], ["1", turns], references=["R", None], step_time_s=30)
    assert_type(given.values, list[float | None])
    assert_type(given.metrics, RewardMetrics)
    await preference_reward(judge, ["Q"], ["1"], aggregate="elo")  # type: ignore[arg-type]
    assert_type(verdict_reward(["<answer>[[A]]</answer>", turns], ["A", "B"], rule="robust"), list[float])
    verdict_reward(["<answer>[[A]]</answer>"], "tie")  # type: ignore[arg-type]
    reward = trl.JudgeReward(judge, against="reference", reference_column="gold")
    assert_type(await reward(["Q"], ["1"], gold=["2"]), list[float | None])
    assert_type(trl.SyncJudgeReward(judge, max_failed=0)(["Q"], ["1"]), list[float | None])
    assert_type(await verl.compute_score("d", "1", "2", {"question": "Q"}, model="openai:m"), dict[str, float])
    openrlhf.JudgeReward(judge, read_prompt=lambda prompt: prompt)


def serves(judge: Judge) -> None:
    app = create_app(judge, keys=["key"], limits=Limits(body_bytes=10_000))
    run(app, listen("127.0.0.1", 8000, keyed=True), drain_s=5)
    assert_type(connect("rmr1:http://localhost:8000", api_key="key"), Backend)


async def awaits() -> None:
    async with Judge("llama_cpp:model.gguf") as judge:
        assert_type(await judge.acompare("Q", "1", "2"), Judgment)
        assert_type(await judge.arank("Q", ["1", "2"], method="knockout"), Ranking)
        assert_type(await judge.agrade("Q", "1", rubric=await judge.arubric("Q")), Grade)
        assert_type(await judge.acomplete(Request(messages=(Message(role="user", content="Q"),))), Completion)
        assert_type(judge.acompare_many(pairs()), AsyncIterator[Judgment])
        async with aclosing(judge.astream("Q", "1", "2")) as events:
            assert_type([event.text async for event in events], list[str])


def reads() -> None:
    assert_type(read("<answer>[[A]]</answer>", pair=pairs()[0], shown="BA"), Verdict)
    assert_type(Prompt(name="mine", user="{blocks}").render(pairs()[0]), tuple[Message, ...])
    Request(messages=(Message(role="user", content="Q"),), choices=("A", "B"))
