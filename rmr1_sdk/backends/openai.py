"""OpenAI-compatible servers, through the official client.

The hosted API, `vllm serve`, llama-server, Ollama, LM Studio: what one of them refuses is found out
once, from its own error, and not sent again.
"""

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rmr1_sdk.backends.base import Capabilities, StopScanner
from rmr1_sdk.backends.remote import Address, Remote, Session, as_dict
from rmr1_sdk.errors import BackendError
from rmr1_sdk.parsing.tags import is_in_thought
from rmr1_sdk.types import Completion, Request, Usage

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

__all__ = ["OpenAI"]

_TIMEOUT_S = 600.0
_TOP = 20  # the most that the hosted API gives
_CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}
_TOO_LONG = re.compile(
    r"context.{0,20}(length|size|window)|too (long|many tokens)|exceeds? .{0,40}context", re.IGNORECASE
)
_CONTEXT = re.compile(r"maximum context length is (\d{1,9})", re.IGNORECASE)
_READ = re.compile(r"(?<!\d)(\d{1,9}) (?:input tokens|in the messages|in your prompt)", re.IGNORECASE)
_REFUSED = ("content_filter", "content_policy_violation")
_MAY_GO = ("seed", "temperature", "top_p", "stop", "top_logprobs", "logprobs")
_PROBE = [{"role": "user", "content": "Hi"}]


class OpenAI(Remote):
    """A model behind an OpenAI-compatible server.

    Args:
        model: the name that the server knows it by.
        base_url: where the server is, as in "http://localhost:8000/v1"; None is $OPENAI_BASE_URL, else
            the hosted API.
        api_key: None or blank is $OPENAI_API_KEY; a server of your own may need none.
        concurrency: the most requests in flight; fewer while the server says that it is busy.

    Raises ConfigError for what is no key, or where the hosted API has none, and MissingExtraError. Pickles as its
    arguments.
    """

    kind = "openai"
    hosted = "https://api.openai.com/v1"
    # whether it can continue a turn and tell probabilities is found out when that is first asked for
    can = Capabilities(choices=True, prefix=True, seed=True)

    @staticmethod
    def session(address: Address) -> Session:
        """State of this backend in the current process."""
        return _Session(address)


def connect(rest: str, **options: Any) -> OpenAI:
    """The backend of "openai:MODEL"."""
    return OpenAI(rest, **options)


class _Session:
    """The client in one process, and what was found out about its server."""

    def __init__(self, address: Address) -> None:
        import openai

        self._model = address.model
        self._client = openai.AsyncOpenAI(
            api_key=address.key or "none", base_url=address.url, max_retries=0, timeout=_TIMEOUT_S
        )
        self._bad_request = (openai.BadRequestError, openai.UnprocessableEntityError)
        self._line = address.line(openai.APIError)
        self._refused: set[str] = set()
        self._limit = "max_tokens"
        self._names_stops = False
        self._continue: dict[str, bool] = dict(_CONTINUE)
        self._continues: bool | None = None
        self._probing = asyncio.Lock()

    async def close(self) -> None:
        await self._client.close()

    async def answer(self, request: Request) -> Completion:
        return await (self._choose(request) if request.choices else self._write(request))

    async def _write(self, request: Request) -> Completion:
        messages = [message.model_dump() for message in request.messages]
        if request.prefix:
            if not await self._can_continue():
                raise BackendError(f"openai:{self._model}: this server cannot continue a turn, which `prefix` needs")
            messages.append({"role": "assistant", "content": request.prefix})
        sampling = request.sampling
        # a stop string that the server takes off and does not name can be put back only where it closes a tag
        stops = [stop for stop in sampling.stop if self._names_stops or stop.startswith("</")]
        wanted = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "stop": stops or None,
        }
        answer = await self._create(messages, sampling.max_tokens, wanted, continues=bool(request.prefix))
        if isinstance(answer, Completion):
            return answer
        self._names_stops = "stop_reason" in as_dict(answer.choices[0])
        completion = _completion(answer, stops if "stop" not in self._refused else ())
        if "stop" not in self._refused and _stopped_in_thought(completion, request):
            self._refused.add("stop")  # its stops reach into thinking: from now on they are found here
            return await self._write(request)
        return _cut(completion, request) if sampling.stop else completion

    async def _choose(self, request: Request) -> Completion:
        """The choices' log-probabilities as far as the first token tells them; None where the server cannot."""
        silent = Completion(text="", model=self._model)
        if "logprobs" in self._refused or not await self._can_continue():
            return silent
        messages = [message.model_dump() for message in request.messages]
        messages.append({"role": "assistant", "content": request.prefix})
        wanted = {"temperature": 0.0, "logprobs": True, "top_logprobs": _TOP}
        answer = await self._create(messages, 1, wanted, continues=True, must=False)
        if isinstance(answer, Completion):
            return silent
        told = answer.choices[0].logprobs
        first = told.content[0].top_logprobs if told and told.content else []
        if not first:
            self._refused.add("logprobs")
            return silent
        scores = _scores([(entry.token, entry.logprob) for entry in first], request.choices)
        return silent.model_copy(update={"choice_logprobs": scores, "usage": _usage(answer)})

    async def _create(
        self,
        messages: list[dict[str, Any]],
        limit: int,
        wanted: dict[str, Any],
        *,
        continues: bool = False,
        must: bool = True,
    ) -> "ChatCompletion | Completion":
        """The server's answer; a Completion where it says that this request is too long or refused.

        A request that it does not understand, and that need not be answered, is refused too.
        """
        room = limit

        async def once() -> "ChatCompletion | Completion":
            nonlocal room
            while True:
                sent = {
                    name: value for name, value in wanted.items() if value is not None and name not in self._refused
                }
                sent |= {self._limit: room}
                extra = dict(self._continue) if continues else None
                try:
                    answer: ChatCompletion = await self._client.chat.completions.create(
                        model=self._model,
                        messages=messages,  # type: ignore[arg-type]  # plain dicts, as the API takes them
                        extra_body=extra,
                        **sent,
                    )
                except self._bad_request as error:
                    if settled := self._settled(error, room):
                        return settled
                    if (left := _room(error, room)) is not None:
                        room = left
                    elif not self._learn(error, {**sent, **(extra or {})}):
                        if must:
                            raise
                        return Completion(text="", stop="refused", model=self._model)
                else:
                    return answer

        return await self._line.call(once)

    def _settled(self, error: Any, room: int) -> Completion | None:
        """Convert an error about this request alone to a value."""
        if error.code in _REFUSED:
            return Completion(text="", stop="refused", model=self._model)
        too_long = error.code == "context_length_exceeded" or _TOO_LONG.search(str(error))
        if too_long and _room(error, room) is None:
            return Completion(text="", stop="too_long", model=self._model)
        return None

    def _learn(self, error: Any, sent: Mapping[str, object]) -> bool:
        """Detect an optional request field that the server rejects, and stop sending it. True where one was found."""
        said = f"{error.param} {error}"
        if "max_tokens" in sent and "max_completion_tokens" in said:
            self._limit = "max_completion_tokens"
            return True
        for name in (*_CONTINUE, *_MAY_GO):
            if name in sent and re.search(rf"\b{name}\b", said):
                self._refused.add(name)
                self._continue = {} if name in _CONTINUE else self._continue
                return True
        return False

    async def _can_continue(self) -> bool:
        """Detect once whether the server continues a last assistant message.

        Where it is, one more short word is one or two more tokens of prompt. Where it is not, the end of
        that turn and the beginning of another come on top.
        """
        async with self._probing:
            if self._continues is None:
                bare = await self._prompt_tokens(_PROBE)
                begun = await self._prompt_tokens([*_PROBE, {"role": "assistant", "content": "x"}])
                self._continues = 0 < bare <= begun <= bare + 2
            return self._continues

    async def _prompt_tokens(self, messages: list[dict[str, Any]]) -> int:
        """Prompt tokens that the server counts for these messages; 0 where it does not answer such a request."""
        answer = await self._create(messages, 1, {}, continues=len(messages) > 1, must=False)
        return 0 if isinstance(answer, Completion) else _usage(answer).prompt_tokens


