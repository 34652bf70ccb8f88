"""A judge behind HTTP, asked by real clients on loopback, some of which misbehave."""

import asyncio
import base64
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rmr1_sdk import (
    BackendError,
    BudgetExceeded,
    Capabilities,
    Completion,
    ConfigError,
    FakeBackend,
    Grade,
    Judge,
    Judgment,
    Message,
    MissingExtraError,
    Pair,
    Ranking,
    Request,
    Section,
    StoreError,
)
from rmr1_sdk.server import Limits, create_app, events, listen
from tests.judging.test_pointwise import QUESTION, RUBRIC, Asked
from tests.judging.test_streaming import CHAT
from tests.processes import LIMIT_S, Child, until
from tests.replies import by_xs, by_xs_or_mute, decided, mute
from tests.serving import Serving, read_events, serving

ROOT = Path(__file__).parents[1]
PAIR = {"question": "How many?", "a": "xx", "b": "x"}
ASKED = {"messages": [{"role": "user", "content": "Hi"}]}
SAMPLES = {"query": ["Qxx</s>"], "prompts": ["Q"], "labels": ["x"]}
FIRST, REST = "<eval>So.", "</eval><answer>[[A]]</answer>"


class Held:
    """An engine that writes a few words, and goes on when it is let. It notes who came, and who was sent away."""

    model = identity = "held"
    capabilities = Capabilities(streaming=True, concurrency=2)

    def __init__(self) -> None:
        self.came = threading.Semaphore(0)
        self.sent_away = threading.Semaphore(0)
        self._free = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        self.came.release()
        if on_text:
            on_text(FIRST)
        let = asyncio.Event()
        self._waiting.append((asyncio.get_running_loop(), let))
        if self._free:
            let.set()
        try:
            await let.wait()
        except asyncio.CancelledError:
            self.sent_away.release()
            raise
        if on_text:
            on_text(REST)
        return Completion(text=FIRST + REST)

    def let(self) -> None:
        self._free = True
        for loop, event in self._waiting:
            loop.call_soon_threadsafe(event.set)

    async def aclose(self) -> None:
        pass


