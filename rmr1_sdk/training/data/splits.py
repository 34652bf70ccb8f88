"""Stratified splits in which rows of a group stay together."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.hashing import digest

__all__ = ["Member", "Parts", "check_parts", "parse_parts", "split"]

Parts = dict[str, int | float | Literal["rest"]]
"""Names of parts, each with its share of the rows (below 1), its number of rows, or "rest", which one of them has."""


class Member(NamedTuple):
    """Membership of a row: rows of a group go to one part, and every stratum is split alike."""

    group: int
    stratum: str


def parse_parts(texts: Iterable[str]) -> Parts:
    """The parts of "NAME=0.12", "NAME=600" and "NAME=rest". Raises ConfigError for anything else."""
    parts: Parts = {}
    for text in texts:
        name, _, size = text.partition("=")
        try:
            parts[name] = "rest" if size == "rest" else int(size) if size.isdecimal() else float(size)
        except ValueError as error:
            raise ConfigError(f"--part {text}: write NAME=0.12, NAME=600 or NAME=rest") from error
    return parts


def check_parts(parts: Parts) -> None:
    """Raises ConfigError where the parts cannot be right."""
    for name, size in parts.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or name in ("removed", "card", "step"):
            raise ConfigError(
                f"part {name!r}: a name is of small letters, digits, - and _, and not one of our own files"
            )
        if size != "rest" and (size <= 0 or (isinstance(size, float) and size >= 1)):
            raise ConfigError(f"part {name}={size}: a share is between 0 and 1, a number of rows 1 or more")
    if list(parts.values()).count("rest") != 1:
        raise ConfigError("one of the parts, and no other, is the rest: NAME=rest")


def split(parts: Parts, members: Iterable[Member], seed: int) -> dict[int, str]:
    """The part of every group.

    Groups are drawn by the seed and what they are, so the same group goes the same way in any order of the rows. No
    part gets more rows than it asks for, and none fewer, unless only groups that are too large for it are left. A group
    with rows of several strata counts for the first. Raises ConfigError where there are fewer rows than are asked for,
    or a part gets none.
    """
    sizes: Counter[int] = Counter()
    strata: dict[int, str] = {}
    for member in members:
        sizes[member.group] += 1
        strata.setdefault(member.group, member.stratum)
    groups: dict[str, list[int]] = {}
    for group in sorted(sizes, key=lambda group: digest(seed, group)):
        groups.setdefault(strata[group], []).append(group)
    wanted = _wanted(parts, {name: sum(sizes[group] for group in inside) for name, inside in groups.items()})
    rest = next(name for name, size in parts.items() if size == "rest")
    chosen: dict[int, str] = {}
    for stratum, inside in groups.items():
        left = {name: counts.get(stratum, 0) for name, counts in wanted.items()}
        for group in inside:
            part = next((name for name, rows in left.items() if rows >= sizes[group]), rest)
            chosen[group] = part
            if part != rest:
                left[part] -= sizes[group]
    if empty := sorted(set(parts) - set(chosen.values())):
        raise ConfigError(
            f"part {empty[0]} comes out empty: there are {sizes.total()} rows in {len(sizes)} groups that stay together"
        )
    return chosen


def _wanted(parts: Parts, strata: Mapping[str, int]) -> dict[str, Counter[str]]:
    """Number of rows that each part but the rest gets of each stratum, rounded so that the sum is right."""
    total = sum(strata.values())
    left = Counter(strata)
    wanted: dict[str, Counter[str]] = {}
    for name, size in parts.items():
        if size == "rest":
            continue
        rows = size if isinstance(size, int) else round(size * total)
        if rows > left.total():
            raise ConfigError(f"part {name} is to have {rows} rows, and {left.total()} of {total} are left")
        due = {stratum: rows * count / total for stratum, count in strata.items()}
        counts = Counter({stratum: min(int(due[stratum]), left[stratum]) for stratum in strata})
        for stratum in sorted(strata, key=lambda stratum: int(due[stratum]) - due[stratum]) * 2:
            if counts.total() < rows and counts[stratum] < left[stratum]:
                counts[stratum] += 1
        wanted[name] = counts
        left -= counts
    return wanted
