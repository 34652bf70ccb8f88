"""Replies for `fake:tests.replies:NAME`, which commands under test are given as their model."""

import hashlib
import os
import time
from pathlib import Path

from rmr1_sdk.prompts import shown_pair
from rmr1_sdk.training.tiny import trace
from rmr1_sdk.types import Completion, Request, Usage


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
