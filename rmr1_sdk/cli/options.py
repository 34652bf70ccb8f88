"""Command options derived from the fields of values."""

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.judge import Judge
from rmr1_sdk.judging.options import JudgeArgs, JudgeOptions
from rmr1_sdk.types import AsOption, Sampling, Value

__all__ = ["JudgeFlags", "OptionGroup", "build", "judge_flags", "options_of", "sampling_options", "takes"]

Command = Callable[..., None]
Given = Mapping[str, Any]
V = TypeVar("V", bound=Value)

SAMPLING_OPTIONS = ("max_tokens", "temperature", "top_p")
_NO_OPTION = ("sampling", "on_failure")  # sampling is given field by field; a command reports what failed


@dataclass(frozen=True)
class OptionGroup:
    """Options that a command receives as one argument, which `make` builds from those that were given."""

    options: Sequence[inspect.Parameter]
    make: Callable[[Given], object] = dict


def takes(**groups: OptionGroup) -> Callable[[Command], Command]:
    """Give a command the options of each group, in place of the argument of the group's name."""

    def wrap(command: Command) -> Command:
        own = [each for name, each in inspect.signature(command).parameters.items() if name not in groups]
        derived = [option for group in groups.values() for option in group.options]

        @wraps(command)
        def call(context: typer.Context, **values: Any) -> None:
            made = {
                name: group.make({o.name: values[o.name] for o in group.options if _was_given(context, o.name)})
                for name, group in groups.items()
            }
            command(**{each.name: values[each.name] for each in own}, **made)

        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [context, *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *derived))]
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {each.name: each.annotation for each in parameters}
        return call

    return wrap


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def options_of(
    kind: type[Value], *, only: Iterable[str] | None = None, leave_out: Iterable[str] = (), panel: str | None = None
) -> list[inspect.Parameter]:
    """An option for each field of a value, with the field's default and description."""
    names = [name for name in (kind.model_fields if only is None else only) if name not in set(leave_out)]
    return [_option(name, kind.model_fields[name], panel=panel) for name in names]


def sampling_options(unset: str, *, panel: str | None = None) -> list[inspect.Parameter]:
    """The options of Sampling; `unset` says whose values hold for those that are not given."""
    return [_option(name, Sampling.model_fields[name], unset=unset, panel=panel) for name in SAMPLING_OPTIONS]


def build(kind: type[V], given: Given) -> V:
    """Build a value from options. Raises ConfigError, which names each wrong option."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise ConfigError("; ".join(_fault(kind, each["loc"], each["msg"]) for each in error.errors())) from error


def _fault(kind: type[Value], at: Sequence[int | str], message: str) -> str:
    """The message, with its option; a message about several options together names them itself."""
    return f"{_flag(kind, str(at[0]))}: {message}" if at else message.removeprefix("Value error, ")


def _flag(kind: type[Value], name: str) -> str:
    return _form(kind.model_fields[name]).flag or "--" + name.replace("_", "-")


class JudgeFlags:
    """The judge that the command line describes."""

    def __init__(self, given: Given) -> None:
        named = dict(given)
        self.model: str = named.pop("model", "")
        self.offline: bool = named.pop("offline", False)
        self._store: Path | None = named.pop("store", None)
        self._no_store: bool = named.pop("no_store", False)
        sampling = {name: named.pop(name) for name in SAMPLING_OPTIONS if name in named}
        self.options: JudgeArgs = {**named, "sampling": sampling}  # type: ignore[typeddict-item]

    def check_model(self) -> None:
        """Refuse a missing --model; --offline holds for all that follows."""
        if not self.model:
            raise ConfigError('--model is missing: give a backend and a model, as in "llama_cpp:model.gguf"')
        if self.offline:
            os.environ["HF_HUB_OFFLINE"] = "1"

    def store(self, out: Path | None) -> Path | None:
        """The store that was named, else one beside OUT; None where nothing is kept."""
        return None if self._no_store else self._store or (out and Path(f"{out}.store.db"))

    def judge(self, out: Path | None) -> Judge:
        """Build the judge."""
        return Judge(self.model, store=self.store(out), **self.options)

    def refuse_with_ray(self) -> None:
        """Raise ConfigError for an option that judges on several machines cannot share."""
        given = {"--store": self._store, "--max-tokens-total": self.options.get("max_tokens_total")}
        if named := [flag for flag, value in given.items() if value]:
            raise ConfigError(f"{named[0]} does not go with --ray")


def judge_flags(*, leave_out: Iterable[str] = (), protocol: str = "", model_is_argument: bool = False) -> OptionGroup:
    """The options of a judge, as JudgeFlags.

    Args:
        leave_out: fields of JudgeOptions that the command sets by itself.
        protocol: whose prompt, orders and sampling hold where none are given; "" is the judge's own defaults.
        model_is_argument: the model is an argument rather than --model.
    """
    left = {*_NO_OPTION, *leave_out}
    by_protocol = ("prompt", "orders") if protocol else ()
    named: dict[str, str] = dict.fromkeys(by_protocol, protocol)
    fields = {name: field for name, field in JudgeOptions.model_fields.items() if name not in left}
    model = 'The backend and the model, as in "llama_cpp:model.gguf".'
    options = [
        _argument("model", model) if model_is_argument else _parameter("model", str, model, ""),
        *(_option(name, field, unset=named.get(name), panel="Judge") for name, field in fields.items()),
        *sampling_options(protocol or "the prompt's", panel="Judge"),
        _parameter("store", Path, "Keep completions in this file.", None, unset="OUT.store.db", panel="Store"),
        _parameter("no_store", bool, "Keep nothing; no resume.", False, flag="--no-store", panel="Store"),
        _parameter("offline", bool, "Never use the network.", False, flag="--offline"),
    ]
    return OptionGroup([option for option in options if option.name not in left], JudgeFlags)


def _option(name: str, field: FieldInfo, *, unset: str | None = None, panel: str | None = None) -> inspect.Parameter:
    form = _form(field)
    default = inspect.Parameter.empty if field.is_required() else field.get_default(call_default_factory=True)
    return _parameter(
        name,
        _plain(field.annotation),
        field.description or "",
        None if unset else default,
        flag=form.flag,
        unset=unset or form.unset,
        panel=panel,
    )


def _form(field: FieldInfo) -> AsOption:
    return next((each for each in field.metadata if isinstance(each, AsOption)), AsOption())


def _parameter(
    name: str,
    kind: Any,
    text: str,
    default: Any,
    *,
    flag: str | None = None,
    unset: str | None = None,
    panel: str | None = None,
) -> inspect.Parameter:
    option = typer.Option(*([flag] if flag else []), help=text, show_default=unset or True, rich_help_panel=panel)
    annotation = kind | None if default is None else kind
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, option]
    )


def _argument(name: str, text: str) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[str, typer.Argument(help=text)])


def _plain(annotation: Any) -> Any:
    """The type that typer is to read: the first of several alternatives, without None; a list for a tuple."""
    if get_origin(annotation) in (Union, UnionType):
        return _plain(next(each for each in get_args(annotation) if each is not NoneType))
    if get_origin(annotation) is tuple:
        return list[get_args(annotation)[0]]  # type: ignore[misc]
    return annotation
