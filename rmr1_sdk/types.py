"""Data model: immutable, JSON-serialisable values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)  # fmt: skip

from rmr1_sdk.conversations import read_turns

Side = Literal["A", "B"]
"""A side as the caller gave it, never as the model saw it."""
Shown = Literal["AB", "BA"]
"""The order in which the model saw the caller's sides."""
Outcome = Literal["A", "B", "tie"]
Role = Literal["system", "user", "assistant", "tool"]
Task = Literal["chat", "reasoning"]
Method = Literal["round_robin", "knockout", "swiss", "anchor"]
"""Which duels a ranking asks for."""
FailureKind = Literal[
    "empty",
    "no_answer",
    "bad_answer",
    "conflicting_answers",
    "unclosed_thinking",
    "truncated",
    "low_mass",
    "refused",
    "prompt_too_long",
    "timeout",
]

SectionName = Literal["thinking", "type", "rubric", "justify", "solution", "eval", "answer", "prose", "judgment"]
"""Section of a judgment, by its tag; "prose" is outside all tags, and "judgment" ends a stream."""

OTHER: Mapping[Side, Side] = {"A": "B", "B": "A"}


def other(outcome: Outcome | None) -> Outcome | None:
    """The outcome with the sides' names exchanged; a tie and None stay."""
    return OTHER[outcome] if outcome in ("A", "B") else outcome


class Value(BaseModel):
    """Base of all values: immutable, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


@dataclass(frozen=True, slots=True)
class AsOption:
    """Metadata of a field: its form as a command option, where the field alone does not give it.

    Args:
        flag: the option's name, in place of the one made from the field's name.
        unset: the meaning of None in a few words, shown as the option's default.
    """

    flag: str | None = None
    unset: str | None = None


def _whole(text: str) -> str:
    """The text, which must be one that can be written down: half of a surrogate pair, as of a cut emoji, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half a character at {error.start} (a lone surrogate), which no file can hold") from error
    return text


Text = Annotated[str, AfterValidator(_whole)]


class Message(Value):
    """One turn of a conversation."""

    role: Role
    content: Text


def _conversation(value: object) -> object:
    """Messages of every form become a tuple of turns, so that a Pair stays hashable in its parts; text stays text."""
    if hasattr(value, "tolist"):  # an array of NumPy, as pandas has them
        value = value.tolist()
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple) or all(isinstance(turn, Message) for turn in value):
        return tuple(value) if isinstance(value, list) else value
    return tuple(turn._asdict() for turn in read_turns(value))


Conversation = Annotated[Text | tuple[Message, ...], BeforeValidator(_conversation)]
"""Text, or turns."""
ConversationLike = str | Sequence[Message | Mapping[str, Any]]
"""Accepted forms of a conversation: text, or a list of Message or of messages as `conversations` reads them."""


class Criterion(Value):
    """One line of a rubric. `weight` is a fraction of 1, or None where the text gave no weights."""

    name: str
    weight: float | None = None
    description: str = ""

    def __str__(self) -> str:
        weight = "" if self.weight is None else f" ({self.weight:.0%})"
        return f"{self.name}{weight}: {self.description}".rstrip(": ")


class Rubric(Value):
    """Rubric: the criteria of an answer. The weights sum to 1, or are all None."""

    criteria: tuple[Criterion, ...] = ()
    justification: str | None = None

    @field_validator("criteria")
    @classmethod
    def _weights_are_fractions(cls, criteria: tuple[Criterion, ...]) -> tuple[Criterion, ...]:
        weights = [criterion.weight for criterion in criteria]
        if all(weight is None for weight in weights):
            return criteria
        given = [weight for weight in weights if weight is not None]
        if len(given) < len(weights):
            raise ValueError("either every criterion has a weight or none has")
        if any(weight < 0 for weight in given) or abs(sum(given) - 1) > 1e-6:
            raise ValueError(f"weights are fractions that sum to 1, not {sum(given):g}")
        return criteria


