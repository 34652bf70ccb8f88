"""`rmr1 judge --ray` and `rmr1 bench --ray` over real Ray clusters on this machine."""

import json
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk.benchmarks import BENCHMARKS
from rmr1_sdk.files.judgments import read_judgments
from tests.processes import Child, run, until
from tests.published import write

BLOCK = 50
Start = Callable[..., Child]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where every request to the engine leaves a line, on whatever node it is judged."""
    path = tmp_path / "asked"
    path.write_text("")
    monkeypatch.setenv("ASKED", str(path))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    return path


@pytest.fixture
def start(rmr1: list[str], tmp_path: Path) -> Iterator[Start]:
    def start(address: str, out: Path, *more: object, pairs: int = 2000) -> Child:
        path = tmp_path / "pairs.jsonl"
        if not path.exists():
            path.write_text(
                "".join(
                    json.dumps({"question": f"{n}?", "a": "1", "b": "2", "label": "A"}) + "\n" for n in range(pairs)
                )
            )
        command = [*rmr1, "judge", path, "--model", "fake:tests.replies:logged", "--out", out]
        command += ["--ray", address, "--block-size", BLOCK, *more]
        return stack.enter_context(Child(command))

    with ExitStack() as stack:
        yield start


@pytest.fixture
def cluster(asked: Path) -> Iterator[Any]:
    """A head without room for a replica, to which nodes are added."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 10**8}
    )
    try:
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Any) -> Any:
    """A node with room for one replica; Ray only counts GPUs, so there need be none."""
    return cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=10**8)


def shards(out: Path) -> list[Path]:
    return sorted(out.glob("part-*.parquet"))


def ended(process: Child) -> dict[str, Any]:
    """The summary of a run that went well."""
    said = process.finish()
    assert said.returncode == 0, said.stderr
    summary: dict[str, Any] = json.loads(said.stdout)
    return summary | {"told": said.stderr}


def test_a_lost_node_costs_what_was_in_flight(cluster: Any, start: Start, asked: Path, tmp_path: Path) -> None:
    add_node(cluster)
    doomed = add_node(cluster)
    out = tmp_path / "out.parquet"
    running = start(cluster.address, out, "--replicas", 2, "--gpus", 1, "--cpus", 0.5)
    running.until(lambda: len(shards(out)) >= 6)
    cluster.remove_node(doomed, allow_graceful=False)
    assert len(shards(out)) < 30
    summary = ended(running)
    assert "2 of 2 replicas" in summary["told"]
    assert "pairs/s, 1 of 2 replicas" in summary["told"].split("2 of 2 replicas")[-1]
    judged = [judgment.pair_id for path in shards(out) for judgment in read_judgments(path)]
    assert judged == [str(n) for n in range(1, 2001)]
    assert (summary["pairs"], summary["readings"], summary["labelled"]) == (2000, 4000, 2000)
    times = Counter(asked.read_text().split())
    assert len(times) == 4000
    # a replica holds two blocks of BLOCK pairs, each shown in two orders
    assert 4000 <= times.total() <= 4000 + 2 * BLOCK * 2


