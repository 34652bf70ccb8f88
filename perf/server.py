"""The server under load on loopback: 200 clients, 5,000 comparisons over FakeBackend, and SIGTERM in the middle.

`python perf/server.py [REQUESTS] [CLIENTS]` prints how many requests were answered, how long they took as the
clients see it, what the server's memory did, and what became of the requests under way and of new ones when the
server was told to stop. Every tenth comparison is streamed. Clients and server share this machine.
"""

import asyncio
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from rmr1_sdk import Request

ROOT = Path(__file__).parents[1]
ANSWER_S = 0.02
TEXT = "<type>Chat</type><rubric>1. Accuracy (100%)</rubric><eval>{}</eval>\n<answer>[[{}]]</answer>"


async def reply(request: Request) -> str:
    """What the engine behind the server writes, after a while."""
    await asyncio.sleep(ANSWER_S)
    return TEXT.format("Both were checked. " * 10, "AB"[len(request.messages[-1].content) % 2])


@contextmanager
def served(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`rmr1 serve` in a process of its own, and its address."""
    command = [sys.executable, "-c", "from rmr1_sdk.cli import main; main()", "serve", "fake:perf.server:reply"]
    with subprocess.Popen([*command, "--port", "0", *options], stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr
        address = re.search(r"http://[^ ]+", process.stderr.readline())
        assert address, "the server did not start"
        try:
            yield process, address[0]
        finally:
            if process.poll() is None:
                process.terminate()


def megabytes(pid: int) -> float:
    """What a process holds in memory now."""
    return int(subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True).stdout) / 1024


def pair(number: int) -> dict[str, Any]:
    return {"question": f"What is {number} + {number}?", "a": str(2 * number), "b": "0" * 200, "id": str(number)}


async def ask(http: httpx2.AsyncClient, number: int) -> str:
    """What came of one comparison: a status, "right" where it was the whole answer to it, or the error's name."""
    path = "/v1/compare/stream" if number % 10 == 0 else "/v1/compare"
    try:
        answer = await http.post(path, json=pair(number))
    except httpx2.TransportError as error:
        return type(error).__name__
    is_whole = f'"pair_id":"{number}"' in answer.text.replace(" ", "") and '"verdicts"' in answer.text
    return "right" if answer.status_code == 200 and is_whole else str(answer.status_code)


async def load(url: str, numbers: Iterator[int], clients: int) -> tuple[Counter[str], list[float]]:
    """What came of all of them, and the seconds each took. A client that is refused comes no more."""
    outcomes: Counter[str] = Counter()
    seconds: list[float] = []

    async def client(http: httpx2.AsyncClient) -> None:
        for number in numbers:
            started = time.perf_counter()
            outcome = await ask(http, number)
            outcomes[outcome] += 1
            if outcome != "right":
                return
            seconds.append(time.perf_counter() - started)

    limits = httpx2.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx2.AsyncClient(base_url=url, timeout=60, limits=limits) as http, asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client(http))
    return outcomes, seconds


def under_load(requests: int, clients: int) -> None:
    with served("--max-concurrency", str(2 * clients)) as (process, url):
        asyncio.run(load(url, iter(range(clients)), clients))  # imports, first uses, connections
        for half in ("first", "second"):
            before = megabytes(process.pid)
            started = time.perf_counter()
            outcomes, seconds = asyncio.run(load(url, iter(range(requests // 2)), clients))
            wall = time.perf_counter() - started
            cuts = statistics.quantiles(seconds, n=100)
            print(
                f"{half} half: {outcomes['right']} of {requests // 2} answered by {clients} clients, "
                f"{outcomes['right'] / wall:.0f}/s; p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms; "
                f"memory {before:.0f} to {megabytes(process.pid):.0f} MB"
            )
            assert outcomes.total() == outcomes["right"] == requests // 2, outcomes


def terminated(clients: int) -> None:
    with served("--max-concurrency", str(clients // 2)) as (process, url):

        async def main() -> Counter[str]:
            async def terminate() -> None:
                await asyncio.sleep(2)
                process.send_signal(signal.SIGTERM)

            ending = asyncio.create_task(terminate())
            outcomes, _ = await load(url, iter(range(10**9)), clients)
            await ending
            return outcomes

        outcomes = asyncio.run(main())
        code = process.wait(30)
    refused = outcomes["503"] + outcomes["ConnectError"]
    print(
        f"SIGTERM: {outcomes['right']} answered, {outcomes['503']} new ones refused with 503 and "
        f"{outcomes['ConnectError']} connections refused, {outcomes.total() - outcomes['right'] - refused} lost; "
        f"exit code {code}"
    )
    assert outcomes.total() == outcomes["right"] + refused, outcomes
    assert code == 0


def main(requests: int = 5_000, clients: int = 200) -> None:
    under_load(requests, clients)
    terminated(clients)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
