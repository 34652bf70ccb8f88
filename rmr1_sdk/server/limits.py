"""What a server takes, and how long it waits."""

from dataclasses import dataclass

from rmr1_sdk.errors import ConfigError

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """What one client may ask of the others' server. Raises ConfigError.

    Args:
        body_bytes: the longest body of a request.
        requests: POST requests that are accepted and not answered yet, at work or waiting for the engine.
        answers: the longest list of answers to rank.
        samples: the longest list of samples to reward.
        request_s: seconds until a request is given up, counted from when its body is there.
        body_s: seconds that a body may take to come.
        write_s: seconds that a client may take none of what is written for it, before it is let go.
    """

    body_bytes: int = 1_000_000
    requests: int = 1_000
    answers: int = 32
    samples: int = 256
    request_s: float = 600.0
    body_s: float = 30.0
    write_s: float = 60.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ConfigError(f"{name} must be more than 0, not {value}")
