"""Schemas of published pairs, recognised by a row's fields: what they call our fields, and what their labels mean."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rmr1_sdk.conversations import asked, read_turns
from rmr1_sdk.files.rows import json_object
from rmr1_sdk.types import Message, Outcome

__all__ = ["Labels", "Schema", "check_numbers", "find_schema", "metadata", "outcome", "scalars"]

Labels = Mapping[Outcome, str]
"""The file's word for A, B and tie."""
Row = dict[str, Any]


class Schema(NamedTuple):
    """A row with the fields `needs` has this schema.

    `build` makes of it the fields of a Pair, with the better answer as A where it has no label. `names` says what its
    authors call ours, for errors; `also` are further fields that are no metadata, and `labels` their values of a label.
    """

    needs: tuple[str, ...]
    build: Callable[[Row], Row]
    names: Mapping[str, str] = {}
    also: tuple[str, ...] = ()
    labels: Labels | None = None

    @property
    def uses(self) -> tuple[str, ...]:
        """Fields that are not metadata."""
        return (*self.needs, *self.also, "id", "reference", "rubric", "metadata", "source")


def find_schema(row: Mapping[str, Any]) -> Schema:
    """The schema of a row. Raises ValueError, which says what to do, where it has none that is known."""
    for schema in _SCHEMAS:
        if all(name in row for name in schema.needs):
            return schema
    if any(isinstance(value, Mapping) and "is_correct" in value for value in row.values()):
        raise ValueError("a row of GSM8K's solutions is no pair; `rmr1 bench gsm8k --data FILE` makes pairs of them")
    known = "; ".join(dict.fromkeys(", ".join(schema.needs[-2:]) for schema in _SCHEMAS))
    raise ValueError(
        f"the row has {', '.join(row)}, which is none of the known forms of two answers: {known}. "
        "--field question=..., --field a=... and --field b=... say which field is which"
    )


def scalars(row: Row, names: Iterable[str]) -> Row:
    """The row with numbers and truth values of these fields as text, as a CSV file would have them."""
    return {**row, **{name: _text(row[name]) for name in names if name in row}}


def _text(value: Any) -> Any:
    """The value, or each of a list's, as text where it is a number or a truth value."""
    if isinstance(value, list):
        return [_text(each) for each in value]
    return _plain(value) if isinstance(value, bool | int | float) else value


def _plain(value: object) -> str:
    """A scalar as text; whole numbers that became floats, as pandas makes them beside a gap, are whole."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)


def check_numbers(row: Mapping[str, Any]) -> None:
    """Refuse NaN and infinity, however deep, which JSON does not have. Raises ValueError that names the field."""
    left: list[tuple[str, object]] = list(row.items())
    while left:
        name, value = left.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"field {name}: {value} is no number")
        if isinstance(value, Mapping):
            left += ((f"{name}.{key}", inside) for key, inside in value.items())
        elif isinstance(value, list):
            left += ((f"{name}.{at}", inside) for at, inside in enumerate(value) if not isinstance(inside, str))


_SIDE: dict[str, Outcome] = {
    **dict.fromkeys(("a", "model_a", "response_a", "answer_a", "assistant_a", "a>b", "a>>b", "b<a", "b<<a"), "A"),
    **dict.fromkeys(("b", "model_b", "response_b", "answer_b", "assistant_b", "b>a", "b>>a", "a<b", "a<<b"), "B"),
    **dict.fromkeys(("tie", "tie (bothbad)", "bothbad", "both", "a=b", "b=a", "[[c]]"), "tie"),
}
_BRACKETS = re.compile(r"\[\[(.*)\]\]")


def outcome(value: object, labels: Labels | None = None, field: str = "label") -> Outcome | None:
    """The label that a value is: by `labels`, else as A, `model_a`, `A>B`, `[[A]]`, `tie` and the like.

    None and an empty text are no label. Raises ValueError for what names no side.
    """
    if value is None or value == "":
        return None
    said = _spelled(_plain(value)) if isinstance(value, str | bool | int | float) else ""
    if labels:
        for label, theirs in labels.items():
            if said == _spelled(theirs):
                return label
    inner = said if said in _SIDE else (found[1].strip() if (found := _BRACKETS.fullmatch(said)) else said)
    if inner not in _SIDE and labels:
        raise ValueError(f"field {field}: {value!r} is none of {', '.join(labels.values())}")
    if inner not in _SIDE:
        raise ValueError(
            f"field {field}: Input should be 'A', 'B' or 'tie', not {value!r}; "
            "A=1,B=2,tie=0 (--label) says what is which"
        )
    return _SIDE[inner]


def _spelled(theirs: str) -> str:
    """A value as a user writes it, in the form that a file's values are compared in."""
    try:
        return _plain(json.loads(theirs)).strip().casefold()
    except (ValueError, RecursionError):
        return theirs.strip().casefold()


