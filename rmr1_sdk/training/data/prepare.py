"""Prepare preference data: read, clean, decontaminate, split and describe it.

Rows go by twice, one after another. Between the two lie a file of what was kept and, in memory, some hashes of 64 bits
for each row; so millions of them are no trouble.
"""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from heapq import nsmallest
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TextIO

from pydantic import ConfigDict, Field

from rmr1_sdk import prompts
from rmr1_sdk.errors import ConfigError, DataError, MissingExtraError
from rmr1_sdk.hashing import digest
from rmr1_sdk.training.data.card import WHY, DataCard, Tally
from rmr1_sdk.training.data.contamination import Benchmarks
from rmr1_sdk.training.data.sources import Source, read_pairs
from rmr1_sdk.training.data.splits import Member, Parts, check_parts, split
from rmr1_sdk.training.stage import Step
from rmr1_sdk.types import AsOption, Message, Pair, Value

__all__ = ["DataPlan", "prepare", "token_counter"]


class DataPlan(Value):
    """The pairs to train on: sources, filters and parts."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    sources: tuple[Source, ...] = Field(min_length=1)
    """Sources of pairs, in this order."""
    parts: Parts = {"distill": 0.12, "rl": "rest"}  # noqa: RUF012  # pydantic copies it
    """The files to write, each with its share (0.12), its number of rows (600), or "rest". Every source is split
    alike. Rows with the same question stay together; in the tiny domain, rows with the same "problem". None may come
    out empty."""
    sides: Literal["alternate", "seeded"] = "alternate"
    """Side of the better answer, whatever it was: by turns in each source and part, or by the seed and the text."""
    against: Annotated[tuple[Path, ...], AsOption(unset="none")] = ()
    """A benchmark file; rows that share text with it are dropped."""
    tokenizer: Annotated[str | None, AsOption(unset="no limit of tokens")] = None
    """A model's name or folder; drops rows whose prompt is too long for it."""
    max_prompt_tokens: int = Field(default=4096, ge=1)
    """Tokens that a prompt may have, with a tokenizer; its chat template included."""
    prompt: str = "cor"
    """Name of the prompt whose length is measured."""
    seed: int = 0
    """Seed of all randomness."""
    skip_bad: Annotated[bool, AsOption("--skip-bad")] = False
    """List bad rows in the card and go on."""


def prepare(plan: DataPlan, out: Path, *, advance: Callable[[], None] = lambda: None) -> DataCard:
    """Write a JSONL file of pairs for each part, the card, and what was removed; return the card.

    `OUT/PART.jsonl` is read by `files.pairs.read_pairs`; `card.json` and `card.md` are the card; `removed.jsonl` has
    a line for each dropped row, but those that were filtered or not taken. A folder that holds the same already is
    left alone. `advance` is called once a row.

    Raises ConfigError for a plan that cannot be carried out, and DataError at a row that cannot be read or where no
    rows are left.
    """
    check_parts(plan.parts)
    prompts.get(plan.prompt)
    files = [source.file for source in plan.sources if source.file]
    step = Step("data", out, plan.model_dump(mode="json"), [*files, *plan.against])
    if step.is_done():
        return DataCard.model_validate_json((out / "card.json").read_text(encoding="utf-8"))
    kept = out / "kept.part"
    with step.writing("removed.jsonl") as removed:
        run = _Run(plan, removed)
        with kept.open("w", encoding="utf-8") as file:
            for row in run.first_pass(advance):
                file.write(row.model_dump_json() + "\n")
        card = run.second_pass(kept, step)
    step.write("card.json", card.model_dump_json(indent=2) + "\n")
    step.write("card.md", card.as_markdown() + "\n")
    kept.unlink()
    step.finish()
    return card


def token_counter(tokenizer: str) -> Callable[[Sequence[Message]], int]:
    """Build a counter of the tokens of messages under a tokenizer's chat template, generation prompt included.

    Raises ConfigError where there is no such tokenizer.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("transformers", "train") from error
    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--tokenizer {tokenizer}: {error}") from error

    def number(messages: Sequence[Message]) -> int:
        turns = [message.model_dump() for message in messages]
        if loaded.chat_template is None:
            return len(loaded("\n".join(turn["content"] for turn in turns))["input_ids"])
        return len(loaded.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False))

    return number


class _Row(Value):
    """A row between the passes: its better answer is A. `tokens` are those of its prompt."""

    pair: Pair
    tokens: int | None = None

    @property
    def source(self) -> str:
        """Source that its metadata names."""
        return str(self.pair.metadata["source"])


class _Reason(NamedTuple):
    """Why a row is dropped: a key of WHY, and more about this row."""

    name: str
    detail: str = ""


class _Keys(NamedTuple):
    """Keys of a row: its content, the number of the plan's source, its question, its source."""

    content: int
    number: int
    question: int
    source: str


