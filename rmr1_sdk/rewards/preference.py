"""Preference rewards: group answers by prompt, compare them, and handle failed judgments."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil, nan
from typing import Any, NamedTuple

from pydantic import Field

from rmr1_sdk.concurrency import await_, drive, submit, tasks
from rmr1_sdk.errors import BackendError, ConfigError, JudgeUnavailable, JudgmentFailed, unknown
from rmr1_sdk.judging.comparer import Comparer, aload
from rmr1_sdk.judging.ranking import Aggregate, Contest
from rmr1_sdk.rewards.conversations import answer, question
from rmr1_sdk.types import Conversation, Judgment, Pair, Value

__all__ = [
    "Duel", "Group", "Outcome", "PreferenceConfig", "PreferenceRewards", "RewardMetrics", "Row", "collect", "grouped",
    "judge_groups", "preference_reward",
]  # fmt: skip

_ALONE = "alone: there is no other answer to this prompt, and no reference"
_NO_TIME = "no_time: step_time_s was over before a duel of this answer"


class RewardMetrics(Value):
    """Metrics of the judge in one training step.

    `failures` counts the failed judgments by kind: those of `Failure`, and "engine". `position_consistency` is
    the share, of the judgments that were read in both orders, that came to the same outcome in both.
    `latency_p95_s` is the 95th percentile of what judgments took the backend, in seconds. None: nothing to tell it by.
    """

    duels_planned: int = 0
    duels_played: int = 0
    duels_failed: int = 0
    position_consistency: float | None = None
    latency_p95_s: float | None = None
    failures: dict[str, int] = Field(default_factory=dict)

    @property
    def failed_share(self) -> float | None:
        """Failed judgments over played ones; 1 where duels were planned and none was over in time."""
        if self.duels_played:
            return self.duels_failed / self.duels_played
        return 1.0 if self.duels_planned else None

    def figures(self) -> dict[str, float]:
        """The numbers by name, the same names every time; nan for None."""
        numbers = {
            "duels_planned": self.duels_planned,
            "duels_played": self.duels_played,
            "failed_share": self.failed_share,
            "position_consistency": self.position_consistency,
            "latency_p95_s": self.latency_p95_s,
        }
        return {name: nan if number is None else float(number) for name, number in numbers.items()}


class PreferenceRewards(NamedTuple):
    """A reward for each completion, 0 to 1 or None; for each None the reason; and how the judge did."""

    values: list[float | None]
    reasons: list[str | None]
    metrics: RewardMetrics


class Row(NamedTuple):
    """A completion with its prompt, and the answer it is to be compared with where that is a fixed one."""

    question: Conversation
    answer: Conversation
    reference: Conversation | None = None


class Group(NamedTuple):
    """All answers to one prompt that are compared with each other, or with one reference. `rows` are their places."""

    question: Conversation
    reference: Conversation | None
    answers: list[Conversation]
    rows: list[int]


class Duel(NamedTuple):
    """Summary of one judgment. `failure` is None, or its kind and a sentence."""

    failure: str | None
    consistent: bool | None
    latency_s: float


class Outcome(NamedTuple):
    """A group's scores, for each None the reason, and the duels behind them."""

    scores: list[float | None]
    reasons: list[str | None]
    planned: int
    duels: list[Duel]


@dataclass(frozen=True)
class PreferenceConfig:
    """Settings of `preference_reward`. Raises ConfigError."""

    aggregate: Aggregate = "win_rate"
    duels_per_answer: int = 3
    max_failed: float = 0.5
    step_time_s: float | None = None

    def __post_init__(self) -> None:
        if self.aggregate not in ("win_rate", "bradley_terry"):
            raise unknown("aggregate", self.aggregate, ("win_rate", "bradley_terry"))
        if self.duels_per_answer < 1:
            raise ConfigError(f"duels_per_answer must be more than 0, not {self.duels_per_answer}")
        if not 0 <= self.max_failed <= 1:
            raise ConfigError(f"max_failed is a share from 0 to 1, not {self.max_failed}")
        if self.step_time_s is not None and not self.step_time_s > 0:
            raise ConfigError(f"step_time_s must be more than 0, not {self.step_time_s}")

    def contest(self, group: Group) -> Contest | None:
        """The duels of a group; None where an answer has nobody to meet."""
        if group.reference is not None:
            return Contest(group.question, group.answers, "anchor", anchor=group.reference, aggregate=self.aggregate)
        if len(group.answers) < 2:
            return None
        n = len(set(group.answers))
        if n - 1 <= 2 * self.duels_per_answer:  # everyone against everyone costs no more than the budget
            return Contest(group.question, group.answers, "round_robin", aggregate=self.aggregate)
        return Contest(group.question, group.answers, "swiss", budget=self.duels_per_answer * n)


