"""Prompts for grading one answer, with their readers: a rubric for a question, and marks by a rubric."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

from rmr1_sdk import parsing
from rmr1_sdk.parsing.tags import with_open_thought
from rmr1_sdk.prompts.blocks import answer_block, block, conversation_block, extra_blocks, question_block
from rmr1_sdk.prompts.stop_reasons import failure_kind, is_cut_in_thought
from rmr1_sdk.types import Answered, Completion, Conversation, Failure, Mark, Marking, Message, Rubric, Value

__all__ = ["NAME", "Pointwise", "Topic", "Written"]

NAME = "pointwise"


class Topic(NamedTuple):
    """Topic of a rubric: a question, and principles for its criteria."""

    question: Conversation
    principles: str | None = None
    reference: str | None = None


class Written(Value):
    """A rubric as it was written, or why there is none."""

    rubric: Rubric | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Pointwise:
    """The prompts of grading.

    Args:
        thinks: for models that think by themselves: no system prompt, and no stop strings, which such a
            model may write while it thinks.
    """

    thinks: bool = False

    def ask_rubric(self, topic: Topic) -> tuple[Message, ...]:
        """The messages that ask for a rubric."""
        parts = [question_block(topic.question, parsing.neutralise)]
        if topic.principles is not None:
            parts.append(block("the Client's Principles", parsing.neutralise(topic.principles)))
        return self._messages(_RUBRIC, "\n\n".join(parts) + extra_blocks(topic.reference, None, parsing.neutralise))

    def rubric_stop(self) -> tuple[str, ...]:
        """Stop strings of a rubric."""
        return () if self.thinks else ("</rubric>",)

    def read_rubric(self, completion: Completion) -> Written:
        """The rubric of a completion; one that was cut off is none."""
        read = parsing.read_rubric(self._whole(completion))
        if isinstance(read, Rubric):
            if completion.stop == "stop":
                return Written(rubric=read)
            read = "no_answer"
        kind = failure_kind(completion, read) or read
        if kind == "no_answer":
            return Written(failure=Failure(kind=kind, message="There is no rubric with criteria."))
        return Written(failure=parsing.failure(kind))

    def ask_marks(self, answered: Answered) -> tuple[Message, ...]:
        """The messages that ask for marks. The answer comes last: all answers to a question share what is before it."""
        extra = extra_blocks(answered.reference, answered.rubric, parsing.neutralise)
        if answered.is_single_turn:
            question = question_block(answered.question, parsing.neutralise)
            return self._messages(
                _MARKS, f"{question}{extra}\n\n{answer_block(answered.text, 'A', parsing.neutralise)}"
            )
        conversation = conversation_block(answered.turns, "A", parsing.neutralise)
        return self._messages(_MARKS, f"{extra}\n\n{conversation}".lstrip())

    def marks_stop(self, rubric: Rubric) -> tuple[str, ...]:
        """Stop strings of a marking: the mark of the last criterion."""
        return () if self.thinks else (f"</points_{len(rubric.criteria)}>",)

    def read_marks(self, completion: Completion, answered: Answered, rubric: Rubric) -> Marking:
        """The marks of a completion; each that cannot be read says why."""
        text = self._whole(completion)
        marks = tuple(_ended(mark, completion) for mark in parsing.read_marks(text, rubric, answer=answered.text))
        return Marking(
            marks=marks,
            thinking=parsing.thinking(text) if completion.reasoning is None else completion.reasoning,
            failure=next((mark.failure for mark in marks if mark.failure), None),
            text=completion.text,
        )

    def points_prefixes(self, completion: Completion, numbers: Sequence[int]) -> list[str]:
        """The text up to where each criterion gets its points; none where such a turn cannot be given back."""
        if completion.reasoning is not None:
            return []
        cut = self.thinks and is_cut_in_thought(completion)
        return parsing.points_prefixes(completion.text, numbers, thinking=cut)

    @staticmethod
    def points_choices(number: int) -> tuple[str, ...]:
        """The ways to go on after that."""
        return tuple(f"{points}</points_{number}>" for points in parsing.POINTS)

    def _messages(self, instructions: str, blocks: str) -> tuple[Message, ...]:
        if self.thinks:
            return (Message(role="user", content=f"{instructions}\n\n{blocks}"),)
        return (Message(role="system", content=instructions), Message(role="user", content=blocks))

    def _whole(self, completion: Completion) -> str:
        """The text, with the thought that the chat template had opened where it ended inside it."""
        return with_open_thought(completion.text) if self.thinks and is_cut_in_thought(completion) else completion.text


def _ended(mark: Mark, completion: Completion) -> Mark:
    """The mark, with the way its text ended as the reason where that is the better one."""
    read = mark.failure.kind if mark.failure else None
    kind = failure_kind(completion, read)
    return (
        mark if kind is None or kind == read else mark.model_copy(update=_NOTHING | {"failure": parsing.failure(kind)})
    )


_NOTHING = {"points": None, "score": None}


def _text(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8").rstrip("\n")


_RUBRIC, _MARKS = _text("pointwise_rubric.txt"), _text("pointwise_marks.txt")
