"""Messages as other people write them, read to turns."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from rmr1_sdk.conversations import asked, read_turns
from rmr1_sdk.prompts import COR
from rmr1_sdk.types import Answered, Message, Pair

LOOK = {"id": "c7", "type": "function", "function": {"name": "look", "arguments": '{"b": 1,  "a": "ö"}'}}
SEEN = 'Tool call: look({"a": "ö", "b": 1})'


class Kept(BaseModel):
    role: str
    content: str | None = None


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        ([{"role": "developer", "content": "Be kind."}], [("system", "Be kind.")]),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}]}],
            [("user", "ab")],
        ),
        (
            [{"role": "assistant", "content": [{"type": "output_text", "text": "x", "annotations": []}]}],
            [("assistant", "x")],
        ),
        ([{"role": "assistant", "content": None, "tool_calls": [LOOK]}], [("assistant", SEEN)]),
        (
            [{"role": "assistant", "content": "I look.", "tool_calls": [LOOK, LOOK]}],
            [("assistant", f"I look.\n{SEEN}\n{SEEN}")],
        ),
        (
            [{"role": "assistant", "tool_calls": [{"function": "look", "arguments": {"a": "ö", "b": 1}}]}],
            [("assistant", SEEN)],
        ),
        (
            [{"role": "assistant", "function_call": {"name": "go", "arguments": "{}"}}],
            [("assistant", "Tool call: go()")],
        ),
        (
            [{"role": "assistant", "function_call": {"name": "go", "arguments": "{cut"}}],
            [("assistant", "Tool call: go({cut)")],
        ),
        ([{"role": "function", "name": "look", "content": "sun"}], [("tool", "look: sun")]),
        (
            [{"role": "assistant", "tool_calls": [LOOK]}, {"role": "tool", "tool_call_id": "c7", "content": "sun"}],
            [("assistant", SEEN), ("tool", "look: sun")],
        ),
        ([{"role": "assistant", "content": None, "refusal": "I cannot."}], [("assistant", "I cannot.")]),
        ([{"role": "assistant", "content": ""}], [("assistant", "")]),
        ([{"role": "user", "name": "Ann", "content": "Hi"}], [("user", "Ann: Hi")]),
        ([{"role": "assistant", "name": "gpt-5", "content": "Hi"}], [("assistant", "Hi")]),
        ([{"role": "user", "content": "Hi", "tool_calls": None, "name": None, "images": []}], [("user", "Hi")]),
        ([{"role": "user", "content": [{"type": "text", "text": "Hi", "image_url": None}]}], [("user", "Hi")]),
        ([{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}], [("user", "Hi"), ("assistant", "Ho")]),
        (
            [
                {"from": "function_call", "value": '{"name": "go", "arguments": {"x": 2}}'},
                {"from": "observation", "value": "ok"},
            ],
            [("assistant", 'Tool call: go({"x": 2})'), ("tool", "ok")],
        ),
        (
            [
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                        {"type": "text", "text": "I look."},
                        {"type": "tool_use", "id": "t1", "name": "look", "input": {"b": 1, "a": "ö"}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sun"}]},
                        {"type": "text", "text": "And now?"},
                    ],
                },
            ],
            [("assistant", f"I look.\n{SEEN}"), ("tool", "look: sun"), ("user", "And now?")],
        ),
        (
            [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "ok"}]}],
            [("tool", "ok")],
        ),
        ([Kept(role="user", content="Hi"), Message(role="tool", content="ok")], [("user", "Hi"), ("tool", "ok")]),
    ],
)
def test_messages_of_every_form_are_turns(messages: list[Any], turns: list[tuple[str, str]]) -> None:
    assert read_turns(messages) == turns
    assert [(turn.role, turn.content) for turn in Pair(question=messages, a="x", b="y").turns("A")[:-1]] == turns


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "block of type 'image_url'"),
        ({"role": "user", "content": [{"type": "text"}]}, "block of type 'text'"),
        ({"role": "user", "content": [{"type": "tool_search", "id": "x"}]}, "block of type 'tool_search'"),
        ({"role": "user", "content": "What is it?", "images": ["iVBO"]}, "block of type 'images'"),
        ({"role": "assistant", "content": None, "audio": {"id": "a1"}}, "block of type 'audio'"),
        ({"role": "user"}, "it has no content"),
        ({"role": "user", "content": None}, "it has no content"),
        ({"role": "wizard", "content": "x"}, "its role is one of .*, not 'wizard'"),
        ({"content": "x"}, "its role is one of .*, not None"),
        ({"role": ["user"], "content": "x"}, "its role is one of"),
        ({"role": "user", "content": 7}, "a block of its content is an object, not int"),
        ({"role": "assistant", "tool_calls": ["look"]}, "a tool call is an object, not str"),
        ({"role": "assistant", "tool_calls": [{"function": {}}]}, "a tool call has no name"),
        ("Hi", "it is an object with a role and a content, not str"),
    ],
)
def test_what_is_no_message_is_named_by_its_number(message: Any, says: str) -> None:
    with pytest.raises(
        ValidationError, match=f"message 2: {says}" if says.startswith("it") else f"message 2: .*{says}"
    ):
        Pair(question=[{"role": "user", "content": "Q"}, message], a="x", b="y")


def test_answers_that_differ_in_a_call_differ() -> None:
    def calling(city: str) -> list[dict[str, Any]]:
        call = {"function": {"name": "w", "arguments": {"city": city}}}
        return [{"role": "assistant", "content": "I look.", "tool_calls": [call]}]

    pair = Pair(question="Weather?", a=calling("Ulm"), b=calling("Rom"))
    assert not pair.is_identical
    shown = COR.render(pair)[-1].content
    assert 'w({"city": "Ulm"})' in shown
    assert 'w({"city": "Rom"})' in shown
    assert Pair(question="Weather?", a=calling("Ulm"), b=calling("Ulm")).is_identical


Q = {"role": "user", "content": "What is 6 * 7?"}
S = {"role": "system", "content": "Be brief."}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize("question", ["What is 6 * 7?", " What is 6 * 7?\n", [Q]])
def test_a_question_that_both_answers_repeat_is_shown_once(question: Any) -> None:
    pair = Pair(question=question, a=[Q, said("42")], b=[Q, said("41")])
    assert (pair.a, pair.b, pair.is_single_turn) == ("42", "41", True)
    assert COR.render(pair)[-1].content.count("What is 6 * 7?") == 1
    assert Pair.model_validate_json(pair.model_dump_json()) == pair


def test_turns_before_and_after_a_repeated_question_stay() -> None:
    pair = Pair(question="What is 6 * 7?", a=[S, Q, said("42")], b=[S, Q, said("41"), Q, said("42")])
    assert [turn.role for turn in pair.turns("A")] == ["system", "user", "assistant"]
    assert [turn.role for turn in pair.turns("B")] == ["system", "user", "assistant", "user", "assistant"]
    asked_twice = Pair(question=[Q, said("?"), Q], a=[Q, said("?"), Q, said("42")], b="41")
    assert asked_twice.a == "42"
    other = Pair(question="What is 6 * 7?", a=[S, Q, said("42")], b="41")
    assert [turn.content for turn in other.turns("A")] == ["What is 6 * 7?", "Be brief.", "42"]
    assert Pair(question="Another?", a=[Q, said("42")], b="41").turns("A")[1].content == "What is 6 * 7?"
    assert Pair(question="What is 6 * 7?", a=[Q], b="x").turns("A")[1].role == "user", "no answer follows"
    assert Answered(question="What is 6 * 7?", answer=[Q, said("42")]).answer == "42"


def test_a_question_has_its_parts() -> None:
    assert asked("Add.", input="1 and 2") == "Add.\n\n1 and 2"
    assert asked("Add.", system="", input=None) == "Add."
    assert asked("Add.", system="Be brief.") == [S, {"role": "user", "content": "Add."}]
    assert asked([S, Q], system="Be brief.") == [S, Q]
    with pytest.raises(ValueError, match="a system turn of its own"):
        asked([S, Q], system="Be long.")
    with pytest.raises(ValueError, match="field input"):
        asked([Q], input="1 and 2")
