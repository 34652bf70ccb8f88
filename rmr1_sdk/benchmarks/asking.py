"""How a protocol wants pairs to be asked about: what `Judge` is given for it."""

from dataclasses import replace
from typing import Any

from rmr1_sdk import parsing, prompts
from rmr1_sdk.backends import Backend
from rmr1_sdk.benchmarks.benchmark import Protocol
from rmr1_sdk.prompts import Prompt
from rmr1_sdk.types import Pair, Shown, Verdict

__all__ = ["judge_options"]


def judge_options(protocol: Protocol, backend: Backend) -> dict[str, Any]:
    """Arguments of `Judge(backend, ...)`; give your own after them to change one.

    Raises ConfigError where the protocol wants the published prompt and its texts are not here.
    """
    options: dict[str, Any] = {"orders": protocol.orders}
    if protocol.sampling is not None:
        options["sampling"] = protocol.sampling.model_dump(exclude_unset=True)
    if protocol.published_prompt:
        options |= {"prompt": _as_evaluated(backend), "force_verdict": False, "ask_again": False}
    return options


def _as_evaluated(backend: Backend) -> Prompt:
    """The published prompt of the model's family as RM-R1's evaluators send it, and their rule of reading."""
    prompt = prompts.resolve(
        "published",
        model=backend.model,
        chat_template=backend.capabilities.chat_template,
        recorded=backend.capabilities.prompt,
    )
    return replace(prompt, name=f"{prompt.name}, as evaluated", neutralise=False, reader=_read_as_evaluated)


def _read_as_evaluated(text: str, pair: Pair | None, shown: Shown) -> Verdict:
    return parsing.read(text, mode="rmr1_eval", pair=pair, shown=shown)
