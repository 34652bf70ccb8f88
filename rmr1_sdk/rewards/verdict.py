"""Verdict rewards for training a judge: does the completion name the better side?"""

from collections.abc import Sequence
from typing import Any, Literal

from rmr1_sdk.errors import ConfigError, unknown
from rmr1_sdk.parsing import Mode, read
from rmr1_sdk.rewards.conversations import said
from rmr1_sdk.types import Side

__all__ = ["Rule", "verdict_reward"]

Rule = Literal["strict", "robust"]
_MODES: dict[Rule, Mode] = {"strict": "rmr1_reward", "robust": "robust"}


def verdict_reward(
    completions: Sequence[str | Sequence[Any]], winner: Side | Sequence[Side], rule: Rule = "strict"
) -> list[float]:
    """+1 for each completion of a judge that names the better side, else -1 (RM-R1, arXiv 2505.02387, section 3.3).

    An unreadable verdict is -1 as well: here the writer of the completion is who learns, and not to come to
    a verdict is its mistake. Sides are as the model was shown them.

    Args:
        completions: texts, or lists of messages, of which the assistant's count.
        winner: the side that is better, for all of them or one for each.
        rule: "strict" is RM-R1's own rule: the literal tag in the last 80 characters, and not the other's.
            "robust" reads as everything else here does: the last answer tag after all thinking.

    Raises ConfigError for an unknown rule or side, and where the numbers of completions and winners differ.

    >>> verdict_reward(["<answer>[[A]]</answer>", "I cannot say."], "A")
    [1.0, -1.0]
    """
    if rule not in _MODES:
        raise unknown("rule", rule, _MODES)
    winners = [winner] * len(completions) if isinstance(winner, str) else list(winner)
    if len(winners) != len(completions):
        raise ConfigError(f"{len(completions)} completions and {len(winners)} winners: one each, or one for all")
    for side in winners:
        if side not in ("A", "B"):
            raise ConfigError(f'the better side is "A" or "B", not {side!r}')
    read_sides = [read(said(completion), mode=_MODES[rule]).winner for completion in completions]
    return [1.0 if ours == side else -1.0 for ours, side in zip(read_sides, winners, strict=True)]
