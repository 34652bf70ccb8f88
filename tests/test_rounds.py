import asyncio
from collections.abc import Generator
from contextlib import aclosing

import pytest

from rmr1_sdk.concurrency import Memo, drive, in_order, tasks


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


def test_results_come_in_order_with_a_few_begun_ahead() -> None:
    begun: list[int] = []

    async def slow_first(number: int) -> int:
        begun.append(number)
        await asyncio.sleep(0.01 if number == 0 else 0)
        return number

    async def main() -> list[tuple[int, int]]:
        return [(number, len(begun)) async for number in in_order(map(slow_first, range(6)), ahead=3)]

    results = asyncio.run(main())
    assert [number for number, _ in results] == list(range(6))
    assert results[0] == (0, 3)
    assert all(ahead <= number + 3 for number, ahead in results)


def test_closed_early_it_cancels_what_was_begun() -> None:
    cancelled: list[int] = []

    async def wait_long(number: int) -> int:
        try:
            await asyncio.sleep(3600 if number else 0)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    async def main() -> None:
        async with aclosing(in_order(map(wait_long, range(5)), ahead=3)) as results:
            async for _ in results:
                break

    asyncio.run(main())
    assert cancelled == [1, 2]


def test_turns_of_a_key_are_taken_one_at_a_time() -> None:
    memo: Memo[str, int] = Memo(2)
    inside = most = 0

    async def take(key: str) -> None:
        nonlocal inside, most
        for _ in range(3):
            async with memo.turn(key):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.001)
                inside -= 1

    async def many() -> None:
        await asyncio.gather(*(take("k") for _ in range(4)))

    asyncio.run(many())
    assert most == 1
    for number, key in enumerate("abc"):
        memo.put(key, number)
    assert [memo.get(key) for key in "abc"] == [None, 1, 2]
