"""Sets of pairs with a known better side: Auto-J, PandaLM, GSM8K's solutions, IFBench, HH, and your own."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from rmr1_sdk.benchmarks.benchmark import Entry, Profile, Protocol
from rmr1_sdk.benchmarks.figures import Graded, Node, Worth, leaf
from rmr1_sdk.benchmarks.rows import Hub, Raw, Row
from rmr1_sdk.benchmarks.sides import chosen_is_b, placed
from rmr1_sdk.files.pairs import Form, row_of
from rmr1_sdk.types import Message, Outcome, Pair

__all__ = ["ENTRIES"]

HALF_A_TIE = Protocol(orders="both", worth=Worth(tie=0.5, unreadable=0.0))
"""Our own protocol, for sets whose authors have none for a judge: a tie of the two orders is half right."""


def _by_subset(title: str) -> Callable[[Sequence[Graded], Profile], list[Node]]:
    """All pairs, and a figure for each subset where there are several."""

    def nodes(graded: Sequence[Graded], profile: Profile) -> list[Node]:
        subsets = sorted({one.subset for one in graded})
        leaves = [leaf(subset, [one for one in graded if one.subset == subset]) for subset in subsets]
        return [leaf(title, graded), *(leaves if len(leaves) > 1 else [])]

    return nodes


class _AutoJRow(Row):
    scenario: str
    label: Literal[0, 1, 2]
    prompt: str
    first: str = Field(alias="response 1")
    second: str = Field(alias="response 2")


def _autoj(rows: Iterable[Raw]) -> Iterator[Pair]:
    labels: tuple[Outcome, ...] = ("A", "B", "tie")
    for raw in rows:
        row = raw.read(_AutoJRow)
        about = {"subset": row.scenario}
        yield Pair(
            question=row.prompt, a=row.first, b=row.second, id=str(raw.number), label=labels[row.label], metadata=about
        )


def _autoj_nodes(graded: Sequence[Graded], profile: Profile) -> list[Node]:
    overall, *scenarios = _by_subset("Auto-J")(graded, profile)
    return [overall, leaf("where the label is a side", [o for o in graded if o.pair.label != "tie"]), *scenarios]


_Printed = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, bool | int | float) else value)]
"""A few of the published responses are JSON's true; its authors' prompts show them as Python prints them."""


class _PandaLMRow(Row):
    idx: int
    cmp_key: str
    instruction: str
    input: str
    response1: _Printed
    response2: _Printed
    annotator1: Literal[0, 1, 2]
    annotator2: Literal[0, 1, 2]
    annotator3: Literal[0, 1, 2]


def _pandalm(rows: Iterable[Raw]) -> Iterator[Pair]:
    """The label is what most annotators say; where all three differ, as its authors have it, what the first says."""
    labels: tuple[Outcome, ...] = ("tie", "A", "B")
    for raw in rows:
        row = raw.read(_PandaLMRow)
        said = {f"annotator {n}": labels[getattr(row, f"annotator{n}")] for n in (1, 2, 3)}
        yield Pair(
            question=f"{row.instruction}\n\n{row.input}" if row.input else row.instruction,
            a=row.response1,
            b=row.response2,
            id=str(row.idx),
            label=Counter(said.values()).most_common(1)[0][0],
            metadata={"subset": row.cmp_key, "annotators": said},
        )


_MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
_ANNOTATION = re.compile(r"<<[^<>]*>>")


class _Solution(Row):
    solution: str
    is_correct: bool


class _GSM8KRow(Row):
    question: str
    small: _Solution = Field(alias="6b_finetuning")
    small_verified: _Solution = Field(alias="6b_verification")
    large: _Solution = Field(alias="175b_finetuning")
    large_verified: _Solution = Field(alias="175b_verification")


def _gsm8k(rows: Iterable[Raw]) -> Iterator[Pair]:
    """Every right solution with every wrong one of the same problem, without the calculator's annotations."""
    sides = chosen_is_b()
    for raw in rows:
        row = raw.read(_GSM8KRow)
        solutions = row.model_dump(by_alias=True)
        right = [name for name in _MODELS if solutions[name]["is_correct"]]
        wrong = [name for name in _MODELS if not solutions[name]["is_correct"]]
        for good, bad in product(right, wrong):
            texts = [_ANNOTATION.sub("", solutions[name]["solution"]) for name in (good, bad)]
            about = {"subset": "gsm8k", "right": good, "wrong": bad}
            yield placed(row.question, *texts, on_b=next(sides), id=f"{raw.number}/{good}/{bad}", **about)


class _IFBenchRow(Row):
    id: int | str
    domain: str
    text_chosen: tuple[Message, ...] = Field(min_length=2)
    text_rejected: tuple[Message, ...] = Field(min_length=2)


