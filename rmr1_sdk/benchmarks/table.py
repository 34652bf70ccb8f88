"""The table of benchmarks, and `load`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rmr1_sdk.benchmarks import judgebench, llmbar, pair_sets, rewardbench, rm_bench, rmb
from rmr1_sdk.benchmarks.benchmark import Benchmark, Entry, count_units
from rmr1_sdk.benchmarks.rows import Raw, find, from_hub, read
from rmr1_sdk.errors import ConfigError, DataError, unknown
from rmr1_sdk.files.rows import file_digest
from rmr1_sdk.types import Pair

__all__ = ["BENCHMARKS", "load"]

BENCHMARKS = {
    entry.name: entry
    for entry in (rewardbench.ENTRY, rm_bench.ENTRY, rmb.ENTRY, judgebench.ENTRY, llmbar.ENTRY, *pair_sets.ENTRIES)
}
"""Every benchmark by its name. A new one is an entry and its scorer."""


def load(name: str | Entry, data: str | Path | None = None, *, partial: bool = False) -> Benchmark:
    """A benchmark from its published file or folder; without `data`, from the hub where it is there.

    `name` is one of BENCHMARKS, or an Entry of your own. The number of pairs is checked; with `partial` it may be any,
    and scores say so. A subset that is missing whole is said too.

    Raises ConfigError for a name or a place that is not there or cannot be read, and DataError, which names file, row
    and field, for rows that are not what the benchmark publishes.
    """
    entry = _entry(name) if isinstance(name, str) else name
    paths = [] if data is None else find(Path(data).expanduser(), entry.files)
    place = paths[0] if len(paths) == 1 else Path(data) if data is not None else None
    rows = [raw for path in paths for raw in read(path)] if paths else _hub_rows(entry)
    pairs = tuple(entry.make(iter(rows)))
    _check_names(pairs, place)
    notes = _check_counts(entry, pairs, place, partial)
    return Benchmark(entry, pairs, file_digest(*paths) if paths else None, notes)


def _entry(name: str) -> Entry:
    if name not in BENCHMARKS:
        raise unknown("benchmark", name, BENCHMARKS)
    return BENCHMARKS[name]


def _hub_rows(entry: Entry) -> list[Raw]:
    if entry.hub is None:
        raise ConfigError(f"{entry.name} is not on the hub: give its file or folder as data ({entry.source})")
    return list(from_hub(entry.hub))


def _check_names(pairs: Sequence[Pair], place: Path | None) -> None:
    if not pairs:
        raise DataError("no pairs in it", path=place)
    name, times = Counter(pair.id for pair in pairs).most_common(1)[0]
    if times > 1:
        raise DataError(f"{times} pairs are called {name!r}", path=place)


def _check_counts(entry: Entry, pairs: Sequence[Pair], place: Path | None, partial: bool) -> tuple[str, ...]:
    """Notes on what is missing. Raises DataError where something is there but not all of it, or more."""
    found = count_units(pairs)
    expected = entry.counts or ({"": entry.total} if entry.total else {})
    if entry.total:
        found = Counter({"": found.total()})
    if entry.counts and (unknown := sorted(found.keys() - entry.counts.keys())):
        raise DataError(f"{unknown[0]!r} is no part of {entry.title}; there are {', '.join(entry.counts)}", path=place)
    wrong = [subset for subset, n in expected.items() if found[subset] not in (0, n)]
    if wrong and not partial:
        what = f" of {wrong[0]}" if wrong[0] else ""
        counts = f"{found[wrong[0]]:,} rows{what} where {entry.title} has {expected[wrong[0]]:,}"
        raise DataError(f"{counts}; partial (--partial) takes a part", path=place)
    notes = [f"a part of {entry.title}: {found.total():,} of {sum(expected.values()):,}"] if wrong else []
    if missing := [subset for subset in expected if not found[subset]]:
        notes.append(f"not there: {', '.join(missing)}")
    return tuple(notes)