def test_a_killed_run_goes_on_with_the_blocks_that_have_no_shard(start: Start, asked: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    killed = start("local", out, "--replicas", 2)
    killed.until(lambda: len(shards(out)) >= 6)
    killed.send(signal.SIGKILL)
    killed.finish()
    found = {path: path.stat().st_mtime_ns for path in shards(out)}
    until(lambda: not replicas())  # they notice that they are alone
    before = len(asked.read_text().split())
    summary = ended(start("local", out))
    assert {path: path.stat().st_mtime_ns for path in found} == found
    assert f"\n{len(found) * BLOCK} of 2000 pairs" in f"\n{summary['told']}"
    assert len(asked.read_text().split()) - before == 4000 - len(found) * BLOCK * 2
    assert (summary["pairs"], summary["right"]) == (2000, summary["winners"]["A"])
    record = json.loads((tmp_path / "run.json").read_text())
    assert (record["block_size"], record["summary"]["pairs"], record["prompt"]) == (BLOCK, 2000, "cor")
    other = start("local", out, "--seed", 1).finish()
    assert other.returncode == 2
    assert "out.parquet was begun with another seed" in other.stderr


def test_a_benchmark_is_judged_by_shard_and_scored_as_in_one_process(
    rmr1: list[str], asked: Path, tmp_path: Path
) -> None:
    data = write("llmbar", tmp_path / "data", BENCHMARKS["llmbar"].counts)

    def bench(name: str, *more: object) -> dict[str, Any]:
        given = ["bench", "llmbar", "--data", data, "--model", "fake:tests.replies:logged", "--limit", 42]
        command = [*rmr1, *given, "--out", tmp_path / name, *more]
        with Child(command) as child:
            return ended(child)

    alone = bench("alone")
    report = ("--ray", "local", "--block-size", 10, "--report", tmp_path / "r.json")
    over = bench("over", *report, "--replicas", 2, "--cpus", 0.5)
    assert over["scores"] == alone["scores"] == json.loads((tmp_path / "over" / "scores.json").read_text())["scores"]
    folder = tmp_path / "over" / "judgments.jsonl"
    parts = [f"part-00000{n}.jsonl" for n in range(5)]
    assert sorted(path.name for path in folder.iterdir()) == ["_run.json", *parts]
    record = json.loads((tmp_path / "over" / "run.json").read_text())
    other = json.loads((tmp_path / "alone" / "run.json").read_text())
    assert {name: value for name, value in record.items() if name != "block_size"} == other
    (folder / parts[2]).unlink()
    before = len(asked.read_text().split())
    again = bench("over", *report)
    assert len(asked.read_text().split()) - before == 10 * 2
    assert again["scores"] == alone["scores"]
    assert json.loads((tmp_path / "r.json").read_text())["runs"][0]["outcomes"]["judged"] == 42
    rescored = [*rmr1, "bench", "llmbar", "--from", str(tmp_path / "over")]
    said = run(rescored, check=True)
    assert json.loads(said.stdout)["scores"][0]["figures"] == alone["scores"][0]["figures"]


def replicas() -> list[str]:
    """Processes of replicas, whoever started them."""
    found = run(["ps", "-eo", "args"], check=True).stdout
    return [line for line in found.splitlines() if line.startswith("ray::Replica")]


def test_errors_of_replicas_are_told_as_what_they_are(rmr1: list[str], asked: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"question": "Q", "a": "1", "b": "2"}\n')

    def told(model: str, address: str = "local") -> tuple[int, str]:
        out = tmp_path / model.split(":")[-1]
        command = [*rmr1, "judge", path, "--out", out, "--model", model, "--ray", address]
        said = run(command)
        return said.returncode, said.stderr.splitlines()[-1]

    not_there = "error: fake:tests.replies:none: give it as "
    assert told("fake:tests.replies:none")[1].startswith(not_there)
    assert told("fake:tests.replies:broken") == (1, "error: the engine is gone")
    code, said = told("fake:tests.replies:killer")
    assert (code, said.split(":")[1]) == (1, " the block of pairs 1 to 1 was lost 3 times")
    code, said = told("fake:tests.replies:decided", "127.0.0.1:1")
    assert (code, said) == (2, "error: Ray at '127.0.0.1:1' cannot be reached: [Errno 111] Connection refused")


def test_replicas_that_are_not_alike_are_refused(asked: Path) -> None:
    program = (
        "import os\n"
        "from rmr1_sdk import Judge\n"
        "from rmr1_sdk.bulk import Pool\n"
        "def make(): return Judge('fake:tests.replies:decided')\n"
        "def describe(judge): return {'model': judge.backend.model, 'process': os.getpid()}\n"
        "with Pool('local', make, describe, replicas=2, cpus=0.5) as pool:\n"
        "    pool.record()\n"
        "    while True: pool._next()\n"
    )
    said = run([sys.executable, "-c", program])
    assert "ConfigError: replicas differ in process; give every machine the same versions" in said.stderr
