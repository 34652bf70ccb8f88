"""Options of commands that come from the fields of a value: each is described where it is defined, and only there."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from rmr1_sdk.cli import runs
from rmr1_sdk.errors import ConfigError
from rmr1_sdk.judge import Judge
from rmr1_sdk.options import JudgeArgs, JudgeOptions
from rmr1_sdk.types import Sampling, Value

__all__ = ["Flags", "asks", "takes"]

Command = Callable[..., None]


def takes(kind: type[Value], *, leave_out: Iterable[str] = ()) -> Callable[[Command], Command]:
    """Give a command an option for each field; it gets those that were given as its argument `given`, by name."""
    left = set(leave_out)
    options = [_option(name, field) for name, field in kind.model_fields.items() if name not in left]
    return lambda command: _with(command, "given", options, lambda values: values)


class Flags:
    """The judge that the command line describes."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        named = dict(given)
        self.model: str = named.pop("model", "")
        self.offline: bool = named.pop("offline", False)
        self._store: Path | None = named.pop("store", None)
        self._no_store: bool = named.pop("no_store", False)
        sampling = {name: named.pop(name) for name in _SAMPLED if name in named}
        self.options: JudgeArgs = {**named, "sampling": sampling}  # type: ignore[typeddict-item]

    def store(self, out: Path | None) -> Path | None:
        """The store that was named, else one beside OUT; None where nothing is kept."""
        return None if self._no_store else self._store or (out and Path(f"{out}.store.db"))

    def judge(self, out: Path | None) -> Judge:
        """The judge."""
        return Judge(self.model, store=self.store(out), **self.options)

    def refuse(self, *flags: str, why: str) -> None:
        """Raise ConfigError for a flag that has no meaning here."""
        given = {"--store": self._store, "--max-tokens-total": self.options.get("max_tokens_total")}
        if said := [flag for flag in flags if given.get(flag)]:
            raise ConfigError(f"{said[0]} {why}")


_SAMPLED = ("max_tokens", "temperature")
_NOT_HERE = ("sampling", "force_verdict", "ask_again", "on_failure")


def asks(command: Command, *, leave_out: Iterable[str] = ()) -> Command:
    """Give a command the options of a judge; it gets them as its argument `flags`."""
    left = {*_NOT_HERE, *leave_out}
    options = [
        _named("model", str, 'The engine and model, as in "llama_cpp:model.gguf".'),
        *(_option(name, field) for name, field in JudgeOptions.model_fields.items() if name not in left),
        *(_option(name, Sampling.model_fields[name]) for name in _SAMPLED),
        _named("store", Path, "Keeps completions [default: OUT.store.db]."),
        _flag("no_store", "--no-store", "Keep nothing; no resume."),
        _flag("offline", "--offline", "Never use the network."),
    ]

    def flags(values: Mapping[str, Any]) -> Flags:
        made = Flags(values)
        if "model" in values or "model_required" not in left:
            runs.check_model(made.model, offline=made.offline)
        return made

    return _with(command, "flags", [option for option in options if option.name not in left], flags)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in values.items() if value is not None}


def _with(
    command: Command, name: str, options: list[inspect.Parameter], make: Callable[[Mapping[str, Any]], object]
) -> Command:
    own = [each for each in inspect.signature(command, eval_str=True).parameters.values() if each.name != name]
    names = [option.name for option in options]

    @wraps(command)
    def call(**values: Any) -> None:
        derived = _given({each: values.pop(each, None) for each in names})
        command(**values, **{name: make(derived)})

    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *options)]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    return call


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    default = None if field.is_required() or field.default_factory or field.default is None else field.default
    if isinstance(default, bool):
        default = "on" if default else "off"
    help_ = field.description or ""
    text = help_ if default is None else f"{help_.rstrip('.')} [default: {default}]."
    return _named(name, _plain(field.annotation), text, required=field.is_required())


def _named(name: str, kind: Any, text: str, *, required: bool = False) -> inspect.Parameter:
    # None is "not given": the value's own default holds then
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else None,
        annotation=Annotated[kind if required else kind | None, typer.Option(help=text, show_default=False)],
    )


def _flag(name: str, flag: str, text: str) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, typer.Option(flag, help=text)]
    )


def _plain(annotation: Any) -> Any:
    """The type that typer is to read: of several alternatives the first, without None; a literal is text."""
    if get_origin(annotation) in (Union, UnionType):
        return _plain(next(each for each in get_args(annotation) if each is not NoneType))
    return str if get_origin(annotation) is Literal else annotation
