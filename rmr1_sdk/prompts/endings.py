"""How a completion ended, where that says more than its text does."""

import re

from rmr1_sdk.types import Completion, FailureKind

__all__ = ["failure_kind", "is_cut_in_thought"]


def is_cut_in_thought(completion: Completion) -> bool:
    """Whether the text ended inside thinking that the chat template had opened."""
    is_cut = completion.stop == "length" and completion.reasoning is None
    return is_cut and not re.search(r"</?think>", completion.text)


def failure_kind(completion: Completion, read: FailureKind | None) -> FailureKind | None:
    """Why a completion says nothing, where its text was `read` so: how it stopped may be the better reason."""
    if completion.stop == "refused":
        return "refused"
    if completion.stop == "too_long":
        return "prompt_too_long"
    return "truncated" if completion.stop == "length" and read in ("empty", "no_answer") else read
