"""Session: a backend, a store and the limits of one judge in one process; drives flows on the background loop."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rmr1_sdk import prompts
from rmr1_sdk.backends import Backend
from rmr1_sdk.concurrency import Memo, drive, tasks
from rmr1_sdk.errors import BudgetExceeded, GradingFailed, JudgmentFailed
from rmr1_sdk.files.store import Store
from rmr1_sdk.judging.flow import Ask
from rmr1_sdk.judging.options import JudgeOptions
from rmr1_sdk.judging.pairwise import PairwiseFlow
from rmr1_sdk.judging.pointwise import PointwiseFlow
from rmr1_sdk.judging.streaming import Listener, Stream
from rmr1_sdk.prompts.pointwise import Pointwise, Topic
from rmr1_sdk.types import Answered, Completion, Grade, Judgment, Pair, Request, Rubric, Section

__all__ = ["Session"]

_RUBRICS = 4096
"""Rubrics that a session keeps."""


@dataclass(frozen=True)
class _Work:
    """Work of one comparison: its deadline, and the listener for its text."""

    deadline: float | None
    listen: Callable[[Ask], Listener] | None = None


class Session:
    """A judge's backend, its limits, and the tokens it has spent. The model is loaded on first use.

    Args:
        backend: the backend, which stays its owner's.
        store: completions kept there are not asked for again.
        options: how to judge.
    """

    def __init__(self, backend: Backend, store: Store | None, options: JudgeOptions) -> None:
        self._backend = backend
        self._store = store
        self._options = options
        self.spent = 0
        self._flow: PairwiseFlow | None = None
        self._comparisons = asyncio.Semaphore()
        self._grades = asyncio.Semaphore()
        self._requests = asyncio.Semaphore()
        self._streaming = False
        self._rubrics: Memo[Topic, Rubric] = Memo(_RUBRICS)
        self._starting = asyncio.Lock()

    async def acompare(self, pair: Pair, stream: Stream[Section] | None = None) -> Judgment:
        """The judgment of a pair; sections go to `stream` while they are written."""
        flow = await self.aload()
        async with self._comparisons:
            listen = None
            if stream:
                listen = partial(Listener, stream.put, thinking=flow.prompt.family == "reasoning")
            work = self._work(listen)
            judgment = await drive(flow.compare(pair), partial(self._round, work=work))
        if judgment.winner is None and self._options.on_failure == "raise":
            raise JudgmentFailed(judgment)
        return judgment

    async def play(self, pair: Pair, stream: Stream[Section]) -> None:
        """Compare, and put the judgment and the end into the stream too."""
        try:
            judgment = await self.acompare(pair, stream)
            stream.put(Section(name="judgment", done=True, judgment=judgment))
        finally:
            stream.put(None)

    @property
    def ahead(self) -> int:
        """Number of comparisons to start ahead, once loaded, so that one slow pair does not leave the backend idle."""
        return 4 * self._at_once(self._options.votes * (2 if self._options.orders == "both" else 1))

    async def rubric(self, topic: Topic) -> Rubric:
        """The rubric of a topic. Raises GradingFailed where none came."""
        grading = self._grading(await self.aload())
        async with self._grades:
            written = await self._written(topic, grading, self._work())
        if written.rubric is None:
            raise GradingFailed(written)
        return written.rubric

    async def grade(self, answered: Answered) -> Grade:
        """The grade of an answer, by its rubric or by one that is written first."""
        grading = self._grading(await self.aload())
        async with self._grades:
            work = self._work()  # its time begins now, not while it waits
            if isinstance(answered.rubric, Rubric):
                grade = Grade(rubric=answered.rubric)
            else:
                topic = Topic(answered.question, answered.rubric, answered.reference)
                grade = await self._written(topic, grading, work)
            if grade.rubric:
                marked = await drive(grading.grade(answered, grade.rubric), partial(self._round, work=work))
                cost = {"usage": grade.usage + marked.usage, "latency_s": grade.latency_s + marked.latency_s}
                grade = marked.model_copy(update=cost)
        if grade.score is None and self._options.on_failure == "raise":
            raise GradingFailed(grade)
        return grade

    async def _written(self, topic: Topic, grading: PointwiseFlow, work: _Work) -> Grade:
        """The rubric of a topic, written when it is first asked for; what was kept has cost nothing."""
        async with self._rubrics.turn(topic):
            if rubric := self._rubrics.get(topic):
                return Grade(rubric=rubric)
            written = await drive(grading.rubric(topic), partial(self._round, work=work))
            if written.rubric:
                self._rubrics.put(topic, written.rubric)
            return written

    def _grading(self, flow: PairwiseFlow) -> PointwiseFlow:
        """Grading with the same options; a text ends by its own stop strings, unless some were given."""
        options = self._options
        stop = options.sampling.stop if "stop" in options.sampling.model_fields_set else ()
        return PointwiseFlow(
            prompt=Pointwise(thinks=flow.prompt.family == "reasoning"),
            model=flow.model,
            sampling=options.sampling_for(flow.prompt, options.votes).model_copy(update={"stop": stop}),
            can_choose=flow.can_choose,
            options=options,
        )

    async def aload(self) -> PairwiseFlow:
        """Load the model where it is not; the flow in use."""
        async with self._starting:
            if self._flow is None:
                flow = await asyncio.to_thread(self._make_flow)
                orders = 2 if self._options.orders == "both" else 1
                self._comparisons = asyncio.Semaphore(self._at_once(self._options.votes * orders))
                self._grades = asyncio.Semaphore(self._at_once(self._options.votes))
                self._requests = asyncio.Semaphore(self._concurrency)
                self._streaming = self._backend.capabilities.streaming
                self._flow = flow
        return self._flow

    def _make_flow(self) -> PairwiseFlow:
        options, capabilities = self._options, self._backend.capabilities
        prompt = prompts.resolve(
            options.prompt,
            model=self._backend.model,
            chat_template=capabilities.chat_template,
            recorded=capabilities.prompt,
        )
        return PairwiseFlow(
            prompt=prompt,
            model=self._backend.model,
            sampling=options.sampling_for(prompt, options.max_votes or options.votes),
            can_choose=capabilities.choices and capabilities.prefix,
            options=options,
        )

    @property
    def _concurrency(self) -> int:
        return self._options.max_concurrency or self._backend.capabilities.concurrency

    def _at_once(self, requests: int) -> int:
        """Number of comparisons, of so many requests each, that fill the backend; more would lose warm prefixes."""
        return max(1, self._concurrency // requests)

    def _work(self, listen: Callable[[Ask], Listener] | None = None) -> _Work:
        timeout = self._options.timeout_s
        return _Work(None if timeout is None else time.monotonic() + timeout, listen)

    async def _round(self, asks: Sequence[Ask], work: _Work) -> list[Completion | None]:
        """The completions of a round, None where time ran out. The first error cancels the others."""
        left = None if work.deadline is None else max(0.0, work.deadline - time.monotonic())
        async with tasks(self._complete(ask, work) for ask in asks) as started:
            await asyncio.wait(started, timeout=left, return_when=asyncio.FIRST_EXCEPTION)
            for task in started:
                if task.done() and (error := task.exception()):
                    raise error
            return [task.result() if task.done() else None for task in started]

    async def _complete(self, ask: Ask, work: _Work) -> Completion:
        if work.listen is None or ask.request.choices:
            return await self.complete(ask.request)
        listener = work.listen(ask)
        completion = await self.complete(ask.request, on_text=listener.hear)
        listener.finish(completion)
        return completion

    async def complete(self, request: Request, on_text: Callable[[str], None] | None = None) -> Completion:
        """One completion, within the limits, or from the store."""
        await self.aload()
        if self._store and (kept := await self._store.get(self._backend.identity, request)):
            return kept
        most = self._options.max_tokens_total
        async with self._requests:
            if most is not None and self.spent >= most:
                raise BudgetExceeded(f"{self.spent} tokens are spent of max_tokens_total={most}")
            completion = await self._backend.generate(request, on_text=on_text if self._streaming else None)
        self.spent += completion.usage.total_tokens
        return await self._store.put(self._backend.identity, request, completion) if self._store else completion
