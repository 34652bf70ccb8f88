"""Backends: one contract, a table of names, and `connect`, which imports only the backend that a name asks for."""

import sys
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from typing import Any, NamedTuple, cast

from rmr1_sdk.backends.base import Backend, Capabilities
from rmr1_sdk.errors import ConfigError, RMR1Error
from rmr1_sdk.keys import mask_address

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
"""The backends by the name that comes before the colon."""


_PARTS = ("model", "identity", "capabilities", "generate", "aclose")


def connect(spec: str, **options: Any) -> Backend:
    """Make the backend for "llama_cpp:FILE.gguf", "openai:MODEL" and so on: the keys of BACKENDS.

    "package.module:function" is a backend of your own: `function(**options)` is called and returns it. The module is
    looked for in the current folder too.

    `options` go to the backend. Raises ConfigError for an unknown backend or one that cannot be built.
    """
    kind, colon, rest = spec.partition(":")
    if kind not in BACKENDS:
        return _from_module(spec, kind, rest, options)
    if not colon or not rest:
        raise ConfigError(f"{spec!r} does not say which model: write {kind}:...")
    # every leaf has a connect(rest, **options); Any because options differ from leaf to leaf
    return cast(Backend, import_module(BACKENDS[kind].leaf).connect(rest, **options))


def _from_module(spec: str, module: str, function: str, options: dict[str, Any]) -> Backend:
    """Call the function of a module that is no backend of ours."""
    if not (function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise _unknown(spec)
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # at the end, so that nothing there hides what is installed; kept for later imports
    try:
        make = getattr(import_module(module), function, None)
        made = None if make is None else make(**options)
    except RMR1Error:
        raise
    except Exception as error:  # whatever code that is not ours may raise
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise _unknown(spec) from error
        raise ConfigError(f"{spec}: {type(error).__name__}: {error}{_place(error)}") from error
    if make is None:
        raise _unknown(spec, f"; the module {module} has no {function}")
    # looked up in the class first, because reading `capabilities` may load a model
    if lacking := [part for part in _PARTS if not (hasattr(type(made), part) or hasattr(made, part))]:
        raise ConfigError(f"{spec} returned {type(made).__name__}, which is no Backend: it has no {', '.join(lacking)}")
    return cast(Backend, made)


def _unknown(spec: str, why: str = "") -> ConfigError:
    kind, colon, rest = spec.partition(":")
    shown = colon + mask_address(rest)
    near = get_close_matches(kind, BACKENDS, n=1)
    hint = f"; did you mean {near[0]}:{mask_address(rest)}?" if near else "."
    return ConfigError(f"unknown backend {kind!r} in {kind + shown!r}{why}{hint} Known: {', '.join(sorted(BACKENDS))}")


def _place(error: Exception) -> str:
    """The file and line where an error was raised, as far as that is neither here nor in the import system."""
    frames = [
        frame
        for frame in extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<frozen ")
    ]
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
