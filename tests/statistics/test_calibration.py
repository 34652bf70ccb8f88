import random
from collections.abc import Sequence
from math import exp, log
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmr1_sdk import Calibration, ConfigError, DataError, Judgment, Verdict
from rmr1_sdk.statistics.calibration import CLIP, MIN_PAIRS
from rmr1_sdk.statistics.intervals import log_loss
from rmr1_sdk.types import OTHER, Outcome, Side

METHODS: tuple[Literal["temperature", "platt"], ...] = ("temperature", "platt")
Labelled = tuple[list[Judgment], list[Outcome | None]]


def judged(p_a: float | None, **more: Any) -> Judgment:
    winner: Side | None = None if p_a is None else ("A" if p_a > 0.5 else "B")
    fields = {"model": "m", "prompt": "cor", "verdicts": (Verdict(winner=winner),)} | more
    return Judgment(p_a=p_a, winner=winner, **fields)


def logistic(z: float) -> float:
    return 1 / (1 + exp(-z))


def judge(pairs: int, *, sure: float = 3.0, lean: float = 0.0, seed: int = 0) -> Labelled:
    """A judge whose log-odds are `sure` times too large, and `lean` too far towards A before that."""
    draw = random.Random(seed)
    judgments, labels = [], []
    for _ in range(pairs):
        z = draw.gauss(0, 1.5)
        labels.append("A" if draw.random() < logistic(z) else "B")
        judgments.append(judged(logistic(sure * (z + lean))))
    return judgments, labels  # type: ignore[return-value]  # a list of what may be a label


def swapped(judgments: Sequence[Judgment], labels: Sequence[Outcome | None]) -> Labelled:
    turned = [judged(None if judgment.p_a is None else 1 - judgment.p_a) for judgment in judgments]
    return turned, [OTHER[label] if label in ("A", "B") else label for label in labels]


def test_a_judge_that_is_too_sure_becomes_less_so() -> None:
    judgments, labels = judge(4000, sure=3.0)
    calibration = Calibration.fit(judgments, labels)
    assert calibration.slope == pytest.approx(1 / 3, rel=0.1)
    assert (calibration.intercept, calibration.pairs, calibration.left_out) == (0.0, 4000, {})
    fresh, truth = judge(4000, sure=3.0, seed=1)
    happened = [label == "A" for label in truth]
    before = log_loss([judgment.p_a or 0.0 for judgment in fresh], happened)
    after = log_loss([calibration.apply(judgment).p_a or 0.0 for judgment in fresh], happened)
    assert after < before
    assert calibration.log_loss == pytest.approx(after, abs=0.03)
    assert calibration.log_loss_before == pytest.approx(before, abs=0.1)


def test_platt_takes_off_a_leaning_and_temperature_does_not() -> None:
    judgments, labels = judge(4000, sure=2.0, lean=0.8)
    platt = Calibration.fit(judgments, labels, method="platt")
    assert platt.slope == pytest.approx(0.5, rel=0.1)
    assert platt.intercept == pytest.approx(-0.8, abs=0.15)
    assert platt.log_loss < Calibration.fit(judgments, labels).log_loss


@pytest.mark.parametrize("method", METHODS)
def test_the_fit_is_the_least_loss_of_all(method: Literal["temperature", "platt"]) -> None:
    """Against an independent search: no point of a fine grid around the answer has less."""
    judgments, labels = judge(400, sure=2.5, lean=0.3)
    fitted = Calibration.fit(judgments, labels, method=method)
    better = sum(label == "A" for label in labels)
    target = {"A": (better + 1) / (better + 2), "B": 1 / (400 - better + 2)}

    def loss(slope: float, intercept: float) -> float:
        total = 0.0
        for judgment, label in zip(judgments, labels, strict=True):
            assert judgment.p_a is not None
            assert label is not None
            p = logistic(slope * log(judgment.p_a / (1 - judgment.p_a)) + intercept)
            total -= target[label] * log(p) + (1 - target[label]) * log(1 - p)
        return total

    least = loss(fitted.slope, fitted.intercept)
    steps = [0.0] if method == "temperature" else [-0.1, -1e-3, -1e-4, 0.0, 1e-4, 1e-3, 0.1]
    for slope in (-0.1, -1e-3, -1e-4, 0.0, 1e-4, 1e-3, 0.1):
        for intercept in steps:
            assert loss(fitted.slope + slope, fitted.intercept + intercept) >= least - 1e-9


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 10**6), lean=st.floats(-1, 1))
def test_exchanging_the_sides_of_all_pairs_mirrors_the_probabilities(
    method: Literal["temperature", "platt"], seed: int, lean: float
) -> None:
    judgments, labels = judge(MIN_PAIRS, sure=4.0, lean=lean, seed=seed)
    one = Calibration.fit(judgments, labels, method=method)
    other = Calibration.fit(*swapped(judgments, labels), method=method)
    assert other.slope == pytest.approx(one.slope)
    assert other.log_loss == pytest.approx(one.log_loss)
    for p in (0.0, 0.02, 0.3, 0.5, 0.9, 1.0):
        assert other.probability(1 - p) == pytest.approx(1 - one.probability(p))