def figures(server: Serving) -> dict[str, float]:
    """The server's metrics by name and labels."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(server.client.get("/metrics").text)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving(Judge(FakeBackend(by_xs_or_mute)), limits=Limits(answers=4, samples=2)) as server:
        yield server


@pytest.fixture(scope="module")
def locked() -> Iterator[Serving]:
    with serving(Judge(FakeBackend(by_xs)), keys=["first-key", "second-key"]) as server:
        yield server


@pytest.fixture
def held() -> Iterator[tuple[Held, Serving]]:
    engine = Held()
    with serving(Judge(engine, orders="given"), limits=Limits(requests=2), drain_s=LIMIT_S) as server:
        yield engine, server
        engine.let()


# --- what it answers -----------------------------------------------------------------------------


def test_a_comparison_is_that_of_the_judge() -> None:
    judge = Judge(FakeBackend(decided), votes=2)
    pair = Pair(question="Which?", a="4\u2028", b="5", id="p", rubric="Be right.", reference="4", metadata={"n": 1})
    with serving(judge) as server:
        answer = server.post("/v1/compare", pair.model_dump())
        assert answer.status_code == 200
        assert Judgment.model_validate_json(answer.content) == judge.compare(pair)


def test_conversations_are_taken_as_everywhere(server: Serving) -> None:
    turns = [{"role": "user", "content": "How many?"}]
    answer = server.post("/v1/compare", {"question": turns, "a": [{"role": "assistant", "content": "xx"}], "b": "x"})
    assert answer.json()["winner"] == "A"


def test_no_verdict_is_an_answer(server: Serving) -> None:
    judgment = Judgment.model_validate(server.post("/v1/compare", PAIR | {"a": "mute"}).json())
    assert judgment.winner is None
    assert judgment.failure
    assert judgment.failure.kind == "no_answer"


def test_a_stream_is_that_of_the_judge() -> None:
    judge = Judge(FakeBackend(lambda request: CHAT.replace("because", "\u2028\x85")))
    with serving(judge) as server:
        answer = server.post("/v1/compare/stream", PAIR)
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = read_events(answer.text)
    assert [Section.model_validate(data) for _, data in told] == list(judge.stream(Pair.model_validate(PAIR)))
    assert [name for name, _ in told] == ["section"] * (len(told) - 1) + ["judgment"]


def test_sections_arrive_while_they_are_written(held: tuple[Held, Serving]) -> None:
    engine, server = held
    with server.client.stream("POST", "/v1/compare/stream", json=PAIR) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: section"
        assert Section.model_validate_json(next(lines).removeprefix("data: ")).text == "So."
        engine.let()
        assert [line for line in lines if line.startswith("event: ")][-1] == "event: judgment"


def test_silence_is_filled_with_comments(held: tuple[Held, Serving], monkeypatch: pytest.MonkeyPatch) -> None:
    engine, server = held
    monkeypatch.setattr(events, "KEEP_ALIVE_S", 0.02)
    with server.client.stream("POST", "/v1/compare/stream", json=PAIR) as answer:
        lines = answer.iter_lines()
        until(lambda: next(lines).startswith(":"))
        engine.let()
        assert [line for line in lines if line.startswith("event: ")][-1] == "event: judgment"


def test_a_ranking_is_that_of_the_judge() -> None:
    judge = Judge(FakeBackend(by_xs))
    asked = {"question": "How many?", "answers": ["x", "xxx", "xx"], "method": "swiss", "budget": 3}
    with serving(judge) as server:
        answer = server.post("/v1/rank", asked)
        alone = {"question": "Q", "answers": ["xx"], "method": "anchor", "anchor": "x", "aggregate": "win_rate"}
        anchored = server.post("/v1/rank", alone)
    expected = judge.rank("How many?", ["x", "xxx", "xx"], method="swiss", budget=3)
    assert Ranking.model_validate_json(answer.content) == expected
    assert anchored.json()["scores"] == [0.75]


def test_a_grade_is_that_of_the_judge() -> None:
    judge = Judge(FakeBackend(Asked()))
    rubric = RUBRIC.model_dump()
    with serving(judge) as server:
        answer = server.post("/v1/grade", {"question": QUESTION, "answer": "It is 51.", "rubric": rubric})
        unread = server.post("/v1/grade", {"question": QUESTION, "answer": "x", "rubric": {"criteria": []}})
        seen = figures(server)
    assert Grade.model_validate_json(answer.content) == judge.grade(QUESTION, "It is 51.", rubric=RUBRIC)
    assert (unread.status_code, unread.json()["error"]["type"]) == (422, "invalid_request")
    assert seen["rmr1_grades_total yes"] == 1


def test_a_raw_completion_is_that_of_the_engine() -> None:
    engine = FakeBackend(decided, choice_logprobs=lambda request: (-0.5, float("-inf")))
    with serving(Judge(engine)) as server:
        whole = server.post("/v1/completions/raw", ASKED)
        choice = server.post("/v1/completions/raw", ASKED | {"choices": ["A", "B"]})
        pieces = read_events(server.post("/v1/completions/raw/stream", ASKED).text)
    expected = decided(Request(messages=(Message(role="user", content="Hi"),)))
    assert Completion.model_validate_json(whole.content) == expected
    assert Completion.model_validate_json(choice.content).choice_logprobs == (-0.5, float("-inf"))
    *texts, (name, completion) = pieces
    assert name == "completion"
    assert Completion.model_validate(completion) == expected
    assert {name for name, _ in texts} == {"text"}
    assert "".join(data["text"] for _, data in texts) == expected.text


def test_raw_completions_are_kept_in_the_judges_store_and_charged_to_its_budget(tmp_path: Path) -> None:
    engine = FakeBackend(decided)
    with Judge(engine, store=tmp_path / "s.db", max_tokens_total=1) as judge, serving(judge) as server:
        assert [server.post("/v1/completions/raw", ASKED).status_code for _ in range(2)] == [200, 200]
        other = server.post("/v1/completions/raw", {"messages": [{"role": "user", "content": "Ho"}]})
    assert engine.asked == 1
    assert other.status_code == 429
    assert other.json()["error"]["type"] == "budget_exceeded"


def test_the_model_is_told_with_a_tag_that_raw_requests_may_insist_on(server: Serving) -> None:
    told = server.client.get("/v1/model")
    assert told.json()["model"] == told.json()["identity"] == "fake"
    assert told.json()["capabilities"]["streaming"] is True
    same = server.post("/v1/completions/raw", ASKED, headers={"If-Match": told.headers["etag"]})
    other = server.post("/v1/completions/raw/stream", ASKED, headers={"If-Match": '"another"'})
    assert (same.status_code, other.status_code) == (200, 412)
    assert other.json()["error"]["type"] == "other_engine"


def test_rewards_in_openrlhfs_shape_are_finite_whatever_fails(server: Serving) -> None:
    assert server.post("/get_reward", SAMPLES).json() == {
        "rewards": [0.75], "scores": [0.75], "extra_logs": {"judge_failed": [0.0]},
    }  # fmt: skip
    two = {"query": ["Qmute", "Qx"], "prompts": ["Q", "Q"], "labels": ["x", 7]}
    assert server.post("/get_reward", two).json()["extra_logs"] == {"judge_failed": [1.0, 1.0]}
    assert server.post("/get_reward", two).json()["rewards"] == [0.5, 0.5]
    # what it sends to the others where there are more URLs than samples
    nothing: dict[str, list[str]] = {"query": [], "prompts": [], "labels": []}
    assert server.post("/get_reward", nothing).json()["rewards"] == []


def test_the_page_may_load_nothing_from_elsewhere(locked: Serving) -> None:
    for path in ("/", "/page.js", "/page.css"):
        answer = httpx2.get(locked.url + path)  # without a key: it is the page that asks for one
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert "http" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    for path in ("/index.html", "/app.py", "/page/../app.py", "/..%2fapp.py"):
        assert locked.client.get(path).status_code == 404


def test_a_reward_that_takes_too_long_is_finite_too() -> None:
    with serving(Judge(Held()), limits=Limits(request_s=0.5)) as server:
        answer = server.post("/get_reward", SAMPLES)
    assert (answer.status_code, answer.json()["rewards"]) == (200, [0.5])


def test_openapi_tells_our_own_models(server: Serving) -> None:
    told = server.client.get("/openapi.json").json()
    assert {"Pair", "Judgment", "Ranking", "Request", "Completion", "Section", "ErrorBody"} <= set(
        told["components"]["schemas"]
    )
    route = told["paths"]["/v1/compare"]["post"]
    assert route["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Pair"}
    assert {"200", "400", "401", "413", "422", "429", "503", "504"} <= set(route["responses"])
    streamed = told["paths"]["/v1/compare/stream"]["post"]["responses"]["200"]["content"]
    assert streamed["text/event-stream"]["schema"]["$ref"] == "#/components/schemas/Section"


def test_metrics_count_what_was_done() -> None:
    with serving(Judge(FakeBackend(by_xs_or_mute))) as server:
        server.post("/v1/compare", PAIR)
        server.post("/v1/compare/stream", PAIR | {"b": "mute"})
        server.post("/v1/rank", {"question": "Q", "answers": ["x", "xx"]})
        server.post("/get_reward", SAMPLES)
        server.post("/v1/completions/raw", ASKED)
        server.client.get("/nowhere")
        server.post("/v1/compare", {})
        seen = figures(server)
    assert seen["rmr1_requests_total /v1/compare 200"] == 1
    assert seen["rmr1_requests_total /v1/compare 422"] == 1
    assert seen["rmr1_requests_total other 404"] == 1
    assert sum(seen.get(f"rmr1_judgments_total {side}", 0) for side in "AB") == 3
    assert seen["rmr1_judgments_total none"] == 1
    assert seen["rmr1_failures_total no_answer"] == 2
    assert seen["rmr1_tokens_total prompt"] > 1000
    assert seen["rmr1_request_seconds_count /v1/rank"] == 1
    assert seen["rmr1_requests_in_flight"] == 0


# --- what it refuses -----------------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}
COMPARE, RANK, REWARD, RAW = "/v1/compare", "/v1/rank", "/get_reward", "/v1/completions/raw"
LIST = {"question": "q", "answers": ["a", "b"]}
CASES: dict[str, tuple[str, dict[str, Any], int, str, str]] = {
    "bad JSON": (COMPARE, {"content": b'{"question"', "headers": JSON}, 400, "invalid_json", "JSON"),
    "no UTF-8": (COMPARE, {"content": b'{"a": "\xff"}', "headers": JSON}, 400, "bad_request", "body"),
    "deep JSON": (COMPARE, {"content": b"[" * 500_000, "headers": JSON}, 400, "bad_request", "body"),
    "no body": (COMPARE, {"content": b"", "headers": JSON}, 422, "invalid_request", "body"),
    "no object": (COMPARE, {"json": [1]}, 422, "invalid_request", "the body"),
    "a form": (COMPARE, {"data": PAIR}, 422, "invalid_request", "application/json"),
    "a field is missing": (COMPARE, {"json": {"question": "q", "a": "x"}}, 422, "invalid_request", "field b:"),
    "a wrong field": (COMPARE, {"json": PAIR | {"a": 1}}, 422, "invalid_request", "field a"),
    "a wrong turn": (
        COMPARE,
        {"json": PAIR | {"b": [{"role": "user"}]}},
        422,
        "invalid_request",
        "field b: message 1: it has no content",
    ),
    "an unknown field": (COMPARE, {"json": PAIR | {"votes": 9}}, 422, "invalid_request", "field votes:"),
    "1 MB": (COMPARE, {"json": PAIR | {"a": "x" * 1_000_000}}, 413, "too_large", "1,000,000"),
    "1 MB in chunks": (COMPARE, {"content": iter([b"x" * 100_000] * 11), "headers": JSON}, 413, "too_large", "bytes"),
    "too many answers": (RANK, {"json": LIST | {"answers": list("abcde")}}, 413, "too_large", "answers"),
    "arguments that do not fit": (RANK, {"json": LIST | {"budget": 2}}, 422, "invalid_request", "budget="),
    "no answers": (RANK, {"json": LIST | {"answers": []}}, 422, "invalid_request", "answers"),
    "too many samples": (REWARD, {"json": SAMPLES | {"query": ["a"] * 3}}, 413, "too_large", "samples"),
    "not equally many": (REWARD, {"json": SAMPLES | {"labels": []}}, 422, "invalid_request", "0 labels"),
    "a wrong request": (RAW, {"json": {"messages": "Hi"}}, 422, "invalid_request", "field messages"),
    "no such path": ("/v1/nothing", {"json": {}}, 404, "not_found", "/v1/nothing"),
    "wrong method": ("/health", {"json": {}}, 405, "method_not_allowed", "POST /health"),
}


@pytest.mark.parametrize(("path", "sent", "status", "kind", "names"), CASES.values(), ids=list(CASES))
def test_misbehaviour_has_its_status(
    server: Serving, path: str, sent: dict[str, Any], status: int, kind: str, names: str
) -> None:
    answer = server.client.post(path, **sent)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"type", "message"}
    assert error["type"] == kind
    assert names in error["message"]
    assert len(error["message"]) < 500
    assert server.post("/v1/compare", PAIR).status_code == 200


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Bearer first-key2", 401),
        ("Bearer", 401),
        ("Bearer \xe9", 401),
        ("first-key", 401),
        ("Basic " + base64.b64encode(b"any:wrong").decode(), 401),
        ("Basic %%%", 401),
        ("Bearer first-key", 200),
        ("bearer  second-key", 200),
        ("Basic " + base64.b64encode(b"any:second-key").decode(), 200),
    ],
)
def test_a_key_opens(locked: Serving, authorization: str | None, status: int) -> None:
    with httpx2.Client(base_url=locked.url) as client:
        if authorization is not None:
            client.headers = httpx2.Headers([(b"Authorization", authorization.encode("latin-1"))])
        assert client.post("/v1/compare", json=PAIR).status_code == status
        assert client.get("/metrics").status_code == status
        assert client.get("/v1/model").status_code == status
        refused = client.get("/nothing")
        assert refused.status_code == (404 if status == 200 else 401)
        assert client.get("/health").status_code == 200


def test_keys_are_in_no_answer_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    def gone(request: Request) -> str:
        raise BackendError("gone")

    with caplog.at_level(logging.DEBUG), serving(Judge(FakeBackend(gone)), keys=["planted-key"]) as server:
        texts = [server.post("/v1/compare", PAIR).text, server.client.get("/metrics").text]
        texts.append(server.client.get(f"{server.url}/v1/model", headers={"Authorization": "Bearer planted-key2"}).text)
    assert "planted-key" not in "".join(texts) + caplog.text.replace("Authorization", "")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_without_a_key_only_this_machine_is_served(host: str) -> None:
    with pytest.raises(ConfigError, match="without a key only this machine is served"):
        listen(host, 0, keyed=False)


def test_an_address_that_is_taken_is_told() -> None:
    with listen("127.0.0.1", 0, keyed=False) as first, pytest.raises(ConfigError, match="cannot be listened on"):
        listen("127.0.0.1", first.getsockname()[1], keyed=False)


def test_limits_must_be_more_than_nothing() -> None:
    with pytest.raises(ConfigError, match="body_bytes must be more than 0, not 0"):
        Limits(body_bytes=0)


# --- what goes wrong -----------------------------------------------------------------------------


FAILURES: dict[str, tuple[Exception, int, str]] = {
    "the engine is gone": (BackendError("the engine is gone"), 503, "engine_failed"),
    "9 tokens are spent": (BudgetExceeded("9 tokens are spent"), 429, "budget_exceeded"),
    "the disk is full": (StoreError("the disk is full"), 503, "store_failed"),
    "a mistake of this server": (ValueError("a secret of ours"), 500, "internal"),
}


@pytest.fixture(scope="module")
def failing() -> Iterator[Serving]:
    """A server whose engine fails as the question says."""

    def fails(request: Request) -> str:
        raise next(error for told, (error, *_) in FAILURES.items() if told in request.messages[-1].content)

    with serving(Judge(FakeBackend(fails))) as server:
        yield server


@pytest.mark.parametrize("told", FAILURES)
@pytest.mark.parametrize("path", ["/v1/compare", "/v1/compare/stream", "/v1/completions/raw/stream"])
def test_an_error_of_the_judge_has_its_status(
    failing: Serving, path: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, status, kind = FAILURES[told]
    asked = {"messages": [{"role": "user", "content": told}]} if "raw" in path else PAIR | {"question": told}
    answer = failing.post(path, asked)
    if path.endswith("stream"):
        ((name, body),) = read_events(answer.text)
        assert (answer.status_code, name) == (200, "error")
    else:
        body = answer.json()
        assert answer.status_code == status
    assert body == {"error": {"type": kind, "message": body["error"]["message"]}}
    assert told in body["error"]["message"]
    assert "secret" not in body["error"]["message"]
    assert ("a secret of ours" in caplog.text) == (status == 500)


def test_an_unreadable_judgment_that_is_raised_is_no_call_to_try_again() -> None:
    with serving(Judge(FakeBackend(mute), on_failure="raise")) as server:
        answer = server.post("/v1/compare", PAIR)
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "judgment_failed")


def test_what_takes_too_long_is_given_up(held: tuple[Held, Serving]) -> None:
    engine = Held()
    with serving(Judge(engine), limits=Limits(request_s=0.2)) as server:
        answer = server.post("/v1/compare", PAIR)
        streamed = read_events(server.post("/v1/compare/stream", PAIR).text)
        assert engine.sent_away.acquire(timeout=LIMIT_S)
    assert (answer.status_code, answer.json()["error"]["type"]) == (504, "timeout")
    assert [name for name, _ in streamed][-1] == "error"
    assert streamed[-1][1]["error"]["type"] == "timeout"


def test_a_comparison_that_runs_out_of_time_is_a_judgment_that_says_so() -> None:
    with serving(Judge(Held(), timeout_s=0.1)) as server:
        judgment = Judgment.model_validate(server.post("/v1/compare", PAIR).json())
    assert judgment.failure
    assert judgment.failure.kind == "timeout"


def test_health_follows_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    from rmr1_sdk.server import shared

    broken = True

    def reply(request: Request) -> str:
        if broken:
            raise BackendError("gone")
        return "fine"

    engine = FakeBackend(reply)
    with serving(Judge(engine)) as server:
        assert server.client.get("/health").json() == {"status": "ok", "in_flight": 0}
        assert engine.asked == 0
        server.post("/v1/compare", PAIR)
        assert [server.client.get("/health").status_code for _ in range(3)] == [503] * 3
        server.post("/v1/compare", PAIR | {"b": PAIR["a"]})  # a tie that no engine is asked about
        assert server.client.get("/health").status_code == 503
        assert server.client.get("/health").json()["status"] == "failing"
        asked = engine.asked
        broken = False
        monkeypatch.setattr(shared, "PROBE_EVERY_S", 0.0)
        assert server.client.get("/health").status_code == 200
        assert engine.asked == asked + 1


# --- many at once --------------------------------------------------------------------------------


def test_a_full_server_says_when_to_come_back(held: tuple[Held, Serving]) -> None:
    engine, server = held
    waiting = [server.raw("/v1/compare", PAIR) for _ in range(2)]
    until(lambda: server.state.in_flight == 2)
    answer = server.post("/v1/compare", PAIR)
    assert (answer.status_code, answer.json()["error"]["type"]) == (429, "full")
    assert answer.headers["retry-after"] == "1"
    assert server.client.get("/health").json() == {"status": "ok", "in_flight": 2}
    engine.let()
    for connection in waiting:
        with connection:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    until(lambda: server.state.in_flight == 0)
    assert server.post("/v1/compare", PAIR).status_code == 200


@pytest.mark.parametrize("path", ["/v1/compare", "/v1/compare/stream", "/v1/rank", "/v1/completions/raw/stream"])
def test_a_client_that_goes_away_cancels_its_work(held: tuple[Held, Serving], path: str) -> None:
    engine, server = held
    bodies = {"/v1/rank": {"question": "q", "answers": ["x", "y"]}, "/v1/completions/raw/stream": ASKED}
    with server.raw(path, bodies.get(path, PAIR)):
        assert engine.came.acquire(timeout=LIMIT_S)
    assert engine.sent_away.acquire(timeout=LIMIT_S)
    until(lambda: server.state.in_flight == 0)
    gone = f"rmr1_requests_total {path} gone"
    until(lambda: figures(server).get(gone) == 1)


def test_a_client_that_goes_away_before_its_body_is_there_is_forgotten(server: Serving) -> None:
    with server.raw("/v1/compare", length=100):
        until(lambda: server.state.in_flight == 1)
    until(lambda: server.state.in_flight == 0)


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    with (
        serving(Judge(FakeBackend(by_xs)), limits=Limits(body_s=0.1)) as server,
        server.raw("/v1/compare", length=100) as connection,
    ):
        said = connection.recv(65536)
        assert said.startswith(b"HTTP/1.1 408")
        assert b"connection: close" in said.lower()


def test_a_slow_reader_holds_up_nobody_and_is_let_go(caplog: pytest.LogCaptureFixture) -> None:
    text = "<eval>" + "word " * 100_000 + "</eval><answer>[[A]]</answer>"  # as events 11 MB, more than sockets hold
    judge = Judge(FakeBackend(lambda request: Completion(text=text)), orders="given", max_concurrency=1)
    with serving(judge, limits=Limits(write_s=2)) as server, server.raw("/v1/compare/stream", PAIR) as reader:
        reader.recv(1000)
        other = server.post("/v1/compare", {"question": "q", "a": "x", "b": "y"})
        assert other.status_code == 200
        until(lambda: server.state.in_flight == 0)
        assert "a client took nothing for 2 s and was let go" in caplog.text
        assert figures(server)["rmr1_requests_total /v1/compare/stream gone"] == 1


def test_who_does_not_read_a_whole_answer_is_let_go_too() -> None:
    judge = Judge(FakeBackend(lambda request: Completion(text="x" * 20_000_000)), orders="given", force_verdict=False)
    with serving(judge, limits=Limits(write_s=3)) as server, server.raw("/v1/compare", PAIR) as reader:
        reader.recv(1000)
        time.sleep(0.3)
        assert server.state.in_flight == 1, "what is not taken counts as under way"
        until(lambda: server.state.in_flight == 0)
        until(lambda: not server.server.server_state.connections)


def test_two_hundred_at_once_are_all_answered(server: Serving) -> None:
    async def main() -> set[int]:
        async with httpx2.AsyncClient(base_url=server.url, timeout=LIMIT_S) as client:
            asked = [client.post("/v1/compare", json=PAIR | {"id": str(n)}) for n in range(200)]
            answers = await asyncio.gather(*asked)
            assert [answer.json()["pair_id"] for answer in answers] == [str(n) for n in range(200)]
            return {answer.status_code for answer in answers}

    assert asyncio.run(main()) == {200}


# --- the end -------------------------------------------------------------------------------------


def test_what_was_accepted_is_finished_and_what_is_new_is_refused(
    held: tuple[Held, Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, server = held
    monkeypatch.setattr("rmr1_sdk.server.serving._QUIET_S", 3.0)  # the test comes back in less, also on a busy machine
    with server.raw("/v1/compare", PAIR) as accepted:
        assert engine.came.acquire(timeout=LIMIT_S)
        server.terminate()
        refused = server.post("/v1/compare", PAIR)
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "draining")
        assert refused.headers["connection"] == "close"
        body = json.dumps(PAIR).encode()
        with server.raw("/v1/compare", length=len(body)) as late:
            late.settimeout(0.2)
            with pytest.raises(TimeoutError):
                late.recv(1)  # clients that are hung up on while they are sending do not read the answer
            late.sendall(body)
            assert late.recv(65536).startswith(b"HTTP/1.1 503")
        health = server.client.get("/health")
        assert (health.status_code, health.json()) == (503, {"status": "draining", "in_flight": 1})
        assert server.thread.is_alive()
        engine.let()
        assert accepted.recv(65536).startswith(b"HTTP/1.1 200")
    time.sleep(0.25)
    assert server.post("/v1/compare", PAIR).status_code == 503, "who comes back is told, not hung up on"
    server.thread.join(LIMIT_S)
    assert not server.thread.is_alive()


def test_who_is_not_finished_when_time_is_over_is_told() -> None:
    with serving(Judge(Held(), orders="given"), drain_s=0.2) as server:
        with server.raw("/v1/compare", PAIR) as one, server.raw("/v1/compare/stream", PAIR) as two:
            until(lambda: server.state.in_flight == 2)
            server.terminate()
            assert one.recv(65536).startswith(b"HTTP/1.1 503")
            told = b""
            while piece := two.recv(65536):
                told += piece
            assert b'event: error\ndata: {"error": {"type": "stopped"' in told
        server.thread.join(LIMIT_S)
        assert not server.thread.is_alive()


def test_a_second_signal_stops_at_once() -> None:
    with serving(Judge(Held()), drain_s=10 * LIMIT_S) as server, server.raw("/v1/compare", PAIR):
        until(lambda: server.state.in_flight == 1)
        server.terminate()
        server.terminate()
        server.thread.join(LIMIT_S)
        assert not server.thread.is_alive()


class Command(Child):
    """`rmr1 serve` as a process of its own, which has said where it is, or has ended."""

    def __init__(self, command: list[str], *options: str, **environment: str) -> None:
        super().__init__([*command, "serve", *options, "--port", "0"], env={**os.environ, **environment}, cwd=ROOT)
        self.client = httpx2.Client(timeout=LIMIT_S)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.push(self)
            until(lambda: "\n" in self.stderr or not self.running)
            stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self.client.close()
        super().__exit__(*error)

    @property
    def url(self) -> str:
        address = re.search(r"http://[^ ]+", self.stderr)
        return address[0] if address else ""

    def terminate(self) -> int:
        self.send(signal.SIGTERM)
        return self.finish().returncode


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_the_command_finishes_what_it_accepted(rmr1: list[str], sent: signal.Signals) -> None:
    statuses: Counter[str] = Counter()

    async def client(http: httpx2.AsyncClient, number: int) -> None:
        while True:
            try:
                answer = await http.post("/v1/compare", json=PAIR | {"question": str(number)})
            except (httpx2.ConnectError, httpx2.ReadError, httpx2.RemoteProtocolError) as error:
                statuses[type(error).__name__] += 1
                return
            statuses[str(answer.status_code)] += 1
            if answer.status_code == 503:
                assert answer.headers["connection"] == "close"
                assert answer.json()["error"]["type"] == "draining"
                return

    async def main(server: Command) -> None:
        async with (
            asyncio.timeout(LIMIT_S),
            httpx2.AsyncClient(base_url=server.url, timeout=LIMIT_S) as http,
            asyncio.TaskGroup() as clients,
        ):
            for number in range(20):
                clients.create_task(client(http, number))
            while (await http.get("/health")).json()["in_flight"] < 19 or not statuses["200"]:
                pass
            server.send(sent)

    with Command(rmr1, "fake:tests.replies:slowly", "--max-concurrency", "4") as server:
        asyncio.run(main(server))
        assert server.finish().returncode == 0
    assert statuses["200"] >= 20
    assert statuses["200"] + statuses["503"] + statuses["ConnectError"] == statuses.total(), statuses
    assert "Traceback" not in server.stderr


def test_the_command_says_where_it_is_and_who_may_come(rmr1: list[str], tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("planted-one\n\nplanted-two\n")
    key = {"Authorization": "Bearer planted-two"}
    with Command(rmr1, "fake:tests.replies:by_xs", "--key-file", str(file)) as server:
        assert re.fullmatch(r"fake with the prompt cor at http://127.0.0.1:\d+ \(2 keys\)\n", server.stderr)
        assert server.client.post(f"{server.url}/v1/compare", json=PAIR).status_code == 401
        assert server.client.post(f"{server.url}/v1/compare", json=PAIR, headers=key).json()["winner"] == "A"
        assert server.terminate() == 0
        assert "planted" not in server.stderr
    with Command(rmr1, "fake:tests.replies:by_xs", RMR1_SERVER_KEYS="one,two,three") as server:
        assert "(3 keys)" in server.stderr
    with Command(rmr1, "fake:tests.replies:by_xs", "--host", "127.0.0.2") as server:
        assert server.client.get(f"{server.url}/health").status_code == 200
    with Command(rmr1, "fake:tests.replies:by_xs") as server:
        assert "(no key, so for this machine only)" in server.stderr
        port = server.url.rpartition(":")[2]
        assert server.client.get(f"http://localhost:{port}/health").status_code == 200
        elsewhere = server.client.get(f"{server.url}/health", headers={"Host": f"rebound.example:{port}"})
        assert (elsewhere.status_code, elsewhere.json()["error"]["type"]) == (421, "other_host")
        assert server.client.get(f"{server.url}/health", headers={"Host": "["}).status_code == 421


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["fake:tests.replies:by_xs", "--host", "0.0.0.0"], "error: without a key only this machine is served"),
        (["fake:tests.replies:by_xs", "--key-file", "nowhere"], "error: --key-file nowhere: No such file"),
        (["fake:tests.replies:by_xs", "--key-file", os.devnull], f"--key-file {os.devnull}: there is no key in it"),
        (["fake:tests.replies:by_xs", "--max-body", "0"], "error: body_bytes must be more than 0"),
        (["fake:tests.replies:by_xs", "--prompt", "published"], "error: "),
        (["lama_cpp:x"], "did you mean llama_cpp:x?"),
    ],
)
def test_the_command_refuses_what_cannot_be_right(rmr1: list[str], options: list[str], said: str) -> None:
    with Command(rmr1, *options) as server:
        assert server.finish().returncode == 2
    assert said in server.stderr


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from rmr1_sdk import server

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "rmr1_sdk.server.serving")
    with pytest.raises(MissingExtraError, match=r'pip install "rmr1_sdk\[server\]"'):
        _ = server.run


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("planted\none,two", "error: $RMR1_SERVER_KEYS: this is no key"),
        ("one,plänted", "error: $RMR1_SERVER_KEYS: this is no key"),
        ("\n", "error: $RMR1_SERVER_KEYS: there is no key in it"),
    ],
)
def test_a_variable_without_usable_keys_opens_no_server(rmr1: list[str], variable: str, said: str) -> None:
    with Command(rmr1, "fake:tests.replies:by_xs", RMR1_SERVER_KEYS=variable) as server:
        assert server.finish().returncode == 2
        assert said in server.stderr
        assert "pl" not in server.stderr.partition("error: ")[2]


def test_space_around_the_keys_of_a_variable_is_no_part_of_them(rmr1: list[str]) -> None:
    with Command(rmr1, "fake:tests.replies:by_xs", RMR1_SERVER_KEYS=" one ,two\n") as server:
        assert "(2 keys)" in server.stderr
        told = httpx2.get(f"{server.url}/v1/model", headers={"Authorization": "Bearer two"})
        assert told.status_code == 200


@pytest.mark.parametrize("keys", ["secret", [""], [" key"], ["key\n"], ["k\ney"], ["k\u00e9y"]])
def test_keys_that_would_open_nothing_or_everything_are_refused(keys: Any) -> None:
    with pytest.raises(ConfigError, match="key"):
        create_app(Judge(FakeBackend(by_xs)), keys=keys)
