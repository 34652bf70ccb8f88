"""Data card: statistics of training data, rows left out, and biases that can be seen without reading."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rmr1_sdk.statistics.intervals import Share, share
from rmr1_sdk.types import OTHER, Pair, Value

__all__ = ["DataCard", "Lengths", "Rows", "Tally"]


class Lengths(Value):
    """Of texts: the mean, the median, the 95th percentile and the longest."""

    mean: float
    median: int
    p95: int
    longest: int


class Rows(Value):
    """Some rows of the data.

    `first_is_better` is how often A is the better answer, `longer_is_better` how often the longer one is, of those
    whose lengths differ; None without such rows. Lengths are in characters, except `prompt_tokens`, which is None
    where no tokenizer was given.
    """

    rows: int
    first_is_better: Share | None
    longer_is_better: Share | None
    question: Lengths
    better: Lengths
    worse: Lengths
    prompt_tokens: Lengths | None = None


class DataCard(Value):
    """Data card: the rows that a run of `rmr1 train data` read, left out and wrote.

    `dropped` counts rows by reason, `bad_rows` says what was wrong with each that could not be read. `parts` and
    `sources` describe what was written, by file and by source; `sources_of` counts the rows of each source in each
    part. `settings` is all that decided it. Files have their names alone, since cards are published.
    """

    read: int
    kept: int
    dropped: dict[str, int]
    dropped_of: dict[str, dict[str, int]]
    bad_rows: tuple[str, ...]
    parts: dict[str, Rows]
    sources: dict[str, Rows]
    sources_of: dict[str, dict[str, int]]
    settings: dict[str, Any]

    def as_markdown(self) -> str:
        """The card as a page."""
        total = f"{self.read:,} rows were read, {self.kept:,} kept and {sum(self.dropped.values()):,} dropped."
        reasons = [[reason, f"{count:,}", WHY.get(reason, "")] for reason, count in self.dropped.items()]
        parts = [
            [part, *(f"{counts.get(source, 0):,}" for source in self.sources)]
            for part, counts in self.sources_of.items()
        ]
        return "\n\n".join(
            [
                "# Data card",
                total,
                "## What could be guessed",
                "A share whose interval leaves 50% out is a cue that a judge can learn in place of reading.",
                _table(["", "rows", "A is better", "the longer is better"], _cues({**self.parts, **self.sources})),
                "## Lengths",
                "Mean, median, 95th percentile and longest, in characters; prompts in tokens.",
                _table(["", "question", "better", "worse", "prompt"], _lengths({**self.parts, **self.sources})),
                "## Parts and sources",
                _table(["", *self.sources], parts),
                *(["## Dropped", _table(["reason", "rows", ""], reasons)] if reasons else []),
                *(
                    ["Rows that could not be read:", "\n".join(f"- {row}" for row in self.bad_rows)]
                    * bool(self.bad_rows)
                ),
                "## Settings",
                "\n".join(f"- {name}: `{value}`" for name, value in self.settings.items()),
            ]
        )


WHY = {
    "bad": "could not be read",
    "filtered": "of a source that is not wanted",
    "no winner": "a tie, or without a label",
    "identical": "both answers are the same",
    "duplicate": "the same question and answers came before",
    "contradicted": "the same question and answers come with both labels; all of them are dropped",
    "contaminated": "shares text with a benchmark",
    "too long": "the prompt has more tokens than allowed",
    "not taken": "more rows than the source was to give",
}
"""Why rows are dropped, in the order in which it is looked at."""


def _cues(groups: Mapping[str, Rows]) -> Iterable[list[str]]:
    for name, rows in groups.items():
        yield [name, f"{rows.rows:,}", str(rows.first_is_better or "-"), str(rows.longer_is_better or "-")]


def _lengths(groups: Mapping[str, Rows]) -> Iterable[list[str]]:
    for name, rows in groups.items():
        columns = (rows.question, rows.better, rows.worse, rows.prompt_tokens)
        yield [name, *(f"{x.mean:.0f}, {x.median}, {x.p95}, {x.longest}" if x else "-" for x in columns)]


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Tally:
    """Counts rows one by one, and says what they come to."""

    def __init__(self) -> None:
        self._rows = 0
        self._first = 0
        self._longer = 0
        self._differ = 0
        self._question: Counter[int] = Counter()
        self._better: Counter[int] = Counter()
        self._worse: Counter[int] = Counter()
        self._tokens: Counter[int] = Counter()

    def add(self, pair: Pair, prompt_tokens: int | None) -> None:
        """Count a pair whose label is A or B."""
        assert pair.label in ("A", "B")
        better, worse = len(pair.text(pair.label)), len(pair.text(OTHER[pair.label]))
        asked = pair.question if isinstance(pair.question, str) else "".join(turn.content for turn in pair.question)
        self._rows += 1
        self._first += pair.label == "A"
        self._longer += better > worse
        self._differ += better != worse
        self._question[len(asked)] += 1
        self._better[better] += 1
        self._worse[worse] += 1
        if prompt_tokens is not None:
            self._tokens[prompt_tokens] += 1

    def rows(self) -> Rows:
        """Statistics of the rows."""
        return Rows(
            rows=self._rows,
            first_is_better=share(self._first, self._rows),
            longer_is_better=share(self._longer, self._differ),
            question=_summed_up(self._question),
            better=_summed_up(self._better),
            worse=_summed_up(self._worse),
            prompt_tokens=_summed_up(self._tokens) if self._tokens else None,
        )


def _summed_up(counts: Counter[int]) -> Lengths:
    total = counts.total()
    if not total:
        return Lengths(mean=0, median=0, p95=0, longest=0)
    mean = sum(length * count for length, count in counts.items()) / total
    return Lengths(mean=round(mean, 2), median=_quantile(counts, 0.5), p95=_quantile(counts, 0.95), longest=max(counts))


def _quantile(counts: Counter[int], share: float) -> int:
    """The smallest length that this share of the texts do not exceed."""
    seen, total = 0, counts.total()
    for length in sorted(counts):
        seen += counts[length]
        if seen >= share * total:
            return length
    return 0
