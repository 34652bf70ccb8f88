"""Contract of a backend, and the parts that all backends share."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from rmr1_sdk.concurrency import PerProcess
from rmr1_sdk.errors import ConfigError
from rmr1_sdk.parsing.tags import THINK, THINK_END, THOUGHT_TAG
from rmr1_sdk.types import Completion, Request, Value

__all__ = [
    "RESERVE", "Backend", "Capabilities", "PerProcess", "StopScanner", "common_prefix", "fingerprint",
    "recorded_prompt",
]  # fmt: skip


RESERVE = 64
"""Tokens kept free after a completion, so that its verdict can still be forced."""


class Capabilities(Value):
    """Capabilities of a backend, detected rather than assumed.

    `chat_template` is the model's own template where it is known, `prompt` the prompt name recorded
    in the checkpoint. `concurrency` is how many requests it is useful to have in flight. `streaming` says that
    text is told while it is written.
    """

    choices: bool = False
    prefix: bool = False
    seed: bool = False
    streaming: bool = False
    chat_template: str | None = None
    prompt: str | None = None
    concurrency: int = 64


class Backend(Protocol):
    """One request in, one completion out.

    Concurrency is the caller's, batching the backend's; cancelling the task stops the work. Failures
    of the backend raise BackendError. What belongs to one request is a value: `stop` is "length",
    "refused", or "too_long", the last found before any work.
    """

    @property
    def model(self) -> str:
        """The model's name, for people."""
        ...

    @property
    def identity(self) -> str:
        """Identity that makes cached completions valid: file digest or served name, adapter, chat template."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """Capabilities of this backend. May load the model."""
        ...

    async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        """Answer one request. `on_text` is called with each new piece of text as it is written.

        It is called on the caller's event loop, and never after this has returned. Put together, the pieces are
        the completion's text.
        """
        ...

    async def aclose(self) -> None:
        """Stop the backend and free what it holds. Closing twice is allowed."""
        ...


class StopScanner:
    """Finds the first stop string outside thinking in text that arrives in pieces.

    `prefix` is what the assistant's turn begins with: where it leaves `<think>` open, stops wait for
    `</think>`.
    """

    def __init__(self, stop: tuple[str, ...], prefix: str = "") -> None:
        self._stop = tuple(s for s in stop if s)
        self._reach = max([len(THINK_END), *map(len, self._stop)])
        self._text = ""
        self._scanned = 0
        self._thinking = False
        for tag in THOUGHT_TAG.finditer(prefix):
            self._thinking = tag.group() == THINK

    def feed(self, piece: str) -> str | None:
        """Take the next piece. Text up to and including the stop string, or None to go on."""
        self._text += piece
        while self._stop:
            tag = THOUGHT_TAG.search(self._text, self._scanned)
            until = tag.end() - 1 if tag else len(self._text)
            hits = [(self._text.find(s, self._scanned, until), s) for s in self._stop if not self._thinking]
            if ends := [at + len(s) for at, s in hits if at >= 0]:
                return self._text[: min(ends)]
            if tag:
                self._thinking = tag.group() == THINK
                self._scanned = tag.end()
                continue
            # a tag or stop string may be split over pieces: look again at its possible beginning
            self._scanned = max(self._scanned, len(self._text) - self._reach + 1)
            return None
        return None


def common_prefix(texts: Sequence[Sequence[int]]) -> int:
    """Number of tokens that all sequences share at their beginning.

    Tokenisers merge characters across the border of a prefix and a choice. So choices are scored as whole
    texts, from the first token in which they, or the prefix alone, differ.
    """
    n = 0
    for tokens in zip(*texts, strict=False):
        if len(set(tokens)) > 1:
            break
        n += 1
    return n


def recorded_prompt(folder: Path) -> str | None:
    """The prompt that a checkpoint's rmr1.json names. Raises ConfigError where that file is of another form."""
    file = folder / "rmr1.json"
    if not file.is_file():
        return None
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["prompt"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f'{file}: not of the form {{"prompt": "NAME"}} ({error!r})') from error


def fingerprint(*files: Path) -> str:
    """SHA-256 of each file's size, its first 16 MiB and 256 blocks spread over the rest, as 32 hex digits."""
    head, block, blocks = 16 * 2**20, 2**16, 256
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(str(size).encode())
        with path.open("rb") as file:
            digest.update(file.read(head))
            for n in range(blocks if size > head else 0):
                file.seek(max(head, size - block) if n == blocks - 1 else head + (size - head) * n // blocks)
                digest.update(file.read(block))
    return digest.hexdigest()[:32]
