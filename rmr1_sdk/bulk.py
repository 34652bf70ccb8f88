"""Bulk judging on many machines: replicas of a judge in Ray, blocks of pairs, shards of judgments.

Pairs go from this process to the replicas and judgments come back, so the machines need no file system in common.
A block is a fixed stretch of the input, whatever the pool looks like, and its shard is there whole or not at all:
so a run goes on where it ended, on another cluster too.
"""

import json
import os
import socket
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count, islice
from pathlib import Path
from textwrap import shorten
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.errors import BackendError, ConfigError, DataError, MissingExtraError, RMR1Error, file_errors
from rmr1_sdk.files.cache import replacing, write_atomic
from rmr1_sdk.files.judgments import SHARDS_RECORD, open_judgments, read_judgments, shard_name
from rmr1_sdk.judging.comparer import Comparer, aload, compare_many
from rmr1_sdk.types import Judgment, Pair

__all__ = ["Block", "Pairs", "Pool", "Shards", "judge_shards"]

Record = dict[str, Any]
C = TypeVar("C", bound=Comparer)
Make = Callable[[], AbstractContextManager[C]]

_AHEAD = 2  # blocks that a replica holds, so that the end of one does not leave its backend idle
_LOSSES = 3  # a block that was lost so often may be what ends its replicas; so may a model that cannot be loaded
_CLOSING_S = 10.0
_KNOCK_S = 10.0


class Pairs(Protocol):
    """A list of pairs, or a PairFile."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Pair]: ...


class Block(NamedTuple):
    """A stretch of the input; `number` counts from 0."""

    number: int
    pairs: tuple[Pair, ...]


class Shards:
    """A folder with a file of judgments for every block of pairs, each there whole or not at all.

    The folder's suffix says the format of the files: .parquet, .csv, or JSONL for any other. SHARDS_RECORD in it is
    the record that all of them have in common. `size` is how many pairs a block has; the last may have fewer.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size
        self._suffix = folder.suffix if folder.suffix.lower() in (".csv", ".parquet") else ".jsonl"
        if self._suffix.lower() == ".parquet" and find_spec("pyarrow") is None:  # said before a model is loaded
            raise MissingExtraError("pyarrow", "parquet")

    def settle(self, record: Record) -> None:
        """Begin the folder with this record, or see that it was begun with the same.

        Raises ConfigError where it holds something else.
        """
        record = json.loads(json.dumps(record))  # as it comes back from a file
        begun = self._begun(record)
        if other := sorted(name for name in {*record, *begun} if record.get(name) != begun.get(name)):
            raise ConfigError(
                f"{self._folder} was begun with another {', '.join(other)}; resume it as begun, or name a new folder"
            )

    def _begun(self, record: Record) -> Record:
        kept = self._folder / SHARDS_RECORD
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not any(self._folder.iterdir()):
                write_atomic(kept, json.dumps(record, indent=2) + "\n")
            begun: Record = json.loads(kept.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self._folder} is no folder of shards ({error}); name a new one") from error
        return begun

    def found(self, pairs: int) -> int:
        """Number of pairs, of so many, that already have a file."""
        sizes = (min(self._size, pairs - start) for start in range(0, pairs, self._size))
        return sum(size for number, size in enumerate(sizes) if self._path(number).exists())

    def missing(self, pairs: Iterable[Pair]) -> Iterator[Block]:
        """The blocks that have no file yet."""
        return (block for block in self._blocks(pairs) if not self._path(block.number).exists())

    def put(self, block: Block, judgments: Iterable[Judgment]) -> None:
        """Write the judgments of a block."""
        path = self._path(block.number)
        with file_errors(f"{path}.part", RMR1Error, then="; the same command resumes"), replacing(path) as part:
            writer = open_judgments(part, self._suffix)
            for judgment in judgments:
                writer.write(judgment)
            writer.close()

    def judged(self, pairs: Iterable[Pair]) -> Iterator[tuple[Pair, Judgment]]:
        """All pairs with their judgments. Raises DataError where a file holds those of other pairs."""
        for block in self._blocks(pairs):
            path = self._path(block.number)
            judgments = list(read_judgments(path))
            if [judgment.pair_id for judgment in judgments] != [pair.id for pair in block.pairs]:
                raise DataError("not the judgments of these pairs; delete it to have them judged again", path=path)
            yield from zip(block.pairs, judgments, strict=True)

    def _blocks(self, pairs: Iterable[Pair]) -> Iterator[Block]:
        left = iter(pairs)
        for number in count():
            if not (stretch := tuple(islice(left, self._size))):
                return
            yield Block(number, stretch)

    def _path(self, number: int) -> Path:
        return self._folder / shard_name(number, self._suffix)


