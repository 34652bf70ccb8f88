"""Pairwise comparison as a flow: the requests of each round, and the judgment made of the completions. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass

from rmr1_sdk.hashing import digest
from rmr1_sdk.judging import voting
from rmr1_sdk.judging.flow import Ask, BaseFlow, Flow, Reading, Round, timed
from rmr1_sdk.prompts import Prompt
from rmr1_sdk.types import Failure, Judgment, Message, Pair, Request, Shown, Side, Verdict

__all__ = ["PairwiseFlow"]


@dataclass(frozen=True, kw_only=True)
class PairwiseFlow(BaseFlow):
    """Flow of a pairwise comparison: orders, votes, and forced verdicts."""

    prompt: Prompt

    def compare(self, pair: Pair) -> Flow[Judgment]:
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
            yield from timed(self.ask(newest, self._force_verdicts), latencies)
            readings += newest
            if not self._should_sample_again(readings, newest, tuple(messages)):
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

    def _should_sample_again(
        self, readings: Sequence[Reading[Verdict]], newest: Sequence[Reading[Verdict]], orders: Sequence[Shown]
    ) -> bool:
        """True where one more sample in each order may change the outcome, at the chosen risk."""
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

    def _force_verdicts(self, readings: Sequence[Reading[Verdict]], force: bool) -> Round:
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
