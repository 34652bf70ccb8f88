"""Figures of a report, as values."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rmr1_sdk.benchmarks import Comparison, Rate, Scores, departures
from rmr1_sdk.benchmarks.figures import Estimator, Graded, grade, rate
from rmr1_sdk.benchmarks.scores import confidences
from rmr1_sdk.report.runs import Judged, Run
from rmr1_sdk.statistics.intervals import CoveragePoint, risk_coverage, wilson
from rmr1_sdk.types import OTHER, FailureKind, Judgment, Usage, Value, Verdict

__all__ = ["LENGTHS", "Cell", "Outcomes", "Report", "RunFigures", "State", "StyleMatrix", "make_report", "states"]

State = Literal["right", "wrong", "tie", "unreadable", "unlabelled"]
"""State of a pair: "tie" where the label is a side, "unlabelled" where there is a verdict and no label."""

LENGTHS = (
    ("less than half as long", 0.5),
    ("shorter", 0.9),
    ("about as long", 1 / 0.9),
    ("longer", 2.0),
    ("more than twice as long", float("inf")),
)
"""Length classes of the better answer against the other, in characters, with their upper ratios."""
_POINTS = 120
"""Points of a curve: more would not be seen."""
_STYLES = 3


class Outcomes(Value):
    """Counts of judgments by outcome.

    Those of `right` to `unlabelled` add up to `judged`; `inconsistent` (the orders differ) and `forced` (at least one
    reading was) are counted besides.
    """

    judged: int
    right: int
    wrong: int
    tie: int
    unreadable: int
    unlabelled: int
    inconsistent: int
    forced: int


class Readings(Value):
    """Counts of readings: with a verdict of their own, forced, or failed, by kind of failure.

    `finished`, `forced` and the `failures` add up to `n`.
    """

    n: int
    finished: int
    forced: int
    failures: dict[FailureKind, int]


class Cell(Value):
    """The share of right verdicts of the pairs of a chosen and a rejected style, 0 to 2 from plain to fancy."""

    chosen: int
    rejected: int
    value: float
    n: int


class StyleMatrix(Value):
    """RM-Bench's matrix: below the diagonal the better answer is fancier, above it plainer."""

    name: str
    cells: tuple[Cell, ...]


class RunFigures(Value):
    """One run. What is not known is None or empty.

    `asked` says how, as names and texts. `readings` are those of all judgments together. `length` has the share of
    right verdicts by how long the better answer is beside the other, `quotes` the share of quotes that stand in the
    answer they are ascribed to, `risk_coverage` the accuracy over the surest pairs. `usage` is of all judgments
    together, and `seconds` adds up what each took, also where several ran at a time.
    """

    name: str
    asked: dict[str, str]
    outcomes: Outcomes
    readings: Readings | None = None
    scores: Scores | None = None
    consistent: Rate | None = None
    quotes: Rate | None = None
    length: tuple[Rate, ...] = ()
    risk_coverage: tuple[CoveragePoint, ...] = ()
    styles: tuple[StyleMatrix, ...] = ()
    usage: Usage
    seconds: float
    missing: tuple[str, ...] = ()


class Report(Value):
    """Report without the single judgments. `comparisons` are of the first run with each other one."""

    title: str
    runs: tuple[RunFigures, ...]
    comparisons: tuple[Comparison, ...] = ()
    missing: tuple[str, ...] = ()


def make_report(judged: Judged) -> Report:
    """The figures of runs."""
    benchmark = judged.benchmark
    said = [_labelled(judged, run) for run in judged.runs]
    comparisons = [benchmark.compare(said[0], other, judged.profile) for other in said[1:]] if benchmark else []
    named = zip(comparisons, judged.runs[1:], strict=False)
    return Report(
        title=judged.title,
        runs=tuple(_figures(judged, run, labelled) for run, labelled in zip(judged.runs, said, strict=True)),
        comparisons=tuple(
            one.model_copy(update={"first": judged.runs[0].name, "second": run.name}) for one, run in named
        ),
        missing=judged.missing,
    )


def states(judged: Judged, run: Run) -> dict[str | None, State]:
    """State of each pair that the run judged."""
    found: dict[str | None, State] = {
        name: "unreadable" if judgment.winner is None else "unlabelled" for name, judgment in run.judgments.items()
    }
    return found | {one.pair.id: _state(one) for one in _graded(judged, run)}


def _state(one: Graded) -> State:
    if not one.covered:
        return "unreadable"
    if one.right:
        return "right"
    return "tie" if one.judgment.winner == "tie" else "wrong"


def _labelled(judged: Judged, run: Run) -> list[Judgment]:
    """The run's judgments of pairs with a label."""
    items = judged.benchmark.items if judged.benchmark else ()
    return [run.judgments[pair.id] for pair in items if pair.id in run.judgments]


def _graded(judged: Judged, run: Run) -> list[Graded]:
    if judged.benchmark is None:
        return []
    worth = judged.benchmark.protocol(judged.profile).worth
    items = judged.benchmark.items
    return [grade(pair, run.judgments[pair.id], worth) for pair in items if pair.id in run.judgments]


