"""A class of one's own with one method, `acompare`, does wherever only comparisons are asked for."""

import asyncio
import inspect
import pydoc
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import get_overloads

import pytest

from rmr1_sdk import (
    BackendError,
    Capabilities,
    Comparer,
    Completion,
    ConfigError,
    FakeBackend,
    Judge,
    JudgeArgs,
    JudgeOptions,
    Judgment,
    Pair,
    Request,
    acompare_many,
    arank,
    compare_many,
    rank,
)
from rmr1_sdk.benchmarks import load
from rmr1_sdk.bulk import Replica
from rmr1_sdk.judging.ranking import Contest, RankArgs
from rmr1_sdk.rewards import openrlhf, preference_reward, trl
from rmr1_sdk.rewards.references import against_references
from tests.published import write

ANSWERS = ["a", "bbbb", "cc", "ddd"]
PAIRS = [Pair(question="Q", a="a" * n, b="bb", id=str(n)) for n in (1, 2, 3, 4, 5)]


class Longest:
    """Likes the longer answer, and notes where and when it was asked."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.threads: set[str] = set()
        self.at_once = 0
        self.most_at_once = 0

    async def acompare(self, pair: Pair) -> Judgment:
        self.asked.append(pair.id)
        self.threads.add(threading.current_thread().name)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        difference = len(pair.text("A")) - len(pair.text("B"))
        p_a = 0.5 if not difference else 0.9 if difference > 0 else 0.1
        return Judgment(pair_id=pair.id, winner="tie" if not difference else "A" if difference > 0 else "B", p_a=p_a)


class Loading(Longest):
    """It has to be loaded first."""

    ahead = 2
    loads = 0

    async def aload(self) -> None:
        self.loads += 1

    async def acompare(self, pair: Pair) -> Judgment:
        assert self.loads, "not loaded"
        return await super().acompare(pair)


WINNERS = ["B", "tie", "A", "A", "A"]


@pytest.mark.parametrize("as_completed", [False, True])
def test_many_pairs(as_completed: bool) -> None:
    panel = Longest()
    judged = list(compare_many(panel, PAIRS, as_completed=as_completed))
    assert {judgment.pair_id: judgment.winner for judgment in judged} == dict(zip("12345", WINNERS, strict=True))
    assert panel.threads == {"rmr1-loop"}

    async def awaited() -> list[Judgment]:
        async with aclosing(acompare_many(panel, PAIRS, as_completed=as_completed)) as judgments:
            return [judgment async for judgment in judgments]

    assert sorted(map(repr, asyncio.run(awaited()))) == sorted(map(repr, judged))
    assert panel.threads == {"rmr1-loop"}


def test_pairs_are_taken_as_far_ahead_as_is_said() -> None:
    taken = []

    def pairs() -> Iterator[Pair]:
        for n in range(1000):
            taken.append(n)
            yield Pair(question="Q", a="1", b="2")

    for comparer, ahead, expected in [
        (Longest(), 3, 3),
        (Longest(), None, 64),
        (Loading(), None, 2),
        (Loading(), 5, 5),
    ]:
        taken.clear()
        with closing(compare_many(comparer, pairs(), ahead=ahead)) as judgments:
            next(judgments)
        assert len(taken) == expected
    with pytest.raises(ConfigError, match="ahead must be more than 0, not 0"):
        next(compare_many(Longest(), PAIRS, ahead=0))


def test_closing_early_cancels_what_was_started() -> None:
    cancelled = threading.Semaphore(0)

    class Slow:
        async def acompare(self, pair: Pair) -> Judgment:
            if pair.id == "1":
                return Judgment(pair_id="1")
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.release()
            raise AssertionError

    with closing(compare_many(Slow(), PAIRS)) as judgments:
        assert next(judgments).pair_id == "1"
    assert all(cancelled.acquire(timeout=30) for _ in PAIRS[1:])


def test_an_error_ends_the_iteration_as_it_is() -> None:
    class Broken:
        async def acompare(self, pair: Pair) -> Judgment:
            raise BackendError("away")

    with pytest.raises(BackendError, match="away"):
        list(compare_many(Broken(), PAIRS))
    with pytest.raises(BackendError, match="away"):
        rank(Broken(), "Q", ANSWERS)


def test_progress_is_drawn(capfd: pytest.CaptureFixture[str]) -> None:
    list(compare_many(Longest(), PAIRS, progress=True))
    assert "5/5" in capfd.readouterr().err
    rank(Longest(), "Q", ANSWERS, progress=True)
    assert "6/6" in capfd.readouterr().err


def test_a_ranking() -> None:
    panel = Loading()
    ranking = rank(panel, "Q", ANSWERS)
    assert ranking.order == (1, 3, 2, 0)
    assert panel.threads == {"rmr1-loop"}
    assert (panel.loads, panel.most_at_once) == (1, 6)
    assert asyncio.run(arank(panel, "Q", ANSWERS)) == ranking
    anchored = rank(panel, "Q", ANSWERS, method="anchor", anchor="eee", aggregate="win_rate", reference="R", seed=3)
    assert anchored.scores == pytest.approx((0.1, 0.9, 0.1, 0.5))
    with pytest.raises(ConfigError, match="unknown method 'elo'"):
        rank(panel, "Q", ANSWERS, method="elo")  # type: ignore[arg-type]


def test_a_judge_ranks_by_the_same_function() -> None:
    judge = Judge(FakeBackend(lambda request: "<answer>[[A]]</answer>"), seed=5)
    assert rank(judge, "Q", ANSWERS, method="swiss", budget=3, seed=5) == judge.rank(
        "Q", ANSWERS, method="swiss", budget=3
    )
    assert list(compare_many(judge, PAIRS)) == list(judge.compare_many(PAIRS))


def test_a_judge_says_how_far_ahead_is_useful() -> None:
    judge = Judge(FakeBackend(["never asked"]), votes=2, max_concurrency=8)
    assert judge.ahead == 8  # four times what keeps 8 requests in flight
    taken = []

    def pairs() -> Iterator[Pair]:
        for n in range(100):
            taken.append(n)
            yield Pair(question="Q", a="1", b="1")

    with closing(compare_many(judge, pairs())) as judgments:
        next(judgments)
    assert len(taken) == 8


def test_rewards() -> None:
    panel = Loading()
    rewards = asyncio.run(preference_reward(panel, ["Q"] * 4, ANSWERS, step_time_s=60))
    assert rewards.values == pytest.approx([0.1, 0.9, 11 / 30, 19 / 30])
    assert rewards.metrics.duels_failed == 0
    assert panel.threads == {"rmr1-loop"}
    reward = trl.SyncJudgeReward(Longest(), against="reference", reference_column="gold")
    assert reward(["Q", "Q"], ["aaa", "b"], gold=["bb", "bb"]) == pytest.approx([0.9, 0.1])
    samples = asyncio.run(openrlhf.reward_samples(Longest(), ["Qaaa", "Qb"], ["Q", "Q"], ["bb", "bb"]))
    assert samples.values == pytest.approx([0.9, 0.1])
    compared = asyncio.run(against_references(Loading(), "Q", "aaa", ["bb", "cccc"]))
    assert compared.value == pytest.approx(0.5)


def test_a_comparer_that_cannot_be_loaded_is_a_step_of_failed_judgments() -> None:
    class Away(Longest):
        async def aload(self) -> None:
            raise BackendError("away")

        async def acompare(self, pair: Pair) -> Judgment:
            raise BackendError("still away")

    rewards = asyncio.run(preference_reward(Away(), ["Q"] * 2, ["a", "b"], max_failed=1.0))
    assert rewards.values == [None, None]
    assert rewards.metrics.failures == {"engine": 1}
    assert rewards.reasons == ["engine: still away"] * 2


def test_a_replica_of_a_cluster() -> None:
    panel = Loading()

    @contextmanager
    def make() -> Iterator[Loading]:
        yield panel

    replica = Replica(make, lambda comparer: {"model": type(comparer).__name__}, {})
    assert replica.start() == ({"model": "Loading"}, [])
    assert panel.loads == 1
    assert [judgment.winner for judgment in replica.judge(tuple(PAIRS))] == WINNERS
    replica.close()


def test_a_benchmark_is_scored(tmp_path: Path) -> None:
    benchmark = load("ifbench", write("ifbench", tmp_path), partial=True)
    right = [pair.label == ("A" if len(pair.text("A")) > len(pair.text("B")) else "B") for pair in benchmark.pairs()]
    scores = benchmark.score(compare_many(Longest(), benchmark.pairs()))
    assert scores.judged == len(right)
    assert scores.figures[0].value == pytest.approx(sum(right) / len(right))


# --- what help() and notebooks show -------------------------------------------------------------


def test_signatures_list_every_option_with_its_default() -> None:
    options = inspect.signature(Judge).parameters
    assert list(options) == ["backend", "store", *JudgeOptions.model_fields]
    assert {name: options[name].default for name in ("votes", "orders", "risk", "sampling", "max_votes")} == {
        "votes": 1, "orders": "both", "risk": 0.05, "sampling": None, "max_votes": None
    }  # fmt: skip
    assert options["sampling"].annotation == JudgeArgs.__annotations__["sampling"]
    assert list(inspect.signature(Judge.like).parameters) == ["self", *JudgeOptions.model_fields]
    for function in (Judge.rank, Judge.arank, rank, arank):
        shown = inspect.signature(function).parameters
        assert {name: shown[name].default for name in RankArgs.__annotations__} == {
            field.name: field.default for field in fields(Contest) if field.name in RankArgs.__annotations__
        }
    assert {field.name for field in fields(Contest)} == {"question", "answers", "seed", *RankArgs.__annotations__}


@pytest.mark.parametrize("name", ["compare", "rank", "rubric", "grade", "close", "load"])
def test_both_kinds_of_a_method_say_what_they_do(name: str) -> None:
    sync, twin = getattr(Judge, name), getattr(Judge, f"a{name}")
    text = pydoc.plain(pydoc.render_doc(sync))
    assert f"{name}(self" in text
    assert sync.__doc__.splitlines()[0] in text
    assert twin.__doc__.startswith(f"`{name}`, awaited")
    assert inspect.iscoroutinefunction(twin)
    assert list(inspect.signature(sync).parameters) == list(inspect.signature(twin).parameters)


def test_compare_keeps_its_overloads() -> None:
    assert len(get_overloads(Judge.compare)) == len(get_overloads(Judge.acompare)) == 2


def test_a_judge_is_a_comparer_and_loads_when_told() -> None:
    class Unloadable:
        model = identity = "unloadable"

        @property
        def capabilities(self) -> Capabilities:
            raise BackendError("cannot be loaded")

        async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
            raise AssertionError

        async def aclose(self) -> None: ...

    judge = Judge(Unloadable())
    with pytest.raises(BackendError, match="cannot be loaded"):
        judge.load()
    with pytest.raises(BackendError, match="cannot be loaded"):
        asyncio.run(judge.aload())
    comparer: Comparer = judge
    with pytest.raises(BackendError, match="cannot be loaded"):
        next(compare_many(comparer, [Pair(question="Q", a="same", b="same")]))
