import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import BackendError, BudgetExceeded, Completion, ConfigError, DataError, FakeBackend, Pair, Request, Usage
from rmr1_sdk.prompts import COR, REASONING, Prompt, shown_pair
from rmr1_sdk.training.domain import Domain, Teacher, generate, trace
from rmr1_sdk.training.stage import Trace, read_traces
from rmr1_sdk.training.traces.distill import distill, estimate, verify
from rmr1_sdk.training.traces.teachers import Replay, teacher
from tests import processes

PAIRS = [
    pair if (pair.label == "A") == (number % 2 == 0) else pair.swapped() for number, pair in enumerate(generate(80))
]
SUM, UNIT, ORDER, LIST = PAIRS[:4]


def pairs_file(folder: Path, pairs: Iterable[Pair] = PAIRS) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("".join(pair.model_dump_json() + "\n" for pair in pairs))
    return path


def pair_of(request: Request) -> Pair:
    pair = shown_pair(request.messages)
    assert pair
    return pair


def is_hinted(request: Request) -> bool:
    return "The correct verdict is" in request.messages[-1].content


def other_way(text: str) -> str:
    """The same judgment with the other verdict."""
    a, b = "<answer>[[A]]", "<answer>[[B]]"
    return text.replace(a, b) if a in text else text.replace(b, a)


def rejected(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]


def test_traces_of_a_teacher_without_fault_are_all_kept(tmp_path: Path) -> None:
    report = distill(pairs_file(tmp_path), tmp_path / "out", Teacher())
    assert (report.pairs, report.kept, report.corrected, report.rejected) == (80, 80, 0, {})
    assert (report.first_right.share, report.first_is_better and report.first_is_better.share) == (1, 0.5)
    assert report.tokens_read > report.tokens_written > 0
    traces = read_traces(tmp_path / "out" / "traces.jsonl")
    assert [one.pair for one in traces] == PAIRS
    assert traces[0] == Trace(pair=SUM, text=trace(SUM), family="cor", prompt="cor", teacher=1, model="tiny")
    assert (tmp_path / "out" / "rejected.jsonl").read_text() == ""


def test_the_reasoning_family_thinks_first(tmp_path: Path) -> None:
    distill(pairs_file(tmp_path), tmp_path / "out", Teacher(), prompt="reasoning")
    traces = read_traces(tmp_path / "out" / "traces.jsonl")
    assert {one.family for one in traces} == {"reasoning"}
    assert all(one.text.startswith("<think>") for one in traces)


def test_the_second_teacher_is_told_the_answer_and_shown_the_wrong_judgment(tmp_path: Path) -> None:
    seen: list[tuple[Request, Pair]] = []

    def first(request: Request) -> str:
        text = trace(pair_of(request))
        return {SUM.question: other_way(text), LIST.question: "I would rather not say."}.get(
            pair_of(request).question, text
        )

    def second(request: Request) -> str:
        seen.append((request, pair_of(request)))
        return trace(pair_of(request))

    report = distill(pairs_file(tmp_path), tmp_path / "out", FakeBackend(first), FakeBackend(second, identity="second"))
    assert (report.kept, report.corrected, report.rejected) == (78, 2, {})
    assert report.first_right.share == 78 / 80
    assert [pair.question for _, pair in seen] == [SUM.question, LIST.question]
    for request, pair in seen:
        asked = request.messages[-1].content
        label = SUM.label if pair.question == SUM.question else LIST.label
        assert f"The correct verdict is [[{label}]]." in asked
    assert "‹answer>［[" in seen[0][0].messages[-1].content.partition("the Other Judgment]")[2]
    assert "I would rather not say." in seen[1][0].messages[-1].content
    corrected = [one for one in read_traces(tmp_path / "out" / "traces.jsonl") if one.teacher == 2]
    assert [one.pair for one in corrected] == [SUM, LIST]  # without what the second teacher was told


