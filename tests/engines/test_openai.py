"""Servers that speak OpenAI's chat completions, each in its own dialect."""

import json
from collections.abc import Callable, Iterator
from math import exp, inf, log
from typing import Any

import pytest

from rmr1_sdk import BudgetExceeded, Judge, Pair
from rmr1_sdk.backends.openai import OpenAI
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.errors import BackendError
from rmr1_sdk.types import Completion, Message, Request, Sampling
from tests.engines.server import Asked, Reply, Server, chat, refused

QUESTION = (Message(role="system", content="Judge."), Message(role="user", content="Which?"))
PAIR = Pair(question="2 + 2?", a="4", b="5")
A = "<answer>[[A]]</answer>"
CHOICES = ("A]]</answer>", "B]]</answer>")
Talk = Callable[..., Completion]


class Speaker:
    """A server's side of a conversation: what it says, and whether it goes on with a turn."""

    def __init__(self, reply: Reply | None = None, *, continues: bool = False, flags: bool = True) -> None:
        self.reply = reply or chat(A)
        self.continues = continues
        self.flags = flags
        self.top: list[tuple[str, float]] | None = [("A", log(0.6)), ("B", log(0.2)), (" A", log(0.1))]

    def __call__(self, asked: Asked) -> Reply:
        if "continue_final_message" in asked.body and not self.flags:
            return refused(400, "Unrecognized request argument supplied: continue_final_message")
        if asked.body["max_tokens"] > 1:
            return self.reply
        last = asked.body["messages"][-1]
        tokens = 10 + (last["role"] == "assistant") * (1 if self.continues else 5)
        return chat(
            "x", usage={"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1}, logprobs=self.top
        )


@pytest.fixture
def talk() -> Iterator[tuple[Server, OpenAI, Talk]]:
    with Server(Speaker()) as server:
        backend = OpenAI("m", base_url=f"{server.url}/v1", api_key="k")

        def say(**update: Any) -> Completion:
            request = Request(messages=QUESTION, sampling=Sampling(max_tokens=64)).model_copy(update=update)
            return wait(submit(backend.generate(request)))

        yield server, backend, say
        wait(submit(backend.aclose()))


def bodies(server: Server) -> list[dict[str, Any]]:
    return [asked.body for asked in server.asked]


def test_what_is_sent_and_what_comes_back(talk: tuple[Server, OpenAI, Talk]) -> None:
    server, _, say = talk
    usage = {
        "prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55, "prompt_tokens_details": {"cached_tokens": 30},
    }  # fmt: skip
    server.behave = Speaker(chat(A, usage=usage))
    completion = say(sampling=Sampling(max_tokens=64, temperature=0.7, top_p=0.9, seed=5, stop=("</answer>",)))
    assert (completion.text, completion.stop, completion.model) == (A, "stop", "m-1")
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens, completion.usage.cached_tokens) == (
        50,
        5,
        30,
    )
    assert completion.latency_s > 0
    assert bodies(server) == [
        {
            "model": "m", "max_tokens": 64, "temperature": 0.7, "top_p": 0.9, "seed": 5, "stop": ["</answer>"],
            "messages": [{"role": "system", "content": "Judge."}, {"role": "user", "content": "Which?"}],
        }
    ]  # fmt: skip
    assert server.asked[0].path == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("refusal", "gone"),
    [
        (refused(400, "Unsupported parameter: 'seed'.", param="seed", code="unsupported_parameter"), "seed"),
        (refused(400, "'temperature' does not support 0.7 with this model.", param="temperature"), "temperature"),
        (refused(422, "extra fields not permitted: top_p"), "top_p"),
    ],
)
def test_what_a_server_refuses_is_not_sent_again(talk: tuple[Server, OpenAI, Talk], refusal: Reply, gone: str) -> None:
    server, _, say = talk
    server.behave = lambda asked: refusal if gone in asked.body else chat(A)
    sampling = Sampling(max_tokens=64, temperature=0.7, top_p=0.9, seed=5)
    assert [say(sampling=sampling).text, say(sampling=sampling).text] == [A, A]
    assert [gone in body for body in bodies(server)] == [True, False, False]


def test_newer_models_want_another_name_for_the_limit(talk: tuple[Server, OpenAI, Talk]) -> None:
    server, _, say = talk
    message = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    server.behave = lambda asked: refused(400, message, param="max_tokens") if "max_tokens" in asked.body else chat(A)
    assert say().text == say().text == A
    assert [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in bodies(server)] == [
        (64, None), (None, 64), (None, 64),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "message",
    [
        "'max_tokens' or 'max_completion_tokens' is too large: 64. This model's maximum context length is 1000 tokens "
        "and your request has 980 input tokens (64 > 1000 - 980).",
        "This model's maximum context length is 1000 tokens. However, you requested 64 output tokens and your prompt "
        "contains at least 980 input tokens, for a total of at least 1044 tokens.",
        "This model's maximum context length is 1000 tokens. However, you requested 1044 tokens (980 in the messages, "
        "64 in the completion).",
    ],
)
def test_an_answer_gets_the_room_that_the_prompt_leaves(talk: tuple[Server, OpenAI, Talk], message: str) -> None:
    server, _, say = talk
    server.behave = lambda asked: refused(400, message) if asked.body["max_tokens"] > 20 else chat(A)
    assert say().text == A
    assert [body["max_tokens"] for body in bodies(server)] == [64, 20]


