"""Voting: the outcome of several verdicts, and the probability that more votes change it. Pure functions."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from math import comb, exp
from typing import NamedTuple

from rmr1_sdk.types import Judgment, Outcome, Shown, Usage, Verdict

__all__ = [
    "Choices", "Tally", "agreed", "agreement", "change_probability", "choices", "judgment", "majority",
    "position_consistent", "position_effect", "probability", "tallies",
]  # fmt: skip

MIN_MASS = 0.1
"""Below this probability of A and B together a verdict's probability says nothing."""
BY_POSITION = 0.1
"""The share of pairs, before any vote, that are taken to be judged by position alone.

GPT-4's two orders disagree on 7% of LLMBar's pairs, o1-mini's on 31% of JudgeBench's: most such pairs are close ones,
not judged by position alone. A smaller share asks more; a larger one believes ties that may not last.
"""


class Choices(NamedTuple):
    """The probability of each choice given that it is one of them, and of all together."""

    probabilities: tuple[float, ...]
    mass: float


def choices(logprobs: Sequence[float]) -> Choices:
    """Log-probabilities of whole continuations as probabilities, and the mass seen.

    >>> choices([-1.0, -1.0]).probabilities
    (0.5, 0.5)
    """
    top = max(logprobs)
    if top == float("-inf"):
        return Choices((1 / len(logprobs),) * len(logprobs), 0.0)
    weights = [exp(logprob - top) for logprob in logprobs]  # from the largest one, so that they do not underflow
    return Choices(tuple(weight / sum(weights) for weight in weights), min(1.0, sum(map(exp, logprobs))))


def majority(verdicts: Sequence[Verdict]) -> Outcome | None:
    """The side that more verdicts prefer, "tie" when both have as many: JudgeBench's rule for two orders.

    A tie counts for neither side, and unreadable verdicts do not vote. None when nothing was readable.

    >>> majority([Verdict(winner="A"), Verdict(winner="A"), Verdict(winner="B"), Verdict(winner=None)])
    'A'
    """
    a, b, tie = _count(verdicts)
    return _outcome(a - b) if a or b or tie else None


def agreed(verdicts: Sequence[Verdict]) -> Outcome | None:
    """The outcome of both orders where they agree, else "tie": MT-bench's rule (Zheng et al. 2023, arXiv 2306.05685).

    None where an order was not read.
    """
    ab, ba = (majority(_order(verdicts, shown)) for shown in ("AB", "BA"))
    return None if ab is None or ba is None else ab if ab == ba else "tie"


def agreement(verdicts: Sequence[Verdict]) -> float | None:
    """The share of readable verdicts for the commonest of A, B and tie. None when nothing was readable."""
    votes = _count(verdicts)
    return max(votes) / sum(votes) if any(votes) else None


def probability(verdicts: Sequence[Verdict]) -> float | None:
    """The probability of A: per order, then the mean over the orders that were read.

    Within an order it is the mean verdict probability where the backend gave one, else the smoothed
    share of votes (n_A + 0.5) / (n + 1). A tie is half a vote for each side. None when nothing was readable.
    """
    per_order = [p for shown in ("AB", "BA") if (p := _order_probability(_order(verdicts, shown))) is not None]
    return sum(per_order) / len(per_order) if per_order else None


def position_consistent(verdicts: Sequence[Verdict]) -> bool | None:
    """True where both orders have the same outcome. None unless both were read."""
    ab, ba = (majority(_order(verdicts, shown)) for shown in ("AB", "BA"))
    return None if ab is None or ba is None else ab == ba


def position_effect(verdicts: Sequence[Verdict]) -> float | None:
    """By how much being shown first raises an answer's probability: half of p_a in AB minus p_a in BA.

    From -0.5 to 0.5; above 0 the judge favours what it is shown first. None unless both orders were read.
    """
    ab, ba = (_order_probability(_order(verdicts, shown)) for shown in ("AB", "BA"))
    return None if ab is None or ba is None else (ab - ba) / 2


class Tally(NamedTuple):
    """The votes of one order for each of the caller's sides and for a tie, and the unreadable samples."""

    a: int
    b: int
    unreadable: int = 0
    tie: int = 0


def tallies(verdicts: Sequence[Verdict], orders: Sequence[Shown]) -> tuple[Tally, ...]:
    """The votes of each of these orders."""
    tallies = []
    for shown in orders:
        of_order = _order(verdicts, shown)
        a, b, tie = _count(of_order)
        tallies.append(Tally(a, b, len(of_order) - a - b - tie, tie))
    return tuple(tallies)


