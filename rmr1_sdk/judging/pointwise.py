"""Pointwise grading as a flow: a rubric, then marks by it. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev
from typing import TypedDict

from rmr1_sdk.judging import voting
from rmr1_sdk.judging.flow import Ask, BaseFlow, Flow, Reading, Round, timed
from rmr1_sdk.parsing import POINTS, share_of_points
from rmr1_sdk.prompts.pointwise import NAME, Pointwise, Topic, Written
from rmr1_sdk.types import Answered, Failure, Grade, Marking, Request, Rubric, Sampling, Usage

__all__ = ["GradeArgs", "PointwiseFlow"]


class GradeArgs(TypedDict, total=False):
    """More of a question to grade by, for functions that take it as keyword arguments."""

    rubric: Rubric | str | None
    reference: str | None


@dataclass(frozen=True, kw_only=True)
class PointwiseFlow(BaseFlow):
    """Flow of a grade: writes a rubric, marks an answer by it, and forces missing marks."""

    prompt: Pointwise

    def rubric(self, topic: Topic) -> Flow[Grade]:
        """Yield rounds of requests, be sent their completions, return a grade of no answer yet.

        It holds the rubric; or, where none came, the text that came instead, as its one reading.
        """
        reading = Reading(
            name="rubric",
            messages=self.prompt.ask_rubric(topic),
            sampling=self._sampling(self.prompt.rubric_stop()),
            read=self.prompt.read_rubric,
            value=Written(),
        )
        latencies: list[float] = []
        yield from timed(self.ask([reading], _as_it_is), latencies)
        written = reading.value
        text = reading.completion.text if reading.completion else ""
        return Grade(
            rubric=written.rubric,
            readings=(Marking(failure=written.failure, text=text),) if written.failure else (),
            usage=reading.usage,
            latency_s=sum(latencies),
            model=self.model,
            prompt=NAME,
        )

    def grade(self, answered: Answered, rubric: Rubric) -> Flow[Grade]:
        """Yield rounds of requests, be sent their completions, return the grade."""
        messages = self.prompt.ask_marks(answered.model_copy(update={"rubric": rubric}))
        readings = [
            Reading(
                name="marks",
                messages=messages,
                sampling=self._sampling(self.prompt.marks_stop(rubric)),
                read=partial(self.prompt.read_marks, answered=answered, rubric=rubric),
                value=Marking(),
                vote=vote,
            )
            for vote in range(self.options.votes)
        ]
        latencies: list[float] = []
        yield from timed(self.ask(readings, self._force_marks), latencies)
        markings = [reading.value.model_copy(update={"usage": reading.usage}) for reading in readings]
        scores = [marking.score for marking in markings if marking.score is not None]
        return Grade(
            score=fmean(scores) if scores else None,
            std_error=stdev(scores) / len(scores) ** 0.5 if len(scores) > 1 else None,
            rubric=rubric,
            readings=tuple(markings),
            usage=sum((marking.usage for marking in markings), Usage()),
            latency_s=sum(latencies),
            model=self.model,
            prompt=NAME,
        )

    def _sampling(self, stop: tuple[str, ...]) -> Sampling:
        return self.sampling.model_copy(update={"stop": self.sampling.stop or stop})

    def _force_marks(self, readings: Sequence[Reading[Marking]], force: bool) -> Round:
        """Give written marks their expectation, and force the ones that did not come."""
        if not self.can_choose:
            return
        asked: list[tuple[Reading[Marking], int]] = []
        asks: list[Ask] = []
        for reading in readings:
            if not (numbers := self._numbers(reading, force)):
                continue
            assert reading.completion is not None
            prefixes = self.prompt.points_prefixes(reading.completion, numbers)
            for number, prefix in zip(numbers, prefixes, strict=False):  # of a turn that cannot be given back, none
                choices = self.prompt.points_choices(number)
                asked.append((reading, number))
                request = Request(messages=reading.messages, prefix=prefix, choices=choices)
                asks.append(Ask(request, vote=reading.vote))
        if not asks:
            return
        completions = yield asks
        for (reading, number), completion in zip(asked, completions, strict=True):
            if reading.take(completion) is not None and completion and completion.choice_logprobs is not None:
                reading.value = _chosen(reading.value, number, completion.choice_logprobs)

    @staticmethod
    def _numbers(reading: Reading[Marking], force: bool) -> list[int]:
        """The criteria whose points are looked at more closely."""
        if reading.completion is None or (reading.is_final and not reading.is_readable):
            return []
        marks = enumerate(reading.value.marks, start=1)
        return [number for number, mark in marks if force or mark.failure is None]


def _as_it_is(readings: Sequence[Reading[Written]], force: bool) -> Round:
    """A rubric comes by itself or not at all."""
    yield from ()


def _chosen(marking: Marking, number: int, logprobs: Sequence[float]) -> Marking:
    """The marking with the expected points of a criterion; where all five are improbable, without them."""
    probabilities, mass = voting.choices(logprobs)
    mark = marking.marks[number - 1]
    if mass >= voting.MIN_MASS:
        expected = sum(points * p for points, p in zip(POINTS, probabilities, strict=True))
        forced = mark.failure is not None
        mark = mark.model_copy(update={"score": share_of_points(expected), "forced": forced, "failure": None})
    elif mark.failure:
        message = f"Made to mark criterion {number}, the judge gave all marks together only {mass:.1%}."
        mark = mark.model_copy(update={"failure": Failure(kind="low_mass", message=message)})
    marks = (*marking.marks[: number - 1], mark, *marking.marks[number:])
    failure = next((mark.failure for mark in marks if mark.failure), None)
    return marking.model_copy(update={"marks": marks, "failure": failure})
