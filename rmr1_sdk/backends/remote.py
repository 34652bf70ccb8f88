"""Shared parts of the remote backends: one retry loop, one adaptive concurrency limit, one form of error."""

import asyncio
import logging
import os
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from importlib.util import find_spec
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

from rmr1_sdk.backends.base import Capabilities, PerProcess
from rmr1_sdk.errors import BackendError, ConfigError, MissingExtraError
from rmr1_sdk.keys import find_key, mask_key
from rmr1_sdk.types import Completion, Request

__all__ = [
    "CONCURRENCY", "AdaptiveLimiter", "Address", "Remote", "RetryingClient", "ServerError", "Session", "as_dict",
    "without_secrets",
]  # fmt: skip

T = TypeVar("T")
_log = logging.getLogger(__name__)

CONCURRENCY = 64
"""Requests in flight where nothing else is asked for."""
PATIENCE_S = 600.0
"""Seconds for which one request is retried before the run ends; with a store, the same call resumes."""
_LONGEST_PAUSE_S = 30.0
_REPORT_EVERY_S = 30.0
_RETRYABLE = (408, 409, 425, 429)  # besides everything from 500 on
_OVERLOADED = (429, 503, 529)
# whatever their status, or without one in the middle of a stream: waiting does not help
_FATAL = (
    "insufficient_quota", "budget_exceeded", "engine_failed", "invalid_request", "internal", "other_engine",
)  # fmt: skip


class ServerError(NamedTuple):
    """Server error, classified. `pause_s` is the wait that the server asked for, None where it named none."""

    why: str
    passes: bool
    overloaded: bool
    pause_s: float | None

    @classmethod
    def of(cls, error: Exception, key: str) -> "ServerError":
        """An error of the openai, the anthropic or our own client; all have the same shape."""
        status: int | None = getattr(error, "status_code", None)
        response = getattr(error, "response", None)
        stays = getattr(error, "code", None) in _FATAL
        cause = f" ({error.__cause__})" if status is None and error.__cause__ else ""
        why = f"{type(error).__name__}: {error}{cause}"
        return cls(
            why=mask_key(why, key),
            passes=not stays and (status is None or status in _RETRYABLE or status >= 500),
            overloaded=status in _OVERLOADED,
            pause_s=_pause(response.headers) if response is not None else None,
        )