@lru_cache(maxsize=65_536)
def change_probability(votes: tuple[Tally, ...], remaining: int) -> float:
    """The probability that `remaining` more readings in each order make another outcome of these votes.

    `votes` has a tally for each order that is asked, AB's first. 1 while there is no vote at all, exactly 0
    where no votes can change the outcome.

    Adaptive-consistency (Aggarwal et al. 2023, arXiv 2305.11860) stops sampling by a Beta posterior over
    the true majority. Here the number of votes is bounded, and the outcome that counts is theirs; so what is
    asked is the posterior probability that the rest of them turn it. A priori each order has a rate of
    votes for A of its own, and all rates are equally likely (Beta(1, 1)): in each order the rest is then
    Beta-binomial. With both orders there is one more possibility, of prior probability BY_POSITION: the judge
    always takes what is shown first, or always what is shown second. Without it, two unanimous orders that
    contradict each other would never be believed to stay a tie. It is not considered once a reading was
    unreadable: then even such a judge does not end in a tie. The remaining readings are taken to be readable.

    Once a vote is a tie, votes have three outcomes with rates of their own (Dirichlet(1, 1, 1)), and in place of a
    judge of positions, a judge that always says tie has the prior probability BY_POSITION.

    Over pairs that are so, stopping at a probability of at most r makes another outcome than all readings on
    at most a share r of them, whenever it is looked at.

    >>> round(change_probability((Tally(2, 0), Tally(2, 0)), 14), 3)
    0.04
    """
    if not any(tally.a or tally.b or tally.tie for tally in votes):
        return 1.0 if remaining else 0.0
    ties = any(tally.tie for tally in votes)
    lead = sum(tally.a - tally.b for tally in votes)
    ways = Counter({lead: 1})  # whole numbers: nothing is rounded before the last line
    total = 1
    for tally in votes:
        spread: Counter[int] = Counter()
        for move, weight in _moves(tally, remaining, ties=ties).items():
            for before, way in ways.items():
                spread[before + move] += way * weight
        ways = spread
        total *= comb(tally.a + tally.b + tally.tie + remaining + 1 + ties, remaining)
    changed = sum(way for after, way in ways.items() if _outcome(after) != _outcome(lead))
    return changed / total * (1 - (_always_tie(votes) if ties else _by_position(votes)))


def _moves(tally: Tally, remaining: int, *, ties: bool) -> Counter[int]:
    """The ways in which further votes of an order move the lead of A: Polya's urn."""
    moves: Counter[int] = Counter()
    for tie in range(remaining + 1 if ties else 1):
        for a in range(remaining - tie + 1):
            b = remaining - tie - a
            moves[a - b] += comb(tally.a + a, a) * comb(tally.b + b, b) * comb(tally.tie + tie, tie)
    return moves


def _always_tie(votes: tuple[Tally, ...]) -> float:
    """The posterior probability that the judge says tie whatever it is shown."""
    if any(tally.a or tally.b for tally in votes):
        return 0.0
    other = 1 - BY_POSITION
    for tally in votes:
        other /= comb(tally.tie + 2, 2)  # how probable so many ties are where all rates are equally likely
    return BY_POSITION / (BY_POSITION + other)


def _by_position(votes: tuple[Tally, ...]) -> float:
    """The posterior probability that the judge goes by position alone; its further votes then change nothing."""
    if len(votes) != 2 or any(tally.unreadable for tally in votes):
        return 0.0
    ab, ba = votes
    fits = (ab.b == 0 and ba.a == 0) + (ab.a == 0 and ba.b == 0)  # always the first shown, always the second
    # how probable unanimous votes are where all rates are equally likely
    other = (1 - BY_POSITION) / ((ab.a + ab.b + 1) * (ba.a + ba.b + 1))
    return fits * BY_POSITION / 2 / (fits * BY_POSITION / 2 + other)


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
        position_effect=position_effect(verdicts),
        usage=usage,
        latency_s=latency_s,
        pair_id=pair_id,
        model=model,
        prompt=prompt,
    )


def _outcome(lead: int) -> Outcome:
    """The outcome of votes for A minus votes for B."""
    if lead == 0:
        return "tie"
    return "A" if lead > 0 else "B"


def _count(verdicts: Sequence[Verdict]) -> tuple[int, int, int]:
    winners = [verdict.winner for verdict in verdicts]
    return winners.count("A"), winners.count("B"), winners.count("tie")


def _order(verdicts: Sequence[Verdict], shown: Shown) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.shown == shown]


def _order_probability(verdicts: Sequence[Verdict]) -> float | None:
    a, b, tie = _count(verdicts)
    seen = [verdict.p_a for verdict in verdicts if verdict.is_readable and verdict.p_a is not None]
    if seen:
        ties = sum(verdict.winner == "tie" and verdict.p_a is None for verdict in verdicts)
        return (sum(seen) + ties / 2) / (len(seen) + ties)
    return (a + tie / 2 + 0.5) / (a + b + tie + 1) if a + b + tie else None