class _Run:
    """One run: what was seen, dropped and kept so far."""

    def __init__(self, plan: DataPlan, removed: TextIO) -> None:
        self._plan = plan
        self._removed = removed
        self._benchmarks = Benchmarks(plan.against)
        self._prompt = prompts.get(plan.prompt)
        self._count_tokens = token_counter(plan.tokenizer) if plan.tokenizer else None
        self._read = 0
        self._dropped: dict[str, Counter[str]] = defaultdict(Counter)
        self._bad: list[str] = []
        self._winners: dict[int, bool] = {}  # by content: whether the better answer comes first in the alphabet
        self._may_be_left: dict[int, int] = {}  # by content: the source that may not take it, where that has it last
        self._contradicted: set[int] = set()
        self._problems: dict[int, int] = {}  # of questions of the tiny domain
        self._keys: list[_Keys] = []

    def first_pass(self, advance: Callable[[], None]) -> Iterator[_Row]:
        """The rows that nothing speaks against so far."""
        for number, source in enumerate(self._plan.sources):
            for pair in read_pairs(source, self._plan.seed):
                self._read += 1
                advance()
                if pair is None:
                    self._dropped[source.title]["filtered"] += 1
                elif isinstance(pair, DataError):
                    self._note_bad(source, pair)
                elif isinstance(row := self._seen_alone(pair, number), _Reason):
                    self._drop(pair, row)
                else:
                    yield row

    def _note_bad(self, source: Source, error: DataError) -> None:
        if not self._plan.skip_bad:
            raise DataError(f"{error}; nothing was written. --skip-bad leaves such rows out and lists them")
        told = str(error)
        self._bad.append(told.replace(str(error.path), error.path.name) if source.file and error.path else told)
        self._dropped[source.title]["bad"] += 1

    def _seen_alone(self, pair: Pair, number: int) -> "_Row | _Reason":
        """The row with its better answer as A, or why it is dropped."""
        if pair.label not in ("A", "B"):
            return _Reason("no winner", f"the label is {pair.label}")
        if pair.is_identical:
            return _Reason("identical")
        pair = pair if pair.label == "A" else pair.swapped()
        answers = [repr(pair.a), repr(pair.b)]
        content, in_order = digest(pair.question, *sorted(answers)), answers == sorted(answers)
        if content in self._winners:
            if self._winners[content] != in_order:
                self._contradicted.add(content)
            if self._may_be_left.get(content, number) == number:
                return _Reason("duplicate")
        self._winners.setdefault(content, in_order)
        self._may_be_left.pop(content, None)
        if self._plan.sources[number].take is not None:
            self._may_be_left[content] = number
        if shared := self._benchmarks.find(pair):
            return _Reason("contaminated", shared)
        tokens = self._count_tokens(self._prompt.render(pair)) if self._count_tokens else None
        if tokens is not None and tokens > self._plan.max_prompt_tokens:
            return _Reason("too long", f"{tokens} tokens")
        row = _Row(pair=pair, tokens=tokens)
        question = _question(pair)
        if row.source.startswith("tiny/") and "problem" in pair.metadata:
            self._problems[question] = digest("problem", pair.metadata["problem"])
        self._keys.append(_Keys(content, number, question, sys.intern(row.source)))
        return row

    def _drop(self, pair: Pair, reason: "_Reason", *, listed: bool = True) -> None:
        source = pair.metadata["source"]
        self._dropped[source][reason.name] += 1
        if listed:
            line = {"id": pair.id, "source": source, "reason": reason.name, "detail": reason.detail}
            self._removed.write(json.dumps(line, ensure_ascii=False) + "\n")

    def second_pass(self, kept: Path, step: Step) -> DataCard:
        """Write every part, and say what was written."""
        plan = self._plan
        reasons = self._reasons()
        members = [self._member(keys) for keys, reason in zip(self._keys, reasons, strict=True) if reason is None]
        if not members:
            raise DataError(f"no row of {self._read} is left: {dict(self._total_dropped())}")
        part_of = split(plan.parts, members, plan.seed)
        parts = {part: _Part(plan) for part in plan.parts}
        sources: dict[str, Tally] = defaultdict(Tally)
        with ExitStack() as stack, kept.open(encoding="utf-8") as lines:
            files = {part: stack.enter_context(step.writing(f"{part}.jsonl")) for part in parts}
            for keys, reason, line in zip(self._keys, reasons, lines, strict=True):
                row = _Row.model_validate_json(line)
                if reason is not None:
                    self._drop(row.pair, _Reason(reason), listed=reason != "not taken")
                else:
                    part = part_of[self._member(keys).group]
                    pair = parts[part].add(row)
                    sources[row.source].add(pair, row.tokens)
                    files[part].write(pair.model_dump_json(exclude_defaults=True) + "\n")
        return self._card(len(members), parts, sources)

    def _reasons(self) -> list[str | None]:
        """Why each row that was kept so far is dropped after all; None where it is taken."""
        reasons: list[str | None] = []
        drawn: set[int] = set()  # what sources took that give only so many rows
        for number, rows in groupby(self._keys, key=lambda keys: keys.number):
            contents = [keys.content for keys in rows]
            left = [content for content in contents if content not in self._contradicted and content not in drawn]
            take = self._plan.sources[number].take
            taken = set(left if take is None else nsmallest(take, left, key=self._draw))
            for content in contents:
                known = "contradicted" if content in self._contradicted else "duplicate" if content in drawn else None
                reasons.append(known or (None if content in taken else "not taken"))
            if take is not None:
                drawn |= taken
        return reasons

    def _draw(self, content: int) -> int:
        return digest(self._plan.seed, "take", content)

    def _member(self, keys: _Keys) -> Member:
        """A row stays together with its question, and in the tiny domain with its problem."""
        return Member(self._problems.get(keys.question, keys.question), keys.source)

    def _total_dropped(self) -> Counter[str]:
        total = sum(self._dropped.values(), Counter[str]())
        return Counter({reason: total[reason] for reason in WHY if total[reason]})

    def _card(self, kept: int, parts: "Mapping[str, _Part]", sources: Mapping[str, Tally]) -> DataCard:
        return DataCard(
            read=self._read,
            kept=kept,
            dropped=dict(self._total_dropped()),
            dropped_of={source: dict(counts) for source, counts in self._dropped.items()},
            bad_rows=tuple(self._bad),
            parts={name: part.tally.rows() for name, part in parts.items()},
            sources={name: tally.rows() for name, tally in sources.items()},
            sources_of={name: dict(part.sources) for name, part in parts.items()},
            settings=_settings(self._plan),
        )


