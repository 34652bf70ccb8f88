"""examples/escalation.py: when the larger judge is asked."""

import runpy
from math import log
from pathlib import Path

import pytest

from rmr1_sdk import FakeBackend, Judge, Pair

EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "escalation.py"))

PAIR = Pair(question="2 + 2?", a="4", b="5")
A, B = "<answer>[[A]]</answer>", "<answer>[[B]]</answer>"


def sure_of(probability: float | None) -> FakeBackend:
    """A judge that prefers "4" in both orders, with this probability of it, or without any."""

    def likes_first(first: str) -> bool:
        return "\n4\n" in first.partition("Chatbot B")[0]

    def scores(first: bool, p: float) -> tuple[float, float]:
        return (log(p), log(1 - p)) if first else (log(1 - p), log(p))

    return FakeBackend(
        lambda request: A if likes_first(request.messages[-1].content) else B,
        choice_logprobs=(lambda r: scores(likes_first(r.messages[-1].content), probability)) if probability else None,
    )


@pytest.mark.parametrize(
    ("small", "asks_large"),
    [
        pytest.param(sure_of(0.95), False, id="sure"),
        pytest.param(sure_of(0.6), True, id="unsure"),
        pytest.param(sure_of(None), False, id="without probabilities, one vote in each order"),
        pytest.param(FakeBackend(lambda r: A), True, id="goes by position"),
        pytest.param(FakeBackend(lambda r: "hm"), True, id="unreadable"),
        pytest.param(
            FakeBackend(lambda r: A, choice_logprobs=lambda r: (log(0.99), log(0.01))), True, id="sure of a position"
        ),
    ],
)
def test_the_large_judge_is_asked_where_the_small_one_is_unsure(small: FakeBackend, asks_large: bool) -> None:
    large = sure_of(0.9)
    large.model = "large"
    judgment = EXAMPLE["escalate"](PAIR, Judge(small), Judge(large))
    assert judgment.winner == "A"
    assert judgment.model == ("large" if asks_large else "fake")
    assert large.asked == (4 if asks_large else 0)


def test_identical_answers_are_nobodys_business() -> None:
    nobody = FakeBackend([])
    assert EXAMPLE["escalate"](Pair(question="q", a="same", b="same"), Judge(nobody), Judge(nobody)).winner == "tie"


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    EXAMPLE["main"]("fake:tests.replies:always_a", "fake:tests.replies:decided")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert all(line.endswith("says fake") for line in lines)
