from math import inf, log

import pytest

from rmr1_sdk.stats import brier, log_loss, mcnemar, wilson


def test_wilson_of_a_known_figure() -> None:
    assert str(wilson(348, 419)) == "83.1% [79.2%, 86.3%]"


def test_wilson_of_nothing_is_nothing() -> None:
    assert wilson(0, 0) is None


def test_wilson_refuses_more_successes_than_trials() -> None:
    with pytest.raises(ValueError, match="3 successes of 2"):
        wilson(3, 2)


@pytest.mark.parametrize(
    ("gained", "lost", "p"), [(0, 0, 1.0), (3, 3, 1.0), (1, 5, 14 / 64), (5, 1, 14 / 64), (0, 10, 2 / 1024)]
)
def test_mcnemar_is_the_two_tails_of_a_fair_coin(gained: int, lost: int, p: float) -> None:
    assert mcnemar(gained, lost) == p


def test_log_loss_and_brier_of_known_figures() -> None:
    assert log_loss([0.8, 0.4], [True, False]) == pytest.approx(-(log(0.8) + log(0.6)) / 2)
    assert brier([0.8, 0.4], [True, False]) == pytest.approx((0.04 + 0.16) / 2)
    assert log_loss([0.0], [True]) == inf
    assert log_loss([0.0], [False]) == 0
    for figure in (log_loss, brier):
        with pytest.raises(ValueError, match="a mean of nothing"):
            figure([], [])
        with pytest.raises(ValueError, match="argument 2 is shorter"):
            figure([0.5], [])
