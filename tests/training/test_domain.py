import asyncio
import re
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any, Literal, get_args

import pytest
from pydantic import ValidationError

from rmr1_sdk import BackendError, ConfigError, Judge, Message, Pair, Request, read
from rmr1_sdk.prompts import COR, REASONING
from rmr1_sdk.statistics.intervals import wilson
from rmr1_sdk.training import domain as domain_module
from rmr1_sdk.training.domain import Domain, Kind, Teacher, generate, has_right_reasons, solve, trace, worked
from rmr1_sdk.training.learn.trace_rewards import trace_reward

KINDS: tuple[Kind, ...] = get_args(Kind)
PAIRS = list(generate(4800, seed=3))


def right(pair: Pair) -> str:
    assert pair.label in ("A", "B")
    return pair.text(pair.label)


def wrong(pair: Pair) -> str:
    return pair.text("B" if pair.label == "A" else "A")


def of_kind(kind: Kind) -> list[Pair]:
    return [pair for pair in PAIRS if pair.metadata["source"] == f"tiny/{kind}"]


def is_right(pair: Pair, answer: str) -> bool:
    problem = solve(str(pair.question))
    if problem.kind != "list":
        return problem.claim(answer) == problem.value
    count, first, banned = re.findall(r"(\d+) words, (\w+) first and (\w+) not last", str(pair.question))[0]
    words = answer.removeprefix("List: ").split()
    return len(words) == int(count) and words[0] == first and words[-1] != banned


def test_the_last_word_of_an_answer_is_its_claim() -> None:
    problem = solve("Say Ann has 3 pens.")
    said = {"It is 3.": "3", "3": "3", "so, 12 (pens)!\n": "pens", "": "", "?!": "", "x" * 1_000_000 + "! 4": "4"}
    assert {answer: problem.claim(answer) for answer in said} == said


def test_kinds_come_in_equal_parts_and_no_pair_twice() -> None:
    assert Counter(pair.metadata["source"] for pair in PAIRS) == {f"tiny/{kind}": 1200 for kind in KINDS}
    assert len({(pair.question, right(pair), wrong(pair)) for pair in PAIRS}) == 4800
    assert len({pair.id for pair in PAIRS}) == 4800


def test_the_labelled_answer_is_right_and_the_other_is_wrong() -> None:
    for pair in PAIRS:
        assert is_right(pair, right(pair)), pair
        assert not is_right(pair, wrong(pair)), pair


def test_the_same_seed_gives_the_same_pairs_however_many() -> None:
    assert list(islice(generate(10**9, seed=3), 50)) == PAIRS[:50]
    assert next(generate(1, seed=4)) != PAIRS[0]


def test_every_slip_occurs() -> None:
    slips = Counter((pair.metadata["source"].removeprefix("tiny/"), pair.metadata["slip"]) for pair in PAIRS)
    offs = {"off by 1", "off by 2", "off by 10"}
    assert {slip for kind, slip in slips if kind == "sum"} == offs | {
        "skips a step",
        "flips a sign",
        "counts another's",
    }
    assert {slip for kind, slip in slips if kind == "unit"} == offs | {
        "leaves out the rest", "takes the wrong unit", "skips a step", "flips a sign",
    }  # fmt: skip
    assert {slip for kind, slip in slips if kind == "order"} == {"goes too far", "stops early"}
    assert {slip for kind, slip in slips if kind == "list"} == {
        "wrong count", "begins with another", "ends as it must not",
    }  # fmt: skip
    assert min(slips.values()) > 20


def number(text: str) -> int:
    return int(re.findall(r"\d+", text)[-1])


def near_start(pair: Pair, answer: str) -> int:
    return -abs(number(answer) - int(re.findall(r"\d+", str(pair.question))[0]))


def away(pair: Pair, answer: str) -> int:
    """How many places an answer is after the one who is named."""
    after = dict(re.findall(r"(\w+) before (\w+)", str(pair.question)))
    at, places = re.findall(r"after (\w+)", str(pair.question))[0], 0
    while at != answer[-4:-1]:
        at, places = after[at], places + 1
    return places


def says(phrase: str) -> Callable[[Pair, str], int]:
    return lambda pair, answer: int(phrase in answer)


CUES: dict[str, tuple[tuple[Kind, ...], Callable[[Pair, str], int]]] = {
    "longer": (KINDS, lambda pair, answer: len(answer)),
    "first": (KINDS, lambda pair, answer: int(answer == pair.a)),
    "later in the alphabet": (KINDS, lambda pair, answer: int(answer > min(pair.text("A"), pair.text("B")))),
    "larger": (("sum", "unit"), lambda pair, answer: number(answer)),
    "even": (("sum", "unit"), lambda pair, answer: 1 - number(answer) % 2),
    "ends in 0 or 5": (("sum", "unit"), lambda pair, answer: int(number(answer) % 5 == 0)),
    "its number is in the question": (
        ("sum",),
        lambda pair, answer: int(str(number(answer)) in re.findall(r"\d+", str(pair.question))),
    ),
    "nearer to the start": (("sum",), near_start),
    "more words": (("list",), lambda pair, answer: len(answer.split())),
    "named first": (("order",), lambda pair, answer: -str(pair.question).find(answer[-4:-1])),
    "farther from the one who is named": (("order",), away),
    **{f"says {phrase!r}": (("sum", "unit", "order"), says(phrase)) for phrase in ("It is", "That", "The", "I make")},
}