async def preference_reward(
    judge: Comparer,
    prompts: Sequence[str | Sequence[Any]],
    completions: Sequence[str | Sequence[Any]],
    *,
    references: Sequence[str | Sequence[Any] | None] | None = None,
    aggregate: Aggregate = "win_rate",
    duels_per_answer: int = 3,
    max_failed: float = 0.5,
    step_time_s: float | None = None,
) -> PreferenceRewards:
    """For each completion the probability, 0 to 1, that it is better than the other answers to its prompt.

    Completions of equal prompts are a group, wherever they stand. The answers of a group meet each other: all
    of them where that takes at most `duels_per_answer` duels an answer (7 answers for 3), else by Swiss rounds
    with that many. The reward is the mean probability to beat another answer of the group. Identical answers
    share theirs, and count as even among themselves. Where no duel failed, the mean of a group is 0.5.

    With a reference, an answer meets that alone, and its reward is the probability of beating it.

    A reward is None, never a guess, where all duels of an answer failed, where none was over in time, and for
    a single answer without a reference. What fails is missing: neither side has lost it.

    Args:
        judge: a Judge or any other Comparer. Verdicts that are in a judge's store are not asked for again, in
            whichever step they occur.
        prompts: text or messages, one for each completion.
        completions: text or messages.
        references: for each completion the answer to compare it with; None where there is none.
        aggregate: "win_rate" is the mean of an answer's own duels (fitted after Swiss rounds, where some meet
            stronger opponents than others). "bradley_terry" fits strengths to all duels of the group; that is
            smoother where duels failed, and nearer to 0.5.
        duels_per_answer: the budget of a group, for each different answer in it.
        max_failed: the share of failed judgments above which the step is no use; 1 accepts all.
        step_time_s: seconds for the whole call once the backend is up. What is not over by then is left out,
            from all answers alike, and the metrics tell duels planned from duels played.

    Raises JudgeUnavailable when more than `max_failed` of the judgments failed, or time was over before any of
    them. A backend that fails (BackendError) is a failed judgment here; a budget of tokens that is spent
    (BudgetExceeded) and a store that fails (StoreError) are raised.
    """
    config = PreferenceConfig(aggregate, duels_per_answer, max_failed, step_time_s)
    given = [None] * len(prompts) if references is None else references
    if not len(prompts) == len(completions) == len(given):
        raise ConfigError(f"{len(prompts)} prompts, {len(completions)} completions, {len(given)} references")
    groups = grouped(
        [
            Row(question(prompt), answer(completion), None if reference is None else answer(reference))
            for prompt, completion, reference in zip(prompts, completions, given, strict=True)
        ]
    )
    return collect(len(prompts), groups, await judge_groups(judge, groups, config), config)


def grouped(rows: Sequence[Row]) -> list[Group]:
    """The groups, in the order in which they begin."""
    groups: dict[tuple[Conversation, Conversation | None], Group] = {}
    for place, row in enumerate(rows):
        group = groups.setdefault((row.question, row.reference), Group(row.question, row.reference, [], []))
        group.answers.append(row.answer)
        group.rows.append(place)
    return list(groups.values())


async def judge_groups(judge: Comparer, groups: Sequence[Group], config: PreferenceConfig) -> list[Outcome]:
    """The outcome of each group, all of them at once. The first error that is no failed judgment cancels the rest."""
    contests = [(group, config.contest(group)) for group in groups]
    return await await_(submit(_judge_groups(judge, contests, config.step_time_s)))


def collect(
    rows: int, groups: Sequence[Group], outcomes: Sequence[Outcome], config: PreferenceConfig
) -> PreferenceRewards:
    """Every row's reward. Raises JudgeUnavailable where too many judgments failed."""
    values: list[float | None] = [None] * rows
    reasons: list[str | None] = [None] * rows
    for group, outcome in zip(groups, outcomes, strict=True):
        for row, score, reason in zip(group.rows, outcome.scores, outcome.reasons, strict=True):
            values[row], reasons[row] = score, reason
    metrics = _metrics(outcomes)
    if metrics.failed_share is not None and metrics.failed_share > config.max_failed:
        seen = Counter(duel.failure for outcome in outcomes for duel in outcome.duels if duel.failure)
        why = "; ".join(f"{count} x {failure}" for failure, count in seen.most_common(3)) or _NO_TIME
        raise JudgeUnavailable(
            f"{metrics.duels_failed} of {metrics.duels_played} judgments failed, of {metrics.duels_planned} planned, "
            f"and max_failed={config.max_failed:g}: {why}"
        )
    return PreferenceRewards(values, reasons, metrics)


