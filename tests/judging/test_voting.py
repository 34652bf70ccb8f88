import json
from collections.abc import Iterable
from fractions import Fraction
from itertools import product
from math import factorial, log, prod
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmr1_sdk.judging.voting import (
    BY_POSITION,
    Tally,
    agreed,
    agreement,
    change_probability,
    choices,
    majority,
    position_consistent,
    position_effect,
    probability,
    tallies,
)
from rmr1_sdk.types import Outcome, Shown, Side, Verdict


def v(winner: Outcome | None, shown: Shown = "AB", p_a: float | None = None) -> Verdict:
    return Verdict(winner=winner, shown=shown, p_a=p_a)


@pytest.mark.parametrize(
    ("winners", "outcome", "share"),
    [
        ([], None, None),
        ([None, None], None, None),
        (["A"], "A", 1.0),
        (["A", None, None], "A", 1.0),
        (["A", "B"], "tie", 0.5),
        (["A", "B", "B"], "B", 2 / 3),
        (["tie"], "tie", 1.0),
        (["A", "tie"], "A", 0.5),
        (["A", "B", "tie", "tie"], "tie", 0.5),
        (["B", "tie", "tie", None], "B", 2 / 3),
    ],
)
def test_most_readable_votes_win(winners: list[Outcome | None], outcome: str | None, share: float | None) -> None:
    verdicts = [v(winner) for winner in winners]
    assert majority(verdicts) == outcome
    assert agreement(verdicts) == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize(
    ("verdicts", "p_a"),
    [
        ([], None),
        ([v(None)], None),
        ([v("A")], 0.75),
        ([v("B")], 0.25),
        ([v("A"), v("A"), v("B")], 2.5 / 4),
        ([v("A", "AB", 0.9), v("B", "BA", 0.3)], 0.6),
        ([v("A", "AB", 0.9), v("A", "AB", None), v("A", "BA")], (0.9 + 0.75) / 2),
        ([v("A", "AB", 0.9), v(None, "BA")], 0.9),
        ([v("tie")], 0.5),
        ([v("A"), v("tie")], 2 / 3),
        ([v("A", "AB", 0.9), v("tie")], 0.7),
        ([v("A"), v("tie", "BA")], (0.75 + 0.5) / 2),
    ],
)
def test_probability_is_the_mean_over_the_orders_that_were_read(verdicts: list[Verdict], p_a: float | None) -> None:
    assert probability(verdicts) == (None if p_a is None else pytest.approx(p_a))


@pytest.mark.parametrize(
    ("verdicts", "consistent"),
    [
        ([v("A"), v("A", "BA")], True),
        ([v("A"), v("B", "BA")], False),
        ([v("A"), v(None, "BA")], None),
        ([v("A")], None),
        ([v("A"), v("B"), v("A", "BA"), v("B", "BA")], True),
        ([v("tie"), v("tie", "BA")], True),
        ([v("A"), v("tie", "BA")], False),
    ],
)
def test_position_consistency_needs_both_orders(verdicts: list[Verdict], consistent: bool | None) -> None:
    assert position_consistent(verdicts) is consistent


def test_probabilities_of_choices_do_not_underflow() -> None:
    seen = choices([-2000.0, -2000.0 + log(3)])
    assert seen.probabilities == pytest.approx((0.25, 0.75))
    assert seen.mass == 0.0
    first, mass = choices([log(0.6), log(0.2)])
    assert (*first, mass) == pytest.approx((0.75, 0.25, 0.8))
    assert choices([float("-inf")] * 4) == ((0.25,) * 4, 0.0)


def test_swapping_a_verdict_twice_gives_it_back() -> None:
    verdict = v("A", "AB", 0.75)
    assert verdict.swapped().winner == "B"
    assert verdict.swapped().p_a == 0.25
    assert verdict.swapped().swapped() == verdict
    assert v("tie").swapped().winner == "tie"


@pytest.mark.parametrize(
    ("ab", "ba", "outcome"),
    [
        ("A", "A", "A"), ("B", "B", "B"), ("tie", "tie", "tie"), ("A", "B", "tie"), ("A", "tie", "tie"),
        ("tie", "B", "tie"), ("A", None, None), (None, "tie", None), (None, None, None),
    ],
)  # fmt: skip
def test_orders_that_must_agree_are_a_tie_where_they_differ(
    ab: Outcome | None, ba: Outcome | None, outcome: str | None
) -> None:
    assert agreed([v(ab), v(ba, "BA")]) == outcome


@pytest.mark.parametrize(
    ("verdicts", "effect"),
    [
        ([v("A"), v("B", "BA")], 0.25),
        ([v("B"), v("A", "BA")], -0.25),
        ([v("A"), v("A", "BA")], 0.0),
        ([v("A", "AB", 1.0), v("B", "BA", 0.0)], 0.5),
        ([v("A", "AB", 0.9), v("A", "BA", 0.5)], 0.2),
        ([v("A"), v(None, "BA")], None),
        ([v("A")], None),
    ],
)
def test_the_position_effect_is_what_being_shown_first_adds(verdicts: list[Verdict], effect: float | None) -> None:
    assert position_effect(verdicts) == (None if effect is None else pytest.approx(effect))


