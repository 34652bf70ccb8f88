"""Flows: generators of rounds of requests, and the samples read from their completions. No I/O."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

from rmr1_sdk.hashing import digest
from rmr1_sdk.judging.options import JudgeOptions
from rmr1_sdk.types import Completion, Failure, Message, Request, Sampling, Shown, Usage

__all__ = ["REASK_TEMPERATURE", "Ask", "BaseFlow", "Flow", "Reading", "Round", "timed"]

T = TypeVar("T")
REASK_TEMPERATURE = 0.7


class Ask(NamedTuple):
    """A request, and which reading it is for: the order shown, the vote, and 1 where it is asked once more."""

    request: Request
    shown: Shown = "AB"
    vote: int = 0
    attempt: int = 0


Round = Generator[list[Ask], "list[Completion | None]", None]
"""Requests that some readings still need."""
Flow = Generator[list[Ask], "list[Completion | None]", T]
"""Yields rounds of requests, is sent their completions, returns what they come to.

None in place of a completion means that the time is over.
"""


R = TypeVar("R", bound="Read")


class Read(Protocol):
    """Value read from a completion; `failure` says why it is not what was asked for."""

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
        """True where the completion could be read."""
        return self.completion is not None and self.value.failure is None

    @property
    def is_final(self) -> bool:
        """True where another attempt cannot help: it was read, or the request itself was refused."""
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
class BaseFlow:
    """Base of all flows: sampling, retries, and forced answers.

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
