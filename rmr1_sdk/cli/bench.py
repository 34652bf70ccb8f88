"""`rmr1 bench`: score a judge, or existing results, on a benchmark."""

import functools
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import typer

from rmr1_sdk import benchmarks
from rmr1_sdk.backends import connect
from rmr1_sdk.benchmarks import Benchmark, Comparison, Profile, Protocol, Scores, departures, judge_options
from rmr1_sdk.cli import common
from rmr1_sdk.cli.cluster import CLUSTER, Cluster
from rmr1_sdk.cli.options import JudgeFlags, judge_flags, takes
from rmr1_sdk.cli.report import check_form, write_report
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.errors import ConfigError, DataError, RMR1Error, file_errors
from rmr1_sdk.files.cache import write_atomic
from rmr1_sdk.files.judgments import RUN_JUDGMENTS, judgments_of, read_record
from rmr1_sdk.judge import Judge
from rmr1_sdk.judging.options import JudgeArgs, JudgeOptions
from rmr1_sdk.types import Judgment

__all__ = ["bench"]


@takes(flags=judge_flags(protocol="the profile's"), cluster=CLUSTER)
def bench(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(benchmarks.BENCHMARKS)}.")],
    results: Annotated[
        list[Path],
        typer.Option("--from", help="A run's folder, or a file of results, to score; repeat it.", show_default="none"),
    ] = [],  # noqa: B006  # typer copies it
    data: Annotated[
        Path | None, typer.Option(help="The published file or folder.", show_default="from the hub")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="official or rmr1_compat.", show_default="official")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Judge N randomly drawn pairs, stratified by subset.", show_default="all")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Accept data that is only a part of the benchmark.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="A folder for judgments, scores and run.json.", show_default="none")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="A report of the run in --out: its name ends in .html, .md or .json.", show_default="none"),
    ] = None,
    *,
    flags: JudgeFlags,
    cluster: Cluster | None,
) -> None:
    """Score a judge (--model) or existing results (--from) on a benchmark."""
    model = flags.model
    if model or not results:
        flags.check_model()
    if report:
        _check_report(report, model, out)
    place = out and out / RUN_JUDGMENTS
    if cluster:
        cluster.check(out, flags)
    _check_place(place, model, ray=cluster is not None)
    benchmark, chosen, about = _load(name, results, data, profile, partial=partial)
    found = [benchmarks.read_results(benchmark, path) for path in results]
    if limit is not None:
        benchmark = benchmark.sample(limit, JudgeOptions.of(flags.options).seed)
        about["limit"] = limit
    judged = [_Judged(_of(benchmark, one), _record(path)) for one, path in zip(found, results, strict=True)]
    if model:
        judged.insert(0, _run(flags, benchmark, chosen, place, about, cluster))
    if report and out:
        write_report([out, *results], report)
    scores = [_score(benchmark, one, chosen) for one in judged]
    comparisons = [benchmark.compare(judged[0].judgments, other.judgments, chosen) for other in judged[1:]]
    _report(scores, comparisons, out)


def _check_report(report: Path, model: str, out: Path | None) -> None:
    check_form("--report", report)
    if not (model and out):
        raise ConfigError(
            "--report is made of a new run: give --model and --out; `rmr1 report` makes it of finished ones"
        )


def _check_place(place: Path | None, model: str, *, ray: bool) -> None:
    """Refuse --ray without a run, and a folder that was begun the other way."""
    if ray and not model:
        raise ConfigError("--ray is for a run: give --model")
    if model and place and place.exists() and place.is_dir() != ray:
        begun = "without" if ray else "with"
        raise ConfigError(f"--out {place.parent}: begun {begun} --ray; resume it as begun, or name a new folder")


class _Judged(NamedTuple):
    """Judgments, and the record of how they were asked for; empty where others made them."""

    judgments: list[Judgment]
    record: dict[str, Any]