class Replica(Generic[C]):
    """One judge in a process of its own, somewhere in the cluster."""

    def __init__(self, make: Make[C], describe: Callable[[C], Record], environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        self._make = make
        self._describe = describe
        self._opened = ExitStack()
        self._judge: C | None = None

    def start(self) -> tuple[Record, list[str]]:
        """Load the model: the record of this judge, and the warnings there were."""
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("default", UserWarning)  # ours, and what backends think a user should know
            self._judge = self._judge or self._opened.enter_context(self._make())
            wait(submit(aload(self._judge)))
            record = self._describe(self._judge)
        return record, [str(warning.message) for warning in given]

    def judge(self, pairs: tuple[Pair, ...]) -> list[Judgment]:
        """The judgments of these pairs, in order."""
        assert self._judge
        return list(compare_many(self._judge, pairs))

    def close(self) -> None:
        """Free what the judge opened."""
        self._opened.close()


@dataclass(eq=False)
class _Actor:
    """A replica as the pool sees it. `losses`: how many before it were lost, one after another, while they loaded."""

    handle: Any
    losses: int = 0
    ready: bool = False
    held: int = 0


class _Call(NamedTuple):
    """Work given to a replica: a block, or None to start."""

    actor: _Actor
    block: Block | None


@dataclass
class Pool(Generic[C]):
    """Replicas of one judge in a Ray cluster; a context manager.

    Args:
        address: of the cluster, or "local" to start one on this machine that ends with the pool.
        make: what makes a replica's judge, or what holds one and ends with it; any other Comparer will do, as a
            context manager. It is pickled, and called where the replica is.
        describe: what tells one judge from another; all replicas must say the same.
        replicas: how many there should be. Work begins with the first; those that find no place wait for one.
        cpus: cores that Ray sets aside for each replica.
        gpus: GPUs that each replica gets for itself.
        environment: variables to set in each replica.
        tell: is called with the number of replicas at work whenever it changes.

    Raises MissingExtraError, ConfigError for a cluster that cannot be reached and for replicas that differ, and
    what a judge raises. A replica that is lost, with its node or alone, is replaced, and what it held is judged
    by others; BackendError when one block, or the loading of the model, ended three replicas.
    """

    address: str
    make: Make[C]
    describe: Callable[[C], Record]
    replicas: int = 1
    cpus: float = 1
    gpus: float = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    tell: Callable[[int], None] = lambda ready: None

    def __enter__(self) -> Self:
        try:
            import ray  # late: an extra, and a second
        except ImportError as error:
            raise MissingExtraError("ray", "ray") from error
        self._ray = ray
        self._record: Record | None = None
        self._waiting: deque[Block] = deque()
        self._lost: Counter[int] = Counter()
        self._calls: dict[Any, _Call] = {}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else a local cluster tells its makers of itself
        # the dashboard wants more of Ray than a run needs, and backends print a lot
        local = {"include_dashboard": False} if self.address == "local" else {}
        try:
            _check_reachable(self.address)
            ray.init(address=self.address, log_to_driver=False, logging_level="ERROR", **local)
        except (OSError, RuntimeError, ValueError) as error:  # ConnectionError is an OSError
            raise ConfigError(f"Ray at {self.address!r} cannot be reached: {error}") from error
        self._actors = [self._start() for _ in range(self.replicas)]
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None and (closing := [actor.handle.close.remote() for actor in self._actors if actor.ready]):
            self._ray.wait(closing, num_returns=len(closing), timeout=_CLOSING_S)
        self._ray.shutdown()

    def record(self) -> Record:
        """Record of the replicas' judge; waits until the first has loaded its model."""
        while self._record is None:
            self._next()
        return self._record

    def judge(self, blocks: Iterable[Block]) -> Iterator[tuple[Block, list[Judgment]]]:
        """Judgments of every block, as they come. Blocks are taken as they are needed."""
        left = iter(blocks)
        while True:
            if not self._waiting:
                self._waiting.extend(islice(left, 1))
            free = [actor for actor in self._actors if actor.ready and actor.held < _AHEAD]
            if self._waiting and free:
                self._hand_out(self._waiting.popleft(), min(free, key=lambda actor: actor.held))
            elif self._waiting or any(call.block for call in self._calls.values()):
                if done := self._next():
                    yield done
            else:
                return

    def _start(self, losses: int = 0) -> _Actor:
        options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "scheduling_strategy": "SPREAD"}
        # a thread for every block that it holds, and one to start and close it
        kind = self._ray.remote(Replica).options(max_concurrency=_AHEAD + 1, **options)
        actor = _Actor(kind.remote(self.make, self.describe, self.environment), losses)
        self._calls[actor.handle.start.remote()] = _Call(actor, None)
        return actor

    def _hand_out(self, block: Block, actor: _Actor) -> None:
        actor.held += 1
        self._calls[actor.handle.judge.remote(block.pairs)] = _Call(actor, block)

    def _next(self) -> tuple[Block, list[Judgment]] | None:
        """Wait for one call; the block that it did, if it did one."""
        (done,), _ = self._ray.wait(list(self._calls), num_returns=1)
        actor, block = self._calls.pop(done)
        errors = self._ray.exceptions
        try:
            result = self._ray.get(done)
        except errors.RayTaskError as error:  # raised by the judge
            raise error.cause from error
        except (errors.RayActorError, errors.ObjectLostError) as error:
            self._replace(actor, block, error)
            return None
        if block is None:
            self._started(actor, *result)
            return None
        actor.held -= 1
        return block, result

    def _started(self, actor: _Actor, record: Record, given: list[str]) -> None:
        if self._record is None:
            self._record = record
            for text in given:
                warnings.warn(text, stacklevel=2)
        if other := sorted(name for name in record if record[name] != self._record.get(name)):
            raise ConfigError(f"replicas differ in {', '.join(other)}; give every machine the same versions and model")
        actor.ready = True
        self._tell()

    def _replace(self, actor: _Actor, block: Block | None, error: Exception) -> None:
        """Another actor for one that is gone; the block that it held is the next to be given out."""
        if block:
            self._lost[block.number] += 1
            if self._lost[block.number] == _LOSSES:
                first, last = block.pairs[0].id, block.pairs[-1].id
                raise BackendError(
                    f"the block of pairs {first} to {last} was lost {_LOSSES} times: {_why(error)}"
                ) from error
            self._waiting.append(block)
        elif actor.losses + 1 == _LOSSES:
            raise BackendError(f"a replica was lost {_LOSSES} times while it loaded: {_why(error)}") from error
        if actor in self._actors:  # else another of its blocks told already
            self._actors.remove(actor)
            self._actors.append(self._start(0 if block else actor.losses + 1))
            self._tell()

    def _tell(self) -> None:
        self.tell(sum(actor.ready for actor in self._actors))


def _check_reachable(address: str) -> None:
    """Raise OSError where nobody listens; Ray itself asks for minutes, and says so on standard error."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "://" not in host:
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


def _why(error: Exception) -> str:
    """Last line of Ray's error; the lines before it are a traceback."""
    return shorten(str(error).strip().splitlines()[-1], 240, placeholder=" ...")


def judge_shards(pool: Pool[C], pairs: Pairs, shards: Shards, advance: Callable[[int], None]) -> Record:
    """Judge what has no shard yet, and give what the replicas say of their judge.

    `advance` is called with the number of pairs that are done: first those that were, then block by block.
    """
    advance(shards.found(len(pairs)))
    with pool:
        record = pool.record()
        shards.settle(record)
        for block, judgments in pool.judge(shards.missing(pairs)):
            shards.put(block, judgments)
            advance(len(block.pairs))
    return record
