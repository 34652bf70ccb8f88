import random
from collections.abc import Sequence
from math import inf, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmr1_sdk.statistics.intervals import (
    bootstrap,
    brier,
    cohen_kappa,
    ece,
    ece_by_chance,
    log_loss,
    mcnemar,
    percentiles,
    reliability,
    risk_coverage,
    wilson,
)


def test_wilson_of_a_known_figure() -> None:
    assert str(wilson(348, 419)) == "83.1% [79.2%, 86.3%]"


@pytest.mark.parametrize(
    ("n", "p", "half"),
    [(2985, 0.91, 1.0), (1392, 0.6, 2.6), (999, 0.75, 2.7), (444, 0.7, 4.2), (419, 0.85, 3.4), (80, 0.7, 9.9)],
)
def test_wilson_has_the_half_widths_that_are_known_of_benchmarks(n: int, p: float, half: float) -> None:
    interval = wilson(p * n, n)
    assert interval is not None
    assert round(100 * (interval.high - interval.low) / 2, 1) == half


def test_wilson_of_nothing_is_nothing() -> None:
    assert wilson(0, 0) is None


def test_wilson_refuses_more_successes_than_trials() -> None:
    with pytest.raises(ValueError, match="3 successes of 2"):
        wilson(3, 2)


@pytest.mark.parametrize(("successes", "trials"), [(348, 419), (0, 28), (28, 28), (1, 2)])
def test_wilson_is_that_of_scipy(successes: int, trials: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="compares with scipy, which is not installed")
    theirs = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson(successes, trials) == pytest.approx((successes / trials, theirs.low, theirs.high))


@pytest.mark.parametrize(
    ("gained", "lost", "p"), [(0, 0, 1.0), (3, 3, 1.0), (1, 5, 14 / 64), (5, 1, 14 / 64), (0, 10, 2 / 1024)]
)
def test_mcnemar_is_the_two_tails_of_a_fair_coin(gained: int, lost: int, p: float) -> None:
    assert mcnemar(gained, lost) == p


def test_a_bootstrap_of_independent_items_has_about_the_interval_of_wilson() -> None:
    drawn = percentiles(0.8, bootstrap([(1.0, 1.0)] * 320 + [(0.0, 1.0)] * 80))
    assert drawn == pytest.approx(wilson(320, 400), abs=0.01)


def test_items_that_share_a_prompt_count_once() -> None:
    """Nine equal verdicts a prompt are nine times as many items and not one bit more known."""
    alone = percentiles(0.8, bootstrap([(1.0, 1.0)] * 80 + [(0.0, 1.0)] * 20))
    nine_each = percentiles(0.8, bootstrap([(9.0, 9.0)] * 80 + [(0.0, 9.0)] * 20))
    assert nine_each == alone


def test_a_bootstrap_follows_from_its_seed() -> None:
    clusters = [(random.Random(n).random(), 1.0) for n in range(50)]
    assert bootstrap(clusters, seed=1) == bootstrap(clusters, seed=1) != bootstrap(clusters, seed=2)


def test_the_same_seed_pairs_two_judges() -> None:
    """Two judges that differ on one item in a hundred: the difference is known far better than either figure."""
    hard = [float(n % 3 > 0) for n in range(300)]
    first = bootstrap([(value, 1.0) for value in hard])
    second = bootstrap([(value if n > 6 else 1.0, 1.0) for n, value in enumerate(hard)])
    difference = percentiles(0.01, [b - a for a, b in zip(first, second, strict=True)])
    assert difference.low == 0.0
    assert difference.high == pytest.approx(0.0233, abs=0.004)
    assert percentiles(2 / 3, first).high - percentiles(2 / 3, first).low > 0.1


