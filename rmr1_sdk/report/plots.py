"""Plots as SVG in the page's colours, for its light and dark theme."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log2

from rmr1_sdk.benchmarks import BudgetPoint, Rate
from rmr1_sdk.report.elements import Element, el
from rmr1_sdk.report.figures import StyleMatrix
from rmr1_sdk.statistics.intervals import Bin, CoveragePoint, Interval

__all__ = [
    "COLOURS", "Cost", "budgets", "costs", "coverages", "outcome_bar", "reliabilities", "spread", "style_matrix",
    "whiskers",
]  # fmt: skip

COLOURS = 6
"""Runs that have a colour of their own; the next begin with the first again."""
_WIDTH, _HEIGHT = 380, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 12, 44
_ROW = 14
"""Pixels between the whiskers of two runs."""


@dataclass(frozen=True)
class _Axis:
    """A scale from `low` to `high`, and the places that carry a text."""

    title: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]

    def at(self, value: float) -> float:
        """Position of a value, 0 to 1."""
        return (value - self.low) / (self.high - self.low)


def _shares(title: str, low: float = 0.0, high: float = 1.0) -> _Axis:
    """Percentages; the ends are multiples of 10%."""
    step = 0.25 if (low, high) == (0.0, 1.0) else 0.1
    count = round((high - low) / step)
    return _Axis(title, low, high, [(low + n * step, f"{low + n * step:.0%}") for n in range(count + 1)])


def _zoomed(title: str, values: Iterable[float]) -> _Axis:
    """Percentages around what there is."""
    values = list(values)
    low, high = int(min(values) * 10) / 10, -int(-max(values) * 10 // 1) / 10
    return _shares(title, max(0.0, min(low, high - 0.1)), min(1.0, max(high, low + 0.1)))


@dataclass(frozen=True)
class _Frame:
    """A plot's axes; `x` and `y` say where a value is."""

    across: _Axis
    up: _Axis

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return _LEFT + self.across.at(value) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return _HEIGHT - _BOTTOM - self.up.at(value) * (_HEIGHT - _TOP - _BOTTOM)

    def plot(self, says: str, marks: Iterable[Element]) -> Element:
        """The axes with marks in them; `says` is the plot in words."""
        bottom, left, right = _HEIGHT - _BOTTOM, _LEFT, _WIDTH - _RIGHT
        grid = [_line("grid", left, self.y(value), right, self.y(value)) for value, _ in self.up.ticks]
        texts = [_words(left - 8, self.y(value) + 4, text, "end") for value, text in self.up.ticks]
        texts += [_words(self.x(value), bottom + 17, text, "middle") for value, text in self.across.ticks]
        texts += [_words((left + right) / 2, _HEIGHT - 6, self.across.title, "middle", "title")]
        shape = {"class": "plot", "viewBox": f"0 0 {_WIDTH} {_HEIGHT}", "role": "img", "aria-label": says}
        return el("svg", shape, *grid, _line("axis", left, bottom, right, bottom), *marks, *texts)

    def curve(self, series: int, points: Sequence[tuple[float, float]]) -> Element:
        """A line through points."""
        places = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return el("polyline", {"class": f"curve {_run(series)}", "points": places})

    def dot(self, series: int, x: float, y: float, says: str, radius: float = 4.0) -> Element:
        """A dot; `says` is shown where the pointer rests on it."""
        place = {"class": f"dot {_run(series)}", "cx": self.x(x), "cy": self.y(y), "r": radius}
        return el("circle", place, el("title", {}, says))


def _run(series: int) -> str:
    """The class of a run's colour."""
    return f"run-{series % COLOURS}"


def _line(kind: str, x1: float | str, y1: float | str, x2: float | str, y2: float | str) -> Element:
    return el("line", {"class": kind, "x1": x1, "y1": y1, "x2": x2, "y2": y2})


def _words(x: float, y: float, text: str, anchor: str, kind: str | None = None) -> Element:
    return el("text", {"class": kind, "x": x, "y": y, "text-anchor": anchor}, text)


