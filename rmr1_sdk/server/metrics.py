"""Metrics of a server, for Prometheus."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rmr1_sdk.types import Failure, Grade, Judgment, Usage

__all__ = ["Metrics"]

_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("rmr1_requests", "Requests", ["route", "status"], registry=self._registry)
        self.in_flight = Gauge("rmr1_requests_in_flight", "Accepted and not answered yet", registry=self._registry)
        self.seconds = Histogram(
            "rmr1_request_seconds", "From head to last byte", ["route"], buckets=_SECONDS, registry=self._registry
        )
        self._judgments = Counter(
            "rmr1_judgments", "Judgments by winner; none: nothing was readable", ["winner"], registry=self._registry
        )
        self._grades = Counter("rmr1_grades", "Grades by whether there is a score", ["scored"], registry=self._registry)
        self._failures = Counter("rmr1_failures", "Readings without a verdict", ["kind"], registry=self._registry)
        self._tokens = Counter(
            "rmr1_tokens", "Tokens of what was judged and completed, from a store or not", ["kind"],
            registry=self._registry,
        )  # fmt: skip

    def judged(self, judgment: Judgment) -> None:
        """Count a judgment, its readings without a verdict, and its tokens."""
        self._judgments.labels(judgment.winner or "none").inc()
        self._failed(verdict.failure for verdict in judgment.verdicts)
        self.used(judgment.usage)

    def graded(self, grade: Grade) -> None:
        """Count a grade, its readings without a score, and its tokens."""
        self._grades.labels("no" if grade.score is None else "yes").inc()
        self._failed(reading.failure for reading in grade.readings)
        self.used(grade.usage)

    def _failed(self, failures: Iterable[Failure | None]) -> None:
        for failure in filter(None, failures):
            self._failures.labels(failure.kind).inc()

    def used(self, usage: Usage) -> None:
        """Count tokens."""
        for kind, count in (
            ("prompt", usage.prompt_tokens),
            ("cached", usage.cached_tokens),
            ("completion", usage.completion_tokens),
        ):
            self._tokens.labels(kind).inc(count)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
