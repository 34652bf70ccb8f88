"""What a remote judgment costs beside the server: a loopback server whose answers take a set time.

`python perf/in_flight.py` prints, with 64 requests in flight, the rate against the ideal one for answers of one
second, against the bare openai client for answers of 200 ms in the same run, what is left of 2,000
judgments where one request in twelve fails, and how close to its best rate a server is kept that takes 32 at a
time and answers 429 beyond.
"""

import asyncio
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # the server is the one of the tests
from rmr1_sdk import Judge, Pair  # noqa: E402
from rmr1_sdk.backends.openai import OpenAI  # noqa: E402
from tests.engines.server import Asked, Reply, Server, chat, refused  # noqa: E402

WINDOW = 64
ANSWER = "<answer>[[A]]</answer>"


def steady(seconds: float) -> Callable[[Server], Callable[[Asked], Reply]]:
    """Every answer takes so long."""

    def behave(asked: Asked) -> Reply:
        reply = chat(ANSWER)
        reply.delay_s = seconds
        return reply

    return lambda _: behave


def failing(_: Server) -> Callable[[Asked], Reply]:
    """5% of 429s, 2% of 500s and 1% of cut connections."""
    fate = random.Random(0)

    def behave(asked: Asked) -> Reply:
        draw = fate.random()
        if draw < 0.05:
            return refused(429, "slow down", headers={"Retry-After": "0.05"})
        if draw < 0.07:
            return refused(500, "oops")
        reply = chat(ANSWER)
        reply.delay_s, reply.cut = 0.02, draw < 0.08
        return reply

    return behave


def narrow(server: Server) -> Callable[[Asked], Reply]:
    """Takes 32 at a time."""

    def behave(asked: Asked) -> Reply:
        if server.flying > 32:
            return refused(429, "slow down", headers={"Retry-After": "1"})
        reply = chat(ANSWER)
        reply.delay_s = 0.2
        return reply

    return behave


def _serve(pipe: Connection, name: str, seconds: float) -> None:
    makers = {"steady": steady(seconds), "failing": failing, "narrow": narrow}
    server = Server(lambda _: chat(ANSWER))
    server.behave = makers[name](server)
    with server:
        pipe.send(server.url)
        pipe.recv()


@contextmanager
def serving(name: str, seconds: float = 0.0) -> Iterator[str]:
    """A server in a process of its own, as a server would be."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, name, seconds), daemon=True)
    process.start()
    yield f"{ours.recv()}/v1"
    ours.send("stop")
    process.join(10)


def pairs(count: int) -> list[Pair]:
    return [Pair(question=f"What is {n} + {n}?", a=str(2 * n), b="0", id=str(n)) for n in range(1, count + 1)]


def judged(url: str, count: int) -> tuple[float, list[str | None]]:
    """Seconds for so many pairs in one order, and their ids as they came."""
    engine = OpenAI("m", base_url=url, concurrency=WINDOW)
    with Judge(engine, orders="given", force_verdict=False, sampling={"max_tokens": 64}) as judge:
        list(judge.compare_many(pairs(WINDOW)))  # connections are opened, and what the server can do is found out
        started = time.perf_counter()
        ids = [judgment.pair_id for judgment in judge.compare_many(pairs(count)) if judgment.winner]
        seconds = time.perf_counter() - started
        asyncio.run(engine.aclose())
    return seconds, ids


def bare(url: str, count: int) -> float:
    """Seconds for so many requests of the client alone."""
    import openai

    async def main() -> float:
        client = openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0)
        places = asyncio.Semaphore(WINDOW)

        async def one(n: int) -> None:
            async with places:
                await client.chat.completions.create(
                    model="m", max_tokens=64, messages=[{"role": "user", "content": f"{n} " + "word " * 500}]
                )

        await asyncio.gather(*(one(n) for n in range(WINDOW)))
        started = time.perf_counter()
        await asyncio.gather(*(one(n) for n in range(count)))
        seconds = time.perf_counter() - started
        await client.close()
        return seconds

    return asyncio.run(main())


def main() -> None:
    with serving("steady", 1.0) as url:
        seconds, ids = judged(url, 1920)
        print(
            f"1 s an answer: {len(ids) / seconds:.1f} judgments/s, {len(ids) / seconds / WINDOW:.1%} of the ideal rate"
        )
    with serving("steady", 0.2) as url:
        seconds, ids = judged(url, 1920)
        alone = bare(url, 1920)
        print(
            f"200 ms an answer: {len(ids) / seconds:.1f} judgments/s, {alone / seconds:.1%} of the bare client's rate"
        )
    with serving("failing") as url:
        _, ids = judged(url, 2000)
        twice = sum(count - 1 for count in Counter(ids).values())
        print(f"one request in twelve fails: {len(set(ids))} of 2000 judgments arrive, {twice} of them twice")
    with serving("narrow") as url:
        seconds, ids = judged(url, 1600)
        rate = len(ids) / seconds
        print(f"32 at a time: {rate:.1f} judgments/s, {rate / (32 / 0.2):.1%} of its best rate")


if __name__ == "__main__":
    main()
