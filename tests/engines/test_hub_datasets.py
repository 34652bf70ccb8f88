"""A benchmark by its name, through the real `datasets`; what stands in for the hub is a folder of the same layout."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import Table, parquet

from rmr1_sdk import ConfigError
from rmr1_sdk.benchmarks import BENCHMARKS, load
from rmr1_sdk.benchmarks.rows import Hub
from tests.published import write


def test_a_data_set_of_the_hub_holds_the_same_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    file = write("rewardbench", tmp_path)
    hub = tmp_path / "hub"
    (hub / "data").mkdir(parents=True)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for split, part in (("filtered", rows), ("raw", rows[:1])):
        parquet.write_table(Table.from_pylist(part), hub / "data" / f"{split}-00000-of-00001.parquet")
    entry = BENCHMARKS["rewardbench"]
    assert entry.hub == Hub("allenai/reward-bench", ("filtered",))
    monkeypatch.setitem(BENCHMARKS, "rewardbench", replace(entry, hub=Hub(str(hub), ("filtered",))))
    benchmark = load("rewardbench", partial=True)
    assert list(benchmark.pairs()) == list(load("rewardbench", file, partial=True).pairs())
    assert benchmark.data_sha256 is None


def test_a_hub_that_does_not_have_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = BENCHMARKS["rewardbench"]
    monkeypatch.setitem(BENCHMARKS, "rewardbench", replace(entry, hub=Hub(str(tmp_path / "none"), ("filtered",))))
    with pytest.raises(ConfigError, match="none, split 'filtered': Couldn't find any data file"):
        load("rewardbench")
