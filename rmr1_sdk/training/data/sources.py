"""Sources of training pairs, and the conversion of published rows to pairs."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, ValidationError

from rmr1_sdk.conversations import asked, read_turns
from rmr1_sdk.errors import ConfigError, DataError, unknown
from rmr1_sdk.files.pairs import validated
from rmr1_sdk.files.rows import Rows, hub_rows, read_rows
from rmr1_sdk.training.domain import Domain, generate
from rmr1_sdk.types import Message, Outcome, Pair, Value

__all__ = ["Source", "read_pairs"]


class Source(Value):
    """Source of pairs, with its filters.

    Args:
        path: a file (.jsonl, .json, .csv, .parquet); "hub:ORG/NAME" for a data set of the Hugging Face hub;
            "tiny:COUNT" for problems that are made up.
        name: stands in each pair's metadata as its "source", unless its row has a field of that name.
        fields: what the file calls our fields (question, a, b, label, chosen, rejected, id, reference, source).
        labels: what the file's label is for A, B and tie.
        keep: only rows whose source is one of these.
        drop: no rows whose source is one of these.
        take: so many pairs at most, drawn by the seed from what is kept.
        split: of a data set of the hub.
        revision: of a data set of the hub.
        domain: what the problems of "tiny:COUNT" are like.
    """

    path: str
    name: str = ""
    fields: dict[str, str] = Field(default_factory=dict)
    labels: dict[Outcome, str] = Field(default_factory=dict)
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    take: int | None = Field(default=None, ge=1)
    split: str = "train"
    revision: str | None = None
    domain: Domain = Domain()

    @classmethod
    def parse(cls, text: str) -> "Source":
        """The source of "PATH,OPTION=VALUE,...", as in "data.csv,drop=x|y,take=8000,question=prompt,A=model_a".

        Raises ConfigError for an option that there is not.
        """
        path, *options = text.split(",")
        given: dict[str, Any] = {"fields": {}, "labels": {}}
        for option in options:
            name, equals, value = option.partition("=")
            if not equals:
                raise ConfigError(f"{text}: {option!r} is not of the form OPTION=VALUE")
            if name in _OURS:
                given["fields"][name] = value
            elif name in ("A", "B", "tie"):
                given["labels"][name] = value
            elif name in _OPTIONS:
                given[name] = tuple(value.split("|")) if name in ("keep", "drop") else value
            else:
                known = (*_OURS, "A", "B", "tie", *_OPTIONS)
                raise unknown("option", name, known, place=f"{text}: ")
        try:
            return cls(path=path, **given)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"{text}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error

    @property
    def file(self) -> Path | None:
        """The file, None where it is none."""
        return None if self.path.startswith(("hub:", "tiny:")) else Path(self.path)

    @property
    def title(self) -> str:
        """The name, or else one made from the path."""
        return self.name or (Path(self.path).name.split(".")[0] if self.file else self.path.partition(":")[2])


_OURS = ("question", "a", "b", "label", "chosen", "rejected", "id", "reference", "source")
_OPTIONS = ("name", "keep", "drop", "take", "split", "revision")


def read_pairs(source: Source, seed: int = 0) -> Iterator[Pair | DataError | None]:
    """A pair for each row, None where `keep` and `drop` leave it out, or what is wrong with the row.

    `pair.label` is the better side. Raises ConfigError and DataError where nothing can be read.
    """
    if source.path.startswith("tiny:"):
        count = source.path.removeprefix("tiny:")
        if not count.isdecimal():
            raise ConfigError(f'{source.path}: write "tiny:COUNT", as in tiny:6000')
        yield from generate(int(count), seed=seed, domain=source.domain)
        return
    for number, row in _rows(source):
        if isinstance(row, ValueError):
            yield DataError(str(row), path=Path(source.path), line=number)
            continue
        named = _renamed(row, source.fields)
        if not _is_wanted(source, named):
            yield None
            continue
        try:
            yield _pair(source, number, named)
        except ValueError as error:
            yield DataError(str(error), path=Path(source.path), line=number)


def _rows(source: Source) -> Rows:
    if source.file:
        return read_rows(source.file)
    return hub_rows(source.path.removeprefix("hub:"), split=source.split, revision=source.revision)


def _renamed(row: dict[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """The row with our names for its fields."""
    ours = {theirs: name for name, theirs in fields.items()}
    return {ours.get(name, name): value for name, value in row.items()}


def _is_wanted(source: Source, row: Mapping[str, Any]) -> bool:
    found = _source_of(row)
    return found not in source.drop and (not source.keep or found in source.keep)


def _source_of(row: Mapping[str, Any]) -> str | None:
    inside = row.get("metadata")
    found = row.get("source", inside.get("source") if isinstance(inside, dict) else None)
    return found if isinstance(found, str) else None


def _pair(source: Source, number: int, row: dict[str, Any]) -> Pair:
    form = next((form for form in _FORMS if all(name in row for name in form.needs)), None)
    if form is None:
        known = "; ".join(", ".join(form.needs) for form in _FORMS)
        raise ValueError(f"the row has {', '.join(row)}, which is none of the known forms: {known}")
    fields = form.build(row)
    if "label" not in fields:
        fields["label"] = "A"  # the chosen answer
    elif source.labels:
        fields["label"] = _label(fields["label"], source.labels)
    given = row.get("metadata", {})
    if not isinstance(given, dict):
        raise ValueError("field metadata: Input should be an object")
    metadata = {name: value for name, value in row.items() if name not in form.uses and _is_plain(value)}
    metadata |= given | {"source": _source_of(row) or source.title}
    name = row.get("id")
    fields |= {"id": name if isinstance(name, str) else f"{source.title}/{number}", "metadata": metadata}
    fields |= {name: row[name] for name in ("reference", "rubric") if row.get(name) is not None}
    return validated(fields, Pair, {**form.names, **source.fields})


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool)


def _label(value: object, labels: Mapping[Outcome, str]) -> str:
    for outcome, theirs in labels.items():
        if str(value) == theirs:
            return outcome
    raise ValueError(f"field label: {value!r} is none of {', '.join(labels.values())}")


class _Form(NamedTuple):
    """A row with the fields `needs` is of this form. `names` says what its authors call ours, for errors."""

    needs: tuple[str, ...]
    build: Callable[[dict[str, Any]], dict[str, Any]]
    names: Mapping[str, str] = {}
    also: tuple[str, ...] = ()

    @property
    def uses(self) -> tuple[str, ...]:
        """Fields that are not metadata."""
        return (*self.needs, *self.also, "id", "reference", "rubric", "metadata", "source")


def _math(row: dict[str, Any]) -> dict[str, Any]:
    """Math-Step-DPO: answers share their first steps, and go on to the end from there."""
    steps = row["initial_reason_steps"]
    for name in ("initial_reason_steps", "full_chosen", "full_rejected"):
        if not isinstance(row[name], str):
            raise ValueError(f"field {name}: Input should be a valid string")
    return {"question": row["prompt"], "a": steps + row["full_chosen"], "b": steps + row["full_rejected"]}


def _code(row: dict[str, Any]) -> dict[str, Any]:
    """Code-Preference-Pairs."""
    return {"question": row["input"], "a": row["accepted"], "b": row["rejected"]}


def _sides(row: dict[str, Any]) -> dict[str, Any]:
    return {"question": _question(row), "a": row["a"], "b": row["b"], "label": row.get("label")}


def _question(row: dict[str, Any]) -> Any:
    """What was asked, with what other fields tell of it; None where no field does."""
    question = row["question"] if "question" in row else row.get("prompt")
    if question is None:
        return None
    return asked(question, **{name: row[name] for name in ("system", "input") if isinstance(row.get(name), str)})


def _preference(chosen: str, rejected: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Answers, or whole conversations that begin alike, as in Skywork-Reward-Preference."""

    def build(row: dict[str, Any]) -> dict[str, Any]:
        question = _question(row)
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
    if isinstance(value, str):
        if not value.startswith("\n\nHuman:"):
            return value
        speakers, said = (_TRANSCRIPT.split(value)[first::2] for first in (1, 2))
        return [
            validated({"role": _SPEAKERS[who], "content": text.strip()}, Message)
            for who, text in zip(speakers, said, strict=True)
        ]
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise ValueError(f"field {name}: Input should be text or a list of messages")
    try:
        return [Message.model_validate(turn._asdict()) for turn in read_turns(value)]
    except ValueError as error:
        raise ValueError(f"field {name}: {error}") from error


_ASKED = ("question", "prompt", "system", "input")
_FORMS = (
    _Form(
        ("prompt", "initial_reason_steps", "full_chosen", "full_rejected"),
        _math,
        {"question": "prompt", "a": "full_chosen", "b": "full_rejected"},
        also=("chosen", "rejected"),  # the one step in which the answers part
    ),
    _Form(("input", "accepted", "rejected"), _code, {"question": "input", "a": "accepted", "b": "rejected"}),
    _Form(("chosen", "rejected"), _preference("chosen", "rejected"), {"a": "chosen", "b": "rejected"}, _ASKED),
    _Form(
        ("text_chosen", "text_rejected"),
        _preference("text_chosen", "text_rejected"),
        {"a": "text_chosen", "b": "text_rejected"},
        _ASKED,
    ),
    _Form(("question", "a", "b"), _sides, also=("label", *_ASKED)),
    _Form(("prompt", "a", "b"), _sides, {"question": "prompt"}, also=("label", *_ASKED)),
)
