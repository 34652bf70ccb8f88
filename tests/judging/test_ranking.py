import asyncio
import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise

import choix
import numpy as np
import pytest
from choix.opt import PairwiseFcts
from hypothesis import given
from hypothesis import strategies as st

from rmr1_sdk import Comparison, ConfigError, FakeBackend, Judge, Judgment, JudgmentFailed, Pair, Ranking
from rmr1_sdk.errors import BackendError
from rmr1_sdk.judging.bradley_terry import PRIOR_SD, Played, fit, win_probability
from rmr1_sdk.judging.ranking import Aggregate, Contest, Schedule, anchor, cycles, knockout, round_robin, swiss
from rmr1_sdk.types import Method, Request
from tests.processes import LIMIT_S
from tests.replies import Stuck

A, B = "<answer>[[A]]</answer>", "<answer>[[B]]</answer>"
METHODS: tuple[Method, ...] = ("round_robin", "knockout", "swiss", "anchor")
Outcome = Callable[[int, int], float | None]
SCHEDULES: dict[str, Callable[[int], Schedule]] = {
    "round_robin": round_robin,
    "knockout": knockout,
    "swiss": lambda n: swiss(n, 3 * n),
    "anchor": anchor,
}


def drive(schedule: Schedule, outcome: Outcome) -> list[list[Played]]:
    """The rounds of a schedule."""
    rounds: list[list[Played]] = []
    try:
        duels = next(schedule)
        while True:
            rounds.append([Played(i, j, outcome(i, j)) for i, j in duels])
            duels = schedule.send([p for _, _, p in rounds[-1]])
    except StopIteration as end:
        returned = end.value
    assert returned == [duel for played in rounds for duel in played]
    return rounds


def better(i: int, j: int) -> float:
    """A judge that knows: the lower position wins."""
    return float(i < j)


# outcomes that depend on the duel alone: a table of probabilities, None for one that fails
tables = st.integers(0, 2**32).map(
    lambda seed: lambda i, j: (None, 0.0, 0.2, 0.5, 0.7, 1.0)[hash((seed, i, j)) % 6]
)  # hash of integers is the same in every process


# --- schedules ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(2, 12))
def test_round_robin_asks_for_every_pair_once_and_at_once(n: int) -> None:
    (duels,) = drive(round_robin(n), better)
    assert [(i, j) for i, j, _ in duels] == list(combinations(range(n), 2))


@pytest.mark.parametrize("n", range(1, 34))
def test_a_knockout_finds_the_best_in_n_minus_1_duels_with_one_bye_at_most(n: int) -> None:
    best = n // 2
    rounds = drive(knockout(n), lambda i, j: float(i == best or (j != best and i < j)))
    played = [duel for duels in rounds for duel in duels]
    assert len(played) == n - 1
    assert len(rounds) == (n - 1).bit_length()
    losers = [j if p == 1 else i for i, j, p in played]
    assert sorted({*range(n)} - set(losers)) == [best]
    for number, duels in enumerate(rounds):
        players = {index for i, j, _ in duels for index in (i, j)}
        assert number == 0 or players == {*range(n)} - set(losers[: sum(map(len, rounds[:number]))])  # no more byes


def test_an_even_duel_of_a_knockout_sends_the_lower_position_on() -> None:
    assert [[(i, j) for i, j, _ in duels] for duels in drive(knockout(4), lambda i, j: 0.5)] == [
        [(2, 3), (0, 1)],
        [(0, 2)],
    ]


def test_a_failed_duel_puts_neither_out_of_a_knockout() -> None:
    def outcome(i: int, j: int) -> float | None:
        return None if (i, j) == (2, 3) else float(i > j)

    rounds = [[(i, j) for i, j, _ in duels] for duels in drive(knockout(4), outcome)]
    assert rounds == [[(2, 3), (0, 1)], [(1, 3)]]  # 2 and 3 are unbeaten, and have met
    hopeless = drive(knockout(8), lambda i, j: None)
    assert sum(map(len, hopeless)) == 14


@given(st.integers(2, 20), tables)
def test_no_schedule_asks_twice_nor_for_two_duels_of_one_answer_in_a_round(n: int, outcome: Outcome) -> None:
    for name, schedule in SCHEDULES.items():
        rounds = drive(schedule(n), outcome)
        played = [(i, j) for duels in rounds for i, j, _ in duels]
        assert len(set(played)) == len(played)
        assert all(0 <= i < j <= n for i, j in played)
        if name in ("knockout", "swiss"):
            assert all(max(Counter(index for duel in duels for index in duel[:2]).values()) == 1 for duels in rounds)


