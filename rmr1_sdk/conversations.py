"""Conversations: messages in the forms of OpenAI, Anthropic, ShareGPT and Parquet, read to turns of a role and a text.

Each tool call becomes a line of its turn's text, `Tool call: NAME(ARGUMENTS)`, with the arguments as JSON with sorted
keys, so that two equal calls are equal texts. Thoughts are left out; what is no text is refused.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

__all__ = ["Turn", "asked", "read_turns"]

_ROLES = {
    "assistant": "assistant",
    "developer": "system",
    "function": "tool",
    "function_call": "assistant",
    "gpt": "assistant",
    "human": "user",
    "model": "assistant",
    "observation": "tool",
    "system": "system",
    "tool": "tool",
    "user": "user",
}
_TEXTS = ("text", "input_text", "output_text")
_THOUGHTS = ("reasoning", "thinking", "redacted_thinking")
_NO_TEXT = ("audio", "image", "images", "video", "videos", "files", "attachments")
"""Fields of a message that hold what a judge cannot be shown."""


class Turn(NamedTuple):
    """One turn of a conversation, as plain values."""

    role: str
    content: str


def read_turns(messages: Sequence[object]) -> list[Turn]:
    """The turns of a list of messages. Raises ValueError, which names the message by its number, from 1."""
    turns: list[Turn] = []
    names: dict[str, str] = {}  # of the tools that were called, by the call
    for number, message in enumerate(messages, start=1):
        try:
            turns += _turns(_mapping(message), names)
        except ValueError as error:
            raise ValueError(f"message {number}: {error}") from error
    return turns


def asked(question: Any, *, system: str | None = None, input: str | None = None) -> Any:  # noqa: A002  # a field's name
    """A question with its parts from other fields: an input goes under its text, a system text before it.

    Raises ValueError where they do not go together.
    """
    if input:
        if not isinstance(question, str):
            raise ValueError("field input: it belongs to a question that is text, and this one is a conversation")
        question = f"{question}\n\n{input}"
    if not system:
        return question
    turns = [Turn("user", question)] if isinstance(question, str) else read_turns(question)
    told = [turn.content for turn in turns if turn.role == "system"]
    if told and told != [system]:
        raise ValueError("field system: the question has a system turn of its own, which says something else")
    turns = turns if told else [Turn("system", system), *turns]
    return [turn._asdict() for turn in turns]


def _mapping(message: object) -> Mapping[str, Any]:
    dump = getattr(message, "model_dump", None)
    given = dump(mode="json", exclude_none=True) if dump else message
    if not isinstance(given, Mapping):
        raise ValueError(f"it is an object with a role and a content, not {type(message).__name__}")
    return {name: value for name, value in given.items() if value is not None}  # Parquet has every field everywhere


def _turns(message: Mapping[str, Any], names: dict[str, str]) -> Iterator[Turn]:
    """The turns of a message: one, and before it one for each result that Anthropic's form puts into it."""
    for field in _NO_TEXT:
        if message.get(field) is not None and _length(message[field]):
            raise _unreadable(field)
    given = message.get("role", message.get("from"))
    if not isinstance(given, str) or given not in _ROLES:
        raise ValueError(f"its role is one of {', '.join(_ROLES)}, not {given!r}")
    content = message.get("content", message.get("value"))
    if given == "function_call":  # ShareGPT's
        content, message = None, {"function_call": _json(content)}
    calls = [*_listed(message.get("tool_calls")), *_listed(message.get("function_call"))]
    if content is None and not calls and not message.get("refusal") and _ROLES[given] == "user":
        raise ValueError("it has no content")
    said: list[str] = []
    for block in [content] if isinstance(content, str) else _listed(content):
        found = _block(block, names)
        if isinstance(found, Turn):
            yield found
        elif found:
            said.append(found)
    # the text of neighbouring blocks is one text, and each call has a line of its own
    lines = [("\n" if kind is _Call else "").join(run) for kind, run in groupby(said, key=type)]
    lines += [str(message.get("refusal", "")), *(_call(call, names) for call in calls)]
    text = "\n".join(line for line in lines if line)
    if text or not isinstance(content, list) or not any(_is_result(block) for block in content):
        yield Turn(_ROLES[given], _named(text, message, _ROLES[given], names))


def _block(block: object, names: dict[str, str]) -> str | Turn | None:
    """The text of a block, or a turn of its own where it is the result of a tool; None for a thought."""
    if isinstance(block, str):
        return block
    if not isinstance(block, Mapping):
        raise ValueError(f"a block of its content is an object, not {type(block).__name__}")
    kind = block.get("type", "text" if isinstance(block.get("text"), str) else None)
    if kind in _THOUGHTS:
        return None
    if kind == "tool_use":
        return _call(block, names)
    if kind == "tool_result":
        (turn,) = _turns({**block, "role": "tool", "content": block.get("content") or ""}, names)
        return turn
    text = block.get("text") if kind in _TEXTS else block.get("refusal") if kind == "refusal" else None
    if not isinstance(text, str):
        raise _unreadable(str(kind))
    return text


def _is_result(block: object) -> bool:
    return isinstance(block, Mapping) and block.get("type") == "tool_result"


def _unreadable(kind: str) -> ValueError:
    return ValueError(f"a judge reads text; it cannot be shown a block of type {kind!r}")


class _Call(str):
    """The line of text that shows a call of a tool."""

    __slots__ = ()


def _call(call: object, names: dict[str, str]) -> _Call:
    """A call of a tool as a line of text; its name is kept for the result."""
    if not isinstance(call, Mapping):
        raise ValueError(f"a tool call is an object, not {type(call).__name__}")
    inner = call.get("function", call)
    name = inner if isinstance(inner, str) else inner.get("name") if isinstance(inner, Mapping) else None
    if not isinstance(name, str):
        raise ValueError("a tool call has no name")
    holder = inner if isinstance(inner, Mapping) else call
    arguments = _json(holder.get("arguments", holder.get("input")))
    if isinstance(call.get("id"), str):
        names[call["id"]] = name
    shown = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, sort_keys=True)
    return _Call(f"Tool call: {name}({'' if arguments in (None, '', {}) else shown})")


def _named(text: str, message: Mapping[str, Any], role: str, names: Mapping[str, str]) -> str:
    """The text with who speaks before it, where that is told. An assistant's name may be a model's: it is not shown."""
    called = message.get("tool_call_id", message.get("tool_use_id"))
    name = message.get("name", names.get(called) if isinstance(called, str) else None)
    return f"{name}: {text}" if isinstance(name, str) and name and role != "assistant" else text


def _json(value: object) -> object:
    """The value of a JSON text; a text that is none, and any other value, stays as it is."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


def _length(value: object) -> int:
    return len(value) if isinstance(value, str | Sequence | Mapping) else 1


def _listed(value: object) -> list[Any]:
    """Nothing, one value or several, as a list; arrays of NumPy are lists."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
