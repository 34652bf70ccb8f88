"""Votes that stop early against all of them: on simulated pairs, and on recorded votes of a real model.

`python perf/voting.py [PAIRS]` prints, for each number of votes and each risk, the share of readings that were
asked, the accuracy of both ways, and how often the outcome differs; then the same for `perf/votes.jsonl`.

`python perf/voting.py record autoj_pairwise.jsonl [VOTES [STORE]]` makes that file anew: 40 short pairs of Auto-J
(github.com/GAIR-NLP/auto-j; its labels are people's), VOTES readings per order, SmolLM2-135M. It keeps which
row was judged and what each reading said, and none of the texts. What the store holds is not asked again.

Simulated pairs have two rates of votes for the better side, one per order: what the pair deserves, plus and minus
the judge's taste for a position. 60% are easy (0.9 to 1), 25% hard (0.6 to 0.8), each with a taste of up to 0.2;
15% are coin flips, whose label is nobody's guess: a third fair, a third leaning to a position by 0.3, a third
judged by position alone.
"""

import json
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any, NamedTuple

from rmr1_sdk import Judge, Pair, Verdict
from rmr1_sdk.judging.voting import BY_POSITION, Tally, change_probability, majority, tallies
from rmr1_sdk.statistics.intervals import mcnemar, wilson
from rmr1_sdk.types import Outcome as Vote
from rmr1_sdk.types import Shown, Side

RECORDED = Path(__file__).with_name("votes.jsonl")
ORDERS: tuple[Shown, Shown] = ("AB", "BA")
RISKS = (0.01, 0.05, 0.1, 0.2)
Votes = Sequence[Sequence[Vote | None]]
"""What one order said, vote by vote, for both orders; None is unreadable."""
Settled = Callable[[tuple[Tally, ...], int], bool]


@dataclass(frozen=True)
class Case:
    """A pair with all its votes; `kind` says what was simulated."""

    votes: Votes
    label: Side
    kind: str = ""


class Outcome(NamedTuple):
    """What was decided, after how many readings."""

    winner: str | None
    readings: int


# --- pairs ------------------------------------------------------------------------------------------


def simulated(pairs: int, votes: int, seed: int = 0) -> list[Case]:
    draw = random.Random(seed)
    return [_case(kind, rates, votes, draw) for kind, rates in (_rates(draw) for _ in range(pairs))]


def _rates(draw: random.Random) -> tuple[str, tuple[float, float]]:
    kind = draw.choices(("easy", "hard", "coin flip"), (0.60, 0.25, 0.15))[0]
    if kind == "coin flip":
        deserved, taste = 0.5, draw.choice((0.0, 0.3, 0.5))
    else:
        deserved, taste = draw.uniform(*((0.9, 1.0) if kind == "easy" else (0.6, 0.8))), draw.uniform(0, 0.2)
    taste *= draw.choice((1, -1))
    return kind, (min(1.0, max(0.0, deserved + taste)), min(1.0, max(0.0, deserved - taste)))


def from_prior(pairs: int, votes: int, by_position: float, unreadable: float, seed: int = 0) -> list[Case]:
    """Pairs as the stopping rule takes them to be, but for the shares by position alone and of unreadable readings."""
    draw = random.Random(seed)
    cases = []
    for _ in range(pairs):
        rates = (draw.random(), draw.random())
        if draw.random() < by_position:
            rates = draw.choice(((1.0, 0.0), (0.0, 1.0)))
        cases.append(_case("prior", rates, votes, draw, unreadable))
    return cases


def _case(kind: str, rates: Iterable[float], votes: int, draw: random.Random, unreadable: float = 0.0) -> Case:
    def vote(rate: float) -> Side | None:
        if unreadable and draw.random() < unreadable:
            return None
        return "A" if draw.random() < rate else "B"

    return Case([[vote(rate) for _ in range(votes)] for rate in rates], "A", kind)


def with_ties(cases: Iterable[Case], share: float, seed: int = 0) -> list[Case]:
    """The same pairs, where this share of the votes are ties."""
    draw = random.Random(seed)
    return [
        Case([["tie" if draw.random() < share else vote for vote in order] for order in case.votes], case.label)
        for case in cases
    ]


