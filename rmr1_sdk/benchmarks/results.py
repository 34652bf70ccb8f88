"""Read published results as judgments: our own files, rewards, and the files of other judges."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import exp
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field

from rmr1_sdk import parsing
from rmr1_sdk.benchmarks.benchmark import Benchmark
from rmr1_sdk.benchmarks.rows import Raw, Row, read
from rmr1_sdk.files.judgments import judgment_files, judgments_of
from rmr1_sdk.judging import voting
from rmr1_sdk.types import Judgment, Outcome, Pair, Shown, Side, Verdict, other

__all__ = ["FORMATS", "read_results"]

_IDS = ("pair_id", "id", "pair_uid", "bon_uid")
_SCOPES = ("category_path", "domain", "response_model", "subset")


def read_results(benchmark: Benchmark, path: str | Path) -> list[Judgment]:
    """The judgments of a file, of a folder of shards, or of a run's folder: `judgments.jsonl` in it.

    What a row holds is told by its fields (FORMATS). Its pair is found by its id, alone or after its subset. Where rows
    name no judge, the file's name is the judge's. Raises ConfigError where there is no such file, DataError, which
    names file and row, for rows that are none of these or of no pair of this benchmark.
    """
    files = judgment_files(judgments_of(Path(path).expanduser()))
    pairs = _Pairs(benchmark)
    return [judgment for file in files for raw in _rows(file) for judgment in _judgments(raw, pairs)]


def _rows(path: Path) -> Iterator[Raw]:
    """The rows of a file; also of a JSON object of columns, as RewardBench keeps its scores."""
    columns = _columns(path) if path.suffix == ".json" else None
    if columns is None:
        yield from read(path)
        return
    for number, values in enumerate(zip(*columns.values(), strict=False), start=1):
        yield Raw(path, number, dict(zip(columns, values, strict=True)))


def _columns(path: Path) -> dict[str, list[Any]] | None:
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return None  # what is wrong with it, its reader says
    return {k: v for k, v in found.items() if isinstance(v, list)} if isinstance(found, dict) else None


def _judgments(raw: Raw, pairs: "_Pairs") -> Iterator[Judgment]:
    field = next((field for field in FORMATS if field in raw.fields), None)
    if field is None:
        raise raw.error(f"none of {', '.join(FORMATS)} is there; the row has {', '.join(raw.fields)}")
    for judgment in FORMATS[field](raw, pairs):
        yield judgment if judgment.model else judgment.model_copy(update={"model": raw.path.stem})


class _Pairs:
    """The pairs of a benchmark, found by what a row tells of them."""

    def __init__(self, benchmark: Benchmark) -> None:
        self._name = benchmark.name
        self._by_id = {pair.id: pair for pair in benchmark.pairs()}
        self._by_texts = {(pair.question, pair.a, pair.b): pair for pair in benchmark.pairs()}
        self._duels = Counter[str]()

    def of(self, raw: Raw, *parts: object) -> Pair:
        """The pair of a row's id; `parts` are what our names have after that."""
        name = next((raw.fields[field] for field in _IDS if field in raw.fields), None)
        if name is None:
            raise raw.error(f"no id: one of {', '.join(_IDS)} says which pair it is of")
        if "bon_uid" in raw.fields:  # the duels of a list come in the order of its losers
            parts = (self._duels[str(name)],)
            self._duels[str(name)] += 1
        scopes = [(), *((raw.fields[field],) for field in _SCOPES if field in raw.fields)]
        names = ["/".join(map(str, (*scope, name, *parts))) for scope in scopes]
        found = next((self._by_id[name] for name in names if name in self._by_id), None)
        if found is None:
            raise raw.error(f"pair {names[-1]!r} is none of {self._name}'s here")
        return found

    def of_texts(self, raw: Raw) -> Pair:
        """The pair of a row's texts."""
        row = raw.read(_TextRow)
        found = self._by_texts.get((row.input, row.output_1, row.output_2))
        if found is None:
            raise raw.error(f"these texts are no pair of {self._name}'s here")
        return found


class _TextRow(Row):
    input: str
    output_1: str
    output_2: str


class _SidesRow(Row):
    score_a: float
    score_b: float


class _ChosenRow(Row):
    chosen: float | tuple[float, ...] = Field(validation_alias=AliasChoices("score_chosen", "scores_chosen"))
    rejected: float | tuple[float, ...] = Field(validation_alias=AliasChoices("score_rejected", "scores_rejected"))


class _Decision(Row):
    decision: Literal["A>B", "B>A", "A=B"] | None


class _DecisionsRow(Row):
    judgments: tuple[_Decision | None, ...] = Field(max_length=2)


class _Winner(Row):
    winner: Literal["1", "2"] | None


class _Orders(Row):
    given: _Winner = Field(alias="swap = False")
    other: _Winner = Field(alias="swap = True")


class _LogRow(Row):
    answers: str
    on_b: bool = Field(alias="Is_Chosen_Answer_Shuffled_toPositionB")


