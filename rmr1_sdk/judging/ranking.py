"""Ranking: choose which pairs of n answers to compare, and turn the outcomes into an order. No I/O.

A schedule (`round_robin`, `knockout`, `swiss`, `anchor`) yields rounds of duels as pairs of positions, is
sent the probability that the first wins for each, None where a duel failed, and returns what was played. It
never asks for a duel twice. `Contest` puts answers into positions and makes a Ranking of the outcomes.
"""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import sqrt
from operator import mul
from typing import Literal, NamedTuple, TypedDict, get_args

from rmr1_sdk.errors import ConfigError, unknown
from rmr1_sdk.hashing import digest
from rmr1_sdk.judging.bradley_terry import Played, fit, win_probability
from rmr1_sdk.types import Comparison, ConversationLike, Judgment, Method, Pair, Ranking, Rubric

__all__ = ["Aggregate", "Contest", "ContestArgs", "RankArgs", "anchor", "cycles", "knockout", "round_robin", "swiss"]

Aggregate = Literal["bradley_terry", "win_rate"]
Duel = tuple[int, int]
Schedule = Generator[list[Duel], Sequence[float | None], list[Played]]

_DUELS_PER_ANSWER = 3
_DIGITS = 9  # beyond these, two scores differ by the order of summation alone


def round_robin(n: int) -> Schedule:
    """Everyone against everyone, in one round."""
    duels = list(combinations(range(n), 2))
    return _played(duels, (yield duels))


def anchor(n: int) -> Schedule:
    """Everyone against position n, in one round."""
    duels = [(i, n) for i in range(n)]
    return _played(duels, (yield duels))


def knockout(n: int) -> Schedule:
    """Single elimination, until one answer is left: n - 1 duels in about log2(n) rounds.

    The first round brings the number down to a power of two; who does not play in it, the first positions,
    has a bye. Of an exactly even duel the lower position goes on, as drawn. A duel that failed puts neither
    out: both go on and do not meet again, so failures cost duels, at most n - 1 of them; if they take more,
    several are left unbeaten.
    """
    left = list(range(n))
    played: list[Played] = []
    while duels := _bracket(left, played)[: 2 * (n - 1) - len(played)]:
        outcomes = yield duels
        played += _played(duels, outcomes)
        for (i, j), p in zip(duels, outcomes, strict=True):
            if p is not None:
                left.remove(j if p >= 0.5 else i)
    return played


def _bracket(left: Sequence[int], played: Sequence[Played]) -> list[Duel]:
    """Neighbours that have not met, from the last position up, as many as leave a power of two."""
    wanted = len(left) - 2 ** (len(left) - 1).bit_length() // 2
    met = {(i, j) for i, j, _ in played}
    free = list(left)
    duels: list[Duel] = []
    while free and len(duels) < wanted:
        last = free.pop()
        other = next((other for other in reversed(free) if (other, last) not in met), None)
        if other is not None:
            free.remove(other)
            duels.append((other, last))
    return duels


def swiss(n: int, budget: int) -> Schedule:
    """Rounds of duels between answers of about equal strength, until `budget` duels are asked or none is left.

    In a round everyone plays at most once: the two that are nearest in strength and have not met, then the
    nearest of the others, and so on; who has missed two rounds comes before all others. After each round
    strengths are fitted anew to all duels so far.
    """
    unplayed = set(combinations(range(n), 2))
    played: list[Played] = []
    rounds = 0
    while unplayed and len(played) < budget:
        count = Counter(position for i, j, _ in played for position in (i, j))
        behind = {position for position in range(n) if count[position] < rounds - 1}
        duels = _neighbours(unplayed, fit(n, played).strengths, behind)[: budget - len(played)]
        unplayed.difference_update(duels)
        played += _played(duels, (yield duels))
        rounds += 1
    return played


