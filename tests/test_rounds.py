import asyncio
from collections.abc import Generator

import pytest

from rmr1_sdk.rounds import drive, tasks


def test_a_generator_is_sent_what_came_of_each_round() -> None:
    def flow() -> Generator[list[int], list[int], str]:
        doubled = yield [1, 2]
        again = yield doubled
        return f"{doubled} {again}"

    async def double(numbers: list[int]) -> list[int]:
        return [2 * number for number in numbers]

    assert asyncio.run(drive(flow(), double)) == "[2, 4] [4, 8]"


@pytest.mark.parametrize("in_turn", [False, True])
def test_tasks_end_with_their_block(in_turn: bool) -> None:
    ended: list[str] = []

    async def work(name: str, error: Exception | None = None) -> str:
        try:
            await asyncio.sleep(0 if error else 3600)
        except asyncio.CancelledError:
            ended.append(name)
            raise
        assert error
        raise error

    async def main() -> None:
        parts = (work("first"), work("second", KeyError("no")), work("third"))
        async with tasks(parts, in_turn=in_turn) as started:
            await asyncio.gather(*started)

    with pytest.raises(KeyError, match="no"):
        asyncio.run(main())
    assert ended == ["first", "third"]


def test_others_begin_theirs_in_between() -> None:
    begun: list[str] = []

    async def note(name: str) -> None:
        begun.append(name)

    async def group(name: str) -> None:
        async with tasks((note(name) for _ in range(3)), in_turn=True) as started:
            await asyncio.gather(*started)

    async def main() -> None:
        await asyncio.gather(group("a"), group("b"))

    asyncio.run(main())
    assert begun[:4] == ["a", "b", "a", "b"]
