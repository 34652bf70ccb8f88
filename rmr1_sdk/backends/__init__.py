"""Engines behind one contract. `connect` finds the one a name asks for and imports only that."""

from difflib import get_close_matches
from importlib import import_module
from typing import Any, NamedTuple, cast

from rmr1_sdk.backends.base import Backend, Capabilities
from rmr1_sdk.errors import ConfigError

__all__ = ["BACKENDS", "Backend", "BackendSpec", "Capabilities", "connect"]


class BackendSpec(NamedTuple):
    """Specification of a backend: its module, its third-party imports, and the pip extra that installs them."""

    leaf: str
    imports: tuple[str, ...] = ()
    extra: str | None = None


BACKENDS = {
    "anthropic": BackendSpec("rmr1_sdk.backends.anthropic", ("anthropic",), "anthropic"),
    "fake": BackendSpec("rmr1_sdk.backends.fake"),
    "llama_cpp": BackendSpec("rmr1_sdk.backends.llama_cpp", ("llama_cpp", "jinja2", "psutil"), "llama-cpp"),
    "openai": BackendSpec("rmr1_sdk.backends.openai", ("openai",), "openai"),
    "rmr1": BackendSpec("rmr1_sdk.backends.rmr1"),
    "transformers": BackendSpec("rmr1_sdk.backends.transformers", ("transformers", "torch", "jinja2"), "transformers"),
    "vllm": BackendSpec("rmr1_sdk.backends.vllm", ("vllm", "jinja2"), "vllm"),
}
"""The engines by the name that comes before the colon."""


def connect(spec: str, **options: Any) -> Backend:
    """The engine for "llama_cpp:FILE.gguf", "openai:MODEL", "transformers:FOLDER" and so on: the keys of BACKENDS.

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
    return cast(Backend, import_module(BACKENDS[kind].leaf).connect(rest, **options))
