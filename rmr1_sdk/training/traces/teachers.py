"""Teachers that need no API: the synthetic domain's, and recorded completions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError

from rmr1_sdk.backends import Backend, connect
from rmr1_sdk.backends.fake import FakeBackend
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.errors import BackendError, DataError
from rmr1_sdk.files.rows import file_digest, read_rows
from rmr1_sdk.hashing import digest
from rmr1_sdk.training.domain import Teacher
from rmr1_sdk.training.traces.distill import DistillReport, distill
from rmr1_sdk.types import AsOption, Completion, Request, Value

__all__ = ["DistillPlan", "Replay", "teach", "teacher"]


class Replay(FakeBackend):
    """Answers with what was recorded: a file that `rmr1 store export` wrote.

    A request is known by its messages; of several completions the oldest counts. Others raise BackendError. Raises
    ConfigError where the file cannot be read, DataError at a line that is no record.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(self._recorded, identity=f"replay {file_digest(path)}")
        self.model = f"replay:{path.name}"
        self._path = path
        self._completions: dict[int, Completion] = {}
        for number, row in read_rows(path):
            try:
                if isinstance(row, ValueError):
                    raise row
                completion = Completion.model_validate(row["completion"])
                self._completions.setdefault(_key(row["request"]["messages"]), completion)
            except (ValueError, KeyError, TypeError) as error:
                why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else repr(error)
                raise DataError(f"no record of `rmr1 store export` ({why})", path=path, line=number) from error

    def _recorded(self, request: Request) -> Completion:
        completion = self._completions.get(_key([message.model_dump() for message in request.messages]))
        if completion is None:
            raise BackendError(f"{self._path} holds no answer to this request")
        return completion


def _key(messages: Any) -> int:
    return digest(json.dumps(messages, sort_keys=True))


def teacher(spec: str) -> Backend:
    """The backend for "tiny", for "replay:FILE", or for whatever `connect` takes. Raises ConfigError as that does."""
    if spec == "tiny":
        return Teacher()
    if spec.startswith("replay:"):
        return Replay(Path(spec.removeprefix("replay:")))
    return connect(spec)


class DistillPlan(Value):
    """Arguments of `distill`, with its teachers by name."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    pairs: Path
    """A file of labelled pairs."""
    teacher: str
    """The teacher: a backend and a model, as in "openai:MODEL"; "tiny"; or "replay:FILE"."""
    second: Annotated[str | None, AsOption(unset="none")] = None
    """A second teacher, which is told the right answer where the first was wrong."""
    prompt: str = "cor"
    """Name of the prompt for both teachers."""
    sampling: dict[str, Any] = {}  # noqa: RUF012  # pydantic copies it
    """Fields given here replace the prompt's defaults."""
    max_tokens_total: Annotated[int | None, AsOption(unset="no limit")] = Field(default=None, ge=1)
    """Budget of tokens, read and written by both teachers together."""
    max_concurrency: Annotated[int | None, AsOption(unset="the backend's")] = Field(default=None, ge=1)
    """Requests in flight."""
    seed: int = 0
    """Seed of all randomness."""


def teach(plan: DistillPlan, out: Path, *, advance: Callable[[], None] = lambda: None) -> DistillReport:
    """Connect the teachers, let them write as `distill` does, and close them. Raises what both raise."""
    engines = [teacher(spec) for spec in (plan.teacher, plan.second) if spec is not None]
    try:
        return distill(
            plan.pairs, out, *engines, advance=advance, **plan.model_dump(exclude={"pairs", "teacher", "second"})
        )
    finally:
        for engine in engines:
            wait(submit(engine.aclose()))
