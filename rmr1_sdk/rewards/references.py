"""Compare an answer with the references of its sample, for adapters that are called once per sample."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rmr1_sdk.concurrency import await_, submit, tasks
from rmr1_sdk.errors import JudgmentFailed
from rmr1_sdk.judging.comparer import Comparer, aload
from rmr1_sdk.types import Conversation, Judgment, Pair, Usage

__all__ = ["AgainstReferences", "against_references"]


@dataclass(frozen=True)
class AgainstReferences:
    """A judgment for each reference. In all of them A is the answer, and B the reference."""

    judgments: tuple[Judgment, ...]

    @property
    def value(self) -> float | None:
        """The probability, 0 to 1, that the answer is better: the mean over the references whose judgment was read.

        None where none was.
        """
        read = [judgment.p_a for judgment in self.judgments if judgment.p_a is not None]
        return sum(read) / len(read) if read else None

    @property
    def position_consistent(self) -> bool | None:
        """True where both orders agree for every reference that was read in both; None without one."""
        known = [
            judgment.position_consistent for judgment in self.judgments if judgment.position_consistent is not None
        ]
        return all(known) if known else None

    @property
    def failures(self) -> dict[str, int]:
        """Number of failed judgments by kind of failure."""
        return dict(Counter(judgment.failure.kind for judgment in self.judgments if judgment.failure))

    @property
    def usage(self) -> Usage:
        """Tokens of all judgments."""
        return sum((judgment.usage for judgment in self.judgments), Usage())

    def explain(self) -> str:
        """The judge's reasons as text for a person, one reference after the other."""
        count = len(self.judgments)
        names = ["the reference"] if count == 1 else [f"reference {i} of {count}" for i in range(1, count + 1)]
        return "\n\n".join(
            f"A is the answer, B is {name}.\n\n{judgment.explain()}"
            for name, judgment in zip(names, self.judgments, strict=True)
        )


async def against_references(
    judge: Comparer, question: Conversation, answer: Conversation, references: Sequence[Conversation]
) -> AgainstReferences:
    """Compare an answer with each of its references, all at once.

    A judgment without a verdict is among the others, whatever the judge's `on_failure` is. Raises BackendError
    when the backend fails.
    """
    pairs = [Pair(question=question, a=answer, b=reference) for reference in references]
    return AgainstReferences(tuple(await await_(submit(_judge_all(judge, pairs)))))


async def _judge_all(judge: Comparer, pairs: Sequence[Pair]) -> list[Judgment]:
    await aload(judge)
    async with tasks(_judged(judge, pair) for pair in pairs) as started:
        return await asyncio.gather(*started)


async def _judged(judge: Comparer, pair: Pair) -> Judgment:
    try:
        return await judge.acompare(pair)
    except JudgmentFailed as failed:
        return failed.judgment
