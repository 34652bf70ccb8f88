"""Convert prompts and completions of trainers, text or lists of messages, to conversations."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.types import Conversation, Message

__all__ = ["answer", "history", "question", "said"]

_CONVERSATION: TypeAdapter[Conversation] = TypeAdapter(Conversation)


def question(prompt: str | Sequence[Any]) -> Conversation:
    """A prompt as a question. A single user turn is its text, so that both ways to write it are one question.

    Raises ConfigError for what is not text: a judge does not see images.
    """
    return _plain(prompt, "user")


def history(messages: Sequence[Any]) -> Conversation:
    """Turns before the last reply, as a question."""
    turns = _turns(messages)
    return question(turns[:-1] if turns and turns[-1].role == "assistant" else turns)


def answer(completion: str | Sequence[Any]) -> Conversation:
    """A completion as an answer. A single assistant turn is its text; no turn at all is the empty answer."""
    return _plain(completion, "assistant") if completion else ""


def said(completion: str | Sequence[Any]) -> str:
    """Text of the assistant in a completion, its turns joined by a newline."""
    if isinstance(completion, str):
        return completion
    return "\n".join(turn.content for turn in _turns(completion) if turn.role == "assistant")


def _plain(given: str | Sequence[Any], role: str) -> Conversation:
    if isinstance(given, str):
        return given
    turns = _turns(given)
    return turns[0].content if [turn.role for turn in turns] == [role] else turns


def _turns(given: Sequence[Any]) -> tuple[Message, ...]:
    try:
        read = _CONVERSATION.validate_python(given)
    except ValidationError as error:
        raise ConfigError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    assert not isinstance(read, str)
    return read
