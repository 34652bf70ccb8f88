"""Backend behind another machine's `rmr1 serve`: only completions are requested; the judge runs here."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from rmr1_sdk.backends.base import Capabilities, PerProcess
from rmr1_sdk.backends.remote import CONCURRENCY, AdaptiveLimiter, RetryingClient, without_secrets
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.errors import BackendError, ConfigError
from rmr1_sdk.keys import find_key, mask_address
from rmr1_sdk.types import Completion, Request, Value

if TYPE_CHECKING:
    import httpx2

__all__ = ["RMR1", "About"]

_TIMEOUT_S = 660.0  # a server gives a request up after 600
_OK, _TOO_LARGE = 200, 413

V = TypeVar("V", bound=Value)


class About(Value):
    """Description of the backend behind a server."""

    model: str
    identity: str
    capabilities: Capabilities

    @property
    def tag(self) -> str:
        """The backend's identity as an HTTP entity tag: who asks with it is not answered by another backend."""
        return f'"{sha256(self.identity.encode()).hexdigest()[:32]}"'


class RMR1:
    """The backend of a server that `rmr1 serve` runs, as if it were here.

    Args:
        url: where the server is, as in "http://judge:8000".
        api_key: None or blank is $RMR1_API_KEY; a server may need none.

    `identity` and `capabilities` are those of the backend behind it, which is asked for them once; `model` is its
    address until then. A server whose backend is another one than at first is not asked any more: that raises
    BackendError. Raises ConfigError for what is no address, or no key. Pickles as its arguments.
    """

    def __init__(self, url: str, *, api_key: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f'rmr1:{mask_address(url)}: write the server\'s address, as in "rmr1:http://localhost:8000"'
            )
        self._url = url
        key = find_key(api_key, "RMR1_API_KEY")
        self._session: PerProcess[_Session] = PerProcess(partial(_Session, url, key))

    @property
    def model(self) -> str:
        """Model name that the server gives; its address before the server was asked."""
        about = self._session.get().known
        return about.model if about else without_secrets(self._url)

    @property
    def identity(self) -> str:
        """That of the backend behind the server."""
        return self._about().identity

    @property
    def capabilities(self) -> Capabilities:
        """Capabilities of the backend behind the server."""
        return self._about().capabilities

    def _about(self) -> About:
        session = self._session.get()
        return session.known or wait(submit(session.about()))

    async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        """Answer one request. `on_text` is called with each piece as it arrives."""
        return await self._session.get().answer(request, on_text)

    async def aclose(self) -> None:
        """Close the connections. The next use opens them again, and asks the server anew what it is."""
        if session := self._session.take():
            await session.close()

    def __repr__(self) -> str:
        return f"RMR1({without_secrets(self._url)!r})"


def connect(rest: str, **options: Any) -> RMR1:
    """The backend of "rmr1:http://host:port"."""
    return RMR1(rest, **options)


class Refused(Exception):
    """An answer that is an error, or no whole answer, in the shape that a RetryingClient reads."""

    def __init__(self, message: str, *, code: str = "", response: "httpx2.Response | None" = None) -> None:
        super().__init__(message)
        self.code = code
        self.response = response
        self.status_code = response.status_code if response else None


class _Session:
    """The client in one process, and what its server told of itself."""

    def __init__(self, url: str, key: str) -> None:
        import httpx2

        self._name = f"rmr1:{without_secrets(url)}"
        self._broken = httpx2.HTTPError
        self._client = httpx2.AsyncClient(
            base_url=url,
            headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {}),
            limits=httpx2.Limits(max_connections=None),  # the line's window is the bound
            timeout=httpx2.Timeout(_TIMEOUT_S, connect=10.0),
        )
        self._line = RetryingClient(self._name, Refused, key, CONCURRENCY)
        self._asking = asyncio.Lock()
        self.known: About | None = None

    async def close(self) -> None:
        await self._client.aclose()

    async def about(self) -> About:
        async with self._asking:
            if self.known is None:
                self.known = await self._line.call(self._introduced)
                self._line.limiter = AdaptiveLimiter(self.known.capabilities.concurrency)
            return self.known

    async def answer(self, request: Request, on_text: Callable[[str], None] | None) -> Completion:
        about = await self.about()
        told = _Told(on_text) if on_text else None
        return await self._line.call(partial(self._once, about, request.model_dump_json(), told))

    async def _introduced(self) -> About:
        async with self._asked("GET", "/v1/model") as response:
            return self._read(About, await response.aread())

    async def _once(self, about: About, body: str, told: "_Told | None") -> Completion:
        path = "/v1/completions/raw" if told is None else "/v1/completions/raw/stream"
        async with self._asked("POST", path, content=body, headers={"If-Match": about.tag}) as response:
            if response.status_code == _TOO_LARGE:
                return Completion(text="", stop="too_long", model=about.model)
            if told is None:
                return self._read(Completion, await response.aread())
            return await self._followed(response, told)

    async def _followed(self, response: "httpx2.Response", told: "_Told") -> Completion:
        """The completion at the end of a stream, whose pieces are told as they come."""
        told.begin()
        async for name, data in _events(response):
            if name == "text":
                told.hear(json.loads(data)["text"])
            elif name == "error":
                raise _refusal(data.encode())
            elif name == "completion":
                completion = self._read(Completion, data.encode())
                told.finish(completion.text)
                return completion
        raise Refused("the stream ended before the completion came")

    @asynccontextmanager
    async def _asked(self, method: str, path: str, **sent: Any) -> AsyncIterator["httpx2.Response"]:
        """An answer whose body is not read yet. Raises Refused where there is none, or one that is an error."""
        try:
            async with self._client.stream(method, path, **sent) as response:
                if response.status_code not in (_OK, _TOO_LARGE):
                    raise _refusal(await response.aread(), response)
                yield response
        except self._broken as error:
            raise Refused("no whole answer") from error

    def _read(self, kind: type[V], body: bytes) -> V:
        try:
            return kind.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]  # the input may say the key back
            why = ": ".join([*map(str, first["loc"]), first["msg"]])
            raise BackendError(f"{self._name}: this is no answer of `rmr1 serve` of this version ({why})") from None


def _refusal(body: bytes, response: "httpx2.Response | None" = None) -> Refused:
    """Error message of a response; a proxy's may have any form."""
    try:
        error = json.loads(body)["error"]
        code, message = str(error["type"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, message = "", body[:200].decode(errors="replace")
    status = f"{response.status_code} " if response else ""
    return Refused(f"{status}{code}: {message}", code=code, response=response)


async def _events(response: "httpx2.Response") -> AsyncIterator[tuple[str, str]]:
    """Name and data of each event. A server of ours writes both in one line each."""
    name = ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, value


class _Told:
    """Text already passed to a listener; it may take several attempts to arrive whole."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._told = ""
        self._heard = ""

    def begin(self) -> None:
        """Hear the text from its beginning; what was told before is not told again."""
        self._heard = ""

    def hear(self, piece: str) -> None:
        """Take the next piece. Raises BackendError where the text goes on in another way than it was told."""
        self.finish(self._heard + piece)

    def finish(self, text: str) -> None:
        """Take all of the text, as far as it has come."""
        self._heard = text
        if not text.startswith(self._told[: len(text)]):
            raise BackendError(
                "the connection broke, and the second answer is different from the text already passed on"
            )
        if new := text[len(self._told) :]:
            self._told = text
            self._on_text(new)
