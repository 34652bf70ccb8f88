"""Progress on standard error, with a rate and the time left."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, Task, TaskID

__all__ = ["Fleet", "bar", "bar_if", "fleet"]

_EVERY_S = 30.0


def _columns(doing: str, unit: str) -> "tuple[ProgressColumn, ...]":
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Units per second."""

        def render(self, task: "Task") -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{'-' if speed is None else f'{speed:.3g}'} {unit}/s")

    return (
        TextColumn(doing), BarColumn(), MofNCompleteColumn(), Rate(), TextColumn("left"), TimeRemainingColumn()
    )  # fmt: skip


@contextmanager
def bar(total: int | None, unit: str = "pairs", doing: str = "judging") -> Iterator[Callable[[], None]]:
    """Draw a bar until the block ends; call the given function once per `unit`. `total` None means unknown."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(*_columns(doing, unit), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


def bar_if(
    wanted: bool, total: int | None, unit: str = "pairs", doing: str = "judging"
) -> AbstractContextManager[Callable[[], None]]:
    """Draw a bar where it is wanted; else give a function that does nothing."""
    return bar(total, unit, doing) if wanted else nullcontext(lambda: None)


class Fleet:
    """Progress of many replicas over `total` pairs: a line when replicas start or stop, and every half minute.

    Where a bar is drawn, it takes the place of the lines.
    """

    def __init__(
        self, total: int, wanted: int, drawn: "Progress | None" = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total = total
        self._wanted = wanted
        self._drawn = drawn
        self._task = drawn.add_task(self._replicas(0), total=total) if drawn else cast("TaskID", 0)
        self._clock = clock
        self._ready = 0
        self._done = 0
        self._found: int | None = None
        self._began: float | None = None
        self._said = clock()

    def advance(self, pairs: int) -> None:
        """So many more are done; the first call is about those that were found done."""
        self._done += pairs
        if self._drawn:
            self._drawn.advance(self._task, pairs)
        if self._found is None:
            self._found = pairs
        elif self._clock() - self._said >= _EVERY_S:
            self._say()

    def ready(self, replicas: int) -> None:
        """So many replicas are at work."""
        self._ready = replicas
        self._began = self._began or self._clock()
        if self._drawn:
            self._drawn.update(self._task, description=self._replicas(replicas))
        self._say()

    def _replicas(self, ready: int) -> str:
        return f"{ready} of {self._wanted} replicas"

    def _say(self) -> None:
        if self._drawn:
            return
        self._said = self._clock()
        seconds = self._said - (self._began or self._said)
        new = self._done - (self._found or 0)
        rate = f"{new / seconds:.3g} pairs/s" if new and seconds else "- pairs/s"
        sys.stderr.write(f"{self._done} of {self._total} pairs, {rate}, {self._replicas(self._ready)}\n")


@contextmanager
def fleet(total: int, wanted: int) -> Iterator[Fleet]:
    """A bar with the number of replicas for a person, lines where standard error is a file."""
    if not sys.stderr.isatty():
        yield Fleet(total, wanted)
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(*_columns("{task.description}", "pairs"), console=Console(stderr=True)) as drawn:
        yield Fleet(total, wanted, drawn)
