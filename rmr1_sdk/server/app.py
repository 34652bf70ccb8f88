"""Application: the routes around one judge."""

import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Header
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from pydantic import ConfigDict, Field
from pydantic.warnings import UnsupportedFieldAttributeWarning
from starlette.exceptions import HTTPException
from starlette.requests import Request as HTTPRequest

from rmr1_sdk import __version__, web
from rmr1_sdk.backends.rmr1 import About
from rmr1_sdk.errors import RMR1Error
from rmr1_sdk.judging.ranking import Aggregate
from rmr1_sdk.rewards.openrlhf import reward_samples
from rmr1_sdk.server import problems
from rmr1_sdk.server.events import Events, event
from rmr1_sdk.server.gate import Gate, State, checked_keys
from rmr1_sdk.server.limits import Limits
from rmr1_sdk.server.metrics import Metrics
from rmr1_sdk.server.problems import Problem
from rmr1_sdk.server.shared import SharedJudge
from rmr1_sdk.types import (
    Completion,
    Conversation,
    Grade,
    Judgment,
    Method,
    Pair,
    Ranking,
    Request,
    Rubric,
    Section,
    Value,
)

if TYPE_CHECKING:
    from rmr1_sdk.judge import Judge

__all__ = ["create_app"]

_PAGE = Path(__file__).parent / "page"
_SAFE = {
    "Cache-Control": "no-cache",  # asked again whether it has changed, so that its files fit each other
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_ALWAYS = ("/health", "/metrics")
_REWARD_S = 170.0
"""Seconds for a reward: OpenRLHF gives up after 180."""
_ERROR = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}}


def create_app(
    judge: "Judge", *, keys: Sequence[str] = (), limits: Limits | None = None, hosts: Collection[str] | None = None
) -> FastAPI:
    """An ASGI application around one judge, which stays its owner's.

    Args:
        judge: what compares; all requests share its backend, its store and its limits.
        keys: a request must bring one of them as `Authorization: Bearer KEY`, except for the page and /health.
            Without any, everybody is let in.
        limits: None is `Limits()`.
        hosts: the names, without port, by which it may be called; None is any. `LOOPBACK` keeps web pages that have
            their own name lead to this machine from using a server that needs no key.
    """
    state, metrics = State(limits or Limits()), Metrics()
    service = _Service(SharedJudge(judge, metrics), state, metrics)
    app = FastAPI(
        title="rmr1_sdk",
        version=__version__,
        docs_url=None,  # both would load their scripts from elsewhere
        redoc_url=None,
        lifespan=service.lifespan,
        responses=dict.fromkeys(problems.STATUSES, _ERROR),
    )
    app.state.rmr1 = state
    service.add_routes(app)
    page = _add_page(app)
    app.add_middleware(
        Gate,
        state=state,
        metrics=metrics,
        keys=checked_keys(keys),
        hosts=hosts,
        known=[route.path for route in app.routes if hasattr(route, "path")],
        free=["/health", "/openapi.json", *page],
        always=_ALWAYS,
    )
    for error in (RMR1Error, RequestValidationError, HTTPException, problems.Refused):
        app.add_exception_handler(error, _told)
    with warnings.catch_warnings():  # FastAPI silences this one itself, but not for models built on first use as ours
        warnings.simplefilter("ignore", UnsupportedFieldAttributeWarning)
        app.openapi()
    return app


async def _told(request: HTTPRequest, error: Exception) -> Response:
    """The answer to an error that is raised before there was another one."""
    if isinstance(error, RequestValidationError):
        return problems.from_validation(error.errors()).response()
    if isinstance(error, HTTPException):  # no such route, or not with this method
        name = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        message = f"{request.method} {request.url.path}: {error.detail}"
        return Problem(error.status_code, name, message, dict(error.headers or {})).response()
    return problems.from_exception(error).response()


def _add_page(app: FastAPI) -> list[str]:
    """Serve the page at / and what belongs to it beside it; their paths."""
    paths = []
    for file in sorted([*_PAGE.glob("*"), *web.FOLDER.glob("*")]):
        if file.suffix not in (".html", ".css", ".js", ".svg"):
            continue
        path = "/" if file.name == "index.html" else f"/{file.name}"
        app.add_api_route(path, partial(_file, file), methods=["GET"], include_in_schema=False)
        paths.append(path)
    return paths


def _file(file: Path) -> FileResponse:
    return FileResponse(file, headers=_SAFE)


class RankRequest(Value):
    """Answers to rank; all fields as in `Judge.rank`."""

    question: Conversation
    answers: Annotated[tuple[Conversation, ...], Field(min_length=1)]
    method: Method = "round_robin"
    budget: int | None = None
    anchor: Conversation | None = None
    aggregate: Aggregate = "bradley_terry"
    reference: str | None = None
    rubric: Rubric | str | None = None