def recorded() -> list[Case]:
    with RECORDED.open() as file:
        next(file)  # the first line says how they were made
        rows = [json.loads(line) for line in file]
    return [Case([[vote["winner"] for vote in row[order]] for order in ORDERS], row["label"]) for row in rows]


# --- ways to stop -----------------------------------------------------------------------------------


def stops_at(risk: float) -> Settled:
    return lambda votes, remaining: change_probability(votes, remaining) <= risk


def infinite_horizon(risk: float) -> Settled:
    """Adaptive-consistency's own rule over all votes: the true majority is the seen one, by a Beta posterior."""

    def settled(votes: tuple[Tally, ...], remaining: int) -> bool:
        a, b = sum(tally.a for tally in votes), sum(tally.b for tally in votes)
        fewer = sum(comb(a + b + 1, n) for n in range(max(a, b) + 1))
        return fewer / (1 << (a + b + 1)) >= 1 - risk

    return settled


def decide(votes: Votes, settled: Settled) -> Outcome:
    most = len(votes[0])
    verdicts: list[Verdict] = []
    for asked in range(1, most + 1):
        for shown, order in zip(ORDERS, votes, strict=True):
            verdicts.append(VERDICT[shown, order[asked - 1]])
        if asked == most or settled(tallies(verdicts, ORDERS), most - asked):
            break
    return Outcome(majority(verdicts), len(verdicts))


WINNERS: tuple[Vote | None, ...] = ("A", "B", "tie", None)
VERDICT = {(shown, winner): Verdict(winner=winner, shown=shown) for shown in ORDERS for winner in WINNERS}


# --- figures ----------------------------------------------------------------------------------------


def compare(cases: Sequence[Case], settled: Settled) -> str:
    """Share of the readings asked; accuracy; which accuracy all votes have; outcomes that differ."""
    early = [decide(case.votes, settled) for case in cases]
    all_votes = [decide(case.votes, lambda votes, remaining: False) for case in cases]
    calls = sum(one.readings for one in early) / sum(one.readings for one in all_votes)
    right = [one.winner == case.label for one, case in zip(early, cases, strict=True)]
    right_all = [one.winner == case.label for one, case in zip(all_votes, cases, strict=True)]
    gained = sum(now and not then for now, then in zip(right, right_all, strict=True))
    lost = sum(then and not now for now, then in zip(right, right_all, strict=True))
    differ = sum(one.winner != other.winner for one, other in zip(early, all_votes, strict=True))
    return (
        f"{calls:>6.1%}  {sum(right) / len(cases):>6.1%}  {wilson(sum(right_all), len(cases))!s:<21}  "
        f"{gained:>5} {lost:>5}  {mcnemar(gained, lost):>5.2f}  {wilson(differ, len(cases))}"
    )


HEADER = (
    f"{'':<34}{'asked':>6}  {'right':>6}  {'right with all votes':<21}  {'gained':>5} {'lost':>4}  {'p':>5}  "
    "outcome differs"
)


def simulate(pairs: int) -> None:
    for votes in (16, 8):
        cases = simulated(pairs, votes)
        print(f"\n{votes} votes per order, {pairs:,} simulated pairs\n{HEADER}")
        for risk in RISKS:
            print(f"{f'risk {risk}':<34}{compare(cases, stops_at(risk))}")
        print(f"{'adaptive-consistency, 0.95':<34}{compare(cases, infinite_horizon(0.05))}")
        for kind in ("easy", "hard", "coin flip"):
            some = [case for case in cases if case.kind == kind]
            print(f"{f'risk 0.05, {kind} ({len(some):,})':<34}{compare(some, stops_at(0.05))}")