@pytest.mark.parametrize(("kind", "cue"), [(kind, cue) for cue, (kinds, _) in CUES.items() for kind in kinds])
def test_nothing_but_the_answer_tells_which_is_right(kind: Kind, cue: str) -> None:
    """A rule that does not work the problem out is right in half of the pairs in which it says something.

    Over 50 rules, an interval of 3.5 standard errors leaves one out by chance in one run of 40; the seed is fixed.
    """
    measure = CUES[cue][1]
    margins = [measure(pair, right(pair)) - measure(pair, wrong(pair)) for pair in of_kind(kind)]
    decided = [margin for margin in margins if margin]
    interval = wilson(sum(margin > 0 for margin in decided), len(decided), z=3.5)
    assert interval is not None
    assert len(decided) > 40
    assert interval.low < 0.5 < interval.high, str(interval)


@pytest.mark.parametrize("hops", [(2, 3), (1, 2), (2, 4)])
def test_no_distance_tells_which_answer_of_a_row_is_right(hops: tuple[int, int]) -> None:
    """Such as "whoever stands directly after the one who is named", or "never one at a distance not asked for"."""
    domain = Domain(kinds=("order",), hops=hops)
    pairs = list(generate(1200, seed=3, domain=domain))
    places = [(away(pair, right(pair)), away(pair, wrong(pair))) for pair in pairs]
    assert {place for both in places for place in both} == set(range(hops[0], hops[1] + 1))
    for distance in range(hops[0], hops[1] + 1):
        decided = [both[0] == distance for both in places if distance in both]
        interval = wilson(sum(decided), len(decided), z=3.5)
        assert interval is not None
        assert interval.low < 0.5 < interval.high, (distance, str(interval))


@pytest.mark.parametrize("family", ["cor", "reasoning"])
def test_every_trace_is_read_with_all_its_parts(family: Literal["cor", "reasoning"]) -> None:
    for pair in PAIRS[:400]:
        for shown in (pair, pair.swapped()):
            text = trace(shown, family)
            verdict = read(text, pair=shown)
            assert verdict.winner == shown.label
            assert read(text, mode="rmr1_reward").winner == shown.label
            assert [citation.found for citation in verdict.citations] == [True, True]
            assert {citation.side for citation in verdict.citations} == {"A", "B"}
            assert verdict.evaluation
            assert has_right_reasons(shown, verdict)
            assert has_right_reasons(shown.swapped(), verdict.model_copy(update={"shown": "BA"}))
            if family == "reasoning":
                assert verdict.thinking
            elif pair.metadata["source"] == "tiny/list":
                assert verdict.task == "chat"
                assert verdict.rubric is not None
                assert verdict.rubric.justification
                assert [criterion.weight for criterion in verdict.rubric.criteria] == [0.4, 0.3, 0.3]
            else:
                assert (verdict.task, bool(verdict.solution)) == ("reasoning", True)


