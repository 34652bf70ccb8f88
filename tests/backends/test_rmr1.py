"""The engine behind a server of ours, as a judge elsewhere uses it."""

import asyncio
import json
import logging
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf, log
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import (
    BackendError,
    BudgetExceeded,
    Capabilities,
    Completion,
    ConfigError,
    FakeBackend,
    Judge,
    Message,
    Pair,
    Request,
    connect,
)
from rmr1_sdk.backends import remote
from rmr1_sdk.backends.conformance import CHECKS, check
from rmr1_sdk.backends.rmr1 import RMR1
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.server import Limits
from tests import processes
from tests.backends.test_conformance import Model
from tests.judging.test_streaming import CHAT
from tests.processes import LIMIT_S, until
from tests.replies import always_a, by_xs, decided
from tests.serving import serving
from tests.test_server import Held

HELLO = Request(messages=(Message(role="user", content="Hello"),))
PAIRS = [Pair(question=f"What is {n}?", a=str(n), b="0", id=str(n)) for n in range(1, 30)]
_opened: list[RMR1] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _opened:
        wait(submit(_opened.pop().aclose()))


def engine_at(url: str, **options: Any) -> RMR1:
    engine = connect(f"rmr1:{url}", **options)
    assert isinstance(engine, RMR1)
    _opened.append(engine)
    return engine


def ask(engine: RMR1, request: Request = HELLO) -> Completion:
    return wait(submit(engine.generate(request)))


# --- the same judge ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "choice_logprobs"),
    [
        (decided, None),
        (decided, lambda request: (log(0.3), -inf)),
        (lambda request: "hm", lambda request: (-1.0, -2.0)),
    ],
    ids=["counted", "impossible choice", "forced"],
)
def test_a_judge_gives_the_same_judgments_as_beside_the_engine(reply: Any, choice_logprobs: Any) -> None:
    there = FakeBackend(reply, choice_logprobs=choice_logprobs)
    with serving(Judge(there)) as server:
        here = engine_at(server.url)
        options: dict[str, Any] = {"votes": 2, "seed": 7}
        assert list(Judge(here, **options).compare_many(PAIRS)) == list(Judge(there, **options).compare_many(PAIRS))
        ranked = [Judge(engine).rank("How many?", ["x", "xx", "xxx"]) for engine in (here, there)]
    assert ranked[0] == ranked[1]
    assert here.identity == there.identity


def test_it_streams_what_the_engine_writes() -> None:
    there = FakeBackend(lambda request: CHAT)
    with serving(Judge(there)) as server:
        told = list(Judge(engine_at(server.url), orders="given").stream(PAIRS[0]))
    texts = [
        "".join(event.text for event in events) for events in (told, Judge(there, orders="given").stream(PAIRS[0]))
    ]
    assert texts[0] == texts[1]
    assert told[-1].judgment == Judge(there, orders="given").compare(PAIRS[0])


def test_text_is_told_while_it_is_written() -> None:
    there = Held()
    pieces: list[str] = []
    with serving(Judge(there)) as server:
        flight = submit(engine_at(server.url).generate(HELLO, on_text=pieces.append))
        until(lambda: pieces == ["<eval>So."])
        assert not flight.done()
        there.let()
        assert "".join(pieces) != wait(flight).text == "".join(pieces)


def test_what_the_engine_is_decides_the_prompt() -> None:
    there = FakeBackend(always_a)
    there.capabilities = Capabilities(chat_template="{{ '<think>' }}", streaming=True)
    with serving(Judge(there)) as server, Judge(engine_at(server.url)) as judge:
        assert judge.prompt.name == "reasoning"


def test_conformance_holds_over_a_server() -> None:
    with serving(Judge(Model())) as server:
        results = wait(submit(check(engine_at(server.url))))
    assert {result.name: result.outcome for result in results} == dict.fromkeys(CHECKS, "ok")


