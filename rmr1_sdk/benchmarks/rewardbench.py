"""RewardBench (Lambert et al. 2024, arXiv 2403.13787): 2,985 pairs in 23 subsets and four sections."""

from collections.abc import Iterable, Iterator, Sequence

from rmr1_sdk.benchmarks.benchmark import Entry, Profile, Protocol
from rmr1_sdk.benchmarks.figures import Graded, Mean, Node, Worth, leaf
from rmr1_sdk.benchmarks.rows import Hub, Raw, Row
from rmr1_sdk.benchmarks.sides import chosen_is_b, placed
from rmr1_sdk.types import Pair

__all__ = ["ENTRY", "SECTIONS"]

CODE = {f"hep-{language}": 164 for language in ("cpp", "go", "java", "js", "python", "rust")}
SECTIONS = {
    "Chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {"math-prm": 984, **CODE},
}
"""Weight of each subset in its section. All but math-prm weigh their pairs; math weighs as much as all code."""
COUNTS = {subset: pairs for section in SECTIONS.values() for subset, pairs in section.items()} | {"math-prm": 447}


class _Row(Row):
    prompt: str
    chosen: str
    rejected: str
    subset: str
    id: int | str


def _pairs(rows: Iterable[Raw]) -> Iterator[Pair]:
    for raw, on_b in zip(rows, chosen_is_b(), strict=False):
        row = raw.read(_Row)
        yield placed(row.prompt, row.chosen, row.rejected, on_b=on_b, id=f"{row.subset}/{row.id}", subset=row.subset)


def _nodes(graded: Sequence[Graded], profile: Profile) -> list[Node]:
    leaves = {subset: leaf(subset, [one for one in graded if one.subset == subset]) for subset in COUNTS}
    sections = [
        Mean(section, tuple((weight, leaves[subset]) for subset, weight in subsets.items()))
        for section, subsets in SECTIONS.items()
    ]
    overall = Mean("RewardBench", tuple((1, section) for section in sections))
    return [overall, *sections, leaf("all pairs", graded), *leaves.values()]


ENTRY = Entry(
    name="rewardbench",
    title="RewardBench",
    source="https://huggingface.co/datasets/allenai/reward-bench",
    make=_pairs,
    nodes=_nodes,
    official=Protocol(orders="random", worth=Worth(tie=0.5, unreadable=0.5)),
    files=("**/filtered-*.parquet", "*.jsonl", "*.json", "*.parquet"),
    hub=Hub("allenai/reward-bench", ("filtered",)),
    counts=COUNTS,
)
