import asyncio
import json
import os
import pickle
import signal
import sqlite3
import sys
import time
from collections.abc import Awaitable
from contextlib import ExitStack
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import pytest

from rmr1_sdk import FakeBackend, Judge, Pair, Store, StoreError
from rmr1_sdk.files.store import request_key
from rmr1_sdk.types import Completion, Message, Request, Sampling
from tests import processes, replies

T = TypeVar("T")


def request(text: str, **sampling: Any) -> Request:
    return Request(messages=(Message(role="user", content=text),), sampling=Sampling(**sampling))


def run(work: Awaitable[T]) -> T:
    async def main() -> T:
        return await work

    return asyncio.run(main())


def test_what_is_put_is_got_and_every_part_of_a_request_counts(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    asked = request("Q", seed=1)
    assert run(store.get("m", asked)) is None
    run(store.put("m", asked, Completion(text="one")))
    assert run(store.get("m", asked)) == Completion(text="one")
    others = [request("Q", seed=2), request("Q", seed=1, temperature=0.5), request("q", seed=1)]
    others += [asked.model_copy(update={"prefix": "x"}), asked.model_copy(update={"choices": ("A", "B")})]
    assert [run(store.get("m", other)) for other in others] == [None] * 5
    assert run(store.get("another model", asked)) is None
    assert len({request_key("m", other) for other in (asked, *others)}) == 6
    store.close()
    assert run(Store(tmp_path / "s.db").get("m", asked)) == Completion(text="one")


def test_an_impossible_choice_comes_back_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    completion = Completion(text="", choice_logprobs=(-0.5, -inf))
    run(store.put("m", request("Q"), completion))
    assert run(store.get("m", request("Q"))) == completion
    store.close()
    assert run(Store(tmp_path / "s.db").get("m", request("Q"))) == completion


def test_the_first_answer_is_kept(tmp_path: Path) -> None:
    """Two judges that ask the same thing at once end up with the same completion."""
    store = Store(tmp_path / "s.db")
    assert run(store.put("m", request("Q"), Completion(text="one"))).text == "one"
    assert run(store.put("m", request("Q"), Completion(text="two"))).text == "one"


def test_eight_votes_are_eight_rows(tmp_path: Path) -> None:
    backend = FakeBackend(replies.decided)
    with Judge(backend, votes=8, store=tmp_path / "s.db") as judge:
        judge.compare("Q?", "1", "2")
    assert backend.asked == 16
    assert [held.completions for held in Store(tmp_path / "s.db").ls()] == [16]


def put_many(path: Path, name: str) -> None:
    async def main() -> None:
        store = Store(path)
        await asyncio.gather(*(store.put(name, request(str(n)), Completion(text=name)) for n in range(300)))
        store.close()

    asyncio.run(main())


def test_processes_share_a_store(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    code = "import pathlib, sys, tests.files.test_store as here; here.put_many(pathlib.Path(sys.argv[1]), sys.argv[2])"
    with ExitStack() as stack:
        names = ("one", "two", "three")
        children = [stack.enter_context(processes.Child([sys.executable, "-c", code, path, name])) for name in names]
        for child in children:
            child.finish(check=True)
    assert [(held.identity, held.completions) for held in Store(path).ls()] == [
        ("one", 300),
        ("three", 300),
        ("two", 300),
    ]


def test_looking_pruning_and_exporting(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    started = time.time()
    for name in ("old", "new"):
        run(store.put(name, request("Q"), Completion(text=name)))
    assert [held.identity for held in store.ls()] == ["new", "old"]
    assert all(started <= held.first == held.last <= time.time() for held in store.ls())
    rows = list(store.export())
    assert [row["completion"]["text"] for row in rows] == ["old", "new"]
    assert Request.model_validate(rows[0]["request"]) == request("Q")
    assert store.prune(identity="old") == 1
    assert store.prune(before=started) == 0
    assert store.prune(before=time.time() + 1) == 1
    assert store.ls() == []


def test_stores_pickle_as_their_path(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    run(store.put("m", request("Q"), Completion(text="one")))
    assert run(pickle.loads(pickle.dumps(store)).get("m", request("Q"))) == Completion(text="one")


def test_what_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("my notes, which nobody should overwrite")
    with pytest.raises(StoreError, match=r"notes\.txt is not a store"):
        run(Store(text).put("m", request("Q"), Completion(text="one")))
    assert text.read_text().startswith("my notes")
    with pytest.raises(StoreError, match=r"nowhere\.db: no such store"):
        Store(tmp_path / "nowhere.db").ls()
    with pytest.raises(StoreError, match="unable to open database file"):
        run(Store(tmp_path / "no folder" / "s.db").get("m", request("Q")))
    with pytest.raises(StoreError, match=r"unable to open|Is a directory"):
        run(Store(tmp_path).get("m", request("Q")))


def test_a_row_of_another_shape_is_an_error_and_not_a_verdict(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    run(store.put("m", request("Q"), Completion(text="one")))
    store.close()
    with sqlite3.connect(tmp_path / "s.db") as db:
        db.execute("UPDATE completions SET completion = '{}'")
    db.close()
    with pytest.raises(StoreError, match="a row is not a completion of this version"):
        run(store.get("m", request("Q")))


def test_a_full_disk_loses_nothing_that_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def small(*args: Any, **options: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*args, **options)
        db.execute("PRAGMA max_page_count = 40")
        return db

    monkeypatch.setattr(sqlite3, "connect", small)
    backend = FakeBackend(replies.decided)
    pairs = [Pair(question=f"{n}?", a="1", b="2", id=str(n)) for n in range(200)]
    with Judge(backend, store=tmp_path / "s.db") as judge:
        list(judge.compare_many(pairs[:5]))
        with pytest.raises(StoreError, match=r"is full\. Free some"):
            list(judge.compare_many(pairs))
    monkeypatch.undo()
    kept = Store(tmp_path / "s.db").ls()[0].completions
    assert 10 <= kept < 400
    asked = backend.asked
    with Judge(backend, store=tmp_path / "s.db") as judge:
        assert len(list(judge.compare_many(pairs))) == 200
    assert backend.asked - asked == 400 - kept


def _command(rmr1: list[str], pairs: Path, out: Path) -> list[str]:
    model = ["--model", "fake:tests.replies:logged", "--max-concurrency", "16"]
    return [*rmr1, "judge", str(pairs), *model, "--out", str(out)]


def _asked(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_kill_9_costs_only_what_was_in_flight(tmp_path: Path, rmr1: list[str]) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"question": f"{n}?", "a": "1", "b": "2"}) + "\n" for n in range(2000)))
    whole, out = tmp_path / "whole" / "out.jsonl", tmp_path / "killed" / "out.jsonl"
    settings = os.environ | {"ASKED": str(tmp_path / "asked-whole")}
    processes.run(_command(rmr1, pairs, whole), env=settings, check=True)

    settings["ASKED"] = str(tmp_path / "asked-1")
    with processes.Child(_command(rmr1, pairs, out), env=settings) as killed:
        killed.until(lambda: len(_asked(tmp_path / "asked-1")) >= 1500)
        killed.kill()
    assert not out.exists()
    kept = list(Store(f"{out}.store.db").export())
    before = {replies.digest(Request.model_validate(row["request"])) for row in kept}
    assert 1000 < len(before) == len(kept) < 4000

    settings["ASKED"] = str(tmp_path / "asked-2")
    processes.run(_command(rmr1, pairs, out), env=settings, check=True)
    after = _asked(tmp_path / "asked-2")
    assert not before & set(after), "what was completed is not asked again"
    assert len(after) == len(set(after)) == 4000 - len(before)
    assert out.read_bytes() == whole.read_bytes()
    assert [json.loads(line)["pair_id"] for line in out.read_text().splitlines()] == [str(n) for n in range(1, 2001)]
    first, second = (json.loads((path.parent / "run.json").read_text()) for path in (whole, out))
    for run_ in (first, second):
        assert run_["summary"].pop("wall_s") > 0
        assert run_["summary"].pop("pairs_per_s") > 0
    assert first == second


def test_ctrl_c_stops_at_once_and_leaves_the_store_whole(tmp_path: Path, rmr1: list[str]) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"question": f"{n}?", "a": "1", "b": "2"}) + "\n" for n in range(2000)))
    out = tmp_path / "out.jsonl"
    command = [*rmr1, "judge", str(pairs), "--model", "fake:tests.replies:slow", "--out", str(out)]
    store = Path(f"{out}.store.db")
    with processes.Child(command) as running:
        running.until(lambda: store.exists() and Store(store).ls())
        running.send(signal.SIGINT)
        said = running.finish()
    assert (said.returncode, said.stderr.strip()) == (
        130,
        "interrupted; with a store or --ray, the same command resumes",
    )
    assert list(Store(store).export())
    db = sqlite3.connect(store)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
