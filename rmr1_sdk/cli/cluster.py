"""What the commands that judge in a Ray cluster share: their options, and the run with its progress."""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from rmr1_sdk import progress
from rmr1_sdk.bulk import Pairs, Pool, Shards, judge_shards
from rmr1_sdk.cli import runs
from rmr1_sdk.cli.options import Flags
from rmr1_sdk.errors import ConfigError
from rmr1_sdk.judge import Judge

__all__ = ["Cluster", "check_ray"]

Ray = Annotated[str | None, typer.Option("--ray", help='Judge in a Ray cluster: its address, or "local".')]
Replicas = Annotated[int, typer.Option(min=1, help="With --ray: judges at work, each with a model of its own.")]
Cpus = Annotated[float, typer.Option(min=0, help="With --ray: cores of a replica.")]
Gpus = Annotated[float, typer.Option(min=0, help="With --ray: GPUs of a replica.")]
BlockSize = Annotated[int, typer.Option(min=1, help="With --ray: pairs in a shard of the judgments.")]


def check_ray(address: str | None, out: Path | None, flags: Flags, others: Mapping[str, object] = {}) -> None:
    """Refuse what --ray cannot keep: it needs a folder, and its judges share neither store nor budget."""
    if address is None:
        return
    if not address:
        raise ConfigError('--ray: name the address of a cluster, or "local"')
    if out is None:
        raise ConfigError("--ray needs --out: a folder that gets a file of judgments for each block of pairs")
    flags.refuse("--store", "--max-tokens-total", why="does not go with --ray")
    if given := [name for name, value in others.items() if value]:
        raise ConfigError(f"{given[0]} does not go with --ray")


@dataclass(frozen=True)
class Cluster:
    """What --ray and the options beside it say."""

    address: str
    replicas: int
    cpus: float
    gpus: float
    block_size: int
    offline: bool

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
    ) -> dict[str, Any]:
        """Judge what has no shard yet, with progress on standard error; the record of the run, as `runs.record`."""
        describe = partial(runs.record, asked=asked | {"block_size": self.block_size}, data=data)
        environment = {"HF_HUB_OFFLINE": "1"} if self.offline else {}
        # Ray tells of lost nodes on standard output, where a program reads our results
        with redirect_stdout(sys.stderr), progress.fleet(len(pairs), self.replicas) as fleet:
            pool = Pool(
                self.address, make, describe, replicas=self.replicas, cpus=self.cpus, gpus=self.gpus,
                environment=environment, tell=fleet.ready,
            )  # fmt: skip
            return judge_shards(pool, pairs, shards, fleet.advance)
