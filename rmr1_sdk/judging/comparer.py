"""Comparer, the protocol of everything that compares two answers; many pairs and rankings, on the background loop."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence, Sized
from concurrent.futures import Future
from contextlib import closing
from typing import Protocol, Unpack

from rmr1_sdk.concurrency import await_, drive, submit, tasks, wait
from rmr1_sdk.errors import ConfigError
from rmr1_sdk.judging.ranking import Contest, ContestArgs
from rmr1_sdk.judging.signatures import lists_options
from rmr1_sdk.progress import bar_if
from rmr1_sdk.types import ConversationLike, Judgment, Pair, Ranking

__all__ = ["Answers", "Comparer", "acompare_many", "aload", "arank", "compare_many", "rank"]

_AHEAD = 64
Pairs = Iterable[Pair]
Answers = Sequence[ConversationLike]


class Comparer(Protocol):
    """Whatever compares two answers: a judge, or a class of your own with this one method.

    Two more members are used where they are there: `async def aload()` is awaited before work begins, and after
    that the int `ahead` says how many comparisons `compare_many` starts ahead.
    """

    async def acompare(self, pair: Pair, /) -> Judgment:
        """Compare the answers of a pair. Cancelling the task stops the work."""
        ...


async def aload(comparer: Comparer) -> None:
    """Load the models of a comparer that has an `aload`."""
    load = getattr(comparer, "aload", None)
    if load:
        await load()


def compare_many(
    comparer: Comparer, pairs: Pairs, *, ahead: int | None = None, progress: bool = False, as_completed: bool = False
) -> Generator[Judgment, None, None]:
    """Judge many pairs and yield their judgments in order; pairs are taken as they are needed.

    Args:
        comparer: a Judge or any other Comparer.
        pairs: any number of them.
        ahead: comparisons that are started before the first of them is waited for. None is what the comparer's
            own `ahead` says, else 64.
        progress: draw a bar on standard error.
        as_completed: yield each judgment as soon as it is there: tell them apart by `pair_id`.

    An error of a comparison ends the iteration; closing the iterator cancels what was started.
    """
    window = wait(submit(_start(comparer, ahead)))
    with closing(_flights(comparer, pairs, window, progress, as_completed)) as flights:
        for flight in flights:
            yield wait(flight)


async def acompare_many(
    comparer: Comparer, pairs: Pairs, *, ahead: int | None = None, progress: bool = False, as_completed: bool = False
) -> AsyncGenerator[Judgment, None]:
    """`compare_many`, as an asynchronous iterator."""
    window = await await_(submit(_start(comparer, ahead)))
    with closing(_flights(comparer, pairs, window, progress, as_completed)) as flights:
        for flight in flights:
            yield await await_(flight)


async def _start(comparer: Comparer, ahead: int | None) -> int:
    """Load the comparer; the number of comparisons to start ahead."""
    if ahead is not None and ahead < 1:
        raise ConfigError(f"ahead must be more than 0, not {ahead}")
    await aload(comparer)
    return ahead or int(getattr(comparer, "ahead", _AHEAD))


def _flights(
    comparer: Comparer, pairs: Pairs, window: int, progress: bool, as_completed: bool
) -> Generator[Future[Judgment], None, None]:
    """Start comparisons a window ahead and yield what to wait for next; closing it cancels the rest."""
    started: deque[Future[Judgment]] = deque()
    tickets = _Tickets() if as_completed else None
    with bar_if(progress, len(pairs) if isinstance(pairs, Sized) else None) as advance:
        try:
            for pair in pairs:
                flight = submit(comparer.acompare(pair))
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


@lists_options(ContestArgs, vars(Contest))
def rank(
    comparer: Comparer,
    question: ConversationLike,
    answers: Answers,
    *,
    progress: bool = False,
    **options: Unpack[ContestArgs],
) -> Ranking:
    """Rank answers from best to worst, by duels between them.

    Args:
        comparer: a Judge or any other Comparer. All duels of a round are started at once.
        question: what all answers are to.
        answers: two or more. Identical ones share a rank and a score without a call.
        progress: draw a bar on standard error.
        options: the other fields of Contest: method, budget, anchor, aggregate, reference, rubric and seed.

    An error of one duel cancels the others. A duel without a winner is left out. Raises ConfigError for arguments that
    cannot be right.
    """
    return wait(submit(arank(comparer, question, answers, progress=progress, **options)))


@lists_options(ContestArgs, vars(Contest))
async def arank(
    comparer: Comparer,
    question: ConversationLike,
    answers: Answers,
    *,
    progress: bool = False,
    **options: Unpack[ContestArgs],
) -> Ranking:
    """`rank`, awaited; cancelling the task cancels the duels."""
    contest = Contest(question, answers, **options)
    with bar_if(progress, contest.duels) as advance:
        return await await_(submit(_rank(comparer, contest, advance)))


async def _rank(comparer: Comparer, contest: Contest, advance: Callable[[], None]) -> Ranking:
    async def duels(pairs: Sequence[Pair]) -> list[Judgment]:
        """The judgments of a round. The first error cancels the others."""
        async with tasks(map(comparer.acompare, pairs)) as started:
            for task in started:
                task.add_done_callback(lambda _: advance())
            return await asyncio.gather(*started)

    await aload(comparer)
    return await drive(contest.flow(), duels)
