import random
from collections import Counter

import pytest

from rmr1_sdk import ConfigError
from rmr1_sdk.training.data.splits import Member, Parts, check_parts, parse_parts, split


def rows_of(parts: dict[int, str], members: list[Member]) -> Counter[tuple[str, str]]:
    return Counter((parts[member.group], member.stratum) for member in members)


def test_every_stratum_is_split_alike() -> None:
    members = [Member(n, "large" if n < 800 else "small") for n in range(1000)]
    parts: Parts = {"distill": 0.12, "test": 50, "rl": "rest"}
    assert rows_of(split(parts, members, seed=1), members) == {
        ("distill", "large"): 96, ("distill", "small"): 24,
        ("test", "large"): 40, ("test", "small"): 10,
        ("rl", "large"): 664, ("rl", "small"): 166,
    }  # fmt: skip


def test_sizes_are_right_where_strata_do_not_divide() -> None:
    members = [Member(n, f"stratum {n % 7}") for n in range(100)]
    counts = Counter(split({"dev": 33, "test": 0.5, "rl": "rest"}, members, seed=0).values())
    assert counts == {"dev": 33, "test": 50, "rl": 17}


def test_groups_stay_together_and_no_part_gets_too_many() -> None:
    rng = random.Random(0)
    members = [Member(rng.randrange(300), "x") for _ in range(1000)]
    parts = split({"dev": 100, "test": 200, "rl": "rest"}, members, seed=0)
    counts = Counter(parts[member.group] for member in members)
    assert counts["dev"] == 100
    assert counts["test"] == 200


def test_the_order_of_the_rows_changes_nothing_and_the_seed_everything() -> None:
    members = [Member(n, "x") for n in range(100)]
    parts: Parts = {"distill": 0.5, "rl": "rest"}
    assert split(parts, members, seed=1) == split(parts, members[::-1], seed=1)
    assert split(parts, members, seed=1) != split(parts, members, seed=2)


def test_more_rows_than_there_are() -> None:
    members = [Member(n, "x") for n in range(10)]
    with pytest.raises(ConfigError, match="part test is to have 8 rows, and 7 of 10 are left"):
        split({"dev": 3, "test": 8, "rl": "rest"}, members, seed=0)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["distill=0.12"], "one of the parts, and no other, is the rest"),
        (["a=rest", "b=rest"], "one of the parts, and no other, is the rest"),
        (["a=1.0", "b=rest"], "part a=1.0: a share is between 0 and 1"),
        (["a=0", "b=rest"], "part a=0: a share is between 0 and 1"),
        (["a=many", "b=rest"], "--part a=many: write NAME=0.12, NAME=600 or NAME=rest"),
        (["removed=rest"], "part 'removed': a name is of small letters"),
        (["../x=rest"], "part '../x': a name is of small letters"),
    ],
)
def test_parts_that_cannot_be_right(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_parts(parse_parts(texts))
    assert parse_parts(["a=0.12", "b=600", "c=rest"]) == {"a": 0.12, "b": 600, "c": "rest"}
