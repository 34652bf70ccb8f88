"""Synthetic domain of small problems whose solutions can be checked, with a perfect teacher.

Of two answers to a problem one is right; the other is wrong by a slip that people make. Texts are shaped for models of
a few million parameters: what a judge has to copy follows a space wherever it stands, so that it is made of the same
tokens, and names and words have three letters.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

from pydantic import Field, field_validator, model_validator

from rmr1_sdk.backends.fake import FakeBackend
from rmr1_sdk.errors import BackendError, ConfigError
from rmr1_sdk.hashing import digest
from rmr1_sdk.prompts import shown_pair
from rmr1_sdk.types import Criterion, Pair, Request, Side, Value, Verdict

__all__ = [
    "Domain", "Kind", "Problem", "Teacher", "Worked", "generate", "has_right_reasons", "solve", "trace", "worked",
]  # fmt: skip

Kind = Literal["sum", "unit", "order", "list"]
"""A running total, an amount in two units as one, who stands so many places after whom, a list under constraints."""

# fmt: off
_NAMES = [
    "Ann", "Bob", "Dan", "Eve", "Ian", "Jon", "Kim", "Leo", "Max", "Mia", "Ned", "Pam", "Ray", "Sue", "Tom", "Zoe",
]
_THINGS = ["bags", "boxes", "caps", "coins", "cups", "eggs", "hats", "keys", "maps", "nuts", "pens", "pins"]
_WORDS = [
    "ant", "bag", "bed", "box", "bus", "can", "car", "cat", "cow", "cup", "dog", "ear", "egg", "fan", "fig", "fox",
    "gem", "hat", "hen", "ink", "jar", "key", "leg", "map", "nut", "owl", "pan", "pen", "pig", "pot", "sea", "sky",
    "sun", "tea", "toy", "van",
]
# fmt: on
_GAINS, _LOSSES = ("gets", "finds", "wins"), ("loses", "sells", "drops")
_UNITS = {"weeks": ("days", 7), "feet": ("inches", 12), "years": ("months", 12)}
_MISTAKEN = {7: (5, 10), 12: (10,)}
_SAYS = ("It is {}.", "That is {}.", "The answer is {}.", "I make that {}.")
_TRIES = 1000


class Domain(Value):
    """Difficulty of the problems. Ranges are the least and the most, both included.

    Args:
        kinds: which kinds of problems, in equal parts.
        steps: changes of a running total.
        largest: the largest change of a running total, or of an amount.
        distractor: the share of running totals with a sentence that does not matter.
        links: links of a row, one fewer than the names in it.
        hops: places from the one that is named to an answer; two values or more, for the wrong one has another.
        words: words of a list.
    """

    kinds: tuple[Kind, ...] = Field(default=get_args(Kind), min_length=1)
    steps: tuple[int, int] = (2, 4)
    largest: int = Field(default=9, ge=2, le=50)
    distractor: float = Field(default=0.4, ge=0, le=1)
    links: tuple[int, int] = (5, 6)
    hops: tuple[int, int] = (2, 3)
    words: tuple[int, int] = (3, 5)

    @field_validator("steps", "links", "hops", "words")
    @classmethod
    def _is_a_range(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1] < len(_NAMES):
            raise ValueError(f"the least is 1 or more, the most not below it and under {len(_NAMES)}; not {value}")
        return value

    @model_validator(mode="after")
    def _has_room(self) -> "Domain":
        if self.hops[0] == self.hops[1]:
            raise ValueError(f"hops have two values or more, for a wrong answer is at another one; not {self.hops}")
        if self.hops[1] >= self.links[0]:
            raise ValueError(f"hops up to {self.hops[1]} need rows of at least {self.hops[1] + 1} links")
        if self.words[0] < 2:
            raise ValueError("a list has 2 words or more: a first one, and a last one")
        return self


class _Drawn(NamedTuple):
    """A question, and two answers to it."""

    question: str
    right: str
    wrong: str
    slip: str


def generate(count: int, *, seed: int = 0, domain: Domain | None = None) -> Iterator[Pair]:
    """So many pairs, no two alike; the first of them do not depend on how many there are.

    `metadata` has the kind as the "source", the "slip" by which one answer is wrong, and the "problem": pairs with the
    same one differ in words alone, so a split keeps them together. Raises ConfigError where the domain is too small.
    """
    domain = domain or Domain()
    seen: set[int] = set()
    for number in range(count):
        kind, rng = _begin(number, seed, domain)
        for _ in range(_TRIES):
            drawn = _DRAW[kind](rng, domain)
            if (name := digest(*drawn[:3])) not in seen:
                break
        else:
            raise ConfigError(f"tiny: there are not {count} different pairs in this domain; {kind} ran out at {number}")
        seen.add(name)
        side: Side = rng.choice(("A", "B"))
        a, b = (drawn.right, drawn.wrong) if side == "A" else (drawn.wrong, drawn.right)
        metadata = {"source": f"tiny/{kind}", "problem": solve(drawn.question).key, "slip": drawn.slip}
        yield Pair(question=drawn.question, a=a, b=b, id=f"tiny/{seed}/{number}", label=side, metadata=metadata)


def _begin(number: int, seed: int | str, domain: Domain) -> tuple[Kind, random.Random]:
    return domain.kinds[number % len(domain.kinds)], random.Random(f"{seed}/{number}")  # noqa: S311  # not for secrets


class Worked(NamedTuple):
    """A pair of answers, and what can be said of them: the work, and of each whether it is right.

    Either may be right, or both, or none. `key` is the problem's.
    """

    pair: Pair
    told: str
    key: str


def worked(number: int, *, seed: int = 0, domain: Domain | None = None) -> Worked:
    """One of endless problems worked out, for a model to read before it ever meets a judgment.

    Each of its two answers is right or wrong by a coin of its own: what is said of one does not tell the other.
    """
    domain = domain or Domain()
    kind, rng = _begin(number, f"worked {seed}", domain)
    drawn = _DRAW[kind](rng, domain)
    problem = solve(drawn.question)
    a, b = rng.choices((drawn.right, drawn.wrong), k=2)
    seen = f"{_look(problem, a, 'A').text} {_look(problem, b, 'B').text}"
    return Worked(Pair(question=drawn.question, a=a, b=b), f" {problem.work}\n{seen}", problem.key)


def _slipped(rng: random.Random, right: int, slips: Mapping[str, list[int]], start: int | None) -> tuple[int, str]:
    """A wrong number and how it came about.

    It is larger than the right one as often as smaller, or with a `start` as often nearer to that as farther.
    """
    first = rng.random() < 0.5

    def fits(value: int) -> bool:
        if value < 1 or value in (right, start):
            return False
        return (value > right if start is None else abs(value - start) < abs(right - start)) == first

    usual = {f"off by {size}": [right + size, right - size] for size in (1, 2, 10)}
    fitting = {slip: [value for value in values if fits(value)] for slip, values in {**slips, **usual}.items()}
    slip = rng.choice([slip for slip, values in fitting.items() if values])
    return rng.choice(fitting[slip]), slip


def _numbers(
    rng: random.Random, question: str, right: int, slips: Mapping[str, list[int]], start: int | None = None
) -> _Drawn:
    wrong, slip = _slipped(rng, right, slips, start)
    return _Drawn(question, rng.choice(_SAYS).format(right), rng.choice(_SAYS).format(wrong), slip)


def _draw_sum(rng: random.Random, domain: Domain) -> _Drawn:
    name, other = rng.sample(_NAMES, 2)
    thing = rng.choice(_THINGS)
    total = start = rng.randint(domain.largest + 1, 3 * domain.largest)
    changes: list[int] = []
    while abs(total - start) < 2:  # there must be a number between them, for slips that come nearer to the start
        total, changes = start, []
        for _ in range(rng.randint(*domain.steps)):
            size = rng.randint(1, domain.largest)
            changes.append(size if total - size < 2 else rng.choice((size, -size)))
            total += changes[-1]
    told = ", ".join(f"{rng.choice(_GAINS if change > 0 else _LOSSES)} {abs(change)}" for change in changes)
    sentences = [f"Say {name} has {start} {thing}.", f"Then {name} {told}."]
    slips = {
        "skips a step": [total - change for change in changes],
        "flips a sign": [total - 2 * change for change in changes],
    }
    if rng.random() < domain.distractor:
        more = rng.randint(2, domain.largest)
        sentences.insert(rng.choice((1, 2)), f"And {other} has {more} {thing}.")
        slips["counts another's"] = [total + more]
    question = " ".join([*sentences, f"How many {thing} does {name} have?"])
    return _numbers(rng, question, total, slips, start)


def _draw_unit(rng: random.Random, domain: Domain) -> _Drawn:
    large = rng.choice(list(_UNITS))
    small, factor = _UNITS[large]
    whole, rest = rng.randint(2, 9), rng.randint(2, factor - 1)
    change = rng.choice((0, 1, -1)) * rng.randint(2, domain.largest)
    total = whole * factor + rest + change
    then = f", then {abs(change)} {small} {'more' if change > 0 else 'less'}" if change else ""
    question = f"Take {whole} {large} and {rest} {small}{then}. How many {small} is that?"
    slips = {
        "leaves out the rest": [total - rest],
        "takes the wrong unit": [total + whole * (mistaken - factor) for mistaken in _MISTAKEN[factor]],
        "skips a step": [total - change],
        "flips a sign": [total - 2 * change],
    }
    return _numbers(rng, question, total, slips)


def _draw_order(rng: random.Random, domain: Domain) -> _Drawn:
    row = rng.sample(_NAMES, rng.randint(*domain.links) + 1)
    least, most = domain.hops
    # both from one range, so that how far an answer is away does not tell
    hops, others = rng.sample(range(least, most + 1), 2)
    # no answer is an end of the row: those are named only once, which would tell
    start = rng.randrange(len(row) - most - 1)
    links = [f"{one} before {other}" for one, other in pairwise(row)]
    rng.shuffle(links)
    question = f"In a row with {', '.join(links)}. Who is {hops} places after {row[start]}?"
    right, wrong = (rng.choice(_SAYS).format(row[start + away]) for away in (hops, others))
    return _Drawn(question, right, wrong, "goes too far" if others > hops else "stops early")


def _draw_list(rng: random.Random, domain: Domain) -> _Drawn:
    count = rng.randint(*domain.words)
    first, banned = rng.sample(_WORDS, 2)
    others = [word for word in _WORDS if word not in (first, banned)]
    slip = rng.choice(("wrong count", "begins with another", "ends as it must not"))
    right, wrong = [first, *rng.sample(others, count - 1)], [first, *rng.sample(others, count - 1)]
    if slip == "wrong count":
        wrong = [first, *rng.sample(others, count - 1 + rng.choice((1, -1)))]
    elif slip == "begins with another":
        wrong = [*rng.sample(others, count - 1), first]
        rng.shuffle(wrong)
        if wrong[0] == first:
            wrong.reverse()
    else:
        wrong[-1] = banned
    question = f"Write a list of {count} words, {first} first and {banned} not last."
    return _Drawn(question, f"List: {' '.join(right)}", f"List: {' '.join(wrong)}", slip)


_DRAW: Mapping[Kind, Callable[[random.Random, Domain], _Drawn]] = {
    "sum": _draw_sum,
    "unit": _draw_unit,
    "order": _draw_order,
    "list": _draw_list,
}


@dataclass(frozen=True)
class Problem:
    """Problem that a question poses.

    `key` is the same for the same problem in other words. `work` is how a judge works it out, or for lists what is
    to be measured; `value` is the right answer, and `rubric` holds the criteria of a list.
    """

    kind: Kind
    key: str
    work: str
    value: str = ""
    rubric: tuple[Criterion, ...] = ()

    def claim(self, answer: str) -> str:
        """Claim of an answer, as written in it."""
        if self.kind == "list":
            return answer.removeprefix("List:").strip()
        words = re.findall(r"\w+", answer)
        return str(words[-1]) if words else ""


def solve(question: str) -> Problem:
    """The problem that a question of this domain asks. Raises ConfigError for any other text."""
    for read in (_read_sum, _read_unit, _read_order, _read_list):
        if problem := read(question):
            return problem
    raise ConfigError(f"no problem of the tiny domain: {question[:80]!r}")


def _chained(total: int, changes: list[int]) -> tuple[list[str], int]:
    """A running total written out."""
    steps = []
    for change in changes:
        steps.append(f"{total} {'+' if change > 0 else '-'} {abs(change)} = {total + change}")
        total += change
    return steps, total


def _read_sum(question: str) -> Problem | None:
    begin = re.match(r"Say (\w+) has (\d+) ", question)
    if not begin:
        return None
    told = re.findall(rf"({'|'.join(_GAINS + _LOSSES)}) (\d+)", question)
    changes = [int(size) if verb in _GAINS else -int(size) for verb, size in told]
    steps, total = _chained(int(begin[2]), changes)
    return Problem("sum", f"sum {begin[2]} {changes}", ", ".join(steps), str(total))


def _read_unit(question: str) -> Problem | None:
    begin = re.match(r"Take (\d+) (\w+) and (\d+) \w+(?:, then (\d+) \w+ (more|less))?\.", question)
    if not begin:
        return None
    whole, large, rest, change, way = begin.groups()
    factor = _UNITS[large][1]
    product = int(whole) * factor
    changes = [int(rest), *([int(change) if way == "more" else -int(change)] if change else [])]
    steps, total = _chained(product, changes)
    work = ", ".join([f"{whole} * {factor} = {product}", *steps])
    return Problem("unit", f"unit {whole} {large} {changes}", work, str(total))


def _read_order(question: str) -> Problem | None:
    asked = re.search(r"Who is (\d+) places after (\w+)\?", question)
    if not asked:
        return None
    after = dict(re.findall(r"(\w+) before (\w+)", question))
    at, steps = asked[2], []
    for _ in range(int(asked[1])):
        steps.append(f"after {at} {after[at]}")
        at = after[at]
    return Problem("order", f"order {asked[1]} {asked[2]} {sorted(after.items())}", ", ".join(steps), at)


def _read_list(question: str) -> Problem | None:
    asked = re.fullmatch(r"Write a list of (\d+) words, (\w+) first and (\w+) not last\.", question)
    if not asked:
        return None
    count, first, banned = asked.groups()
    rubric = (
        Criterion(name="Count", weight=0.4, description=f"{count} words"),
        Criterion(name="First", weight=0.3, description=f"{first} first"),
        Criterion(name="Last", weight=0.3, description=f"{banned} not last"),
    )
    work = ", ".join(criterion.description for criterion in rubric)
    return Problem("list", f"list {count} {first} {banned}", work, rubric=rubric)


class _Seen(NamedTuple):
    """Judgment of one answer.

    `measured` is what it says after the quote: the right value, or for a list what it was measured to be, and its
    points of 100. `mark` is "right" or "wrong".
    """

    text: str
    measured: str
    mark: str


def trace(pair: Pair, family: Literal["cor", "reasoning"] = "cor") -> str:
    """A judgment of a pair of this domain with right reasons, as short as its parts allow.

    Beside each quote stands what it is compared with, so that no step looks far back, and the verdict is the side that
    is marked right. Raises ConfigError for another question, and where not just one of the answers is right.
    """
    assert isinstance(pair.question, str)
    problem = solve(pair.question)
    seen = {side: _look(problem, pair.text(side), side) for side in ("A", "B")}
    right = [side for side, found in seen.items() if found.mark == "right"]
    if len(right) != 1:
        raise ConfigError(f"tiny: {len(right)} of the two answers to {pair.question!r} are right")
    compared = f"<eval>{seen['A'].text} {seen['B'].text}</eval>\n<answer>[[{right[0]}]]</answer>"
    if family == "reasoning":
        return f"<think> {problem.work}</think>\n{compared}"
    if not problem.rubric:
        return f"<type>Reasoning</type>\n<solution> {problem.work}</solution>\n{compared}"
    criteria = "\n".join(
        f"{number}. {criterion.name} ({criterion.weight:.0%}): {criterion.description}"
        for number, criterion in enumerate(problem.rubric, start=1)
    )
    why = "<justify>The client asks for these.</justify>"
    return f"<type>Chat</type>\n<rubric>\n{criteria}\n{why}\n</rubric>\n{compared}"


def _look(problem: Problem, answer: str, side: Side) -> _Seen:
    claim = problem.claim(answer)
    if problem.rubric:
        measured, is_right = _measure(problem, claim.split())
    else:
        measured, is_right = f", {problem.value}", claim == problem.value
    mark = "right" if is_right else "wrong"
    return _Seen(f"{side} has <quote_{side}> {claim}</quote_{side}>{measured} {mark}.", measured, mark)


def _measure(problem: Problem, words: list[str]) -> tuple[str, bool]:
    """Measure a list against the criteria: the words, the points, and whether all are met."""
    count, needed, banned = (criterion.description.split()[0] for criterion in problem.rubric)
    first, last = (words[0], words[-1]) if words else ("none", "none")
    met = (str(len(words)) == count, first == needed, last != banned)
    points = sum(round(100 * (each.weight or 0)) for each, is_met in zip(problem.rubric, met, strict=True) if is_met)
    found = (f"{len(words)} of {count} words", f"{first} vs {needed} first", f"{last} vs {banned} last")
    seen = ", ".join(f"{each} {'met' if is_met else 'missed'}" for each, is_met in zip(found, met, strict=True))
    return f", {seen}, {points}", points == 100


def has_right_reasons(pair: Pair, verdict: Verdict) -> bool:
    """True where a judge's own solution, rubric or thought is what `trace` writes, whatever the verdict.

    For lists that only says again what is asked for, so there the measurements of both answers in its evaluation must
    be right too, and the points.
    """
    assert isinstance(pair.question, str)
    problem = solve(pair.question)
    if problem.rubric and not _measures(problem, pair if verdict.shown == "AB" else pair.swapped(), verdict):
        return False
    if verdict.task == "chat":
        return bool(problem.rubric) and verdict.rubric is not None and verdict.rubric.criteria == problem.rubric
    work = verdict.thinking if verdict.task is None else verdict.solution
    return work is not None and " ".join(work.split()) == problem.work


_MEASURED = re.compile(r"\b([AB]) has [^,]{0,200}(, \d{1,3} of [^.]{1,200}, \d{1,3}) (?:right|wrong)\.")


def _measures(problem: Problem, shown: Pair, verdict: Verdict) -> bool:
    said = _MEASURED.findall(" ".join((verdict.evaluation or "").split()))
    return said == [(side, _look(problem, shown.text(side), side).measured) for side in ("A", "B")]


class Teacher(FakeBackend):
    """A backend that judges pairs of this domain without fault, from what the prompt shows.

    A prompt without a system message gets a judgment of the reasoning family. Anything but a pair of this domain
    raises BackendError.
    """

    model = "tiny"

    def __init__(self) -> None:
        super().__init__(_reply, identity="tiny teacher 3")  # another number when its traces change


def _reply(request: Request) -> str:
    pair = shown_pair(request.messages)
    if pair is None:
        raise BackendError("the tiny teacher sees no pair of single answers in this prompt")
    try:
        return trace(pair, "cor" if request.messages[0].role == "system" else "reasoning")
    except ConfigError as error:
        raise BackendError(str(error)) from error
