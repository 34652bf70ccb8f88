"""A judge as OpenRLHF's reward function, `reward_func = JudgeReward(Judge(...))`.

That line stands in the Python file whose path is given as `--reward.remote_url`. OpenRLHF calls once for each
sample, so an answer meets a reference: the sample's label.
"""

import logging
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.errors import ConfigError, DataError, RMR1Error
from rmr1_sdk.rewards.conversations import question
from rmr1_sdk.rewards.preference import Row, preference_reward
from rmr1_sdk.rewards.verdict import Rule, verdict_reward
from rmr1_sdk.types import Conversation, ConversationLike, Message

if TYPE_CHECKING:
    from rmr1_sdk.judging.comparer import Comparer

__all__ = ["JudgeReward", "SampleRewards", "VerdictReward", "read_template", "reward_samples"]

logger = logging.getLogger(__name__)

_NEUTRAL = 0.5
_CONVERSATION: TypeAdapter[Conversation] = TypeAdapter(Conversation)
_TURNS = {  # by the token that ends each turn
    "<|im_end|>": re.compile(r"<\|im_start\|>(system|user|assistant|tool)\n(.*?)<\|im_end\|>", re.DOTALL),
    "<|eot_id|>": re.compile(
        r"<\|start_header_id\|>(system|user|assistant|tool)<\|end_header_id\|>\n\n(.*?)<\|eot_id\|>", re.DOTALL
    ),
}
_END_TOKENS = (
    "<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>", "<|eos|>", "</s>", "<eos>", "<end_of_turn>",
)  # fmt: skip
_ENDS_BACKWARDS = re.compile(rf"\s*(?:(?:{'|'.join(re.escape(token[::-1]) for token in _END_TOKENS)})\s*)++")


def read_template(prompt: str) -> ConversationLike:
    """The turns of a prompt in ChatML's or Llama 3's template; any other prompt is its own text."""
    for end, turns in _TURNS.items():
        until = prompt.rfind(end) + len(end)  # no turn ends after it: to look for one from each start is quadratic
        if found := turns.findall(prompt, 0, until):
            return [Message(role=role, content=content) for role, content in found]
    return prompt


class JudgeReward:
    """OpenRLHF's `reward_func(queries, prompts, labels)`: how probable it is that an answer beats its label, 0 to 1.

    OpenRLHF cannot leave a sample out, and what raises is hidden from its user: a judgment that failed, for
    whatever reason that is no bug, is told to the log, has the neutral reward 0.5, and counts in
    `extra_logs["judge_failed"]`.

    Args:
        judge: a Judge or any other Comparer.
        read_prompt: makes the question of a prompt, which comes with its chat template.
    """

    def __init__(self, judge: "Comparer", *, read_prompt: Callable[[str], ConversationLike] = read_template) -> None:
        self._judge = judge
        self._read_prompt = read_prompt

    def __call__(self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]) -> dict[str, Any]:
        """Tensors of one number a sample: `rewards`, the same as `scores`, and `extra_logs`.

        `queries[i]` is prompt i with its response, both as the tokenizer writes them, and `labels[i]` the
        reference: text or messages.
        """
        import torch

        values, failed = wait(submit(reward_samples(self._judge, queries, prompts, labels, self._read_prompt)))
        rewards = torch.tensor(values)
        judge_failed = torch.tensor(failed).mean()
        return {"rewards": rewards, "scores": rewards.clone(), "extra_logs": {"judge_failed": judge_failed}}


class VerdictReward:
    """OpenRLHF's `reward_func` for training a judge: whether it names the better side, which is the sample's label.

    `rewards` are +1 or -1, and `scores` 1 or 0. Raises what `verdict_reward` raises.
    """

    def __init__(self, rule: Rule = "strict") -> None:
        self._rule = rule

    def __call__(self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]) -> dict[str, Any]:
        """Tensors of one number a sample; `queries[i]` is prompt i with its response."""
        import torch

        said = [_without_ends(query.removeprefix(prompt)) for query, prompt in zip(queries, prompts, strict=True)]
        rewards = torch.tensor(verdict_reward(said, list(labels), self._rule))
        return {"rewards": rewards, "scores": (rewards + 1) / 2, "extra_logs": {}}


class SampleRewards(NamedTuple):
    """For each sample a number from 0 to 1, and 1.0 where its judgment failed, else 0.0."""

    values: list[float]
    failed: list[float]


async def reward_samples(
    judge: "Comparer",
    queries: Sequence[str],
    prompts: Sequence[str],
    labels: Sequence[Any],
    read_prompt: Callable[[str], ConversationLike] = read_template,
    *,
    time_s: float | None = None,
) -> SampleRewards:
    """Rewards as `JudgeReward` returns them, without tensors. Samples that take longer than `time_s` seconds fail.

    Raises ConfigError where the three are not equally many.
    """
    if not len(queries) == len(prompts) == len(labels):
        raise ConfigError(f"{len(queries)} queries, {len(prompts)} prompts, {len(labels)} labels")
    values: list[float | None] = [None] * len(queries)
    rows: dict[int, Row] = {}
    for place, (query, prompt, label) in enumerate(zip(queries, prompts, labels, strict=True)):
        try:
            rows[place] = Row(question(read_prompt(prompt)), _response(query, prompt), _reference(label))
        except RMR1Error as error:
            logger.warning("No judgment, so a neutral reward: %s", error)
    try:
        judged = await preference_reward(
            judge,
            [row.question for row in rows.values()],
            [row.answer for row in rows.values()],
            references=[row.reference for row in rows.values()],
            max_failed=1.0,
            step_time_s=time_s,
        )
    except RMR1Error as error:
        logger.error("No judgment, so a neutral reward: %s", error)
    else:
        for reason in filter(None, judged.reasons):
            logger.warning("No judgment, so a neutral reward: %s", reason)
        for place, value in zip(rows, judged.values, strict=True):
            values[place] = value
    return SampleRewards(
        [_NEUTRAL if value is None else value for value in values], [float(value is None) for value in values]
    )


def _response(query: str, prompt: str) -> str:
    """Text after the prompt, without the tokens that end a turn."""
    if not query.startswith(prompt):
        raise DataError("a query does not begin with its prompt; was the prompt cut to fit the model?")
    return _without_ends(query.removeprefix(prompt))


def _without_ends(text: str) -> str:
    """The text without the tokens that end a turn, and the space around them."""
    ends = _ENDS_BACKWARDS.match(text[::-1])  # one attempt, at the text's end: forwards there is one at each space
    return text[: len(text) - ends.end()] if ends else text


def _reference(label: object) -> Conversation:
    """The label as an answer."""
    if not label:
        raise DataError("a sample has no label, which is the reference that its answer is compared with")
    try:
        return _CONVERSATION.validate_python(label)
    except ValidationError as error:
        raise DataError(f"a label is text, or messages with a role and content, not {label!r:.100}") from error
