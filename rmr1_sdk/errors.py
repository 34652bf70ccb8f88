"""Errors: all that this package raises on purpose.

RMR1Error
├── ConfigError            a wrong argument; raised before any work
│   └── MissingExtraError  an optional dependency is not installed
├── DataError              wrong content of a file: names file, line and fault
├── StoreError             the store could not be read or written
├── BackendError           the backend failed; not the fault of one request
├── BudgetExceeded         max_tokens_total is spent; completions are in the store
├── JudgmentFailed         nothing was readable, and on_failure="raise"
├── GradingFailed          no rubric could be read; or no grade, and on_failure="raise"
└── JudgeUnavailable       too many judgments of a training step failed
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rmr1_sdk.types import Grade, Judgment


class RMR1Error(Exception):
    """The root of the tree above."""


class ConfigError(RMR1Error, ValueError):
    """A wrong argument; raised before any work."""


class MissingExtraError(ConfigError):
    """An optional dependency is not installed; says the pip command."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f'{module} is not installed; run: pip install "rmr1_sdk[{extra}]"')
        self.module = module
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.module, self.extra)


class DataError(RMR1Error):
    """A file's content is not what it should be. `line` counts from 1; in Parquet it is the row."""

    def __init__(self, message: str, *, path: Path | None = None, line: int | None = None) -> None:
        where = ":".join(str(part) for part in (path, line) if part is not None)
        super().__init__(f"{where}: {message}" if where else message)
        self.path = path
        self.line = line


class StoreError(RMR1Error):
    """The store could not be read or written."""


class BackendError(RMR1Error):
    """The backend failed; not the fault of one request."""


class BudgetExceeded(RMR1Error):
    """max_tokens_total is spent. With a store, the same call with a larger budget resumes."""


class JudgmentFailed(RMR1Error):
    """Nothing was readable. `judgment` holds what was seen."""

    def __init__(self, judgment: Judgment) -> None:
        why = judgment.failure.message if judgment.failure else "no verdict"
        super().__init__(f"pair {judgment.pair_id}: {why}" if judgment.pair_id else why)
        self.judgment = judgment

    def __reduce__(self) -> tuple[type[JudgmentFailed], tuple[Judgment]]:
        return type(self), (self.judgment,)


class GradingFailed(RMR1Error):
    """No rubric, or no grade, could be read. `grade` holds what was seen."""

    def __init__(self, grade: Grade) -> None:
        what = "no grade" if grade.rubric else "no rubric"
        super().__init__(f"{what}: {grade.failure.message}" if grade.failure else what)
        self.grade = grade

    def __reduce__(self) -> tuple[type[GradingFailed], tuple[Grade]]:
        return type(self), (self.grade,)


class JudgeUnavailable(RMR1Error):
    """Too many judgments of a training step failed for its rewards to be used; says how many, and why."""


@contextmanager
def file_errors(
    place: object,
    kind: type[RMR1Error] = ConfigError,
    *,
    then: str = "",
    catch: tuple[type[Exception], ...] = (OSError, UnicodeDecodeError),
) -> Iterator[None]:
    """Raise an OSError, or text that is not UTF-8, as an error of ours that names the file or option."""
    try:
        yield
    except catch as error:
        raise kind(f"{place}: {getattr(error, 'strerror', None) or error}{then}") from error


def unknown(kind: str, value: object, known: Iterable[str], *, place: str = "") -> ConfigError:
    """Build the error for a name that is not known: it suggests the nearest one, and lists all but many."""
    from difflib import get_close_matches  # late: most runs need no suggestion

    names = list(known)
    advice = [f"did you mean {near!r}?" for near in get_close_matches(str(value), names, n=1)]
    if len(names) <= _LISTED:
        advice.append(f"{'Expected' if advice else 'expected'} one of {', '.join(names)}")
    return ConfigError(f"{place}unknown {kind} {value!r}{'; ' if advice else ''}{' '.join(advice)}")


_LISTED = 40
"""Names that a message lists at most: an engine has hundreds of arguments."""