def test_without_a_second_teacher_wrong_ones_are_rejected(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        text = trace(pair_of(request))
        return other_way(text) if pair_of(request).question in (SUM.question, UNIT.question) else text

    report = distill(pairs_file(tmp_path), tmp_path / "out", FakeBackend(reply))
    assert (report.kept, report.rejected) == (78, {"wrong verdict": 2})
    lines = rejected(tmp_path / "out")
    assert [(line["id"], line["teacher"], line["reason"]) for line in lines] == [
        (SUM.id, 1, "wrong verdict"),
        (UNIT.id, 1, "wrong verdict"),
    ]
    assert lines[0]["text"] == other_way(trace(SUM))


def without(text: str, begin: str, end: str) -> str:
    return text[: text.index(begin)] + text[text.index(end) + len(end) :]


CHAT, WORK = trace(LIST), trace(SUM)
CASES: list[tuple[str, Pair, Callable[[str], str], str, str]] = [
    ("nothing", LIST, lambda text: "", "unreadable", "empty"),
    ("the other side", LIST, other_way, "wrong verdict", "not"),
    ("more after the answer", LIST, lambda text: text + "\nI hope this helps.", "loose ending", "hope this helps."),
    ("another form of answer", SUM, lambda text: text.replace("[[", "").replace("]]", ""), "loose ending", "answer"),
    ("eval left open", SUM, lambda text: text.replace("</eval>", ""), "open section", ""),
    ("a quote left open", SUM, lambda text: text.replace("</quote_B>", ""), "quote not found", "B: 21, 20"),
    ("no type", SUM, lambda text: without(text, "<type>", "</type>"), "missing section", "type"),
    ("no solution", SUM, lambda text: without(text, "<solution>", "</solution>"), "missing section", "solution"),
    ("no eval", LIST, lambda text: without(text, "<eval>", "</eval>"), "missing section", "eval"),
    ("no rubric", LIST, lambda text: without(text, "<rubric>", "</rubric>"), "missing section", "rubric"),
    ("no weights", LIST, lambda text: text.replace(" (40%)", "").replace(" (30%)", ""), "missing section", "weights"),
    ("no justification", LIST, lambda text: without(text, "<justify>", "</justify>"), "missing section", "justify"),
    ("one side", SUM, lambda text: text.replace("quote_B", "quote_A"), "not cited", "B"),
    ("a made-up quote", ORDER, lambda text: text.replace("<quote_A>", "<quote_A>Jim"), "quote not found", "A: Jim"),
]


@pytest.mark.parametrize(("pair", "spoil", "reason", "detail"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_every_fault_is_found(pair: Pair, spoil: Callable[[str], str], reason: str, detail: str) -> None:
    assert verify(trace(pair), pair, prompt=COR) is None
    fault = verify(spoil(trace(pair)), pair, prompt=COR)
    assert fault
    assert fault.reason == reason
    assert detail in fault.detail


def test_the_reasoning_family_needs_a_thought_and_no_tags() -> None:
    assert verify(trace(LIST, "reasoning"), LIST, prompt=REASONING) is None
    answer = f"<answer>[[{LIST.label}]]</answer>"
    assert verify(f"<think>hm</think>\n{answer}", LIST, prompt=REASONING) is None
    fault = verify(answer, LIST, prompt=REASONING)
    assert fault
    assert (fault.reason, fault.detail) == ("missing section", "think")


def test_a_prompt_of_your_own_is_read_by_its_own_reader() -> None:
    own = Prompt(name="own", user="{blocks}")
    assert verify(f"<answer>[[{LIST.label}]]</answer>", LIST, prompt=own) is None


@pytest.mark.parametrize(
    ("said", "leak"),
    [
        ("As the correct verdict is B, B wins.", "correct verdict"),
        ("The previous judgement overlooked this.", "previous judgement"),
        ("Contrary to the other judge, I count again.", "other judge"),
        ("According to the note, A is better.", "the note"),
        ("Following the hint, I say so.", "the hint"),
        ("I was told which one it is.", "I was told"),
        ("The ground truth is clear.", "ground truth"),
        ("This is what a careful reader of both would say.", "a careful reader of both"),
        ("Both answers are short, as instructed, and one hints at more.", None),
        ("A judge who reads this will note that nothing is missing.", None),
    ],
)
def test_a_hint_that_shows_is_a_leak(said: str, leak: str | None) -> None:
    text = WORK.replace("<eval>", f"<eval>{said} ")
    assert verify(text, SUM, prompt=COR) is None  # who was told nothing can give nothing away
    fault = verify(text, SUM, prompt=COR, hinted=True)
    assert (fault and (fault.reason, fault.detail)) == (leak and ("hint leaked", leak))


def test_what_the_pair_itself_says_is_no_leak() -> None:
    text = "<answer>[[A]]</answer>"
    says = "The correct verdict is innocent, a careful reader of both answers says."
    pair = Pair(question="Guilty?", a=says, b="No idea.", label="A")
    own = Prompt(name="own", user="{blocks}")
    assert verify(f"It says {says} {text}", pair, prompt=own, hinted=True) is None
    leak = verify(f"It says {says} {text}", pair.model_copy(update={"a": "Yes."}), prompt=own, hinted=True)
    assert leak
    assert leak.reason == "hint leaked"


def test_as_many_traces_say_a_as_b(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        text = trace(pair_of(request))
        return text if "[[A]]" in text else "<answer>[[A]]</answer>"  # knows nothing of B but in one pair of ten

    def second(request: Request) -> str:
        text = trace(pair_of(request))
        return text if pair_of(request).question in {pair.question for pair in PAIRS[:20]} else "no"

    report = distill(pairs_file(tmp_path), tmp_path / "out", FakeBackend(reply), FakeBackend(second, identity="2"))
    assert (report.kept, report.corrected) == (10, 10)
    assert report.rejected == {"unreadable": 30, "unbalanced": 30}
    kept = read_traces(tmp_path / "out" / "traces.jsonl")
    assert [one.pair.label for one in kept].count("A") == 10


def test_a_thought_that_the_engine_delivers_apart_is_part_of_the_trace(tmp_path: Path) -> None:
    def reply(request: Request) -> Completion:
        text = trace(pair_of(request), "reasoning")
        thought, _, rest = text.removeprefix("<think>").partition("</think>")
        if "sum" in text or pair_of(request).question == SUM.question:
            return Completion(text=f"{thought}</think>{rest}")  # the chat template had opened it
        return Completion(text=rest.strip(), reasoning=thought)

    report = distill(pairs_file(tmp_path), tmp_path / "out", FakeBackend(reply), prompt="reasoning")
    assert report.kept == 80
    for one in read_traces(tmp_path / "out" / "traces.jsonl"):
        assert one.text.startswith("<think>")
        assert one.text.count("</think>") == 1


def test_a_family_that_does_not_think_learns_no_thoughts(tmp_path: Path) -> None:
    teacher_that_thinks = FakeBackend(lambda request: f"<think>hm</think>\n\n{trace(pair_of(request))}")
    distill(pairs_file(tmp_path), tmp_path / "out", teacher_that_thinks)
    assert [one.text for one in read_traces(tmp_path / "out" / "traces.jsonl")] == list(map(trace, PAIRS))


def test_what_is_done_is_not_asked_again(tmp_path: Path) -> None:
    backend = FakeBackend(lambda request: trace(pair_of(request)))
    path = pairs_file(tmp_path)
    report = distill(path, tmp_path / "out", backend)
    assert distill(path, tmp_path / "out", backend) == report
    assert backend.asked == 80
    with pytest.raises(ConfigError, match=r"made with something else \(seed 0, now 1\)"):
        distill(path, tmp_path / "out", backend, seed=1)


def test_the_budget_is_for_both_teachers_and_the_same_call_goes_on(tmp_path: Path) -> None:
    path, out = pairs_file(tmp_path), tmp_path / "out"
    usage = Usage(prompt_tokens=90, completion_tokens=10)
    wrong = FakeBackend(lambda request: Completion(text=other_way(trace(pair_of(request))), usage=usage))
    right = FakeBackend(lambda request: Completion(text=trace(pair_of(request)), usage=usage), identity="right")

    def run(budget: int) -> object:
        return distill(path, out, wrong, right, max_tokens_total=budget, max_concurrency=1)

    with pytest.raises(BudgetExceeded, match="1,000 tokens are spent of max_tokens_total=1,000; nothing was written"):
        run(1000)
    assert (wrong.asked, right.asked) == (10, 0)
    with pytest.raises(BudgetExceeded, match="9,000 tokens are spent of max_tokens_total=9,000"):
        run(9000)
    assert (wrong.asked, right.asked) == (80, 20)
    assert not (out / "traces.jsonl").exists()
    report = run(6001)
    assert (wrong.asked, right.asked) == (80, 80)
    assert report == distill(path, tmp_path / "again", wrong, right)


def test_requests_that_fail_are_counted_and_an_engine_that_is_gone_ends_the_run(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        if pair_of(request).question in (SUM.question, UNIT.question):
            raise BackendError("no such thing")
        return trace(pair_of(request))

    report = distill(pairs_file(tmp_path), tmp_path / "out", FakeBackend(reply))
    assert (report.kept, report.rejected) == (78, {"engine failed": 2})
    assert rejected(tmp_path / "out")[0]["detail"] == "no such thing"
    with pytest.raises(BackendError, match="10 of 10 requests failed, the last one with: FakeBackend was given 0"):
        distill(pairs_file(tmp_path), tmp_path / "gone", FakeBackend([]))


def test_what_it_may_take_is_known_before(tmp_path: Path) -> None:
    needed = estimate(pairs_file(tmp_path), sampling={"max_tokens": 100})
    assert (needed.pairs, needed.written_at_most, needed.second_written_at_most) == (80, 8000, 2000)
    report = distill(pairs_file(tmp_path), tmp_path / "out", Teacher())
    assert needed.read == pytest.approx(report.tokens_read, rel=0.01)
    assert needed.second_read_at_most > needed.read / 4 + 2000


def test_recorded_answers_are_given_again(rmr1: list[str], tmp_path: Path) -> None:
    path = pairs_file(tmp_path)
    wrong = FakeBackend(lambda request: other_way(trace(pair_of(request))))
    first = distill(path, tmp_path / "first", wrong, Teacher())
    record = tmp_path / "record.jsonl"
    export = [*rmr1, "store", "export", str(tmp_path / "first" / "store.db")]
    record.write_text(processes.run(export, check=True).stdout)
    replayed = distill(path, tmp_path / "again", teacher(f"replay:{record}"), Replay(record), seed=7)
    assert replayed == first
    texts = [one.text for one in read_traces(tmp_path / "again" / "traces.jsonl")]
    assert texts == [one.text for one in read_traces(tmp_path / "first" / "traces.jsonl")]
    others = pairs_file(tmp_path, list(generate(8, seed=5, domain=Domain(kinds=("sum",)))))
    report = distill(others, tmp_path / "others", Replay(record))
    assert report.rejected == {"engine failed": 8}
    record.write_text('{"request": 1}\n')
    with pytest.raises(DataError, match=r"record\.jsonl:1: no record of `rmr1 store export` \(KeyError\('completion'"):
        Replay(record)


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        ([], DataError, "no pairs in this file"),
        ([SUM.model_copy(update={"label": None})], DataError, "pair tiny/0/0 has no better answer"),
        ([SUM.model_copy(update={"label": "tie"})], DataError, "has no better answer; label pairs A or B"),
        ([SUM.model_copy(update={"a": "x", "b": "x"})], DataError, "has no better answer"),
        (PAIRS[::2] + PAIRS[1:40:2], ConfigError, "the better answer is A in 40 of 60 pairs"),
    ],
)
def test_pairs_that_cannot_be_taught(tmp_path: Path, pairs: list[Pair], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        distill(pairs_file(tmp_path, pairs), tmp_path / "out", Teacher())


def test_killed_in_the_middle_the_same_command_asks_for_the_rest(rmr1: list[str], tmp_path: Path) -> None:
    path, asked = pairs_file(tmp_path, generate(300)), tmp_path / "asked"

    def command(out: str) -> list[str]:
        teachers = ["--teacher", "fake:tests.replies:taught", "--max-concurrency", "4"]
        return [*rmr1, "train", "distill", str(path), "--out", str(tmp_path / out), *teachers]

    environment = {**os.environ, "ASKED": str(asked)}
    with processes.Child(command("killed"), env=environment) as running:
        running.until(lambda: asked.exists() and asked.read_text().count("\n") >= 100)
        running.kill()
    before = asked.read_text().count("\n")
    assert before < 300
    said = processes.run(command("killed"), env=environment, check=True)
    assert json.loads(said.stdout)["pairs"] == 300
    requests = asked.read_text().split()
    assert len(set(requests)) == 300
    assert len(requests) - 300 <= 8  # what was in flight
    processes.run(command("whole"), env={**environment, "ASKED": str(tmp_path / "other")}, check=True)
    for name in ("traces.jsonl", "rejected.jsonl", "report.json", "step.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
