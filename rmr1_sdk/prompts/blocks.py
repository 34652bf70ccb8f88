"""Blocks of text between RM-R1's markers: question, answers, reference, rubric."""

from collections.abc import Callable, Sequence

from rmr1_sdk.types import Conversation, Message, Pair, Rubric, Side

__all__ = [
    "answer_block", "block", "blocks", "conversation_block", "extra_blocks", "lines", "question_block", "shown_pair",
]  # fmt: skip


def block(name: str, text: str) -> str:
    """A text between its markers."""
    return f"[The Start of {name}]\n{text}\n[The End of {name}]"


def blocks(seen: Pair, safe: Callable[[str], str]) -> str:
    """The pair between RM-R1's block markers."""
    if seen.is_single_turn:
        main = [question_block(seen.question, safe), *(answer_block(seen.text(side), side, safe) for side in _SIDES)]
    else:
        main = [conversation_block(seen.turns(side), side, safe) for side in _SIDES]
    return "\n\n".join(main) + extra_blocks(seen.reference, seen.rubric, safe)


def shown_pair(messages: Sequence[Message]) -> Pair | None:
    """The pair that a single-turn prompt shows in its last message, with its sides as shown; None where there is none.

    For backends that are programs: test doubles, and teachers of what can be checked.
    """
    rest = messages[-1].content if messages else ""
    texts = []
    for marker in _AROUND_TEXTS:
        before, found, rest = rest.partition(marker)
        if not found:
            return None
        texts.append(before)
    return Pair(question=texts[1], a=texts[2], b=texts[3])


def question_block(question: Conversation, safe: Callable[[str], str]) -> str:
    """Block with the client's question."""
    return f"[Client Question]\n{lines(question, 'A', safe)}"


def answer_block(answer: str, side: Side, safe: Callable[[str], str]) -> str:
    """A chatbot's answer to one question."""
    return block(f"Chatbot {side}'s Response", safe(answer))


def conversation_block(turns: tuple[Message, ...], side: Side, safe: Callable[[str], str]) -> str:
    """A whole conversation with a chatbot."""
    return block(f"the Conversation between Chatbot {side} and the Client", lines(turns, side, safe))


def extra_blocks(reference: str | None, rubric: Rubric | str | None, safe: Callable[[str], str]) -> str:
    """Blocks of a reference answer and of a rubric, each after an empty line, where they are given."""
    extra = []
    if reference is not None:
        extra.append(block("the Reference Answer", safe(reference)))
    if rubric is not None:
        extra.append(block("the Rubric", safe(rubric if isinstance(rubric, str) else _numbered(rubric))))
    return "".join(f"\n\n{each}" for each in extra)


def _numbered(rubric: Rubric) -> str:
    return "\n".join(f"{number}. {criterion}" for number, criterion in enumerate(rubric.criteria, start=1))


_SIDES: tuple[Side, Side] = ("A", "B")


def lines(conversation: Conversation, side: Side, safe: Callable[[str], str]) -> str:
    """Text as it is; turns as `User:` and `Chatbot A:` lines, one user turn as its text."""
    if isinstance(conversation, str):
        return safe(conversation)
    if [message.role for message in conversation] == ["user"] and len(conversation) == 1:
        return safe(conversation[0].content)
    names = {"user": "User", "assistant": f"Chatbot {side}", "system": "System", "tool": "Tool"}
    return "\n".join(f"{names[message.role]}: {safe(message.content)}" for message in conversation)


_AROUND_TEXTS = blocks(Pair(question="\0", a="\0", b="\0"), str).split("\0")
