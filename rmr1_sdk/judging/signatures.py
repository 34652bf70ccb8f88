"""Signatures that list keyword options with their defaults, for `help()` and notebooks."""

import inspect
from collections.abc import Callable, Mapping
from typing import TypeVar

__all__ = ["lists_options"]

F = TypeVar("F", bound=Callable[..., object])


def lists_options(options: type, defaults: Mapping[str, object] = {}) -> Callable[[F], F]:
    """Make the signature of a function list each keyword of `**options: Unpack[options]`.

    Args:
        options: the TypedDict.
        defaults: the default of each, by name; `...` is shown for one that has none.
    """
    named = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name, ...), annotation=annotation)
        for name, annotation in options.__annotations__.items()
    ]

    def listed(function: F) -> F:
        signature = inspect.signature(function)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        function.__signature__ = signature.replace(parameters=[*own, *named])  # type: ignore[attr-defined]
        return function

    return listed