def bound(pairs: int) -> None:
    """How often the outcome differs where pairs are as the rule takes them to be, and where they are not."""
    for by_position, unreadable in ((BY_POSITION, 0.0), (0.25, 0.0), (0.25, 0.05), (0.25, 0.3)):
        cases = from_prior(pairs, 16, by_position, unreadable)
        print(
            f"\n16 votes per order, {pairs:,} pairs: {by_position:.0%} by position alone, else all rates equally "
            f"likely; {unreadable:.0%} unreadable\n{HEADER}"
        )
        for risk in RISKS:
            print(f"{f'risk {risk}':<34}{compare(cases, stops_at(risk))}")
    for cases, name in (
        (with_ties(simulated(pairs, 16), 0.3), "simulated pairs"),
        (with_ties(from_prior(pairs, 16, BY_POSITION, 0.0), 0.3), "pairs with all rates equally likely"),
    ):
        print(f"\n16 votes per order, {pairs:,} {name}, 30% of the votes are ties\n{HEADER}")
        for risk in RISKS:
            print(f"{f'risk {risk}':<34}{compare(cases, stops_at(risk))}")
    print(
        f"\n16 votes per order, {pairs // 4:,} pairs of the same two rates (of votes for A in AB and in BA)\n{HEADER}"
    )
    for rates in ((0.6, 0.6), (0.7, 0.7), (0.8, 0.8), (0.9, 0.3), (0.95, 0.05)):
        draw = random.Random(0)
        cases = [_case("", rates, 16, draw) for _ in range(pairs // 4)]
        print(f"{f'risk 0.05, {rates}':<34}{compare(cases, stops_at(0.05))}")


def replay() -> None:
    cases = recorded()
    said = [(shown, vote) for case in cases for shown, order in zip(ORDERS, case.votes, strict=True) for vote in order]
    unreadable = sum(vote is None for _, vote in said)
    first = sum(vote == shown[0] for shown, vote in said)
    print(
        f"\n{len(cases)} recorded pairs, {len(cases[0].votes[0])} votes per order: {unreadable} of {len(said)} "
        f"readings unreadable, {first} of {len(said) - unreadable} votes for what is shown first\n{HEADER}"
    )
    for risk in RISKS:
        print(f"{f'risk {risk}':<34}{compare(cases, stops_at(risk))}")


# --- recording --------------------------------------------------------------------------------------


def short_pairs(path: Path, count: int = 40, characters: int = 600) -> Iterator[tuple[int, Pair]]:
    """The first labelled pairs whose question and answers together are this short, with their row from 0."""
    for row, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        pair = json.loads(line)
        texts = [pair[name] for name in ("prompt", "response 1", "response 2")]
        if count and pair["label"] in (0, 1) and sum(map(len, texts)) <= characters:
            count -= 1
            yield row, Pair(question=texts[0], a=texts[1], b=texts[2], label="AB"[pair["label"]])  # type: ignore[arg-type]


def record(path: str, votes: str = "16", store: str = "votes.store.db") -> None:
    pairs = list(short_pairs(Path(path)))
    with Judge("llama_cpp:smollm2-135m", votes=int(votes), sampling={"max_tokens": 96}, store=store) as judge:
        judgments = list(judge.compare_many([pair for _, pair in pairs], progress=True))
        made: dict[str, Any] = {
            "model": judge.backend.model,
            "identity": judge.backend.identity,
            "prompt_sha256": judge.prompt.digest,
            "sampling": judge.sampling.model_dump(),
            "votes": int(votes),
            "seed": 0,
        }
    with RECORDED.open("w") as file:
        file.write(json.dumps(made) + "\n")
        for (row, pair), judgment in zip(pairs, judgments, strict=True):
            said = {shown: [_said(v) for v in judgment.verdicts if v.shown == shown] for shown in ORDERS}
            file.write(json.dumps({"data": Path(path).stem, "row": row, "label": pair.label} | said) + "\n")


def _said(verdict: Verdict) -> dict[str, Any]:
    p_a = None if verdict.p_a is None else round(verdict.p_a, 4)
    failure = verdict.failure and verdict.failure.kind
    return {"winner": verdict.winner, "p_a": p_a, "forced": verdict.forced, "failure": failure}


def main(pairs: str = "10000") -> None:
    simulate(int(pairs))
    bound(int(pairs))
    if RECORDED.exists():
        replay()


if __name__ == "__main__":
    if sys.argv[1:2] == ["record"]:
        record(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
