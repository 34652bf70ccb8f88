"""A judge as a reward function of TRL's trainers. Imports neither TRL nor torch.

`JudgeReward` is for GRPOTrainer, RLOOTrainer and AsyncGRPOTrainer; `SyncJudgeReward` for OnlineDPOTrainer, which
calls reward functions without awaiting them.
"""

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Literal

from rmr1_sdk.concurrency import PerProcess, submit, wait
from rmr1_sdk.errors import ConfigError, JudgeUnavailable
from rmr1_sdk.judging.ranking import Aggregate
from rmr1_sdk.rewards.conversations import answer, question
from rmr1_sdk.rewards.preference import (
    Outcome,
    PreferenceConfig,
    PreferenceRewards,
    Row,
    collect,
    grouped,
    judge_groups,
)
from rmr1_sdk.types import Conversation

if TYPE_CHECKING:
    from rmr1_sdk.judging.comparer import Comparer

__all__ = ["JudgeReward", "SyncJudgeReward"]

logger = logging.getLogger(__name__)

Metric = Callable[[str, float], None] | None
Extra = Callable[[str, list[Any]], None] | None
Texts = Sequence[Any]
Told = tuple[list[Outcome], str | None]

_MEET_EACH_OTHER = "they meet each other, and one alone has no reward; a reference_column would help."


