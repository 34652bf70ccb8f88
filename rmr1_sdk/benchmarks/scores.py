"""Scores of a judge: figures, both orders, calibration, agreement with annotators, token budgets."""

from collections.abc import Sequence
from typing import NamedTuple, get_args

from rmr1_sdk.benchmarks.figures import Estimator, Figure, Graded, Rate, rate
from rmr1_sdk.errors import unknown
from rmr1_sdk.judging import voting
from rmr1_sdk.statistics.intervals import (
    Bin,
    CoveragePoint,
    Interval,
    cohen_kappa,
    ece,
    ece_by_chance,
    log_loss,
    reliability,
    risk_coverage,
)
from rmr1_sdk.types import Judgment, Outcome, Pair, Shown, Value

__all__ = [
    "Agreement", "BudgetPoint", "CalibrationFigures", "Comparison", "Difference", "Scores", "agreements",
    "budget_curve", "calibration", "confidences", "two_orders",
]  # fmt: skip

COVERAGES = (0.5, 0.8, 1.0)


class CalibrationFigures(Value):
    """Calibration of a judge, over the `n` pairs with a side as label and a probability.

    A probability is the backend's, a reward model's, or the share of several votes; one vote alone is none. What is
    scored is that of the side which the judge finds more probable, against whether that side is the label. `brier` and
    `log_loss` (in nats; None where it is infinite) are the same for `p_a` and label A. `ece` is over the bins of
    `reliability`, of equal mass; below `ece_by_chance` it may be chance. `risk_coverage` has the accuracy over the
    surest 50, 80 and 100% of the pairs; where many are equally sure, over a little more.
    """

    n: int
    brier: Rate
    log_loss: float | None
    ece: float
    ece_by_chance: float
    reliability: tuple[Bin, ...]
    risk_coverage: tuple[CoveragePoint, ...]


class Agreement(Value):
    """Agreement of two annotators over the `n` items that both labelled; a tie is a label of its own.

    `kappa` is Cohen's; None where chance alone agrees always. `without_ties` is over the items that both gave a side.
    """

    first: str
    second: str
    n: int
    agreement: Rate | None
    kappa: float | None
    without_ties: Rate | None


class BudgetPoint(Value):
    """Pairs read, and pairs right, if every reading had had to end within `tokens`."""

    tokens: int
    read: int
    right: int


class Scores(Value):
    """A judge on a benchmark, by one profile.

    `figures` begin with the one that the benchmark is known by. `judged` of its `pairs` had a judgment; `ties` and
    `unreadable` are counted among those. `position` holds how often the judge was right in the order given and in the
    other, right in both, how often the orders differ, and how often what is shown first is taken: over the pairs that
    were read so. `budget` is empty where nothing tells how many tokens a reading took. `notes` say what else to know
    before these figures are put beside others.
    """

    benchmark: str
    profile: str
    protocol: str
    model: str
    prompt: str
    pairs: int
    judged: int
    ties: int
    unreadable: int
    figures: tuple[Figure, ...]
    position: tuple[Rate, ...] = ()
    calibration: CalibrationFigures | None = None
    agreement: tuple[Agreement, ...] = ()
    budget: tuple[BudgetPoint, ...] = ()
    notes: tuple[str, ...] = ()

    def figure(self, name: str) -> Figure:
        """The figure of that name. Raises KeyError where there is none."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise KeyError(str(unknown("figure", name, [figure.name for figure in self.figures])))


class Difference(Value):
    """A figure of one judge less that of the other, with a paired bootstrap's 95% interval."""

    name: str
    first: float
    second: float
    difference: float
    low: float
    high: float

    @property
    def interval(self) -> Interval:
        """The difference with its bounds."""
        return Interval(self.difference, self.low, self.high)

    def __str__(self) -> str:
        return self.interval.text("change")


class Comparison(Value):
    """Two judges on the same `n` pairs. `only_first` and `only_second` got right what the other did not.

    `p` is McNemar's: how probable so lopsided a split is were the two equally good. It takes the pairs as independent.
    """

    first: str
    second: str
    n: int
    differences: tuple[Difference, ...]
    only_first: int
    only_second: int
    p: float


def two_orders(graded: Sequence[Graded], estimator: Estimator) -> tuple[Rate, ...]:
    """Accuracy in each order; empty where each pair was read in one order alone."""
    orders: tuple[Shown, ...] = get_args(Shown)
    both = [
        (one, tuple(voting.majority([v for v in one.judgment.verdicts if v.shown == shown]) for shown in orders))
        for one in graded
        if {verdict.shown for verdict in one.judgment.verdicts} == set(orders)
    ]
    firsts = [
        (one.pair, verdict.winner == verdict.shown[0])
        for one, _ in both
        for verdict in one.judgment.verdicts
        if verdict.winner in ("A", "B")
    ]
    flags = {
        "right in the order given": [(one.pair, ab == one.pair.label) for one, (ab, _) in both],
        "right in the other order": [(one.pair, ba == one.pair.label) for one, (_, ba) in both],
        "right in both": [(one.pair, ab == ba == one.pair.label) for one, (ab, ba) in both],
        "orders differ": [(one.pair, ab != ba) for one, (ab, ba) in both if ab and ba],
        "takes what is shown first": firsts,
    }
    return tuple(found for name, of_pairs in flags.items() if (found := rate(name, of_pairs, estimator)))


