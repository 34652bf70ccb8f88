"""A report as one HTML file: figures, plots and every judgment.

The file asks for nothing: styles, the script and the data are in it, and its policy forbids all else. Texts of users
and models are in the data alone, packed; the script shows them as text.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rmr1_sdk import web
from rmr1_sdk.benchmarks import Agreement, Comparison, Figure, Rate
from rmr1_sdk.report import plots
from rmr1_sdk.report.data import blocks, index
from rmr1_sdk.report.elements import Child, Element, as_html, el
from rmr1_sdk.report.figures import Outcomes, Report, RunFigures
from rmr1_sdk.report.runs import Judged

__all__ = ["as_page"]

_PAGE = Path(__file__).parent / "page"
_MODULE = re.compile(r'^import .* from "\./judgment\.js";\n|^export ', re.MULTILINE)
"""Statements removed when modules are joined into one script."""


def as_page(report: Report, judged: Judged) -> str:
    """The report and its judgments as HTML."""
    style = _texts(web.FOLDER / "judgment.css", _PAGE / "report.css")
    script = _MODULE.sub("", _texts(web.FOLDER / "judgment.js", _PAGE / "report.js"))
    assert "</" not in style
    assert "</script" not in script
    policy = (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = el(
        "head",
        {},
        el("meta", {"charset": "utf-8"}),
        el("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        el("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        el("meta", {"name": "color-scheme", "content": "light dark"}),
        el("title", {}, f"{report.title}: {', '.join(run.name for run in report.runs)}"),
        el("link", {"rel": "icon", "href": "data:,"}),
        el("style", {}, style),
    )
    body = el("body", {}, *_sections(report), *_data(judged), el("script", {"type": "module"}, script))
    return f"<!doctype html>\n{as_html(el('html', {'lang': 'en'}, head, body))}\n"


def _texts(*files: Path) -> str:
    return "".join(file.read_text(encoding="utf-8") for file in files)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _data(judged: Judged) -> Iterator[Element]:
    yield el("script", {"type": "text/plain", "id": "index"}, index(judged))
    for block in blocks(judged):
        yield el("script", {"type": "text/plain", "class": "block"}, block)


def _sections(report: Report) -> Iterator[Element]:
    runs = report.runs
    yield _header(report)
    missing = [*report.missing, *(f"{run.name}: {text}" for run in runs for text in run.missing)]
    if missing:
        yield el("ul", {"class": "lacks"}, *(el("li", {}, text) for text in missing))
    yield el("section", {"class": "cards", "aria-label": "Summary"}, *_cards(runs))
    if any(run.scores for run in runs):
        yield _section("Figures", _figures(runs))
    for comparison in report.comparisons:
        yield _section(f"{comparison.first} less {comparison.second}", *_compared(comparison))
    drawn = list(_plots(runs))
    if drawn:
        yield el("section", {"class": "plots", "aria-label": "Plots"}, *drawn)
    for run in runs:
        if run.scores and run.scores.agreement:
            yield _section(f"Agreement with annotators{_of(run, runs)}", _agreements(run.scores.agreement))
    yield el("section", {"id": "judgments"}, el("h2", {}, "Judgments"), el("noscript", {}, "These need JavaScript."))
    asked = [_asked(run, number) for number, run in enumerate(runs) if run.asked]
    if asked:
        yield _section("How it was asked", *asked)


def _section(title: str, *children: Child) -> Element:
    return el("section", {}, el("h2", {}, title), *children)


def _of(run: RunFigures, runs: Sequence[RunFigures]) -> str:
    return f": {run.name}" if len(runs) > 1 else ""


def _name(run: RunFigures, number: int) -> Element:
    """A run's name behind its colour."""
    return el("span", {"class": "name"}, el("i", {"class": f"key run-{number % plots.COLOURS}"}), run.name)


def _header(report: Report) -> Element:
    scores = next((run.scores for run in report.runs if run.scores), None)
    judged = max(run.outcomes.judged for run in report.runs)
    names = [_name(run, number) for number, run in enumerate(report.runs)]
    about = f"{judged:,} {'pair' if judged == 1 else 'pairs'} judged"
    lines: list[Child] = [el("p", {"class": "runs"}, *names, el("span", {}, about))]
    if scores:
        lines.append(el("p", {}, f"Profile {scores.profile}: {scores.protocol}."))
    notes = dict.fromkeys(note for run in report.runs if run.scores for note in run.scores.notes)
    lines += [el("p", {"class": "note-line"}, f"Note: {note}.") for note in notes]
    return el("header", {}, el("h1", {}, report.title), *lines)