def _figures(judged: Judged, run: Run, labelled: Sequence[Judgment]) -> RunFigures:
    graded = _graded(judged, run)
    estimator = Estimator()
    said = confidences(graded)
    curve = risk_coverage([one.sure for one in said], [one.right for one in said])
    judgments = list(run.judgments.values())
    known = [judgment.position_consistent for judgment in judgments if judgment.position_consistent is not None]
    quotes = [
        citation.found
        for judgment in judgments
        for verdict in judgment.verdicts
        for citation in verdict.citations
        if citation.kind == "quote" and citation.found is not None
    ]
    return RunFigures(
        name=run.name,
        asked=_asked(run.record),
        outcomes=_outcomes(judgments, list(states(judged, run).values())),
        readings=_readings([verdict for judgment in judgments for verdict in judgment.verdicts]),
        scores=_scores(judged, run, labelled),
        consistent=_share("both orders agree", known),
        quotes=_share("quotes found", quotes),
        length=_by_length(graded, estimator),
        risk_coverage=tuple(curve[:: len(curve) // _POINTS + 1] + curve[-1:]),
        styles=_styles(graded),
        usage=sum((judgment.usage for judgment in judgments), Usage()),
        seconds=sum(judgment.latency_s for judgment in judgments),
        missing=run.missing,
    )


def _scores(judged: Judged, run: Run, labelled: Sequence[Judgment]) -> Scores | None:
    """The scores, with notes of how pairs were drawn, and of whatever was not asked as the profile asks."""
    if judged.benchmark is None or not labelled:
        return run.scores
    scores = judged.benchmark.score(labelled, judged.profile)
    otherwise = departures(run.record, judged.benchmark.protocol(judged.profile)) if run.record else ()
    notes = (*scores.notes, *run.record.get("notes", ()), *(f"{run.name}: {text}" for text in otherwise))
    return scores.model_copy(update={"notes": tuple(dict.fromkeys(notes))})


def _outcomes(judgments: Sequence[Judgment], found: Sequence[State]) -> Outcomes:
    return Outcomes(
        judged=len(judgments),
        right=found.count("right"),
        wrong=found.count("wrong"),
        tie=found.count("tie"),
        unreadable=found.count("unreadable"),
        unlabelled=found.count("unlabelled"),
        inconsistent=sum(judgment.position_consistent is False for judgment in judgments),
        forced=sum(any(verdict.forced for verdict in judgment.verdicts) for judgment in judgments),
    )


def _readings(verdicts: Sequence[Verdict]) -> Readings | None:
    if not verdicts:
        return None
    failures = Counter(verdict.failure.kind for verdict in verdicts if verdict.failure)
    forced = sum(verdict.forced for verdict in verdicts)
    finished = len(verdicts) - forced - failures.total()
    return Readings(n=len(verdicts), finished=finished, forced=forced, failures=dict(failures.most_common()))


def _share(name: str, flags: Sequence[bool]) -> Rate | None:
    found = wilson(sum(flags), len(flags))
    return found and Rate(name=name, value=found.share, low=found.low, high=found.high, n=len(flags), method="wilson")


def _by_length(graded: Sequence[Graded], estimator: Estimator) -> tuple[Rate, ...]:
    """The share of right verdicts by how long the better answer is."""
    flags: dict[str, list[Graded]] = {name: [] for name, _ in LENGTHS}
    for one in graded:
        if one.pair.label is None or one.pair.label == "tie":
            continue
        better, other = (len(one.pair.text(side)) for side in (one.pair.label, OTHER[one.pair.label]))
        ratio = better / other if other else float("inf") if better else 1.0
        flags[next(name for name, most in LENGTHS if ratio <= most)].append(one)
    rates = (rate(name, [(one.pair, one.right) for one in of_length], estimator) for name, of_length in flags.items())
    return tuple(found for found in rates if found)


def _styles(graded: Sequence[Graded]) -> tuple[StyleMatrix, ...]:
    """The matrix of all pairs and of each domain; none where pairs have no styles."""
    by_name: dict[str, dict[tuple[int, int], list[bool]]] = defaultdict(lambda: defaultdict(list))
    for one in graded:
        if "cell" in one.pair.metadata:
            for name in ("all domains", one.subset.partition("-")[0]):  # safety has two subsets
                by_name[name][tuple(one.pair.metadata["cell"])].append(one.right)
    return tuple(StyleMatrix(name=name, cells=_cells(cells)) for name, cells in by_name.items())


def _cells(cells: Mapping[tuple[int, int], Sequence[bool]]) -> tuple[Cell, ...]:
    return tuple(
        Cell(chosen=chosen, rejected=rejected, value=sum(right) / len(right), n=len(right))
        for (chosen, rejected), right in sorted(cells.items())
    )


def _asked(record: Mapping[str, Any]) -> dict[str, str]:
    """Settings of a run in plain words. Paths are cut to their last name: a report goes to others."""
    sampling = record.get("sampling") or {}
    data = record.get("data")
    rows = {
        "model": record.get("model"),
        "identity": record.get("identity"),
        "prompt": record.get("prompt"),
        "SHA-256 of the prompt": record.get("prompt_sha256"),
        "profile": record.get("profile"),
        "orders": record.get("orders"),
        "votes": record.get("votes"),
        "votes at most": record.get("max_votes"),
        **{name.replace("_", " "): sampling.get(name) for name in ("temperature", "top_p", "max_tokens")},
        "seed": record.get("seed"),
        "drawn": record.get("limit") and f"{record['limit']:,} pairs",
        "data": str(data).replace("\\", "/").rpartition("/")[2] if data else None,
        "SHA-256 of the data": record.get("data_sha256"),
        "rmr1_sdk": record.get("rmr1_sdk"),
        "Python": record.get("python"),
        **{str(name): version for name, version in (record.get("engines") or {}).items()},
    }
    return {name: str(value) for name, value in rows.items() if value not in (None, "")}
