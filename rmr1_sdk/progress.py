"""A progress bar on standard error, with a rate and the time left. Imported only where one is wanted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

__all__ = ["bar"]


class _Rate(ProgressColumn):
    """Pairs, or whatever is counted, a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{'-' if speed is None else f'{speed:.3g}'} {self._unit}/s")


@contextmanager
def bar(total: int | None, unit: str = "pairs", doing: str = "judging") -> Iterator[Callable[[], None]]:
    """Draws until the block ends; call what it gives once a `unit`. `total` is None where it is not known."""
    columns = (
        TextColumn(doing),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)
