"""A report's figures as Markdown, for a pull request or a model card. Single judgments are in the HTML report alone."""

from collections.abc import Iterable, Iterator, Sequence

from rmr1_sdk.benchmarks import Comparison, Rate
from rmr1_sdk.report.figures import Outcomes, Report, RunFigures, StyleMatrix

__all__ = ["as_markdown"]


def as_markdown(report: Report) -> str:
    """The report's figures, as tables."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    runs = report.runs
    yield f"# {_plain(report.title)}"
    yield from _facts(report)
    yield from _table(["", *_names(runs)], _summary(runs))
    yield from _rates("Figures", [run.scores.figures if run.scores else () for run in runs], runs)
    for comparison in report.comparisons:
        yield from _compared(comparison)
    yield from _rates("Position", [run.scores.position if run.scores else () for run in runs], runs)
    yield from _rates("Right, by how long the better answer is", [run.length for run in runs], runs)
    for run in runs:
        for matrix in run.styles:
            yield from _styles(run, matrix)
    for run in runs:
        yield from ("", f"## How {_plain(run.name)} was asked", "")
        yield from (f"- {_plain(name)}: {_plain(text)}" for name, text in run.asked.items())


def _facts(report: Report) -> Iterator[str]:
    scores = next((run.scores for run in report.runs if run.scores), None)
    if scores:
        yield from ("", f"Profile {scores.profile}: {scores.protocol}. Intervals are at 95%.")
    notes = [f"{note}." for run in report.runs if run.scores for note in run.scores.notes]
    missing = [*report.missing, *(f"{run.name}: {text}" for run in report.runs for text in run.missing)]
    for text in dict.fromkeys([*notes, *missing]):
        yield from ("", f"> {_plain(text)}")


def _summary(runs: Sequence[RunFigures]) -> Iterator[list[str]]:
    for name in Outcomes.model_fields:
        counts = [getattr(run.outcomes, name) for run in runs]
        if any(counts):
            yield [name, *(f"{count:,}" for count in counts)]
    yield ["both orders agree", *(_score(run.consistent) for run in runs)]
    yield ["quotes found", *(_score(run.quotes) for run in runs)]
    found = [run.scores.calibration if run.scores else None for run in runs]
    yield [
        "calibration error (ECE)",
        *("–" if one is None else f"{one.ece:.1%} (up to {one.ece_by_chance:.1%} by chance)" for one in found),
    ]
    yield ["Brier score", *("–" if one is None else f"{one.brier.value:.3f}" for one in found)]
    yield ["tokens written a pair", *(f"{run.usage.completion_tokens / run.outcomes.judged:,.0f}" for run in runs)]


def _rates(title: str, rates: Sequence[Sequence[Rate]], runs: Sequence[RunFigures]) -> Iterator[str]:
    names = dict.fromkeys(rate.name for of_run in rates for rate in of_run)
    if not names:
        return
    yield from ("", f"## {title}")
    one = len(runs) == 1
    rows = []
    for name in names:
        found = [next((rate for rate in of_run if rate.name == name), None) for of_run in rates]
        rows.append([_plain(name), *map(_score, found), *([f"{found[0].n:,}"] if one and found[0] else [])])
    yield from _table(["", *_names(runs), *(["n"] if one else [])], rows)


def _compared(comparison: Comparison) -> Iterator[str]:
    yield from ("", f"## {_plain(comparison.first)} less {_plain(comparison.second)}", "")
    yield (
        f"Over {comparison.n:,} pairs the first alone is right on {comparison.only_first:,} and the second alone on "
        f"{comparison.only_second:,}: McNemar's p {comparison.p:.2g}."
    )
    rows = (
        [_plain(one.name), f"{one.difference:+.1%} [{one.low:+.1%}, {one.high:+.1%}]"] for one in comparison.differences
    )
    yield from _table(["", "difference"], rows)


def _styles(run: RunFigures, matrix: StyleMatrix) -> Iterator[str]:
    names = ("plain", "detailed", "Markdown")
    shares = {(cell.chosen, cell.rejected): f"{cell.value:.1%}" for cell in matrix.cells}
    yield from ("", f"## Right by style, {_plain(matrix.name)}: {_plain(run.name)}")
    rows = (
        [f"better is {name}", *(shares.get((i, j), "–") for j in range(len(names)))] for i, name in enumerate(names)
    )
    yield from _table(["", *(f"other is {name}" for name in names)], rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield ""
    yield _row(heads)
    yield _row(["---", *["---:"] * (len(heads) - 1)])
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """A text that is neither markup nor the end of a cell or a line."""
    kept = "".join(f"\\{char}" if char in r"\`*_[]<>|#" else char for char in text)
    return " ".join(kept.split())


def _names(runs: Sequence[RunFigures]) -> list[str]:
    return [_plain(run.name) for run in runs]


def _score(rate: Rate | None) -> str:
    return "–" if rate is None else str(rate)