def _pause(headers: Mapping[str, str]) -> float | None:
    """Seconds of Retry-After, which may be a number or a date."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            return max(0.0, float(value) * scale)
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, TypeError):
            pass
    return None


class AdaptiveLimiter:
    """Adaptive limit of requests in flight: one more after each success, half after a refusal.

    Of the refusals that come in while the server's pause lasts, the first alone halves it. While any
    request that was refused is not served yet, it grows no further than to what the server was seen to
    take: those go first, and more would be refused again.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit = most
        self.refused = 0
        self._observed_capacity = most
        self._flying = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._cooldown_until = 0.0

    @asynccontextmanager
    async def slot(self, *, first: bool = False) -> AsyncIterator[None]:
        """Wait for a place, first come first served or before all others, and hold it."""
        if (self._waiting and not first) or self._flying >= self.limit:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.insert(0 if first else len(self._waiting), turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # the place came as the waiter went
                    self._leave()
                raise
        else:
            self._flying += 1
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        self._flying -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._flying < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._flying += 1
                turn.set_result(None)

    def widen(self) -> None:
        """After a success."""
        if self.limit < (self._observed_capacity if self.refused else self._most):
            self.limit += 1
            self._admit()

    def narrow(self, pause_s: float) -> None:
        """After a refusal, which has left its place: what flies now is what the server takes, or more."""
        now = time.monotonic()
        if now < self._cooldown_until:
            self._observed_capacity = min(self._observed_capacity, self._flying)
            return
        self.limit = max(1, self.limit // 2)
        self._observed_capacity = self._flying
        self._cooldown_until = now + pause_s


class RetryingClient:
    """A connection to one server in one process: its window, its patience, and what it reports."""

    def __init__(self, name: str, errors: type[Exception], key: str, concurrency: int) -> None:
        self._name = name
        self._errors = errors
        self._key = key
        self.limiter = AdaptiveLimiter(concurrency)
        self._reported = float("-inf")

    async def call(self, once: Callable[[], Awaitable[T]]) -> T:
        """Call `once` until it returns, waiting and retrying after errors that pass.

        Raises BackendError for other trouble, and for any that outlasts PATIENCE_S.
        """
        until = time.monotonic() + PATIENCE_S
        attempt = refused = 0
        try:
            while True:
                async with self.limiter.slot(first=attempt > 0):
                    try:
                        answer = await once()
                    except self._errors as error:
                        trouble = ServerError.of(error, self._key)
                        failed = error
                    else:
                        self.limiter.widen()
                        return answer
                pause = trouble.pause_s if trouble.pause_s is not None else min(_LONGEST_PAUSE_S, 0.5 * 2**attempt)
                pause *= random.uniform(1.0, 1.25)  # noqa: S311  # those who were refused together come back apart
                if trouble.overloaded:
                    self.limiter.narrow(pause)
                    self.limiter.refused += not refused
                    refused = 1
                if not trouble.passes or time.monotonic() + pause > until:
                    raise self._failure(trouble, failed)
                self._report(trouble, attempt)
                attempt += 1
                await asyncio.sleep(pause)
        finally:
            self.limiter.refused -= refused

    def _failure(self, trouble: ServerError, error: Exception) -> BackendError:
        failure = BackendError(f"{self._name}: {trouble.why}")
        said = f"{error}{error.__cause__}"
        failure.__cause__ = error if mask_key(said, self._key) == said else None
        failure.__suppress_context__ = True
        return failure

    def _report(self, trouble: ServerError, attempt: int) -> None:
        """Say that a server is in trouble; a first refusal for being busy is everyday business."""
        now = time.monotonic()
        if (attempt or not trouble.overloaded) and now - self._reported > _REPORT_EVERY_S:
            self._reported = now
            _log.warning("%s: %s; trying again for up to %.0f minutes", self._name, trouble.why, PATIENCE_S / 60)


@dataclass(frozen=True)
class Address:
    """A model on a server, and the key that opens it. The key is in no repr."""

    kind: str
    model: str
    url: str
    key: str = field(repr=False)
    concurrency: int = CONCURRENCY

    @property
    def name(self) -> str:
        """Name of the backend in errors and reports."""
        return f"{self.kind}:{self.model} at {without_secrets(self.url)}"

    def line(self, errors: type[Exception]) -> RetryingClient:
        """A line to it, for a client that raises these errors."""
        return RetryingClient(self.name, errors, self.key, self.concurrency)


class Session(Protocol):
    """State of a remote backend in one process: its client, and what it has learned about the server."""

    async def answer(self, request: Request) -> Completion:
        """Answer one request."""

    async def close(self) -> None:
        """Close the client."""


class Remote:
    """A model behind an HTTP API: what its leaves have in common."""

    kind: ClassVar[str]
    hosted: ClassVar[str]
    can: ClassVar[Capabilities]

    @staticmethod
    def session(address: Address) -> Session:
        """State of the backend in the current process."""
        raise NotImplementedError

    def __init__(
        self, model: str, *, base_url: str | None = None, api_key: str | None = None, concurrency: int = CONCURRENCY
    ) -> None:
        if concurrency < 1:
            raise ConfigError(f"concurrency must be more than 0, not {concurrency}")
        if find_spec(self.kind) is None:  # the client's package, the extra and the kind have one name
            raise MissingExtraError(self.kind, self.kind)
        variable = f"{self.kind.upper()}_API_KEY"
        url = base_url or os.environ.get(f"{self.kind.upper()}_BASE_URL") or self.hosted
        key = find_key(api_key, variable)
        if not key and url == self.hosted:
            raise ConfigError(f"no API key: set {variable}")
        self.model = model
        self.identity = f"{self.kind}:{without_secrets(url)}:{model}"
        self.capabilities = self.can.model_copy(update={"concurrency": concurrency})
        address = Address(self.kind, model, url, key, concurrency)
        self._session: PerProcess[Session] = PerProcess(partial(type(self).session, address))

    async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        """Answer one request; `on_text` gets the text in one piece."""
        started = time.monotonic()
        completion = await self._session.get().answer(request)
        if on_text and completion.text:
            on_text(completion.text)
        return completion.model_copy(update={"latency_s": round(time.monotonic() - started, 4)})

    async def aclose(self) -> None:
        """Close the connections. The next use opens them again."""
        if session := self._session.take():
            await session.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"


def without_secrets(url: str) -> str:
    """A URL without user, password and query."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}".rstrip("/")


def as_dict(value: Any) -> dict[str, Any]:
    """Fields of a client's model beyond the ones it declares."""
    return getattr(value, "model_extra", None) or {}
