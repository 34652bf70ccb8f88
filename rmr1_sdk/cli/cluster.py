"""Shared parts of the commands that judge in a Ray cluster: options, and the run with its progress."""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from rmr1_sdk import progress
from rmr1_sdk.bulk import Pairs, Pool, Shards, judge_shards
from rmr1_sdk.cli import common
from rmr1_sdk.cli.options import JudgeFlags, OptionGroup, build, options_of
from rmr1_sdk.errors import ConfigError
from rmr1_sdk.judge import Judge
from rmr1_sdk.types import AsOption, Value

__all__ = ["CLUSTER", "Cluster"]


class Cluster(Value):
    """A Ray cluster to judge in, and the replicas of the judge there."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    address: Annotated[str | None, AsOption("--ray", unset="this process")] = None
    """Judge in a Ray cluster: its address, or "local"."""
    replicas: int = Field(default=1, ge=1)
    """Judges at work, each with a model of its own."""
    cpus: float = Field(default=1, ge=0)
    """Cores of a replica."""
    gpus: float = Field(default=0, ge=0)
    """GPUs of a replica."""
    block_size: int = Field(default=256, ge=1)
    """Pairs in a shard of the judgments."""

    def check(self, out: Path | None, flags: JudgeFlags, others: Mapping[str, object] = {}) -> None:
        """Refuse what a cluster cannot keep: it needs a folder, and its judges share neither store nor budget."""
        if not self.address:
            raise ConfigError('--ray: name the address of a cluster, or "local"')
        if out is None:
            raise ConfigError("--ray needs --out: a folder that gets a file of judgments for each block of pairs")
        flags.refuse_with_ray()
        if given := [name for name, value in others.items() if value]:
            raise ConfigError(f"{given[0]} does not go with --ray")

    def shards(self, folder: Path) -> Shards:
        """The folder of judgments."""
        return Shards(folder, self.block_size)

    def judge(
        self,
        make: Callable[[], AbstractContextManager[Judge]],
        asked: dict[str, Any],
        data: str | None,
        pairs: Pairs,
        shards: Shards,
        *,
        offline: bool,
    ) -> dict[str, Any]:
        """Judge what has no shard yet, with progress on standard error; the record of the run, as `common.record`."""
        describe = partial(common.record, asked=asked | {"block_size": self.block_size}, data=data)
        environment = {"HF_HUB_OFFLINE": "1"} if offline else {}
        # Ray tells of lost nodes on standard output, where a program reads our results
        with redirect_stdout(sys.stderr), progress.fleet(len(pairs), self.replicas) as fleet:
            pool = Pool(
                self.address or "", make, describe, replicas=self.replicas, cpus=self.cpus, gpus=self.gpus,
                environment=environment, tell=fleet.ready,
            )  # fmt: skip
            return judge_shards(pool, pairs, shards, fleet.advance)


CLUSTER = OptionGroup(
    options_of(Cluster, panel="Ray cluster"), lambda given: build(Cluster, given) if "address" in given else None
)
"""The options of a cluster, as Cluster; None without --ray."""
