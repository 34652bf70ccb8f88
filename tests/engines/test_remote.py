"""The loop and the window that all remote engines share."""

import asyncio
import json
import logging
import pickle
import random
import socket
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rmr1_sdk import BackendError, ConfigError, Judge, Judgment, Pair, connect
from rmr1_sdk.backends import remote
from rmr1_sdk.backends.anthropic import Anthropic
from rmr1_sdk.backends.openai import OpenAI
from rmr1_sdk.backends.remote import AdaptiveLimiter, without_secrets
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.types import Completion, Message, Request
from tests.engines.server import Asked, Reply, Server, chat, refused
from tests.processes import LIMIT_S, until

HELLO = Request(messages=(Message(role="user", content="Hello"),))
KEY = "sk-planted-9f8e7d6c5b4a"


_opened: list[OpenAI | Anthropic] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _opened:
        wait(submit(_opened.pop().aclose()))


def ask(backend: OpenAI | Anthropic, request: Request = HELLO) -> Completion:
    return wait(submit(backend.generate(request)))


def openai(server: Server) -> OpenAI:
    backend = OpenAI("m", base_url=f"{server.url}/v1", api_key=KEY)
    _opened.append(backend)
    return backend


def first_fails(failure: Reply, times: int = 1) -> Callable[[Asked], Reply]:
    return lambda asked: failure if asked.number < times else chat("fine")


@pytest.mark.parametrize(
    "failure",
    [
        refused(429, "slow down", headers={"Retry-After": "0.05"}),
        refused(429, "slow down", headers={"retry-after-ms": "50"}),
        refused(500, "oops", headers={"Retry-After": "0.05"}),
        refused(503, "busy", headers={"Retry-After": "0.05"}),
        Reply({"half": "of this"}, cut=True),
    ],
    ids=["429", "429 in ms", "500", "503", "cut"],
)
def test_trouble_that_passes_is_waited_out(failure: Reply) -> None:
    with Server(first_fails(failure, 2)) as server:
        assert ask(openai(server)).text == "fine"
    assert len(server.asked) == 3
    assert {asked.headers["x-stainless-retry-count"] for asked in server.asked} == {"0"}, "the client's own are off"


def test_a_pause_that_the_server_asks_for_is_kept() -> None:
    with Server(first_fails(refused(429, "slow down", headers={"Retry-After": "1"}))) as server:
        ask(openai(server))
    assert server.times[1] - server.times[0] >= 1.0


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (refused(401, f"Incorrect API key provided: {KEY}"), r"AuthenticationError: .*401.*\[key\]"),
        (refused(403, "no"), "PermissionDeniedError"),
        (refused(404, "no such model"), "NotFoundError: .*no such model"),
        (refused(400, "what is this"), "BadRequestError: .*what is this"),
        (refused(429, "pay first", code="insufficient_quota"), "RateLimitError: .*pay first"),
    ],
)
def test_trouble_that_stays_ends_at_once(failure: Reply, message: str) -> None:
    with Server(lambda _: failure) as server, pytest.raises(BackendError, match=f"openai:m at http.*: {message}"):
        ask(openai(server))
    assert len(server.asked) == 1


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PATIENCE_S", 0.3)
    slow_down = refused(429, "slow down", headers={"Retry-After": "0.1"})
    with Server(lambda _: slow_down) as server, pytest.raises(BackendError, match="slow down"):
        ask(openai(server))
    assert 2 <= len(server.asked) <= 4


def test_a_server_that_is_away_is_waited_for_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    backend = OpenAI("m", base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY)
    _opened.append(backend)
    with caplog.at_level(logging.WARNING):
        flight = submit(backend.generate(HELLO))
        until(lambda: "trying again" in caplog.text)
        wait(submit(asyncio.sleep(0.8)))  # meanwhile it tries again, and says no more
        assert not flight.done()
        with Server(lambda _: chat("back"), port) as server:
            assert wait(flight).text == "back"
    assert len(server.asked) == 1
    assert [record.getMessage().count("trying again for up to 10 minutes") for record in caplog.records] == [1]


