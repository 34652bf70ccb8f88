from math import log

import pytest

from rmr1_sdk.types import Shown, Side, Verdict
from rmr1_sdk.voting import agreement, choice_probability, majority, position_consistent, probability


def v(winner: Side | None, shown: Shown = "AB", p_a: float | None = None) -> Verdict:
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
    ],
)
def test_most_readable_votes_win(winners: list[Side | None], outcome: str | None, share: float | None) -> None:
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
    ],
)
def test_position_consistency_needs_both_orders(verdicts: list[Verdict], consistent: bool | None) -> None:
    assert position_consistent(verdicts) is consistent


def test_choice_probability_does_not_underflow() -> None:
    seen = choice_probability([-2000.0, -2000.0 + log(3)])
    assert seen.first == pytest.approx(0.25)
    assert seen.mass == 0.0
    assert choice_probability([log(0.6), log(0.2)]) == pytest.approx((0.75, 0.8))
    assert choice_probability([float("-inf"), float("-inf")]) == (0.5, 0.0)


def test_swapping_a_verdict_twice_gives_it_back() -> None:
    verdict = v("A", "AB", 0.75)
    assert verdict.swapped().winner == "B"
    assert verdict.swapped().p_a == 0.25
    assert verdict.swapped().swapped() == verdict
