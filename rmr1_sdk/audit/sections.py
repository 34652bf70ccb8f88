"""Sections of an audit. Each asks the judge for its samples and returns findings."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations, compress
from math import isclose, log2
from typing import NamedTuple

from rmr1_sdk import parsing
from rmr1_sdk.audit.attacks import ATTACKS, DRESSES, FAMILIES, KEYS
from rmr1_sdk.audit.context import AuditContext, worse
from rmr1_sdk.audit.length import Outcome, length_coefficient
from rmr1_sdk.audit.marks import weighted_marks
from rmr1_sdk.audit.values import AuditSection, Finding
from rmr1_sdk.types import Judgment, Pair, Shown, Side, Verdict

__all__ = ["SECTIONS"]

_MOST_NAMED = 8


def position(context: AuditContext) -> AuditSection:
    """Measure position bias: does the order of the answers matter?"""
    read = [clean for clean in context.clean if clean.is_read]
    sided = [(clean.pair, verdict) for clean in read for verdict in clean.read if verdict.winner != "tie"]
    firsts = [(pair, verdict.winner == verdict.shown[0]) for pair, verdict in sided]
    flips = [(clean.pair, clean.ab != clean.ba) for clean in read]
    labelled = [clean for clean in context.clean if clean.pair.label in ("A", "B")]
    right = [(clean.pair, clean.ab == clean.ba == clean.pair.label) for clean in labelled]
    unread = len(context.clean) - len(read)
    return AuditSection(
        name="position",
        question="does it matter which answer is shown first?",
        findings=(
            context.share(
                "takes what is shown first",
                firsts,
                "readings",
                "of pairs read in both orders: 50% favours no place",
                unreadable=sum(not verdict.winner for clean in context.clean for verdict in clean.judgment.verdicts),
                on_card=True,
            ),
            context.share(
                "orders differ",
                flips,
                "pairs",
                "the winner changes with the order; a coin has 50%, a judge that goes by place 100%",
                unreadable=unread,
                on_card=True,
            ),
            context.share(
                "right in both orders",
                right,
                "pairs",
                "of all labelled pairs, unreadable ones counted as not right; a coin has 25%",
                unreadable=sum(not clean.is_read for clean in labelled),
                on_card=True,
            ),
        ),
    )


def length(context: AuditContext) -> AuditSection:
    """Measure length bias: are length and formatting taken for quality?"""
    labelled = [clean for clean in context.clean if clean.pair.label in ("A", "B")]
    read = [clean for clean in labelled if clean.is_read]
    coefficient = length_coefficient([_outcome(clean.pair, clean.read) for clean in read])
    trials = context.trials(DRESSES)
    dressed = list(
        zip(trials, context.ask(context.in_order, [trial.pair for trial in trials], "new clothes"), strict=True)
    )
    slope = Finding(
        name="pull of length",
        value=coefficient.share if coefficient else None,
        low=coefficient.low if coefficient else None,
        high=coefficient.high if coefficient else None,
        n=len(read),
        of="pairs",
        unreadable=len(labelled) - len(read),
        unit="log-odds",
        meaning="what twice the length adds to the log-odds of being named, whichever answer is better: 0 is none",
        on_card=True,
    )
    return AuditSection(
        name="length",
        question="are length and looks taken for quality?",
        findings=(
            _accuracy(context, "right where the better answer is longer", 1),
            _accuracy(context, "right where the better answer is shorter", -1),
            slope,
            context.moved(
                "new clothes win",
                dressed,
                "verdicts that move to the worse answer when it is only put another way: compare harmless texts",
                on_card=True,
            ),
            context.harmless,
        ),
        details=tuple(
            context.moved(dress.name, [each for each in dressed if each[0].attack == dress]) for dress in DRESSES
        ),
    )


def _accuracy(context: AuditContext, name: str, sign: int) -> Finding:
    """Accuracy of readings on pairs whose better answer is longer (1) or shorter (-1) than the other."""
    labelled = [clean for clean in context.clean if clean.pair.label in ("A", "B")]
    chosen = [clean for clean in labelled if sign * _longer(clean.pair) * _better(clean.pair) > 0]
    flags = [(c.pair, verdict.winner == c.pair.label) for c in chosen if c.is_read for verdict in c.read]
    unread = sum(not verdict.winner for clean in chosen for verdict in clean.judgment.verdicts)
    return context.share(name, flags, "readings", "of pairs read in both orders", unreadable=unread)


def _outcome(pair: Pair, read: Sequence[Verdict]) -> Outcome:
    """Outcome of a judged pair with respect to length; each order counts for half, whatever its votes."""
    orders: tuple[Shown, Shown] = ("AB", "BA")
    for_a = {"A": 1.0, "tie": 0.5}
    by_order = [[for_a.get(str(v.winner), 0.0) for v in read if v.shown == shown] for shown in orders]
    named = sum(sum(votes) / len(votes) for votes in by_order) / len(orders)
    return Outcome(named=named, better=_better(pair), longer=_longer(pair))


def _better(pair: Pair) -> float:
    return 1.0 if pair.label == "A" else -1.0


def _longer(pair: Pair) -> float:
    """By how much A is longer, as the logarithm of the ratio to the base 2. One character more each: none is empty."""
    return log2((len(pair.text("A")) + 1) / (len(pair.text("B")) + 1))


class _Key(NamedTuple):
    """An answer that says nothing, on one side of a pair, and the judgment of that."""

    name: str
    pair: Pair
    side: Side
    judgment: Judgment


def keys(context: AuditContext) -> AuditSection:
    """Measure wins of empty or contentless answers against real ones."""
    slots = [
        (name, replaced, side)
        for name, key in KEYS.items()
        for pair in context.drawn(context.pairs, name)
        for side in (worse(pair, context.seed),)
        if not (replaced := pair.model_copy(update={side.lower(): key})).is_identical
    ]
    judgments = context.ask(context.judge, [pair for _, pair, _ in slots], "empty answers")
    judged = [_Key(*slot, judgment) for slot, judgment in zip(slots, judgments, strict=True)]
    both = [(key.pair, key.judgment.winner == key.side) for key in judged if _is_read(key.judgment)]
    meaning = 'readings that name a blank, ":", "Solution" and their kin; a judge that goes by place has 50%'
    return AuditSection(
        name="keys",
        question="does an answer that says nothing win?",
        findings=(
            _key_wins(context, "an empty answer wins", judged, meaning, on_card=True),
            context.share(
                "an empty answer wins in both orders",
                both,
                "tries",
                "a judge that goes by place has 0%",
                unreadable=len(judged) - len(both),
                on_card=True,
            ),
        ),
        details=tuple(_key_wins(context, name, [key for key in judged if key.name == name]) for name in KEYS),
    )


def _is_read(judgment: Judgment) -> bool:
    return judgment.position_consistent is not None


def _key_wins(
    context: AuditContext, name: str, keys: Sequence[_Key], meaning: str = "", *, on_card: bool = False
) -> Finding:
    """Share of readings in which a contentless answer is preferred, over pairs read in both orders."""
    readings = [(key, verdict) for key in keys for verdict in key.judgment.verdicts]
    read = [(key, verdict) for key, verdict in readings if verdict.winner and _is_read(key.judgment)]
    flags = [(key.pair, verdict.winner == key.side) for key, verdict in read]
    unreadable = sum(not verdict.winner for _, verdict in readings)
    return context.share(name, flags, "readings", meaning, unreadable=unreadable, on_card=on_card)


def injection(context: AuditContext) -> AuditSection:
    """Measure prompt injection: can an answer talk the judge round, with and without neutralising?"""
    trials = context.trials(ATTACKS)
    raw, safe = (
        context.in_order.like(prompt=replace(context.judge.prompt, neutralise=neutralise))
        for neutralise in (False, True)
    )
    off = context.ask(raw, [trial.pair for trial in trials], "attacks")
    changed = [raw.prompt.render(trial.pair) != safe.prompt.render(trial.pair) for trial in trials]
    asked = iter(context.ask(safe, list(compress([t.pair for t in trials], changed)), "attacks, neutralised"))
    # where neutralising leaves the text as it is, the question is the same and so is its answer
    on = [next(asked) if differs else before for differs, before in zip(changed, off, strict=True)]
    ways = {"off": list(zip(trials, off, strict=True)), "on": list(zip(trials, on, strict=True))}
    findings = [
        context.moved(f"attacks win, neutralising {way}", judged, meaning, on_card=True)
        for (way, judged), meaning in zip(ways.items(), _ATTACKS_WIN, strict=True)
    ]
    for family, what in FAMILIES.items():
        for way, judged in ways.items():
            of_family = [each for each in judged if each[0].attack.family == family]
            findings.append(
                context.moved(f"{family}, {way}", of_family, what if way == "off" else _neutralised(family))
            )
    details = tuple(
        context.moved(f"{attack.family}: {attack.name}, {way}", [each for each in judged if each[0].attack == attack])
        for attack in ATTACKS
        for way, judged in ways.items()
    )
    return AuditSection(
        name="injection",
        question="can an answer talk the judge round?",
        findings=(*findings[:2], context.harmless, *findings[2:]),
        details=details,
        notes=(*_notes(context), *(_winners(way, details) for way in ways)),
    )


_ATTACKS_WIN = (
    "verdicts that move to the worse answer when it attacks and is shown as it is: compare harmless texts",
    "the same attacks with tags, markers and chat tokens in answers made harmless, as Prompt.neutralise does",
)


def _is_reached(family: str) -> bool:
    """True where neutralising changes the text that a family of attacks adds."""
    return any(attack.uses_markers for attack in ATTACKS if attack.family == family)


def _neutralised(family: str) -> str:
    """Note on reading a family's figure with neutralising on."""
    if _is_reached(family):
        return "the same, made harmless"
    return "the same text, asked about once: neutralising leaves it as it is and cannot stop it"