def test_a_server_that_answers_no_request_of_one_token_can_still_judge(talk: tuple[Server, OpenAI, Talk]) -> None:
    server, backend, _ = talk
    message = "Could not finish the message because the output limit was reached."
    server.behave = lambda asked: refused(400, message) if asked.body["max_tokens"] == 1 else chat(A)
    judgment = Judge(backend).compare(PAIR)
    assert (judgment.winner, judgment.p_a, judgment.failure) == ("tie", 0.5, None)


@pytest.mark.parametrize(
    ("reply", "text", "stop", "reasoning"),
    [
        (chat("cut", finish="length"), "cut", "length", None),
        (chat(A, reasoning_content="let me see"), A, "stop", "let me see"),
        (chat(A, reasoning="let me see"), A, "stop", "let me see"),
        (chat(None, refusal="I will not."), "I will not.", "refused", None),
        (chat("", finish="content_filter"), "", "refused", None),
        (refused(400, "flagged", code="content_policy_violation"), "", "refused", None),
        (refused(400, "more than 8192 tokens", code="context_length_exceeded"), "", "too_long", None),
        (refused(400, "the request exceeds the available context size (4096 tokens)"), "", "too_long", None),
        (refused(400, "maximum context length is 4096 tokens. However, you requested 9000"), "", "too_long", None),
        (refused(400, "maximum context length is " + "1" * 1_000_000), "", "too_long", None),
    ],
)  # fmt: skip
def test_ways_to_end(
    talk: tuple[Server, OpenAI, Talk], reply: Reply, text: str, stop: str, reasoning: str | None
) -> None:
    server, _, say = talk
    server.behave = lambda _: reply
    completion = say()
    assert (completion.text, completion.stop, completion.reasoning) == (text, stop, reasoning)


@pytest.mark.parametrize(
    ("text", "said", "expected"),
    [
        ("<answer>[[A]]", None, A),
        ("<answer>[[A]]", "</answer>", A),
        (A, None, A),
        ("nothing to close", None, "nothing to close"),
        ("<answer>[[A]]</answer> and more", None, A),
    ],
)
def test_the_stop_string_belongs_to_the_text(
    talk: tuple[Server, OpenAI, Talk], text: str, said: str | None, expected: str
) -> None:
    server, _, say = talk
    reply = chat(text)
    reply.body["choices"][0] |= {} if said is None else {"stop_reason": said}
    server.behave = lambda _: reply
    assert say(sampling=Sampling(max_tokens=64, stop=("</answer>",))).text == expected


def test_nothing_is_put_back_where_the_server_says_that_no_stop_string_came(talk: tuple[Server, OpenAI, Talk]) -> None:
    server, _, say = talk
    reply = chat("<answer>[[A]]")
    reply.body["choices"][0]["stop_reason"] = None
    server.behave = lambda _: reply
    assert say(sampling=Sampling(max_tokens=64, stop=("</answer>",))).text == "<answer>[[A]]"


def test_stops_that_could_not_be_put_back_are_found_here(talk: tuple[Server, OpenAI, Talk]) -> None:
    server, _, say = talk
    server.behave = lambda _: chat("one two three")
    sampling = Sampling(max_tokens=64, stop=("two", "</answer>"))
    assert say(sampling=sampling).text == "one two"
    assert bodies(server)[0]["stop"] == ["</answer>"]
    reply = chat("one ")
    reply.body["choices"][0]["stop_reason"] = "two"
    server.behave = lambda _: reply
    say(sampling=sampling)
    assert say(sampling=sampling).text == "one two"
    assert bodies(server)[2]["stop"] == ["two", "</answer>"]


def test_stops_that_reach_into_thinking_are_found_here_instead(talk: tuple[Server, OpenAI, Talk]) -> None:
    server, _, say = talk
    whole = "<think>should it be <answer>[[B]]</answer>? no</think> " + A
    server.behave = lambda asked: (
        chat(whole.partition("</answer>")[0]) if "stop" in asked.body else chat(whole + " tail")
    )
    sampling = Sampling(max_tokens=64, stop=("</answer>",))
    assert say(sampling=sampling).text == say(sampling=sampling).text == whole
    assert ["stop" in body for body in bodies(server)] == [True, False, False]


