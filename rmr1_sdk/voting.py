"""Readings become an outcome. Pure functions over verdicts in the caller's sides."""

from collections.abc import Sequence
from math import exp
from typing import NamedTuple

from rmr1_sdk.types import Judgment, Outcome, Shown, Usage, Verdict

__all__ = [
    "ChoiceProbability",
    "agreement",
    "choice_probability",
    "judgment",
    "majority",
    "position_consistent",
    "probability",
]

MIN_MASS = 0.1
"""Below this probability of A and B together a verdict's probability says nothing."""


class ChoiceProbability(NamedTuple):
    """The probability of the first of two choices given that it is one of them, and of both together."""

    first: float
    mass: float


def choice_probability(logprobs: Sequence[float]) -> ChoiceProbability:
    """Two log-probabilities of whole continuations as a probability of the first, and the mass seen.

    >>> choice_probability([-1.0, -1.0]).first
    0.5
    """
    first, second = logprobs
    top = max(first, second)
    if top == float("-inf"):
        return ChoiceProbability(0.5, 0.0)
    weights = exp(first - top), exp(second - top)  # from the larger one, so that neither underflows
    return ChoiceProbability(weights[0] / sum(weights), min(1.0, exp(first) + exp(second)))


def majority(verdicts: Sequence[Verdict]) -> Outcome | None:
    """The side most readable verdicts prefer, "tie" when they are even.

    Unreadable verdicts do not vote. None when nothing was readable.

    >>> majority([Verdict(winner="A"), Verdict(winner="A"), Verdict(winner="B"), Verdict(winner=None)])
    'A'
    """
    a, b = _count(verdicts)
    if a == b:
        return "tie" if a else None
    return "A" if a > b else "B"


def agreement(verdicts: Sequence[Verdict]) -> float | None:
    """The share of readable verdicts for the most voted side, 0.5 to 1. None when nothing was readable."""
    votes = _count(verdicts)
    return max(votes) / sum(votes) if any(votes) else None


def probability(verdicts: Sequence[Verdict]) -> float | None:
    """The probability of A: per order, then the mean over the orders that were read.

    Within an order it is the mean verdict probability where the engine gave one, else the smoothed
    share of votes (n_A + 0.5) / (n + 1). None when nothing was readable.
    """
    per_order = [p for shown in ("AB", "BA") if (p := _order_probability(_order(verdicts, shown))) is not None]
    return sum(per_order) / len(per_order) if per_order else None


def position_consistent(verdicts: Sequence[Verdict]) -> bool | None:
    """Whether both orders came to the same outcome. None unless both were read."""
    ab, ba = (majority(_order(verdicts, shown)) for shown in ("AB", "BA"))
    return None if ab is None or ba is None else ab == ba


def judgment(
    verdicts: Sequence[Verdict], *, pair_id: str | None, model: str, prompt: str, latency_s: float
) -> Judgment:
    """The outcome of all readings of a pair."""
    usage = Usage()
    for verdict in verdicts:
        usage = usage + verdict.usage
    return Judgment(
        winner=majority(verdicts),
        p_a=probability(verdicts),
        verdicts=tuple(verdicts),
        agreement=agreement(verdicts),
        position_consistent=position_consistent(verdicts),
        usage=usage,
        latency_s=latency_s,
        pair_id=pair_id,
        model=model,
        prompt=prompt,
    )


def _count(verdicts: Sequence[Verdict]) -> tuple[int, int]:
    winners = [verdict.winner for verdict in verdicts]
    return winners.count("A"), winners.count("B")


def _order(verdicts: Sequence[Verdict], shown: Shown) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.shown == shown]


def _order_probability(verdicts: Sequence[Verdict]) -> float | None:
    seen = [verdict.p_a for verdict in verdicts if verdict.is_readable and verdict.p_a is not None]
    if seen:
        return sum(seen) / len(seen)
    a, b = _count(verdicts)
    return (a + 0.5) / (a + b + 1) if a + b else None