def _settings(plan: DataPlan) -> dict[str, Any]:
    """The plan for the card, which is published: files and folders by their names, without where they lie."""
    named = plan.model_copy(
        update={
            "sources": tuple(
                source.model_copy(update={"path": source.file.name}) if source.file else source
                for source in plan.sources
            ),
            "against": tuple(Path(path.name) for path in plan.against),
            "tokenizer": plan.tokenizer and _folder_name(plan.tokenizer),
        }
    )
    return named.model_dump(mode="json", exclude_defaults=True) | {"seed": plan.seed}


def _folder_name(model: str) -> str:
    """A model's name; of a folder, its last part."""
    folder = Path(model).expanduser()
    return folder.name if folder.is_absolute() or folder.is_dir() else model


class _Part:
    """A part while it is written: which side comes next in each source, and what was written."""

    def __init__(self, plan: DataPlan) -> None:
        self._plan = plan
        self._swaps: dict[str, bool] = {}
        self.tally = Tally()
        self.sources: Counter[str] = Counter()

    def add(self, row: _Row) -> Pair:
        """The pair with its sides as they are to be written."""
        pair = row.pair.swapped() if self._swap(row) else row.pair
        self.sources[row.source] += 1
        self.tally.add(pair, row.tokens)
        return pair

    def _swap(self, row: _Row) -> bool:
        """True where the better answer goes to side B."""
        if self._plan.sides == "seeded":
            texts = row.pair.model_dump_json(include={"question", "a", "b"})
            return digest(self._plan.seed, "side", texts) % 2 == 1
        # each source takes turns; the second one begins with B, so that odd numbers of rows do not add up
        swap = self._swaps.setdefault(row.source, len(self._swaps) % 2 == 1)
        self._swaps[row.source] = not swap
        return swap


def _question(pair: Pair) -> int:
    """A question whatever its case and white space."""
    turns = (pair.question,) if isinstance(pair.question, str) else tuple(turn.content for turn in pair.question)
    return digest("question", *(" ".join(turn.split()).casefold() for turn in turns))