def spread(rates: Iterable[Interval]) -> tuple[float, float]:
    """Round percentages between which all of these are."""
    axis = _zoomed("", [end for rate in rates for end in (rate.low, rate.high)])
    return axis.low, axis.high


def whiskers(rates: Sequence[Interval | None], low: float, high: float, middle: float = 0.5) -> Element:
    """A row of a table: a dot and its interval for each run, between `low` and `high`; a line marks the `middle`."""

    def across(value: float) -> str:
        return f"{100 * min(1.0, max(0.0, (value - low) / (high - low))):.2f}%"

    marks = [_line("grid", across(middle), "0", across(middle), "100%")] if low <= middle <= high else []
    for series, rate in enumerate(rates):
        if rate is not None:
            y = 5 + _ROW * series + _ROW / 2
            marks.append(_line(f"span {_run(series)}", across(rate.low), f"{y:g}", across(rate.high), f"{y:g}"))
            marks.append(el("circle", {"class": f"dot {_run(series)}", "cx": across(rate.share), "cy": y, "r": 4}))
    says = ", ".join(str(rate) for rate in rates if rate)
    shape = {"class": "whiskers", "role": "img", "aria-label": says, "height": 10 + _ROW * len(rates)}
    return el("svg", shape, *marks)


def outcome_bar(parts: Sequence[tuple[str, int]]) -> Element:
    """A bar in parts; a part's name is its class."""
    total = sum(count for _, count in parts) or 1
    at = 0.0
    bars = []
    for name, count in parts:
        share = 100 * count / total
        place = {"class": name, "x": f"{at:.3f}%", "width": f"{share:.3f}%", "height": "100%"}
        bars.append(el("rect", place, el("title", {}, f"{name}: {count:,}")))
        at += share
    says = ", ".join(f"{name} {count:,}" for name, count in parts if count)
    return el("svg", {"class": "outcomes", "role": "img", "aria-label": says, "height": 14}, *bars)


def reliabilities(runs: Sequence[Sequence[Bin]]) -> Element:
    """Reliability diagram: claimed probability against accuracy; a dot's area is its bin's share of the pairs."""
    frame = _Frame(_shares("probability of the side that it finds better", 0.5), _shares(""))
    marks = [_line("ideal", frame.x(0.5), frame.y(0.5), frame.x(1), frame.y(1))]
    for series, bins in enumerate(runs):
        total = sum(one.n for one in bins) or 1
        marks += [frame.curve(series, [(one.probability, one.frequency) for one in bins])] if bins else []
        for one in bins:
            says = f"said {one.probability:.1%}, right {one.frequency:.1%} of {one.n:,}"
            radius = 3 + 9 * (one.n / total) ** 0.5
            marks.append(frame.dot(series, one.probability, one.frequency, says, radius))
    return frame.plot("How often the judge is right, by the probability that it gives", marks)


def coverages(runs: Sequence[Sequence[CoveragePoint]]) -> Element:
    """The accuracy over the share of pairs that the judge is surest of."""
    frame = _Frame(_shares("share of the pairs, the surest first"), _zoomed("", _settled(runs)))
    marks = [frame.curve(series, [point[:2] for point in _inside(curve, frame)]) for series, curve in enumerate(runs)]
    for series, curve in enumerate(runs):
        if curve:
            last = curve[-1]
            marks.append(frame.dot(series, last.coverage, last.accuracy, f"{last.accuracy:.1%} of all"))
    return frame.plot("Accuracy over the pairs that the judge is surest of", marks)


def _settled(runs: Sequence[Sequence[CoveragePoint]]) -> list[float]:
    """The accuracies but for those of the first few pairs, which may be anything."""
    return [point.accuracy for curve in runs for point in curve if point.coverage >= 0.02 or point is curve[-1]]


def _inside(curve: Sequence[CoveragePoint], frame: _Frame) -> list[CoveragePoint]:
    return [point for point in curve if frame.up.low <= point.accuracy <= frame.up.high]


