"""A judge's own tie: read, counted, and neither asked again nor forced."""

import pytest

from rmr1_sdk import FakeBackend, Judge, Pair, Request
from rmr1_sdk.benchmarks.figures import Worth, grade
from rmr1_sdk.parsing import read
from rmr1_sdk.prompts import COR, COR_TIES
from rmr1_sdk.types import Outcome, Shown, other

VERDICTS: dict[Outcome | None, str] = {"A": "[[A]]", "B": "[[B]]", "tie": "[[C]]", None: "I cannot say."}


def ties_judge(backend: FakeBackend) -> Judge:
    return Judge(backend, prompt="cor-ties", ask_again=False)


def says(table: dict[str, tuple[Outcome | None, Outcome | None]]) -> FakeBackend:
    """A judge with a verdict of its own, in the caller's sides, for each question and order."""

    def reply(request: Request) -> str:
        text = request.messages[-1].content
        ab, ba = next(both for name, both in table.items() if f"[Client Question]\n{name}\n" in text)
        first = text.index("left") < text.index("right")
        return f"<eval>so</eval><answer>{VERDICTS[ab if first else other(ba)]}</answer>"

    return FakeBackend(reply)


@pytest.mark.parametrize("said", ["[[C]]", "[[tie]]", "A=B", "**Tie**", "[[A=B]]", "c"])
@pytest.mark.parametrize("shown", ["AB", "BA"])
def test_a_tie_is_read_where_the_prompt_allows_it(said: str, shown: Shown) -> None:
    text = f"<eval>so</eval><answer>{said}</answer>"
    assert read(text, ties=True, shown=shown).winner == "tie"
    assert (failure := read(text, shown=shown).failure)
    assert failure.kind == "bad_answer"


def test_a_tie_beside_a_side_is_a_conflict_where_ties_are_allowed() -> None:
    text = "<answer>[[A]]</answer> or <answer>[[C]]</answer>"
    assert (failure := read(text, ties=True).failure)
    assert failure.kind == "conflicting_answers"
    assert (failure := read(text).failure)
    assert failure.kind == "bad_answer"
    assert read("<answer>[[C]]</answer> and <answer>[[C]]</answer>", ties=True).winner == "tie"


def test_a_tie_is_neither_forced_nor_asked_again() -> None:
    backend = says({"Q": ("tie", "tie")})
    judgment = Judge(backend, prompt="cor-ties").compare("Q", "left", "right")
    assert (judgment.winner, judgment.p_a, judgment.agreement, judgment.position_consistent) == ("tie", 0.5, 1.0, True)
    assert backend.asked == 2
    assert "Tie" in judgment.explain()


@pytest.mark.parametrize(
    ("ab", "ba", "winner", "p_a", "consistent"),
    [
        ("A", "tie", "A", (0.75 + 0.5) / 2, False),
        ("tie", "B", "B", (0.5 + 0.25) / 2, False),
        ("A", "B", "tie", 0.5, False),
        ("tie", None, "tie", 0.5, None),
    ],
)
def test_a_tie_counts_for_neither_side(
    ab: Outcome, ba: Outcome | None, winner: Outcome, p_a: float, consistent: bool | None
) -> None:
    judgment = ties_judge(says({"Q": (ab, ba)})).compare("Q", "left", "right")
    assert (judgment.winner, judgment.p_a, judgment.position_consistent) == (winner, p_a, consistent)


def test_votes_stop_early_where_all_are_ties() -> None:
    backend = says({"Q": ("tie", "tie")})
    judgment = Judge(backend, prompt="cor-ties", max_votes=16).compare("Q", "left", "right")
    assert judgment.winner == "tie"
    assert backend.asked < 32


def test_a_ranking_takes_a_tie_as_half_a_win() -> None:
    ranking = ties_judge(says({"Q": ("tie", "tie")})).rank("Q", ["left 1", "right 2", "right left 3"])
    assert ranking.scores == pytest.approx((0.5, 0.5, 0.5))


Orders = tuple[Outcome | None, Outcome | None]
COUNTS: dict[Orders, int] = {
    ("A", "A"): 18,
    ("B", "B"): 20,
    ("tie", "tie"): 8,
    ("A", "B"): 12,
    ("A", "tie"): 9,
    ("tie", "B"): 7,
    ("A", None): 1,
}


def test_the_protocols_of_mt_bench_and_judgebench_differ_in_a_side_beside_a_tie() -> None:
    listed = [both for both, count in COUNTS.items() for _ in range(count)]
    table = {f"Q{n}": both for n, both in enumerate(listed)}
    pairs = [Pair(question=name, a="left", b="right", label="tie", id=name) for name in table]
    backend = says(table)
    judgments = list(ties_judge(backend).compare_many(pairs))
    assert (len(judgments), backend.asked) == (75, 150)

    def outcomes(worth: Worth) -> dict[Outcome | None, int]:
        graded = [grade(pair, judgment, worth) for pair, judgment in zip(pairs, judgments, strict=True)]
        return {name: sum(one.outcome == name for one in graded) for name in VERDICTS}

    assert outcomes(Worth(orders_must_agree=True)) == {"A": 18, "B": 20, "tie": 36, None: 1}
    assert outcomes(Worth()) == {"A": 18 + 9 + 1, "B": 20 + 7, "tie": 8 + 12, None: 0}


def test_the_default_prompt_stays_without_ties() -> None:
    assert COR.system
    assert COR_TIES.system
    assert "[[C]]" not in COR.system
    assert COR_TIES.system.startswith(COR.system.rpartition(" There is always")[0])
    assert COR_TIES.digest != COR.digest
