"""A judge as verl's reward function: `reward.custom_reward_function.path=pkg://rmr1_sdk.rewards.verl`.

verl calls once for each sample, so an answer meets a reference, not its group. `verdict_score` is for training a judge.
"""

import logging
from collections.abc import Mapping
from typing import Any, cast

from rmr1_sdk.errors import ConfigError, DataError
from rmr1_sdk.rewards.configured import judge_for
from rmr1_sdk.rewards.preference import preference_reward
from rmr1_sdk.rewards.verdict import Rule, verdict_reward
from rmr1_sdk.types import Side

__all__ = ["compute_score", "verdict_score"]

logger = logging.getLogger(__name__)

_NEUTRAL = 0.5


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    model: str | None = None,
    base_url: str | None = None,
    reward_router_address: str | None = None,
    reward_model_tokenizer: Any = None,
    **options: Any,
) -> dict[str, float]:
    """Score a solution by the probability, 0 to 1, that it beats the reference.

    verl cannot leave a sample out: a failed judgment has the neutral score 0.5 and `judge_failed` 1, whose
    mean verl logs. The keys are the same every time.

    Args:
        data_source: not looked at.
        solution_str: the answer.
        ground_truth: the reference, where `extra_info` has none.
        extra_info: `question` (text) or `messages`, since verl hands over no prompt, and `reference`.
        model: from `reward_kwargs`: a backend's name; with an address, what the server there calls its model.
        base_url: from `reward_kwargs`: the address of an OpenAI-compatible server.
        reward_router_address: host:port of verl's own reward model servers; verl gives it where they are on.
        reward_model_tokenizer: not needed.
        **options: the other `reward_kwargs`: Judge's options, such as orders, votes, sampling and store. A judge
            is made once in each process.

    Returns score, judge_failed (0 or 1), judge_inconsistent (1 where its orders contradict each other) and
    judge_latency_s. Raises ConfigError without a model, and DataError without a question or a reference.
    """
    if model is None:
        raise ConfigError("reward.custom_reward_function.reward_kwargs.model names the judge's backend; it is missing")
    if reward_router_address:
        base_url = f"http://{reward_router_address}/v1"
    judge = judge_for(model, base_url=base_url, **options)
    extra = extra_info or {}
    rewards = await preference_reward(
        judge,
        [_given(extra, "question", "messages")],
        [solution_str],
        references=[_given({"ground_truth": ground_truth, **extra}, "reference", "ground_truth")],
        max_failed=1.0,
    )
    [score], [reason], metrics = rewards
    if score is None:
        logger.warning("No judgment, so a neutral score: %s", reason)
    return {
        "score": _NEUTRAL if score is None else score,
        "judge_failed": float(score is None),
        "judge_inconsistent": float(metrics.position_consistency == 0),
        "judge_latency_s": metrics.latency_p95_s or 0.0,
    }


def verdict_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    *,
    rule: Rule = "strict",
    **_: Any,
) -> dict[str, float]:
    """Score a judge being trained: +1 where its verdict names `ground_truth`, the better side, else -1.

    `rule` comes from `reward_kwargs`; see `verdict_reward`, and raises what that raises.
    """
    return {"score": verdict_reward([solution_str], [cast(Side, ground_truth)], rule)[0]}


def _given(extra: Mapping[str, Any], *names: str) -> Any:
    """The first of these that is there: text, or a list of messages."""
    for name in names:
        value = extra.get(name)
        if value is not None and len(value):
            return value if isinstance(value, str) else list(value)
    raise DataError(f"a sample has no {' and no '.join(names)}: they belong in extra_info")