def _load(
    name: str, results: Sequence[Path], data: Path | None, profile: str | None, *, partial: bool
) -> tuple[Benchmark, Profile, dict[str, Any]]:
    """The benchmark, the profile, and what `run.json` keeps of both. What is not given is that of the first run."""
    earlier = [_record(path) for path in results]
    for path, run in zip(results, earlier, strict=True):
        if run.get("benchmark", name) != name:
            raise DataError(f"a run of {run['benchmark']}, not of {name}", path=path)
    # a run of `rmr1 judge` has no benchmark, and its file may be made of the benchmark's
    ours = [run if run.get("benchmark", "pairs") == name else {} for run in earlier]
    first = ours[0] if ours else {}
    place = data or first.get("data")
    partial = partial or bool(first.get("partial"))
    benchmark = benchmarks.load(name, place, partial=partial)
    for path, run in zip(results, ours, strict=True):
        if benchmark.data_sha256 and run.get("data_sha256", benchmark.data_sha256) != benchmark.data_sha256:
            raise DataError(f"a run of other data: its SHA-256 was {run['data_sha256']}", path=path)
    chosen = cast(Profile, profile or first.get("profile", "official"))
    benchmark.protocol(chosen)  # refuses a profile that there is not
    where = None if place is None else str(Path(place).expanduser().resolve())
    return benchmark, chosen, {"benchmark": name, "profile": chosen, "data": where, "partial": partial}


def _record(path: Path) -> dict[str, Any]:
    """Record of a run; empty for files that others made."""
    return read_record(judgments_of(path.expanduser()))


def _of(benchmark: Benchmark, judgments: Sequence[Judgment]) -> list[Judgment]:
    """The judgments of these pairs, which may be a sample of those that were judged."""
    there = {pair.id for pair in benchmark.pairs()}
    return [judgment for judgment in judgments if judgment.pair_id in there]


@contextmanager
def _open(model: str, store: Path | None, protocol: Protocol, given: JudgeArgs) -> Iterator[Judge]:
    """The judge that the protocol asks for, but for what was given; its backend ends with it."""
    backend = connect(model)
    try:
        options = JudgeOptions.of(judge_options(protocol, backend)).replace(**given)
        with Judge(backend, store=store, **options.given()) as judge:
            yield judge
    finally:
        wait(submit(backend.aclose()))


def _run(
    flags: JudgeFlags,
    benchmark: Benchmark,
    profile: Profile,
    place: Path | None,
    about: dict[str, Any],
    cluster: Cluster | None,
) -> _Judged:
    """Judge the pairs, here or on these machines; keep what was said, and how it was asked."""
    protocol = benchmark.protocol(profile)
    pairs = list(benchmark.pairs())
    asked = about | {"protocol": str(protocol), "notes": benchmark.notes, "pairs": len(pairs)}
    make = functools.partial(_open, flags.model, None if cluster else flags.store(place), protocol, flags.options)
    if cluster and place:
        shards = cluster.shards(place)
        record = cluster.judge(make, asked, benchmark.data_sha256, pairs, shards, offline=flags.offline)
        judgments = [judgment for _, judgment in shards.judged(pairs)]
    else:
        output: common.Output[Judgment] = common.Output(place, None)
        judgments = []
        with make() as judge:
            with output:
                for judgment in judge.compare_many(pairs, progress=sys.stderr.isatty()):
                    judgments.append(judgment)
                    output.write(judgment)
            record = common.record(judge, asked, benchmark.data_sha256)
    if place:
        common.write_record(place, record)
    return _Judged(judgments, record)


def _score(benchmark: Benchmark, judged: _Judged, profile: Profile) -> Scores:
    """The scores, with a note of whatever was not asked as the profile asks."""
    scores = benchmark.score(judged.judgments, profile)
    said = departures(judged.record, benchmark.protocol(profile))
    return scores.model_copy(update={"notes": (*scores.notes, *(f"{scores.model}: {text}" for text in said))})


def _report(scores: Sequence[Scores], comparisons: Sequence[Comparison], out: Path | None) -> None:
    """JSON when standard output is a pipe, tables for a person; in OUT always JSON."""
    found = {
        "scores": [one.model_dump(mode="json") for one in scores],
        "comparisons": [one.model_dump(mode="json") for one in comparisons],
    }
    if out:
        with file_errors(f"--out {out}: cannot be written"):
            out.mkdir(parents=True, exist_ok=True)
        write_atomic(out / "scores.json", json.dumps(found, indent=2) + "\n")
    if not sys.stdout.isatty():
        print(json.dumps(found))
    print(as_text(scores, comparisons), file=sys.stdout if sys.stdout.isatty() else sys.stderr)
    unread = [one for one in scores if one.unreadable == one.judged]
    if unread:
        raise RMR1Error(f"no verdict of {unread[0].model} could be read")


