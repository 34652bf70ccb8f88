"""RM-Bench (Liu et al. 2024, arXiv 2410.16184): 1,327 prompts with three chosen and three rejected answers each."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal

from rmr1_sdk.benchmarks.benchmark import Entry, Profile, Protocol
from rmr1_sdk.benchmarks.figures import Graded, Item, Leaf, Mean, Node, Worth, cluster
from rmr1_sdk.benchmarks.rows import Hub, Raw, Row
from rmr1_sdk.benchmarks.sides import chosen_is_b, placed
from rmr1_sdk.types import Pair

__all__ = ["DOMAINS", "ENTRY", "LEVELS"]

DOMAINS = ("chat", "math", "code", "safety")
STYLES = 3
"""Answers are concise, detailed, and detailed with Markdown, in this order."""

Cells = dict[tuple[int, int], int]
"""Weight of the cell of a chosen and a rejected style."""
LEVELS: dict[Profile, dict[str, Cells]] = {
    "official": {
        "hard": {(0, 1): 1, (0, 2): 1, (1, 2): 1},
        "normal": {(0, 0): 1, (1, 1): 1, (2, 2): 1},
        "easy": {(1, 0): 1, (2, 0): 1, (2, 1): 1},
    },
    # RM-R1's aggregation reads its third file in place of the second: cells (0,1), (1,2) and (2,0) get what
    # (0,2), (1,0) and (2,1) got, so a cell of easy stands in hard
    "rmr1_compat": {
        "hard": {(0, 2): 2, (1, 0): 1},
        "normal": {(0, 0): 1, (1, 1): 1, (2, 2): 1},
        "easy": {(1, 0): 1, (2, 1): 2},
    },
}
"""The chosen answer is plainer in hard, of one style in normal, and fancier in easy."""


class _Row(Row):
    id: int | str
    prompt: str
    chosen: tuple[str, str, str]
    rejected: tuple[str, str, str]
    domain: Literal["chat", "code", "math", "safety-refuse", "safety-response"]


def _pairs(rows: Iterable[Raw]) -> Iterator[Pair]:
    """Nine pairs a prompt.

    RM-R1 judges three files, each in a process of its own, and in each first all prompts' concise chosen answers, then
    the detailed ones, then those with Markdown: so a side hangs on the prompt and the chosen style alone.
    """
    read = [raw.read(_Row) for raw in rows]
    sides = list(islice(chosen_is_b(), STYLES * len(read)))
    for place, row in enumerate(read):
        unit = f"{row.domain}/{row.id}"
        for i, chosen in enumerate(row.chosen):
            for j, rejected in enumerate(row.rejected):
                on_b = sides[i * len(read) + place]
                about = {"subset": row.domain, "unit": unit, "cell": [i, j]}
                yield placed(row.prompt, chosen, rejected, on_b=on_b, id=f"{unit}/{i}{j}", **about)


def _nodes(graded: Sequence[Graded], profile: Profile) -> list[Node]:
    levels = LEVELS[profile]
    leaves = {
        (domain, level): _leaf(domain, level, cells, graded) for domain in DOMAINS for level, cells in levels.items()
    }
    domains = [Mean(domain, tuple((1, leaves[domain, level]) for level in levels)) for domain in DOMAINS]
    by_level = [Mean(level, tuple((1, leaves[domain, level]) for domain in DOMAINS)) for level in levels]
    return [Mean("RM-Bench", tuple((1, domain) for domain in domains)), *domains, *by_level, *leaves.values()]


def _leaf(domain: str, level: str, cells: Cells, graded: Sequence[Graded]) -> Leaf:
    items = tuple(
        Item(cluster(one.pair), one.value, one.right, one.covered, weight)
        for one in graded
        if one.subset.startswith(domain) and (weight := cells.get((*one.pair.metadata["cell"],)))
    )
    return Leaf(f"{domain}, {level}", items, stratum=domain)


ENTRY = Entry(
    name="rm-bench",
    title="RM-Bench",
    source="https://github.com/THU-KEG/RM-Bench",
    make=_pairs,
    nodes=_nodes,
    official=Protocol(orders="random", worth=Worth(tie=0.0, unreadable=0.0)),
    files=("**/total_dataset.json", "**/*_filtered.json", "*.jsonl", "*.json", "**/*.parquet"),
    hub=Hub("THU-KEG/RM-Bench", ("train",)),
    counts={"chat": 129, "math": 529, "code": 228, "safety-refuse": 284, "safety-response": 157},
)
