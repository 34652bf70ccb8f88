"""A judge as a scorer of inspect-ai: `Task(scorer=judge_scorer("openai:RM-R1-7B", base_url=...))`.

The score of a sample is how probable it is that its submission beats its target.
"""

from typing import TYPE_CHECKING, Any

from rmr1_sdk.errors import ConfigError, DataError, MissingExtraError
from rmr1_sdk.rewards.configured import judge_for
from rmr1_sdk.rewards.conversations import history, question
from rmr1_sdk.rewards.references import against_references

try:
    from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
    from inspect_ai.solver import TaskState
except ModuleNotFoundError as error:
    raise MissingExtraError("inspect_ai", "inspect") from error

if TYPE_CHECKING:
    from rmr1_sdk.judging.comparer import Comparer

__all__ = ["judge_scorer"]


@scorer(metrics=[mean(), stderr()])
def judge_scorer(
    judge: "Comparer | str", *, base_url: str | None = None, include_history: bool = False, **options: Any
) -> Scorer:
    """A scorer whose value is the probability, 0 to 1, that the submission is better than the target.

    The target is a reference answer; with several, the value is the mean over those whose judgment was read.
    Where no judgment was, the sample is unscored, with the reason "grader_failed": inspect leaves it out of the
    metrics and counts it. The explanation is the judge's reasons, with the submission as A. The metadata say whether
    both orders agreed (`position_consistent`), count the failed judgments by kind (`failures`), give the tokens
    (`usage`), and name the judge's `model` and `prompt`.

    Args:
        judge: a Judge or any other Comparer; or a backend's name, or with `base_url` what the server there calls its
            model. What is named stands in the log, and `inspect score` can make it again.
        base_url: the address of an OpenAI-compatible server.
        include_history: the question is the sample's input; with this, all messages before the last reply, for
            conversations that go on after the input.
        **options: Judge's own, for a judge that is named.

    Raises ConfigError. While scoring, what is no judgment is an error of the sample, which inspect treats as its
    `fail_on_error` says: DataError for a sample without a target, ConfigError for what a judge cannot be shown, and
    BackendError when the backend fails.
    """
    if isinstance(judge, str):
        judge = judge_for(judge, base_url=base_url, **options)
    elif base_url is not None or options:
        given = [*options, *(["base_url"] if base_url is not None else [])]
        raise ConfigError(f"{', '.join(given)}: these belong to a judge that is named; a Judge has its own")
    compares = judge

    async def score(state: TaskState, target: Target) -> Score:
        compared = await against_references(
            compares,
            history(state.messages) if include_history else question(state.input),
            state.output.completion,
            _references(target, state.sample_id),
        )
        said: dict[str, Any] = {
            "answer": state.output.completion,
            "explanation": compared.explain(),
            "metadata": {
                "position_consistent": compared.position_consistent,
                "failures": compared.failures,
                "usage": compared.usage.model_dump(),
                "model": compared.judgments[0].model,
                "prompt": compared.judgments[0].prompt,
            },
        }
        if compared.value is None:
            return Score.unscored(reason="grader_failed", **said)
        return Score(value=compared.value, **said)

    return score


def _references(target: Target, sample: int | str) -> list[str]:
    """The targets. Inspect gives a sample without one an empty text, which anything would beat."""
    if not any(target) or not all(target):
        raise DataError(f"sample {sample!r} has no target, or an empty one; its submission is compared with that")
    return list(target)