class Pair(Value):
    """A question and two answers to it.

    `question`, `a` and `b` are text or conversations. `label` is the known better side, when there
    is one. `reference` is a known good answer and `rubric` the caller's own criteria; both are shown
    to the judge in blocks of their own. `metadata` travels along and is never shown.
    """

    question: Conversation
    a: Conversation
    b: Conversation
    id: Text | None = None
    label: Outcome | None = None
    reference: Text | None = None
    rubric: Rubric | Text | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    if TYPE_CHECKING:  # what callers may pass is wider than what they read

        def __init__(
            self,
            *,
            question: ConversationLike,
            a: ConversationLike,
            b: ConversationLike,
            id: str | None = None,  # noqa: A002  # the field's name is a contract
            label: Outcome | None = None,
            reference: str | None = None,
            rubric: Rubric | str | None = None,
            metadata: dict[str, Any] | None = None,
        ) -> None: ...

    @field_validator("question", "a", "b")
    @classmethod
    def _has_turns(cls, value: Conversation, info: ValidationInfo) -> Conversation:
        return _with_turns(value, info)

    @model_validator(mode="after")
    def _asks_once(self) -> "Pair":
        _drop_repeats(self, "a", "b")
        return self

    def answer(self, side: Side) -> Conversation:
        """The side's answer as it was given."""
        return self.a if side == "A" else self.b

    def text(self, side: Side) -> str:
        """The side's answer, or its assistant messages joined by a newline. Citations index this."""
        return _said(self.answer(side))

    def turns(self, side: Side) -> tuple[Message, ...]:
        """The whole conversation of a side: the question, then that side's messages."""
        return _turns(self.question, "user") + _turns(self.answer(side), "assistant")

    @property
    def is_single_turn(self) -> bool:
        """True for one user turn with two text answers."""
        return _is_one_turn(self.question) and isinstance(self.a, str) and isinstance(self.b, str)

    @property
    def is_identical(self) -> bool:
        """True where both sides are equal: a tie that needs no judge."""
        return _turns(self.a, "assistant") == _turns(self.b, "assistant")

    def swapped(self) -> "Pair":
        """The same pair with its sides, and its label, exchanged."""
        return self.model_copy(update={"a": self.b, "b": self.a, "label": other(self.label)})


class Answered(Value):
    """A question and one answer to it, as `Judge.grade` takes them; its fields mean what those of a Pair do."""

    question: Conversation
    answer: Conversation
    reference: Text | None = None
    rubric: Rubric | Text | None = None

    if TYPE_CHECKING:  # as for Pair

        def __init__(
            self,
            *,
            question: ConversationLike,
            answer: ConversationLike,
            reference: str | None = None,
            rubric: Rubric | str | None = None,
        ) -> None: ...

    @field_validator("question", "answer")
    @classmethod
    def _has_turns(cls, value: Conversation, info: ValidationInfo) -> Conversation:
        return _with_turns(value, info)

    @model_validator(mode="after")
    def _asks_once(self) -> "Answered":
        _drop_repeats(self, "answer")
        return self

    @property
    def text(self) -> str:
        """The answer, or its assistant messages joined by a newline. Citations index this."""
        return _said(self.answer)

    @property
    def turns(self) -> tuple[Message, ...]:
        """The whole conversation: the question, then the answer's messages."""
        return _turns(self.question, "user") + _turns(self.answer, "assistant")

    @property
    def is_single_turn(self) -> bool:
        """True for one user turn with a text answer."""
        return _is_one_turn(self.question) and isinstance(self.answer, str)


def _turns(conversation: Conversation, role: Role) -> tuple[Message, ...]:
    return (Message(role=role, content=conversation),) if isinstance(conversation, str) else conversation


def _with_turns(value: Conversation, info: ValidationInfo) -> Conversation:
    if isinstance(value, tuple) and not value:
        raise ValueError(f"{info.field_name} is an empty conversation; give text or at least one turn")
    return value


def _drop_repeats(asked: "Pair | Answered", *sides: str) -> None:
    """Take the question out of answers that are whole conversations and begin with it.

    Where all of them have the same system turns before it, those come to the question. For a value that is being made.
    """
    question = _turns(asked.question, "user")
    answers = {side: getattr(asked, side) for side in sides}
    ends = {side: _end_of(question, answer) for side, answer in answers.items()}
    before = {answers[side][: end - len(question)] for side, end in ends.items() if end}
    shared = before.pop() if len(before) == 1 and all(ends.values()) else None
    for side, end in ends.items():
        if end:
            own = answers[side][: end - len(question)] if shared is None else ()
            turns = (*own, *answers[side][end:])
            asked.__dict__[side] = turns[0].content if [turn.role for turn in turns] == ["assistant"] else turns
    if shared:
        asked.__dict__["question"] = (*shared, *question)


