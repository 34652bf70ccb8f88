import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perf.bulk import ids, judge, write_pairs
from rmr1_sdk import ConfigError, DataError, FakeBackend, Judge, Judgment, MissingExtraError, Pair, RMR1Error
from rmr1_sdk.bulk import Block, Replica, Shards
from tests import processes

PAIRS = [Pair(question="Q", a="1", b="2", id=str(n)) for n in range(5)]


def judgments(pairs: tuple[Pair, ...]) -> list[Judgment]:
    return [Judgment(winner="A", pair_id=pair.id) for pair in pairs]


def test_a_killed_run_over_parquet_goes_on_and_does_not_hold_the_file(tmp_path: Path) -> None:
    pairs, out, asked = tmp_path / "pairs.parquet", tmp_path / "judgments.parquet", tmp_path / "asked"
    write_pairs(pairs, 2000)
    killed = judge(pairs, out, asked, kill_at=2000)
    assert (killed.code, out.exists()) == (-signal.SIGKILL, False)
    first = asked.stat().st_size
    resumed = judge(pairs, out, asked)
    assert resumed.code == 0
    assert list(ids(out)) == [f"pair {n}" for n in range(2000)]
    # what was in flight may be asked again: the window of a judge is 128 pairs
    assert 4000 <= first + asked.stat().st_size <= 4000 + 2 * 128


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl", "out"])
def test_shards_are_whole_and_found_again(tmp_path: Path, name: str) -> None:
    shards = Shards(tmp_path / name, 2)
    shards.settle({"seed": 0})
    missing = list(shards.missing(PAIRS))
    assert [(block.number, [pair.id for pair in block.pairs]) for block in missing] == [
        (0, ["0", "1"]),
        (1, ["2", "3"]),
        (2, ["4"]),
    ]
    shards.put(missing[2], judgments(missing[2].pairs))
    shards.put(missing[0], judgments(missing[0].pairs))
    again = Shards(tmp_path / name, 2)
    again.settle({"seed": 0})
    assert again.found(len(PAIRS)) == 3
    assert [block.number for block in again.missing(PAIRS)] == [1]
    again.put(missing[1], judgments(missing[1].pairs))
    assert [(pair.id, judgment.pair_id) for pair, judgment in again.judged(PAIRS)] == [
        (str(n), str(n)) for n in range(5)
    ]
    suffix = Path(name).suffix or ".jsonl"
    names = sorted(path.name for path in (tmp_path / name).iterdir())
    assert names == ["_run.json", *(f"part-00000{n}{suffix}" for n in range(3))]


def test_shards_of_another_run_are_refused(tmp_path: Path) -> None:
    Shards(tmp_path / "out", 2).settle({"seed": 0, "model": "m", "sampling": {"stop": ("x",)}})
    Shards(tmp_path / "out", 2).settle({"seed": 0, "model": "m", "sampling": {"stop": ("x",)}})
    with pytest.raises(ConfigError, match="out was begun with another model, seed; resume it as begun"):
        Shards(tmp_path / "out", 2).settle({"seed": 1, "model": "n", "sampling": {"stop": ("x",)}})
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("")
    for name in ("file", "other"):
        with pytest.raises(ConfigError, match=f"{name} is no folder of shards"):
            Shards(tmp_path / name, 2).settle({})


def test_a_shard_with_other_judgments_is_named(tmp_path: Path) -> None:
    shards = Shards(tmp_path / "out", 5)
    shards.settle({})
    shards.put(Block(0, tuple(PAIRS)), judgments(tuple(PAIRS[:4])))
    with pytest.raises(DataError, match=r"part-000000\.jsonl: not the judgments of these pairs; delete it"):
        list(shards.judged(PAIRS))


def test_a_shard_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RMR1Error, match=r"part-000000\.jsonl\.part: No such file or directory; the same command"):
        Shards(tmp_path / "none", 2).put(Block(0, ()), [])


def test_parquet_that_is_not_installed_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"rmr1_sdk\[parquet\]"):
        Shards(Path("out.parquet"), 2)


def test_a_replica_says_what_it_is_and_of_what_it_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    made = []

    def make() -> Judge:
        made.append(os.environ["HF_HUB_OFFLINE"])
        warnings.warn("another prompt", stacklevel=1)
        return Judge(FakeBackend(lambda request: "<answer>[[A]]</answer>"))

    replica = Replica(make, lambda judge: {"model": judge.backend.model}, {"HF_HUB_OFFLINE": "1"})
    assert replica.start() == ({"model": "fake"}, ["another prompt"])
    assert [judgment.pair_id for judgment in replica.judge(tuple(PAIRS))] == ["0", "1", "2", "3", "4"]
    assert made == ["1"]
    replica.close()


def test_a_replica_ends_what_holds_its_judge() -> None:
    told = []

    @contextmanager
    def make() -> Iterator[Judge]:
        told.append("begun")
        yield Judge(FakeBackend(lambda request: "<answer>[[A]]</answer>"))
        told.append("ended")

    replica = Replica(make, lambda judge: {}, {})
    replica.start()
    replica.start()
    assert told == ["begun"]
    replica.close()
    assert told == ["begun", "ended"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ray", "local"], "--ray needs --out"),
        (["--ray", "", "--out", "OUT"], "--ray: name the address of a cluster"),
        (["--ray", "local", "--out", "OUT", "--store", "s.db"], "--store does not go with --ray"),
        (["--ray", "local", "--out", "OUT", "--max-tokens-total", "5"], "--max-tokens-total does not go with --ray"),
    ],
)
def test_what_cannot_be_kept_over_many_machines_is_refused(
    rmr1: list[str], tmp_path: Path, options: list[str], message: str
) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("question,a,b\nQ,1,2\n")
    command = [*rmr1, "judge", str(path), "--model", "fake:tests.replies:decided", *options]
    said = processes.run(command)
    assert (said.returncode, said.stderr.splitlines()[-1][: 7 + len(message)]) == (2, f"error: {message}")
