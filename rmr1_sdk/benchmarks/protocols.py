"""Protocols of benchmarks: the judge options each needs, and the deviations of a run from it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from rmr1_sdk import parsing, prompts
from rmr1_sdk.backends import Backend
from rmr1_sdk.benchmarks.benchmark import Protocol
from rmr1_sdk.judging.options import JudgeArgs
from rmr1_sdk.prompts import Prompt
from rmr1_sdk.types import Pair, Shown, Verdict

__all__ = ["departures", "judge_options"]


def judge_options(protocol: Protocol, backend: Backend) -> JudgeArgs:
    """Arguments of `Judge(backend, ...)`; give your own after them to change one.

    Raises ConfigError where the protocol wants the published prompt and its texts are not here.
    """
    options: JudgeArgs = {"orders": protocol.orders}
    if protocol.sampling is not None:
        options["sampling"] = protocol.sampling.model_dump(exclude_unset=True)
    if protocol.published_prompt:
        options |= {"prompt": _as_evaluated(backend), "force_verdict": False, "ask_again": False}
    return options


def departures(record: Mapping[str, Any], protocol: Protocol) -> Iterator[str]:
    """Deviations of a run from its protocol, by its `run.json`. An empty record means judgments made by others."""
    if not record:
        yield "judged by others; of this profile is the scoring alone"
        return
    wanted: dict[str, Any] = {"orders": protocol.orders, "votes": 1}
    asked = {name: record.get(name) for name in wanted}
    sampling = {"temperature": 0.0} if protocol.sampling is None else protocol.sampling.model_dump(exclude_unset=True)
    wanted |= sampling
    asked |= {name: record.get("sampling", {}).get(name) for name in sampling}
    for name, value in wanted.items():
        if (was := json.dumps(asked[name])) != (should := json.dumps(value)):
            yield f"asked with {name} {was}, where the profile has {should}"
    if not protocol.published_prompt and record.get("neutralise") is False:
        yield "asked with tags in answers as they are, where the profile has them made harmless"
    if protocol.published_prompt and record.get("neutralise"):
        yield f"asked with prompt {record.get('prompt')!r}, where the profile has the published one as it is"


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
