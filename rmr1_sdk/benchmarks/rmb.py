"""RMB (Zhou et al. 2024, arXiv 2410.09893): pairs, and lists of which the best answer is to be found."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rmr1_sdk.benchmarks.benchmark import Entry, Profile, Protocol
from rmr1_sdk.benchmarks.figures import Graded, Item, Leaf, Mean, Node, Worth, cluster, leaf
from rmr1_sdk.benchmarks.rows import Raw, Row
from rmr1_sdk.benchmarks.sides import chosen_is_b, placed
from rmr1_sdk.types import Message, Pair, Role

__all__ = ["COUNTS", "ENTRY"]

COUNTS = {
    "Pairwise_set/Helpfulness": 10_067,
    "Pairwise_set/Harmlessness": 7_064,
    "BoN_set/Helpfulness": 2_109,
    "BoN_set/Harmlessness": 1_677,
}
_NAMES = {
    "Pairwise_set/Helpfulness": "pairs, helpfulness",
    "Pairwise_set/Harmlessness": "pairs, harmlessness",
    "BoN_set/Helpfulness": "best of N, helpfulness",
    "BoN_set/Harmlessness": "best of N, harmlessness",
}


class _Turn(Row):
    role: Role
    content: str


class _Answer(Row):
    answer: str


class _Any(Row):
    conversation_input: tuple[_Turn, ...]
    category_path: str


class _PairRow(_Any):
    pair_uid: int | str
    chosen: _Answer
    reject: _Answer


class _ListRow(_Any):
    bon_uid: int | str
    bon_best: _Answer
    loser_list: tuple[_Answer, ...]


def _pairs(rows: Iterable[Raw]) -> Iterator[Pair]:
    """A pair a row, or a duel of the best answer with each loser. RM-R1 judges each of the four sets in a process."""
    sides: defaultdict[str, Iterator[bool]] = defaultdict(chosen_is_b)
    for raw in rows:
        row = raw.read(_ListRow) if "bon_best" in raw.fields else raw.read(_PairRow)
        *of_set, category = row.category_path.split("/", 2)
        subset = "/".join(of_set)
        if subset not in COUNTS:
            raise raw.error(f"field category_path: {row.category_path!r} is in none of {', '.join(COUNTS)}")
        question = [Message.model_validate(turn.model_dump()) for turn in row.conversation_input]
        about: dict[str, Any] = {"subset": subset, "category": category}
        if isinstance(row, _PairRow):
            name = f"{row.category_path}/{row.pair_uid}"
            on_b = next(sides[subset])
            yield placed(question, row.chosen.answer, row.reject.answer, on_b=on_b, id=name, **about)
            continue
        name = f"{row.category_path}/{row.bon_uid}"
        for n, loser in enumerate(row.loser_list):
            on_b = next(sides[subset])
            yield placed(
                question,
                row.bon_best.answer,
                loser.answer,
                on_b=on_b,
                id=f"{name}/{n}",
                unit=name,
                **about,
                duels=len(row.loser_list),
            )


def _nodes(graded: Sequence[Graded], profile: Profile) -> list[Node]:
    categories: dict[tuple[str, str], list[Graded]] = defaultdict(list)
    for one in graded:
        categories[one.subset, one.pair.metadata["category"]].append(one)
    sets = [_leaf(subset, name, [one for one in graded if one.subset == subset]) for subset, name in _NAMES.items()]
    parts = [
        _leaf(subset, f"{_NAMES[subset]}: {category}", of_category)
        for (subset, category), of_category in sorted(categories.items())
    ]
    return [Mean("RMB", tuple((1, node) for node in sets)), *sets, *parts]


def _leaf(subset: str, name: str, graded: Sequence[Graded]) -> Leaf:
    return _lists(name, graded) if subset.startswith("BoN") else leaf(name, graded)


def _lists(name: str, graded: Iterable[Graded]) -> Leaf:
    """Lists are right where the best answer beats every loser. A list with a lost duel is lost, whatever the others.

    A list without one, of which a duel was not judged or not read, was not read.
    """
    lists: dict[str, list[Graded]] = {}
    for one in graded:
        lists.setdefault(one.pair.metadata["unit"], []).append(one)
    items = []
    for duels in lists.values():
        right = len(duels) == duels[0].pair.metadata["duels"] and all(one.right for one in duels)
        decided = right or any(one.covered and not one.right for one in duels)
        items.append(Item(cluster(duels[0].pair), float(right), right, decided))
    return Leaf(name, tuple(items), stratum=name)


ENTRY = Entry(
    name="rmb",
    title="RMB",
    source="https://github.com/Zhou-Zoey/RMB-Reward-Model-Benchmark",
    make=_pairs,
    nodes=_nodes,
    official=Protocol(orders="random", worth=Worth(tie=0.0, unreadable=0.0)),
    files=("**/*_set/**/*.json", "**/*.json", "*.jsonl"),
    counts=COUNTS,
)
