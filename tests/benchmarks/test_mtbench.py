"""Real judges' outputs over real pairs, read by a prompt of our own making, through the whole policy."""

import json
from pathlib import Path

import pytest

from rmr1_sdk import Completion, FakeBackend, Judge, Pair, Request
from rmr1_sdk.types import Side
from tests.mtbench import mtbench_prompt


@pytest.mark.parametrize(
    ("judge_name", "right_ab", "right_ba", "both_right", "flips", "unread"),
    [("GPT-4", 159, 165, 149, 26, 0), ("PaLM2", 138, 143, 114, 52, 15)],
)
def test_two_order_figures(
    shared: Path, judge_name: str, right_ab: int, right_ba: int, both_right: int, flips: int, unread: int
) -> None:
    """Of 200 pairs. GPT-4's are the published ones: 79.5% and 82.5%, both right 74.5%, flips 13.0%.

    The outputs of PaLM2 in this file give figures of their own, a little above the published ones.
    """
    rows = json.loads((shared / "data" / "judge-outputs" / f"mtbench_{judge_name}_Vanilla_NoRules.json").read_text())
    prompt = mtbench_prompt()
    pairs, said = [], {}
    for n, row in enumerate(rows):
        label: Side = "A" if row["label"] == 1 else "B"
        pair = Pair(question=row["input"], a=row["output_1"], b=row["output_2"], id=str(n), label=label)
        pairs.append(pair)
        for shown, name in (("AB", "swap = False"), ("BA", "swap = True")):
            said[prompt.render(pair, shown)] = row["results"][0][name]["completion"][0]  # type: ignore[arg-type]

    def reply(request: Request) -> Completion:
        return Completion(text=said[request.messages])

    judge = Judge(FakeBackend(reply), prompt=prompt, force_verdict=False)
    judgments = list(judge.compare_many(pairs))
    verdicts = [judgment.verdicts for judgment in judgments]
    labels = [pair.label for pair in pairs]
    assert sum(ab.winner == label for (ab, _), label in zip(verdicts, labels, strict=True)) == right_ab
    assert sum(ba.winner == label for (_, ba), label in zip(verdicts, labels, strict=True)) == right_ba
    both = [ab.winner == ba.winner == label for (ab, ba), label in zip(verdicts, labels, strict=True)]
    assert sum(both) == both_right
    assert sum(judgment.position_consistent is False for judgment in judgments) == flips
    assert sum(verdict.failure is not None for pair_ in verdicts for verdict in pair_) == unread
