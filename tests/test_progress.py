import pytest

from rmr1_sdk.progress import Fleet


def test_lines_tell_of_replicas_and_their_rate(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    fleet = Fleet(1000, 2, clock=lambda: now)
    fleet.advance(400)
    now = 50.0  # loading the model is no part of the rate
    fleet.ready(1)
    now = 60.0
    fleet.ready(2)
    fleet.advance(100)
    now = 90.0
    fleet.advance(100)
    fleet.ready(1)
    assert capsys.readouterr().err.splitlines() == [
        "400 of 1000 pairs, - pairs/s, 1 of 2 replicas",
        "400 of 1000 pairs, - pairs/s, 2 of 2 replicas",
        "600 of 1000 pairs, 5 pairs/s, 2 of 2 replicas",
        "600 of 1000 pairs, 5 pairs/s, 1 of 2 replicas",
    ]
