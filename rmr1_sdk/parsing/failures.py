"""Failures of a reading, in words."""

from rmr1_sdk.parsing.tags import find_tags, last_thought
from rmr1_sdk.types import Failure, FailureKind, Verdict

__all__ = ["MESSAGES", "failure", "unreadable", "why_unstarted"]

MESSAGES: dict[FailureKind, str] = {
    "empty": "The judge wrote nothing.",
    "no_answer": "There is no finished answer after the evaluation.",
    "bad_answer": "The answer names neither A nor B.",
    "conflicting_answers": "There are two different answers.",
    "unclosed_thinking": "The judge was still thinking when its text ended.",
    "truncated": "The judge ran out of tokens before it answered.",
    "refused": "The judge refused to answer.",
    "prompt_too_long": "The prompt is longer than the model's context.",
}


def unreadable(kind: FailureKind, verdict: Verdict) -> Verdict:
    """The same reading with another reason why it names nobody."""
    return verdict.model_copy(update={"winner": None, "failure": failure(kind)})


def failure(kind: FailureKind) -> Failure:
    """The failure of this kind, in words."""
    return Failure(kind=kind, message=MESSAGES[kind])


def why_unstarted(text: str) -> FailureKind | None:
    """Why nothing can be read of a text that has not come to its point."""
    if not text.strip():
        return "empty"
    return "unclosed_thinking" if last_thought(find_tags(text))[1] else None