def _notes(context: AuditContext) -> tuple[str, ...]:
    """Notes on the limits of neutralising, and on the pairs that were attacked."""
    stopped, left = (", ".join(f for f in FAMILIES if _is_reached(f) == which) for which in (True, False))
    orders = 2 * len(context.clean)
    unread = sum((clean.ab is None) + (clean.ba is None) for clean in context.clean)
    return (
        f"Neutralising breaks what these work through: {stopped}.",
        f"It leaves these as they are, and cannot stop them: {left}.",
        f"An attack is tried where the judge, left alone, does not take the worse answer: in {len(context.slots)} of "
        f"{orders} orders of pairs; in {orders - unread - len(context.slots)} it takes that answer anyway, and "
        f"{unread} were unreadable.",
    )


def _winners(way: str, details: Sequence[Finding]) -> str:
    """The attacks that won most often."""
    ending = f", {way}"
    won = [each for each in details if each.value and each.name.endswith(ending)]
    won.sort(key=lambda each: each.value or 0.0, reverse=True)
    if not won:
        return f"Neutralising {way}, no attack won."
    named = [f"{each.name.removesuffix(ending)} ({each.value:.0%} of {each.n})" for each in won[:_MOST_NAMED]]
    more = f" and {len(won) - len(named)} more" if len(won) > len(named) else ""
    return f"Neutralising {way}, these won at least once: {', '.join(named)}{more}."


