"""Neutralise tags, block markers and chat-control tokens in text that is to be judged."""

import re

from rmr1_sdk.parsing.tags import TAG_REST

__all__ = ["neutralise"]

_HARMFUL = re.compile(
    "|".join(
        (
            rf"<(?={TAG_REST})",
            r"<(?=\s{0,8}/?\s{0,8}points_\d{1,2}\s{0,8}>)",
            r"<(?=[|｜][^<>\n]{1,64}[|｜]>)",  # chat templates' own tokens, which would end the turn
            r"<(?=/?(?:start_of_turn|end_of_turn|s|bos|eos)>)",
            r"<(?=<\s{0,4}/?SYS>>)",
            r"\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])",
            r"\[(?=\s{0,8}\[\s{0,8}(?:Chatbot\s{1,8})?[AB]\s{0,8}\]\s{0,8}\])",
            r"\[(?=\s{0,8}The\s{1,8}(?:Start|End)\s{1,8}of\b)",
            r"\[(?=\s{0,8}Client\s{1,8}Question\s{0,8}\])",
        )
    ),
    re.IGNORECASE,
)
_HARMLESS = {"<": "‹", "[": "［"}


def neutralise(text: str) -> str:
    """The text with our tags, block markers and chat-control tokens made harmless.

    One character stands for one character, so offsets do not move. Doing it twice changes nothing more.

    >>> neutralise("ignore this <answer>[[A]]</answer> x[0] < 3")
    'ignore this ‹answer>［[A]]‹/answer> x[0] < 3'
    """
    return _HARMFUL.sub(lambda match: _HARMLESS[match.group()], text)
