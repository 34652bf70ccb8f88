"""Store of completions in SQLite: cache and crash-safe resume.

SQLite in WAL mode with JSON rows. One thread does all reading and writing and commits whatever has
gathered since its last commit, so that many small writes cost one. A completion is handed on only
after its commit: a killed process loses at most what was in flight.
"""

import asyncio
import atexit
import hashlib
import json
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from rmr1_sdk.concurrency import PerProcess
from rmr1_sdk.errors import StoreError
from rmr1_sdk.types import Completion, Request

__all__ = ["Store", "StoreStats"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS completions (
    key TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    created REAL NOT NULL,
    request TEXT NOT NULL,
    completion TEXT NOT NULL
) WITHOUT ROWID
"""
_MAGIC = b"SQLite format 3\x00"
_BATCH = 512
_BUSY_S = 60.0


class StoreStats(NamedTuple):
    """Statistics of one backend's completions in a store. Times are seconds since the epoch."""

    identity: str
    completions: int
    first: float
    last: float


@dataclass
class _Job:
    """A key to look up, or with `row` to keep. The future gets the stored completion, or None."""

    key: str
    row: tuple[str, str, float, str, str] | None
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[str | None]


def request_key(identity: str, request: Request) -> str:
    """Key of a completion: a hash of backend and whole request, seed included."""
    return hashlib.sha256(f"{identity}\0{request.model_dump_json()}".encode()).hexdigest()


class Store:
    """A file of completions. Any number of judges, threads and processes of one machine may share it.

    It is opened on first use. Not for network file systems: WAL does not work there. Pickles as its path.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._worker = PerProcess(partial(_Worker, self.path))

    async def get(self, identity: str, request: Request) -> Completion | None:
        """The completion kept for this request, or None. Raises StoreError."""
        return self._read(await self._do(request_key(identity, request), None))

    async def put(self, identity: str, request: Request, completion: Completion) -> Completion:
        """Keep a completion; returns after its commit with what is kept.

        That is another one where somebody kept an answer to the same request first: so a later run
        reads what this one used.
        """
        key = request_key(identity, request)
        row = (key, identity, time.time(), request.model_dump_json(), completion.model_dump_json())
        return self._read(await self._do(key, row)) or completion

    async def _do(self, key: str, row: tuple[str, str, float, str, str] | None) -> str | None:
        loop = asyncio.get_running_loop()
        job = _Job(key, row, loop, loop.create_future())
        while not self._worker.get().accepts(job):
            self._worker.take()  # somebody closed it just now: open it again
        return await job.future

    def _read(self, text: str | None) -> Completion | None:
        try:
            return None if text is None else Completion.model_validate_json(text)
        except ValidationError as error:
            raise StoreError(f"{self.path}: a row is not a completion of this version ({error})") from error

    def close(self) -> None:
        """Write what is waiting and close the file. The next use opens it again."""
        if worker := self._worker.take():
            worker.close()

    def ls(self) -> list[StoreStats]:
        """Statistics of the store, for each backend."""
        with _Open(self.path) as db:
            rows = db.execute(
                "SELECT identity, count(*), min(created), max(created) FROM completions GROUP BY identity ORDER BY 1"
            )
            return [StoreStats(*row) for row in rows]

    def prune(self, *, identity: str | None = None, before: float | None = None) -> int:
        """Delete completions and return how many.

        They are those of a backend, those kept before a time (seconds since the epoch), or those that
        are both.
        """
        with _Open(self.path) as db:
            deleted = db.execute(
                "DELETE FROM completions WHERE identity = coalesce(?, identity) AND created < coalesce(?, created + 1)",
                (identity, before),
            ).rowcount
            db.commit()
            db.execute("VACUUM")
            return deleted

    def export(self) -> Iterator[dict[str, Any]]:
        """Every row as JSON: identity, created, request, completion; oldest first."""
        with _Open(self.path) as db:
            for identity, created, request, completion in db.execute(
                "SELECT identity, created, request, completion FROM completions ORDER BY created, key"
            ):
                yield {
                    "identity": identity,
                    "created": created,
                    "request": json.loads(request),
                    "completion": json.loads(completion),
                }


class _Open:
    """A connection that says in our terms what went wrong, and is closed at the end."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._path = path
        if not create and not path.exists():
            raise StoreError(f"{path}: no such store")
        with _Translated(path):
            if path.is_file() and path.stat().st_size:
                with path.open("rb") as file:
                    if file.read(16) != _MAGIC:
                        raise StoreError(f"{path} is not a store: it is no SQLite file")
            self.db = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute("PRAGMA synchronous=NORMAL")
            self.db.execute(_SCHEMA)
            self.db.commit()

    def __enter__(self) -> sqlite3.Connection:
        return self.db

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.db.close()
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"{self._path}: {error}") from error


class _Translated:
    """SQLite's and the system's errors as StoreError that names the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error | OSError):
            full = " Free some space; what was committed is safe." if "full" in str(error) else ""
            raise StoreError(f"store {self._path}: {error}.{full}") from error


class _Worker:
    """The thread that owns the connection."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="rmr1-store", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def accepts(self, job: _Job) -> bool:
        with self._lock:
            if not self._closed:
                self._jobs.put(job)
            return not self._closed

    def close(self) -> None:
        atexit.unregister(self.close)
        with self._lock:
            self._closed = True
            self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        db: sqlite3.Connection | None = None
        while batch := self._batch():
            results: dict[str, str | None] | Exception
            try:
                with _Translated(self._path):
                    db = db or _Open(self._path, create=True).db
                    results = self._commit(db, batch)
            except Exception as error:  # noqa: BLE001  # whatever it is, it belongs to those who wait
                results = error
                if db:
                    db.rollback()
            _resolve(batch, results)
        if db:
            db.close()

    def _batch(self) -> list[_Job]:
        """Everything that waits, at least one job; empty when it is time to close."""
        job = self._jobs.get()
        batch: list[_Job] = []
        while job is not None:
            batch.append(job)
            if len(batch) == _BATCH or self._jobs.empty():
                return batch
            job = self._jobs.get()
        if batch:
            self._jobs.put(None)  # close after this batch
        return batch

    def _commit(self, db: sqlite3.Connection, batch: list[_Job]) -> dict[str, str | None]:
        rows = [job.row for job in batch if job.row]
        if rows:
            db.executemany("INSERT OR IGNORE INTO completions VALUES (?, ?, ?, ?, ?)", rows)
            db.commit()
        found = {}
        for job in batch:
            row = db.execute("SELECT completion FROM completions WHERE key = ?", (job.key,)).fetchone()
            found[job.key] = row[0] if row else None
        return found


def _resolve(batch: list[_Job], results: dict[str, str | None] | Exception) -> None:
    """Tell every waiter, with one call into each loop."""

    def tell(jobs: list[_Job]) -> None:
        for job in jobs:
            if job.future.done():  # its waiter was cancelled
                continue
            if isinstance(results, Exception):
                job.future.set_exception(results)
            else:
                job.future.set_result(results[job.key])

    loops = {id(job.loop): job.loop for job in batch}
    for name, loop in loops.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, [job for job in batch if id(job.loop) == name])