def budgets(runs: Sequence[tuple[int, Sequence[BudgetPoint]]]) -> Element:
    """The share of right verdicts of all judged pairs, had readings had to end within so many tokens."""
    points = [[(log2(point.tokens), point.right / judged) for point in curve] for judged, curve in runs]
    there = [x for curve in points for x, _ in curve]
    ticks = [(float(power), f"{2**power:,}") for power in range(int(min(there)), int(max(there)) + 1, 2)]
    across = _Axis("tokens a reading may write", min(there) - 0.3, max(there) + 0.3, ticks)
    frame = _Frame(across, _zoomed("", [y for curve in points for _, y in curve]))
    marks = [frame.curve(series, curve) for series, curve in enumerate(points)]
    for series, curve in enumerate(points):
        marks += [frame.dot(series, x, y, f"{2**x:,.0f} tokens: {y:.1%}") for x, y in curve]
    return frame.plot("Right verdicts by the tokens that a reading may write", marks)


@dataclass(frozen=True)
class Cost:
    """Cost of a run in tokens written per pair, and its accuracy."""

    name: str
    tokens: float
    score: Rate


def costs(runs: Sequence[Cost | None]) -> Element:
    """The first figure of each run against the tokens that it wrote a pair; None where it has none."""
    there = [(series, run) for series, run in enumerate(runs) if run]
    most = max(run.tokens for _, run in there) or 1.0
    step = _round_step(most)
    ticks = [(n * step, f"{n * step:,.0f}") for n in range(int(most / step) + 2)]
    values = [end for _, run in there for end in (run.score.low, run.score.high)]
    frame = _Frame(_Axis("tokens written a pair", 0.0, ticks[-1][0], ticks), _zoomed("", values))
    marks = []
    for series, run in there:
        x, says = frame.x(run.tokens), f"{run.name}: {run.score}, {run.tokens:,.0f} tokens a pair"
        marks.append(_line(f"span {_run(series)}", x, frame.y(run.score.low), x, frame.y(run.score.high)))
        marks.append(frame.dot(series, run.tokens, run.score.value, says, 5))
    return frame.plot("What each run scores by the tokens that it writes", marks)


def _round_step(most: float) -> float:
    """A step of 1, 2 or 5 times a power of ten that goes about four times into it."""
    power = 10.0 ** (len(str(int(most))) - 1)
    return next(step for step in (power / 5, power / 2, power, 2 * power, 5 * power) if most / step <= 5)


def style_matrix(matrix: StyleMatrix, series: int) -> Element:
    """RM-Bench's matrix as a heat map: the deeper, the more often right; below 40% all are alike."""
    styles, size, left, top = ("plain", "detailed", "Markdown"), 58, 66, 52
    cells: list[Element] = []
    for cell in matrix.cells:
        x, y = left + size * cell.rejected, top + size * cell.chosen
        depth = f"{0.05 + 0.5 * max(0.0, (cell.value - 0.4) / 0.6):.3f}"
        box = {"x": x, "y": y, "width": size - 2, "height": size - 2, "rx": 4, "fill-opacity": depth}
        says = f"better {styles[cell.chosen]}, other {styles[cell.rejected]}: {cell.value:.1%} of {cell.n:,}"
        cells.append(el("rect", {"class": f"cell {_run(series)}", **box}, el("title", {}, says)))
        cells.append(_words(x + size / 2 - 1, y + size / 2 + 4, f"{cell.value:.0%}", "middle", "number"))
    names = [_words(left - 8, top + size * n + size / 2 + 4, style, "end") for n, style in enumerate(styles)]
    names += [_words(left + size * n + size / 2, top - 8, style, "middle") for n, style in enumerate(styles)]
    names += [_words(left + size * 1.5, 12, matrix.name, "middle", "number")]
    shape = {"viewBox": f"0 0 {left + 3 * size} {top + 3 * size}", "role": "img"}
    says = f"{matrix.name}: right verdicts by the styles of both answers"
    return el("svg", {"class": "plot matrix", "aria-label": says, **shape}, *cells, *names)