class _Reward:
    """Shared base of the asynchronous and the synchronous reward: everything but the call."""

    def __init__(
        self,
        judge: "Comparer",
        *,
        against: Literal["group", "reference"] = "group",
        reference_column: str | None = None,
        num_generations: int | None = None,
        aggregate: Aggregate = "win_rate",
        duels_per_answer: int = 3,
        max_failed: float = 0.5,
        step_time_s: float | None = None,
        name: str = "judge_reward",
    ) -> None:
        if against not in ("group", "reference"):
            raise ConfigError(f'answers are compared with their "group" or a "reference", not {against!r}')
        if against == "reference" and reference_column is None:
            raise ConfigError("against='reference' needs reference_column=, the dataset's column of answers to beat")
        self.__name__ = name  # what trainers call the reward in their logs
        self._judge = judge
        self._against = against
        self._reference_column = reference_column
        self._num_generations = num_generations
        self._config = PreferenceConfig(aggregate, duels_per_answer, max_failed, step_time_s)
        self._group = PerProcess(_ProcessGroup)
        self._warned: set[str] = set()

    async def _rewards(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        columns: dict[str, Any],
        log_metric: Metric,
        log_extra: Extra,
    ) -> list[float | None]:
        group = self._group.get()
        group.open()
        rows = self._rows(prompts, completions, columns)
        rows = self._with_references(rows, self._partial(rows) if group.count == 1 else set())
        parts = await group.gather(rows)
        rewards = await self._judged([row for part in parts for row in part], group)
        start = sum(map(len, parts[: group.rank]))
        mine = slice(start, start + len(rows))
        if log_metric:
            for name, figure in rewards.metrics.figures().items():
                log_metric(f"{self.__name__}/{name}", figure)
        if log_extra:
            log_extra(f"{self.__name__}_failure", rewards.reasons[mine])
        return rewards.values[mine]

    def _rows(self, prompts: Sequence[Any], completions: Sequence[Any], columns: dict[str, Any]) -> list[Row]:
        """Rows to compare, each with its reference where the dataset has one."""
        references: Sequence[Any] = [None] * len(prompts)
        if self._reference_column is not None:
            if self._reference_column not in columns:
                raise ConfigError(f"the dataset has no column {self._reference_column!r}; it has {sorted(columns)}")
            references = columns[self._reference_column]
        return [
            Row(question(prompt), answer(completion), None if reference is None else answer(reference))
            for prompt, completion, reference in zip(prompts, completions, references, strict=True)
        ]

    def _with_references(self, rows: list[Row], partial: AbstractSet[Conversation]) -> list[Row]:
        """The rows, with a reference only where it is to be met: everywhere, or in groups that are not whole."""
        if self._against == "reference":
            return rows
        return [row if row.question in partial else row._replace(reference=None) for row in rows]

    def _partial(self, rows: Sequence[Row]) -> set[Conversation]:
        """The questions of which some answers are elsewhere, where no other process can be asked."""
        full = self._num_generations or 2  # not told how many there should be: one alone is certainly too few
        partial = {asked for asked, count in Counter(row.question for row in rows).items() if count < full}
        if partial and self._against == "group":
            self._say_once(
                "Only a part of some groups is in this process: "
                + ("its answers meet the reference instead." if self._reference_column else _MEET_EACH_OTHER)
            )
        return partial

    async def _judged(self, rows: Sequence[Row], group: "_ProcessGroup") -> PreferenceRewards:
        """The rewards of all processes' rows. Each group is judged by one process, which tells the others."""
        groups = grouped(rows)
        failed: Exception | None = None
        outcomes: list[Outcome] = []
        try:
            outcomes = await judge_groups(self._judge, groups[group.rank :: group.count], self._config)
        except Exception as error:  # noqa: BLE001  # whatever it is: the others wait, and must not wait for ever
            failed = error
        told: list[Told] = await group.gather((outcomes, None if failed is None else f"{failed!r}"))
        if failed is not None:
            raise failed
        for rank, (_, trouble) in enumerate(told):
            if trouble is not None:
                raise JudgeUnavailable(f"the judge of process {rank} failed: {trouble}")
        ordered = [told[i % group.count][0][i // group.count] for i in range(len(groups))]
        return collect(len(rows), groups, ordered, self._config)

    def _say_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            logger.warning(text)


class JudgeReward(_Reward):
    """A reward function for GRPOTrainer, RLOOTrainer and AsyncGRPOTrainer: `reward_funcs=JudgeReward(judge)`.

    The reward of a completion is the probability, 0 to 1, that the judge prefers it to another completion of
    the same prompt, as `preference_reward` says; None where there was no judgment, which TRL leaves out of the
    group and gives advantage 0. Groups are told by their prompts. Prompts and completions are text or messages.

    With several processes (torch.distributed), their completions are put together, each group is judged by one
    of them, and all go on with the same figures. Processes talk over a gloo group of the reward's own, so that
    nothing gets between the trainer's messages. Without it, a group of which only a part is here meets the reference
    if there is a column of those, else itself; a warning says so once.

    Args:
        judge: what compares. Its store keeps verdicts over steps and runs.
        against: what an answer meets: its "group", or always its "reference".
        reference_column: the dataset's column of answers to beat.
        num_generations: the trainer's; tells that a group is not whole. None: only an answer alone is noticed.
        aggregate: see `preference_reward`.
        duels_per_answer: see `preference_reward`.
        max_failed: see `preference_reward`; of the judgments of all processes together.
        step_time_s: see `preference_reward`.
        name: the reward's name in the trainer's logs.

    With `log_metric` and `log_extra`, as TRL hands them over, it logs NAME/duels_planned, duels_played,
    failed_share, position_consistency and latency_p95_s, and a column NAME_failure with the reason of each None.
    Raises JudgeUnavailable when too much fails. Pickles, if the judge's backend does; it opens on first use.
    """

    async def __call__(
        self, prompts: Texts, completions: Texts, *, log_metric: Metric = None, log_extra: Extra = None, **columns: Any
    ) -> list[float | None]:
        """A reward for each completion. `columns` are the dataset's others, one value for each completion."""
        return await self._rewards(prompts, completions, columns, log_metric, log_extra)


class SyncJudgeReward(_Reward):
    """`JudgeReward` for OnlineDPOTrainer, which does not await: the call blocks. The same arguments.

    That trainer cannot leave a pair out. It takes a None for 0, and of two equal rewards the first answer for the
    better one: so a pair whose judgment failed trains on a side that nobody chose. The first such pair is told by
    a warning; `max_failed=0` stops there.
    """

    def __call__(
        self, prompts: Texts, completions: Texts, *, log_metric: Metric = None, log_extra: Extra = None, **columns: Any
    ) -> list[float | None]:
        """A reward for each completion."""
        rewards = wait(submit(self._rewards(prompts, completions, columns, log_metric, log_extra)))
        if None in rewards:
            self._say_once(
                "A judgment failed; OnlineDPO cannot leave its pair out, and takes the first answer for the better."
            )
        return rewards


class _ProcessGroup:
    """The processes that train together, and a way to tell each other things."""

    def __init__(self) -> None:
        self.rank, self.count = 0, 1
        self._group: Any = None

    def open(self) -> None:
        """Open the group once torch.distributed is up. All processes call it in the same order, before they wait."""
        dist: Any = sys.modules.get("torch.distributed")  # not imported: then it is not up
        if self._group is not None or dist is None or not (dist.is_available() and dist.is_initialized()):
            return
        if dist.get_world_size() > 1:
            # not NCCL: that sends objects over the current GPU, which in this thread is the same for all processes
            self._group = dist.new_group(backend="gloo")
            self.rank, self.count = dist.get_rank(), dist.get_world_size()

    async def gather(self, mine: Any) -> list[Any]:
        """Gather one value from each process, by rank."""
        if self._group is None:
            return [mine]
        everyone: list[Any] = [None] * self.count
        dist: Any = sys.modules["torch.distributed"]
        await asyncio.to_thread(dist.all_gather_object, everyone, mine, group=self._group)
        return everyone