def test_a_trace_in_full() -> None:
    pair = Pair(
        question="Say Ann has 12 cups. And Bob has 4 cups. Then Ann gets 5, loses 3. How many cups does Ann have?",
        a="It is 17.",
        b="The answer is 14.",
    )
    assert trace(pair) == (
        "<type>Reasoning</type>\n<solution> 12 + 5 = 17, 17 - 3 = 14</solution>\n<eval>A has <quote_A> 17</quote_A>, "
        "14 wrong. B has <quote_B> 14</quote_B>, 14 right.</eval>\n<answer>[[B]]</answer>"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_reasons_are_told_from_right_ones_whatever_the_verdict(kind: Kind) -> None:
    one, other = of_kind(kind)[:2]
    assert solve(str(one.question)).key != solve(str(other.question)).key
    assert has_right_reasons(one, read(trace(one)[:-20]))
    assert not has_right_reasons(one, read(trace(other)))
    assert not has_right_reasons(one, read("<answer>[[A]]</answer>"))


@pytest.mark.parametrize("family", ["cor", "reasoning"])
@pytest.mark.parametrize(
    "spoil", [(r", (\d) of", r", 1\1 of"), (r"last (met|missed)", r"last so"), (r"100 right", "60 right")]
)
@pytest.mark.parametrize("side", ["A", "B"])
def test_a_list_that_was_measured_wrong_has_wrong_reasons(family: Any, spoil: tuple[str, str], side: str) -> None:
    """What is asked for is said right; only what the answers are measured to be is wrong."""
    spoilt = 0
    for pair in of_kind("list")[:20]:
        before, evaluation = trace(pair, family).split("<eval>")
        said = re.findall(r"[AB] has .*?\d (?:right|wrong)\.", evaluation)["AB".index(side)]
        text = f"{before}<eval>{evaluation.replace(said, re.sub(*spoil, said))}"
        if text == trace(pair, family):
            continue
        spoilt += 1
        assert not has_right_reasons(pair, read(text, pair=pair)), text
        assert trace_reward("solution", text, pair) == 0
    assert spoilt


def test_a_list_that_was_not_measured_has_no_right_reasons() -> None:
    pair = of_kind("list")[0]
    assert not has_right_reasons(pair, read(re.sub(r"(?s)<eval>.*</eval>", "<eval>So.</eval>", trace(pair))))


def test_worked_problems_are_solved_and_both_answers_marked() -> None:
    both: Counter[tuple[str, ...]] = Counter()
    for number in range(400):
        text = worked(number, seed=3)
        assert isinstance(text.pair.question, str)
        problem = solve(text.pair.question)
        work, said = text.told.split("\n")
        assert (text.key, work.strip()) == (problem.key, problem.work)
        marks = tuple(re.findall(r"(right|wrong)\.", said))
        assert [mark == "right" for mark in marks] == [is_right(text.pair, text.pair.text(side)) for side in ("A", "B")]
        both[marks] += 1
    assert min(both.values()) > 70  # of 100 that are expected for each of the four
    assert worked(7, seed=3) == worked(7, seed=3) != worked(7, seed=4)


def test_what_has_to_be_copied_follows_a_space() -> None:
    for pair in PAIRS[:400]:
        problem = solve(str(pair.question))
        for text in (str(pair.question), right(pair), wrong(pair), trace(pair)):
            for name in re.findall(r"\d+|\b[A-Z][a-z]{2}\b", problem.work):
                found = [match.start() for match in re.finditer(rf"\b{name}\b", text)]
                marks = [text[at - 1] for at in found if not re.match(r"\d+[%.] ?|\d+\. ", text[at:])]
                assert set(marks) <= {" "}, (name, text)


def test_the_domain_can_be_made_harder_and_easier() -> None:
    domain = Domain(kinds=("sum", "order"), steps=(6, 6), distractor=1, links=(9, 9), hops=(5, 6))
    total, order = generate(2, domain=domain)
    assert solve(str(total.question)).work.count("=") == 6
    assert str(total.question).count(" has ") == 2
    assert str(order.question).count("before") == 9
    assert solve(str(order.question)).work.count("after") in (5, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hops": (2, 5)}, "hops up to 5 need rows of at least 6 links"),
        ({"hops": (2, 2)}, "hops have two values or more"),
        ({"words": (1, 4)}, "a list has 2 words or more"),
        ({"links": (6, 5)}, "the least is 1 or more"),
        ({"links": (5, 16)}, "under 16"),
        ({"kinds": ()}, "at least 1 item"),
        ({"kinds": ("sums",)}, "Input should be 'sum', 'unit', 'order' or 'list'"),
    ],
)
def test_domains_that_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Domain.model_validate(options)


def test_more_pairs_than_a_domain_has(monkeypatch: pytest.MonkeyPatch) -> None:
    domain = Domain(kinds=("sum",), steps=(1, 1), largest=2, distractor=0)
    for words, few in (("_NAMES", ["Ann", "Bob"]), ("_THINGS", ["cups"]), ("_SAYS", ["It is {}."])):
        monkeypatch.setattr(domain_module, words, few)
    with pytest.raises(ConfigError, match=r"not 5000 different pairs in this domain; sum ran out at \d+"):
        list(generate(5000, domain=domain))


@pytest.mark.parametrize("prompt", [COR, REASONING], ids=lambda prompt: prompt.name)
def test_the_teacher_judges_without_fault_in_both_orders(prompt: object) -> None:
    with Judge(Teacher(), prompt=prompt) as judge:  # type: ignore[arg-type]
        for pair, judgment in zip(PAIRS[:100], judge.compare_many(PAIRS[:100]), strict=True):
            assert judgment.winner == pair.label
            assert judgment.position_consistent
            assert [verdict.task is None for verdict in judgment.verdicts] == [prompt is REASONING] * 2


@pytest.mark.parametrize(
    ("question", "answers", "message"),
    [
        ("What is love?", ("It is 1.", "It is 2."), "no problem of the tiny domain: 'What is love"),
        ("Take 2 weeks and 2 days. How many days is that?", ("It is 1.", "It is 2."), "0 of the two answers"),
    ],
)
def test_what_the_teacher_does_not_know(question: str, answers: tuple[str, str], message: str) -> None:
    request = Request(messages=COR.render(Pair(question=question, a=answers[0], b=answers[1])))
    with pytest.raises(BackendError, match=message):
        asyncio.run(Teacher().generate(request))
    with pytest.raises(BackendError, match="sees no pair"):
        asyncio.run(Teacher().generate(Request(messages=(Message(role="user", content="Hi"),))))