def calibration(graded: Sequence[Graded], estimator: Estimator) -> CalibrationFigures | None:
    """Calibration of the probabilities; None without any."""
    said = confidences(graded)
    brier = rate("Brier", [(pair, (sure - right) ** 2) for pair, sure, right in said], estimator)
    if brier is None:
        return None
    sure, right = [one.sure for one in said], [one.right for one in said]
    curve = risk_coverage(sure, right)
    loss = log_loss(sure, right)
    return CalibrationFigures(
        n=len(said),
        brier=brier,
        log_loss=None if loss == float("inf") else loss,
        ece=ece(sure, right),
        ece_by_chance=ece_by_chance(sure),
        reliability=tuple(reliability(sure, right)),
        risk_coverage=tuple(next(point for point in curve if point.coverage >= share) for share in COVERAGES),
    )


class Confidence(NamedTuple):
    """Probability of the side that a judge prefers, and whether that side is the label."""

    pair: Pair
    sure: float
    right: bool


def confidences(graded: Sequence[Graded]) -> list[Confidence]:
    """Those of the pairs with a side as label and a probability that tells something."""
    return [
        Confidence(one.pair, max(p, 1 - p), (p >= 0.5) == (one.pair.label == "A"))
        for one in graded
        if (p := one.judgment.p_a) is not None and _tells_probability(one) and one.pair.label in ("A", "B")
    ]


def _tells_probability(one: Graded) -> bool:
    """True where `p_a` is more than the smoothing of one vote in each order, or the 0.5 of identical answers."""
    verdicts = one.judgment.verdicts
    several = len(verdicts) > len(get_args(Shown)) or any(verdict.p_a is not None for verdict in verdicts)
    return several or not (verdicts or one.pair.is_identical)


def agreements(graded: Sequence[Graded], judge: str, estimator: Estimator) -> tuple[Agreement, ...]:
    """Every two annotators, and the judge with each and with the label; empty without annotators.

    A pair's metadata has them as {"annotators": {"name": label, ...}}.
    """
    said = [one for one in graded if "annotators" in one.pair.metadata]
    if not said:
        return ()
    names = list(dict.fromkeys(name for one in said for name in one.pair.metadata["annotators"]))
    labels: dict[str, list[Outcome | None]] = {
        name: [one.pair.metadata["annotators"].get(name) for one in said] for name in names
    }
    labels["majority"] = [one.pair.label for one in said]
    labels[judge] = [one.judgment.winner for one in said]
    two = [(one, other) for n, one in enumerate(names) for other in names[n + 1 :]]
    two += [(judge, name) for name in (*names, "majority")]
    pairs = [one.pair for one in said]
    return tuple(_agreement(one, other, pairs, (labels[one], labels[other]), estimator) for one, other in two)


def _agreement(
    first: str,
    second: str,
    pairs: Sequence[Pair],
    labels: tuple[Sequence[Outcome | None], Sequence[Outcome | None]],
    estimator: Estimator,
) -> Agreement:
    both = [(pair, one, other) for pair, one, other in zip(pairs, *labels, strict=True) if one and other]
    sides = [(pair, one == other) for pair, one, other in both if "tie" not in (one, other)]
    return Agreement(
        first=first,
        second=second,
        n=len(both),
        agreement=rate("agreement", [(pair, one == other) for pair, one, other in both], estimator),
        kappa=cohen_kappa([one for _, one, _ in both], [other for _, _, other in both]),
        without_ties=rate("agreement without ties", sides, estimator),
    )


def budget_curve(graded: Sequence[Graded]) -> tuple[BudgetPoint, ...]:
    """Accuracy against the tokens that a reading may write, by powers of two, up to what the longest took.

    A reading that took more would have been cut before its verdict. That holds for verdicts that came by
    themselves at temperature 0; forced ones are taken to need what was written until then.
    """
    longest = max((v.usage.completion_tokens for one in graded for v in one.judgment.verdicts), default=0)
    budgets = [2**power for power in range(4, longest.bit_length() + 1)] if longest else []
    return tuple(_at_budget(graded, tokens) for tokens in budgets if tokens < 2 * longest)


def _at_budget(graded: Sequence[Graded], tokens: int) -> BudgetPoint:
    outcomes = [(one.pair.label, _within(one.judgment, tokens)) for one in graded]
    read = [(label, winner) for label, winner in outcomes if winner is not None]
    return BudgetPoint(tokens=tokens, read=len(read), right=sum(label == winner for label, winner in read))


def _within(judgment: Judgment, tokens: int) -> Outcome | None:
    """The outcome of the readings that took no more than this. Identical answers need none."""
    if not judgment.verdicts:
        return judgment.winner
    return voting.majority([v for v in judgment.verdicts if v.usage.completion_tokens <= tokens])
