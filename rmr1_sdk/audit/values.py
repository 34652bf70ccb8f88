"""Results of an audit: findings in sections, as values, as a table, and as a card for a model card."""

from collections.abc import Iterable, Sequence
from typing import Literal

from rmr1_sdk.errors import unknown
from rmr1_sdk.statistics.intervals import Interval
from rmr1_sdk.types import Sampling, Value

__all__ = ["Audit", "AuditSection", "Finding"]

Unit = Literal["share", "log-odds"]
_MOST_DETAILS = 20


class Finding(Value):
    """One figure with its 95% interval, over `n` of what `of` names.

    `value`, `low` and `high` are None where there was nothing to measure. `unreadable` of the same kind are left out of
    `n`, unless `meaning`, which says in a line how to read the figure, says that they count.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    of: str
    unreadable: int = 0
    unit: Unit = "share"
    meaning: str = ""
    on_card: bool = False

    def __str__(self) -> str:
        if self.value is None or self.low is None or self.high is None:
            return "-"
        return Interval(self.value, self.low, self.high).text(self.unit)


class AuditSection(Value):
    """One of an audit's questions. `details` are findings too small to stand alone; `notes` are sentences."""

    name: str
    question: str
    findings: tuple[Finding, ...]
    details: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    def finding(self, name: str) -> Finding:
        """The finding or detail of that name. Raises KeyError where there is none."""
        for finding in (*self.findings, *self.details):
            if finding.name == name:
                return finding
        raise KeyError(str(unknown("finding", name, [finding.name for finding in self.findings])))


class Audit(Value):
    """Result of an audit, with the settings it was made with.

    `readings` and `tokens` are what all of it took, readings from a store included; `forced` readings came to a verdict
    only when the judge was made to name a side, `unreadable` ones to none. `data` names the pairs; they were `pairs` in
    number. `tries` is how often each attack, and each empty answer, was tried at most. `sampling` is the judge's own;
    for the section on consistency the temperature is raised.
    """

    model: str
    prompt: str
    prompt_sha256: str
    neutralise: bool
    sampling: Sampling
    data: str
    pairs: int
    tries: int
    seeds: int
    seed: int
    readings: int
    forced: int
    unreadable: int
    tokens: int
    sections: tuple[AuditSection, ...]

    def section(self, name: str) -> AuditSection:
        """The section of that name. Raises KeyError where there is none."""
        for section in self.sections:
            if section.name == name:
                return section
        raise KeyError(str(unknown("section", name, [section.name for section in self.sections])))

    @property
    def subject(self) -> str:
        """Judge and data of the audit, in one line."""
        neutralise = "" if self.neutralise else ", which leaves tags in answers as they are"
        return (
            f"{self.model} with the prompt {self.prompt}{neutralise}, over {self.pairs} pairs ({self.data}), seed "
            f"{self.seed}: {self.readings:,} readings ({self.forced:,} forced, {self.unreadable:,} unreadable), "
            f"{self.tokens:,} tokens"
        )

    def as_text(self) -> str:
        """All findings, for a person at a terminal."""
        lines = [self.subject]
        for section in self.sections:
            lines += ["", f"== {section.name}: {section.question}"]
            for finding in section.findings:
                lines.append(f"{finding.name:<41} {finding!s:<24} {_counts(finding)}")
                lines.append(f"    {finding.meaning}")
            lines += [f"  * {note}" for note in section.notes]
        return "\n".join(lines)

    def as_markdown(self) -> str:
        """All findings as a page, the card first and details last; where there are many, they are in the JSON alone."""
        parts = [self.card()]
        for section in self.sections:
            parts += [f"### {section.name}", section.question, _table(section.findings)]
            parts += ["\n".join(f"- {note}" for note in section.notes)] if section.notes else []
        for section in self.sections:
            if 0 < len(section.details) <= _MOST_DETAILS:
                parts += [f"### {section.name}, one by one", _short_table(section.details)]
        return "\n\n".join(parts) + "\n"

    def card(self) -> str:
        """The findings that sum the others up, as Markdown for a model card."""
        found = [finding for section in self.sections for finding in section.findings if finding.on_card]
        settings = ", ".join(f"{name} {value}" for name, value in self.sampling if value not in (None, ()))
        made = f"Intervals are at 95%. Sampling: {settings}. Made by `rmr1 audit`."
        return "\n\n".join(["## Audit of the judge", f"{self.subject}.", _table(list(dict.fromkeys(found))), made])


def _counts(finding: Finding) -> str:
    unreadable = f", {finding.unreadable} unreadable" if finding.unreadable else ""
    return f"{finding.n} {finding.of}{unreadable}"


def _table(findings: Sequence[Finding]) -> str:
    rows = ((f.name, str(f), f"{f.n} {f.of}", str(f.unreadable), f.meaning) for f in findings)
    return _rows(("Figure", "Value", "n", "Unreadable", "Meaning"), rows)


def _short_table(findings: Sequence[Finding]) -> str:
    rows = ((f.name, str(f), f"{f.n} {f.of}", str(f.unreadable)) for f in findings)
    return _rows(("Figure", "Value", "n", "Unreadable"), rows)


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
