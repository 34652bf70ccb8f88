"""How well rankings recover a known order: every method and budget over judges of known noise.

`python perf/ranking.py [SEEDS] [--plot FILE]` prints Kendall's tau between the scores and the true
strengths, and how often the best answer comes first, averaged over seeds (500). It fails where Swiss with
three duels an answer reaches less than 85% of round robin's tau at n = 16.

A judge has a strength for every answer, in logits: answer i is better than j with probability
1 / (1 + exp(s_j - s_i)). "Spread 2" is taken in two ways: strengths drawn from a normal distribution of
standard deviation 2, or evenly from an interval 2 wide. In the second, most duels are nearly coin flips: it
is the harder one, for every method. Outcomes are of two kinds: a "coin" says 0 or 1, 1 with that
probability, and a "soft" judge says the probability itself, with normal noise of 1 added to its logit. A
judge says the same whenever it is asked for the same duel, and the same to every method.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from math import erfc, sqrt
from multiprocessing import Pool
from pathlib import Path
from random import Random
from statistics import fmean, stdev
from typing import Any, NamedTuple

from rmr1_sdk.judging.bradley_terry import Fit, Played, fit, win_probability
from rmr1_sdk.judging.ranking import Contest
from rmr1_sdk.types import Judgment, Pair, Ranking

SIZES = (4, 8, 16, 32)
METHODS: dict[str, dict[str, Any]] = {
    "round robin": {"method": "round_robin"},
    "swiss n": {"method": "swiss", "budget": 1},
    "swiss 2n": {"method": "swiss", "budget": 2},
    "swiss 3n": {"method": "swiss", "budget": 3},
    "swiss 4n": {"method": "swiss", "budget": 4},
    "knockout": {"method": "knockout"},
    "anchor": {"method": "anchor", "anchor": "the anchor"},
}
MUST_REACH = 0.85

Outcome = Callable[[Random, float], float]


def coin(rng: Random, difference: float) -> float:
    return float(rng.random() < win_probability(difference))


def soft(rng: Random, difference: float) -> float:
    return win_probability(difference + rng.gauss(0, 1))


def normal(rng: Random, n: int) -> list[float]:
    return [rng.gauss(0, 2) for _ in range(n)]


def interval(rng: Random, n: int) -> list[float]:
    return [rng.uniform(-1, 1) for _ in range(n)]


class World(NamedTuple):
    """A kind of judge: how strengths and outcomes are drawn. The anchor's strength is 0, the middle."""

    name: str
    strengths: Callable[[Random, int], list[float]]
    outcome: Outcome


WORLDS = (
    World("standard deviation 2, coins", normal, coin),
    World("standard deviation 2, soft", normal, soft),
    World("interval 2 wide, coins", interval, coin),
    World("interval 2 wide, soft", interval, soft),
)


class Found(NamedTuple):
    """What one method made of one judge."""

    tau: float
    best_first: bool
    duels: int


def ranked(contest: Contest, outcome: Callable[[str, str], float]) -> Ranking:
    """The contest's ranking by a judge that is a function of two texts."""
    flow = contest.flow()
    try:
        pairs: list[Pair] = next(flow)
        while True:
            pairs = flow.send([Judgment(p_a=outcome(pair.text("A"), pair.text("B"))) for pair in pairs])
    except StopIteration as end:
        ranking: Ranking = end.value
        return ranking


def kendall_tau(scores: Sequence[float | None], strengths: Sequence[float]) -> float:
    """Pairs in the right order less pairs in the wrong one, over all pairs; equal scores are neither."""
    total = 0
    for i, j in combinations(range(len(scores)), 2):
        ahead = round((scores[i] or 0) - (scores[j] or 0), 9) * (strengths[i] - strengths[j])
        total += (ahead > 0) - (ahead < 0)
    return total / (len(scores) * (len(scores) - 1) / 2)


def one_judge(world: World, n: int, seed: int) -> dict[str, Found]:
    """Every method over one judge."""
    rng = Random(seed)
    strengths = world.strengths(rng, n)
    texts = [str(i) for i in range(n)]
    known = dict(zip([*texts, "the anchor"], [*strengths, 0.0], strict=True))
    said = {(a, b): world.outcome(rng, known[a] - known[b]) for a, b in combinations(known, 2)}

    def outcome(a: str, b: str) -> float:
        return said[a, b] if (a, b) in said else 1 - said[b, a]

    found = {}
    for name, how in METHODS.items():
        budget = {"budget": how["budget"] * n} if "budget" in how else {}
        ranking = ranked(Contest("Q", texts, seed=seed, **how | budget), outcome)
        best_first = strengths[ranking.order[0]] == max(strengths)
        found[name] = Found(kendall_tau(ranking.scores, strengths), best_first, len(ranking.comparisons))
    return found


Rule = Callable[[Random, Fit, int, int], float]


def at_random(rng: Random, found: Fit, i: int, j: int) -> float:
    return rng.random()


def distance(rng: Random, found: Fit, i: int, j: int) -> float:
    return abs(found.strengths[i] - found.strengths[j])


def information(rng: Random, found: Fit, i: int, j: int) -> float:
    """By how much a duel is expected to narrow the two strengths' difference (D-optimal design)."""
    p = win_probability(found.strengths[i] - found.strengths[j])
    return -p * (1 - p) * found.variance(i, j)


