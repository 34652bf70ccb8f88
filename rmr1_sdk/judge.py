"""Judge: the one driver that runs the policies, and the faces people call."""

import asyncio
import time
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Sized,
)
from concurrent.futures import Future
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, overload

from pydantic import ValidationError

from rmr1_sdk import prompts, ranking
from rmr1_sdk.backends import Backend, connect
from rmr1_sdk.errors import BudgetExceeded, ConfigError, GradingFailed, JudgmentFailed
from rmr1_sdk.grading import Grading
from rmr1_sdk.loop import PerProcess, await_, submit, wait
from rmr1_sdk.parsing import MOST_CRITERIA
from rmr1_sdk.policy import Ask, Orders, Policy
from rmr1_sdk.prompts import Prompt
from rmr1_sdk.prompts.pointwise import Pointwise, Topic
from rmr1_sdk.rounds import Memo, drive, tasks
from rmr1_sdk.store import Store
from rmr1_sdk.streaming import Listener, Stream
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

T = TypeVar("T")
_RUBRICS = 4096
"""How many rubrics a judge keeps."""


class _Session:
    """What a judge holds in one process: its policy, its limits, and the tokens it has spent."""

    def __init__(self) -> None:
        self.policy: Policy | None = None
        self.comparisons = asyncio.Semaphore()
        self.grades = asyncio.Semaphore()
        self.requests = asyncio.Semaphore()
        self.streaming = False
        self.spent = 0
        self.rubrics: Memo[Topic, Rubric] = Memo(_RUBRICS)
        self.starting = asyncio.Lock()


@dataclass(frozen=True)
class _Work:
    """What a comparison works with: when its time is over, and who listens to what is written."""

    session: _Session
    deadline: float | None
    listen: Callable[[Ask], Listener] | None