@pytest.mark.llama_cpp
def test_a_real_model_conforms_and_judges_the_same_over_a_server(gguf: Path, rmr1: list[str]) -> None:
    there = connect(f"llama_cpp:{gguf}", n_ctx=2048, n_parallel=4)
    with serving(Judge(there)) as server:
        here = engine_at(server.url)
        beside, over = (Judge(engine, orders="given", sampling={"max_tokens": 24}) for engine in (there, here))
        judgment = beside.compare(PAIRS[0])
        assert over.compare(PAIRS[0]).verdicts[0].text == judgment.verdicts[0].text
        assert over.compare(PAIRS[0]).p_a == pytest.approx(judgment.p_a, abs=0.05)
        *sections, last = over.stream(PAIRS[0])
        assert len(sections) > 5
        assert last.judgment
        assert last.judgment.verdicts[0].text == judgment.verdicts[0].text
        assert here.capabilities == there.capabilities
        command = [*rmr1, "doctor", "--conformance", f"rmr1:{server.url}"]
        said = processes.run(command)
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    assert {row["check"]: row["outcome"] for row in rows} == dict.fromkeys(CHECKS, "ok"), said.stdout
    wait(submit(there.aclose()))


# --- addresses and keys --------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://host", "http://", "//host"])
def test_an_address_names_its_scheme_and_host(address: str) -> None:
    with pytest.raises(ConfigError, match='as in "rmr1:http://localhost:8000"'):
        connect(f"rmr1:{address}")


@pytest.mark.parametrize(
    "spec", ["rmr1:htp://any:KEY@host", "rmr1:http://any:KEY@", "rmr1:htp://host?key=KEY", "rmr:http://any:KEY@h"]
)
def test_an_address_that_cannot_be_right_is_not_shown_with_its_key(spec: str) -> None:
    with pytest.raises(ConfigError) as caught:
        connect(spec)
    assert "KEY" not in str(caught.value)
    assert "rmr1:" in str(caught.value)


def test_a_key_that_a_server_says_back_is_not_shown() -> None:
    key = "planted-key"

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"model": {"bad": self.headers["Authorization"]}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(BackendError, match=r"no answer of `rmr1 serve`.*model: ") as caught:
            ask(engine_at(f"http://127.0.0.1:{server.server_port}", api_key=key))
        server.shutdown()
    assert key not in "".join(traceback.format_exception(caught.value))


def test_until_it_is_asked_it_is_called_by_its_address() -> None:
    engine = engine_at("http://user:password@127.0.0.1:9/base")
    assert engine.model == "http://127.0.0.1:9/base"
    assert repr(engine) == "RMR1('http://127.0.0.1:9/base')"
    assert "http://127.0.0.1:9/base" in repr(Judge(engine))


def test_the_key_is_the_one_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RMR1_API_KEY", "planted-key")
    with serving(Judge(FakeBackend(always_a)), keys=["planted-key"]) as server:
        assert ask(engine_at(server.url)).text == always_a(HELLO)
        wrong = engine_at(server.url, api_key="planted-wrong")
        with pytest.raises(BackendError, match="401 unauthorized") as caught:
            ask(wrong)
    assert "planted" not in f"{caught.value} {wrong!r} {wrong.__dict__}"


def test_it_pickles_without_its_connections() -> None:
    with serving(Judge(FakeBackend(always_a)), keys=["k"]) as server:
        engine = engine_at(server.url, api_key="k")
        assert ask(engine).model == "fake"
        again: RMR1 = pickle.loads(pickle.dumps(engine))
        _opened.append(again)
        assert again.model == server.url
        assert ask(again).model == again.model == "fake"


# --- trouble -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"), [(BackendError("out of order"), "engine_failed"), (BudgetExceeded("spent"), "budget_exceeded")]
)
@pytest.mark.parametrize("on_text", [None, len])
def test_what_waiting_does_not_cure_ends_at_once(error: Exception, kind: str, on_text: Callable[[str], Any]) -> None:
    def fails(request: Request) -> str:
        raise error

    there = FakeBackend(fails)
    with serving(Judge(there)) as server, pytest.raises(BackendError, match=f"{kind}: {error}"):
        wait(submit(engine_at(server.url).generate(HELLO, on_text=on_text)))
    assert there.asked == 1


def test_a_server_that_is_full_is_asked_again() -> None:
    there = Held()
    with serving(Judge(there), limits=Limits(requests=1)) as server:
        engine = engine_at(server.url)
        assert engine.capabilities.streaming
        first, second = submit(engine.generate(HELLO)), submit(engine.generate(HELLO))
        assert there.came.acquire(timeout=LIMIT_S)
        time.sleep(0.2)
        there.let()
        assert wait(first) == wait(second)


