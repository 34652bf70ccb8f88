"""A judge for environments of verifiers (v1).

`PreferenceJudge` is a plugin, `taskset.task.judges = [{id: "rmr1-judge", ...}]`, that compares a trace's reply with the
task's reference answer. `record_preferences` compares the traces of an episode with each other.
"""

from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from rmr1_sdk.errors import DataError, JudgeUnavailable, JudgmentFailed, MissingExtraError
from rmr1_sdk.rewards.configured import judge_for
from rmr1_sdk.rewards.conversations import history, question
from rmr1_sdk.rewards.preference import preference_reward
from rmr1_sdk.rewards.references import AgainstReferences, against_references
from rmr1_sdk.types import Conversation

try:
    import verifiers.v1 as vf
except ModuleNotFoundError as error:
    raise MissingExtraError("verifiers", "verifiers") from error

if TYPE_CHECKING:
    from rmr1_sdk.judging.comparer import Comparer

__all__ = ["PreferenceJudge", "PreferenceJudgeConfig", "record_preferences"]

_NOT_USED = ("api_key_var", "headers", "headers_from_env", "prompt", "timeout")


class PreferenceJudgeConfig(vf.JudgeConfig):
    """Configuration of the judge. `id`, `name`, `weight` and `sampling` are as in every judge of verifiers.

    The key of a server is read from $OPENAI_API_KEY. Other ways that verifiers has to describe an endpoint are
    refused, because they would have no effect.
    """

    model: str
    """A backend's name; with `base_url`, what the server there calls its model."""
    base_url: str = ""
    """The address of an OpenAI-compatible server."""
    api_key_var: str = "OPENAI_API_KEY"
    answer_field: str = "answer"
    """The field of the task's data with the reference: text, or a list of texts."""
    include_history: bool = False
    """The question is the task's prompt; with this, all messages before the last reply."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Judge's other options: prompt, orders, votes, store and so on."""

    @model_validator(mode="after")
    def _says_nothing_in_vain(self) -> Self:
        fields = type(self).model_fields
        for name in _NOT_USED:
            if getattr(self, name) != fields[name].get_default(call_default_factory=True):
                raise ValueError(f"{name} has no effect on this judge; see its `options`")
        return self


class PreferenceJudge(vf.Judge[float, PreferenceJudgeConfig]):
    """The reward is the probability, 0 to 1, that a trace's last reply is better than the task's reference.

    With several references it is the mean over those whose judgment was read. The judge's reasons and tokens are
    recorded as a judge call of the trace, and the metric NAME/position_consistent is 1 where both orders agreed.
    """

    async def score(self, task: vf.TaskData, trace: vf.Trace) -> float:
        """The reward. Raises JudgmentFailed when nothing was readable, which fails the trace.

        Also raises DataError for a task without a prompt or a reference, ConfigError for what a judge cannot be shown,
        and BackendError.
        """
        config = self.config
        sampling = config.sampling.model_dump(exclude_none=True)
        options = {**config.options, **({"sampling": sampling} if sampling else {})}
        compared = await against_references(
            judge_for(config.model, base_url=config.base_url or None, **options),
            history(trace.messages) if config.include_history else _question(task),
            trace.last_reply,
            _references(task, config.answer_field),
        )
        self._record(compared, trace)
        if compared.value is None:
            raise JudgmentFailed(compared.judgments[0])
        return compared.value

    def _record(self, compared: AgainstReferences, trace: vf.Trace) -> None:
        usage = vf.Usage(
            prompt_tokens=compared.usage.prompt_tokens - compared.usage.cached_tokens,
            completion_tokens=compared.usage.completion_tokens,
            cached_input_tokens=compared.usage.cached_tokens,
        )
        trace.record_judge_call(
            name=self.reward_name,
            request={"model": compared.judgments[0].model, "prompt": compared.judgments[0].prompt},
            response=vf.JudgeResponse(text=compared.explain(), parsed=compared.value, usage=usage),
        )
        if compared.position_consistent is not None:
            trace.record_metric(f"{self.reward_name}/position_consistent", float(compared.position_consistent))


async def record_preferences(
    judge: "Comparer", traces: Sequence[vf.Trace], *, name: str = "preference", weight: float = 1.0
) -> None:
    """Reward each trace with the probability that its last reply is better than another's; for `Env.finalize`.

    Traces of the same prompt are a group, as `preference_reward` says. Traces that failed take no part. How the judge
    did is recorded as metrics, NAME/failed_share and so on, the same on all of them.

    Raises JudgeUnavailable, which fails the episode, when more than half of the judgments failed, or a trace has no
    reward because all of its duels did or nobody else answers its prompt.
    """
    ended = [trace for trace in traces if trace.ok]
    rewards = await preference_reward(
        judge, [_question(trace.task.data) for trace in ended], [trace.last_reply for trace in ended]
    )
    for value, reason in zip(rewards.values, rewards.reasons, strict=True):
        if value is None:
            raise JudgeUnavailable(f"a trace has no reward: {reason}")
    for trace, value in zip(ended, rewards.values, strict=True):
        trace.record_reward(name, value, weight)
        for figure, number in rewards.metrics.figures().items():
            if not isnan(number):
                trace.record_metric(f"{name}/{figure}", number)


def _question(task: vf.TaskData) -> Conversation:
    if task.prompt is None:
        raise DataError(f"task {task.idx} has no prompt; with include_history the question is what was said before")
    system = [] if task.system_prompt is None else [{"role": "system", "content": task.system_prompt}]
    asked = [{"role": "user", "content": task.prompt}] if isinstance(task.prompt, str) else task.prompt
    return question([*system, *asked])


def _references(task: vf.TaskData, field: str) -> list[str]:
    given = getattr(task, field, None)
    references = [given] if isinstance(given, str) else list(given or ())
    if not references or not all(references):
        raise DataError(f"task {task.idx} has no {field!r}, or an empty one; answer_field names where the reference is")
    return references