# --- is another vote worth it ---------------------------------------------------------------------


def enumerated(votes: tuple[Tally, ...], remaining: int) -> float:
    """The same probability, from every way in which the remaining votes could come, one after another."""

    def slab(a: int, b: int) -> Fraction:
        """How probable exactly these votes, in their order, are at a rate that is as likely as any other."""
        chance, seen = Fraction(1), [0, 0]
        for vote in [0] * a + [1] * b:
            chance *= Fraction(seen[vote] + 1, sum(seen) + 2)
            seen[vote] += 1
        return chance

    def outcome(counts: tuple[Tally, ...]) -> int:
        lead = sum(tally.a - tally.b for tally in counts)
        return (lead > 0) - (lead < 0)

    def fits(ab: Tally, ba: Tally) -> int:
        return (ab.b == 0 and ba.a == 0) + (ab.a == 0 and ba.b == 0)

    by_position = len(votes) == 2 and not any(tally.unreadable for tally in votes)
    prior = Fraction(BY_POSITION) if by_position else Fraction(0)
    seen = changed = Fraction(0)
    futures: Iterable[tuple[tuple[str, ...], ...]] = product(product("AB", repeat=remaining), repeat=len(votes))
    for future in futures:
        after = tuple(
            Tally(tally.a + more.count("A"), tally.b + more.count("B"))
            for tally, more in zip(votes, future, strict=True)
        )
        chance = 1 - prior
        for tally in after:
            chance *= slab(*tally[:2])
        if by_position:
            chance += prior / 2 * fits(*after)
        seen += chance
        changed += chance * (outcome(after) != outcome(votes))
    return float(changed / seen)


COUNTS: list[list[tuple[int, ...]]] = [
    [(1, 0)], [(1, 1)], [(3, 1)], [(0, 2, 1)],
    [(1, 0), (1, 0)], [(1, 0), (0, 1)], [(0, 2), (2, 0)], [(2, 0), (0, 2, 1)], [(2, 1), (0, 3)],
    [(1, 0), (0, 0, 1)], [(0, 0), (0, 1)], [(2, 2), (2, 2)], [(3, 0), (0, 2)],
]  # fmt: skip


@pytest.mark.parametrize("votes", [tuple(Tally(*one) for one in counts) for counts in COUNTS], ids=str)
@pytest.mark.parametrize("remaining", [0, 1, 2, 4])
def test_the_chance_of_a_change_is_that_of_all_ways_to_go_on(votes: tuple[Tally, ...], remaining: int) -> None:
    assert change_probability(votes, remaining) == pytest.approx(enumerated(votes, remaining), abs=1e-12)


def with_ties(votes: tuple[Tally, ...], remaining: int) -> float:
    """The chance of a change where votes may be ties, from every way in which the remaining votes could come."""

    def chance(counts: tuple[Tally, ...]) -> Fraction:
        slabs = Fraction(1)
        for one in counts:
            said = (one.a, one.b, one.tie)
            slabs *= Fraction(2 * prod(map(factorial, said)), factorial(sum(said) + 2))
        return (1 - Fraction(BY_POSITION)) * slabs + Fraction(BY_POSITION) * all(not one.a + one.b for one in counts)

    def outcome(counts: tuple[Tally, ...]) -> int:
        lead = sum(one.a - one.b for one in counts)
        return (lead > 0) - (lead < 0)

    seen = changed = Fraction(0)
    futures: Iterable[tuple[tuple[str, ...], ...]] = product(product("ABt", repeat=remaining), repeat=len(votes))
    for future in futures:
        after = tuple(
            Tally(one.a + more.count("A"), one.b + more.count("B"), one.unreadable, one.tie + more.count("t"))
            for one, more in zip(votes, future, strict=True)
        )
        seen += chance(after)
        changed += chance(after) * (outcome(after) != outcome(votes))
    return float(changed / seen)