def _metrics(outcomes: Sequence[Outcome]) -> RewardMetrics:
    duels = [duel for outcome in outcomes for duel in outcome.duels]
    failures = Counter(duel.failure.partition(":")[0] for duel in duels if duel.failure)
    consistent = [duel.consistent for duel in duels if duel.consistent is not None]
    latencies = sorted(duel.latency_s for duel in duels if duel.failure is None)
    return RewardMetrics(
        duels_planned=sum(outcome.planned for outcome in outcomes),
        duels_played=len(duels),
        duels_failed=failures.total(),
        position_consistency=sum(consistent) / len(consistent) if consistent else None,
        latency_p95_s=latencies[ceil(0.95 * len(latencies)) - 1] if latencies else None,
        failures=dict(failures),
    )


class _Result(NamedTuple):
    judgment: Judgment
    duel: Duel


async def _judge_groups(
    judge: Comparer, contests: Sequence[tuple[Group, Contest | None]], time_s: float | None
) -> list[Outcome]:
    if any(contest for _, contest in contests):
        with suppress(BackendError):  # the duels meet it again, and tell of it
            await aload(judge)  # no part of a step's time
    deadline = None if time_s is None else time.monotonic() + time_s
    async with tasks(_play(judge, group, contest, deadline) for group, contest in contests) as started:
        return await asyncio.gather(*started)


async def _play(judge: Comparer, group: Group, contest: Contest | None, deadline: float | None) -> Outcome:
    if contest is None:
        return Outcome([None], [_ALONE], 0, [])
    duels: list[Duel] = []
    failures: dict[Conversation, str] = {}

    async def play(pairs: Sequence[Pair]) -> list[Judgment]:
        judgments = []
        for pair, heard in zip(pairs, await _round(judge, pairs, deadline), strict=True):
            judgments.append(heard.judgment if heard else Judgment(pair_id=pair.id))
            if heard:
                duels.append(heard.duel)
                if heard.duel.failure:
                    failures.update({pair.a: heard.duel.failure, pair.b: heard.duel.failure})
        return judgments

    ranking = await drive(contest.flow(), play)
    reasons = [
        None if score is not None else failures.get(answered, _NO_TIME)
        for score, answered in zip(ranking.scores, group.answers, strict=True)
    ]
    return Outcome(list(ranking.scores), reasons, contest.duels, duels)


async def _round(judge: Comparer, pairs: Sequence[Pair], deadline: float | None) -> list[_Result | None]:
    """The duels of a round, None where time ran out."""
    if deadline is not None and time.monotonic() >= deadline:
        return [None] * len(pairs)
    fair = _balanced_order(pairs)
    # in turn with the other groups: a judge takes duels in the order they come in
    async with tasks((_duel(judge, pair) for pair in fair), in_turn=True) as started:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if started:
            await asyncio.wait(started, timeout=left, return_when=asyncio.FIRST_EXCEPTION)
        ended = {pair.id: task.result() for pair, task in zip(fair, started, strict=True) if task.done()}
        return [ended.get(pair.id) for pair in pairs]


def _balanced_order(pairs: Sequence[Pair]) -> list[Pair]:
    """The same duels, so ordered that wherever time cuts them off, all answers have had about as many."""
    left = list(pairs)
    had: Counter[Conversation] = Counter()
    ordered = []
    while left:
        pair = min(left, key=lambda pair: (max(had[pair.a], had[pair.b]), had[pair.a] + had[pair.b]))
        left.remove(pair)
        had.update((pair.a, pair.b))
        ordered.append(pair)
    return ordered


async def _duel(judge: Comparer, pair: Pair) -> _Result:
    try:
        judgment = await judge.acompare(pair)
    except JudgmentFailed as failed:  # how the judge says it with on_failure="raise"
        judgment = failed.judgment
    except BackendError as error:
        return _Result(Judgment(pair_id=pair.id), Duel(f"engine: {error}", None, 0.0))
    failure = None
    if judgment.winner is None:
        failure = f"{judgment.failure.kind}: {judgment.failure.message}" if judgment.failure else "unknown: no verdict"
    return _Result(judgment, Duel(failure, judgment.position_consistent, judgment.latency_s))