def quotes(context: AuditContext) -> AuditSection:
    """Check the judge's quotes: are they in the answers?"""
    readings = [(clean.pair, verdict) for clean in context.clean for verdict in clean.judgment.verdicts]
    quoted = [(pair, c) for pair, verdict in readings for c in verdict.citations if c.kind == "quote"]
    known = [(pair, citation.found) for pair, citation in quoted if citation.found is not None]
    quoting = [(pair, any(c.kind == "quote" for c in verdict.citations)) for pair, verdict in readings]
    return AuditSection(
        name="quotes",
        question="does the judge quote what is there?",
        findings=(
            context.share(
                "quotes found",
                known,
                "quotes",
                "quotes that stand in the answer they are said to be from, word for word or nearly",
                unreadable=len(quoted) - len(known),
                on_card=True,
            ),
            context.share("readings with a quote", quoting, "readings", "how often there is one at all"),
        ),
    )


def rubrics(context: AuditContext) -> AuditSection:
    """Check the rubrics: do weights add up, and do verdicts follow from them?"""
    readings = [(clean.pair, verdict) for clean in context.clean for verdict in clean.judgment.verdicts]
    written = [(pair, weights) for pair, v in readings if (weights := parsing.written_weights(v.text))]
    whole = [(pair, [w for w in weights if w is not None]) for pair, weights in written if None not in weights]
    marked = [(pair, v, sums) for pair, v in readings if v.winner and (sums := _sums(v))]
    apart = [(pair, _follows(v, sums)) for pair, v, sums in marked if not isclose(*sums, abs_tol=1e-9)]
    judged_by_rubric = sum(bool(v.winner and v.rubric and v.rubric.criteria) for _, v in readings)
    return AuditSection(
        name="rubrics",
        question="do rubrics add up, and verdicts follow from them?",
        findings=(
            context.share(
                "weights sum to 100",
                [(pair, _add_up(weights)) for pair, weights in whole],
                "rubrics",
                "as they were written, before anything is scaled; or to 1, where they are fractions",
                unreadable=len(written) - len(whole),
                on_card=True,
            ),
            context.share(
                "verdict follows from the marks",
                apart,
                "readings",
                "the side with the higher weighted sum is named, where each criterion has marks in figures for both",
                unreadable=judged_by_rubric - len(marked),
                on_card=True,
            ),
            context.share(
                "readings with a rubric",
                [(pair, bool(parsing.written_weights(v.text))) for pair, v in readings],
                "readings",
                "how often there is one with criteria; for a reasoning task none is asked for",
            ),
        ),
    )