class Judge:
    """Compares two answers and gives its reasons.

    Args:
        backend: an engine, or its name, as in "llama_cpp:model.gguf". One made from a name is closed
            with the judge; a Backend object stays its owner's.
        prompt: "auto" picks by what the model is; or a name, or a Prompt.
        orders: show each pair in "both" orders, as "given", or in one at "random" that depends on
            `seed` and the pair alone.
        votes: readings per order; with `max_votes`, those that are always taken.
        max_votes: readings per order at most: one more is asked for in each order while it may still
            change the outcome. Unreadable ones count.
        risk: how probable it may be, when asking stops early, that all `max_votes` readings had come to
            another outcome; see `voting.change_probability` for what is taken to be known beforehand. At
            0 asking stops only where no vote can change the outcome any more.
        sampling: fields given here replace the prompt's defaults. An explicit temperature 0 with
            several votes is refused: it would ask the same thing several times.
        store: a Store or the path of one; completions kept there are not asked for again.
        max_concurrency: requests in flight; None is what suits the engine.
        max_tokens_total: once this many tokens were read and written, no request is started and
            BudgetExceeded is raised. What comes from the store costs nothing.
        timeout_s: seconds per comparison, counted from when its work starts.
        force_verdict: make the model name a side when it did not come to a verdict by itself.
        ask_again: ask once more, with another seed, where there is still no verdict.
        on_failure: what to do when nothing was readable: return the judgment, or raise JudgmentFailed.
        seed: all randomness follows from it.

    Raises ConfigError for arguments that cannot be right. Methods raise BackendError when the engine
    fails and StoreError when the store does. Pickles, without its engine's live parts.
    """

    def __init__(
        self,
        backend: Backend | str,
        *,
        prompt: str | Prompt = "auto",
        orders: Orders = "both",
        votes: int = 1,
        max_votes: int | None = None,
        risk: float = 0.05,
        sampling: Sampling | Mapping[str, Any] | None = None,
        store: Store | str | Path | None = None,
        max_concurrency: int | None = None,
        max_tokens_total: int | None = None,
        timeout_s: float | None = None,
        force_verdict: bool = True,
        ask_again: bool = True,
        on_failure: Literal["value", "raise"] = "value",
        seed: int = 0,
    ) -> None:
        self._sampling = _checked_sampling(sampling, max_votes or votes)
        _check("orders", orders, ("both", "given", "random"))
        _check("on_failure", on_failure, ("value", "raise"))
        for name, value in (("votes", votes), ("max_concurrency", max_concurrency), ("timeout_s", timeout_s)):
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be more than 0, not {value}")
        if max_votes is not None and max_votes < votes:
            raise ConfigError(f"max_votes={max_votes} is fewer than votes={votes}, which are always taken")
        if not 0 <= risk < 1:
            raise ConfigError(f"risk is a probability from 0 to below 1, not {risk}")
        if isinstance(prompt, str) and prompt not in ("auto", "published"):
            prompt = prompts.get(prompt)
        self._prompt = prompt
        self._orders = orders
        self._votes = votes
        self._max_votes = max_votes
        self._risk = risk
        self._max_concurrency = max_concurrency
        self._max_tokens_total = max_tokens_total
        self._timeout_s = timeout_s
        self._force_verdict = force_verdict
        self._ask_again = ask_again
        self._on_failure = on_failure
        self._seed = seed
        self._owns_backend = isinstance(backend, str)
        self.backend: Backend = connect(backend) if isinstance(backend, str) else backend
        self._owns_store = not isinstance(store, Store)
        self.store = Store(store) if isinstance(store, str | Path) else store
        self._session = PerProcess(_Session)

    def like(
        self,
        *,
        prompt: Prompt | None = None,
        orders: Orders | None = None,
        votes: int | None = None,
        sampling: Mapping[str, Any] | None = None,
        on_failure: Literal["value", "raise"] | None = None,
    ) -> "Judge":
        """A judge like this one, but for what is given. It shares engine and store, which stay this one's to close.

        `sampling` replaces single fields. With `votes`, exactly so many readings per order are taken. A limit of tokens
        holds for each judge by itself. Raises ConfigError as the constructor does.
        """
        return Judge(
            self.backend,
            prompt=prompt or self._prompt,
            orders=orders or self._orders,
            votes=self._votes if votes is None else votes,
            max_votes=self._max_votes if votes is None else None,
            risk=self._risk,
            sampling=self._sampling.model_dump(exclude_unset=True) | dict(sampling or {}),
            store=self.store,
            max_concurrency=self._max_concurrency,
            max_tokens_total=self._max_tokens_total,
            timeout_s=self._timeout_s,
            force_verdict=self._force_verdict,
            ask_again=self._ask_again,
            on_failure=on_failure or self._on_failure,
            seed=self._seed,
        )

    # --- comparing -----------------------------------------------------------------------------

    @overload
    def compare(self, pair: Pair, /) -> Judgment: ...
    @overload
    def compare(self, question: ConversationLike, a: ConversationLike, b: ConversationLike) -> Judgment: ...
    def compare(
        self, question: Pair | ConversationLike, a: ConversationLike | None = None, b: ConversationLike | None = None
    ) -> Judgment:
        """Which of two answers is better, and why. Takes a Pair, or a question and two answers."""
        return wait(submit(self._judge(_pair(question, a, b))))

    @overload
    async def acompare(self, pair: Pair, /) -> Judgment: ...
    @overload
    async def acompare(self, question: ConversationLike, a: ConversationLike, b: ConversationLike) -> Judgment: ...
    async def acompare(
        self, question: Pair | ConversationLike, a: ConversationLike | None = None, b: ConversationLike | None = None
    ) -> Judgment:
        """`compare`, awaited; cancelling the task stops the work."""
        return await await_(submit(self._judge(_pair(question, a, b))))

    def compare_many(
        self, pairs: Iterable[Pair], *, progress: bool = False, as_completed: bool = False
    ) -> Iterator[Judgment]:
        """Judgments of many pairs, in order; pairs are taken as they are needed.

        `as_completed` yields each as soon as it is there: tell them apart by `pair_id`. `progress`
        draws a bar on standard error. An error of the engine or the store ends the iteration; with a
        store, the same call goes on where it ended.
        """
        window = wait(submit(self._window()))
        with closing(self._flights(pairs, window, progress, as_completed)) as flights:
            for flight in flights:
                yield wait(flight)

    async def acompare_many(
        self, pairs: Iterable[Pair], *, progress: bool = False, as_completed: bool = False
    ) -> AsyncIterator[Judgment]:
        """`compare_many`, as an asynchronous iterator."""
        window = await await_(submit(self._window()))
        with closing(self._flights(pairs, window, progress, as_completed)) as flights:
            for flight in flights:
                yield await await_(flight)

    async def _window(self) -> int:
        """How many comparisons to start ahead: enough that one slow pair does not leave the engine idle."""
        return 4 * self._concurrent_comparisons((await self._start())[1])

    def _flights(
        self, pairs: Iterable[Pair], window: int, progress: bool, as_completed: bool
    ) -> Generator[Future[Judgment], None, None]:
        """Start comparisons a window ahead and yield what to wait for next; closing it cancels the rest."""
        started: deque[Future[Judgment]] = deque()
        tickets = _Tickets() if as_completed else None
        with _bar(progress, pairs) as advance:
            try:
                for pair in pairs:
                    flight = submit(self._judge(pair))
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
        work = submit(self._play(pair, stream))
        try:
            while events := wait(submit(stream.take())):
                yield from events
            wait(work)
        finally:
            work.cancel()

    async def _astream(self, pair: Pair) -> AsyncGenerator[Section, None]:
        stream: Stream[Section] = Stream()
        work = submit(self._play(pair, stream))
        try:
            while events := await await_(submit(stream.take())):
                for event in events:
                    yield event
            await await_(work)
        finally:
            work.cancel()

    async def _play(self, pair: Pair, stream: Stream[Section]) -> None:
        try:
            judgment = await self._judge(pair, stream)
            stream.put(Section(name="judgment", done=True, judgment=judgment))
        finally:
            stream.put(None)

    # --- ranking -------------------------------------------------------------------------------

    def rank(
        self,
        question: ConversationLike,
        answers: Sequence[ConversationLike],
        *,
        method: Method = "round_robin",
        budget: int | None = None,
        anchor: ConversationLike | None = None,
        aggregate: ranking.Aggregate = "bradley_terry",
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
        contest = ranking.Contest(question, answers, method, budget, anchor, aggregate, reference, rubric, self._seed)
        with _bar(progress, range(contest.duels)) as advance:
            return wait(submit(self._rank(contest, advance)))

    async def arank(
        self,
        question: ConversationLike,
        answers: Sequence[ConversationLike],
        *,
        method: Method = "round_robin",
        budget: int | None = None,
        anchor: ConversationLike | None = None,
        aggregate: ranking.Aggregate = "bradley_terry",
        reference: str | None = None,
        rubric: Rubric | str | None = None,
        progress: bool = False,
    ) -> Ranking:
        """`rank`, awaited; cancelling the task stops the work."""
        contest = ranking.Contest(question, answers, method, budget, anchor, aggregate, reference, rubric, self._seed)
        with _bar(progress, range(contest.duels)) as advance:
            return await await_(submit(self._rank(contest, advance)))

    async def _rank(self, contest: ranking.Contest, advance: Callable[[], None]) -> Ranking:
        async def duels(pairs: Sequence[Pair]) -> list[Judgment]:
            """The judgments of a round. The first error cancels the others."""
            async with tasks(map(self._judge, pairs)) as started:
                for task in started:
                    task.add_done_callback(lambda _: advance())
                return await asyncio.gather(*started)

        return await drive(contest.flow(), duels)

    # --- grading -------------------------------------------------------------------------------

    def rubric(
        self, question: ConversationLike, *, principles: str | None = None, reference: str | None = None
    ) -> Rubric:
        """What a good answer to a question is measured by, as the judge sees it.

        The same arguments give the same rubric without another call, for as long as the judge lives; with a
        store, for longer. It can be edited and saved, and given to `grade`, to `rank` and to a Pair.

        Args:
            question: text or a conversation.
            principles: what the criteria must put into practice, in your own words.
            reference: a known good answer.

        Raises GradingFailed where the judge wrote none.
        """
        return wait(submit(self._rubric(_topic(question, principles, reference))))

    async def arubric(
        self, question: ConversationLike, *, principles: str | None = None, reference: str | None = None
    ) -> Rubric:
        """`rubric`, awaited; cancelling the task stops the work."""
        return await await_(submit(self._rubric(_topic(question, principles, reference))))

    def grade(
        self,
        question: ConversationLike,
        answer: ConversationLike,
        *,
        rubric: Rubric | str | None = None,
        reference: str | None = None,
    ) -> Grade:
        """How good one answer is, 0 to 1, by marks for each criterion of a rubric.

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
        return wait(submit(self._grade(_answered(question, answer, rubric, reference))))

    async def agrade(
        self,
        question: ConversationLike,
        answer: ConversationLike,
        *,
        rubric: Rubric | str | None = None,
        reference: str | None = None,
    ) -> Grade:
        """`grade`, awaited; cancelling the task stops the work."""
        return await await_(submit(self._grade(_answered(question, answer, rubric, reference))))

    async def _rubric(self, topic: Topic) -> Rubric:
        session, policy = await self._start()
        async with session.grades:
            written = await self._written(topic, self._grading(policy), self._work(session))
        if written.rubric is None:
            raise GradingFailed(written)
        return written.rubric

    async def _grade(self, answered: Answered) -> Grade:
        session, policy = await self._start()
        grading = self._grading(policy)
        async with session.grades:
            work = self._work(session)  # its time begins now, not while it waits
            if isinstance(answered.rubric, Rubric):
                grade = Grade(rubric=answered.rubric)
            else:
                topic = Topic(answered.question, answered.rubric, answered.reference)
                grade = await self._written(topic, grading, work)
            if grade.rubric:
                marked = await drive(grading.grade(answered, grade.rubric), partial(self._round, work=work))
                cost = {"usage": grade.usage + marked.usage, "latency_s": grade.latency_s + marked.latency_s}
                grade = marked.model_copy(update=cost)
        if grade.score is None and self._on_failure == "raise":
            raise GradingFailed(grade)
        return grade

    async def _written(self, topic: Topic, grading: Grading, work: _Work) -> Grade:
        """The rubric of a topic, written when it is first asked for; what was kept has cost nothing."""
        kept = work.session.rubrics
        async with kept.turn(topic):
            if rubric := kept.get(topic):
                return Grade(rubric=rubric)
            written = await drive(grading.rubric(topic), partial(self._round, work=work))
            if written.rubric:
                kept.put(topic, written.rubric)
            return written

    def _grading(self, policy: Policy) -> Grading:
        """Grading with what the judge was built with; a text ends by its own stop strings, unless some were given."""
        stop = self._sampling.stop if "stop" in self._sampling.model_fields_set else ()
        return Grading(
            prompt=Pointwise(thinks=policy.prompt.family == "reasoning"),
            model=policy.model,
            sampling=self._merged(policy.prompt, self._votes).model_copy(update={"stop": stop}),
            votes=self._votes,
            can_choose=policy.can_choose,
            force_verdict=policy.force_verdict,
            ask_again=policy.ask_again,
            seed=policy.seed,
        )

    # --- a single completion -------------------------------------------------------------------

    async def acomplete(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        """One completion of the engine, within this judge's limits, or from its store: for who shares the engine.

        `on_text` is called with each new piece on the engine's event loop, and not at all where the engine does
        not stream or the store has it.
        """

        async def complete() -> Completion:
            session, _ = await self._start()
            return await self._answer(request, session, on_text if session.streaming else None)

        return await await_(submit(complete()))

    # --- the driver ----------------------------------------------------------------------------

    async def _start(self) -> tuple[_Session, Policy]:
        """The session of this process and its policy, made on first use: that may load the model."""
        session = self._session.get()
        async with session.starting:
            if session.policy is None:
                policy = await asyncio.to_thread(self._make_policy)
                session.comparisons = asyncio.Semaphore(self._concurrent_comparisons(policy))
                session.grades = asyncio.Semaphore(self._filling(self._votes))
                session.requests = asyncio.Semaphore(self._concurrent_requests())
                session.streaming = self.backend.capabilities.streaming
                session.policy = policy
        return session, session.policy

    def _make_policy(self) -> Policy:
        capabilities = self.backend.capabilities
        prompt = prompts.resolve(
            self._prompt,
            model=self.backend.model,
            chat_template=capabilities.chat_template,
            recorded=capabilities.prompt,
        )
        return Policy(
            prompt=prompt,
            model=self.backend.model,
            sampling=self._merged(prompt, self._max_votes or self._votes),
            orders=self._orders,
            votes=self._votes,
            max_votes=self._max_votes,
            risk=self._risk,
            can_choose=capabilities.choices and capabilities.prefix,
            force_verdict=self._force_verdict,
            ask_again=self._ask_again,
            seed=self._seed,
        )

    def _merged(self, prompt: Prompt, votes: int) -> Sampling:
        """The prompt's sampling for so many votes, with the caller's own fields in place of its."""
        defaults = prompt.sampling
        if votes > 1:
            defaults = defaults.model_copy(update={"temperature": prompt.vote_temperature})
        return defaults.model_copy(update=self._sampling.model_dump(include=self._sampling.model_fields_set))

    def _concurrent_requests(self) -> int:
        return self._max_concurrency or self.backend.capabilities.concurrency

    def _concurrent_comparisons(self, policy: Policy) -> int:
        return self._filling(policy.votes * (2 if policy.orders == "both" else 1))

    def _filling(self, requests: int) -> int:
        """As many as fill the engine with so many requests each, and no more: later rounds find a prefix still warm."""
        return max(1, self._concurrent_requests() // requests)

    async def _judge(self, pair: Pair, stream: Stream[Section] | None = None) -> Judgment:
        session, policy = await self._start()
        async with session.comparisons:
            listen = None
            if stream:
                listen = partial(Listener, stream.put, thinking=policy.prompt.family == "reasoning")
            work = self._work(session, listen)
            judgment = await drive(policy.flow(pair), partial(self._round, work=work))
        if judgment.winner is None and self._on_failure == "raise":
            raise JudgmentFailed(judgment)
        return judgment

    def _work(self, session: _Session, listen: Callable[[Ask], Listener] | None = None) -> _Work:
        return _Work(session, None if self._timeout_s is None else time.monotonic() + self._timeout_s, listen)

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
            return await self._answer(ask.request, work.session)
        listener = work.listen(ask)
        completion = await self._answer(
            ask.request, work.session, on_text=listener.hear if work.session.streaming else None
        )
        listener.finish(completion)
        return completion

    async def _answer(
        self, request: Request, session: _Session, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        if self.store and (kept := await self.store.get(self.backend.identity, request)):
            return kept
        async with session.requests:
            if self._max_tokens_total is not None and session.spent >= self._max_tokens_total:
                raise BudgetExceeded(f"{session.spent} tokens are spent of max_tokens_total={self._max_tokens_total}")
            completion = await self.backend.generate(request, on_text=on_text)
        session.spent += completion.usage.total_tokens
        return await self.store.put(self.backend.identity, request, completion) if self.store else completion

    # --- opening and closing -------------------------------------------------------------------

    @property
    def prompt(self) -> Prompt:
        """The prompt in use; "auto" is settled by looking at the model, which may load it."""
        return wait(submit(self._start()))[1].prompt

    @property
    def sampling(self) -> Sampling:
        """The sampling in use, before each vote's own seed."""
        return wait(submit(self._start()))[1].sampling

    @property
    def tokens_spent(self) -> int:
        """Tokens read and written by this judge in this process so far; what came from the store is not counted."""
        return self._session.get().spent

    async def _stop(self) -> None:
        if self._owns_backend:
            await self.backend.aclose()
        if self.store and self._owns_store:
            await asyncio.to_thread(self.store.close)

    def close(self) -> None:
        """Free what the judge opened. It opens again on its next use."""
        wait(submit(self._stop()))

    async def aclose(self) -> None:
        """`close`, awaited."""
        await await_(submit(self._stop()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        most = f", max_votes={self._max_votes}" if self._max_votes else ""
        return f"Judge({self.backend.model!r}, orders={self._orders!r}, votes={self._votes}{most})"


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


def _check(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} is one of {', '.join(map(repr, allowed))}, not {value!r}")


def _checked_sampling(sampling: Sampling | Mapping[str, Any] | None, votes: int) -> Sampling:
    try:
        given = sampling if isinstance(sampling, Sampling) else Sampling(**(sampling or {}))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"sampling.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if "seed" in given.model_fields_set:
        raise ConfigError("sampling.seed: give the seed to Judge, which derives one for each vote")
    if votes > 1 and "temperature" in given.model_fields_set and given.temperature == 0:
        raise ConfigError(
            f"{votes} votes at temperature 0 would be one vote asked {votes} times; raise the temperature"
        )
    return given


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
