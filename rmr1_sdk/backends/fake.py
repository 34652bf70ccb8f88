"""Test double: a backend with scripted answers, public so that your tests can use it."""

import asyncio
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module

from rmr1_sdk.backends.base import Capabilities
from rmr1_sdk.errors import BackendError, ConfigError
from rmr1_sdk.types import Completion, Request, Usage

__all__ = ["FakeBackend"]

Answer = str | Completion
Reply = Callable[[Request], Answer | Awaitable[Answer]] | Sequence[Answer]
ChoiceLogprobs = Callable[[Request], Sequence[float] | None]

_PIECE_CHARS = 5


class FakeBackend:
    """Answers each request with `reply(request)`, or with the next of a list of replies.

    A reply is text or a whole Completion; `reply` may be async. With `choice_logprobs`, requests that
    carry choices are scored by it; without, the backend says that it cannot score choices. Whoever listens is
    told a text in pieces of five characters. `asked` counts the requests.

    >>> backend = FakeBackend(["<answer>[[A]]</answer>"])
    """

    model = "fake"

    def __init__(self, reply: Reply, *, choice_logprobs: ChoiceLogprobs | None = None, identity: str = "fake") -> None:
        self._reply = reply if callable(reply) else list(reply)
        self._next = 0
        self._choice_logprobs = choice_logprobs
        scores = choice_logprobs is not None
        self.identity = identity
        self.capabilities = Capabilities(choices=scores, prefix=scores, seed=True, streaming=True)
        self.asked = 0

    async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        """The reply to this request. A list that has run out raises BackendError."""
        self.asked += 1
        if request.choices:
            scores = self._choice_logprobs(request) if self._choice_logprobs else None
            return Completion(text="", model=self.model, choice_logprobs=None if scores is None else tuple(scores))
        answer = self._answer(request)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, str):
            usage = Usage(
                prompt_tokens=sum(len(message.content) for message in request.messages) // 4,
                completion_tokens=len(answer) // 4,
            )
            answer = Completion(text=answer, model=self.model, usage=usage)
        if on_text:
            for start in range(0, len(answer.text), _PIECE_CHARS):
                on_text(answer.text[start : start + _PIECE_CHARS])
                await asyncio.sleep(0)  # other requests write meanwhile, as with a real backend
        return answer

    def _answer(self, request: Request) -> Answer | Awaitable[Answer]:
        if callable(self._reply):
            return self._reply(request)
        if self._next >= len(self._reply):
            raise BackendError(f"FakeBackend was given {len(self._reply)} replies and asked for one more")
        self._next += 1
        return self._reply[self._next - 1]

    async def aclose(self) -> None:
        """Nothing to stop."""


def connect(rest: str) -> FakeBackend:
    """The backend of "fake:module:function"; the function is the reply."""
    module, _, name = rest.partition(":")
    try:
        reply = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f'fake:{rest}: give it as "fake:module:function" ({error})') from error
    return FakeBackend(reply, identity=f"fake:{hashlib.sha256(rest.encode()).hexdigest()[:16]}")