def _cards(runs: Sequence[RunFigures]) -> Iterator[Element]:
    """A card for each thing that is known of any run, with a line for each run."""
    first = next((run.scores.figures[0].name for run in runs if run.scores), "Score")
    makers = {
        first: lambda run: _rate(run.scores.figures[0]) if run.scores else None,
        "Outcomes": lambda run: _outcomes(run.outcomes),
        "Both orders agree": lambda run: _rate(run.consistent),
        "Takes what is shown first": lambda run: _rate(_position(run, "takes what is shown first")),
        "Quotes found": lambda run: _rate(run.quotes),
        "Verdicts that came by themselves": _readings,
        "Calibration error (ECE)": _calibration,
        "Tokens written a pair": _tokens,
    }
    for title, make in makers.items():
        made = [(number, run, make(run)) for number, run in enumerate(runs)]
        if all(found is None for _, _, found in made):
            continue
        lines = [
            el(
                "div",
                {"class": "of-run"},
                _name(run, number) if len(runs) > 1 else None,
                *(found or [el("p", {}, "–")]),
            )
            for number, run, found in made
        ]
        yield el("div", {"class": "card wide" if title == "Outcomes" else "card"}, el("h3", {}, title), *lines)


def _value(value: str, about: str) -> list[Element]:
    return [el("p", {"class": "value"}, value), el("p", {"class": "about"}, about)]


def _rate(rate: Rate | None) -> list[Element] | None:
    if rate is None:
        return None
    value, low, high = rate.interval.texts()
    return _value(value, f"{low} to {high}, n {rate.n:,}")


def _readings(run: RunFigures) -> list[Element] | None:
    found = run.readings
    if found is None or found.finished == found.n:
        return None
    parts: list[tuple[str, int]] = [("forced", found.forced), *found.failures.items()]
    others = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in parts if count)
    return _value(f"{found.finished / found.n:.1%}", f"of {found.n:,} readings; {others}")


def _position(run: RunFigures, name: str) -> Rate | None:
    return next((rate for rate in run.scores.position if rate.name == name), None) if run.scores else None


def _calibration(run: RunFigures) -> list[Element] | None:
    found = run.scores and run.scores.calibration
    if not found:
        return None
    loss = "infinite" if found.log_loss is None else f"{found.log_loss:.3f} nats"
    about = f"up to {found.ece_by_chance:.1%} by chance; Brier {found.brier.value:.3f}, log loss {loss}, n {found.n:,}"
    return _value(f"{found.ece:.1%}", about)


def _tokens(run: RunFigures) -> list[Element] | None:
    written, judged = run.usage.completion_tokens, run.outcomes.judged
    if not written:
        return None
    seconds = f", {run.seconds / judged:.1f} s a pair" if run.seconds else ""
    return _value(f"{written / judged:,.0f}", f"{run.usage.prompt_tokens / judged:,.0f} read{seconds}")


def _outcomes(outcomes: Outcomes) -> list[Element]:
    names = ("right", "tie", "wrong", "unreadable", "unlabelled")
    parts = [(name, count) for name in names if (count := getattr(outcomes, name))]
    marks = [el("li", {}, el("i", {"class": f"key {name}"}), f"{name} {count:,}") for name, count in parts]
    if outcomes.inconsistent:
        marks.append(el("li", {"class": "besides"}, f"orders differ {outcomes.inconsistent:,}"))
    return [plots.outcome_bar(parts), el("ul", {"class": "keys"}, *marks)]


def _table(heads: Iterable[Child], rows: Iterable[Sequence[Child]], kind: str = "") -> Element:
    head = el("tr", {}, *(el("th", {"scope": "col"}, cell) for cell in heads))
    body = [
        el("tr", {}, el("th", {"scope": "row"}, first), *(el("td", {}, cell) for cell in rest)) for first, *rest in rows
    ]
    return el(
        "div", {"class": "scrolls"}, el("table", {"class": kind or None}, el("thead", {}, head), el("tbody", {}, *body))
    )


def _score(rate: Rate | None) -> Element:
    if rate is None:
        return el("span", {}, "–")
    value, low, high = rate.interval.texts()
    return el("span", {"class": "score"}, el("b", {}, value), " ", el("small", {}, f"{low} to {high}"))


def _scale(low: float, high: float) -> Element:
    return el("span", {"class": "scale-ends"}, el("span", {}, f"{low:.0%}"), el("span", {}, f"{high:.0%}"))


def _rates_table(runs: Sequence[RunFigures], rates: Sequence[Sequence[Rate]], more: Sequence[str] = ()) -> Element:
    """A row for each name of a rate: a whisker and a score for each run, and of one run alone `more` of its figures."""
    names = dict.fromkeys(rate.name for of_run in rates for rate in of_run)
    found = {name: [next((rate for rate in of_run if rate.name == name), None) for of_run in rates] for name in names}
    low, high = plots.spread([rate.interval for of_run in rates for rate in of_run])
    several = len(runs) > 1
    heads = [_name(run, number) if several else None for number, run in enumerate(runs)]
    rows: Iterable[Sequence[Child]] = (
        [
            name,
            plots.whiskers([None if rate is None else rate.interval for rate in of_name], low, high),
            *map(_score, of_name),
            *(_of_figure(of_name[0], field) for field in more if not several),
        ]
        for name, of_name in found.items()
    )
    fields = () if several else more
    return _table([None, _scale(low, high), *heads, *fields], rows, "rates several" if several else "rates")