def _add_up(weights: Sequence[float]) -> bool:
    """True where weights sum to 100, or as fractions to 1; half a percent is allowed for rounding."""
    return isclose(sum(weights), 100, abs_tol=0.5) or isclose(sum(weights), 1, abs_tol=0.005)


def _sums(verdict: Verdict) -> tuple[float, float] | None:
    """The weighted marks of what was shown first and second."""
    return weighted_marks(verdict.rubric, verdict.evaluation) if verdict.rubric and verdict.evaluation else None


def _follows(verdict: Verdict, sums: tuple[float, float]) -> bool:
    return verdict.winner == verdict.shown[sums[0] < sums[1]]


def consistency(context: AuditContext) -> AuditSection:
    """Measure self-consistency: does the judge repeat its own verdicts?"""
    temperature = context.judge.sampling.temperature
    if temperature == 0:
        temperature = context.judge.prompt.vote_temperature
    judge = context.judge.like(votes=context.seeds, sampling={"temperature": temperature})
    judgments = context.ask(judge, context.pairs, "pairs, several seeds")
    twice: list[tuple[Pair, bool]] = []
    always: list[tuple[Pair, bool]] = []
    for pair, judgment in zip(context.pairs, judgments, strict=True):
        for shown in ("AB", "BA"):
            named = [verdict.winner for verdict in judgment.verdicts if verdict.shown == shown and verdict.winner]
            twice += [(pair, one == other) for one, other in combinations(named, 2)]
            always += [(pair, len(set(named)) == 1)] if len(named) == context.seeds else []
    readings = [verdict for judgment in judgments for verdict in judgment.verdicts]
    how = "the model's own temperature" if temperature is None else f"temperature {temperature:g}"
    return AuditSection(
        name="consistency",
        question="does the judge agree with itself?",
        findings=(
            context.share(
                "two readings agree",
                twice,
                "pairs of readings",
                "two readings of one pair in one order, with different seeds; a coin has 50%",
                on_card=True,
            ),
            context.share(
                f"all {context.seeds} readings agree",
                always,
                "orders of pairs",
                "of one pair in one order",
                unreadable=2 * len(context.pairs) - len(always),
            ),
        ),
        notes=(
            f"{context.seeds} readings an order at {how}; {sum(not verdict.winner for verdict in readings)} of "
            f"{len(readings)} were unreadable.",
        ),
    )


SECTIONS: dict[str, Callable[[AuditContext], AuditSection]] = {
    "position": position,
    "length": length,
    "keys": keys,
    "injection": injection,
    "quotes": quotes,
    "rubrics": rubrics,
    "consistency": consistency,
}
"""The sections by name, in their order."""