class GradeRequest(Value):
    """An answer to grade; all fields as in `Judge.grade`."""

    question: Conversation
    answer: Conversation
    rubric: Rubric | str | None = None
    reference: str | None = None


class Piece(Value):
    """A new piece of a text, as it is written."""

    text: str


class Health(Value):
    """`status` is "ok", "failing" (the backend) or "draining" (about to stop)."""

    status: str
    in_flight: int


class Samples(Value):
    """OpenRLHF's request: `query[i]` is `prompts[i]` with its response, `labels[i]` the reference."""

    model_config = ConfigDict(extra="ignore")  # it is not ours

    query: list[str]
    prompts: list[str]
    labels: list[Any]


class Rewards(Value):
    """OpenRLHF's response: a number for each sample."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]


class _Service:
    """Handlers of the routes."""

    def __init__(self, judge: SharedJudge, state: State, metrics: Metrics) -> None:
        self._judge = judge
        self._limits = state.limits
        self._state = state
        self._metrics = metrics

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Load the backend before the first request comes."""
        await self._judge.aload()
        yield

    def add_routes(self, app: FastAPI) -> None:
        """All routes but the page."""
        app.get("/health", responses={503: {"model": Health}})(self.health)
        app.get("/metrics", response_class=PlainTextResponse)(self.metrics)
        app.get("/v1/model", responses={503: {"model": problems.ErrorBody}})(self.model)  # brings it into the schema
        app.post("/v1/compare")(self.compare)
        stream = app.post(
            "/v1/compare/stream", response_class=Events, status_code=200, responses={200: {"model": Section}}
        )
        stream(self.stream)
        app.post("/v1/rank")(self.rank)
        app.post("/v1/grade")(self.grade)
        same = [Depends(self.same_engine)]
        app.post("/v1/completions/raw", dependencies=same)(self.complete)
        stream = app.post("/v1/completions/raw/stream", response_class=Events, status_code=200, dependencies=same)
        stream(self.stream_completion)
        app.post("/get_reward")(self.reward)

    async def health(self) -> Response:
        """Report the health of the server."""
        status = "draining" if self._state.draining else "ok" if await self._judge.is_usable() else "failing"
        health = Health(status=status, in_flight=self._state.in_flight)
        return JSONResponse(health.model_dump(), 200 if status == "ok" else 503)

    async def metrics(self) -> Response:
        """Figures for Prometheus."""
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def model(self, response: Response) -> About:
        """The backend behind this server."""
        response.headers["ETag"] = self._judge.about.tag
        return self._judge.about

    async def same_engine(self, if_match: Annotated[str | None, Header()] = None) -> None:
        """Refuse to answer who asks for another backend."""
        if if_match is not None and if_match != self._judge.about.tag:
            raise problems.Refused(problems.OTHER_ENGINE)

    async def compare(self, pair: Pair) -> Judgment:
        """Compare two answers: which one is better, and why."""
        return await self._judge.acompare(pair)

    async def stream(self, pair: Pair) -> Events:
        """The same, told while it is written: `section` events, and last the `judgment`, or an `error`."""

        async def told() -> AsyncGenerator[bytes, None]:
            async with aclosing(self._judge.astream(pair)) as sections:
                async for section in sections:
                    yield event("judgment" if section.judgment else "section", section)

        return Events(told())

    async def rank(self, asked: RankRequest) -> Ranking:
        """The answers from best to worst, by duels between them."""
        if len(asked.answers) > self._limits.answers:
            raise problems.Refused(problems.too_large("answers", self._limits.answers))
        return await self._judge.arank(**dict(asked))

    async def grade(self, asked: GradeRequest) -> Grade:
        """Grade one answer, with a mark for each criterion of a rubric."""
        return await self._judge.agrade(**dict(asked))

    async def complete(self, request: Request) -> Completion:
        """Complete one raw request; used by an `rmr1:` backend elsewhere."""
        return await self._judge.acomplete(request)

    async def stream_completion(self, request: Request) -> Events:
        """The same, told while it is written: `text` events, and last the `completion`, or an `error`."""

        async def told() -> AsyncGenerator[bytes, None]:
            async with aclosing(self._judge.astream_completion(request)) as pieces:
                async for piece in pieces:
                    yield event("text", Piece(text=piece)) if isinstance(piece, str) else event("completion", piece)

        return Events(told())

    async def reward(self, samples: Samples) -> Rewards:
        """OpenRLHF's remote reward: how probable it is that each response beats its label; 0.5 where that failed."""
        if len(samples.query) > self._limits.samples:
            raise problems.Refused(problems.too_large("samples", self._limits.samples))
        time_s = min(_REWARD_S, 0.9 * self._limits.request_s)
        values, failed = await reward_samples(
            self._judge, samples.query, samples.prompts, samples.labels, time_s=time_s
        )
        return Rewards(rewards=values, scores=values, extra_logs={"judge_failed": failed})
