"""Judge wrapper with metrics and health checks."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

from rmr1_sdk.backends.rmr1 import About
from rmr1_sdk.concurrency import await_, submit
from rmr1_sdk.errors import BackendError, RMR1Error
from rmr1_sdk.judging.streaming import Stream
from rmr1_sdk.server.metrics import Metrics
from rmr1_sdk.types import Completion, Grade, Judgment, Message, Pair, Ranking, Request, Sampling, Section

if TYPE_CHECKING:
    from rmr1_sdk.judge import Judge

__all__ = ["SharedJudge"]

_PROBE = Request(messages=(Message(role="user", content="Hi"),), sampling=Sampling(max_tokens=1))
_PROBE_S = 5.0
"""Seconds that a backend which failed has to write one token."""
PROBE_EVERY_S = 5.0
"""Seconds for which it is not asked again."""


class SharedJudge:
    """Wrapper of the judge for all routes, with metrics and a health check; a Comparer."""

    def __init__(self, judge: "Judge", metrics: Metrics) -> None:
        self._judge = judge
        self._metrics = metrics
        self._failing = False
        self._probing = asyncio.Lock()
        self._probed = float("-inf")

    @property
    def about(self) -> About:
        """The backend."""
        backend = self._judge.backend
        return About(model=backend.model, identity=backend.identity, capabilities=backend.capabilities)

    async def aload(self) -> None:
        """`Judge.aload`."""
        await self._judge.aload()

    async def acompare(self, pair: Pair, /) -> Judgment:
        """`Judge.acompare`."""
        with self._engine():
            judgment = await self._judge.acompare(pair)
        self._metrics.judged(judgment)
        return judgment

    async def astream(self, pair: Pair) -> AsyncGenerator[Section, None]:
        """`Judge.astream`."""
        with self._engine():
            async with aclosing(self._judge.astream(pair)) as sections:
                async for section in sections:
                    if section.judgment:
                        self._metrics.judged(section.judgment)
                    yield section

    async def arank(self, **asked: Any) -> Ranking:
        """`Judge.arank`."""
        with self._engine():
            ranking = await self._judge.arank(**asked)
        for judgment in ranking.judgments:
            self._metrics.judged(judgment)
        return ranking

    async def agrade(self, **asked: Any) -> Grade:
        """`Judge.agrade`."""
        with self._engine():
            grade = await self._judge.agrade(**asked)
        self._metrics.graded(grade)
        return grade

    async def acomplete(self, request: Request) -> Completion:
        """`Judge.acomplete`."""
        with self._engine():
            completion = await self._judge.acomplete(request)
        self._metrics.used(completion.usage)
        return completion

    async def astream_completion(self, request: Request) -> AsyncGenerator[str | Completion, None]:
        """The text of a completion as it is written, and last the completion."""
        stream: Stream[str] = Stream()

        async def work() -> Completion:
            try:
                return await self._judge.acomplete(request, on_text=stream.put)
            finally:
                stream.put(None)

        flight = submit(work())
        try:
            with self._engine():
                while batch := await await_(submit(stream.take())):
                    yield "".join(batch)
                completion = await await_(flight)
        finally:
            flight.cancel()
        self._metrics.used(completion.usage)
        yield completion

    @contextmanager
    def _engine(self) -> Iterator[None]:
        """Note whether the backend answered."""
        try:
            yield
        except (RMR1Error, asyncio.CancelledError) as error:
            self._failing = self._failing or isinstance(error, BackendError)
            raise
        except Exception:
            self._failing = True  # an error that no backend may raise: the next probe tells
            raise

    async def is_usable(self) -> bool:
        """True where the backend answers: its last request succeeded, or a probe does now."""
        async with self._probing:
            if self._failing and time.monotonic() - self._probed > PROBE_EVERY_S:
                probe = submit(asyncio.wait_for(self._judge.backend.generate(_PROBE), _PROBE_S))
                try:
                    await await_(probe)
                    self._failing = False
                except (BackendError, TimeoutError):
                    self._probed = time.monotonic()
            return not self._failing