def _of_figure(figure: Rate | None, field: str) -> str:
    if not isinstance(figure, Figure):
        return "–"
    if field == "n":
        return f"{figure.n:,}"
    value = {"read": figure.coverage, "strict": figure.strict, "of those read": figure.covered_accuracy}[field]
    return "–" if value is None else f"{value:.1%}"


def _figures(runs: Sequence[RunFigures]) -> Element:
    figures = [run.scores.figures if run.scores else () for run in runs]
    return _rates_table(runs, figures, ("read", "strict", "of those read", "n"))


def _compared(comparison: Comparison) -> Iterator[Element]:
    text = (
        f"Over {comparison.n:,} pairs, {comparison.first} alone is right on {comparison.only_first:,} and "
        f"{comparison.second} alone on {comparison.only_second:,}: McNemar’s p {comparison.p:.2g}. "
        "Intervals are a paired bootstrap’s."
    )
    yield el("p", {"class": "lead"}, text)
    most = max(abs(end) for one in comparison.differences for end in (one.low, one.high))
    most = max(0.05, -int(-most * 20 // 1) / 20)
    rows: list[Sequence[Child]] = []
    for one in comparison.differences:
        value, low, high = one.interval.texts("change")
        rows.append([one.name, plots.whiskers([one.interval], -most, most, 0.0), value, f"{low} to {high}"])
    yield _table(["", _scale(-most, most), "difference", "95% interval"], rows[:1], "rates differences")
    if rows[1:]:
        all_others = _table(["", "", "", ""], rows[1:], "rates differences")
        yield el("details", {}, el("summary", {}, f"{len(rows) - 1:,} more differences"), all_others)


def _agreements(found: Sequence[Agreement]) -> Element:
    rows: Iterable[Sequence[Child]] = (
        [
            f"{one.first} and {one.second}",
            _score(one.agreement),
            "–" if one.kappa is None else f"{one.kappa:.2f}",
            _score(one.without_ties),
            f"{one.n:,}",
        ]
        for one in found
    )
    return _table(["", "agree", "Cohen’s kappa", "where both name a side", "n"], rows)


def _asked(run: RunFigures, number: int) -> Element:
    rows = [el("div", {}, el("dt", {}, name), el("dd", {}, text)) for name, text in run.asked.items()]
    return el("div", {"class": "asked"}, el("h3", {}, _name(run, number)), el("dl", {}, *rows))


def _plots(runs: Sequence[RunFigures]) -> Iterator[Element]:
    scores = [run.scores for run in runs]
    position = [one.position if one else () for one in scores]
    if any(position):
        yield _plot("Position", "Its verdicts in both orders.", _rates_table(runs, position), "wide")
    if any(run.length for run in runs):
        text = "Right verdicts by how long the better answer is beside the other."
        yield _plot("Length", text, _rates_table(runs, [run.length for run in runs]), "wide")
    bins = [one.calibration.reliability if one and one.calibration else () for one in scores]
    if any(bins):
        text = "How often it is right, by the probability that it gives. On the dashed line it knows what it knows."
        yield _plot("Reliability", text, plots.reliabilities(bins))
    if any(run.risk_coverage for run in runs):
        text = "Accuracy over the pairs that it is surest of, from a few of them to all."
        yield _plot("Risk and coverage", text, plots.coverages([run.risk_coverage for run in runs]))
    budgets = [(one.judged, one.budget) if one else (1, ()) for one in scores]
    if any(len(curve) > 1 for _, curve in budgets):
        text = "Right verdicts of all pairs, had every reading had to end within so many tokens."
        yield _plot("Token budget", text, plots.budgets(budgets))
    costs = [_cost(run) for run in runs]
    if len([cost for cost in costs if cost]) > 1:
        yield _plot("Cost and score", "What a run scores, by the tokens that it writes a pair.", plots.costs(costs))
    for number, run in enumerate(runs):
        if run.styles:
            text = "Right verdicts by the style of the better answer (rows) and of the other: the deeper, the more."
            drawn = [plots.style_matrix(matrix, number) for matrix in run.styles]
            yield _plot(f"Styles{_of(run, runs)}", text, el("div", {"class": "matrices"}, *drawn), "full")


def _cost(run: RunFigures) -> plots.Cost | None:
    tokens = run.usage.completion_tokens / run.outcomes.judged
    return plots.Cost(run.name, tokens, run.scores.figures[0]) if run.scores else None


def _plot(title: str, text: str, drawn: Element, width: str | None = None) -> Element:
    caption = el("figcaption", {}, el("h3", {}, title), el("p", {}, text))
    return el("figure", {"class": width}, caption, drawn)
