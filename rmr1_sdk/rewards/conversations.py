"""Prompts and completions as trainers hold them, text or lists of messages, as conversations of ours."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.types import Conversation, Message

__all__ = ["answer", "question", "said"]

_ROLES = {"developer": "system", "function": "tool"}  # the same under another name


def question(prompt: str | Sequence[Any]) -> Conversation:
    """A prompt as a question. A single user turn is its text, so that both ways to write it are one question.

    Raises ConfigError for what is not text: a judge does not see images.
    """
    return _plain(prompt, "user")


def answer(completion: str | Sequence[Any]) -> Conversation:
    """A completion as an answer. A single assistant turn is its text; no turn at all is the empty answer."""
    return _plain(completion, "assistant") if completion else ""


def said(completion: str | Sequence[Any]) -> str:
    """What the assistant says in a completion, its turns joined by a newline."""
    if isinstance(completion, str):
        return completion
    return "\n".join(turn.content for turn in map(_turn, completion) if turn.role == "assistant")


def _plain(given: str | Sequence[Any], role: str) -> Conversation:
    if isinstance(given, str):
        return given
    turns = tuple(map(_turn, given))
    return turns[0].content if [turn.role for turn in turns] == [role] else turns


def _turn(given: Message | Mapping[str, Any]) -> Message:
    if isinstance(given, Message):
        return given
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
    for block in content:
        if block.get("type") != "text":
            raise ConfigError(f"a judge reads text; it cannot be shown a block of type {block.get('type')!r}")
    return "".join(block["text"] for block in content)
