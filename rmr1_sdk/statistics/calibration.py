"""Calibration: correct a judge's probabilities with labelled judgments.

After reasoning, a judge's probability at its verdict is nearly 0 or 1, whatever it knows. A calibration moves it
on the scale of log-odds: `log_odds(p) -> slope * log_odds(p) + intercept`.
"""

import random
from collections import Counter
from collections.abc import Sequence
from math import exp, log, log1p
from pathlib import Path
from typing import Literal, NamedTuple, Self, get_args

from pydantic import Field, ValidationError

from rmr1_sdk.errors import ConfigError, DataError, file_errors, unknown
from rmr1_sdk.files.cache import write_atomic
from rmr1_sdk.statistics.intervals import log_loss
from rmr1_sdk.types import Judgment, Outcome, Value

__all__ = ["CLIP", "FOLDS", "MIN_PAIRS", "Calibration", "Method"]

Method = Literal["temperature", "platt"]

CLIP = 1e-6
"""Probabilities nearer to 0 or 1 than this are taken to be this: neither has log-odds."""
MIN_PAIRS = 200
"""With fewer labelled judgments one or two parameters are not known well enough to be of use."""
FOLDS = 5
"""Each fifth of the pairs is predicted by a calibration that was fitted to the other four."""


class _Point(NamedTuple):
    """The log-odds of a judgment's p_a, and whether A is the better side."""

    x: float
    a_is_better: bool


