"""Replies for `fake:tests.replies:NAME`, which commands under test are given as their model."""

import asyncio
import hashlib
import os
import re
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk.errors import BackendError
from rmr1_sdk.prompts import shown_pair
from rmr1_sdk.training.domain import trace
from rmr1_sdk.types import Completion, Request, Usage
from tests.processes import LIMIT_S


def digest(request: Request) -> str:
    return hashlib.sha256(request.model_dump_json().encode()).hexdigest()


def decided(request: Request) -> Completion:
    """A verdict and a latency that follow from the request alone."""
    name = digest(request)
    side = "AB"[int(name, 16) % 2]
    return Completion(
        text=f"<eval>because</eval>\n<answer>[[{side}]]</answer>",
        usage=Usage(prompt_tokens=100, completion_tokens=10),
        latency_s=int(name[:4], 16) / 1000,
        model="fake",
    )


def logged(request: Request) -> Completion:
    """`decided`, noting in the file $ASKED that it was asked."""
    with Path(os.environ["ASKED"]).open("a") as file:
        file.write(digest(request) + "\n")
    time.sleep(0.0005)
    return decided(request)


def mute(request: Request) -> str:
    return "I would rather not say."


def always_a(request: Request) -> str:
    return "<answer>[[A]]</answer>"


def slow(request: Request) -> str:
    time.sleep(0.05)
    return "<answer>[[A]]</answer>"


async def slowly(request: Request) -> str:
    await asyncio.sleep(0.1)
    return "<answer>[[A]]</answer>"


def by_xs(request: Request) -> str:
    """The answer with more x."""
    first, _, second = request.messages[-1].content.partition("Chatbot B")
    return "<answer>[[A]]</answer>" if first.count("x") > second.count("x") else "<answer>[[B]]</answer>"


def by_xs_or_mute(request: Request) -> str:
    return mute(request) if "mute" in request.messages[-1].content else by_xs(request)


def loose(request: Request) -> str:
    """A verdict as RM-R1's evaluators read it, without the tags; none for problems of mathematics."""
    return mute(request) if "math-prm" in request.messages[-1].content else "I prefer [[A]]."


def taught(request: Request) -> Completion:
    """The tiny teacher's judgment, after noting in the file $ASKED that it was asked."""
    with Path(os.environ["ASKED"]).open("a") as file:
        file.write(digest(request) + "\n")
    time.sleep(0.002)
    pair = shown_pair(request.messages)
    assert pair
    return Completion(text=trace(pair), usage=Usage(prompt_tokens=100, completion_tokens=50), model="fake")


def broken(request: Request) -> str:
    raise BackendError("the engine is gone")


def killer(request: Request) -> str:
    """Ends the process that asks."""
    os._exit(1)


def reasoned(request: Request) -> Completion:
    """A whole reading, with quotes from both answers; wrong or unreadable now and then, as the request alone has it."""
    return _reasoned(request, errs_of_100=12)


def hasty(request: Request) -> Completion:
    """`reasoned`, and wrong more often."""
    return _reasoned(request, errs_of_100=35)


def _reasoned(request: Request, errs_of_100: int) -> Completion:
    lot = int(digest(request), 16)
    answers = re.findall(r"\b(?:good|bad) \d+(?: xxx)?", request.messages[-1].content)
    first_is_good = answers[0].startswith("good")
    side = "A" if first_is_good == (lot % 100 >= errs_of_100) else "B"
    claimed = "Nobody wrote this anywhere" if lot % 7 == 0 else answers[1]
    text = (
        "<type>Chat</type>\n<rubric>\n1. Accuracy (50%): Is it true?\n2. Use (30%): Does it help?\n"
        "3. Clarity (20%): Is it plain?\n<justify>What is wrong helps nobody.</justify>\n</rubric>\n"
        f"<eval>\nChatbot A writes <quote_A>{answers[0]}</quote_A>, and Chatbot B <quote_B>{claimed}</quote_B>. "
        f"{'One serves the question better. ' * (lot % 9)}\n</eval>\n<answer>[[{side}]]</answer>"
    )
    if sum(request.messages[-1].content.encode()) % 29 == 0:  # the same in both orders
        text = mute(request)
    usage = Usage(prompt_tokens=400, completion_tokens=len(text) // 4)
    return Completion(text=text, usage=usage, latency_s=lot % 300 / 100, model="fake")


class Stuck:
    """A reply that never comes: it says when it was asked for, and when it was cancelled."""

    def __init__(self) -> None:
        self.started, self.cancelled = threading.Event(), threading.Event()

    async def __call__(self, request: Request) -> str:
        self.started.set()
        try:
            await asyncio.sleep(600)
        finally:
            self.cancelled.set()
        return ""

    def cancel(self, work: Coroutine[Any, Any, object]) -> None:
        """Start the work, cancel it when it asks, and wait for the cancellation."""

        async def main() -> None:
            task = asyncio.create_task(work)
            await asyncio.to_thread(self.started.wait, LIMIT_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert self.cancelled.wait(LIMIT_S)
