"""Engines behind one contract. `connect` finds the one a name asks for and imports only that."""

from difflib import get_close_matches
from importlib import import_module
from typing import Any, cast

from rmr1_sdk.backends.base import Backend, Capabilities
from rmr1_sdk.errors import ConfigError

__all__ = ["Backend", "Capabilities", "connect"]

BACKENDS = {
    "fake": "rmr1_sdk.backends.fake",
    "llama_cpp": "rmr1_sdk.backends.llama_cpp",
}


def connect(spec: str, **options: Any) -> Backend:
    """The engine for "llama_cpp:FILE.gguf" or "fake:module:function".

    `options` go to the engine. Raises ConfigError for an unknown engine or one that cannot be built.
    """
    kind, colon, rest = spec.partition(":")
    if kind not in BACKENDS:
        near = get_close_matches(kind, BACKENDS, n=1)
        hint = f"; did you mean {near[0]}:{rest}?" if near else ""
        raise ConfigError(f"unknown backend {kind!r} in {spec!r}{hint} Known: {', '.join(sorted(BACKENDS))}")
    if not colon or not rest:
        raise ConfigError(f"{spec!r} does not say which model: write {kind}:...")
    # every leaf has a connect(rest, **options); Any because options differ from leaf to leaf
    return cast(Backend, import_module(BACKENDS[kind]).connect(rest, **options))
