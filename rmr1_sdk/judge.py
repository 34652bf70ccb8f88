"""Judge: compare, rank and grade answers; synchronous and asynchronous."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Self, Unpack, overload

from pydantic import ValidationError

from rmr1_sdk.backends import Backend, connect
from rmr1_sdk.concurrency import PerProcess, await_, submit, wait
from rmr1_sdk.errors import ConfigError
from rmr1_sdk.files.store import Store
from rmr1_sdk.judging.comparer import Answers, acompare_many, arank, compare_many, rank
from rmr1_sdk.judging.options import JudgeArgs, JudgeOptions, Orders
from rmr1_sdk.judging.pointwise import GradeArgs
from rmr1_sdk.judging.ranking import Contest, RankArgs
from rmr1_sdk.judging.session import Session
from rmr1_sdk.judging.signatures import lists_options
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
    Pair,
    Ranking,
    Request,
    Rubric,
    Sampling,
    Section,
)

__all__ = ["Judge", "Orders"]


_FIELDS = JudgeOptions.model_fields
_DEFAULTS = {name: None if field.default_factory else field.default for name, field in _FIELDS.items()}


class Judge:
    """Compares two answers and gives its reasons.

    Args:
        backend: a backend, or its name, as in "llama_cpp:model.gguf". One made from a name is closed
            with the judge; a Backend object stays its owner's.
        store: a Store or the path of one; completions kept there are not asked for again.
        options: the fields of JudgeOptions.

    Raises ConfigError for arguments that cannot be right. Methods raise BackendError when the backend
    fails and StoreError when the store does. Pickles, without its backend's live parts.
    """

    @lists_options(JudgeArgs, _DEFAULTS)
    def __init__(
        self, backend: Backend | str, *, store: Store | str | Path | None = None, **options: Unpack[JudgeArgs]
    ) -> None:
        self.options = JudgeOptions.of(options)
        self._owns_backend = isinstance(backend, str)
        self.backend: Backend = connect(backend) if isinstance(backend, str) else backend
        self._owns_store = not isinstance(store, Store)
        self.store = Store(store) if isinstance(store, str | Path) else store
        self._session = PerProcess(partial(Session, self.backend, self.store, self.options))

    @lists_options(JudgeArgs)
    def like(self, **changes: Unpack[JudgeArgs]) -> "Judge":
        """A judge like this one, but for what is given. It shares backend and store, which stay this one's to close.

        `sampling` replaces single fields. With `votes`, exactly so many readings per order are taken. A limit of tokens
        holds for each judge by itself. Raises ConfigError as the constructor does.
        """
        if "votes" in changes:
            changes.setdefault("max_votes", None)
        options = self.options.replace(**changes)
        return Judge(self.backend, store=self.store, **options.given())

    @overload
    def compare(self, pair: Pair, /) -> Judgment: ...
    @overload
    def compare(self, question: ConversationLike, a: ConversationLike, b: ConversationLike) -> Judgment: ...
    def compare(
        self, question: Pair | ConversationLike, a: ConversationLike | None = None, b: ConversationLike | None = None
    ) -> Judgment:
        """Compare two answers: which one is better, and why. Takes a Pair, or a question and two answers."""
        return wait(submit(self._session.get().acompare(_pair(question, a, b))))

    @overload
    async def acompare(self, pair: Pair, /) -> Judgment: ...
    @overload
    async def acompare(self, question: ConversationLike, a: ConversationLike, b: ConversationLike) -> Judgment: ...
    async def acompare(
        self, question: Pair | ConversationLike, a: ConversationLike | None = None, b: ConversationLike | None = None
    ) -> Judgment:
        """`compare`, awaited; cancelling the task stops the work."""
        return await await_(submit(self._session.get().acompare(_pair(question, a, b))))

    def compare_many(
        self, pairs: Iterable[Pair], *, progress: bool = False, as_completed: bool = False
    ) -> Iterator[Judgment]:
        """Judge many pairs and yield their judgments in order; pairs are taken as they are needed.

        `as_completed` yields each as soon as it is there: tell them apart by `pair_id`. `progress`
        draws a bar on standard error. An error of the backend or the store ends the iteration; with a
        store, the same call goes on where it ended.
        """
        return compare_many(self._session.get(), pairs, progress=progress, as_completed=as_completed)

    def acompare_many(
        self, pairs: Iterable[Pair], *, progress: bool = False, as_completed: bool = False
    ) -> AsyncIterator[Judgment]:
        """`compare_many`, as an asynchronous iterator."""
        return acompare_many(self._session.get(), pairs, progress=progress, as_completed=as_completed)

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
        What comes from the store, and from a backend that does not stream, comes in one piece. Work begins
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

    @lists_options(RankArgs, vars(Contest))
    def rank(
        self, question: ConversationLike, answers: Answers, *, progress: bool = False, **options: Unpack[RankArgs]
    ) -> Ranking:
        """Rank answers from best to worst, by duels between them.

        Args:
            question: what all answers are to.
            answers: two or more. Identical ones share a rank and a score without a call.
            progress: draw a bar on standard error.
            options: the other fields of Contest: method, budget, anchor, aggregate, reference and rubric.

        All duels of a round run at once, and an error of one cancels the others. A duel without a readable
        verdict is left out, or with `on_failure="raise"` raises JudgmentFailed. Raises ConfigError for
        arguments that cannot be right.
        """
        seed = self.options.seed
        return rank(self._session.get(), question, answers, seed=seed, progress=progress, **options)

    @lists_options(RankArgs, vars(Contest))
    async def arank(
        self, question: ConversationLike, answers: Answers, *, progress: bool = False, **options: Unpack[RankArgs]
    ) -> Ranking:
        """`rank`, awaited; cancelling the task cancels the duels."""
        seed = self.options.seed
        return await arank(self._session.get(), question, answers, seed=seed, progress=progress, **options)

    def rubric(
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
        return wait(submit(self._session.get().rubric(_topic(question, principles, reference))))

    async def arubric(
        self, question: ConversationLike, *, principles: str | None = None, reference: str | None = None
    ) -> Rubric:
        """`rubric`, awaited."""
        return await await_(submit(self._session.get().rubric(_topic(question, principles, reference))))

    @lists_options(GradeArgs, dict.fromkeys(GradeArgs.__annotations__))
    def grade(self, question: ConversationLike, answer: ConversationLike, **options: Unpack[GradeArgs]) -> Grade:
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
        return wait(submit(self._session.get().grade(_answered(question, answer, **options))))

    @lists_options(GradeArgs, dict.fromkeys(GradeArgs.__annotations__))
    async def agrade(self, question: ConversationLike, answer: ConversationLike, **options: Unpack[GradeArgs]) -> Grade:
        """`grade`, awaited."""
        return await await_(submit(self._session.get().grade(_answered(question, answer, **options))))

    async def acomplete(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        """One completion of the backend, within this judge's limits, or from its store: for who shares the backend.

        `on_text` is called with each new piece on the backend's event loop, and not at all where the backend does
        not stream or the store has it.
        """
        return await await_(submit(self._session.get().complete(request, on_text)))

    def load(self) -> None:
        """Load the model where it is not loaded yet. Without it, the first use does so."""
        wait(submit(self._session.get().aload()))

    async def aload(self) -> None:
        """`load`, awaited."""
        await await_(submit(self._session.get().aload()))

    @property
    def ahead(self) -> int:
        """Comparisons that `compare_many` starts ahead. May load the model."""
        return self._session.get().ahead

    @property
    def prompt(self) -> Prompt:
        """The prompt in use; "auto" is settled by looking at the model, which may load it."""
        return wait(submit(self._session.get().aload())).prompt

    @property
    def sampling(self) -> Sampling:
        """The sampling in use, before each vote's own seed."""
        return wait(submit(self._session.get().aload())).sampling

    @property
    def tokens_spent(self) -> int:
        """Tokens read and written by this judge in this process so far; what came from the store is not counted."""
        return self._session.get().spent

    def close(self) -> None:
        """Free what the judge opened. It opens again on its next use."""
        wait(submit(self.aclose()))

    async def aclose(self) -> None:
        """`close`, awaited."""
        if self._owns_backend:
            await await_(submit(self.backend.aclose()))
        if self.store and self._owns_store:
            await asyncio.to_thread(self.store.close)

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
    question: ConversationLike,
    answer: ConversationLike,
    rubric: Rubric | str | None = None,
    reference: str | None = None,
) -> Answered:
    if isinstance(rubric, Rubric) and not 0 < len(rubric.criteria) <= MOST_CRITERIA:
        raise ConfigError(f"a rubric has 1 to {MOST_CRITERIA} criteria, not {len(rubric.criteria)}")
    if isinstance(rubric, Rubric):
        try:
            rubric = Rubric.model_validate(rubric.model_dump())  # a copy may have been changed without a check
        except ValidationError as error:
            raise ConfigError(f"rubric: {error.errors()[0]['msg']}") from error
    return Answered(question=question, answer=answer, rubric=rubric, reference=reference)
