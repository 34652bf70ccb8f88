"""A judge as OpenRLHF's reward function, `reward_func = JudgeReward(Judge(...))`.

That line stands in the Python file whose path is given as `--reward.remote_url`. OpenRLHF calls once for each
sample, so an answer meets a reference: the sample's label.
"""

import logging
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rmr1_sdk.errors import DataError, RMR1Error
from rmr1_sdk.loop import submit, wait
from rmr1_sdk.rewards.preference import PreferenceRewards, preference_reward
from rmr1_sdk.types import ConversationLike, Message

if TYPE_CHECKING:
    from rmr1_sdk.judge import Judge

__all__ = ["JudgeReward", "read_template"]

logger = logging.getLogger(__name__)

_NEUTRAL = 0.5
_TURNS = (
    re.compile(r"<\|im_start\|>(system|user|assistant|tool)\n(.*?)<\|im_end\|>", re.DOTALL),
    re.compile(r"<\|start_header_id\|>(system|user|assistant|tool)<\|end_header_id\|>\n\n(.*?)<\|eot_id\|>", re.DOTALL),
)
_ENDS = re.compile(
    r"(\s*(<\|im_end\|>|<\|eot_id\|>|<\|endoftext\|>|<\|end_of_text\|>|<\|eos\|>|</s>|<eos>|<end_of_turn>))+\s*$"
)


def read_template(prompt: str) -> ConversationLike:
    """The turns of a prompt in ChatML's or Llama 3's template; any other prompt is its own text."""
    for turns in _TURNS:
        if found := turns.findall(prompt):
            return [Message(role=role, content=content) for role, content in found]
    return prompt


class JudgeReward:
    """OpenRLHF's `reward_func(queries, prompts, labels)`: how probable it is that an answer beats its label, 0 to 1.

    OpenRLHF cannot leave a sample out, and what raises is hidden from its user: a judgment that failed, for
    whatever reason that is no bug, is told to the log, has the neutral reward 0.5, and counts in
    `extra_logs["judge_failed"]`.

    Args:
        judge: what compares.
        read_prompt: makes the question of a prompt, which comes with its chat template.
    """

    def __init__(self, judge: "Judge", *, read_prompt: Callable[[str], ConversationLike] = read_template) -> None:
        self._judge = judge
        self._read_prompt = read_prompt

    def __call__(self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]) -> dict[str, Any]:
        """Tensors of one number a sample: `rewards`, the same as `scores`, and `extra_logs`.

        `queries[i]` is prompt i with its response, both as the tokenizer writes them, and `labels[i]` the
        reference: text or messages.
        """
        import torch

        values: list[float | None] = [None] * len(queries)
        try:
            judged = wait(submit(self._judged(queries, prompts, labels)))
            values = judged.values
            for reason in filter(None, judged.reasons):
                logger.warning("No judgment, so a neutral reward: %s", reason)
        except RMR1Error as error:
            logger.error("No judgment, so a neutral reward: %s", error)
        rewards = torch.tensor([_NEUTRAL if value is None else value for value in values])
        failed = torch.tensor([float(value is None) for value in values])
        return {"rewards": rewards, "scores": rewards.clone(), "extra_logs": {"judge_failed": failed.mean()}}

    async def _judged(self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]) -> PreferenceRewards:
        if not all(labels):
            raise DataError("a sample has no label, which is the reference that its answer is compared with")
        return await preference_reward(
            self._judge,
            [self._read_prompt(prompt) for prompt in prompts],
            [_response(query, prompt) for query, prompt in zip(queries, prompts, strict=True)],
            references=labels,
            max_failed=1.0,
        )


def _response(query: str, prompt: str) -> str:
    """What follows the prompt, without the tokens that end a turn."""
    if not query.startswith(prompt):
        raise DataError("a query does not begin with its prompt; was the prompt cut to fit the model?")
    return _ENDS.sub("", query.removeprefix(prompt))
