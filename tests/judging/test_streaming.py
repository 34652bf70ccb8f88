import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import aclosing, closing
from math import log
from pathlib import Path

import pytest

from rmr1_sdk import BackendError, Completion, FakeBackend, Judge, JudgmentFailed, Pair, Request, Section
from rmr1_sdk.backends import Capabilities
from rmr1_sdk.types import Judgment, Message
from tests.processes import LIMIT_S

PAIR = Pair(question="2 + 2?", a="4", b="5", id="p1")
CHAT = (
    "<type>Chat</type>\n<rubric>1. Truth (100%): so <justify>There is one.</justify></rubric>\n"
    '<eval>A says <quote_A>"4"</quote_A>, which is < 5.</eval>\n<answer>[[A]]</answer>'
)
SECTIONS = [
    ("type", "Chat"),
    ("justify", "There is one."),
    ("rubric", "1. Truth (100%): so"),
    ("eval", "A says “4”, which is < 5."),
    ("answer", "[[A]]"),
]

Key = tuple[str | None, int, int]


def put_together(events: Sequence[Section]) -> dict[Key, list[tuple[str, str]]]:
    """The finished sections of every reading."""
    readings: dict[Key, list[tuple[str, str]]] = {}
    told: dict[tuple[Key, str], str] = {}
    for event in events:
        key = (event.shown, event.vote, event.attempt)
        text = told.pop((key, event.name), "") + event.text
        if event.done and event.judgment is None:
            readings.setdefault(key, []).append((event.name, text))
        else:
            told[key, event.name] = text
    return readings


def the_judgment(events: Sequence[Section]) -> Judgment:
    """What the last event holds, and no other."""
    *sections, last = events
    assert all(event.judgment is None and event.name != "judgment" for event in sections)
    assert (last.name, last.done, last.shown) == ("judgment", True, None)
    assert last.judgment
    return last.judgment


def in_a_row(judge: Judge, pair: Pair = PAIR) -> list[Section]:
    async def awaited() -> list[Section]:
        return [event async for event in judge.astream(pair)]

    return asyncio.run(awaited())


class Written:
    """An engine that writes one piece, and each further one when it is told to."""

    model = identity = "written"
    capabilities = Capabilities(streaming=True)

    def __init__(self, pieces: Sequence[str | Exception]) -> None:
        self.pieces = pieces
        self.go_on = asyncio.Semaphore(1)
        self.stopped = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    def write_more(self) -> None:
        assert self.loop
        self.loop.call_soon_threadsafe(self.go_on.release)

    async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        self.loop = asyncio.get_running_loop()
        try:
            for piece in self.pieces:
                await self.go_on.acquire()
                if isinstance(piece, Exception):
                    raise piece
                assert on_text
                on_text(piece)
        finally:
            self.stopped.set()
        return Completion(text="".join(map(str, self.pieces)))

    async def aclose(self) -> None: ...


@pytest.mark.parametrize("votes", [1, 3])
def test_the_last_event_holds_what_compare_returns(votes: int) -> None:
    judge = Judge(FakeBackend(lambda request: CHAT), votes=votes)
    events = list(judge.stream(PAIR))
    assert the_judgment(events) == judge.compare(PAIR)
    readings = put_together(events)
    assert sorted(readings) == [(shown, vote, 0) for shown in ("AB", "BA") for vote in range(votes)]
    assert list(readings.values()) == [SECTIONS] * 2 * votes
    assert in_a_row(judge) == events == list(judge.stream("2 + 2?", "4", "5"))[:-1] + events[-1:]


def test_orders_are_told_side_by_side() -> None:
    shown = [event.shown for event in Judge(FakeBackend(lambda request: CHAT)).stream(PAIR)]
    assert shown.index("BA") < len(shown) - 1 - shown[::-1].index("AB")


def test_a_section_is_told_while_it_is_written() -> None:
    backend = Written(["<eval>First", " second", "</ev", "al><answer>[[A]]</answer>"])
    with closing(Judge(backend, orders="given").stream(PAIR)) as events:
        assert next(events) == Section(name="eval", text="First", shown="AB")
        backend.write_more()
        assert next(events) == Section(name="eval", text=" second", shown="AB")
        backend.write_more()
        backend.write_more()
        assert next(events) == Section(name="eval", done=True, shown="AB")
        assert [event.name for event in events] == ["answer", "judgment"]


def test_an_asynchronous_caller_is_told_while_it_is_written() -> None:
    backend = Written(["<eval>First", " second"])

    async def main() -> None:
        async with aclosing(Judge(backend, orders="given").astream(PAIR)) as events:
            assert (await anext(events)).text == "First"
            backend.write_more()
            assert (await anext(events)).text == " second"

    asyncio.run(main())
    assert backend.stopped.wait(LIMIT_S)


def test_leaving_early_stops_the_work() -> None:
    backend = Written(["<eval>First", "never"])
    for event in Judge(backend, orders="given").stream(PAIR):
        assert event.text == "First"
        break
    assert backend.stopped.wait(LIMIT_S)