def test_a_server_that_goes_and_comes_back_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    with serving(Judge(FakeBackend(by_xs))) as server:
        engine = engine_at(server.url)
        assert ask(engine).text == by_xs(HELLO)
    with caplog.at_level(logging.WARNING):
        flight = submit(engine.generate(HELLO))
        until(lambda: "trying again for up to 10 minutes" in caplog.text)
        with serving(Judge(FakeBackend(by_xs)), port=server.port):
            assert wait(flight).text == by_xs(HELLO)
    assert f"rmr1:{server.url}: " in caplog.text


def test_a_server_that_comes_back_with_another_engine_is_not_asked_any_more() -> None:
    with serving(Judge(FakeBackend(always_a, identity="one"))) as server:
        engine = engine_at(server.url)
        assert (ask(engine).text, engine.identity) == (always_a(HELLO), "one")
    other = FakeBackend(by_xs, identity="two")
    with serving(Judge(other), port=server.port):
        with pytest.raises(BackendError, match="other_engine"):
            ask(engine)
        assert other.asked == 0
        wait(submit(engine.aclose()))  # forgets what it knew
        assert (ask(engine).text, engine.identity) == (by_xs(HELLO), "two")


def test_a_request_that_is_too_large_for_the_server_is_too_long() -> None:
    with serving(Judge(FakeBackend(always_a)), limits=Limits(body_bytes=2_000)) as server:
        long = Request(messages=(Message(role="user", content="x" * 2_000),))
        assert ask(engine_at(server.url), long).stop == "too_long"


@pytest.mark.parametrize("on_text", [None, len])
def test_cancelling_frees_the_engine(on_text: Callable[[str], Any]) -> None:
    there = Held()
    with serving(Judge(there)) as server:
        flight = submit(engine_at(server.url).generate(HELLO, on_text=on_text))
        assert there.came.acquire(timeout=LIMIT_S)
        flight.cancel()
        assert there.sent_away.acquire(timeout=LIMIT_S)


@contextmanager
def scripted(*answers: list[tuple[str, Any]], about: Any = None) -> Iterator[str]:
    """A server that streams these events, an answer after the other, and breaks off at their end."""
    left = list(answers)
    told = about or {"model": "m", "identity": "i", "capabilities": Capabilities(streaming=True).model_dump()}

    class Answer(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._send("application/json", json.dumps(told))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            text = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in left.pop(0))
            self._send("text/event-stream", text)

        def _send(self, kind: str, text: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def text(piece: str) -> tuple[str, Any]:
    return "text", {"text": piece}


def done(whole: str) -> tuple[str, Any]:
    return "completion", Completion(text=whole).model_dump()


def test_a_stream_that_breaks_is_begun_again_and_nothing_is_told_twice() -> None:
    pieces: list[str] = []
    broken = [text("one "), text("two ")]
    whole = [text("on"), text("e t"), text("wo three"), done("one two three four")]
    with scripted(broken, whole) as url:
        completion = wait(submit(engine_at(url).generate(HELLO, on_text=pieces.append)))
    assert completion.text == "one two three four"
    assert pieces == ["one ", "two ", "three", " four"]


def test_a_text_that_comes_out_different_the_second_time_is_an_error() -> None:
    pieces: list[str] = []
    with scripted([text("one")], [text("an"), done("another")]) as url, pytest.raises(BackendError, match="different"):
        wait(submit(engine_at(url).generate(HELLO, on_text=pieces.append)))
    assert pieces == ["one"]


def test_an_error_in_a_stream_that_passes_is_waited_out() -> None:
    stopped = ("error", {"error": {"type": "stopped", "message": "restarting"}})
    with scripted([text("one"), stopped], [text("one"), done("one")]) as url:
        assert wait(submit(engine_at(url).generate(HELLO, on_text=lambda piece: None))).text == "one"


def test_another_kind_of_server_is_told_apart() -> None:
    with scripted(about={"object": "list"}) as url, pytest.raises(BackendError, match=r"no answer of `rmr1 serve`"):
        _ = engine_at(url).capabilities


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PATIENCE_S", 0.2)
    with pytest.raises(BackendError, match=r"rmr1:http://127\.0\.0\.1:9: Refused: no whole answer"):
        asyncio.run(RMR1("http://127.0.0.1:9").generate(HELLO))
