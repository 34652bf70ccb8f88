"""Anthropic's Messages API, from a loopback server that follows its wire format."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import Judge, Pair
from rmr1_sdk.backends.anthropic import Anthropic
from rmr1_sdk.backends.conformance import CHECKS, check
from rmr1_sdk.backends.llama_cpp import LlamaCpp
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.errors import BackendError
from rmr1_sdk.types import Completion, Message, Request, Sampling
from tests.engines.server import Asked, Behaviour, Reply, Server

QUESTION = (Message(role="system", content="Judge."), Message(role="user", content="Which?"))
A = "<answer>[[A]]</answer>"


def message(*content: dict[str, Any], stop: str = "end_turn", sequence: str | None = None, **usage: int) -> Reply:
    return Reply(
        {
            "id": "1", "type": "message", "role": "assistant", "model": "m-1", "content": list(content),
            "stop_reason": stop, "stop_sequence": sequence, "usage": {"input_tokens": 10, "output_tokens": 5} | usage,
        }
    )  # fmt: skip


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def refusal(status: int, kind: str, words: str) -> Reply:
    return Reply({"type": "error", "error": {"type": kind, "message": words}}, status=status)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(lambda _: message(text(A))) as server:
        yield server


@pytest.fixture
def engine(server: Server) -> Iterator[Anthropic]:
    backend = Anthropic("m", base_url=server.url, api_key="k")
    yield backend
    wait(submit(backend.aclose()))


def ask(engine: Anthropic, **update: Any) -> Completion:
    request = Request(messages=QUESTION, sampling=Sampling(max_tokens=64, temperature=0.7, seed=5))
    return wait(submit(engine.generate(request.model_copy(update=update))))


def test_what_is_sent(server: Server, engine: Anthropic) -> None:
    ask(engine, sampling=Sampling(max_tokens=64, stop=("</answer>",)), prefix="Well, ")
    assert server.asked[0].path == "/v1/messages"
    assert server.asked[0].body == {
        "model": "m",
        "max_tokens": 64,
        "system": [{"type": "text", "text": "Judge.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "Well,"}],
        "stop_sequences": ["</answer>"],
    }


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (message(text("<answer>[[A]]"), stop="stop_sequence", sequence="</answer>"), (A, "stop", None)),
        (message(text("cut"), stop="max_tokens"), ("cut", "length", None)),
        (message(text("cut"), stop="model_context_window_exceeded"), ("cut", "length", None)),
        (message(stop="refusal"), ("", "refused", None)),
        (message({"type": "thinking", "thinking": "hm", "signature": "s"}, text(A)), (A, "stop", "hm")),
        (refusal(400, "invalid_request_error", "prompt is too long: 300000 tokens > 200000"), ("", "too_long", None)),
        (refusal(413, "request_too_large", "Request exceeds the maximum size"), ("", "too_long", None)),
    ],
)  # fmt: skip
def test_ways_to_end(server: Server, engine: Anthropic, reply: Reply, expected: tuple[str, str, str | None]) -> None:
    server.behave = lambda _: reply
    completion = ask(engine)
    assert (completion.text, completion.stop, completion.reasoning) == expected


def test_tokens_of_the_cache_are_counted_as_read(server: Server, engine: Anthropic) -> None:
    server.behave = lambda _: message(text(A), cache_read_input_tokens=700, cache_creation_input_tokens=40)
    usage = ask(engine).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (750, 5, 700)


def test_other_refusals_are_errors(server: Server, engine: Anthropic) -> None:
    server.behave = lambda _: refusal(400, "invalid_request_error", "Prefilling is not supported for this model")
    with pytest.raises(BackendError, match=r"anthropic:m at http.*Prefilling is not supported"):
        ask(engine, prefix="Well")


def test_a_busy_server_is_asked_again(server: Server, engine: Anthropic) -> None:
    busy = refusal(529, "overloaded_error", "Overloaded")
    busy.headers["Retry-After"] = "0.05"
    server.behave = lambda asked: busy if asked.number < 2 else message(text(A))
    assert ask(engine).text == A
    assert len(server.asked) == 3


def test_a_judge_counts_votes_where_no_probabilities_are_told(server: Server, engine: Anthropic) -> None:
    judgment = Judge(engine, votes=3).compare(Pair(question="2 + 2?", a="4", b="5"))
    assert (judgment.winner, judgment.p_a, len(judgment.verdicts)) == ("tie", 0.5, 6)
    assert len(server.asked) == 6


def behind(engine: LlamaCpp) -> Behaviour:
    """A real model behind Anthropic's wire format; its temperature is the server's own, 0."""

    def behave(asked: Asked) -> Reply:
        body = asked.body
        turns = [Message(role="system", content=block["text"]) for block in body.get("system", [])]
        turns += [Message(role=turn["role"], content=turn["content"]) for turn in body["messages"]]
        stops = tuple(body.get("stop_sequences", ()))
        request = Request(messages=tuple(turns), sampling=Sampling(max_tokens=body["max_tokens"], stop=stops))
        answer = wait(submit(engine.generate(request)))
        if answer.stop == "too_long":
            return refusal(400, "invalid_request_error", "prompt is too long: more tokens than the maximum")
        sequence = next((stop for stop in stops if answer.text.endswith(stop)), None)
        ended = "stop_sequence" if sequence else "end_turn"
        return message(
            text(answer.text.removesuffix(sequence or "")),
            stop="max_tokens" if answer.stop == "length" else ended,
            sequence=sequence,
            input_tokens=answer.usage.prompt_tokens,
            output_tokens=answer.usage.completion_tokens,
        )

    return behave


def test_it_conforms_with_a_real_model_behind_the_wire_format(server: Server, engine: Anthropic, gguf: Path) -> None:
    model = LlamaCpp(gguf, n_ctx=1024)
    server.behave = behind(model)
    outcomes = {result.name: result.outcome for result in wait(submit(check(engine)))}
    wait(submit(model.aclose()))
    cannot = {
        "the seed decides",
        "goes on with a turn",
        "choices are probabilities, in any order",
        "stop strings do not stop its thoughts",
    }
    assert outcomes == {name: "left out" if name in cannot else "ok" for name in CHECKS}
