"""Map a stop reason to a failure, where it says more than the text."""

from rmr1_sdk.parsing.tags import THOUGHT_TAG
from rmr1_sdk.types import Completion, FailureKind

__all__ = ["failure_kind", "is_cut_in_thought"]


def is_cut_in_thought(completion: Completion) -> bool:
    """True where the text ended inside a thought that the chat template had opened."""
    is_cut = completion.stop == "length" and completion.reasoning is None
    return is_cut and not THOUGHT_TAG.search(completion.text)


def failure_kind(completion: Completion, read: FailureKind | None) -> FailureKind | None:
    """Why a completion says nothing, where its text was `read` so: how it stopped may be the better reason."""
    if completion.stop == "refused":
        return "refused"
    if completion.stop == "too_long":
        return "prompt_too_long"
    return "truncated" if completion.stop == "length" and read in ("empty", "no_answer") else read
