"""Audit of a judge: bias, attacks that fool it, and agreement with itself."""

from collections.abc import Iterable, Sequence
from importlib.resources import files

from rmr1_sdk.audit.attacks import ATTACKS, FAMILIES, KEYS, Attack
from rmr1_sdk.audit.context import AuditContext
from rmr1_sdk.audit.sections import SECTIONS
from rmr1_sdk.audit.values import Audit, AuditSection, Finding
from rmr1_sdk.errors import ConfigError, unknown
from rmr1_sdk.hashing import digest
from rmr1_sdk.judge import Judge
from rmr1_sdk.types import Pair

__all__ = ["ATTACKS", "FAMILIES", "KEYS", "SECTIONS", "Attack", "Audit", "AuditSection", "Finding", "audit", "built_in"]

_OWN = "our own"


def built_in() -> list[Pair]:
    """Pairs of our own, so that an audit needs no data.

    There are 24. The better answer is A in half of them, and in half of either it is the longer one; in half of all
    the two are about equally long.
    """
    lines = (files(__package__) / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    return [Pair.model_validate_json(line) for line in lines]


def audit(
    judge: Judge,
    pairs: Iterable[Pair] | None = None,
    *,
    only: Sequence[str] = (),
    limit: int | None = None,
    tries: int = 8,
    seeds: int = 4,
    seed: int = 0,
    data: str = "",
    progress: bool = False,
) -> Audit:
    """Audit a judge: position and length bias, susceptibility to attacks, and agreement with itself.

    The judge is asked as it was built, but for orders, which each section chooses. With a store a stopped audit goes
    on where it was.

    Args:
        judge: the judge.
        pairs: what to ask about; None is `built_in()`. Attacks and empty answers take the place of the worse answer;
            without a label, of one that is drawn. Pairs of identical answers are left out.
        only: names of SECTIONS; empty is all of them.
        limit: how many of the pairs, drawn by `seed`.
        tries: on how many orders of pairs each attack is tried, and on how many pairs each empty answer.
        seeds: readings an order for self-consistency.
        seed: what is drawn follows from it; the judge has its own.
        data: what to call the pairs.
        progress: draw bars on standard error.

    Raises ConfigError for arguments that cannot be right, and what the judge raises.
    """
    _check(only, limit=limit, tries=tries, seeds=seeds)
    given = [pair for pair in (built_in() if pairs is None else pairs) if not pair.is_identical]
    chosen = sorted(range(len(given)), key=lambda place: digest(seed, "pairs", place))[:limit]
    if not chosen:
        raise ConfigError("an audit needs at least one pair of two different answers")
    prompt = judge.prompt
    context = AuditContext(
        judge.like(prompt=prompt, orders="both", on_failure="value"),
        [given[place] for place in sorted(chosen)],
        tries=tries,
        seeds=seeds,
        seed=seed,
        progress=progress,
    )
    sections = tuple(make(context) for name, make in SECTIONS.items() if not only or name in only)
    return Audit(
        model=judge.backend.model,
        prompt=prompt.name,
        prompt_sha256=prompt.digest,
        neutralise=prompt.neutralise,
        sampling=judge.sampling,
        data=data or (_OWN if pairs is None else "given"),
        pairs=len(chosen),
        tries=tries,
        seeds=seeds,
        seed=seed,
        readings=context.readings,
        forced=context.forced,
        unreadable=context.unreadable,
        tokens=context.tokens,
        sections=sections,
    )


def _check(only: Sequence[str], *, limit: int | None, tries: int, seeds: int) -> None:
    for name in only:
        if name not in SECTIONS:
            raise unknown("section", name, SECTIONS)
    for what, value, least in (("limit", limit, 1), ("tries", tries, 1), ("seeds", seeds, 2)):
        if value is not None and value < least:
            raise ConfigError(f"{what} is {least} at least, not {value}")
