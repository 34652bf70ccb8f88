"""Convert prompts and completions of trainers, text or lists of messages, to conversations.

A message is a mapping, as in OpenAI's form, or a pydantic value that dumps to one.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.types import Conversation, Message

__all__ = ["answer", "history", "question", "said"]

_ROLES = {"developer": "system", "function": "tool"}  # the same under another name


def question(prompt: str | Sequence[Any]) -> Conversation:
    """A prompt as a question. A single user turn is its text, so that both ways to write it are one question.

    Raises ConfigError for what is not text: a judge does not see images.
    """
    return _plain(prompt, "user")


def history(messages: Sequence[Any]) -> Conversation:
    """Turns before the last reply, as a question."""
    turns = list(map(_turn, messages))
    return question(turns[:-1] if turns and turns[-1].role == "assistant" else turns)


def answer(completion: str | Sequence[Any]) -> Conversation:
    """A completion as an answer. A single assistant turn is its text; no turn at all is the empty answer."""
    return _plain(completion, "assistant") if completion else ""


def said(completion: str | Sequence[Any]) -> str:
    """Text of the assistant in a completion, its turns joined by a newline."""
    if isinstance(completion, str):
        return completion
    return "\n".join(turn.content for turn in map(_turn, completion) if turn.role == "assistant")


def _plain(given: str | Sequence[Any], role: str) -> Conversation:
    if isinstance(given, str):
        return given
    turns = tuple(map(_turn, given))
    return turns[0].content if [turn.role for turn in turns] == [role] else turns


def _turn(given: BaseModel | Mapping[str, Any]) -> Message:
    if isinstance(given, Message):
        return given
    if isinstance(given, BaseModel):
        given = given.model_dump(mode="json", exclude_none=True)
    text = _text(given.get("content"))
    if calls := given.get("tool_calls"):
        text = "\n".join(part for part in (text, json.dumps(calls, ensure_ascii=False)) if part)
    role = given["role"]
    return Message(role=_ROLES.get(role, role), content=text)


def _text(content: object) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    assert isinstance(content, Sequence), f"the content of a message is text or a list of blocks, not {content!r}"
    said = [block for block in content if block.get("type") != "reasoning"]  # thoughts are not part of what is said
    for block in said:
        if block.get("type") != "text":
            raise ConfigError(f"a judge reads text; it cannot be shown a block of type {block.get('type')!r}")
    return "".join(block["text"] for block in said)