def _room(error: object, asked: int) -> int | None:
    """Tokens left for the answer where an error tells context and prompt, and that is fewer than were asked for."""
    context, read = _CONTEXT.search(str(error)), _READ.search(str(error))
    room = int(context[1]) - int(read[1]) if context and read else 0
    return room if 0 < room < asked else None


def _usage(answer: "ChatCompletion") -> Usage:
    usage = answer.usage
    if usage is None:
        return Usage()
    details = usage.prompt_tokens_details
    return Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=(details and details.cached_tokens) or 0,
    )


def _completion(answer: "ChatCompletion", stops: Sequence[str]) -> Completion:
    choice = answer.choices[0]
    message = choice.message
    extra = as_dict(message)
    text = message.content or ""
    stop = {"length": "length", "content_filter": "refused"}.get(choice.finish_reason, "stop")
    if message.refusal:
        text, stop = message.refusal, "refused"
    if stop == "stop":
        text += _taken_stop(text, as_dict(choice), stops)
    return Completion.model_validate(
        {
            "text": text,
            "stop": stop,
            "usage": _usage(answer),
            "reasoning": extra.get("reasoning_content") or extra.get("reasoning") or None,
            "model": answer.model,
        }
    )


def _taken_stop(text: str, extra: Mapping[str, object], stops: Sequence[str]) -> str:
    """The stop string that a server took off: vLLM names it, or none; else the one that closes an open tag."""
    if "stop_reason" in extra:
        said = extra["stop_reason"]
        return said if isinstance(said, str) and said in stops else ""
    for stop in stops:
        opening = stop.replace("</", "<")
        if stop.startswith("</") and text.rfind(opening) > text.rfind(stop):
            return stop
    return ""


def _stopped_in_thought(completion: Completion, request: Request) -> bool:
    text = request.prefix + completion.text
    return bool(request.sampling.stop) and completion.stop == "stop" and is_in_thought(text)


def _cut(completion: Completion, request: Request) -> Completion:
    """The text up to its first stop string outside thinking, where the server did not stop there itself."""
    ended = StopScanner(request.sampling.stop, request.prefix).feed(completion.text)
    return completion if ended is None else completion.model_copy(update={"text": ended, "stop": "stop"})


def _scores(first: Sequence[tuple[str, float]], choices: Sequence[str]) -> tuple[float, ...]:
    """For each choice the probability of the tokens with which it, and no other, may begin."""
    totals = [0.0] * len(choices)
    for token, logprob in first:
        fits = [n for n, choice in enumerate(choices) if token and choice.startswith(token)]
        if len(fits) == 1:
            totals[fits[0]] += math.exp(logprob)
    return tuple(math.log(total) if total > 0 else -math.inf for total in totals)
