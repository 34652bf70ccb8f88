"""Limits of a server: sizes of requests, and times."""

from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.types import AsOption, Value

__all__ = ["Limits"]


class Limits(Value):
    """Limits of one client's requests. Raises ConfigError."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    body_bytes: Annotated[int, AsOption("--max-body")] = Field(default=1_000_000, gt=0)
    """Bytes that the body of a request may have."""
    requests: Annotated[int, AsOption("--max-requests")] = Field(default=1_000, gt=0)
    """POST requests in flight, at work or waiting for the backend; more get status 429."""
    answers: Annotated[int, AsOption("--max-answers")] = Field(default=32, gt=0)
    """Answers that a ranking may have."""
    samples: Annotated[int, AsOption("--max-samples")] = Field(default=256, gt=0)
    """Samples that a reward request may have."""
    request_s: Annotated[float, AsOption("--request-timeout")] = Field(default=600.0, gt=0)
    """Seconds until a request is given up, counted from when its body is there."""
    body_s: Annotated[float, AsOption("--body-timeout")] = Field(default=30.0, gt=0)
    """Seconds that a body may take to come."""
    write_s: Annotated[float, AsOption("--write-timeout")] = Field(default=60.0, gt=0)
    """Seconds after which a client that reads nothing of its response is disconnected."""

    def __init__(self, **given: float) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"{first['loc'][0]} must be more than 0, not {first['input']}") from error