def as_text(scores: Sequence[Scores], comparisons: Sequence[Comparison]) -> str:
    """The scores as tables: one judge with all there is to say, several side by side."""
    first = scores[0]
    names = [one.model for one in scores]
    if len(set(names)) < len(names):
        names = [f"{n}. {name}" for n, name in enumerate(names, start=1)]
    lines = [f"{first.benchmark}, {first.profile}: {first.protocol}", *map(_headline, names, scores), ""]
    lines += _one(first) if len(scores) == 1 else _side_by_side(names, scores)
    for name, comparison in zip(names[1:], comparisons, strict=True):
        lines += ["", f"{names[0]} less {name}, over {comparison.n:,} pairs:", *_compared(comparison)]
    lines += [f"note: {note}" for note in dict.fromkeys(note for one in scores for note in one.notes)]
    return "\n".join(line.rstrip() for line in lines)


def _headline(name: str, one: Scores) -> str:
    prompt = f" with prompt {one.prompt!r}" if one.prompt else ""
    return (
        f"{name}{prompt}: {one.judged:,} of {one.pairs:,} pairs judged, "
        f"{one.ties:,} ties, {one.unreadable:,} unreadable"
    )


def _one(one: Scores) -> Iterator[str]:
    yield f"{'figure':<40.40} {'score':<23} {'read':>6} {'strict':>7} {'covered':>8} {'n':>7}"
    for figure in one.figures:
        covered = "-" if figure.covered_accuracy is None else f"{figure.covered_accuracy:.1%}"
        yield (
            f"{figure.name:<40.40} {figure!s:<23} {figure.coverage:>6.1%} {figure.strict:>7.1%} {covered:>8} "
            f"{figure.n:>7,}"
        )
    for rate in one.position:
        yield f"{rate.name:<40.40} {rate!s:<23} {rate.n:>31,}"
    for agreement in one.agreement:
        kappa = "-" if agreement.kappa is None else f"{agreement.kappa:.2f}"
        yield (
            f"{f'{agreement.first} and {agreement.second}':<40.40} {agreement.agreement!s:<23} kappa {kappa} "
            f"{agreement.n:>20,}"
        )
    if found := one.calibration:
        loss = "infinite" if found.log_loss is None else f"{found.log_loss:.3f} nats"
        brier = f"Brier {found.brier.interval.text('number')}"
        error = f"ECE {found.ece:.1%} (up to {found.ece_by_chance:.1%} by chance)"
        yield f"probabilities of {found.n:,} pairs: {brier}, log loss {loss}, {error}"
        sure = dict.fromkeys(found.risk_coverage)
        yield "right: " + ", ".join(f"{point.accuracy:.1%} of the surest {point.coverage:.0%}" for point in sure)
    if one.budget:
        points = ", ".join(f"{point.tokens:,}: {point.right / one.judged:.1%}" for point in one.budget)
        yield f"right within so many tokens a reading: {points}"


def _side_by_side(names: Sequence[str], scores: Sequence[Scores]) -> Iterator[str]:
    yield f"{'figure':<40.40} " + " ".join(f"{name:<23.23}" for name in names)
    for name in dict.fromkeys(figure.name for one in scores for figure in one.figures):
        figures = [next((f for f in one.figures if f.name == name), None) for one in scores]
        yield f"{name:<40.40} " + " ".join(f"{'-' if figure is None else str(figure):<23}" for figure in figures)


def _compared(comparison: Comparison) -> Iterator[str]:
    for difference in comparison.differences:
        yield f"{difference.name:<40.40} {difference}"
    yield (
        f"right where the other is not: {comparison.only_first:,} and {comparison.only_second:,}, "
        f"McNemar's p {comparison.p:.3g}"
    )