def _question(row: Row, name: str | None = None) -> Any:
    """The question, with what other fields tell of it; None where no field does."""
    name = name or next((name for name in _QUESTIONS[:2] if name in row), "")
    question = row.get(name)
    if question is None:
        return None
    parts = {part: row[part] for part in ("system", "input") if part != name and isinstance(row.get(part), str)}
    return asked(_text(question), **parts)


def _two(question: str, a: str, b: str) -> Callable[[Row], Row]:
    def build(row: Row) -> Row:
        return {"question": _question(row, question), "a": row[a], "b": row[b], "label": _label(row)}

    return build


def _label(row: Row) -> object:
    return row.get("label", row.get("winner"))


def _math(row: Row) -> Row:
    """Math-Step-DPO: answers share their first steps, and go on to the end from there."""
    steps = row["initial_reason_steps"]
    for name in ("initial_reason_steps", "full_chosen", "full_rejected"):
        if not isinstance(row[name], str):
            raise ValueError(f"field {name}: Input should be a valid string")
    return {"question": row["prompt"], "a": steps + row["full_chosen"], "b": steps + row["full_rejected"]}


def _code(row: Row) -> Row:
    """Code-Preference-Pairs."""
    return {"question": row["input"], "a": row["accepted"], "b": row["rejected"]}


_PANDALM: Labels = {"A": "1", "B": "2", "tie": "0"}


def _pandalm(row: Row) -> Row:
    """PandaLM: the label is what most annotators say; where all differ, what the first says, as its authors have it."""
    said = {name: outcome(row[name], _PANDALM, name) for name in row if name.startswith("annotator")}
    label = Counter(each for each in said.values() if each).most_common(1)
    fields = _two("instruction", "response1", "response2")(row) | {"label": label[0][0] if label else None}
    fields["metadata"] = {"annotators": {name: each for name, each in said.items() if each}}
    # a few responses are JSON's true, which its authors' prompts show as Python prints it
    return fields | {side: str(fields[side]) for side in "ab" if isinstance(fields[side], bool)}


def _battle(row: Row) -> Row:
    """MT-bench's human judgments and the arena's: whole conversations, judged up to the turn of that number."""
    fields = _preference("conversation_a", "conversation_b")(
        row | {name: _until(row[name], row.get("turn")) for name in ("conversation_a", "conversation_b")}
    )
    winner = row["winner"]
    models = [row.get("model_a"), row.get("model_b")]
    return fields | {"label": "AB"[models.index(winner)] if winner and models.count(winner) == 1 else winner}


def _until(turns: object, last: object) -> object:
    """The turns up to the answer to the user's turn of that number."""
    if isinstance(last, str) and last.isdecimal():  # as a CSV file has it
        last = int(last)
    if not isinstance(turns, Sequence) or isinstance(turns, str) or not isinstance(last, int | float):
        return turns
    users = [at for at, turn in enumerate(turns) if isinstance(turn, Mapping) and turn.get("role") == "user"]
    return turns[: users[int(last)]] if 0 < last < len(users) else turns


def _preference(chosen: str, rejected: str, asks: str | None = None) -> Callable[[Row], Row]:
    """Answers, or whole conversations that begin alike, as in Skywork-Reward-Preference."""

    def build(row: Row) -> Row:
        question = _question(row, asks)
        better, worse = _turns(row[chosen], chosen), _turns(row[rejected], rejected)
        if isinstance(better, str) and isinstance(worse, str):
            if question is None:
                raise ValueError(f"field prompt: Field required, since {chosen} is text; the row has {', '.join(row)}")
            return {"question": question, "a": better, "b": worse}
        if isinstance(better, str) or isinstance(worse, str):
            raise ValueError(f"fields {chosen} and {rejected}: one is text and the other a conversation")
        shared = _shared(better, worse)
        if not shared and question is None:
            raise ValueError(f"fields {chosen} and {rejected}: the conversations do not begin with the same turn")
        return {
            "question": asked(_simple(better[:shared], "user"), system=row.get("system")) if shared else question,
            **{side: _simple(turns[shared:], "assistant") for side, turns in zip("ab", (better, worse), strict=True)},
        }

    return build


