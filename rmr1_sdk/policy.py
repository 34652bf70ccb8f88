"""How a pair is judged: which requests to make, round by round, and what their completions come to. No I/O."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

from rmr1_sdk import voting
from rmr1_sdk.options import JudgeOptions
from rmr1_sdk.prompts import Prompt
from rmr1_sdk.seeds import digest
from rmr1_sdk.types import (
    Completion,
    Failure,
    Judgment,
    Message,
    Pair,
    Request,
    Sampling,
    Shown,
    Side,
    Usage,
    Verdict,
)

__all__ = ["REASK_TEMPERATURE", "Ask", "Asking", "Flow", "Policy", "Reading", "Round", "timed"]

T = TypeVar("T")
REASK_TEMPERATURE = 0.7


class Ask(NamedTuple):
    """A request, and which reading it is for: the order shown, the vote, and 1 where it is asked once more."""

    request: Request
    shown: Shown = "AB"
    vote: int = 0
    attempt: int = 0


Round = Generator[list[Ask], "list[Completion | None]", None]
"""What some readings still have to ask for."""
Flow = Generator[list[Ask], "list[Completion | None]", T]
"""Yields rounds of requests, is sent their completions, returns what they come to.

None in place of a completion means that the time is over.
"""


R = TypeVar("R", bound="Read")


class Read(Protocol):
    """What was read of a completion: `failure` says why it is not what was asked for."""

    @property
    def failure(self) -> Failure | None:
        """None where it is."""

    def model_copy(self, *, update: dict[str, Any]) -> Self:
        """The same with other fields."""


@dataclass
class Reading(Generic[R]):
    """One text that is asked for, as far as it has come.

    `read` makes its value of a completion; `value` is the last one, at first that of no completion. With the
    seed, `name` and `vote` decide how it is drawn.
    """

    name: str
    messages: tuple[Message, ...]
    sampling: Sampling
    read: Callable[[Completion], R]
    value: R
    vote: int = 0
    shown: Shown = "AB"
    completion: Completion | None = None
    usage: Usage = field(default_factory=Usage)
    out_of_time: bool = False

    @property
    def is_readable(self) -> bool:
        """Whether it has come to what was asked for."""
        return self.completion is not None and self.value.failure is None

    @property
    def is_final(self) -> bool:
        """Whether asking again cannot help: it is read, or the request itself was not taken."""
        if self.value.failure is None:
            return True
        return self.value.failure.kind in ("refused", "prompt_too_long", "timeout")

    def take(self, completion: Completion | None) -> Completion | None:
        """Count a completion's tokens. None means that time ran out: nothing more will come."""
        if completion is not None:
            self.usage += completion.usage
            return completion
        self.out_of_time = True
        if not self.is_readable:
            failure = Failure(kind="timeout", message="The time was over before there was anything to read.")
            self.value = self.value.model_copy(update={"failure": failure})
        return None


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How texts are asked for, whatever is read in them.

    Without I/O: see Flow.
    """

    model: str
    sampling: Sampling
    can_choose: bool = False
    options: JudgeOptions = field(default_factory=JudgeOptions)

    def ask(self, readings: Sequence[Reading[R]], settle: Callable[[Sequence[Reading[R]], bool], Round]) -> Round:
        """Ask for these readings, and once more where nothing could be read.

        `settle` asks for what makes a reading sure, and where its second argument is true for what makes the
        model come to the point.
        """
        yield from self._write(readings, attempt=0)
        yield from settle(readings, self.options.force_verdict)
        again = [reading for reading in readings if not reading.is_final]
        if again and self.options.ask_again:
            yield from self._write(again, attempt=1)
            yield from settle(again, False)

    def _write(self, readings: Sequence[Reading[R]], attempt: int) -> Round:
        asks = []
        for reading in readings:
            update: dict[str, Any] = {"seed": digest(self.options.seed, reading.name, reading.vote, attempt) % 2**31}
            if attempt:
                update["temperature"] = REASK_TEMPERATURE
            request = Request(messages=reading.messages, sampling=reading.sampling.model_copy(update=update))
            asks.append(Ask(request, reading.shown, reading.vote, attempt))
        completions = yield asks
        for reading, completion in zip(readings, completions, strict=True):
            reading.completion = reading.take(completion)
            if completion is not None:
                reading.value = reading.read(completion)


@dataclass(frozen=True, kw_only=True)
class Policy(Asking):
    """How a pair is judged: orders, votes, and what happens when a verdict does not come."""

    prompt: Prompt

    def flow(self, pair: Pair) -> Flow[Judgment]:
        """Yield rounds of requests, be sent their completions, return the judgment."""
        if pair.is_identical:
            return Judgment(winner="tie", p_a=0.5, pair_id=pair.id, model=self.model, prompt=self.prompt.name)
        messages = {shown: self.prompt.render(pair, shown) for shown in self._shown(pair)}
        readings: list[Reading[Verdict]] = []
        latencies: list[float] = []
        for votes in (
            range(self.options.votes),
            *([vote] for vote in range(self.options.votes, self.options.max_votes or 0)),
        ):
            newest = [self._reading(pair, shown, text, vote) for shown, text in messages.items() for vote in votes]
            yield from timed(self.ask(newest, self._settle), latencies)
            readings += newest
            if not self._is_worth_another(readings, newest, tuple(messages)):
                break
        readings.sort(key=lambda reading: reading.shown)  # AB's votes first, each order's as they were asked
        return voting.judgment(
            [reading.value.model_copy(update={"usage": reading.usage}) for reading in readings],
            pair_id=pair.id,
            model=self.model,
            prompt=self.prompt.name,
            latency_s=sum(latencies),
        )

    def _reading(self, pair: Pair, shown: Shown, messages: tuple[Message, ...], vote: int) -> Reading[Verdict]:
        return Reading(
            name=shown,
            messages=messages,
            sampling=self.sampling,
            read=lambda completion: self.prompt.read(completion, pair, shown),
            value=Verdict(shown=shown),
            vote=vote,
            shown=shown,
        )

    def _is_worth_another(
        self, readings: Sequence[Reading[Verdict]], newest: Sequence[Reading[Verdict]], orders: Sequence[Shown]
    ) -> bool:
        """Whether one more reading in each order may change the outcome, at the chosen risk."""
        if any(reading.out_of_time for reading in newest):
            return False
        if all(reading.is_final and not reading.is_readable for reading in newest):
            return False  # such requests are not taken, however often they are made
        votes = voting.tallies([reading.value for reading in readings], orders)
        remaining = (self.options.max_votes or self.options.votes) - len(readings) // len(orders)
        return voting.change_probability(votes, remaining) > self.options.risk

    def _shown(self, pair: Pair) -> tuple[Shown, ...]:
        if self.options.orders == "both":
            return ("AB", "BA")
        if self.options.orders == "given":
            return ("AB",)
        content = pair.model_dump_json(include={"question", "a", "b"})
        return ("BA",) if digest(self.options.seed, content) % 2 else ("AB",)

    def _settle(self, readings: Sequence[Reading[Verdict]], force: bool) -> Round:
        """Give finished verdicts their probability, and force the ones that did not come."""
        if not self.can_choose or self.prompt.choices is None:
            return
        asked: list[Reading[Verdict]] = []
        asks: list[Ask] = []
        for reading in readings:
            if (prefix := self._prefix(reading, force)) is not None:
                asked.append(reading)
                request = Request(messages=reading.messages, prefix=prefix, choices=self.prompt.choices)
                asks.append(Ask(request, reading.shown, reading.vote))
        if not asks:
            return
        completions = yield asks
        for reading, completion in zip(asked, completions, strict=True):
            if reading.take(completion) is not None and completion and completion.choice_logprobs is not None:
                reading.value = _chosen(reading.value, completion.choice_logprobs)

    def _prefix(self, reading: Reading[Verdict], force: bool) -> str | None:
        """The text after which the choices are read; None where there is nothing to settle."""
        if reading.completion is None:
            return None
        if reading.value.is_readable:
            return self.prompt.verdict_prefix(reading.completion)
        return self.prompt.force_prefix(reading.completion) if force and not reading.is_final else None


def timed(rounds: Round, latencies: list[float]) -> Round:
    """The same round, noting how long its slowest request took."""
    completions: list[Completion | None] | None = None
    while True:
        try:
            asks = rounds.send(completions)  # type: ignore[arg-type]  # the first send is None
        except StopIteration:
            return
        completions = yield asks
        latencies.append(max((c.latency_s for c in completions if c is not None), default=0.0))


def _chosen(verdict: Verdict, logprobs: Sequence[float]) -> Verdict:
    """The verdict with the probability of its choice; an unreadable one becomes forced or `low_mass`."""
    (first, _), mass = voting.choices(logprobs)
    p_a = first if verdict.shown == "AB" else 1 - first
    believable = mass >= voting.MIN_MASS
    if verdict.is_readable:
        return verdict.model_copy(update={"p_a": p_a if believable else None, "mass": mass})
    if not believable:
        message = f"Made to answer, the judge gave A and B together only {mass:.1%}."
        return verdict.model_copy(update={"failure": Failure(kind="low_mass", message=message), "mass": mass})
    if p_a == 0.5:  # exactly even: naming a side would be a guess
        return verdict
    winner: Side = "A" if p_a > 0.5 else "B"
    return verdict.model_copy(update={"winner": winner, "p_a": p_a, "mass": mass, "forced": True, "failure": None})