def _neighbours(unplayed: Iterable[Duel], strengths: Sequence[float], behind: AbstractSet[int]) -> list[Duel]:
    """Duels without a common answer, the closest first; of equally close ones that of the lower positions."""

    def place(duel: Duel) -> tuple[bool, float, Duel]:
        distance = abs(strengths[duel[0]] - strengths[duel[1]])
        return behind.isdisjoint(duel), round(distance, _DIGITS), duel

    taken: set[int] = set()
    duels: list[Duel] = []
    for duel in sorted(unplayed, key=place):
        if taken.isdisjoint(duel):
            taken.update(duel)
            duels.append(duel)
    return duels


def _played(duels: Sequence[Duel], outcomes: Sequence[float | None]) -> list[Played]:
    return [Played(i, j, p) for (i, j), p in zip(duels, outcomes, strict=True)]


def cycles(played: Sequence[Played]) -> list[tuple[int, ...]]:
    """Answers that beat each other in a circle: a shortest circle through every answer that is on one.

    A duel counts for the side it makes more probable; even and failed ones do not count. Each circle begins
    with its lowest index, and each answer beats the next; the shortest circles come first.
    """
    beaten: dict[int, list[int]] = {}
    for i, j, p in sorted(played):
        if p is not None and p != 0.5:
            winner, loser = (i, j) if p > 0.5 else (j, i)
            beaten.setdefault(winner, []).append(loser)
    found = {circle for start in beaten if (circle := _circle(start, beaten))}
    return sorted(found, key=lambda circle: (len(circle), circle))


def _circle(start: int, beaten: Mapping[int, Sequence[int]]) -> tuple[int, ...] | None:
    """The first circle through start that a breadth-first search comes to."""
    came_from: dict[int, int] = {}
    queue = deque([start])
    while queue:
        at = queue.popleft()
        for other in beaten.get(at, ()):
            if other == start:
                path = [at]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                low = path.index(min(path))
                return tuple(reversed(path[low + 1 :] + path[: low + 1]))
            if other not in came_from:
                came_from[other] = at
                queue.append(other)
    return None


class RankArgs(TypedDict, total=False):
    """Fields of Contest, for functions that take them as keyword arguments."""

    method: Method
    budget: int | None
    anchor: ConversationLike | None
    aggregate: Aggregate
    reference: str | None
    rubric: Rubric | str | None


class ContestArgs(RankArgs, total=False):
    """The same, with the seed."""

    seed: int