def test_the_percentiles_of_a_bootstrap_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="compares with scipy, which is not installed")
    numpy = pytest.importorskip("numpy")
    generator = random.Random(0)
    clusters = [(sum(generator.random() < 0.7 for _ in range(k)), k) for k in [1, 2, 5, 9] * 40]
    ours = percentiles(0.7, bootstrap(clusters, draws=4000))
    theirs = stats.bootstrap(
        tuple(zip(*clusters, strict=True)),
        lambda values, weights, axis: numpy.sum(values, axis) / numpy.sum(weights, axis),
        paired=True,
        n_resamples=4000,
        method="percentile",
        rng=numpy.random.default_rng(0),
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)


@pytest.mark.parametrize(
    ("first", "second", "kappa"),
    [
        ("AABB", "AABB", 1.0),
        ("AABB", "BBAA", -1.0),
        ("ABAB", "AABB", 0.0),
        ("A" * 45 + "B" * 55, "A" * 35 + "B" * 10 + "A" * 25 + "B" * 30, 0.3137254901960784),
        ("AAAA", "AAAA", None),
        ("", "", None),
    ],
    ids=["same", "opposite", "by chance", "worked example", "one label", "nothing"],
)  # fmt: skip
def test_kappa_of_known_tables(first: str, second: str, kappa: float | None) -> None:
    assert cohen_kappa(first, second) == (kappa if kappa is None else pytest.approx(kappa))


def test_kappa_wants_the_same_items() -> None:
    with pytest.raises(ValueError, match="1 and 2 labels"):
        cohen_kappa("A", "AB")


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


ITEMS = st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.9, 0.99]) | st.floats(0, 1), st.booleans()), min_size=1)


@given(ITEMS, st.integers(1, 12))
def test_bins_hold_every_item_once_in_any_order(items: Sequence[tuple[float, bool]], bins: int) -> None:
    table = reliability([p for p, _ in items], [hit for _, hit in items], bins)
    assert sum(row.n for row in table) == len(items)
    assert len(table) <= bins
    assert sum(row.n * row.frequency for row in table) == pytest.approx(sum(hit for _, hit in items))
    backwards = reliability([p for p, _ in reversed(items)], [hit for _, hit in reversed(items)], bins)
    assert backwards == table


def test_bins_are_of_equal_mass_where_no_probabilities_are_equal() -> None:
    probabilities = [n / 1000 for n in range(1000)]
    assert [row.n for row in reliability(probabilities, [True] * 1000)] == [100] * 10


def test_calibration_error_of_known_figures() -> None:
    assert ece([0.8] * 10, [True] * 8 + [False] * 2) == pytest.approx(0)
    assert ece([0.99] * 10, [True] * 5 + [False] * 5) == pytest.approx(0.49)
    assert ece([0.0, 1.0], [True, False]) == 1
    with pytest.raises(ValueError, match="a mean of nothing"):
        ece([], [])


@pytest.mark.parametrize("n", [100, 1000])
def test_a_calibrated_judge_seldom_has_more_calibration_error_than_by_chance(n: int) -> None:
    """Nineteen times in twenty; and one that claims 15 points too much nearly always has."""
    draw = random.Random(0)
    sure = [draw.uniform(0.6, 0.95) for _ in range(n)]
    bound = ece_by_chance(sure)
    over = {0.0: 0, 0.15: 0}
    for excess in over:
        for _ in range(100):
            over[excess] += ece(sure, [draw.random() < p - excess for p in sure]) > bound
    assert over[0.0] <= 12
    assert over[0.15] >= (70 if n == 100 else 100)


def test_a_judge_that_knows_what_it_does_not_know_gains_by_abstaining() -> None:
    curve = risk_coverage([0.9, 0.9, 0.7, 0.5], [True, True, False, True])
    assert [(point.coverage, point.accuracy) for point in curve] == [
        (0.5, 1.0),
        (0.75, pytest.approx(2 / 3)),
        (1.0, 0.75),
    ]
    assert risk_coverage([], []) == []


def test_bins_after_a_tie_are_of_equal_mass_again() -> None:
    probabilities = [0.5] * 50 + [0.51 + n / 200 for n in range(50)]
    assert [row.n for row in reliability(probabilities, [True] * 100)] == [50, 10, 10, 10, 10, 10]