@given(st.integers(2, 20), tables)
def test_failures_cost_a_knockout_duels_but_at_most_as_many_again(n: int, outcome: Outcome) -> None:
    played = [duel for duels in drive(knockout(n), outcome) for duel in duels]
    beaten = [j if p >= 0.5 else i for i, j, p in played if p is not None]
    assert len(set(beaten)) == len(beaten) < n
    assert len(played) == len(beaten) + sum(p is None for _, _, p in played) <= 2 * (n - 1)


@given(st.integers(2, 20), st.integers(1, 100), tables)
def test_swiss_spends_its_budget_and_no_more_while_there_are_duels(n: int, budget: int, outcome: Outcome) -> None:
    assert sum(map(len, drive(swiss(n, budget), outcome))) == min(budget, n * (n - 1) // 2)


@pytest.mark.parametrize("n", [5, 8, 9, 16, 17, 33])
def test_swiss_leaves_nobody_out_for_long(n: int) -> None:
    rounds = drive(swiss(n, 3 * n), better)
    counts = Counter(index for duels in rounds for i, j, _ in duels for index in (i, j))
    assert min(counts[index] for index in range(n)) >= len(rounds) - 3
    assert max(counts.values()) <= len(rounds)


def test_swiss_pairs_neighbours_in_strength() -> None:
    """With two answers of each of four strengths, the second round is between those who won, and those who lost."""
    rounds = drive(swiss(8, 12), lambda i, j: float(i // 2 < j // 2) if i // 2 != j // 2 else 0.5)
    assert [(i, j) for i, j, _ in rounds[0]] == [(0, 1), (2, 3), (4, 5), (6, 7)]
    decided = drive(swiss(8, 12), better)
    assert {(i, j) for i, j, _ in decided[1]} == {(0, 2), (4, 6), (1, 3), (5, 7)}
    assert {(0, 4), (3, 7)} <= {(i, j) for i, j, _ in decided[2]}  # two won, two lost


# --- Bradley-Terry --------------------------------------------------------------------------------


def logistic_duels(n: int, spread: float, seed: int, repeats: int = 1) -> list[Played]:
    rng = np.random.default_rng(seed)
    strengths = rng.normal(0, spread, n)
    return [
        Played(i, j, float(rng.random() < win_probability(strengths[i] - strengths[j])))
        for i, j in combinations(range(n), 2)
        for _ in range(repeats)
    ]


@pytest.mark.parametrize("n", [2, 5, 16, 40])
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_strengths_and_errors_equal_those_of_choix(n: int, share: float) -> None:
    duels = logistic_duels(n, 2.0, seed=n)[:: round(1 / share)]
    won = [(i, j) if p else (j, i) for i, j, p in duels]
    alpha = 1 / (2 * PRIOR_SD**2)  # choix adds alpha times the sum of squares
    theirs = choix.opt_pairwise(n, won, alpha=alpha, tol=1e-10)
    ours = fit(n, duels)
    assert ours.strengths == pytest.approx(theirs, abs=1e-5)
    information = PairwiseFcts(won, alpha).hessian(np.array(ours.strengths))
    assert np.array(ours.covariance) == pytest.approx(np.linalg.inv(information), abs=1e-9)


def test_a_soft_outcome_is_a_share_of_a_win_and_of_a_loss() -> None:
    """choix knows wins alone: of four duels with one outcome, three are won and one is lost."""
    soft = [Played(i, j, p) for i, j, p in [(0, 1, 0.75), (1, 2, 0.5), (0, 2, 0.25), (2, 3, 1.0)] for _ in range(4)]
    won = []
    for k, (i, j, p) in enumerate(soft):
        assert p is not None
        won.append((i, j) if k % 4 < 4 * p else (j, i))
    theirs = choix.opt_pairwise(4, won, alpha=1 / (2 * PRIOR_SD**2), tol=1e-12)
    assert fit(4, soft).strengths == pytest.approx(theirs, abs=1e-5)


def test_a_perfect_winner_stays_finite() -> None:
    strengths, covariance = fit(4, [Played(0, j, 1.0) for j in (1, 2, 3)])
    assert sum(map(win_probability, [strengths[0] - other for other in strengths[1:]])) / 3 == pytest.approx(
        0.88, abs=0.01
    )
    assert sum(strengths) == pytest.approx(0, abs=1e-9)
    assert all(math.isfinite(value) for row in covariance for value in row)
    extreme, _ = fit(64, [Played(i, j, 1.0) for i, j in combinations(range(64), 2)])
    assert extreme == sorted(extreme, reverse=True)


@given(st.integers(2, 12), tables)
def test_the_fit_is_at_the_maximum_to_the_last_digits(n: int, outcome: Outcome) -> None:
    played = [duel for duels in drive(round_robin(n), outcome) for duel in duels]
    strengths = fit(n, played).strengths
    for me, strength in enumerate(strengths):
        surprise = sum(
            (p if i == me else 1 - p) - win_probability(strength - strengths[j if i == me else i])
            for i, j, p in played
            if p is not None and me in (i, j)
        )
        assert surprise == pytest.approx(strength / PRIOR_SD**2, abs=1e-12)


def test_without_duels_there_is_the_prior_alone() -> None:
    strengths, covariance = fit(3, [Played(0, 1, None)])
    assert strengths == [0, 0, 0]
    assert np.array(covariance) == pytest.approx(np.eye(3) * PRIOR_SD**2)


def test_answers_that_no_chain_of_duels_connects_have_large_errors() -> None:
    apart = [Played(0, 1, 0.9), Played(2, 3, 0.9)] * 50
    joined = [*apart, *[Played(1, 2, 0.5)] * 50]
    assert fit(4, apart).variance(0, 2) > PRIOR_SD**2 / 2
    assert fit(4, joined).variance(0, 2) < 0.7


def test_errors_cover_the_truth() -> None:
    """Over many draws from the model itself, two standard errors hold the truth about as often as they should."""
    held = total = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        strengths = rng.normal(0, PRIOR_SD, 8)
        duels = [
            Played(i, j, float(rng.random() < win_probability(strengths[i] - strengths[j])))
            for i, j in combinations(range(8), 2)
            for _ in range(4)
        ]
        found = fit(8, duels)
        for i, j in combinations(range(8), 2):
            off = found.strengths[i] - found.strengths[j] - (strengths[i] - strengths[j])
            held += abs(off) < 1.96 * math.sqrt(found.variance(i, j))
            total += 1
    assert 0.93 < held / total < 0.97


# --- cycles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("played", "expected"),
    [
        ([], []),
        ([(0, 1, 0.9), (1, 2, 0.9), (0, 2, 0.9)], []),
        ([(0, 1, 0.9), (1, 2, 0.9), (0, 2, 0.1)], [(0, 1, 2)]),
        ([(0, 1, 0.1), (1, 2, 0.1), (0, 2, 0.9)], [(0, 2, 1)]),
        ([(0, 1, 0.9), (1, 2, 0.5), (0, 2, 0.1)], []),
        ([(0, 1, 0.9), (1, 2, None), (0, 2, 0.1)], []),
        ([(3, 0, 1.0), (0, 1, 1.0), (1, 2, 1.0), (2, 3, 1.0), (4, 0, 1.0)], [(0, 1, 2, 3)]),
        ([(0, 1, 1.0), (1, 2, 1.0), (2, 0, 1.0), (3, 4, 1.0), (4, 5, 1.0), (5, 3, 1.0)], [(0, 1, 2), (3, 4, 5)]),
    ],
)
def test_a_cycle_is_answers_that_beat_each_other_in_a_circle(
    played: list[tuple[int, int, float | None]], expected: list[tuple[int, ...]]
) -> None:
    assert cycles([Played(*duel) for duel in played]) == expected


@given(st.integers(3, 12), tables)
def test_every_cycle_is_one_and_everyone_on_one_is_named(n: int, outcome: Outcome) -> None:
    played = [duel for duels in drive(round_robin(n), outcome) for duel in duels]
    beats = {(i, j) if p > 0.5 else (j, i) for i, j, p in played if p is not None and p != 0.5}
    found = cycles(played)
    for circle in found:
        assert len(set(circle)) == len(circle) >= 3
        assert all(pair in beats for pair in zip(circle, (*circle[1:], circle[0]), strict=True))
    reach = np.zeros((n, n), dtype=bool)
    for pair in beats:
        reach[pair] = True
    for _ in range(n):
        reach |= reach @ reach
    assert {index for circle in found for index in circle} == set(np.flatnonzero(reach.diagonal()).tolist())


# --- contests -------------------------------------------------------------------------------------


def contest(answers: Sequence[str], outcome: Callable[[str, str], float | None], **options: object) -> Ranking:
    """Run a contest over a judge that looks at the two texts."""
    flow = Contest("Q", answers, **options).flow()  # type: ignore[arg-type]
    try:
        pairs = next(flow)
        while True:
            pairs = flow.send(
                [Judgment(p_a=outcome(pair.text("A"), pair.text("B")), pair_id=pair.id) for pair in pairs]
            )
    except StopIteration as end:
        ranking: Ranking = end.value
    assert Ranking.model_validate_json(ranking.model_dump_json()) == ranking
    return ranking


def lottery(seed: int, one: str, other: str, failing: bool = True) -> float | None:
    """An outcome that follows from the texts alone, and says the same of them in either order."""
    if one > other:
        p = lottery(seed, other, one, failing)
        return None if p is None else 1 - p
    return (0.05, 0.3, 0.5, 0.6, 0.9, None if failing else 0.2)[hash((seed, len(one), len(other))) % 6]


def options_of(method: Method) -> dict[str, object]:
    return {"method": method, "anchor": "x" * 40} if method == "anchor" else {"method": method}


@given(st.data(), st.integers(2, 9), st.integers(0, 1000), st.sampled_from(METHODS))
def test_the_order_in_which_answers_are_listed_changes_nothing(
    data: st.DataObject, n: int, seed: int, method: Method
) -> None:
    lengths = data.draw(st.lists(st.integers(1, 2 * n), min_size=n, max_size=n))
    shuffle = data.draw(st.permutations(range(n)))
    answers = ["x" * length for length in lengths]
    one = contest(answers, lambda a, b: lottery(seed, a, b), **options_of(method))
    other = contest([answers[i] for i in shuffle], lambda a, b: lottery(seed, a, b), **options_of(method))
    for mine, theirs in ((one.scores, other.scores), (one.std_errors, other.std_errors)):
        for i, value in zip(shuffle, theirs, strict=True):
            assert value == (mine[i] if mine[i] is None else pytest.approx(mine[i], abs=1e-9))
    assert tuple(one.ranks[i] for i in shuffle) == other.ranks
    on_cycles = {answers[i] for circle in one.cycles for i in circle}
    assert on_cycles == {answers[shuffle[i]] for circle in other.cycles for i in circle}


@given(st.lists(st.integers(1, 12), min_size=2, max_size=9), st.integers(0, 1000), st.sampled_from(METHODS[:3]))
def test_scores_have_mean_one_half_and_fall_along_the_order(lengths: list[int], seed: int, method: Method) -> None:
    ranking = contest(["x" * length for length in lengths], lambda a, b: lottery(seed, a, b), method=method)
    known = [score for score in ranking.scores if score is not None]
    assert sorted(ranking.order) == [i for i, score in enumerate(ranking.scores) if score is not None]
    if known:
        assert sum(known) / len(known) == pytest.approx(0.5)
    in_order = [ranking.scores[i] or 0 for i in ranking.order]
    assert all(one >= other - 1e-9 for one, other in pairwise(in_order))
    for values in zip(ranking.scores, ranking.std_errors, ranking.ranks, strict=True):
        assert len({value is None for value in values}) == 1


def test_a_failed_duel_changes_nothing_but_its_absence() -> None:
    answers = ["x", "xx", "xxx", "xxxx"]
    failing = {"xx", "xxxx"}
    ranking = contest(answers, lambda a, b: None if {a, b} == failing else win_probability(len(a) - len(b)))
    assert (ranking.failed, len(ranking.comparisons)) == (1, 6)
    read = [duel for duel in ranking.comparisons if duel.p_a is not None]
    strengths = fit(4, [Played(duel.a, duel.b, duel.p_a) for duel in read]).strengths
    for i, mine in enumerate(strengths):
        rivals = [win_probability(mine - theirs) for j, theirs in enumerate(strengths) if j != i]
        assert ranking.scores[i] == pytest.approx(sum(rivals) / 3)


@pytest.mark.parametrize("aggregate", ["bradley_terry", "win_rate"])
def test_an_answer_of_which_no_duel_was_read_has_no_place(aggregate: Aggregate) -> None:
    ranking = contest(
        ["x", "broken", "xxx"], lambda a, b: None if "broken" in (a, b) else float(len(a) > len(b)), aggregate=aggregate
    )
    assert (ranking.order, ranking.ranks, ranking.failed) == ((2, 0), (2, None, 1), 2)
    assert ranking.scores[1] is ranking.std_errors[1] is None
    nothing = contest(["x", "xx", "xx"], lambda a, b: None, aggregate=aggregate)
    assert (nothing.order, nothing.ranks, nothing.scores) == ((), (None,) * 3, (None,) * 3)


def test_components_that_no_duel_joins_are_compared_with_large_errors() -> None:
    groups = {"a": 0, "bb": 0, "ccc": 1, "dddd": 1}
    apart = contest(list(groups), lambda a, b: win_probability(len(a) - len(b)) if groups[a] == groups[b] else None)
    whole = contest(list(groups), lambda a, b: win_probability(len(a) - len(b)))
    for one, other in zip(apart.std_errors, whole.std_errors, strict=True):
        assert one is not None
        assert other is not None
        assert one > 1.2 * other
    assert apart.ranks == (3, 1, 3, 1)


@pytest.mark.parametrize("method", METHODS)
def test_identical_answers_share_a_rank_and_a_score_without_a_call(method: Method) -> None:
    asked: list[tuple[str, str]] = []

    def outcome(a: str, b: str) -> float:
        asked.append((a, b))
        return float(len(a) > len(b))

    options = {"anchor": "xx"} if method == "anchor" else {}
    ranking = contest(["x", "xxx", "x", "xxx", "xxx"], outcome, method=method, **options)
    assert all(a != b for a, b in asked)
    assert len(asked) == (2 if method == "anchor" else 1)
    assert len({ranking.scores[i] for i in (0, 2)}) == len({ranking.scores[i] for i in (1, 3, 4)}) == 1
    assert ranking.ranks == (4, 1, 4, 1, 1)


def test_answers_that_are_all_identical_are_level_and_surely_so() -> None:
    ranking = contest(["x", "x"], lambda a, b: None)
    assert (ranking.order, ranking.ranks, ranking.scores, ranking.std_errors) == ((0, 1), (1, 1), (0.5, 0.5), (0, 0))
    assert ranking.comparisons == ()
    turns = Contest("Q", ["x", [{"role": "assistant", "content": "x"}]])
    assert turns.duels == 0


def test_an_anchor_is_compared_with_each_answer_and_scores_are_against_it() -> None:
    ranking = contest(
        ["x", "xx", "xxx"], lambda a, b: win_probability(2 * (len(a) - len(b))), method="anchor", anchor="xx"
    )
    assert {frozenset((duel.a, duel.b)) for duel in ranking.comparisons} == {frozenset((0, 3)), frozenset((2, 3))}
    assert ranking.order == (2, 1, 0)
    assert (ranking.scores[1], ranking.std_errors[1]) == (0.5, 0)
    assert ranking.scores[2] == pytest.approx(1 - (ranking.scores[0] or 0))
    bare = contest(
        ["x", "xxx"], lambda a, b: 0.8 if len(a) > len(b) else 0.2, method="anchor", anchor="xx", aggregate="win_rate"
    )
    assert bare.scores == pytest.approx((0.2, 0.8))


@pytest.mark.parametrize("sure", [1.0, 0.75])
@pytest.mark.parametrize("n", [2, 3, 5, 8, 13, 21, 32])
def test_the_best_comes_first_after_a_knockout(n: int, sure: float) -> None:
    def outcome(a: str, b: str) -> float:
        return sure if len(a) > len(b) else 1 - sure

    for seed in range(20):
        ranking = contest(["x" * (1 + k) for k in range(n)], outcome, method="knockout", seed=seed)
        assert len(ranking.comparisons) == n - 1
        assert ranking.order[0] == n - 1
        assert ranking.ranks[n - 1] == 1


@given(st.integers(2, 9), st.integers(0, 1000))
def test_after_a_whole_round_robin_win_rates_and_strengths_give_one_order(n: int, seed: int) -> None:
    answers = ["x" * (1 + k) for k in range(n)]
    counted, fitted = (
        contest(answers, lambda a, b: lottery(seed, a, b, failing=False), aggregate=aggregate)
        for aggregate in ("win_rate", "bradley_terry")
    )
    assert counted.ranks == fitted.ranks


def test_a_win_rate_is_the_mean_of_an_answers_own_duels() -> None:
    table = {("a", "b"): 0.9, ("a", "c"): 0.6, ("b", "c"): None}

    def outcome(one: str, other: str) -> float | None:
        if one < other:
            return table[one, other]
        p = table[other, one]
        return None if p is None else 1 - p

    ranking = contest(["a", "b", "c"], outcome, aggregate="win_rate")
    assert ranking.scores == pytest.approx((0.75, 0.1, 0.4))
    assert ranking.std_errors[0] == pytest.approx(math.sqrt((2 / 3) * (1 / 3) / 2))
    perfect = contest(["a", "b", "c"], lambda one, other: float(one < other), aggregate="win_rate")
    assert perfect.scores == (1.0, 0.5, 0.0)
    assert min(error or 0 for error in perfect.std_errors) > 0.2
    twice = contest(
        ["a", "b", "a", "c"], lambda one, other: lottery(3, one, other, failing=False), aggregate="win_rate"
    )
    assert sum(score or 0 for score in twice.scores) == pytest.approx(2)


def test_the_sides_of_a_duel_follow_from_the_texts_and_are_even() -> None:
    def sides(answers: list[str]) -> set[tuple[str, str]]:
        return {(answers[duel.a], answers[duel.b]) for duel in contest(answers, lambda a, b: 0.5).comparisons}

    texts = [f"answer {n}" for n in range(24)]
    asked = sides(texts)
    assert sides(texts[::-1]) == asked
    assert sides(texts[:7]) < asked
    first = Counter(a for a, _ in asked)
    assert 100 < sum(a < b for a, b in asked) < 176  # of 276
    assert all(4 <= first[text] <= 19 for text in texts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"answers": ["x"]}, "a list of at least 2 answers, not 1"),
        ({"answers": [], "method": "anchor", "anchor": "x"}, "a list of at least 1 answers, not 0"),
        ({"answers": "xyz"}, "a list of at least 2 answers, not one text"),
        ({"method": "roundrobin"}, "unknown method 'roundrobin'; did you mean 'round_robin'?"),
        ({"method": "elo"}, "unknown method 'elo'; expected one of round_robin, knockout"),
        ({"aggregate": "winrate"}, "did you mean 'win_rate'?"),
        ({"method": "anchor"}, "it goes with method='anchor'"),
        ({"anchor": "z"}, "it goes with method='anchor'"),
        ({"budget": 5}, "budget= goes with method='swiss'; 'round_robin' has its own"),
        ({"method": "swiss", "budget": 0}, "budget must be more than 0"),
        ({"method": "knockout", "aggregate": "win_rate"}, "win rates say little after 'knockout'"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused_before_any_work(arguments: dict[str, object], message: str) -> None:
    backend = FakeBackend([])
    given = {"question": "Q", "answers": ["x", "y"]} | arguments
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        Judge(backend).rank(**given)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        asyncio.run(Judge(backend).arank(**given))  # type: ignore[arg-type]
    assert backend.asked == 0


# --- the judge ------------------------------------------------------------------------------------


def shown(request: Request) -> tuple[str, str]:
    """The two answers as they are shown, made of x, y and z."""
    first, _, second = request.messages[-1].content.partition("Chatbot B")
    one, other = (
        next(line for line in part.splitlines() if line and set(line) <= set("xyz")) for part in (first, second)
    )
    return one, other


def longer(request: Request) -> str:
    one, other = shown(request)
    return A if len(one) > len(other) else B


ANSWERS = ["xx", "xxxxx", "x", "xxxx", "xxx", "xxxxxx"]
BY_LENGTH = (5, 1, 3, 4, 0, 2)


@pytest.mark.parametrize(("method", "duels"), [("round_robin", 15), ("knockout", 5), ("swiss", 15), ("anchor", 6)])
def test_a_judge_of_length_ranks_by_length(method: Method, duels: int) -> None:
    backend = FakeBackend(longer)
    with_anchor = {"anchor": "xxxyyy"} if method == "anchor" else {}
    ranking = Judge(backend).rank("Q", ANSWERS, method=method, **with_anchor)  # type: ignore[arg-type]
    assert len(ranking.comparisons) == len(ranking.judgments) == duels
    assert backend.asked == 2 * duels
    assert ranking.order[0] == 5 or method == "anchor"
    if method in ("round_robin", "swiss"):
        assert ranking.order == BY_LENGTH
        assert ranking.ranks == (5, 2, 6, 3, 4, 1)
    assert ranking.cycles == ()
    for duel, judgment in zip(ranking.comparisons, ranking.judgments, strict=True):
        assert judgment.pair_id == f"{duel.a}-{duel.b}"
        assert duel.p_a == judgment.p_a
    assert ranking.usage.total_tokens == sum(judgment.usage.total_tokens for judgment in ranking.judgments) > 0


def test_a_judge_of_positions_ranks_nobody_above_another() -> None:
    for method in METHODS[:3]:
        ranking = Judge(FakeBackend(lambda request: A)).rank("Q", ANSWERS, method=method)
        assert ranking.ranks == (1,) * 6
        assert ranking.scores == pytest.approx((0.5,) * 6)


def test_sync_and_async_give_the_same_ranking() -> None:
    judge = Judge(FakeBackend(longer), seed=4)

    async def awaited() -> Ranking:
        return await judge.arank("Q", ANSWERS, method="swiss", budget=7)

    assert asyncio.run(awaited()) == judge.rank("Q", ANSWERS, method="swiss", budget=7)


def test_duels_that_fail_are_missing_and_on_failure_raise_raises() -> None:
    def reply(request: Request) -> str:
        return "hm" if set(shown(request)) == {"x", "xxxxx"} else longer(request)

    ranking = Judge(FakeBackend(reply)).rank("Q", ANSWERS)
    assert ranking.failed == 1
    assert ranking.order == BY_LENGTH
    with pytest.raises(JudgmentFailed, match=r"pair (1-2|2-1): "):
        Judge(FakeBackend(reply), on_failure="raise").rank("Q", ANSWERS)


def test_an_error_of_one_duel_cancels_the_others() -> None:
    cancelled = threading.Event()

    async def reply(request: Request) -> str:
        if set(shown(request)) == {"x", "xx"}:
            raise BackendError("gone")
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return A

    with pytest.raises(BackendError, match="gone"):
        Judge(FakeBackend(reply), max_concurrency=100).rank("Q", ANSWERS)
    assert cancelled.wait(LIMIT_S)


def test_cancelling_a_ranking_stops_its_duels() -> None:
    stuck = Stuck()
    stuck.cancel(Judge(FakeBackend(stuck)).arank("Q", ANSWERS))


def test_the_duels_of_a_round_run_at_once() -> None:
    all_there = asyncio.Event()
    there = 0

    async def reply(request: Request) -> str:
        nonlocal there
        there += 1
        if there == 15:
            all_there.set()
        await asyncio.wait_for(all_there.wait(), LIMIT_S)
        return longer(request)

    ranking = Judge(FakeBackend(reply), orders="given", max_concurrency=15).rank("Q", ANSWERS)
    assert ranking.order == BY_LENGTH


def test_a_longer_list_asks_only_for_its_new_duels(tmp_path: object) -> None:
    backend = FakeBackend(longer)
    with Judge(backend, store=f"{tmp_path}/s.db") as judge:
        judge.rank("Q", ANSWERS[:4])
        assert backend.asked == 2 * 6
        ranking = judge.rank("Q", ANSWERS[::-1])
        assert backend.asked == 2 * 15
        judge.rank("Q", ANSWERS, method="knockout")
    assert backend.asked == 2 * 15
    assert [ANSWERS[::-1][i] for i in ranking.order] == [ANSWERS[i] for i in BY_LENGTH]


def test_reference_and_rubric_are_shown_in_every_duel() -> None:
    seen: list[str] = []

    def reply(request: Request) -> str:
        seen.append(request.messages[-1].content)
        return A

    Judge(FakeBackend(reply)).rank("Q", ["x", "y", "z"], reference="the known one", rubric="brevity above all")
    assert len(seen) == 6
    assert all("the known one" in text and "brevity above all" in text for text in seen)


def test_progress_counts_duels(capfd: pytest.CaptureFixture[str]) -> None:
    Judge(FakeBackend(longer)).rank("Q", ANSWERS, progress=True)
    assert "15/15" in capfd.readouterr().err


def test_conversations_are_ranked() -> None:
    question = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    answers = [[{"role": "assistant", "content": text}] for text in ("x", "yy")]
    flow = Contest(question, answers, seed=1).flow()
    (pair,) = next(flow)
    assert isinstance(pair, Pair)
    assert {pair.text("A"), pair.text("B")} == {"x", "yy"}
    assert pair.turns("A")[1].content == "Yes?"
    assert Comparison(a=0, b=1).p_a is None
