"""Anthropic's Messages API, through the official client.

The API takes no temperature, no top_p and no seed, and tells no probabilities: what is drawn is the
model's own, votes differ by themselves, and `p_a` comes from counting them.
"""

from typing import TYPE_CHECKING, Any

from rmr1_sdk.backends.base import Capabilities
from rmr1_sdk.backends.remote import Address, Remote, Session
from rmr1_sdk.types import Completion, Request, Usage

if TYPE_CHECKING:
    from anthropic.types import Message

__all__ = ["Anthropic"]

_TIMEOUT_S = 600.0
_STOPS = {"max_tokens": "length", "model_context_window_exceeded": "length", "refusal": "refused"}


class Anthropic(Remote):
    """A model of Anthropic's.

    The system prompt, which all pairs share, is marked for the API's prompt cache. A request's `prefix`
    becomes the beginning of the answer, where the model supports that.

    Args:
        model: its name.
        base_url: None is $ANTHROPIC_BASE_URL, else the hosted API.
        api_key: None or blank is $ANTHROPIC_API_KEY; a server of your own may need none.
        concurrency: the most requests in flight; fewer while the server says that it is busy.

    Raises ConfigError for what is no key, or where the hosted API has none, and MissingExtraError. Pickles as its
    arguments.
    """

    kind = "anthropic"
    hosted = "https://api.anthropic.com"
    can = Capabilities()

    @staticmethod
    def session(address: Address) -> Session:
        """State of this backend in the current process."""
        return _Session(address)


def connect(rest: str, **options: Any) -> Anthropic:
    """The backend of "anthropic:MODEL"."""
    return Anthropic(rest, **options)


class _Session:
    """The client in one process."""

    def __init__(self, address: Address) -> None:
        import anthropic

        self._model = address.model
        self._client = anthropic.AsyncAnthropic(
            api_key=address.key or "none", base_url=address.url, max_retries=0, timeout=_TIMEOUT_S
        )
        self._bad_request = (anthropic.BadRequestError, anthropic.RequestTooLargeError)
        self._line = address.line(anthropic.APIError)

    async def close(self) -> None:
        await self._client.close()

    async def answer(self, request: Request) -> Completion:
        if request.choices:
            return Completion(text="", model=self._model)
        sent = self._arguments(request)

        async def once() -> Completion:
            try:
                answer: Message = await self._client.messages.create(**sent)
            except self._bad_request as error:
                if "too long" not in str(error) and not isinstance(error, self._bad_request[1]):
                    raise
                return Completion(text="", stop="too_long", model=self._model)
            return _completion(answer)

        return await self._line.call(once)

    def _arguments(self, request: Request) -> dict[str, Any]:
        sent: dict[str, Any] = {"model": self._model, "max_tokens": request.sampling.max_tokens}
        system = "\n\n".join(message.content for message in request.messages if message.role == "system")
        if system:
            sent["system"] = [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}]
        sent["messages"] = [
            {"role": "assistant" if message.role == "assistant" else "user", "content": message.content}
            for message in request.messages
            if message.role != "system"
        ]
        if prefix := request.prefix.rstrip():  # the API refuses white space at its end
            sent["messages"].append({"role": "assistant", "content": prefix})
        if request.sampling.stop:
            sent["stop_sequences"] = list(request.sampling.stop)
        return sent


def _completion(answer: "Message") -> Completion:
    text = "".join(block.text for block in answer.content if block.type == "text")
    thinking = "".join(block.thinking for block in answer.content if block.type == "thinking")
    cached = answer.usage.cache_read_input_tokens or 0
    read = answer.usage.input_tokens + cached + (answer.usage.cache_creation_input_tokens or 0)
    return Completion.model_validate(
        {
            "text": text + (answer.stop_sequence or ""),
            "stop": _STOPS.get(answer.stop_reason or "", "stop"),
            "usage": Usage(prompt_tokens=read, completion_tokens=answer.usage.output_tokens, cached_tokens=cached),
            "reasoning": thinking or None,
            "model": answer.model,
        }
    )
