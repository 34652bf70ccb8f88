"""Conformance checks that every backend should pass: `rmr1 doctor --conformance SPEC`.

They ask nothing of what the model knows, only of how it is driven. What a backend says that it cannot do
is left out, and so reported.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from math import exp
from typing import Literal, NamedTuple

from rmr1_sdk.backends.base import Backend
from rmr1_sdk.types import Message, Request, Sampling

__all__ = ["CHECKS", "QUESTIONS", "Likeness", "Result", "check", "likeness"]

QUESTIONS = (
    "Why is the sky blue?",
    "Write a sentence about rain.",
    "What is 17 + 25?",
    "Name three fruits.",
    "How do magnets work?",
    "Translate 'good morning' into French.",
    "What does a compiler do?",
    "Give me a tip for better sleep.",
    "Who wrote Hamlet?",
    "What is the capital of Japan?",
    "Explain recursion to a child.",
    "Write a haiku about a cat.",
    "How many minutes are in a day?",
    "What is a prime number?",
    "Suggest a name for a boat.",
    "How do I boil an egg?",
    "What causes the tides?",
    "Describe a sunrise in one sentence.",
    "What is photosynthesis?",
    "List two uses of a paper clip.",
)
"""Questions on which backends are compared: short, and of many kinds."""

_EITHER = "Write <answer>[[A]]</answer> or <answer>[[B]]</answer>, as you like."
_VERDICTS = ("A]]</answer>", "B]]</answer>")
_PATIENCE_S = 300.0
_NEAR = 0.05


class Result(NamedTuple):
    """Result of a check. `detail` says what was seen, or what the backend cannot do."""

    name: str
    outcome: Literal["ok", "failed", "left out"]
    detail: str


class _LeftOut(Exception):
    """The backend says that it cannot do this."""


def _request(text: str, *, prefix: str = "", choices: Iterable[str] = (), **sampling: object) -> Request:
    return Request(
        messages=(Message(role="user", content=text),),
        prefix=prefix,
        choices=tuple(choices),
        sampling=Sampling.model_validate({"max_tokens": 16, **sampling}),
    )


async def check(backend: Backend) -> list[Result]:
    """Run all CHECKS, one after another. What a backend raises is a failed check, not an error here."""
    results = []
    for name, run in CHECKS.items():
        try:
            detail = await asyncio.wait_for(run(backend), _PATIENCE_S)
        except _LeftOut as reason:
            results.append(Result(name, "left out", str(reason)))
        except AssertionError as seen:
            results.append(Result(name, "failed", str(seen)))
        except TimeoutError:
            results.append(Result(name, "failed", f"nothing came within {_PATIENCE_S:.0f} s"))
        except Exception as error:  # noqa: BLE001  # whatever it raises is what it did
            results.append(Result(name, "failed", f"{type(error).__name__}: {error}"))
        else:
            results.append(Result(name, "ok", detail))
    return results


class Likeness(NamedTuple):
    """Agreement of two backends on the same questions.

    `texts` is the share to which both write the same 32 tokens at temperature 0, `lengths` the share that
    both read as the same number of tokens: below 1 their chat templates or tokenisers differ. `p_a` is what
    each gives for the probability of A in the check of choices, None where one of them tells none.
    """

    texts: float
    lengths: float
    p_a: tuple[float, float] | None

    def __str__(self) -> str:
        p_a = "" if self.p_a is None else f"; probability of A {self.p_a[0]:.3f} and {self.p_a[1]:.3f}"
        return f"{self.texts:.0%} of texts, {self.lengths:.0%} of prompt lengths{p_a}"


async def likeness(first: Backend, second: Backend, questions: Sequence[str] = QUESTIONS) -> Likeness:
    """Ask two backends the same. On the same weights at the same precision all of it should agree."""
    texts = lengths = 0
    for question in questions:
        request = _request(question, max_tokens=32)
        one, two = await asyncio.gather(first.generate(request), second.generate(request))
        texts += one.text == two.text
        lengths += one.usage.prompt_tokens == two.usage.prompt_tokens
    seen = []
    for backend in (first, second):
        try:
            a, b = await _probabilities(backend, _EITHER, "<answer>[[", _VERDICTS)
        except _LeftOut:
            break
        seen.append(a / (a + b))
    p_a = (seen[0], seen[1]) if len(seen) == 2 else None
    return Likeness(texts / len(questions), lengths / len(questions), p_a)


async def _answers(backend: Backend) -> str:
    completion = await backend.generate(_request(QUESTIONS[0]))
    _must(bool(completion.text), "the completion is empty")
    usage = completion.usage
    _must(usage.prompt_tokens > 0 and usage.completion_tokens > 0, f"tokens are not counted: {usage!r}")
    _must(completion.latency_s > 0, "the latency is not measured")
    _must(bool(backend.identity) and backend.identity == backend.identity, "the identity is empty or changes")
    return f"{usage.prompt_tokens} tokens read, {usage.completion_tokens} written"


async def _order(backend: Backend) -> str:
    """Each answer belongs to its own request: it says how long its prompt was."""
    requests = [_request("word " * 40 * n, max_tokens=1) for n in range(1, 9)]
    alone = [(await backend.generate(request)).usage.prompt_tokens for request in requests]
    together = await asyncio.gather(*map(backend.generate, requests))
    seen = [completion.usage.prompt_tokens for completion in together]
    _must(seen == alone and len(set(alone)) == len(alone), f"prompt tokens alone {alone}, together {seen}")
    return f"prompts of {alone[0]} to {alone[-1]} tokens"


async def _seeds(backend: Backend) -> str:
    if not backend.capabilities.seed:
        raise _LeftOut("it takes no seed")
    texts = [await _drawn(backend, seed) for seed in (0, 1, 2, 3, 4)][1:]  # the first reads the prompt, others a cache
    again = await _drawn(backend, 1)
    _must(texts[0] == again, f"seed 1 gave {texts[0]!r}, then {again!r}")
    _must(len(set(texts)) > 1, f"four seeds gave one text: {texts[0]!r}")
    return f"{len(set(texts))} texts from 4 seeds"


async def _drawn(backend: Backend, seed: int) -> str:
    return (await backend.generate(_request(QUESTIONS[1], temperature=1.0, seed=seed))).text


async def _stops(backend: Backend) -> str:
    whole = (await backend.generate(_request(QUESTIONS[0], max_tokens=24))).text
    words = whole.split()
    _must(len(words) > 4, f"too little was written to stop in: {whole!r}")
    stop = words[3]
    pieces: list[str] = []
    stopped = await backend.generate(_request(QUESTIONS[0], max_tokens=24, stop=(stop,)), on_text=pieces.append)
    _must(stopped.stop == "stop", f"it ended with {stopped.stop!r}")
    _must(stopped.text.endswith(stop) and stopped.text.count(stop) == 1, f"stop {stop!r}, text {stopped.text!r}")
    told = "".join(pieces)
    _must(told in ("", stopped.text), f"text {stopped.text!r}, told in pieces {told!r}")
    return f"stopped at {stop!r}, which the text includes"


async def _truncates(backend: Backend) -> str:
    cut = await backend.generate(_request(QUESTIONS[0], max_tokens=2))
    _must(cut.stop == "length", f"two tokens were asked for, and it ended with {cut.stop!r}")
    _must(0 < cut.usage.completion_tokens <= 2, f"{cut.usage.completion_tokens} tokens were written")
    return repr(cut.text)


async def _unicode(backend: Backend) -> str:
    pieces: list[str] = []
    text = "Repeat: žluťoučký 🙂 👩‍👩‍👧 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \u200f שלום"
    completion = await backend.generate(_request(text, temperature=1.5, seed=1, max_tokens=48), on_text=pieces.append)
    await asyncio.sleep(0.05)  # what was told may still be on its way
    told = "".join(pieces)
    _must(completion.text.startswith(told.rstrip("\ufffd")) or told.startswith(completion.text), f"told {told!r}")
    completion.text.encode()
    return f"{len(completion.text)} characters in {len(pieces)} pieces"


async def _many(backend: Backend) -> str:
    requests = [_request(f"{question} ({n})", max_tokens=4) for n in range(4) for question in QUESTIONS[:16]]
    completions = await asyncio.gather(*map(backend.generate, requests))
    _must(all(completion.usage.completion_tokens > 0 for completion in completions), "some were not answered")
    return f"{len(completions)} at once"


async def _cancels(backend: Backend) -> str:
    long = asyncio.create_task(backend.generate(_request("Tell a long story.", max_tokens=2000, temperature=1.0)))
    await asyncio.sleep(0.5)
    done = long.done()
    long.cancel()
    await asyncio.gather(long, return_exceptions=True)
    after = await backend.generate(_request(QUESTIONS[0], max_tokens=2))
    _must(after.usage.completion_tokens > 0, "the next request was not answered")
    return "the story had ended already" if done else "the next request was answered"


async def _continues(backend: Backend) -> str:
    _needs_prefix(backend)
    whole = (await backend.generate(_request(QUESTIONS[0], max_tokens=24))).text
    at = whole.find(" ", len(whole) // 2)
    _must(at > 0, f"too little was written to go on from: {whole!r}")
    own, other = await _probabilities(backend, QUESTIONS[0], whole[:at], (whole[at : at + 12], " zebra quantum 17"))
    _must(own > other, f"its own continuation {whole[at : at + 12]!r} has {own:.2g}, another {other:.2g}")
    return f"its own continuation {own:.2g}, another {other:.2g}"


async def _choices(backend: Backend) -> str:
    there = await _probabilities(backend, _EITHER, "<answer>[[", _VERDICTS)
    back = await _probabilities(backend, _EITHER, "<answer>[[", _VERDICTS[::-1])
    _must(all(0 <= p <= 1 for p in there) and sum(there) <= 1 + 1e-6, f"probabilities {there}")
    _must(all(abs(p - q) < _NEAR for p, q in zip(there, back[::-1], strict=True)), f"{there}, the other way {back}")
    return f"A {there[0]:.3f}, B {there[1]:.3f}, together {sum(there):.3f}"


async def _probabilities(backend: Backend, question: str, prefix: str, choices: tuple[str, ...]) -> list[float]:
    _needs_prefix(backend)
    completion = await backend.generate(_request(question, prefix=prefix, choices=choices))
    if completion.choice_logprobs is None:
        raise _LeftOut("it cannot tell probabilities, as it found out")
    _must(completion.text == "", f"text came with choices: {completion.text!r}")
    return [exp(score) for score in completion.choice_logprobs]


async def _thinks(backend: Backend) -> str:
    """A stop string inside thinking does not stop."""
    _needs_prefix(backend)
    prefix = "<think>I may write <answer>[[A]]</answer> here. Let me"
    try:
        whole = (await backend.generate(_request(QUESTIONS[0], prefix=prefix))).text
    except Exception as error:
        raise _LeftOut(f"it cannot continue a turn, as it found out ({error})") from error
    word = next((word for word in whole.split() if len(word) > 2), "")
    _must(bool(word), f"too little was thought: {whole!r}")
    text = (await backend.generate(_request(QUESTIONS[0], prefix=prefix, stop=(word,)))).text
    _must(len(text) > len(whole.partition(word)[0] + word), f"stopped in its thoughts at {word!r}: {text!r}")
    return f"{word!r} did not stop it"


async def _too_long(backend: Backend) -> str:
    completion = await backend.generate(_request("word " * 30_000, max_tokens=1))
    if completion.stop == "too_long":
        return "refused"
    read = completion.usage.prompt_tokens
    _must(read >= 30_000, f"30,000 words were cut to {read} tokens")
    return f"read: all {read} tokens"


def _needs_prefix(backend: Backend) -> None:
    if not (backend.capabilities.prefix and backend.capabilities.choices):
        raise _LeftOut("it says that it cannot continue a turn and score choices")


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


CHECKS: dict[str, Callable[[Backend], Awaitable[str]]] = {
    "answers, and counts tokens": _answers,
    "keeps answers with their requests": _order,
    "the seed decides": _seeds,
    "stop strings end the text and belong to it": _stops,
    "says when a text was cut short": _truncates,
    "unicode, and characters of several tokens": _unicode,
    "64 requests at once": _many,
    "cancelling frees it": _cancels,
    "goes on with a turn": _continues,
    "choices are probabilities, in any order": _choices,
    "stop strings do not stop its thoughts": _thinks,
    "a prompt of 30,000 words is refused or read whole": _too_long,
}
"""The checks by name. Each returns what it saw, and raises AssertionError for what should not be."""
