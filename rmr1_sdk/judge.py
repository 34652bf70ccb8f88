"""Judge: compare, rank and grade answers; synchronous and asynchronous."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Self, Unpack, overload

from pydantic import ValidationError

from rmr1_sdk.backends import Backend, connect
from rmr1_sdk.concurrency import PerProcess, await_, submit, wait, waited
from rmr1_sdk.errors import ConfigError
from rmr1_sdk.files.store import Store
from rmr1_sdk.judging.options import JudgeArgs, JudgeOptions, Orders
from rmr1_sdk.judging.ranking import Aggregate, Contest
from rmr1_sdk.judging.session import Session
from rmr1_sdk.judging.streaming import Stream
from rmr1_sdk.parsing import MOST_CRITERIA
from rmr1_sdk.prompts import Prompt
from rmr1_sdk.prompts.pointwise import Topic
from rmr1_sdk.types import (
    Answered,
    Completion,
    ConversationLike,
    Grade,
    Judgment,
    Method,
    Pair,
    Ranking,
    Request,
    Rubric,
    Sampling,
    Section,
)

__all__ = ["Judge", "Orders"]


class Judge:
    """Compares two answers and gives its reasons.

    Args:
        backend: an engine, or its name, as in "llama_cpp:model.gguf". One made from a name is closed
            with the judge; a Backend object stays its owner's.
        store: a Store or the path of one; completions kept there are not asked for again.
        options: the fields of JudgeOptions.

    Raises ConfigError for arguments that cannot be right. Methods raise BackendError when the engine
    fails and StoreError when the store does. Pickles, without its engine's live parts.
    """

    def __init__(
        self, backend: Backend | str, *, store: Store | str | Path | None = None, **options: Unpack[JudgeArgs]
    ) -> None:
        self.options = JudgeOptions.of(options)
        self._owns_backend = isinstance(backend, str)
        self.backend: Backend = connect(backend) if isinstance(backend, str) else backend
        self._owns_store = not isinstance(store, Store)
        self.store = Store(store) if isinstance(store, str | Path) else store
        self._session = PerProcess(partial(Session, self.backend, self.store, self.options))

    def like(self, **changes: Unpack[JudgeArgs]) -> "Judge":
        """A judge like this one, but for what is given. It shares engine and store, which stay this one's to close.

        `sampling` replaces single fields. With `votes`, exactly so many readings per order are taken. A limit of tokens
        holds for each judge by itself. Raises ConfigError as the constructor does.
        """
        if "votes" in changes:
            changes.setdefault("max_votes", None)
        options = self.options.replace(**changes)
        return Judge(self.backend, store=self.store, **options.given())

    # --- comparing -----------------------------------------------------------------------------

    @overload
    async def acompare(self, pair: Pair, /) -> Judgment: ...
    @overload
    async def acompare(self, question: ConversationLike, a: ConversationLike, b: ConversationLike) -> Judgment: ...
    async def acompare(
        self, question: Pair | ConversationLike, a: ConversationLike | None = None, b: ConversationLike | None = None
    ) -> Judgment:
        """Compare two answers: which one is better, and why. Takes a Pair, or a question and two answers.

        Cancelling the task stops the work.
        """
        return await await_(submit(self._session.get().compare(_pair(question, a, b))))

    compare = waited(acompare)

    def compare_many(
        self, pairs: Iterable[Pair], *, progress: bool = False, as_completed: bool = False
    ) -> Iterator[Judgment]:
        """Judgments of many pairs, in order; pairs are taken as they are needed.

        `as_completed` yields each as soon as it is there: tell them apart by `pair_id`. `progress`
        draws a bar on standard error. An error of the engine or the store ends the iteration; with a
        store, the same call goes on where it ended.
        """
        window = wait(submit(self._session.get().window()))
        with closing(self._flights(pairs, window, progress, as_completed)) as flights:
            for flight in flights:
                yield wait(flight)

    async def acompare_many(
        self, pairs: Iterable[Pair], *, progress: bool = False, as_completed: bool = False
    ) -> AsyncIterator[Judgment]:
        """`compare_many`, as an asynchronous iterator."""
        window = await await_(submit(self._session.get().window()))
        with closing(self._flights(pairs, window, progress, as_completed)) as flights:
            for flight in flights:
                yield await await_(flight)

    def _flights(
        self, pairs: Iterable[Pair], window: int, progress: bool, as_completed: bool
    ) -> Generator[Future[Judgment], None, None]:
        """Start comparisons a window ahead and yield what to wait for next; closing it cancels the rest."""
        started: deque[Future[Judgment]] = deque()
        tickets = _Tickets() if as_completed else None
        session = self._session.get()
        with _bar(progress, pairs) as advance:
            try:
                for pair in pairs:
                    flight = submit(session.compare(pair))
                    started.append(tickets.take(flight) if tickets else flight)
                    if len(started) >= window:
                        yield started.popleft()
                        advance()
                while started:
                    yield started.popleft()
                    advance()
            finally:
                for flight in tickets.running() if tickets else started:
                    flight.cancel()

    # --- streaming -----------------------------------------------------------------------------

    @overload
    def stream(self, pair: Pair, /) -> Generator[Section, None, None]: ...
    @overload
    def stream(
        self, question: ConversationLike, a: ConversationLike, b: ConversationLike
    ) -> Generator[Section, None, None]: ...
    def stream(
        self, question: Pair | ConversationLike, a: ConversationLike | None = None, b: ConversationLike | None = None
    ) -> Generator[Section, None, None]:
        """`compare`, told while it is written: sections of every reading, and last the judgment.

        Orders and votes are written side by side; `shown`, `vote` and `attempt` say whose a section is.
        What comes from the store, and from an engine that does not stream, comes in one piece. Work begins
        with the first event; closing the iterator stops it. An error is raised after the sections before it.
        """
        return self._stream(_pair(question, a, b))

    @overload
    def astream(self, pair: Pair, /) -> AsyncGenerator[Section, None]: ...
    @overload
    def astream(
        self, question: ConversationLike, a: ConversationLike, b: ConversationLike
    ) -> AsyncGenerator[Section, None]: ...
    def astream(
        self, question: Pair | ConversationLike, a: ConversationLike | None = None, b: ConversationLike | None = None
    ) -> AsyncGenerator[Section, None]:
        """`stream`, as an asynchronous iterator; leave it early through `contextlib.aclosing`."""
        return self._astream(_pair(question, a, b))

    def _stream(self, pair: Pair) -> Generator[Section, None, None]:
        stream: Stream[Section] = Stream()
        work = submit(self._session.get().play(pair, stream))
        try:
            while events := wait(submit(stream.take())):
                yield from events
            wait(work)
        finally:
            work.cancel()

    async def _astream(self, pair: Pair) -> AsyncGenerator[Section, None]:
        stream: Stream[Section] = Stream()
        work = submit(self._session.get().play(pair, stream))
        try:
            while events := await await_(submit(stream.take())):
                for event in events:
                    yield event
            await await_(work)
        finally:
            work.cancel()

    # --- ranking -------------------------------------------------------------------------------

    async def arank(
        self,
        question: ConversationLike,
        answers: Sequence[ConversationLike],
        *,
        method: Method = "round_robin",
        budget: int | None = None,
        anchor: ConversationLike | None = None,
        aggregate: Aggregate = "bradley_terry",
        reference: str | None = None,
        rubric: Rubric | str | None = None,
        progress: bool = False,
    ) -> Ranking:
        """The answers from best to worst, by duels between them.

        Args:
            question: what all answers are to.
            answers: two or more. Identical ones share a rank and a score without a call.
            method: "round_robin" is every pair once; "knockout" finds the best in n - 1 duels; "swiss"
                pairs neighbours in strength; "anchor" compares each answer with `anchor` alone.
            budget: how many duels "swiss" may ask for; None is three for each different answer.
            anchor: the answer that "anchor" compares the others with.
            aggregate: "bradley_terry" fits strengths to all duels; "win_rate" is the mean of an answer's own
                duels, after "round_robin" or "anchor".
            reference: a known good answer, shown to the judge in every duel.
            rubric: criteria, shown to the judge in every duel.
            progress: draw a bar on standard error.

        All duels of a round run at once, and an error of one cancels the others. A duel without a readable
        verdict is left out, or with `on_failure="raise"` raises JudgmentFailed. Raises ConfigError for
        arguments that cannot be right.
        """
        contest = Contest(question, answers, method, budget, anchor, aggregate, reference, rubric, self.options.seed)
        with _bar(progress, range(contest.duels)) as advance:
            return await await_(submit(self._session.get().rank(contest, advance)))

    rank = waited(arank)

    # --- grading -------------------------------------------------------------------------------

    async def arubric(
        self, question: ConversationLike, *, principles: str | None = None, reference: str | None = None
    ) -> Rubric:
        """Write a rubric for a question: the criteria by which the judge would measure an answer.

        The same arguments give the same rubric without another call, for as long as the judge lives; with a
        store, for longer. It can be edited and saved, and given to `grade`, to `rank` and to a Pair.

        Args:
            question: text or a conversation.
            principles: what the criteria must put into practice, in your own words.
            reference: a known good answer.

        Raises GradingFailed where the judge wrote none.
        """
        return await await_(submit(self._session.get().rubric(_topic(question, principles, reference))))

    rubric = waited(arubric)

    async def agrade(
        self,
        question: ConversationLike,
        answer: ConversationLike,
        *,
        rubric: Rubric | str | None = None,
        reference: str | None = None,
    ) -> Grade:
        """Grade one answer from 0 to 1, with a mark for each criterion of a rubric.

        Takes `votes` readings. Comparing two answers is the more reliable judgment where there are two.

        Args:
            question: text or a conversation.
            answer: text or a conversation.
            rubric: what to mark by. Text is principles: the judge writes a rubric by them first, and without
                either it writes one by the question alone; see `rubric`.
            reference: a known good answer, shown to the judge.

        A grade that could not be read has `score=None`, or with `on_failure="raise"` raises GradingFailed.
        Raises ConfigError for a rubric without criteria.
        """
        return await await_(submit(self._session.get().grade(_answered(question, answer, rubric, reference))))

    grade = waited(agrade)

    # --- a single completion -------------------------------------------------------------------

    async def acomplete(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        """One completion of the engine, within this judge's limits, or from its store: for who shares the engine.

        `on_text` is called with each new piece on the engine's event loop, and not at all where the engine does
        not stream or the store has it.
        """
        return await await_(submit(self._session.get().complete(request, on_text)))

    # --- opening and closing -------------------------------------------------------------------

    @property
    def prompt(self) -> Prompt:
        """The prompt in use; "auto" is settled by looking at the model, which may load it."""
        return wait(submit(self._session.get().start())).prompt

    @property
    def sampling(self) -> Sampling:
        """The sampling in use, before each vote's own seed."""
        return wait(submit(self._session.get().start())).sampling

    @property
    def tokens_spent(self) -> int:
        """Tokens read and written by this judge in this process so far; what came from the store is not counted."""
        return self._session.get().spent

    async def aclose(self) -> None:
        """Free what the judge opened. It opens again on its next use."""
        if self._owns_backend:
            await await_(submit(self.backend.aclose()))
        if self.store and self._owns_store:
            await asyncio.to_thread(self.store.close)

    close = waited(aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        options = self.options
        most = f", max_votes={options.max_votes}" if options.max_votes else ""
        return f"Judge({self.backend.model!r}, orders={options.orders!r}, votes={options.votes}{most})"


def _pair(question: Pair | ConversationLike, a: ConversationLike | None, b: ConversationLike | None) -> Pair:
    if isinstance(question, Pair):
        if a is not None or b is not None:
            raise TypeError("compare takes a Pair alone, or a question and two answers")
        return question
    if a is None or b is None:
        raise TypeError("compare takes a question and two answers, or a Pair")
    return Pair(question=question, a=a, b=b)


def _topic(question: ConversationLike, principles: str | None, reference: str | None) -> Topic:
    asked = Answered(question=question, answer="")  # checks the question
    return Topic(asked.question, principles, reference)


def _answered(
    question: ConversationLike, answer: ConversationLike, rubric: Rubric | str | None, reference: str | None
) -> Answered:
    if isinstance(rubric, Rubric) and not 0 < len(rubric.criteria) <= MOST_CRITERIA:
        raise ConfigError(f"a rubric has 1 to {MOST_CRITERIA} criteria, not {len(rubric.criteria)}")
    if isinstance(rubric, Rubric):
        try:
            rubric = Rubric.model_validate(rubric.model_dump())  # a copy may have been changed without a check
        except ValidationError as error:
            raise ConfigError(f"rubric: {error.errors()[0]['msg']}") from error
    return Answered(question=question, answer=answer, rubric=rubric, reference=reference)


class _Tickets:
    """Futures in the order in which others complete: the n-th ticket is the n-th completion."""

    def __init__(self) -> None:
        self._open: deque[Future[Judgment]] = deque()
        self._running: set[Future[Judgment]] = set()

    def take(self, flight: Future[Judgment]) -> Future[Judgment]:
        ticket: Future[Judgment] = Future()
        self._open.append(ticket)
        self._running.add(flight)
        flight.add_done_callback(self._landed)
        return ticket

    def running(self) -> list[Future[Judgment]]:
        return list(self._running)

    def _landed(self, flight: Future[Judgment]) -> None:
        self._running.discard(flight)
        ticket = self._open.popleft()
        if flight.cancelled() or not ticket.set_running_or_notify_cancel():
            ticket.cancel()
        elif error := flight.exception():
            ticket.set_exception(error)
        else:
            ticket.set_result(flight.result())


def _bar(wanted: bool, pairs: object) -> AbstractContextManager[Callable[[], None]]:
    """A progress bar, or nothing."""
    if not wanted:
        return nullcontext(lambda: None)
    from rmr1_sdk.progress import bar  # late: it brings in rich

    return bar(len(pairs) if isinstance(pairs, Sized) else None)
