"""Deterministic A/B placement of the preferred answer, the same in every run and profile."""

import random
from collections.abc import Iterator
from typing import Any

from rmr1_sdk.types import ConversationLike, Pair

__all__ = ["chosen_is_b", "numpy_rand", "placed"]


def numpy_rand(seed: int) -> Iterator[float]:
    """Numbers that `numpy.random.seed(seed)` and repeated `numpy.random.rand()` give.

    Python and numpy's older generator are the same Mersenne Twister and make floats in the same way. They differ only
    in how a seed becomes the first state: numpy's is `init_genrand` of Matsumoto and Nishimura's code of 2002.
    """
    state = [seed]
    for n in range(1, 624):
        state.append((1812433253 * (state[-1] ^ state[-1] >> 30) + n) & 0xFFFFFFFF)
    generator = random.Random()  # noqa: S311  # no secret
    generator.setstate((3, (*state, 624), None))
    while True:
        yield generator.random()


def chosen_is_b() -> Iterator[bool]:
    """Sides of the better answers, row by row of one file: True for B.

    RM-R1's evaluation draws `numpy.random.rand() > 0.5` for each row and sets no seed itself. Its published rows fit
    seed 0, which the vLLM of that time sets in the process; so this is seed 0.
    """
    return (draw > 0.5 for draw in numpy_rand(0))


def placed(
    question: ConversationLike,
    chosen: ConversationLike,
    rejected: ConversationLike,
    *,
    on_b: bool,
    id: str,  # noqa: A002  # as in Pair
    **metadata: Any,
) -> Pair:
    """The pair with the better answer on its side."""
    a, b = (rejected, chosen) if on_b else (chosen, rejected)
    return Pair(question=question, a=a, b=b, id=id, label="B" if on_b else "A", metadata=metadata)