def _own(raw: Raw, pairs: _Pairs) -> Iterator[Judgment]:
    """A Judgment; or an id and a winner, with `p_a` and `model` if they are there."""
    if "verdicts" in raw.fields:
        yield raw.read(Judgment)
        return
    if whole := raw.fields.get("judgment"):  # a row of CSV or Parquet, of `rmr1 judge`
        yield raw._replace(fields=json.loads(whole)).read(Judgment)
        return
    given: dict[str, Any] = {name: raw.fields[name] for name in ("winner", "p_a", "model") if name in raw.fields}
    yield raw._replace(fields=given | {"pair_id": pairs.of(raw).id}).read(Judgment)


def _rewards_of_sides(raw: Raw, pairs: _Pairs) -> Iterator[Judgment]:
    """A scalar reward for each side."""
    row = raw.read(_SidesRow)
    yield _by_rewards(pairs.of(raw), row.score_a, row.score_b)


def _rewards_of_chosen(raw: Raw, pairs: _Pairs) -> Iterator[Judgment]:
    """A scalar reward for the chosen answer and for the rejected one; of lists, as in RM-Bench, every two."""
    row = raw.read(_ChosenRow)
    if isinstance(row.chosen, tuple) and isinstance(row.rejected, tuple):
        cells = product(enumerate(row.chosen), enumerate(row.rejected))
        scores = [(pairs.of(raw, f"{i}{j}"), chosen, rejected) for (i, chosen), (j, rejected) in cells]
    elif isinstance(row.chosen, float) and isinstance(row.rejected, float):
        scores = [(pairs.of(raw), row.chosen, row.rejected)]
    else:
        raise raw.error("one of the scores is a number and the other a list")
    for pair, chosen, rejected in scores:
        yield _by_rewards(pair, *((rejected, chosen) if pair.label == "B" else (chosen, rejected)))


def _by_rewards(pair: Pair, a: float, b: float) -> Judgment:
    """Rewards as Bradley and Terry have them: their difference is the log-odds of A."""
    winner: Outcome = "tie" if a == b else "A" if a > b else "B"
    odds = exp(-abs(a - b))  # of the worse side: never too large
    return Judgment(winner=winner, p_a=(1 if a >= b else odds) / (1 + odds), pair_id=pair.id)


def _decided(raw: Raw, pairs: _Pairs) -> Iterator[Judgment]:
    """JudgeBench: a decision in each order, of what was shown; in one order where the judge scores each answer."""
    decisions = [said and said.decision for said in raw.read(_DecisionsRow).judgments]
    sides = [_DECISIONS.get(decision or "") for decision in decisions]
    yield _voted(pairs.of(raw), [*sides[:1], *map(other, sides[1:])])


_DECISIONS: dict[str, Outcome] = {"A>B": "A", "B>A": "B", "A=B": "tie"}


def _swapped(raw: Raw, pairs: _Pairs) -> Iterator[Judgment]:
    """LLMBar: the last of its results has a winner in each order, 1 and 2 being the outputs of the row."""
    results = raw.fields["results"]
    last = raw._replace(fields=results[-1]) if isinstance(results, list) and results else raw
    row = last.read(_Orders)
    sides: dict[str | None, Side] = {"1": "A", "2": "B"}
    yield _voted(pairs.of_texts(raw), [sides.get(row.given.winner), sides.get(row.other.winner)])


def _logged(raw: Raw, pairs: _Pairs) -> Iterator[Judgment]:
    """RM-R1's logs: what the judge wrote, read by RM-R1's own rule, and where the chosen answer stood."""
    row = raw.read(_LogRow)
    pair = pairs.of(raw)
    shown: Shown = "AB" if (pair.label == "B") == row.on_b else "BA"
    yield _judgment(pair, [parsing.read(row.answers, mode="rmr1_eval", pair=pair, shown=shown)])


def _voted(pair: Pair, sides: Sequence[Outcome | None]) -> Judgment:
    """One reading in each order."""
    orders: tuple[Shown, Shown] = ("AB", "BA")
    verdicts = [Verdict(winner=side, shown=shown) for side, shown in zip(sides, orders, strict=False)]
    return _judgment(pair, verdicts)


def _judgment(pair: Pair, verdicts: Sequence[Verdict]) -> Judgment:
    return voting.judgment(verdicts, pair_id=pair.id, model="", prompt="", latency_s=0.0)


FORMATS: dict[str, Callable[[Raw, _Pairs], Iterator[Judgment]]] = {
    "judgments": _decided,
    "answers": _logged,
    "score_a": _rewards_of_sides,
    "score_chosen": _rewards_of_chosen,
    "scores_chosen": _rewards_of_chosen,
    "results": _swapped,  # after the scores: RewardBench's files of scores have a column of this name too
    "winner": _own,
}
"""The field that tells what a row holds, and what makes judgments of it."""