def test_what_cannot_be_learned_from_is_left_out_and_counted() -> None:
    judgments, labels = judge(300)
    identical = judged(0.5, verdicts=())
    mixed = [*judgments, judged(0.9), judged(0.9), judged(None), identical]
    calibration = Calibration.fit(mixed, [*labels, "tie", None, "A", "A"])
    assert calibration.left_out == {"tie": 1, "no label": 1, "no probability": 2}
    assert (calibration.pairs, calibration.slope) == (300, Calibration.fit(judgments, labels).slope)


def test_a_judge_that_is_always_right_and_sure_has_a_finite_calibration() -> None:
    judgments = [judged(float(n % 2)) for n in range(400)]
    labels: list[Outcome | None] = ["A" if n % 2 else "B" for n in range(400)]
    judgments[0] = judged(1.0)  # wrong once, at a probability of 0
    calibration = Calibration.fit(judgments, labels)
    assert 0 < calibration.slope < 1
    assert calibration.probability(1.0) == calibration.probability(1 - CLIP) < 1 - CLIP


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("judgments", "labels", "message"),
    [
        (*judge(150), "150 pairs with a label and a probability; a calibration needs 200"),
        (judge(300)[0], ["A"] * 300, "all labels are of one side"),
        (judge(300)[0], ["A"] * 299, "300 judgments and 299 labels"),
        (*judge(300, sure=1.0, seed=1), "does not help here: log loss of held-out pairs 0.5\\d* without, 0.5"),
        (*judge(300, sure=-1.0), "the more often it is wrong"),
        ([judged(0.9), judged(0.9, model="n")], ["A", "B"], "these judgments are by m with cor, n with cor"),
        ([judged(0.9), judged(0.9, prompt="own")], ["A", "B"], "by m with cor, m with own"),
        ([], [], "0 pairs"),
    ],
    ids=["few", "one-sided", "lengths", "calibrated", "turned round", "models", "prompts", "none"],
)
def test_a_fit_that_would_not_help_is_refused(
    judgments: list[Judgment], labels: list[Outcome | None], message: str, method: Literal["temperature", "platt"]
) -> None:
    with pytest.raises(ConfigError, match=message):
        Calibration.fit(judgments, labels, method=method)


def test_a_method_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown method 'isotonic'; expected one of temperature, platt"):
        Calibration.fit(*judge(300), method="isotonic")  # type: ignore[arg-type]


def test_the_winner_stays_what_the_votes_say() -> None:
    calibration = Calibration(method="platt", model="m", prompt="cor", slope=0.5, intercept=-3.0)
    calibrated = calibration.apply(judged(0.8))
    assert calibrated.p_a == pytest.approx(logistic(0.5 * log(4) - 3))
    assert calibrated.winner == "A"
    assert calibrated.verdicts == judged(0.8).verdicts


def test_identical_answers_and_missing_probabilities_stay() -> None:
    calibration = Calibration(method="platt", model="m", prompt="cor", slope=0.5, intercept=-3.0)
    for judgment in (judged(None), judged(0.5, verdicts=())):
        assert calibration.apply(judgment) == judgment


@pytest.mark.parametrize("other", [{"model": "n"}, {"prompt": "reasoning"}], ids=str)
def test_it_is_for_one_model_and_one_prompt(other: dict[str, str]) -> None:
    calibration = Calibration(method="temperature", model="m", prompt="cor", slope=0.5)
    with pytest.raises(ConfigError, match="this calibration is for 'm' with prompt 'cor', not for"):
        calibration.apply(judged(0.8, **other))


def test_it_is_saved_with_what_it_belongs_to(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    calibration = Calibration.fit(*judge(300))
    calibration.save(path)
    assert Calibration.load(path) == calibration
    assert '"model": "m"' in path.read_text()
    with pytest.raises(ConfigError, match="No such file"):
        Calibration.load(tmp_path / "none.json")
    for text in ('{"model": "m"}', "not JSON", '{"method": "platt", "model": "m", "prompt": "cor", "slope": NaN}'):
        path.write_text(text)
        with pytest.raises(DataError, match=r"calibration.json: not a calibration"):
            Calibration.load(path)
