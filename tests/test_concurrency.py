import asyncio
import os
import pickle
import threading

import pytest

from rmr1_sdk.concurrency import PerProcess, await_, submit, wait
from tests.processes import LIMIT_S, forked


async def where() -> str:
    return threading.current_thread().name


def test_work_from_everywhere_runs_on_one_loop() -> None:
    async def elsewhere() -> str:
        return await await_(submit(where()))

    from_thread: list[str] = []
    thread = threading.Thread(target=lambda: from_thread.append(wait(submit(where()))))
    thread.start()
    thread.join()
    assert wait(submit(where())) == asyncio.run(elsewhere()) == from_thread[0] == "rmr1-loop"


def test_waiting_on_the_loop_itself_is_refused() -> None:
    async def blocks() -> str:
        return wait(submit(where()))

    with pytest.raises(RuntimeError, match="use the async method"):
        wait(submit(blocks()))


def test_cancelling_the_waiter_cancels_the_work() -> None:
    cancelled = threading.Event()

    async def long() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def waits() -> None:
        await asyncio.wait_for(await_(submit(long())), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(waits())
    assert cancelled.wait(LIMIT_S)


def test_a_value_for_each_process() -> None:
    value = PerProcess(os.getpid)
    assert value.get() == value.get() == os.getpid()
    copy = pickle.loads(pickle.dumps(value))
    assert copy.take() is None
    assert copy.get() == os.getpid()
    assert value.take() == os.getpid()
    assert value.take() is None


def test_a_forked_child_gets_its_own() -> None:
    value = PerProcess(os.getpid)
    value.get()

    def check() -> None:
        assert value.get() == os.getpid()
        assert wait(submit(where())) == "rmr1-loop"

    with forked(check) as child:
        child.join(LIMIT_S)
        assert child.exitcode == 0