def wrong_order(rng: Random, found: Fit, i: int, j: int) -> float:
    """The probability that the two stand in the wrong order."""
    return -erfc(abs(found.strengths[i] - found.strengths[j]) / sqrt(2 * found.variance(i, j)))


RULES: tuple[Rule, ...] = (at_random, distance, information, wrong_order)


def one_pairing(n: int, seed: int) -> list[float]:
    """Tau of Swiss rounds, 3n duels of coins, by each rule for whom to pair next: the lowest value first."""
    rng = Random(seed)
    strengths = normal(rng, n)
    said = {(i, j): coin(rng, strengths[i] - strengths[j]) for i, j in combinations(range(n), 2)}
    taus = []
    for rule in RULES:
        played: list[Played] = []
        open_duels = set(said)
        while open_duels and len(played) < 3 * n:
            found = fit(n, played)
            values = {duel: (rule(rng, found, *duel), duel) for duel in sorted(open_duels)}
            busy: set[int] = set()
            for i, j in sorted(open_duels, key=values.__getitem__):
                if busy.isdisjoint((i, j)) and len(played) < 3 * n:
                    busy |= {i, j}
                    open_duels.remove((i, j))
                    played.append(Played(i, j, said[i, j]))
        taus.append(kendall_tau(fit(n, played).strengths, strengths))
    return taus


def ratio(some: Sequence[float], whole: Sequence[float]) -> tuple[float, float]:
    """A ratio of two means over the same judges, and half its 95% interval."""
    value = fmean(some) / fmean(whole)
    rest = [a - value * b for a, b in zip(some, whole, strict=True)]
    return value, 1.96 * stdev(rest) / fmean(whole) / sqrt(len(rest))


def show(world: World, n: int, found: list[dict[str, Found]]) -> None:
    whole = [one["round robin"].tau for one in found]
    for name in METHODS:
        mine = [one[name] for one in found]
        share, half = ratio([one.tau for one in mine], whole)
        best = fmean(one.best_first for one in mine)
        tau = fmean(one.tau for one in mine)
        print(f"{n:>3} {name:<12}{mine[0].duels:>6}{tau:>8.3f}{share:>9.1%} ± {half:.1%}{best:>12.1%}", flush=True)


def plot(path: Path, results: dict[tuple[str, int], list[dict[str, Found]]]) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "the same file every time", "svg.fonttype": "none"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
    marks = {"round robin": "*", "knockout": "^", "anchor": "s"}
    for panel, world in zip(axes, WORLDS[:2], strict=True):
        for colour, n in zip(("#1b6ca8", "#c2571a", "#3a7d44", "#7b4fa3"), SIZES, strict=True):
            found = results[world.name, n]
            points = {name: (found[0][name].duels, fmean(one[name].tau for one in found)) for name in METHODS}
            swiss = [points[name] for name in METHODS if name.startswith("swiss")]
            panel.plot(*zip(*swiss, strict=True), "o-", color=colour, markersize=4, label=f"{n} answers")
            for name, mark in marks.items():
                panel.plot(*points[name], mark, color=colour, markersize=10 if mark == "*" else 6)
        panel.set(title=world.name, xlabel="duels", xscale="log", ylim=(0, 1))
        panel.set_xticks([4, 8, 16, 32, 64, 128, 256, 496], [4, 8, 16, 32, 64, 128, 256, 496], minor=False)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    for name, mark in {"swiss, n to 4n duels": "o-", **marks}.items():
        axes[1].plot([], [], mark, color="#555", markersize=10 if mark == "*" else 5, label=name)
    axes[0].set_ylabel("Kendall's tau with the true order")
    axes[1].legend(fontsize="small", ncols=2, loc="lower right")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("seeds", type=int, nargs="?", default=500)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    results = {}
    with Pool(os.cpu_count()) as pool:
        for world in WORLDS:
            print(f"\n{world.name}, {options.seeds} judges")
            print(f"{'n':>3} {'method':<12}{'duels':>6}{'tau':>8}{'of round robin':>16}{'best first':>12}")
            for n in SIZES:
                found = pool.map(partial(one_judge, world, n), range(options.seeds), chunksize=5)
                results[world.name, n] = found
                show(world, n, found)
        print("\nwhom Swiss could pair, n = 16, standard deviation 2, coins: tau and 95% interval")
        taus = pool.map(partial(one_pairing, 16), range(options.seeds), chunksize=5)
        for rule, mine in zip(RULES, zip(*taus, strict=True), strict=True):
            print(f"{rule.__name__:<12}{fmean(mine):>6.3f} ± {1.96 * stdev(mine) / sqrt(len(mine)):.3f}")
    if options.plot:
        plot(options.plot, results)
    for world in WORLDS:
        found = results[world.name, 16]
        share, half = ratio([one["swiss 3n"].tau for one in found], [one["round robin"].tau for one in found])
        print(f"swiss 3n at n = 16, {world.name}: {share:.1%} ± {half:.1%} of round robin's tau")
        if world is WORLDS[0] and share < MUST_REACH:
            raise SystemExit(f"less than {MUST_REACH:.0%}")


if __name__ == "__main__":
    main()
