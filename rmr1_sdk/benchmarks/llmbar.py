"""LLMBar (Zeng et al. 2023, arXiv 2310.07641): which answer follows the instruction, against appearances."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from rmr1_sdk.benchmarks.benchmark import Entry, Profile, Protocol
from rmr1_sdk.benchmarks.figures import Graded, Mean, Node, Worth, leaf
from rmr1_sdk.benchmarks.rows import Raw, Row
from rmr1_sdk.types import Pair

__all__ = ["ENTRY"]

COUNTS = {"Natural": 100, "Neighbor": 134, "GPTInst": 92, "GPTOut": 47, "Manual": 46}


class _Row(Row):
    input: str
    output_1: str
    output_2: str
    label: Literal[1, 2]


def _pairs(rows: Iterable[Raw]) -> Iterator[Pair]:
    """The subset is the name of the folder that a file lies in."""
    for raw in rows:
        row = raw.read(_Row)
        subset = raw.path.parent.name
        yield Pair(
            question=row.input,
            a=row.output_1,
            b=row.output_2,
            id=f"{subset}/{raw.number}",
            label="A" if row.label == 1 else "B",
            metadata={"subset": subset},
        )


def _nodes(graded: Sequence[Graded], profile: Profile) -> list[Node]:
    leaves = {subset: leaf(subset, [one for one in graded if one.subset == subset]) for subset in COUNTS}
    adversarial = Mean("Adversarial", tuple((1, part) for subset, part in leaves.items() if subset != "Natural"))
    return [leaf("all pairs", graded), leaves["Natural"], adversarial, *list(leaves.values())[1:]]


ENTRY = Entry(
    name="llmbar",
    title="LLMBar",
    source="https://github.com/princeton-nlp/LLMBar",
    make=_pairs,
    nodes=_nodes,
    official=Protocol(orders="both", worth=Worth(tie=0.5, unreadable=0.0, by_order=True)),
    files=("**/LLMBar/**/dataset.json", "**/dataset.json"),
    counts=COUNTS,
)
