import asyncio
import json
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from functools import cache
from math import log
from pathlib import Path

import pytest

from rmr1_sdk import BudgetExceeded, ConfigError, FakeBackend, Judge, JudgmentFailed, Pair, Prompt, Sampling, Store
from rmr1_sdk.errors import BackendError
from rmr1_sdk.types import Completion, Judgment, Request, Shown
from tests import processes
from tests.processes import LIMIT_S
from tests.replies import Stuck, decided

PAIR = Pair(question="2 + 2?", a="4", b="5", id="p1", label="A")
A, B = "<answer>[[A]]</answer>", "<answer>[[B]]</answer>"


def prefers(good: str) -> Callable[[Request], str]:
    """A judge that always prefers one text, wherever it stands."""

    def reply(request: Request) -> str:
        shown_first = request.messages[-1].content.partition("Chatbot B")[0]
        return A if f"\n{good}\n" in shown_first else B

    return reply


def even_mass(p_first: float, mass: float = 1.0) -> Callable[[Request], tuple[float, float]]:
    return lambda request: (log(p_first * mass), log((1 - p_first) * mass))


def test_both_orders_are_asked_and_unswapped() -> None:
    backend = FakeBackend(prefers("4"))
    judgment = Judge(backend).compare(PAIR)
    assert (judgment.winner, judgment.position_consistent, judgment.agreement) == ("A", True, 1.0)
    assert [verdict.shown for verdict in judgment.verdicts] == ["AB", "BA"]
    assert judgment.p_a == pytest.approx(0.75)
    assert (judgment.pair_id, judgment.model, judgment.prompt, backend.asked) == ("p1", "fake", "cor", 2)


def test_a_judge_of_positions_ends_in_a_tie() -> None:
    judgment = Judge(FakeBackend(lambda request: A)).compare("2 + 2?", "4", "5")
    assert (judgment.winner, judgment.position_consistent, judgment.p_a) == ("tie", False, 0.5)


def test_identical_answers_are_a_tie_without_a_call() -> None:
    backend = FakeBackend([])
    judgment = Judge(backend).compare("2 + 2?", "4", "4")
    assert (judgment.winner, judgment.p_a, judgment.verdicts, backend.asked) == ("tie", 0.5, (), 0)


def test_sync_async_and_many_give_equal_judgments() -> None:
    pairs = [PAIR.model_copy(update={"id": str(n), "question": f"{n}?"}) for n in range(20)]
    judge = Judge(FakeBackend(prefers("4")))

    async def one_by_one() -> list[Judgment]:
        return [await judge.acompare(pair) for pair in pairs]

    async def many() -> list[Judgment]:
        return [judgment async for judgment in judge.acompare_many(pairs)]

    expected = [judge.compare(pair) for pair in pairs]
    assert list(judge.compare_many(pairs)) == expected
    assert asyncio.run(one_by_one()) == expected
    assert asyncio.run(many()) == expected
    assert sorted(judge.compare_many(pairs, as_completed=True), key=lambda j: int(j.pair_id or 0)) == expected


def test_as_completed_does_not_wait_for_the_slow_one() -> None:
    async def reply(request: Request) -> str:
        await asyncio.sleep(0.5 if "slow" in request.messages[-1].content else 0)
        return A

    pairs = [Pair(question=q, a="1", b="2", id=q) for q in ("slow", "quick")]
    ids = [judgment.pair_id for judgment in Judge(FakeBackend(reply)).compare_many(pairs, as_completed=True)]
    assert ids == ["quick", "slow"]


def test_votes_differ_in_their_seed_and_are_drawn_warm() -> None:
    seen: list[Sampling] = []

    def reply(request: Request) -> str:
        seen.append(request.sampling)
        return A

    judgment = Judge(FakeBackend(reply), votes=4).compare(PAIR)
    assert len(judgment.verdicts) == 8
    assert len({sampling.seed for sampling in seen}) == 8
    assert {sampling.temperature for sampling in seen} == {0.7}