def _end_of(question: tuple[Message, ...], answer: Conversation) -> int:
    """The number of turns up to the end of the question, with which the answer begins; 0 where it does not."""
    if isinstance(answer, str):
        return 0
    told = next((at for at, turn in enumerate(answer) if turn.role != "system"), 0)
    for start in {0, told}:
        end = start + len(question)
        begins = [(turn.role, turn.content.strip()) for turn in answer[start:end]]
        if len(answer) > end and begins == [(turn.role, turn.content.strip()) for turn in question]:
            return end
    return 0


def _said(answer: Conversation) -> str:
    if isinstance(answer, str):
        return answer
    return "\n".join(message.content for message in answer if message.role == "assistant")


def _is_one_turn(question: Conversation) -> bool:
    return isinstance(question, str) or [message.role for message in question] == ["user"]


class Sampling(Value):
    """Sampling parameters. `temperature=None` and `top_p=None` are the model's own.

    Fields a caller leaves out of a judge's `sampling` take the prompt family's defaults.
    """

    max_tokens: int = Field(default=4096, ge=1, description="Tokens that a completion may have.")
    temperature: float | None = Field(default=0.0, ge=0, description="Sampling temperature; 0 is greedy.")
    top_p: float | None = Field(default=None, gt=0, le=1, description="Sample from the likeliest tokens of this mass.")
    seed: int | None = None
    stop: tuple[str, ...] = ()


class Request(Value):
    """One thing to ask a backend.

    `prefix` is raw text with which the assistant's turn already begins. With `choices` nothing is
    sampled: the completion carries the log-probability of each whole choice after `prefix`.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = Field(default_factory=Sampling)
    prefix: str = ""
    choices: tuple[str, ...] = ()


class Usage(Value):
    """Tokens read (of which `cached_tokens` from a cache) and written."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
        )

    @property
    def total_tokens(self) -> int:
        """Tokens read and written."""
        return self.prompt_tokens + self.completion_tokens


class Completion(Value):
    """Completion of a request.

    `text` continues the request's prefix and includes the stop string. `reasoning` is thinking that
    the backend delivered in a field of its own. `choice_logprobs[i]` is the summed natural
    log-probability of the whole string `choices[i]`; None where the backend cannot tell.
    """

    model_config = ConfigDict(ser_json_inf_nan="strings")  # a choice may be impossible, and JSON has no infinity

    text: str
    stop: Literal["stop", "length", "refused", "too_long"] = "stop"
    usage: Usage = Field(default_factory=Usage)
    choice_logprobs: tuple[float, ...] | None = None
    reasoning: str | None = None
    model: str = ""
    latency_s: float = 0.0


class Failure(Value):
    """Why there is no verdict: a kind from a closed set, and a sentence for a person."""

    kind: FailureKind
    message: str


Match = Literal["exact", "normalised", "parts"]


class Citation(Value):
    """Citation: a quote from one side, or a summary of it, in the judge's words.

    For a quote, `found` says whether it really stands in that side's answer, and `match` how: "exact", "normalised"
    (with formatting made equal) or "parts" (between dots, or whole sentences). `spans` has a range of
    `pair.text(side)` for each part, and `start` and `end` are the first's and the last's. `found` is None for
    summaries, where no pair was at hand, and where the search would have taken too long.
    """

    side: Side
    kind: Literal["quote", "summary"]
    text: str
    found: bool | None = None
    match: Match | None = None
    start: int | None = None
    end: int | None = None
    spans: tuple[tuple[int, int], ...] = ()