def _shared(better: list[Message], worse: list[Message]) -> int:
    """With how many turns both begin, up to the last one of the user: an answer is left to each."""
    shared = 0
    for at, (one, other) in enumerate(zip(better[:-1], worse[:-1], strict=False), start=1):
        if one != other:
            break
        if one.role == "user":
            shared = at
    return shared


def _simple(turns: list[Message], role: str) -> str | list[Message]:
    """One turn of that role as its text."""
    return turns[0].content if [turn.role for turn in turns] == [role] else turns


_TRANSCRIPT = re.compile(r"\n\n(Human|Assistant): ?")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}


def _turns(value: object, name: str) -> str | list[Message]:
    """Text, or the turns of a list of messages or of an HH transcript, which begins with "Human:" in its third line."""
    if isinstance(value, bool | int | float):
        return _plain(value)
    turns: Sequence[object] = []
    if isinstance(value, str):
        if not value.startswith("\n\nHuman:"):
            return value
        speakers, said = (_TRANSCRIPT.split(value)[first::2] for first in (1, 2))
        turns = [{"role": _SPEAKERS[who], "content": text.strip()} for who, text in zip(speakers, said, strict=True)]
    elif not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise ValueError(f"field {name}: Input should be text or a list of messages")
    try:
        return [Message.model_validate(turn._asdict()) for turn in read_turns(turns or value)]
    except ValueError as error:
        raise ValueError(f"field {name}: {error}") from error


def metadata(value: object) -> dict[str, Any]:
    """Metadata of a row: an object, JSON text of one, or nothing. Raises ValueError for anything else."""
    try:
        found = json_object(value.encode()) if isinstance(value, str) else {} if value is None else value
    except ValueError as error:
        raise ValueError(f"field metadata: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("field metadata: Input should be an object")
    if isinstance(value, str):
        check_numbers({"metadata": found})
    return found


_QUESTIONS = ("question", "prompt", "instruction", "input")
_ASKED = ("question", "prompt", "system", "input")
_ANSWERS = (
    ("a", "b"),
    ("answer_a", "answer_b"),
    ("response_a", "response_b"),
    ("response_A", "response_B"),
    ("completion_a", "completion_b"),
    ("output_a", "output_b"),
    ("output_1", "output_2"),
    ("response_1", "response_2"),
    ("response 1", "response 2"),
    ("response1", "response2"),
    ("answer1", "answer2"),
)


def _all() -> Iterator[Schema]:
    math_names = {"question": "prompt", "a": "full_chosen", "b": "full_rejected"}
    # `chosen` and `rejected` are there the one step in which the answers part
    needs = ("prompt", "initial_reason_steps", "full_chosen", "full_rejected")
    yield Schema(needs, _math, math_names, ("chosen", "rejected"))
    yield Schema(("input", "accepted", "rejected"), _code, {"question": "input", "a": "accepted", "b": "rejected"})
    for a, b in (("chosen", "rejected"), ("text_chosen", "text_rejected")):
        for asks in _QUESTIONS:
            yield Schema((asks, a, b), _preference(a, b, asks), {"question": asks, "a": a, "b": b}, _ASKED)
        yield Schema((a, b), _preference(a, b), {"a": a, "b": b}, _ASKED)
    battle = ("winner", "conversation_a", "conversation_b")
    yield Schema(battle, _battle, {"a": "conversation_a", "b": "conversation_b", "label": "winner"}, _ASKED)
    yield Schema(
        ("instruction", "annotator1", "response1", "response2"),
        _pandalm,
        {"question": "instruction", "a": "response1", "b": "response2", "label": "annotator1"},
        ("input", "label", "annotator2", "annotator3"),
    )
    for question in _QUESTIONS:
        for a, b in _ANSWERS:
            names = {"question": question, "a": a, "b": b}
            # answers 1 and 2 are what a label of numbers names, but for Auto-J, which counts from 0
            numbered: Labels | None = {"A": "1", "B": "2"} if a.endswith("1") else None
            if a == "response 1":
                numbered = {"A": "0", "B": "1", "tie": "2"}
            yield Schema((question, a, b), _two(question, a, b), names, ("label", "winner", *_ASKED), numbered)


_SCHEMAS = tuple(_all())
