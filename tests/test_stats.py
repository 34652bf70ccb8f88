import pytest

from rmr1_sdk.stats import wilson


def test_wilson_of_a_known_figure() -> None:
    assert str(wilson(348, 419)) == "83.1% [79.2%, 86.3%]"


def test_wilson_of_nothing_is_nothing() -> None:
    assert wilson(0, 0) is None


def test_wilson_refuses_more_successes_than_trials() -> None:
    with pytest.raises(ValueError, match="3 successes of 2"):
        wilson(3, 2)
