"""Errors as the client sees them: a status, and {"error": {"type": ..., "message": ...}}."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from starlette.responses import JSONResponse

from rmr1_sdk.errors import BackendError, BudgetExceeded, ConfigError, GradingFailed, JudgmentFailed, StoreError
from rmr1_sdk.files.pairs import fault
from rmr1_sdk.types import Value

__all__ = [
    "DRAINING", "INTERNAL_ERROR", "NO_KEY", "OTHER_ENGINE", "OTHER_HOST", "OVERLOADED", "STATUSES", "STOPPED",
    "TIMEOUT", "TOO_SLOW", "ErrorBody", "Problem", "Refused", "from_exception", "from_validation", "too_large",
]  # fmt: skip


_log = logging.getLogger(__name__)


class ErrorDetail(Value):
    """Error detail: a word for programs, and a sentence for a person."""

    type: str
    message: str


class ErrorBody(Value):
    """The body of every answer that is an error."""

    error: ErrorDetail


class Problem(NamedTuple):
    """A refusal or a failure as a client is told of it."""

    status: int
    type: str
    message: str
    headers: dict[str, str] = {}  # noqa: RUF012  # nobody changes it

    @property
    def body(self) -> ErrorBody:
        """For the wire."""
        return ErrorBody(error=ErrorDetail(type=self.type, message=self.message))

    def response(self) -> JSONResponse:
        """The whole answer."""
        return JSONResponse(self.body.model_dump(), self.status, self.headers)


class Refused(Exception):
    """A problem that a route finds."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


_SOON = {"Retry-After": "1"}
NO_KEY = Problem(
    401, "unauthorized", "send a key of this server as Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"}
)
OTHER_ENGINE = Problem(412, "other_engine", "the engine here is not the one that If-Match asks for")
TOO_SLOW = Problem(408, "too_slow", "the body did not come in time", {"Connection": "close"})
OVERLOADED = Problem(429, "full", "this server has as many requests as it takes; try again soon", _SOON)
OTHER_HOST = Problem(421, "other_host", "this server is not called so; use the address that it was started with")
INTERNAL_ERROR = Problem(500, "internal", "a mistake of this server; its log has the details")
DRAINING = Problem(503, "draining", "this server is about to stop", _SOON)
STOPPED = Problem(503, "stopped", "this server had to stop before there was an answer", _SOON)
TIMEOUT = Problem(504, "timeout", "there was no answer in the time that this server gives a request")

_RAISED: Sequence[tuple[type[Exception], int, str]] = (
    (ConfigError, 422, "invalid_request"),
    (JudgmentFailed, 422, "judgment_failed"),  # not 5xx: asked again, the same pair comes to the same
    (GradingFailed, 422, "grading_failed"),
    (BudgetExceeded, 429, "budget_exceeded"),
    (BackendError, 503, "engine_failed"),
    (StoreError, 503, "store_failed"),
)
STATUSES = (400, 401, 408, 413, 422, 429, 500, 503, 504)
"""Every status of a Problem that belongs to no single route."""


def from_exception(error: Exception) -> Problem:
    """Convert an exception to an HTTP error. An unexpected one is logged, and its text is kept from the client."""
    if isinstance(error, Refused):
        return error.problem
    for kind, status, name in _RAISED:
        if isinstance(error, kind):
            return Problem(status, name, str(error))
    _log.error("a mistake of this server", exc_info=error)
    return INTERNAL_ERROR


def too_large(what: str, limit: int) -> Problem:
    """For what is more than this server takes at once."""
    return Problem(413, "too_large", f"{what}: this server takes at most {limit:,}")


def from_validation(errors: Sequence[Any]) -> Problem:
    """Convert pydantic's errors in a body: 400 where it is not JSON, else 422 with the field."""
    if errors[0]["type"] == "json_invalid":
        return Problem(400, "invalid_json", f"the body is no JSON: {errors[0]['ctx']['error']}")
    if errors[0]["loc"] == ("body",):
        return Problem(422, "invalid_request", f"the body: {errors[0]['msg']}; send JSON as application/json")
    first = fault([(error["loc"][1:], error["type"], error["msg"]) for error in errors])  # all begin with "body"
    return Problem(422, "invalid_request", f"field {first.field}: {first.message}")