class Verdict(Value):
    """One reading of one completion, in the caller's sides.

    `p_a` is the probability of A at the verdict, `mass` the probability of A and B together there;
    None where the backend cannot tell. `forced` verdicts were read after the judge was made to answer. `winner` is
    "tie" where the judge says that both are equally good, which its prompt must allow.
    """

    winner: Outcome | None = None
    p_a: float | None = None
    mass: float | None = None
    task: Task | None = None
    rubric: Rubric | None = None
    solution: str | None = None
    evaluation: str | None = None
    citations: tuple[Citation, ...] = ()
    thinking: str | None = None
    failure: Failure | None = None
    forced: bool = False
    shown: Shown = "AB"
    text: str = ""
    usage: Usage = Field(default_factory=Usage)

    @property
    def is_readable(self) -> bool:
        """True where it names a winner or a tie."""
        return self.winner is not None

    def swapped(self) -> "Verdict":
        """The same reading with the sides' names exchanged; prose stays as the model wrote it."""
        return self.model_copy(
            update={
                "winner": other(self.winner),
                "p_a": None if self.p_a is None else 1 - self.p_a,
                "citations": tuple(c.model_copy(update={"side": OTHER[c.side]}) for c in self.citations),
                "shown": "BA" if self.shown == "AB" else "AB",
            }
        )


class Judgment(Value):
    """The outcome for a pair.

    `winner` is the side with more votes, "tie" when both have as many, None when nothing was readable; a vote for a
    tie counts for neither side. `agreement` is the share of readable votes for the commonest outcome, None without
    votes. `position_consistent` is None unless both orders were read, and so is
    `position_effect`: by how much being shown first raises an answer's probability, -0.5 to 0.5.
    """

    winner: Outcome | None = None
    p_a: float | None = None
    verdicts: tuple[Verdict, ...] = ()
    agreement: float | None = None
    position_consistent: bool | None = None
    position_effect: float | None = None
    usage: Usage = Field(default_factory=Usage)
    latency_s: float = 0.0
    pair_id: str | None = None
    model: str = ""
    prompt: str = ""

    @property
    def failure(self) -> Failure | None:
        """The first failure, when nothing was readable."""
        if self.winner is not None:
            return None
        return next((v.failure for v in self.verdicts if v.failure), None)

    def explain(self) -> str:
        """The outcome and the judge's reasons as text for a person.

        Readings of the pair as given come first. Each reading of the other order stands under a line
        that says so, because its prose calls your B "A".
        """
        parts = [_headline(self)]
        for verdict in sorted(self.verdicts, key=lambda verdict: verdict.shown):
            if verdict.shown == "BA":
                parts.append("shown in the other order: its A is your B")
            parts.append(_prose(verdict))
        return "\n\n".join(parts)


class Section(Value):
    """A piece of what a judge writes, as it is written; see `Judge.stream`.

    `text` is the new piece alone. The pieces of a section, put together, are what the verdict holds of it: no
    tags, quotes in quotation marks. `done` says that no more of the section comes; `text` may be empty then.
    `shown`, `vote` and `attempt` (1 where the judge is asked once more) say which reading it belongs to. The
    last event has the name "judgment", `shown=None`, and alone holds `judgment`.
    """

    name: SectionName
    text: str = ""
    done: bool = False
    shown: Shown | None = None
    vote: int = 0
    attempt: int = 0
    judgment: Judgment | None = None


class Comparison(Value):
    """One duel of a ranking: the indices of its sides, and the probability that A is better.

    `p_a` is None where nothing was readable. With `anchor`, the index after the last answer is the anchor.
    """

    a: int
    b: int
    p_a: float | None = None


class Ranking(Value):
    """Answers from best to worst.

    `scores[i]` is the fitted probability that answer i beats a random other answer of the list (the mean
    is 0.5), or with `anchor` that it beats the anchor. `std_errors[i]` is the standard error of `scores[i]`.
    `ranks[i]` counts from 1; equal scores share a rank, and identical answers always do. All three are None
    for an answer of which no duel could be read. `order` holds the indices of the others, best first.

    `judgments[k]` is the judgment of `comparisons[k]`, in the order they were asked. `cycles` are answers
    that beat each other in a circle, each the next one and the last the first. `id` is the caller's name
    for the list; `rmr1 rank` sets it.
    """

    method: Method
    order: tuple[int, ...]
    ranks: tuple[int | None, ...]
    scores: tuple[float | None, ...]
    std_errors: tuple[float | None, ...]
    comparisons: tuple[Comparison, ...] = ()
    judgments: tuple[Judgment, ...] = ()
    cycles: tuple[tuple[int, ...], ...] = ()
    id: str | None = None

    @property
    def failed(self) -> int:
        """Number of duels that could not be read. They count for neither side."""
        return sum(comparison.p_a is None for comparison in self.comparisons)

    @property
    def usage(self) -> Usage:
        """Tokens of all duels."""
        return sum((judgment.usage for judgment in self.judgments), Usage())