def test_everything_arrives_once_from_a_server_that_often_fails(tmp_path: Path) -> None:
    fate = random.Random(5)
    answered: Counter[str] = Counter()

    def behave(asked: Asked) -> Reply:
        draw = fate.random()
        if draw < 0.05:
            return refused(429, "slow down", headers={"Retry-After": "0.01"})
        if draw < 0.07:
            return refused(500, "oops", headers={"Retry-After": "0.01"})
        reply = chat("<answer>[[A]]</answer>")
        if draw < 0.08:
            reply.cut = True
        else:
            answered[asked.body["messages"][-1]["content"]] += 1
        return reply

    pairs = [Pair(question=f"{n}?", a="1", b="2", id=str(n)) for n in range(300)]
    with Server(behave) as server, Judge(openai(server), force_verdict=False, store=tmp_path / "s.db") as judge:
        judgments = list(judge.compare_many(pairs))
    assert [judgment.pair_id for judgment in judgments] == [str(n) for n in range(300)]
    assert {judgment.winner for judgment in judgments} == {"tie"}
    verdicts = {text for text in answered if "Chatbot" in text}
    assert len(verdicts) == 600
    assert {answered[text] for text in verdicts} <= {1, 2}  # and once more for the choices, where they are asked for


def test_a_window_halves_once_for_refusals_that_come_together() -> None:
    window = AdaptiveLimiter(64)
    window.narrow(60)
    window.narrow(60)
    assert window.limit == 32
    window.widen()
    assert window.limit == 33
    for _ in range(100):
        window.widen()
    assert window.limit == 64
    window = AdaptiveLimiter(64)
    for _ in range(10):
        window.narrow(0)
    assert window.limit == 1


def test_a_window_grows_to_what_the_server_takes_while_any_refused_one_waits() -> None:
    async def main() -> list[int]:
        window = AdaptiveLimiter(8)
        async with window.slot(), window.slot(), window.slot(), window.slot(), window.slot():
            window.narrow(60)  # a sixth was refused: five are taken
            window.refused = 1
            limits = [window.limit]
            for _ in range(9):
                window.widen()
            limits.append(window.limit)
            window.refused = 0
            for _ in range(9):
                window.widen()
            return [*limits, window.limit]

    assert asyncio.run(main()) == [4, 5, 8]


def test_a_window_is_first_come_first_served_and_survives_those_who_leave() -> None:
    async def main() -> list[int]:
        window = AdaptiveLimiter(1)
        order: list[int] = []

        async def work(number: int) -> None:
            async with window.slot():
                order.append(number)
                await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(work(number)) for number in range(5)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait_for(work(9), LIMIT_S)
        return order

    assert asyncio.run(main()) == [0, 1, 3, 4, 9]


def test_a_server_that_takes_32_is_asked_for_no_more_for_long() -> None:
    most: list[int] = []
    server = Server(lambda _: chat("x"))

    def behave(_: Asked) -> Reply:
        most.append(server.flying)
        if server.flying > 32:
            return refused(429, "slow down", headers={"Retry-After": "0.05"})
        reply = chat("<answer>[[A]]</answer>")
        reply.delay_s = 0.02
        return reply

    server.behave = behave
    pairs = [Pair(question=f"{n}?", a="1", b="2") for n in range(300)]
    with server, Judge(openai(server), force_verdict=False, orders="given") as judge:
        assert len(list(judge.compare_many(pairs))) == 300
    assert max(most) > 32
    assert sum(flying > 32 for flying in most) < 150, "most requests are refused never, and few twice"


def test_cancelling_closes_the_connection() -> None:
    reply = chat("late")
    reply.delay_s = 2 * LIMIT_S
    with Server(lambda _: reply) as server:
        flight = submit(openai(server).generate(HELLO))
        until(lambda: server.flying)
        flight.cancel()
        until(lambda: server.dropped)
        assert server.dropped == 1