class Calibration(Value):
    """A map from a judge's probabilities to calibrated ones, for one model and one prompt.

    "temperature" divides the log-odds by `1 / slope` and has no intercept: the sides are treated alike. "platt"
    (Platt 1999) adds an intercept: a leaning to A as the caller gave it, which is right where being A means
    something (orders="given", where it is the position; or A is always the same system), and is wrong where it
    does not. `pairs` were fitted to. `left_out` counts those that were not, as "tie", "no label" and "no
    probability". The log losses are in nats a pair, over the same pairs, each
    predicted by a fit that had not seen it.
    """

    method: Method
    model: str
    prompt: str
    slope: float = Field(allow_inf_nan=False)
    intercept: float = Field(default=0.0, allow_inf_nan=False)
    pairs: int = 0
    left_out: dict[str, int] = Field(default_factory=dict)
    log_loss_before: float = 0.0
    log_loss: float = 0.0

    @classmethod
    def fit(
        cls,
        judgments: Sequence[Judgment],
        labels: Sequence[Outcome | None],
        *,
        method: Method = "temperature",
        seed: int = 0,
    ) -> Self:
        """Learn from judgments of one model with one prompt, made in the way in which later ones will be.

        Labelled ties, pairs without a label and judgments without `p_a` are left out and counted. Whether it
        helps is seen by cross-validation in FOLDS parts, each with its share of both labels, drawn by `seed`.

        Raises ConfigError for fewer than MIN_PAIRS pairs, for judgments of several models or prompts, where all
        labels are of one side, where the log loss of held-out pairs does not improve, and where a calibration
        would turn the judge round.
        """
        if method not in get_args(Method):
            raise unknown("method", method, get_args(Method))
        model, prompt = _made_by(judgments)
        points, left_out = _points(judgments, labels)
        if len(points) < MIN_PAIRS:
            raise ConfigError(f"{len(points)} pairs with a label and a probability; a calibration needs {MIN_PAIRS}")
        if len({point.a_is_better for point in points}) == 1:
            raise ConfigError("all labels are of one side; a calibration needs both")
        before, after = _held_out(points, method, seed)
        if after >= before:
            raise ConfigError(
                f"a calibration does not help here: log loss of held-out pairs {before:.4f} without, {after:.4f} with"
            )
        slope, intercept = _newton(points, method)
        if slope <= 0:
            raise ConfigError("the more probable this judge finds a side, the more often it is wrong here")
        return cls(
            method=method,
            model=model,
            prompt=prompt,
            slope=slope,
            intercept=intercept,
            pairs=len(points),
            left_out=dict(left_out),
            log_loss_before=before,
            log_loss=after,
        )

    def apply(self, judgment: Judgment) -> Judgment:
        """The judgment with its `p_a` calibrated; the winner stays what the votes say.

        One without `p_a`, or of identical answers, comes back as it is. Raises ConfigError for a judgment by
        another model or prompt. Nothing in a judgment says that it is calibrated already: apply it once.
        """
        if (judgment.model, judgment.prompt) != (self.model, self.prompt):
            raise ConfigError(
                f"this calibration is for {self.model!r} with prompt {self.prompt!r}, "
                f"not for {judgment.model!r} with {judgment.prompt!r}"
            )
        if judgment.p_a is None or not judgment.verdicts:
            return judgment
        return judgment.model_copy(update={"p_a": self.probability(judgment.p_a)})

    def probability(self, p_a: float) -> float:
        """A probability of A, calibrated. It is clipped to CLIP from 0 and 1 first."""
        return _logistic(self.slope * _log_odds(p_a) + self.intercept)

    def save(self, path: str | Path) -> None:
        """Write it as JSON, with the model and prompt it belongs to. Raises ConfigError where that fails."""
        write_atomic(Path(path), self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote. Raises ConfigError when the file cannot be read, DataError when it is another."""
        with file_errors(path):
            content = Path(path).read_bytes()
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise DataError(f"not a calibration ({error})", path=Path(path)) from error


def _made_by(judgments: Sequence[Judgment]) -> tuple[str, str]:
    """The one model and prompt of these judgments."""
    made_by = sorted({(judgment.model, judgment.prompt) for judgment in judgments})
    if len(made_by) > 1:
        names = ", ".join(f"{model} with {prompt}" for model, prompt in made_by)
        raise ConfigError(f"a calibration is for one model and one prompt; these judgments are by {names}")
    return made_by[0] if made_by else ("", "")


def _points(judgments: Sequence[Judgment], labels: Sequence[Outcome | None]) -> tuple[list[_Point], Counter[str]]:
    if len(judgments) != len(labels):
        raise ConfigError(f"{len(judgments)} judgments and {len(labels)} labels; give a label, or None, for each")
    points = []
    left_out: Counter[str] = Counter()
    for judgment, label in zip(judgments, labels, strict=True):
        if judgment.p_a is None or not judgment.verdicts:
            left_out["no probability"] += 1
        elif label is None or label == "tie":
            left_out[label or "no label"] += 1
        else:
            points.append(_Point(_log_odds(judgment.p_a), label == "A"))
    return points, left_out


def _held_out(points: Sequence[_Point], method: Method, seed: int) -> tuple[float, float]:
    """The log loss of held-out pairs, without a calibration and with one."""
    folds: list[list[_Point]] = [[] for _ in range(FOLDS)]
    for side in (True, False):  # each with a generator of its own: exchanging the sides leaves the folds
        of_side = [point for point in points if point.a_is_better == side]
        random.Random(seed).shuffle(of_side)  # noqa: S311  # no secret
        for fold in range(FOLDS):
            folds[fold] += of_side[fold::FOLDS]
    raw: list[float] = []
    calibrated: list[float] = []
    for n, held_out in enumerate(folds):
        slope, intercept = _newton([point for fold in (*folds[:n], *folds[n + 1 :]) for point in fold], method)
        raw += [_logistic(point.x) for point in held_out]
        calibrated += [_logistic(slope * point.x + intercept) for point in held_out]
    happened = [point.a_is_better for fold in folds for point in fold]
    return log_loss(raw, happened), log_loss(calibrated, happened)


def _newton(points: Sequence[_Point], method: Method) -> tuple[float, float]:
    """The slope and intercept of the least log loss, by Newton's method.

    Labels are drawn in a little, as Platt does: to (n + 1) / (n + 2) where A is better, n being the pairs where it
    is, and likewise for B. So there is a finite answer for a judge that is always right, too.
    """
    better = sum(point.a_is_better for point in points)
    target = {True: (better + 1) / (better + 2), False: 1 / (len(points) - better + 2)}
    rows = [(point.x, target[point.a_is_better]) for point in points]
    slope = intercept = 0.0
    for _ in range(100):
        down, along = _step(rows, slope, intercept, method)
        loss = _loss(rows, slope, intercept)
        while _loss(rows, slope + down, intercept + along) > loss:  # far from the goal a whole step may overshoot
            down, along = down / 2, along / 2
        slope, intercept = slope + down, intercept + along
        if abs(down) + abs(along) < 1e-10:
            break
    return slope, intercept


def _step(rows: Sequence[tuple[float, float]], slope: float, intercept: float, method: Method) -> tuple[float, float]:
    """Newton's step for slope and intercept, the second 0 for "temperature"."""
    g_slope = g_intercept = h_both = 0.0
    h_slope = h_intercept = 1e-9  # enough to divide by, where all log-odds are alike
    for x, target in rows:
        p = _logistic(slope * x + intercept)
        g_slope += (p - target) * x
        g_intercept += p - target
        weight = p * (1 - p)
        h_slope += weight * x * x
        h_both += weight * x
        h_intercept += weight
    if method == "temperature":
        return -g_slope / h_slope, 0.0
    determinant = h_slope * h_intercept - h_both * h_both
    return (
        (h_both * g_intercept - h_intercept * g_slope) / determinant,
        (h_both * g_slope - h_slope * g_intercept) / determinant,
    )


def _loss(rows: Sequence[tuple[float, float]], slope: float, intercept: float) -> float:
    logits = ((slope * x + intercept, target) for x, target in rows)
    return sum(max(z, 0.0) + log1p(exp(-abs(z))) - target * z for z, target in logits)


def _log_odds(p: float) -> float:
    p = min(max(p, CLIP), 1 - CLIP)
    return log(p) - log1p(-p)


def _logistic(z: float) -> float:
    return 1 / (1 + exp(-z)) if z >= 0 else exp(z) / (1 + exp(z))
