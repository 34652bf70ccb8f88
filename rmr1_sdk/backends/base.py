"""The contract of an engine, and what all engines share."""

import re
from collections.abc import Callable
from typing import Protocol

from rmr1_sdk.loop import PerProcess
from rmr1_sdk.types import Completion, Request, Value

__all__ = ["Backend", "Capabilities", "PerProcess", "StopScanner"]


class Capabilities(Value):
    """What an engine can do, found out and not assumed.

    `chat_template` is the model's own template where it is known, `prompt` the prompt name recorded
    in the checkpoint. `concurrency` is how many requests it is useful to have in flight.
    """

    choices: bool = False
    prefix: bool = False
    seed: bool = False
    chat_template: str | None = None
    prompt: str | None = None
    concurrency: int = 64


class Backend(Protocol):
    """One request in, one completion out.

    Concurrency is the caller's, batching the engine's; cancelling the task stops the work. Failures
    of the engine raise BackendError. What belongs to one request is a value: `stop` is "length",
    "refused", or "too_long", the last found before any work.
    """

    @property
    def model(self) -> str:
        """The model's name, for people."""
        ...

    @property
    def identity(self) -> str:
        """What makes cached completions valid: file digest or served name, adapter, chat template."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do. May load the model."""
        ...

    async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        """Answer one request. `on_text` is called with each new piece of text as it is written."""
        ...

    async def aclose(self) -> None:
        """Stop the engine and free what it holds. Closing twice is allowed."""
        ...


_THINK = re.compile(r"</?think>")


class StopScanner:
    """Finds the first stop string outside thinking in text that arrives in pieces.

    `prefix` is what the assistant's turn begins with: where it leaves `<think>` open, stops wait for
    `</think>`.
    """

    def __init__(self, stop: tuple[str, ...], prefix: str = "") -> None:
        self._stop = tuple(s for s in stop if s)
        self._reach = max([len("</think>"), *map(len, self._stop)])
        self._text = ""
        self._scanned = 0
        self._thinking = False
        for tag in _THINK.finditer(prefix):
            self._thinking = tag.group() == "<think>"

    def feed(self, piece: str) -> str | None:
        """Take the next piece. Text up to and including the stop string, or None to go on."""
        self._text += piece
        while self._stop:
            hits = [(self._text.find(s, self._scanned), s) for s in self._stop if not self._thinking]
            hits = [(at, s) for at, s in hits if at >= 0]
            end = min((at + len(s) for at, s in hits), default=None)
            tag = _THINK.search(self._text, self._scanned)
            if tag and (end is None or tag.end() <= end):
                self._thinking = tag.group() == "<think>"
                self._scanned = tag.end()
                continue
            if end is not None:
                return self._text[:end]
            # a tag or stop string may be split over pieces: look again at its possible beginning
            self._scanned = max(self._scanned, len(self._text) - self._reach + 1)
            return None
        return None
