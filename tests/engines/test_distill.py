"""Distilling over HTTP: what a misbehaving server was told to plant comes back in the counts."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from rmr1_sdk import Message, Pair
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.prompts import shown_pair
from rmr1_sdk.training.domain import generate, trace
from rmr1_sdk.training.stage import read_traces
from rmr1_sdk.training.traces.distill import distill
from tests.engines.server import Asked, Reply, Server, chat, refused

pytest.importorskip("openai", reason="needs the openai client; `make test-engines` installs it")

PAIRS = [
    pair if (pair.label == "A") == (number % 2 == 0) else pair.swapped() for number, pair in enumerate(generate(160))
]
NUMBERS = {(pair.question, pair.a, pair.b): number for number, pair in enumerate(PAIRS)}


def first_teacher(number: int) -> str:
    """What the first teacher does with a pair: wrong on a quarter of them."""
    if number % 4 == 0:
        return "wrong"
    return {3: "misquotes", 5: "says nothing", 7: "refused by the server", 9: "declines", 11: "stops early"}.get(
        number % 20, "right"
    )


def second_teacher(number: int) -> str:
    """What the second does, told the answer."""
    return {0: "leaks", 8: "still wrong", 16: "refused by the server"}.get(number % 24, "right")


def answer(what: str, pair: Pair) -> Reply:
    text = trace(pair)
    side = text[-12]
    if what == "refused by the server":
        return refused(400, "the words of this row are not allowed")
    if what == "stops early":
        return chat(text[:60], finish="length")
    texts = {
        "right": text,
        "wrong": text[:-12] + "AB"[side == "A"] + text[-11:],
        "still wrong": text[:-12] + "AB"[side == "A"] + text[-11:],
        "misquotes": re.sub("<quote_A>[^<]*", "<quote_A>nothing of the kind", text),
        "says nothing": "",
        "declines": "I would rather not say.",
        "leaks": text.replace("<eval>", f"<eval>The correct verdict is [[{side}]]. "),
    }
    return chat(texts[what])


def behave(asked: Asked) -> Reply:
    pair = shown_pair([Message(role="user", content=asked.body["messages"][-1]["content"])])
    assert pair
    number = NUMBERS[pair.question, pair.a, pair.b]
    told = asked.body["model"] == "second"
    assert told == ("The correct verdict is" in asked.body["messages"][-1]["content"])
    return answer(second_teacher(number) if told else first_teacher(number), pair)


def expected() -> tuple[Counter[str], Counter[str | None]]:
    """How many pairs come to what, and the labels of those that hold up."""
    counts: Counter[str] = Counter()
    good: Counter[str | None] = Counter()
    for number, pair in enumerate(PAIRS):
        what = first_teacher(number)
        outcome = {"right": "kept", "misquotes": "quote not found", "refused by the server": "engine failed"}.get(what)
        if outcome is None:  # wrong or unreadable: the second is asked
            outcome = {
                "right": "corrected",
                "leaks": "hint leaked",
                "still wrong": "wrong verdict",
                "refused by the server": "engine failed",
            }[second_teacher(number)]
        counts[outcome] += 1
        good[pair.label] += outcome in ("kept", "corrected")
    return counts, good


def test_what_was_planted_is_what_is_counted(tmp_path: Path) -> None:
    from rmr1_sdk.backends.openai import OpenAI

    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(pair.model_dump_json() + "\n" for pair in PAIRS))
    with Server(behave) as server:
        first, second = (OpenAI(name, base_url=f"{server.url}/v1", api_key="k") for name in ("first", "second"))
        report = distill(path, tmp_path / "out", first, second)
        for engine in (first, second):
            wait(submit(engine.aclose()))
    counts, good = expected()
    assert sum(first_teacher(number) == "wrong" for number in range(160)) == 40
    surplus = abs(good["A"] - good["B"])
    assert surplus > 0
    assert report.kept + report.corrected == counts["kept"] + counts["corrected"] - surplus
    assert report.rejected == {
        "engine failed": counts["engine failed"],
        "wrong verdict": counts["wrong verdict"],
        "quote not found": counts["quote not found"],
        "hint leaked": counts["hint leaked"],
        "unbalanced": surplus,
    }
    by_reason = Counter(
        json.loads(line)["reason"] for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    )
    assert by_reason == report.rejected
    assert report.first_right.share == (counts["kept"] + counts["quote not found"]) / 160
    traces = read_traces(tmp_path / "out" / "traces.jsonl")
    assert [one.pair.label for one in traces].count("A") * 2 == len(traces) == report.kept + report.corrected
    assert Counter(one.model for one in traces) == {"first": report.kept, "second": report.corrected}
    for one in traces:
        number = NUMBERS[one.pair.question, one.pair.a, one.pair.b]
        assert (first_teacher(number) == "right") == (one.teacher == 1)
        assert one.text == trace(one.pair)
