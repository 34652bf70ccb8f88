"""Chat templates, rendered in a sandbox: they come with model files and are not trusted."""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from rmr1_sdk.errors import BackendError, MissingExtraError
from rmr1_sdk.types import Message

__all__ = ["render_chat"]


def render_chat(template: str, messages: Sequence[Message], *, bos: str = "", eos: str = "") -> str:
    """The text of a conversation up to where the assistant's turn begins.

    Templates without a system role get the system text at the head of the first user turn.
    Raises BackendError for a template that fails.
    """
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        return _render(template, turns, bos, eos)
    except BackendError:
        merged = _without_system(turns)
        if merged == turns:
            raise
        return _render(template, merged, bos, eos)


def _without_system(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    if [turn["role"] for turn in turns[:2]] != ["system", "user"]:
        return turns
    first = {"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
    return [first, *turns[2:]]


def _render(template: str, turns: list[dict[str, str]], bos: str, eos: str) -> str:
    from jinja2.exceptions import TemplateError

    try:
        return str(_compiled(template).render(messages=turns, add_generation_prompt=True, bos_token=bos, eos_token=eos))
    except (TemplateError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise BackendError(f"the model's chat template failed: {error}") from error


@lru_cache(maxsize=8)
def _compiled(template: str) -> Any:  # a jinja2 Template; jinja2 is imported only where a backend needs it
    try:
        from jinja2.exceptions import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise MissingExtraError("jinja2", "llama-cpp") from error

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return environment.from_string(template)