def _ifbench(rows: Iterable[Raw]) -> Iterator[Pair]:
    for raw, on_b in zip(rows, chosen_is_b(), strict=False):
        row = raw.read(_IFBenchRow)
        yield _parted(raw, row.text_chosen, row.text_rejected, on_b=on_b, id=str(row.id), subset=row.domain)


def _parted(raw: Raw, chosen: Sequence[Message], rejected: Sequence[Message], *, on_b: bool, **rest: Any) -> Pair:
    """Two conversations as what they share, and what each goes on with: at least its last turn."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    if not shared:
        raise raw.error("the two conversations begin with different turns")
    sides = [tail[0].content if len(tail) == 1 else tail for tail in (chosen[shared:], rejected[shared:])]
    return placed(chosen[:shared], sides[0], sides[1], on_b=on_b, **rest)


class _HHRow(Row):
    chosen: str
    rejected: str


_SPEAKER = re.compile(r"\n\n(Human|Assistant): ?")


def _hh(rows: Iterable[Raw]) -> Iterator[Pair]:
    """Transcripts become conversations: what they share is the question, what they end in the answers."""
    for raw, on_b in zip(rows, chosen_is_b(), strict=False):
        row = raw.read(_HHRow)
        chosen, rejected = (_turns(raw, name, getattr(row, name)) for name in ("chosen", "rejected"))
        yield _parted(raw, chosen, rejected, on_b=on_b, id=str(raw.number), subset="hh")


def _turns(raw: Raw, field: str, transcript: str) -> list[Message]:
    before, *parts = _SPEAKER.split(transcript)
    roles: dict[str, Literal["user", "assistant"]] = {"Human": "user", "Assistant": "assistant"}
    turns = [Message(role=roles[who], content=said) for who, said in zip(parts[::2], parts[1::2], strict=True)]
    if before or len(turns) < 2 or turns[0].role != "user" or turns[-1].role != "assistant":
        raise raw.error(f"field {field}: a transcript begins with 'Human:' and ends with what the assistant says")
    return turns


def _own(rows: Iterable[Raw]) -> Iterator[Pair]:
    """A labelled Pair a row; `metadata.subset` parts them. One without an `id` gets its row's number."""
    for raw in rows:
        try:
            pair = row_of(raw.path, raw.number, raw.fields, Pair, Form())
        except ValueError as error:
            raise raw.error(str(error)) from error
        if pair.label is None:
            raise raw.error("field label: a benchmark needs to know which side is better, or that it is a tie")
        yield pair


ENTRIES = (
    Entry(
        name="autoj",
        title="Auto-J pairwise",
        source="https://github.com/GAIR-NLP/auto-j",
        make=_autoj,
        nodes=_autoj_nodes,
        official=Protocol(orders="both", worth=Worth(tie=0.0, unreadable=0.0, consistent_only=True)),
        files=("**/testdata_pairwise.jsonl", "**/autoj_pairwise.jsonl"),
        total=1_392,
    ),
    Entry(
        name="pandalm",
        title="PandaLM test set",
        source="https://github.com/WeOpenML/PandaLM",
        make=_pandalm,
        nodes=_by_subset("PandaLM"),
        official=Protocol(orders="both", worth=Worth(tie=0.0, unreadable=None)),
        files=("**/testset-v1.json", "**/pandalm_testset.json"),
        total=999,
    ),
    Entry(
        name="gsm8k",
        title="GSM8K model solutions",
        source="https://github.com/openai/grade-school-math",
        make=_gsm8k,
        nodes=_by_subset("GSM8K solutions"),
        official=HALF_A_TIE,
        files=("**/example_model_solutions.jsonl", "**/gsm8k_model_solutions.jsonl"),
        total=2_429,
    ),
    Entry(
        name="ifbench",
        title="IFBench",
        source="https://github.com/THU-KEG/Agentic-Reward-Modeling",
        make=_ifbench,
        nodes=_by_subset("IFBench"),
        official=HALF_A_TIE,
        files=("**/data.converted.json", "**/ifbench_reward.json"),
        total=444,
    ),
    Entry(
        name="hh",
        title="HH-RLHF, harmless test",
        source="https://github.com/anthropics/hh-rlhf",
        make=_hh,
        nodes=_by_subset("HH harmless"),
        official=HALF_A_TIE,
        files=("**/harmless-base/test.jsonl.gz", "test.jsonl.gz", "**/hh_harmless_test.jsonl.gz"),
        hub=Hub("Anthropic/hh-rlhf", ("test",), folder="harmless-base"),
        total=2_312,
    ),
    Entry(
        name="pairs",
        title="pairs of your own",
        source="a file of pairs with labels",
        make=_own,
        nodes=_by_subset("all pairs"),
        official=HALF_A_TIE,
    ),
)