@pytest.mark.parametrize("flags", [True, False], ids=["with flags", "of itself"])
def test_a_server_that_continues_a_turn_tells_probabilities(talk: tuple[Server, OpenAI, Talk], flags: bool) -> None:
    server, _, say = talk
    server.behave = Speaker(continues=True, flags=flags)
    scores = say(prefix="I think: <answer>[[", choices=CHOICES).choice_logprobs
    assert scores == pytest.approx((log(0.6), log(0.2)))
    say(prefix="Again: <answer>[[", choices=CHOICES)
    asked = [body for body in bodies(server) if body.get("logprobs")]
    assert [body["messages"][-1] for body in asked] == [
        {"role": "assistant", "content": "I think: <answer>[["}, {"role": "assistant", "content": "Again: <answer>[["},
    ]  # fmt: skip
    assert len(server.asked) == (4 if flags else 5), "found out once"
    assert all(body.get("continue_final_message", False) == flags for body in asked)
    assert say(prefix="Well, ").text == A


def test_tokens_that_begin_a_choice_are_added_up_and_shared_ones_left_out(talk: tuple[Server, OpenAI, Talk]) -> None:
    server, _, say = talk
    speaker = Speaker(continues=True)
    speaker.top = [("A", log(0.3)), ("A]]", log(0.2)), ("", log(0.1)), ("C", log(0.1))]
    server.behave = speaker
    scores = say(prefix="<answer>[[", choices=CHOICES).choice_logprobs
    assert scores is not None
    assert [exp(score) for score in scores] == pytest.approx([0.5, 0.0])
    assert scores[1] == -inf


def test_a_server_that_begins_a_new_turn_is_found_out_once(talk: tuple[Server, OpenAI, Talk]) -> None:
    server, backend, say = talk
    server.behave = Speaker(continues=False)
    for _ in range(3):
        assert say(prefix="<answer>[[", choices=CHOICES).choice_logprobs is None
    assert len(server.asked) == 2
    with pytest.raises(BackendError, match="cannot continue a turn"):
        say(prefix="Well, ")
    judgment = Judge(backend).compare(PAIR)
    assert (judgment.winner, judgment.p_a) == ("tie", 0.5)
    assert len(server.asked) == 4, "a verdict in each order, and nothing else"


@pytest.mark.parametrize("told", ["refused", "left out"])
def test_a_server_without_probabilities_is_found_out_once(talk: tuple[Server, OpenAI, Talk], told: str) -> None:
    server, _, say = talk
    speaker = Speaker(continues=True)
    speaker.top = None

    def behave(asked: Asked) -> Reply:
        if told == "refused" and "logprobs" in asked.body:
            return refused(400, "This model does not support logprobs", param="logprobs")
        return speaker(asked)

    server.behave = behave
    assert say(prefix="<answer>[[", choices=CHOICES).choice_logprobs is None
    known = len(server.asked)
    assert say(prefix="<answer>[[", choices=CHOICES).choice_logprobs is None
    assert len(server.asked) == known


def test_a_judge_forces_a_verdict_over_the_wire(talk: tuple[Server, OpenAI, Talk]) -> None:
    server, backend, _ = talk
    server.behave = Speaker(chat("hard to say", finish="length"), continues=True)
    judgment = Judge(backend, orders="given").compare(PAIR)
    assert (judgment.winner, judgment.verdicts[0].forced) == ("A", True)
    assert judgment.p_a == pytest.approx(0.75)
    forced = [body["messages"][-1]["content"] for body in bodies(server) if body.get("logprobs")]
    assert forced == ["hard to say\n\n<answer>[["]


def test_thinking_in_a_field_of_its_own_is_kept_apart(talk: tuple[Server, OpenAI, Talk]) -> None:
    server, backend, _ = talk
    server.behave = Speaker(chat(A, reasoning_content="maybe <answer>[[B]]</answer>"))
    judgment = Judge(backend, orders="given").compare(PAIR)
    assert judgment.winner == "A"
    assert judgment.verdicts[0].thinking == "maybe <answer>[[B]]</answer>"


def test_a_budget_stops_a_run_and_a_larger_one_goes_on(talk: tuple[Server, OpenAI, Talk], tmp_path: Any) -> None:
    server, backend, _ = talk
    pairs = [Pair(question=f"{n}?", a="4", b="5") for n in range(10)]
    store = tmp_path / "s.db"
    with pytest.raises(BudgetExceeded), Judge(backend, store=store, max_tokens_total=600, max_concurrency=2) as judge:
        list(judge.compare_many(pairs))
    spent = [json.dumps(body["messages"]) for body in bodies(server) if body["max_tokens"] > 1]
    assert 0 < len(spent) < 20
    with Judge(backend, store=store) as judge:
        assert len(list(judge.compare_many(pairs))) == 10
    everything = [json.dumps(body["messages"]) for body in bodies(server) if body["max_tokens"] > 1]
    assert len(everything) == len(set(everything)) == 20
