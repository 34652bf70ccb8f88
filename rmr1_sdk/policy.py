"""How a pair is judged: which requests to make, round by round, and what their completions come to. No I/O."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

from rmr1_sdk import voting
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

__all__ = ["REASK_TEMPERATURE", "Ask", "Flow", "Orders", "Policy", "Round", "timed"]

T = TypeVar("T")
Orders = Literal["both", "given", "random"]
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


@dataclass
class _Reading:
    """One vote in one order, as far as it has come."""

    shown: Shown
    vote: int
    messages: tuple[Message, ...]
    completion: Completion | None = None
    verdict: Verdict = field(default_factory=Verdict)
    usage: Usage = field(default_factory=Usage)
    out_of_time: bool = False

    @property
    def is_final(self) -> bool:
        """Whether asking again cannot help: it is read, or the request itself was not taken."""
        if self.verdict.failure is None:
            return True
        return self.verdict.failure.kind in ("refused", "prompt_too_long", "timeout")

    def take(self, completion: Completion | None) -> Completion | None:
        """Count a completion's tokens. None means that time ran out: nothing more will come."""
        if completion is not None:
            self.usage += completion.usage
            return completion
        self.out_of_time = True
        if not self.verdict.is_readable:
            failure = Failure(kind="timeout", message="The comparison ran out of time before there was a verdict.")
            self.verdict = self.verdict.model_copy(update={"failure": failure, "shown": self.shown})
        return None


@dataclass(frozen=True)
class Policy:
    """How a pair is judged: orders, votes, and what happens when a verdict does not come.

    Without I/O: see Flow.
    """

    prompt: Prompt
    model: str
    sampling: Sampling
    orders: Orders = "both"
    votes: int = 1
    max_votes: int | None = None
    risk: float = 0.05
    can_choose: bool = False
    force_verdict: bool = True
    ask_again: bool = True
    seed: int = 0

    def flow(self, pair: Pair) -> Flow[Judgment]:
        """Yield rounds of requests, be sent their completions, return the judgment."""
        if pair.is_identical:
            return Judgment(winner="tie", p_a=0.5, pair_id=pair.id, model=self.model, prompt=self.prompt.name)
        messages = {shown: self.prompt.render(pair, shown) for shown in self._shown(pair)}
        readings: list[_Reading] = []
        latencies: list[float] = []
        for votes in (range(self.votes), *([vote] for vote in range(self.votes, self.max_votes or 0))):
            newest = [_Reading(shown, vote, text) for shown, text in messages.items() for vote in votes]
            yield from timed(self._read(pair, newest), latencies)
            readings += newest
            if not self._is_worth_another(readings, newest, tuple(messages)):
                break
        readings.sort(key=lambda reading: reading.shown)  # AB's votes first, each order's as they were asked
        return voting.judgment(
            [reading.verdict.model_copy(update={"usage": reading.usage}) for reading in readings],
            pair_id=pair.id,
            model=self.model,
            prompt=self.prompt.name,
            latency_s=sum(latencies),
        )

    def _read(self, pair: Pair, readings: Sequence[_Reading]) -> Round:
        """Ask for these readings, and once more where no verdict came."""
        yield from self._ask(pair, readings, attempt=0)
        yield from self._settle(readings, force=self.force_verdict)
        again = [reading for reading in readings if not reading.is_final]
        if again and self.ask_again:
            yield from self._ask(pair, again, attempt=1)
            yield from self._settle(again, force=False)

    def _is_worth_another(
        self, readings: Sequence[_Reading], newest: Sequence[_Reading], orders: Sequence[Shown]
    ) -> bool:
        """Whether one more reading in each order may change the outcome, at the chosen risk."""
        if any(reading.out_of_time for reading in newest):
            return False
        if all(reading.is_final and not reading.verdict.is_readable for reading in newest):
            return False  # such requests are not taken, however often they are made
        votes = voting.tallies([reading.verdict for reading in readings], orders)
        remaining = (self.max_votes or self.votes) - len(readings) // len(orders)
        return voting.change_probability(votes, remaining) > self.risk

    def _shown(self, pair: Pair) -> tuple[Shown, ...]:
        if self.orders == "both":
            return ("AB", "BA")
        if self.orders == "given":
            return ("AB",)
        content = pair.model_dump_json(include={"question", "a", "b"})
        return ("BA",) if digest(self.seed, content) % 2 else ("AB",)

    def _ask(self, pair: Pair, readings: Sequence[_Reading], attempt: int) -> Round:
        asks = []
        for reading in readings:
            update: dict[str, Any] = {"seed": digest(self.seed, reading.shown, reading.vote, attempt) % 2**31}
            if attempt:
                update["temperature"] = REASK_TEMPERATURE
            request = Request(messages=reading.messages, sampling=self.sampling.model_copy(update=update))
            asks.append(Ask(request, reading.shown, reading.vote, attempt))
        completions = yield asks
        for reading, completion in zip(readings, completions, strict=True):
            reading.completion = reading.take(completion)
            if completion is not None:
                reading.verdict = self.prompt.read(completion, pair, reading.shown)

    def _settle(self, readings: Sequence[_Reading], *, force: bool) -> Round:
        """Give finished verdicts their probability, and force the ones that did not come."""
        if not self.can_choose or self.prompt.choices is None:
            return
        asked: list[_Reading] = []
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
                reading.verdict = _chosen(reading.verdict, completion.choice_logprobs)

    def _prefix(self, reading: _Reading, force: bool) -> str | None:
        """The text after which the choices are read; None where there is nothing to settle."""
        if reading.completion is None:
            return None
        if reading.verdict.is_readable:
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
    seen = voting.choice_probability(logprobs)
    p_a = seen.first if verdict.shown == "AB" else 1 - seen.first
    believable = seen.mass >= voting.MIN_MASS
    if verdict.is_readable:
        return verdict.model_copy(update={"p_a": p_a if believable else None, "mass": seen.mass})
    if not believable:
        message = f"Made to answer, the judge gave A and B together only {seen.mass:.1%}."
        return verdict.model_copy(update={"failure": Failure(kind="low_mass", message=message), "mass": seen.mass})
    if p_a == 0.5:  # exactly even: naming a side would be a guess
        return verdict
    winner: Side = "A" if p_a > 0.5 else "B"
    return verdict.model_copy(update={"winner": winner, "p_a": p_a, "mass": seen.mass, "forced": True, "failure": None})
