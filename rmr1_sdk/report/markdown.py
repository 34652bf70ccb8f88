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
    yield from _figures(runs)
    for comparison in report.comparisons:
        yield from _compared(comparison)
    for run in runs:
        yield from _readings(run, runs)
    yield from _rates("Position", [run.scores.position if run.scores else () for run in runs], runs)
    yield from _rates("Right, by how long the better answer is", [run.length for run in runs], runs)
    for run in runs:
        yield from _agreements(run, runs)
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


def _figures(runs: Sequence[RunFigures]) -> Iterator[str]:
    """The figures of several runs side by side; of one, with what was read of it."""
    if len(runs) > 1 or not (scores := runs[0].scores):
        yield from _rates("Figures", [run.scores.figures if run.scores else () for run in runs], runs)
        return
    yield from ("", "## Figures")
    rows = (
        [_plain(one.name), str(one), *map(_share, (one.coverage, one.strict, one.covered_accuracy)), f"{one.n:,}"]
        for one in scores.figures
    )
    yield from _table(["", *_names(runs), "read", "strict", "of those read", "n"], rows)


def _readings(run: RunFigures, runs: Sequence[RunFigures]) -> Iterator[str]:
    if not (found := run.readings):
        return
    yield from ("", f"## How verdicts came{_of(run, runs)}")
    failures = ((f"not at all: {kind.replace('_', ' ')}", count) for kind, count in found.failures.items())
    rows = [("by themselves", found.finished), ("forced", found.forced), *failures]
    yield from _table(["", "readings", "share"], ([name, f"{n:,}", _share(n / found.n)] for name, n in rows))


def _agreements(run: RunFigures, runs: Sequence[RunFigures]) -> Iterator[str]:
    if not (run.scores and run.scores.agreement):
        return
    yield from ("", f"## Agreement with annotators{_of(run, runs)}")
    rows = (
        [
            f"{_plain(one.first)} and {_plain(one.second)}",
            _score(one.agreement),
            "–" if one.kappa is None else f"{one.kappa:.2f}",
            _score(one.without_ties),
            f"{one.n:,}",
        ]
        for one in run.scores.agreement
    )
    yield from _table(["", "agree", "Cohen’s kappa", "where both name a side", "n"], rows)


def _of(run: RunFigures, runs: Sequence[RunFigures]) -> str:
    return f": {_plain(run.name)}" if len(runs) > 1 else ""


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _compared(comparison: Comparison) -> Iterator[str]:
    yield from ("", f"## {_plain(comparison.first)} less {_plain(comparison.second)}", "")
    yield (
        f"Over {comparison.n:,} pairs the first alone is right on {comparison.only_first:,} and the second alone on "
        f"{comparison.only_second:,}: McNemar's p {comparison.p:.2g}."
    )
    rows = ([_plain(one.name), str(one)] for one in comparison.differences)
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