def test_one_vote_is_greedy_and_stops_at_the_answer() -> None:
    seen: list[Sampling] = []

    def reply(request: Request) -> str:
        seen.append(request.sampling)
        return A

    Judge(FakeBackend(reply), sampling={"max_tokens": 256}).compare(PAIR)
    assert {(s.temperature, s.max_tokens, s.stop) for s in seen} == {(0.0, 256, ("</answer>",))}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"votes": 3, "sampling": {"temperature": 0}}, "temperature 0"),
        ({"votes": 0}, "votes must be more than 0"),
        ({"max_votes": 3, "sampling": {"temperature": 0}}, "3 votes at temperature 0"),
        ({"votes": 4, "max_votes": 3}, "max_votes=3 is fewer than votes=4"),
        ({"max_votes": 0}, "max_votes=0 is fewer than votes=1"),
        ({"max_votes": 3, "risk": 1.0}, "risk is a probability"),
        ({"risk": -0.1}, "risk is a probability"),
        ({"orders": "all"}, "unknown orders 'all'"),
        ({"sampling": {"seed": 1}}, "sampling.seed"),
        ({"sampling": {"max_tokens": 0}}, "sampling.max_tokens"),
        ({"sampling": {"warmth": 1}}, "unknown option 'sampling.warmth'; expected one of max_tokens"),
        ({"voates": 3}, "unknown option 'voates'; did you mean 'votes'"),
        ({"prompt": "corr"}, "cor"),
        ({"timeout_s": 0}, "timeout_s"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused_when_the_judge_is_built(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Judge(FakeBackend([]), **arguments)  # type: ignore[arg-type]


def test_an_unknown_backend_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="llama_cpp"):
        Judge("lama_cpp:model.gguf")


# --- votes that stop early ------------------------------------------------------------------------


@cache
def seeds() -> dict[int | None, tuple[Shown, int]]:
    """Which order and vote a judge of seed 0 asks for with each seed, found out by looking."""
    orders: dict[Shown, list[int | None]] = {"AB": [], "BA": []}

    def reply(request: Request) -> str:
        orders["AB" if "A's Response]\n4\n" in request.messages[-1].content else "BA"].append(request.sampling.seed)
        return A

    Judge(FakeBackend(reply), votes=16).compare(PAIR)
    return {seed: (shown, vote) for shown, asked in orders.items() for vote, seed in enumerate(asked)}


def votes_of(ab: str, ba: str) -> Callable[[Request], str]:
    """Votes in the caller's sides: an order's n-th reading says its n-th letter; "?" is unreadable."""
    votes = seeds()

    def reply(request: Request) -> str:
        if request.sampling.seed not in votes:
            return "hm"  # asked again: unreadable once more
        shown, vote = votes[request.sampling.seed]
        said = (ab if shown == "AB" else ba)[vote]
        return {shown[0]: A, shown[1]: B}.get(said, "hm")

    return reply


@pytest.mark.parametrize(
    ("ab", "ba", "rounds", "winner"),
    [
        ("A" * 16, "A" * 16, 2, "A"),
        ("B" * 16, "B" * 16, 2, "B"),
        ("A" * 16, "B" * 16, 11, "tie"),  # by position alone
        ("AB" * 8, "BA" * 8, 16, "tie"),
        ("ABBABAAB" * 2, "ABBABAAB" * 2, 16, "tie"),
        ("?" * 16, "?" * 16, 16, None),
        ("A" * 16, "?" * 16, 5, "A"),
        ("?A" + "A" * 14, "A" * 16, 3, "A"),
    ],
)
def test_votes_stop_when_the_outcome_is_settled(ab: str, ba: str, rounds: int, winner: str | None) -> None:
    judgment = Judge(FakeBackend(votes_of(ab, ba)), max_votes=16).compare(PAIR)
    assert (len(judgment.verdicts) / 2, judgment.winner) == (rounds, winner)
    assert [verdict.shown for verdict in judgment.verdicts] == ["AB"] * rounds + ["BA"] * rounds
    said = "".join(verdict.winner or "?" for verdict in judgment.verdicts)
    assert said == ab[:rounds] + ba[:rounds]


def test_the_first_votes_are_always_taken() -> None:
    backend = FakeBackend(prefers("4"))
    assert len(Judge(backend, votes=5, max_votes=16).compare(PAIR).verdicts) == 10
    assert len(Judge(backend, votes=5, max_votes=5).compare(PAIR).verdicts) == 10
    assert len(Judge(backend, max_votes=16, orders="given").compare(PAIR).verdicts) == 4


def test_without_risk_the_winner_is_that_of_all_votes() -> None:
    pairs = [PAIR.model_copy(update={"question": f"{n}?"}) for n in range(200)]
    fixed = Judge(FakeBackend(decided), votes=6)
    adaptive = Judge(FakeBackend(decided), max_votes=6, risk=0)
    outcomes = [judgment.winner for judgment in fixed.compare_many(pairs)]
    assert [judgment.winner for judgment in adaptive.compare_many(pairs)] == outcomes
    assert set(outcomes) == {"A", "B", "tie"}
    assert adaptive.backend.asked < fixed.backend.asked == 2400  # type: ignore[attr-defined]


def test_early_and_all_votes_share_a_store(tmp_path: Path) -> None:
    backend = FakeBackend(prefers("4"))
    with Judge(backend, max_votes=8, store=tmp_path / "s.db") as judge:
        first = judge.compare(PAIR)
    asked = backend.asked
    with Judge(backend, max_votes=8, store=tmp_path / "s.db") as judge:
        assert judge.compare(PAIR) == first
    assert backend.asked == asked == len(first.verdicts) == 4
    with Judge(backend, votes=8, store=tmp_path / "s.db") as judge:
        fixed = judge.compare(PAIR)
    assert backend.asked == 16
    assert [verdict for n in (0, 8) for verdict in fixed.verdicts[n : n + 2]] == list(first.verdicts)


def test_early_stopping_is_the_same_for_every_caller() -> None:
    pairs = [PAIR.model_copy(update={"id": str(n), "question": f"{n}?"}) for n in range(30)]
    judge = Judge(FakeBackend(decided), max_votes=5, risk=0.2)

    async def many() -> list[Judgment]:
        return [judgment async for judgment in judge.acompare_many(pairs)]

    expected = [judge.compare(pair) for pair in pairs]
    assert len({len(judgment.verdicts) for judgment in expected}) > 1
    assert list(judge.compare_many(pairs)) == asyncio.run(many()) == expected
    assert asyncio.run(judge.acompare(pairs[7])) == expected[7]


@pytest.mark.parametrize("stop", ["refused", "too_long"])
def test_what_is_not_taken_is_not_voted_on_again(stop: str) -> None:
    backend = FakeBackend(lambda r: Completion.model_validate({"text": "", "stop": stop}))
    assert Judge(backend, max_votes=16).compare(PAIR).winner is None
    assert backend.asked == 2


def test_no_vote_is_begun_when_the_time_is_over() -> None:
    asked = []

    async def reply(request: Request) -> str:
        asked.append(request.sampling.seed)
        if len(asked) > 2:
            await asyncio.sleep(600)
        return A if len(asked) % 2 else B

    judgment = Judge(FakeBackend(reply), max_votes=16, timeout_s=2).compare(PAIR)
    kinds = [verdict.failure and verdict.failure.kind for verdict in judgment.verdicts]
    assert kinds == [None, "timeout", None, "timeout"]
    assert len(asked) == 4


# --- probabilities and the ladder ---------------------------------------------------------------


def test_a_finished_verdict_gets_its_probability() -> None:
    prefixes = []

    def scores(request: Request) -> tuple[float, float]:
        prefixes.append(request.prefix)
        return log(0.81), log(0.09)

    judgment = Judge(FakeBackend(lambda r: f"<eval>x</eval>{A}", choice_logprobs=scores), orders="given").compare(PAIR)
    assert judgment.p_a == pytest.approx(0.9)
    assert judgment.verdicts[0].mass == pytest.approx(0.9)
    assert prefixes == ["<eval>x</eval><answer>[["]


def test_the_winner_comes_from_votes_and_never_from_the_probability() -> None:
    backend = FakeBackend(prefers("4"), choice_logprobs=lambda r: (log(0.5), log(0.5)))
    judgment = Judge(backend).compare(PAIR)
    assert (judgment.winner, judgment.p_a) == ("A", 0.5)


def test_a_missing_verdict_is_forced() -> None:
    backend = FakeBackend(lambda r: Completion(text="<eval>A is right", stop="length"), choice_logprobs=even_mass(0.8))
    judgment = Judge(backend, orders="given").compare(PAIR)
    verdict = judgment.verdicts[0]
    assert (judgment.winner, verdict.forced, verdict.failure) == ("A", True, None)
    assert verdict.evaluation == "A is right"
    assert judgment.p_a == pytest.approx(0.8)


def test_a_forced_verdict_is_unswapped() -> None:
    backend = FakeBackend(lambda r: "no idea", choice_logprobs=even_mass(0.8))
    judgment = Judge(backend).compare(PAIR)
    assert [verdict.winner for verdict in judgment.verdicts] == ["A", "B"]
    assert judgment.winner == "tie"


def test_a_forced_verdict_of_little_mass_is_a_failure() -> None:
    backend = FakeBackend(lambda r: "no idea", choice_logprobs=even_mass(0.8, mass=0.05))
    judgment = Judge(backend, orders="given").compare(PAIR)
    assert judgment.winner is None
    assert backend.asked == 3  # asked, forced, asked again


def test_without_choices_it_is_asked_once_more_at_another_seed() -> None:
    seen: list[Sampling] = []

    def reply(request: Request) -> str:
        seen.append(request.sampling)
        return "hm" if len(seen) == 1 else A

    judgment = Judge(FakeBackend(reply), orders="given").compare(PAIR)
    assert judgment.winner == "A"
    assert [sampling.temperature for sampling in seen] == [0.0, 0.7]
    assert seen[0].seed != seen[1].seed


def test_what_cannot_be_read_is_no_verdict() -> None:
    judgment = Judge(FakeBackend(lambda r: "hm")).compare(PAIR)
    assert judgment.winner is None
    assert judgment.p_a is None
    assert judgment.agreement is None
    assert judgment.failure
    assert judgment.failure.kind == "no_answer"
    with pytest.raises(JudgmentFailed) as failed:
        Judge(FakeBackend(lambda r: "hm"), on_failure="raise").compare(PAIR)
    assert failed.value.judgment == judgment
    assert pickle.loads(pickle.dumps(failed.value)).judgment == judgment


def test_when_one_order_is_unreadable_the_other_decides() -> None:
    judgment = Judge(FakeBackend(lambda r: A if "\n4\n" in r.messages[-1].content.partition("Chatbot B")[0] else "hm"))
    result = judgment.compare(PAIR)
    assert (result.winner, result.position_consistent) == ("A", None)


@pytest.mark.parametrize(("stop", "kind"), [("refused", "refused"), ("too_long", "prompt_too_long")])
def test_a_request_that_was_not_taken_is_not_asked_again(stop: str, kind: str) -> None:
    backend = FakeBackend(
        lambda r: Completion.model_validate({"text": "", "stop": stop}), choice_logprobs=even_mass(0.9)
    )
    judgment = Judge(backend).compare(PAIR)
    assert judgment.failure
    assert judgment.failure.kind == kind
    assert backend.asked == 2


def test_force_verdict_false_never_forces() -> None:
    backend = FakeBackend(lambda r: "hm", choice_logprobs=even_mass(0.9))
    assert Judge(backend, force_verdict=False).compare(PAIR).winner is None


def test_ask_again_false_asks_each_order_once() -> None:
    backend = FakeBackend(lambda r: "hm")
    assert Judge(backend, ask_again=False).compare(PAIR).winner is None
    assert backend.asked == 2


def test_random_order_depends_on_seed_and_content_alone() -> None:
    pairs = [Pair(question=str(n), a="1", b="2") for n in range(64)]
    judge = Judge(FakeBackend(lambda r: A), orders="random", seed=3)
    shown = [judgment.verdicts[0].shown for judgment in judge.compare_many(pairs)]
    again = [judgment.verdicts[0].shown for judgment in judge.compare_many(reversed(pairs))]
    assert shown == again[::-1]
    assert 16 < shown.count("AB") < 48


def test_usage_and_latency_add_up() -> None:
    reply = Completion.model_validate(
        {"text": "hm", "usage": {"prompt_tokens": 10, "completion_tokens": 2}, "latency_s": 0.5}
    )
    judgment = Judge(FakeBackend(lambda r: reply)).compare(PAIR)
    assert judgment.usage.total_tokens == 48  # two orders, each asked twice
    assert judgment.latency_s == 1.0  # two rounds, the orders of a round side by side


def test_a_custom_prompt_brings_its_own_reader() -> None:
    from tests.mtbench import mtbench_prompt

    prompt: Prompt = mtbench_prompt()
    judgment = Judge(FakeBackend(lambda r: "Therefore, Output (b) is better."), prompt=prompt, orders="given").compare(
        PAIR
    )
    assert (judgment.winner, judgment.prompt) == ("B", "mtbench-vanilla")


# --- time, tokens, errors, loops ------------------------------------------------------------------


def test_a_comparison_that_runs_out_of_time_fails_and_stops_its_work() -> None:
    cancelled = threading.Event()

    async def reply(request: Request) -> str:
        if "Chatbot B's" in request.messages[-1].content and "slow" in request.messages[-1].content:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                cancelled.set()
                raise
        return A

    judgment = Judge(FakeBackend(reply), timeout_s=0.2).compare("slow?", "1", "2")
    assert judgment.winner is None
    assert judgment.failure
    assert judgment.failure.kind == "timeout"
    assert cancelled.wait(LIMIT_S)


def test_a_token_budget_stops_the_run_and_says_so() -> None:
    reply = Completion.model_validate({"text": A, "usage": {"prompt_tokens": 90, "completion_tokens": 10}})
    pairs = [Pair(question=str(n), a="1", b="2") for n in range(50)]
    judge = Judge(FakeBackend(lambda r: reply), max_tokens_total=1000, max_concurrency=1)
    done: list[Judgment] = []
    with pytest.raises(BudgetExceeded, match="max_tokens_total=1000"):
        done.extend(judge.compare_many(pairs))
    assert judge.backend.asked == 10  # type: ignore[attr-defined]
    assert judge.tokens_spent == 1000


def test_an_engine_error_ends_the_run() -> None:
    with pytest.raises(BackendError, match="asked for one more"):
        list(Judge(FakeBackend([A] * 3), orders="given").compare_many([PAIR] * 4))


def test_it_works_inside_a_running_loop_and_from_threads() -> None:
    judge = Judge(FakeBackend(prefers("4")))

    async def notebook() -> Judgment:
        return judge.compare(PAIR)  # blocking on purpose, as a notebook's user would

    results = [asyncio.run(notebook())]
    threads = [threading.Thread(target=lambda: results.append(judge.compare(PAIR)), daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert len(results) == 9
    assert all(result == results[0] for result in results)


def test_a_blocking_call_on_the_judges_own_loop_is_refused() -> None:
    judge = Judge(FakeBackend(prefers("4")))

    def reply(request: Request) -> str:
        judge.compare(PAIR)
        return A

    with pytest.raises(RuntimeError, match="use the async method"):
        Judge(FakeBackend(reply)).compare(PAIR)


def test_cancelling_an_async_comparison_cancels_its_work() -> None:
    stuck = Stuck()
    stuck.cancel(Judge(FakeBackend(stuck)).acompare(PAIR))


def test_leaving_the_iteration_early_cancels_the_rest() -> None:
    backend = FakeBackend(prefers("4"))
    for _ in Judge(backend, max_concurrency=2).compare_many(
        PAIR.model_copy(update={"question": str(n)}) for n in range(10**9)
    ):
        break
    assert backend.asked < 100


def reply_a(request: Request) -> str:
    return A


def test_a_judge_pickles() -> None:
    judge = Judge(FakeBackend(reply_a), orders="given", votes=2)
    expected = judge.compare(PAIR)
    assert pickle.loads(pickle.dumps(judge)).compare(PAIR) == expected


FORK = """
import multiprocessing, sys
from rmr1_sdk import FakeBackend, Judge
judge = Judge(FakeBackend(lambda request: "<answer>[[A]]</answer>"), orders="given", store=sys.argv[1])
def child(n):
    return judge.compare(f"q{n}", "1", "2").winner
assert child(0) == "A"
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(child, range(4)))
"""


def test_it_works_after_a_fork(tmp_path: object) -> None:
    run = processes.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, f"{tmp_path}/s.db"])
    assert run.stdout.strip() == "['A', 'A', 'A', 'A']", run.stderr


INTERRUPTED = """
import asyncio, sys
from rmr1_sdk import FakeBackend, Judge, Pair
async def reply(request):
    if request.messages[-1].content.count("q0"):
        return "<answer>[[A]]</answer>"
    await asyncio.sleep(600)
pairs = [Pair(question=f"q{n}", a="1", b="2") for n in range(50)]
for _ in Judge(FakeBackend(reply), store=sys.argv[1]).compare_many(pairs):
    print("one", flush=True)
"""


def test_ctrl_c_stops_at_once_and_leaves_the_store_whole(tmp_path: Path) -> None:
    with processes.Child([sys.executable, "-c", INTERRUPTED, f"{tmp_path}/s.db"]) as run:
        run.until(lambda: run.stdout == "one\n")
        run.send(signal.SIGINT)
        err = run.finish().stderr
    assert "KeyboardInterrupt" in err
    assert sum(held.completions for held in Store(f"{tmp_path}/s.db").ls()) == 2


def test_a_store_answers_the_second_time(tmp_path: object) -> None:
    backend = FakeBackend(prefers("4"))
    with Judge(backend, store=f"{tmp_path}/s.db", votes=3) as judge:
        first = judge.compare(PAIR)
    with Judge(backend, store=f"{tmp_path}/s.db", votes=3) as judge:
        assert judge.compare(PAIR) == first
    assert backend.asked == 6
    assert json.loads(first.model_dump_json())["winner"] == "A"


def test_progress_shows_a_rate_and_the_time_left(capfd: pytest.CaptureFixture[str]) -> None:
    pairs = [PAIR.model_copy(update={"question": f"{n}?"}) for n in range(30)]
    judge = Judge(FakeBackend(prefers("4")))
    assert len(list(judge.compare_many(pairs, progress=True))) == 30
    shown = capfd.readouterr().err
    assert "judging" in shown
    assert "30/30" in shown
    assert "pairs/s left 0:00:00" in shown
    assert len(list(judge.compare_many(iter(pairs), progress=True))) == 30
    assert "30/?" in capfd.readouterr().err


def test_a_judge_like_another_differs_in_what_is_given_alone(tmp_path: Path) -> None:
    backend = FakeBackend(prefers("4"))
    own = Prompt(name="own", user="{blocks} Which?")
    judge = Judge(backend, sampling={"max_tokens": 9}, votes=2, max_votes=3, store=f"{tmp_path}/s.db")
    assert len(judge.compare(PAIR).verdicts) == 4
    once = judge.like(orders="given", votes=1, sampling={"temperature": 0})
    assert [verdict.shown for verdict in once.compare(PAIR).verdicts] == ["AB"]
    assert (once.sampling.max_tokens, once.sampling.temperature) == (9, 0)
    assert (judge.sampling.max_tokens, judge.sampling.temperature) == (9, 0.7)
    asked = backend.asked
    assert judge.like().compare(PAIR) == judge.compare(PAIR)  # from the same store
    assert backend.asked == asked == 5
    assert judge.like(prompt=own).compare(PAIR).prompt == "own"
    assert judge.prompt.name == "cor"
    judge.close()


def test_a_judge_like_another_is_checked_and_leaves_its_engine_open() -> None:
    judge = Judge("fake:tests.replies:mute", sampling={"temperature": 0})
    with pytest.raises(ConfigError, match="4 votes at temperature 0"):
        judge.like(votes=4)
    with pytest.raises(ConfigError, match="unknown orders 'all'; expected one of both, given, random"):
        judge.like(orders="all")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="votes must be more than 0, not 0"):
        judge.like(votes=0)
    closed = []

    async def aclose() -> None:
        closed.append(True)

    judge.backend.aclose = aclose  # type: ignore[method-assign]
    strict = judge.like(on_failure="raise")
    with strict, pytest.raises(JudgmentFailed):
        strict.compare(PAIR)
    assert closed == []
    judge.close()
    assert closed == [True]
