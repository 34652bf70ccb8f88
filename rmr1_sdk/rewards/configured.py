"""Judges described by a trainer's configuration, made once per process."""

import json
import threading
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from rmr1_sdk.concurrency import PerProcess
from rmr1_sdk.errors import ConfigError

if TYPE_CHECKING:
    from rmr1_sdk.judge import Judge

__all__ = ["judge_for"]


class _Judges:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, Judge] = {}

    def get(self, model: str, base_url: str | None, options: Mapping[str, Any]) -> "Judge":
        # through JSON, because what comes from a configuration may be mappings and lists of its library's own
        kept = json.dumps([model, base_url, options], sort_keys=True, default=_plain)
        with self._lock:
            if kept not in self._made:
                self._made[kept] = _make(model, base_url, json.loads(kept)[2])
            return self._made[kept]


_judges = PerProcess(_Judges)


def judge_for(model: str, *, base_url: str | None = None, **options: Any) -> "Judge":
    """The judge of this process for these arguments; the same arguments give the same judge.

    `model` is a backend's name, as `connect` takes it; with `base_url`, what the server there calls its model.
    `options` are Judge's. Raises ConfigError.
    """
    return _judges.get().get(model, base_url, options)


def _make(model: str, base_url: str | None, options: dict[str, Any]) -> "Judge":
    from rmr1_sdk.backends import connect
    from rmr1_sdk.judge import Judge

    if base_url is None:
        return Judge(model, **options)
    return Judge(connect(f"openai:{model.removeprefix('openai:')}", base_url=base_url), **options)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    if isinstance(value, PathLike):
        return str(value)
    if isinstance(value, Mapping) or hasattr(value, "keys"):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise ConfigError(f"a judge that is named takes options that JSON can hold, not {value!r}; or give a Judge")