@dataclass(frozen=True)
class Contest:
    """A list of answers to a question, and how they are to be ranked.

    Identical answers are one participant. The others take their positions by a draw from `seed` and their
    content, and so do the sides of each duel: in what order the answers are listed changes nothing, and a
    duel is the same request in whichever list it occurs.

    Raises ConfigError for arguments that cannot be right.
    """

    question: ConversationLike
    """A question to which all are answers."""
    answers: Sequence[ConversationLike]
    """Two or more; with an anchor, one or more."""
    method: Method = "round_robin"
    """"round_robin" is every pair once; "knockout" finds the best in n - 1 duels; "swiss" pairs neighbours in strength;
    "anchor" compares each answer with `anchor` alone."""
    budget: int | None = None
    """Duels that "swiss" may ask for; None is three for each different answer."""
    anchor: ConversationLike | None = None
    """The answer that "anchor" compares the others with."""
    aggregate: Aggregate = "bradley_terry"
    """"bradley_terry" fits strengths to all duels; "win_rate" is the mean of an answer's own duels, after
    "round_robin" or "anchor"."""
    reference: str | None = None
    """A known good answer, shown to the judge in every duel."""
    rubric: Rubric | str | None = None
    """Criteria, shown to the judge in every duel."""
    seed: int = 0
    """Decides the positions of the answers and the sides of each duel."""

    def __post_init__(self) -> None:
        least = 2 if self.anchor is None else 1
        if isinstance(self.answers, str) or len(self.answers) < least:
            found = "one text" if isinstance(self.answers, str) else len(self.answers)
            raise ConfigError(f"a ranking takes a list of at least {least} answers, not {found}")
        _check("method", self.method, get_args(Method))
        _check("aggregate", self.aggregate, get_args(Aggregate))
        if (self.method == "anchor") != (self.anchor is not None):
            raise ConfigError("anchor= is the answer to compare the others with: it goes with method='anchor'")
        if self.budget is not None and self.method != "swiss":
            raise ConfigError(f"budget= goes with method='swiss'; {self.method!r} has its own number of duels")
        if self.budget is not None and self.budget < 1:
            raise ConfigError(f"budget must be more than 0, not {self.budget}")
        if self.aggregate == "win_rate" and self.method in ("knockout", "swiss"):
            raise ConfigError(f"win rates say little after {self.method!r}, where some meet stronger opponents")

    @property
    def duels(self) -> int:
        """Number of duels to play; more only where some of a knockout fail."""
        n = self._field.n
        everyone = n * (n - 1) // 2
        counts = {"knockout": max(0, n - 1), "swiss": min(self._budget, everyone), "anchor": n}
        return counts.get(self.method, everyone)

    def flow(self) -> Generator[list[Pair], Sequence[Judgment], Ranking]:
        """Yield rounds of pairs, be sent their judgments, return the ranking."""
        comparisons: list[Comparison] = []
        judgments: list[Judgment] = []
        schedule = self._schedule()
        outcomes: list[float | None] | None = None
        while True:
            try:
                duels = schedule.send(outcomes)  # type: ignore[arg-type]  # the first send is None
            except StopIteration:
                return self._ranking(comparisons, judgments)
            asked = [self._field.sides(*duel) for duel in duels]
            heard = (yield [self._pair(*sides) for sides in asked]) if asked else []
            outcomes = []
            for (i, _), (a, b), judgment in zip(duels, asked, heard, strict=True):
                p_a = judgment.p_a
                comparisons.append(Comparison(a=a, b=b, p_a=p_a))
                outcomes.append(p_a if p_a is None or a == self._field.seats[i] else 1 - p_a)
            judgments += heard

    @cached_property
    def _field(self) -> "_Field":
        listed = [*self.answers] if self.anchor is None else [*self.answers, self.anchor]
        said = [Pair(question=self.question, a=answer, b=answer).turns("A") for answer in listed]
        draws = [digest(self.seed, *(part for turn in turns for part in (turn.role, turn.content))) for turns in said]
        n = len(self.answers)
        first = {} if self.anchor is None else {said[n]: n}
        same = [first.setdefault(turns, index) for index, turns in enumerate(said[:n])]
        return _Field(self.seed, draws, same, sorted(set(first.values()), key=lambda index: (index == n, draws[index])))

    @property
    def _budget(self) -> int:
        return self.budget or _DUELS_PER_ANSWER * self._field.n

    def _schedule(self) -> Schedule:
        if self.method == "swiss":
            return swiss(self._field.n, self._budget)
        return {"round_robin": round_robin, "knockout": knockout, "anchor": anchor}[self.method](self._field.n)

    def _pair(self, a: int, b: int) -> Pair:
        listed = [*self.answers, self.anchor or ""]
        return Pair(
            question=self.question,
            a=listed[a],
            b=listed[b],
            id=f"{a}-{b}",
            reference=self.reference,
            rubric=self.rubric,
        )

    def _ranking(self, comparisons: Sequence[Comparison], judgments: Sequence[Judgment]) -> Ranking:
        played = [Played(duel.a, duel.b, duel.p_a) for duel in comparisons]
        score = {"bradley_terry": _fitted, "win_rate": _counted}[self.aggregate](len(self._field.draws), played)
        scores = [
            score(me, rivals) if rivals else None
            for me, rivals in zip(self._field.same, self._rivals(played), strict=True)
        ]
        rounded = {index: round(score.value, _DIGITS) for index, score in enumerate(scores) if score}
        ranks = {index: 1 + sum(other > value for other in rounded.values()) for index, value in rounded.items()}
        return Ranking(
            method=self.method,
            order=tuple(sorted(ranks, key=lambda index: (ranks[index], index))),
            ranks=tuple(map(ranks.get, range(len(scores)))),
            scores=tuple(score and score.value for score in scores),
            std_errors=tuple(score and score.std_error for score in scores),
            comparisons=tuple(comparisons),
            judgments=tuple(judgments),
            cycles=tuple(cycles(played)),
        )

    def _rivals(self, played: Sequence[Played]) -> list[Counter[int]]:
        """Whom each answer is measured against; nobody, where no duel of it was read.

        Identical answers stand under the first of them, and are measured against one another too.
        """
        same = self._field.same
        read = {index for i, j, p in played if p is not None for index in (i, j)}
        if self.method == "anchor":
            return [Counter([len(same)] if me in read or me == len(same) else []) for me in same]
        if len(self._field.seats) > 1:
            same = [me if me in read else -1 for me in same]
        return [Counter(other for other in same[:i] + same[i + 1 :] if other >= 0 <= me) for i, me in enumerate(same)]


