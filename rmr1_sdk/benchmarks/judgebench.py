"""JudgeBench (Tan et al. 2024, arXiv 2410.12784): a right and a wrong answer by the same model, hard to tell apart."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from rmr1_sdk.benchmarks.benchmark import Entry, Profile, Protocol
from rmr1_sdk.benchmarks.figures import Graded, Node, Worth, leaf
from rmr1_sdk.benchmarks.rows import Hub, Raw, Row
from rmr1_sdk.types import Pair

__all__ = ["ENTRY"]

COUNTS = {"gpt-4o-2024-05-13": 350, "claude-3-5-sonnet-20240620": 270}
_CATEGORIES = {
    "knowledge": "mmlu-pro",
    "reasoning": "livebench-reasoning",
    "math": "livebench-math",
    "coding": "livecodebench",
}


class _Row(Row):
    pair_id: str
    source: str
    question: str
    response_model: str
    response_A: str  # noqa: N815  # the published names
    response_B: str  # noqa: N815
    label: Literal["A>B", "B>A"]


def _pairs(rows: Iterable[Raw]) -> Iterator[Pair]:
    for raw in rows:
        row = raw.read(_Row)
        yield Pair(
            question=row.question,
            a=row.response_A,
            b=row.response_B,
            id=f"{row.response_model}/{row.pair_id}",
            label="A" if row.label == "A>B" else "B",
            metadata={"subset": row.response_model, "source": row.source},
        )


def _nodes(graded: Sequence[Graded], profile: Profile) -> list[Node]:
    nodes: list[Node] = []
    for model in dict.fromkeys((*COUNTS, *(one.subset for one in graded))):
        of_model = [one for one in graded if one.subset == model]
        nodes.append(leaf(model, of_model))
        for category, source in _CATEGORIES.items():
            of_category = [one for one in of_model if one.pair.metadata["source"].startswith(source)]
            nodes.append(leaf(f"{model}, {category}", of_category))
    return nodes


ENTRY = Entry(
    name="judgebench",
    title="JudgeBench",
    source="https://github.com/ScalerLab/JudgeBench",
    make=_pairs,
    nodes=_nodes,
    official=Protocol(orders="both", worth=Worth(tie=0.0, unreadable=0.0)),
    files=("data/dataset=*.jsonl", "dataset=*.jsonl", "*.jsonl", "**/*.parquet"),
    hub=Hub("ScalerLab/JudgeBench", ("gpt", "claude")),
    counts=COUNTS,
)
