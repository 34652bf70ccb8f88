"""Finished runs of `rmr1 bench` and `rmr1 judge`, read together with their pairs."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from rmr1_sdk import benchmarks
from rmr1_sdk.benchmarks import BENCHMARKS, PROFILES, Benchmark, Profile, Scores
from rmr1_sdk.errors import DataError, RMR1Error
from rmr1_sdk.files.judgments import judgments_of, read_judgments, read_record
from rmr1_sdk.files.pairs import read_pairs
from rmr1_sdk.files.rows import file_digest
from rmr1_sdk.types import Judgment, Pair

__all__ = ["Judged", "Run", "read_runs"]

_NO_PAIRS = "no questions, no answers, and nothing about right and wrong but what scores.json says"


@dataclass(frozen=True)
class Run:
    """Judgments of one run, with its record.

    Attributes:
        name: the model's; with the folder's where several runs are of one model.
        record: its `run.json`; empty where there is none.
        judgments: by the id of their pair.
        scores: what its `scores.json` has; None where there is none.
        missing: what is not there, a sentence each.
    """

    name: str
    path: Path
    record: Mapping[str, Any]
    judgments: Mapping[str | None, Judgment]
    scores: Scores | None
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Judged:
    """Runs over the same pairs.

    Attributes:
        title: the benchmark's, or the file's name.
        pairs: in the order of their file, those that any run judged; empty where the file is not at hand.
        benchmark: the pairs with a label; None where there are none.
        profile: what figures follow, the first run's.
        missing: what is not there for any run, a sentence each.
    """

    title: str
    runs: tuple[Run, ...]
    pairs: tuple[Pair, ...]
    benchmark: Benchmark | None
    profile: Profile
    missing: tuple[str, ...]

    @property
    def ids(self) -> list[str | None]:
        """Every pair of which there is a judgment, in order."""
        if self.pairs:
            return [pair.id for pair in self.pairs]
        return list(dict.fromkeys(name for run in self.runs for name in run.judgments))


def read_runs(paths: Sequence[str | Path], data: str | Path | None = None) -> Judged:
    """Runs: a folder of `rmr1 bench --out`, or what `rmr1 judge --out` names, a file or a folder of shards.

    All of them are over the same pairs.

    `data` is the file or folder that was judged. Without it, it is looked for where the first run had it, and not
    found there, the report says what it lacks.

    Raises ConfigError for what is not there, and DataError for runs of different pairs and for files that are none.
    """
    files = [judgments_of(Path(path).expanduser()) for path in paths]
    records = [read_record(file) for file in files]
    first = next((record for record in records if record), {})
    for file, record in zip(files, records, strict=True):
        for field in ("benchmark", "data_sha256"):
            if record and record.get(field) != first.get(field):
                raise DataError(
                    f"its {field} is {record.get(field)}, that of the first run {first.get(field)}: "
                    "a report is of runs over the same pairs",
                    path=file.parent / "run.json",
                )
    pairs, benchmark, missing = _pairs(first, data)
    runs = [_run(file, record, benchmark) for file, record in zip(files, records, strict=True)]
    there = {name for run in runs for name in run.judgments}
    if pairs and (strangers := there - {pair.id for pair in pairs}):
        raise DataError(f"no pair there is called {min(map(str, strangers))!r}, and one was judged", path=_place(data))
    profile = first.get("profile")
    return Judged(
        title=_title(first, data, files[0]),
        runs=_named(runs),
        pairs=tuple(pair for pair in pairs if pair.id in there),
        benchmark=benchmark,
        profile=cast(Profile, profile) if profile in PROFILES else "official",
        missing=missing,
    )


def _pairs(record: Mapping[str, Any], data: str | Path | None) -> tuple[list[Pair], Benchmark | None, tuple[str, ...]]:
    """The pairs that were judged, the labelled ones as a benchmark, and what is missing."""
    place = _place(data) or _place(record.get("data"))
    name = record.get("benchmark")
    if place is None and name is None:
        return [], None, (f"The pairs are not known: {_NO_PAIRS}. --data names their file.",)
    try:
        benchmark, pairs = _benchmark(name, place, record) if name else _own(cast(Path, place), record)
    except RMR1Error as error:
        if data is not None:
            raise
        return [], None, (f"The pairs are not at hand ({error}): {_NO_PAIRS}. --data names their file.",)
    found = file_digest(place) if name is None and place else benchmark and benchmark.data_sha256
    if found and record.get("data_sha256", found) != found:
        raise DataError(f"these are other pairs: SHA-256 {found}, not {record['data_sha256']}", path=place)
    if benchmark is None:
        return pairs, None, ("No pair has a label: nothing is known of right and wrong.",)
    labels = len(benchmark.items)
    some = (f"{labels:,} of {len(pairs):,} pairs have a label.",) if labels < len(pairs) else ()
    return pairs, benchmark, some


def _benchmark(name: str, place: Path | None, record: Mapping[str, Any]) -> tuple[Benchmark, list[Pair]]:
    benchmark = benchmarks.load(name, place, partial=bool(record.get("partial")))
    return benchmark, list(benchmark.pairs())


def _own(place: Path, record: Mapping[str, Any]) -> tuple[Benchmark | None, list[Pair]]:
    """The pairs of a file for `rmr1 judge`; what was a bad line then is none of them."""
    pairs = read_pairs(place, fields=record.get("fields"), labels=record.get("labels"), seed=record.get("seed", 0)).rows
    name, times = Counter(pair.id for pair in pairs).most_common(1)[0] if pairs else (None, 0)
    if times > 1:
        raise DataError(f"{times} pairs are called {name!r}: a report could not tell them apart", path=place)
    labelled = tuple(pair for pair in pairs if pair.label)
    return Benchmark(BENCHMARKS["pairs"], labelled) if labelled else None, pairs


def _run(file: Path, record: Mapping[str, Any], benchmark: Benchmark | None) -> Run:
    missing = [] if record else ["There is no run.json of these judgments: how they were asked for is not known."]
    read = benchmarks.read_results(benchmark, file) if benchmark else list(read_judgments(file))
    judgments = {judgment.pair_id: judgment for judgment in read}
    if not read:
        raise DataError("no judgments in it", path=file)
    if len(judgments) < len(read):
        raise DataError("two judgments are of one pair", path=file)
    scores = _scores(file.parent / "scores.json") if benchmark is None else None
    model = str(record.get("model") or read[0].model or file.stem)
    return Run(model, file, record, judgments, scores, tuple(missing))


def _scores(path: Path) -> Scores | None:
    if not path.exists():
        return None
    try:
        return Scores.model_validate(json.loads(path.read_bytes())["scores"][0])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError("not the scores of `rmr1 bench`", path=path) from error


def _named(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The runs with names that differ."""
    models = Counter(run.name for run in runs)
    named = [
        run if models[run.name] == 1 else replace(run, name=f"{run.name} ({run.path.parent.resolve().name})")
        for run in runs
    ]
    names = Counter(run.name for run in named)
    return tuple(
        run if names[run.name] == 1 else replace(run, name=f"{run.name}, {number}")
        for number, run in enumerate(named, start=1)
    )


def _title(record: Mapping[str, Any], data: str | Path | None, file: Path) -> str:
    name = record.get("benchmark")
    if name in BENCHMARKS:
        return BENCHMARKS[name].title
    place = _place(data) or _place(record.get("data"))
    return place.name if place else file.name


def _place(data: object) -> Path | None:
    return Path(data).expanduser() if isinstance(data, str | Path) else None