def test_keys_are_asked_for_and_local_servers_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for spec, variable in (("openai:m", "OPENAI_API_KEY"), ("anthropic:m", "ANTHROPIC_API_KEY")):
        with pytest.raises(ConfigError, match=f"no API key: set {variable}"):
            connect(spec)
        with pytest.raises(ConfigError, match="concurrency must be more than 0"):
            connect(spec, api_key=KEY, concurrency=0)
    with Server(lambda _: chat("fine")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        backend = connect("openai:m")
        assert wait(submit(backend.generate(HELLO))).text == "fine"
        wait(submit(backend.aclose()))
    assert backend.identity == f"openai:{server.url}/v1:m"


def test_a_pickled_engine_is_the_same_engine() -> None:
    with Server(lambda _: chat("fine")) as server:
        backend = openai(server)
        ask(backend)
        copy = pickle.loads(pickle.dumps(backend))
        _opened.append(copy)
        assert copy.identity == backend.identity
        assert ask(copy).text == "fine"
    assert server.asked[1].headers["authorization"] == f"Bearer {KEY}"


def test_urls_lose_what_is_secret_in_them() -> None:
    assert without_secrets(f"https://me:{KEY}@host:81/v1/?key={KEY}") == "https://host:81/v1"


def test_a_key_from_a_file_is_sent_without_its_newline(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(lambda _: chat("fine")) as server:
        backend = OpenAI("m", base_url=f"{server.url}/v1", api_key=f" {KEY}\r\n")
        _opened.append(backend)
        assert ask(backend).text == "fine"
        monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
        backend = OpenAI("m", base_url=f"{server.url}/v1", api_key=" ")
        _opened.append(backend)
        assert ask(backend).text == "fine"
    assert [asked.headers["authorization"] for asked in server.asked] == [f"Bearer {KEY}"] * 2


@pytest.mark.parametrize("key", ["x", "no"])
def test_a_short_key_takes_nothing_out_of_an_error(key: str) -> None:
    with Server(lambda _: refused(400, f"nothing next in the prefix, {key}")) as server:
        backend = OpenAI("m", base_url=f"{server.url}/v1", api_key=key)
        _opened.append(backend)
        with pytest.raises(BackendError, match=r"nothing next in the prefix, \[key\]"):
            ask(backend)
        server.behave = lambda _: refused(400, "nothing next in the prefix")
        with pytest.raises(BackendError, match="nothing next in the prefix") as caught:
            ask(backend)
    assert caught.value.__cause__


@pytest.mark.parametrize("engine", [OpenAI, Anthropic])
def test_a_key_is_never_seen_again(
    engine: type[OpenAI] | type[Anthropic], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server says it back in every error, and everything that can log does."""
    said: list[str] = []

    def behave(asked: Asked) -> Reply:
        assert KEY in " ".join(asked.headers.values())
        if asked.number == 0:
            return refused(500, f"bad luck, {KEY}", headers={"Retry-After": "0.01"})
        if "from now on" in json.dumps(asked.body):
            return refused(401, f"Incorrect key {KEY}")
        return anthropic_or_chat(asked)

    backend = engine("m", base_url=f"http://user:{KEY}@127.0.0.1:1", api_key=KEY)
    said += [repr(backend), backend.identity, repr(Judge(backend))]
    with caplog.at_level(logging.DEBUG), Server(behave) as server:
        backend = engine("m", base_url=server.url, api_key=KEY)
        _opened.append(backend)
        with Judge(backend, store=tmp_path / "s.db", force_verdict=False) as judge:
            judgment: Judgment = judge.compare("Q?", "1", "2")
            said += [judgment.model_dump_json(), judgment.explain(), repr(judge)]
            with pytest.raises(BackendError) as failed:
                judge.compare("And from now on?", "1", "2")
        said += traceback.format_exception(failed.value)
    said += [record.getMessage() for record in caplog.records]
    said += [path.read_bytes().decode("latin-1") for path in tmp_path.iterdir() if path.is_file()]
    assert len(said) > 10
    assert not [text for text in said if KEY in text]


def anthropic_or_chat(asked: Asked) -> Reply:
    if asked.path.endswith("/messages"):
        usage = {"input_tokens": 1, "output_tokens": 1}
        content = [{"type": "text", "text": "<answer>[[A]]</answer>"}]
        return Reply(
            {
                "id": "1",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": content,
                "stop_reason": "end_turn",
                "usage": usage,
            }
        )
    return chat("<answer>[[A]]</answer>")