@pytest.mark.parametrize(
    "votes",
    [
        (Tally(0, 0, 0, 1),), (Tally(2, 1, 0, 1),), (Tally(1, 0), Tally(0, 0, 1, 2)), (Tally(0, 0, 0, 2),) * 2,
        (Tally(3, 0), Tally(1, 1, 0, 1)),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("remaining", [0, 1, 3])
def test_votes_that_may_be_ties_change_the_outcome_as_all_ways_say(votes: tuple[Tally, ...], remaining: int) -> None:
    assert change_probability(votes, remaining) == pytest.approx(with_ties(votes, remaining), abs=1e-12)


def test_a_judge_that_always_says_tie_is_believed_in_the_end() -> None:
    rounds = [n for n in range(1, 17) if change_probability((Tally(0, 0, 0, n),) * 2, 16 - n) <= 0.05]
    assert rounds[0] < 10


def tally(most: int = 12) -> st.SearchStrategy[Tally]:
    return st.builds(Tally, st.integers(0, most), st.integers(0, most), st.integers(0, 2), st.just(0))


@given(st.lists(tally(), min_size=1, max_size=2).map(tuple), st.integers(0, 12))
def test_a_change_is_impossible_exactly_where_it_is_out_of_reach(votes: tuple[Tally, ...], remaining: int) -> None:
    lead = abs(sum(one.a - one.b for one in votes))
    any_vote = any(one.a or one.b for one in votes)
    reachable = remaining > 0 and (not any_vote or lead <= remaining * len(votes))
    chance = change_probability(votes, remaining)
    assert 0 <= chance <= 1
    assert (chance > 0) == reachable


@given(st.lists(tally(), min_size=1, max_size=2).map(tuple), st.integers(0, 12))
def test_the_sides_and_the_orders_are_treated_alike(votes: tuple[Tally, ...], remaining: int) -> None:
    chance = change_probability(votes, remaining)
    assert change_probability(tuple(Tally(one.b, one.a, one.unreadable) for one in votes), remaining) == chance
    assert change_probability(votes[::-1], remaining) == chance


@given(st.lists(st.sampled_from(("A", "B", None)), min_size=24, max_size=24), st.data())
def test_a_higher_risk_never_asks_more(said: list[Side | None], data: st.DataObject) -> None:
    def rounds(risk: float) -> int:
        for asked in range(1, 13):
            verdicts = [*(v(w, "AB") for w in said[:asked]), *(v(w, "BA") for w in said[12 : 12 + asked])]
            if change_probability(tallies(verdicts, ("AB", "BA")), 12 - asked) <= risk:
                return asked
        raise AssertionError("it is settled when nothing remains")

    low, high = sorted((data.draw(st.floats(0, 0.99)), data.draw(st.floats(0, 0.99))))
    assert rounds(high) <= rounds(low)


def settled_after(*orders: tuple[int, int], most: int = 16, risk: float = 0.05) -> int:
    """How many rounds of these votes it takes; each order repeats its votes for A and for B."""
    for asked in range(1, most + 1):
        if change_probability(tuple(Tally(a * asked, b * asked) for a, b in orders), most - asked) <= risk:
            return asked
    raise AssertionError("it is settled when nothing remains")


def test_how_many_of_sixteen_rounds_it_takes() -> None:
    assert settled_after((1, 0), (1, 0)) == 2
    assert settled_after((1, 0), (1, 0), risk=0.01) == 3
    assert settled_after((1, 0), (1, 0), risk=0) == 9
    assert settled_after((1, 0), (0, 1)) == 11  # a judge of positions: a tie, and it stays one
    assert settled_after((1, 0)) == 4  # one order alone


def test_a_tie_within_the_orders_is_never_believed_to_stay() -> None:
    assert change_probability((Tally(4, 4), Tally(4, 4)), 8) > 0.5


def test_a_judge_of_positions_that_is_not_always_readable_does_not_end_in_a_tie() -> None:
    assert change_probability((Tally(12, 0), Tally(0, 12)), 4) < 0.05
    assert change_probability((Tally(12, 0), Tally(0, 12, 1)), 4) > 0.3


def test_tallies_count_unreadable_readings_and_orders_without_any() -> None:
    verdicts = [v("A"), v(None), v("B", "BA"), v("B", "BA")]
    assert tallies(verdicts, ("AB", "BA")) == (Tally(1, 0, 1), Tally(0, 2))
    assert tallies(verdicts[:2], ("AB", "BA")) == (Tally(1, 0, 1), Tally(0, 0))


@pytest.mark.parametrize(("risk", "readings", "differ"), [(0.05, 618, 0), (0.1, 596, 1), (0.2, 500, 6)])
def test_recorded_votes_of_a_real_judge(risk: float, readings: int, differ: int) -> None:
    """The figures of perf/README.md: 40 pairs, 16 readings each."""
    asked = changed = 0
    lines = (Path(__file__).parents[2] / "perf" / "votes.jsonl").read_text().splitlines()[1:]
    for pair in map(json.loads, lines):
        said = {shown: [v(vote["winner"], shown) for vote in pair[shown]] for shown in ("AB", "BA")}
        for rounds in range(1, 9):
            verdicts = [verdict for order in said.values() for verdict in order[:rounds]]
            if change_probability(tallies(verdicts, ("AB", "BA")), 8 - rounds) <= risk:
                break
        asked += len(verdicts)
        changed += majority(verdicts) != majority([*said["AB"], *said["BA"]])
    assert (len(lines), asked, changed) == (40, readings, differ)
