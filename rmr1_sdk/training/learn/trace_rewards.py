"""Rewards for the parts of a trace before its verdict."""

import re
from collections.abc import Sequence
from typing import Literal, get_args

from rmr1_sdk.parsing import read, written_weights
from rmr1_sdk.training.domain import has_right_reasons
from rmr1_sdk.types import Pair, Verdict

__all__ = ["PARTS", "Part", "trace_reward"]

Part = Literal["quotes", "cited", "rubric", "solution"]
"""Part of a trace to score, see `trace_reward`."""
PARTS: tuple[Part, ...] = get_args(Part)


def trace_reward(part: Part, text: str, pair: Pair) -> float | None:
    """Score a part of a judgment from 0 to 1, whatever its verdict. None where it cannot be checked.

    - "quotes": the share of its quotes that are in the answer they are said to be from; 0 without any.
    - "cited": 1 where both answers are quoted or summed up, else 0.
    - "rubric": 1 where the weights of its rubric, as they are written, come to 100, or to 1; else 0. A judgment
      of type Reasoning has no use for a rubric, and gets 1 without one.
    - "solution": 1 where the judge's own solution, or its thought where it gives no type, comes to the pair's
      reference: to its last number, or where there is none, to its words at the end. Pairs of the tiny domain need
      no reference: there the whole work counts, and in a judgment of type Chat the rubric and what it
      measures. None for other pairs without a reference.
    """
    verdict = read(text, pair=pair)
    if part == "quotes":
        found = [citation.found for citation in verdict.citations if citation.kind == "quote"]
        looked_up = [each for each in found if each is not None]
        return sum(looked_up) / len(looked_up) if looked_up else 0.0
    if part == "cited":
        return float({citation.side for citation in verdict.citations} == {"A", "B"})
    if part == "rubric":
        return float(_is_sound(verdict, written_weights(text)))
    return _solution(verdict, pair)


def _is_sound(verdict: Verdict, weights: Sequence[float | None]) -> bool:
    if verdict.task == "reasoning" and verdict.rubric is None:
        return True
    total = sum(weight for weight in weights if weight is not None)
    return None not in weights and (abs(total - 100) < 0.01 or abs(total - 1) < 0.0001)


def _solution(verdict: Verdict, pair: Pair) -> float | None:
    if str(pair.metadata.get("source")).startswith("tiny/") and isinstance(pair.question, str):
        return float(has_right_reasons(pair, verdict))
    if pair.reference is None:
        return None
    work = verdict.thinking if verdict.task is None else verdict.solution
    return float(work is not None and _comes_to(work, pair.reference))


_NUMBER = re.compile(r"-?\d[\d,]{0,40}(?:\.\d{1,40})?")


def _comes_to(work: str, reference: str) -> bool:
    """True where both end in the same number; or, where the reference has none, in the same words."""
    if numbers := _NUMBER.findall(reference):
        found = _NUMBER.findall(work)
        return bool(found) and _value(found[-1]) == _value(numbers[-1])
    words = re.findall(r"\w+", reference.casefold())
    return bool(words) and re.findall(r"\w+", work.casefold())[-len(words) :] == words


def _value(number: str) -> float:
    return float(number.replace(",", ""))