@dataclass(frozen=True)
class _Field:
    """Answers that take part, by index in the list of answers with the anchor at its end.

    `draws` are everyone's lots, `same[i]` is the first that says what answer i says, and `seats[k]` has
    position k; the anchor's position is the last, and `n` leaves it out.
    """

    seed: int
    draws: list[int]
    same: list[int]
    seats: list[int]

    @property
    def n(self) -> int:
        """Number of different answers to rank."""
        return len(set(self.same) - {len(self.same)})

    def sides(self, i: int, j: int) -> tuple[int, int]:
        """The indices at two positions, in the order in which they are A and B."""
        one, other = sorted((self.seats[i], self.seats[j]), key=self.draws.__getitem__)
        lot = digest(self.seed, self.draws[one], self.draws[other])
        return (other, one) if lot % 2 else (one, other)


class _Score(NamedTuple):
    value: float
    std_error: float


_Scorer = Callable[[int, Counter[int]], _Score]


def _fitted(n: int, played: Sequence[Played]) -> _Scorer:
    """The mean probability to beat the rivals, by fitted strengths; its error by the delta method."""
    strengths, covariance = fit(n, played)

    def score(me: int, rivals: Counter[int]) -> _Score:
        value = 0.0
        slopes = [0.0] * n
        for rival, times in rivals.items():
            p = win_probability(strengths[me] - strengths[rival])
            share = times / rivals.total()
            value += share * p
            slopes[me] += share * p * (1 - p)
            slopes[rival] -= share * p * (1 - p)
        variance = sum(slope * sum(map(mul, slopes, row)) for slope, row in zip(slopes, covariance, strict=True))
        return _Score(value, sqrt(max(0.0, variance)))

    return score


def _counted(n: int, played: Sequence[Played]) -> _Scorer:
    """The mean outcome against the rivals that were met; its error that of so many coins.

    For the error half a win and half a loss are added, so that who won everything has one too.
    """
    outcomes = {(i, i): 0.5 for i in range(n)}
    for i, j, p in played:
        if p is not None:
            outcomes[i, j], outcomes[j, i] = p, 1 - p

    def score(me: int, rivals: Counter[int]) -> _Score:
        met = {rival: times for rival, times in rivals.items() if (me, rival) in outcomes}
        shares = {rival: times / sum(met.values()) for rival, times in met.items()}
        value = sum(share * outcomes[me, rival] for rival, share in shares.items())
        duels = len(shares.keys() - {me})
        p = (value * duels + 0.5) / (duels + 1)
        return _Score(value, sqrt(p * (1 - p) * sum(share**2 for rival, share in shares.items() if rival != me)))

    return score


def _check(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise unknown(name, value, allowed)