def test_an_error_of_the_engine_comes_after_what_was_written() -> None:
    backend = Written(["<eval>First", BackendError("gone")])
    events = Judge(backend, orders="given").stream(PAIR)
    assert next(events).text == "First"
    backend.write_more()
    with pytest.raises(BackendError, match="gone"):
        next(events)
    assert list(events) == []


def test_what_is_asked_once_more_is_told_as_another_attempt() -> None:
    judge = Judge(FakeBackend(["no idea", CHAT]), orders="given")
    events = list(judge.stream(PAIR))
    assert put_together(events) == {("AB", 0, 0): [("prose", "no idea")], ("AB", 0, 1): SECTIONS}
    assert the_judgment(events).winner == "A"


def test_choices_are_no_text() -> None:
    judge = Judge(FakeBackend(lambda r: "no idea", choice_logprobs=lambda r: (log(0.8), log(0.2))), orders="given")
    events = list(judge.stream(PAIR))
    assert put_together(events) == {("AB", 0, 0): [("prose", "no idea")]}
    assert the_judgment(events).verdicts[0].forced


def test_what_a_store_holds_comes_in_one_piece(tmp_path: Path) -> None:
    backend = FakeBackend(lambda request: CHAT)
    with Judge(backend, store=tmp_path / "s.db", orders="given") as judge:
        first = list(judge.stream(PAIR))
        again = list(judge.stream(PAIR))
        assert the_judgment(first) == the_judgment(again) == judge.compare(PAIR)
    assert backend.asked == 1
    assert put_together(first) == put_together(again)
    assert len(first) > len(again)
    assert [(event.name, event.text, event.done) for event in again[:-1]] == [
        ("type", "Chat", True),
        ("rubric", "1. Truth (100%): so", False),
        ("justify", "There is one.", True),
        ("rubric", "", True),
        ("eval", "A says “4”, which is < 5.", True),
        ("answer", "[[A]]", True),
    ]


def test_an_engine_that_does_not_stream_tells_each_text_at_its_end() -> None:
    backend = FakeBackend(lambda request: CHAT)
    backend.capabilities = Capabilities()
    events = list(Judge(backend, orders="given").stream(PAIR))
    assert put_together(events) == {("AB", 0, 0): SECTIONS}
    assert len(events) == 7


@pytest.mark.parametrize("reasoning", [None, " hm \n"])
@pytest.mark.parametrize("opened", ["", "<think>"])
def test_thinking_is_a_section_wherever_it_was_delivered(reasoning: str | None, opened: str) -> None:
    text = "<answer>[[A]]</answer>" if reasoning else f"{opened} hm \n</think><answer>[[A]]</answer>"
    backend = FakeBackend(lambda request: Completion(text=text, reasoning=reasoning))
    backend.capabilities = Capabilities(streaming=reasoning is None)
    events = list(Judge(backend, prompt="reasoning", orders="given").stream(PAIR))
    assert put_together(events) == {("AB", 0, 0): [("thinking", "hm"), ("answer", "[[A]]")]}
    assert the_judgment(events).verdicts[0].thinking in ("hm", " hm \n")


def test_identical_answers_are_told_as_a_judgment_alone() -> None:
    (event,) = Judge(FakeBackend([])).stream("q", "same", "same")
    assert event.judgment
    assert event.judgment.winner == "tie"


def test_time_over_leaves_a_section_open_and_ends_in_the_failure() -> None:
    events = list(Judge(Written(["<eval>First", "never"]), orders="given", timeout_s=2).stream(PAIR))
    assert [(event.name, event.done) for event in events] == [("eval", False), ("judgment", True)]
    failure = the_judgment(events).failure
    assert failure
    assert failure.kind == "timeout"


def test_an_unreadable_judgment_is_a_value_or_raised() -> None:
    backend = FakeBackend(lambda request: "hm")
    assert the_judgment(list(Judge(backend).stream(PAIR))).winner is None
    events = Judge(backend, on_failure="raise", orders="given").stream(PAIR)
    assert next(events).text == "hm"
    with pytest.raises(JudgmentFailed):
        list(events)


def test_arguments_that_cannot_be_right_are_refused_at_once() -> None:
    judge = Judge(FakeBackend([]))
    for stream in (judge.stream, judge.astream):
        with pytest.raises(TypeError, match="a question and two answers"):
            stream("q", "a")  # type: ignore[call-overload]


def test_a_custom_prompt_is_told_as_prose() -> None:
    from tests.mtbench import mtbench_prompt

    judge = Judge(FakeBackend(lambda r: "Therefore, Output (b) is better."), prompt=mtbench_prompt(), orders="given")
    events = list(judge.stream(PAIR))
    assert put_together(events) == {("AB", 0, 0): [("prose", "Therefore, Output (b) is better.")]}
    assert the_judgment(events).winner == "B"


def test_the_double_tells_the_whole_text() -> None:
    pieces: list[str] = []
    request = Request(messages=(Message(role="user", content="q"),))
    asyncio.run(FakeBackend([CHAT]).generate(request, on_text=pieces.append))
    assert len(pieces) > 9
    assert "".join(pieces) == CHAT
