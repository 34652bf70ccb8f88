"""Shared parts of the backends that read checkpoints: the choice of checkpoint, and tokenising requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmr1_sdk.backends.base import fingerprint, recorded_prompt
from rmr1_sdk.backends.chat import render_chat
from rmr1_sdk.errors import BackendError, ConfigError
from rmr1_sdk.types import Message

__all__ = ["ChatTokenizer", "Checkpoint"]

_WEIGHTS = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's folder or its name on the hub, as it is to be loaded, with a PEFT adapter or none.

    Raises ConfigError for a folder that holds no checkpoint.
    """

    model: str
    dtype: str
    adapter: str | None

    def __post_init__(self) -> None:
        if self._folder.exists() and not (self._folder / "config.json").is_file():
            raise ConfigError(f"{self._folder} is no checkpoint: there is no config.json in it")

    @property
    def _folder(self) -> Path:
        return Path(self.model).expanduser()

    @property
    def source(self) -> str:
        """Folder path, or full name on the hub, that the library loads."""
        return str(self._folder) if self._folder.is_dir() else self.model

    @property
    def name(self) -> str:
        """The folder's own name, or the whole name on the hub."""
        return self._folder.resolve().name if self._folder.is_dir() else self.model

    @property
    def digest(self) -> str | None:
        """The fingerprint of its files, None for a name on the hub."""
        return _digest(self.model)

    @property
    def commit(self) -> str | None:
        """The commit on the hub, once a model was loaded by its name; None for a folder."""
        if self._folder.is_dir():
            return None
        from huggingface_hub import try_to_load_from_cache  # comes with every backend that reads checkpoints

        found = try_to_load_from_cache(self.model, "config.json")
        return Path(found).parent.name if isinstance(found, str) else None

    @property
    def prompt(self) -> str | None:
        """The prompt that the adapter, or else the checkpoint, was trained with; raises what recorded_prompt raises."""
        of_adapter = recorded_prompt(Path(self.adapter)) if self.adapter else None
        return of_adapter or recorded_prompt(Path(self.source))

    def identity(self, digest: str | None) -> str:
        """Identity for the store: the folder's digest, or the commit on the hub, and all that changes completions."""
        adapter = f":{_digest(self.adapter) or self.adapter}" if self.adapter else ""
        return f"{self.name}:{digest}:{self.dtype}{adapter}"


def _digest(model: str) -> str | None:
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return None
    return fingerprint(*sorted(file for pattern in _WEIGHTS for file in folder.glob(pattern)))


class ChatTokenizer:
    """A tokeniser of transformers, and the chat template that comes with it."""

    def __init__(self, tokenizer: Any) -> None:  # transformers is not read by mypy
        self._tokenizer = tokenizer
        self.template: str | None = tokenizer.chat_template

    def rendered(self, messages: Sequence[Message]) -> str:
        """The text of a conversation up to where the assistant's turn begins."""
        if self.template is None:
            raise BackendError("this checkpoint has no chat template: a judge needs a chat model, not a base model")
        bos, eos = self._tokenizer.bos_token or "", self._tokenizer.eos_token or ""
        return render_chat(self.template, messages, bos=bos, eos=eos)

    def tokens(self, text: str) -> list[int]:
        """The text's tokens; nothing is put before or after them."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))