class Mark(Value):
    """Mark for one criterion.

    `points` is what the judge wrote, 1 to 5; None where it wrote no such number. `score` is 0 to 1: the
    expected points where the backend tells their probabilities (G-Eval, arXiv 2303.16634, equation 1), else
    those written; None where there is neither. `forced` marks were read after the judge was made to give
    them. `remarks` are its reasons, and `citations` are on side "A". `failure` says why there is no score.
    """

    criterion: Criterion
    score: float | None = None
    points: float | None = None
    remarks: str = ""
    citations: tuple[Citation, ...] = ()
    forced: bool = False
    failure: Failure | None = None


class Marking(Value):
    """One reading of one grading: a mark for each criterion of the rubric, in its order.

    `failure` says why it has no score: it is that of the first criterion without a mark.
    """

    marks: tuple[Mark, ...] = ()
    thinking: str | None = None
    failure: Failure | None = None
    text: str = ""
    usage: Usage = Field(default_factory=Usage)

    @property
    def score(self) -> float | None:
        """The mean of the marks by the rubric's weights, 0 to 1; None where one of them is missing."""
        scores = [mark.score for mark in self.marks if mark.score is not None]
        if not scores or len(scores) < len(self.marks):
            return None
        weights = [mark.criterion.weight for mark in self.marks]
        known = [1 / len(weights) if weight is None else weight for weight in weights]
        return sum(weight * score for weight, score in zip(known, scores, strict=True))


class Grade(Value):
    """Grade of one answer by a rubric.

    `score` is 0 to 1, the mean over the readings that could be read; None where none could. `std_error` is
    its standard error over the readings, None for fewer than two. `rubric` is the one given, or the one
    the judge wrote; None where it wrote none, and then `readings` holds what it wrote instead.
    """

    score: float | None = None
    std_error: float | None = None
    rubric: Rubric | None = None
    readings: tuple[Marking, ...] = ()
    usage: Usage = Field(default_factory=Usage)
    latency_s: float = 0.0
    model: str = ""
    prompt: str = ""

    @property
    def failure(self) -> Failure | None:
        """The first failure, when nothing was readable."""
        if self.score is not None:
            return None
        return next((reading.failure for reading in self.readings if reading.failure), None)

    @property
    def scores(self) -> tuple[float | None, ...]:
        """For each criterion of the rubric the mean score, over the readings that count for `score`."""
        read = [reading.marks for reading in self.readings if reading.score is not None]
        return tuple(_mean([mark.score for mark in marks]) for marks in zip(*read, strict=True))

    def explain(self) -> str:
        """The score and the judge's remarks as text for a person."""
        failure = f" {self.failure.message}" if self.failure else ""
        parts = [f"No grade.{failure}" if self.score is None else f"Grade {self.score:.2f}"]
        for reading in self.readings:
            lines = [_mark_line(mark) for mark in reading.marks] or [reading.text.strip()]
            parts.append("\n".join(filter(None, lines)))
        return "\n\n".join(filter(None, parts))


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None


def _mark_line(mark: Mark) -> str:
    score = "no mark" if mark.score is None else f"{mark.score:.2f}{' (made to answer)' if mark.forced else ''}"
    criterion = mark.criterion.model_copy(update={"description": ""})
    return f"- {criterion}: {score}. {mark.remarks}".rstrip()


def _headline(judgment: Judgment) -> str:
    if judgment.winner is None:
        return "No verdict."
    name = "Tie" if judgment.winner == "tie" else f"{judgment.winner} is better"
    return name if judgment.p_a is None else f"{name} (probability of A {judgment.p_a:.2f})"


def _prose(verdict: Verdict) -> str:
    lines: list[str] = []
    if verdict.rubric:
        lines += [f"- {criterion}" for criterion in verdict.rubric.criteria]
    lines += [part for part in (verdict.solution, verdict.evaluation) if part]
    if not lines and verdict.text:
        lines.append(verdict.text.strip())
    if verdict.failure:
        lines.append(f"Unreadable: {verdict.failure.message}")
    elif verdict.forced:
        lines.append("The verdict was forced: the judge had not come to one by itself.")
    return "\n".join(lines)
