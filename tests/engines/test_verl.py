"""verl's router form: our function asks the servers that verl itself started, over real HTTP."""

import asyncio

import pytest

from rmr1_sdk.rewards.verl import compute_score
from tests.engines.server import Asked, Reply, Server, chat

pytest.importorskip("openai", reason="needs the openai client; `make test-engines` installs it")


def test_verls_router_is_asked_for_the_model_it_serves() -> None:
    def behave(asked: Asked) -> Reply:
        first = str(asked.body["messages"][-1]["content"]).partition("Chatbot B")[0]
        return chat("<answer>[[A]]</answer>" if "mine" in first else "<answer>[[B]]</answer>")

    with Server(behave) as server:
        address = server.url.removeprefix("http://")
        score = asyncio.run(
            compute_score(
                data_source="d",
                solution_str="mine",
                ground_truth="",
                extra_info={"messages": [{"role": "user", "content": "Q"}], "reference": "theirs", "num_turns": 2},
                reward_router_address=address,
                reward_model_tokenizer=None,
                model="RM-R1-7B",
            )
        )
    assert score["score"] > 0.5
    assert score["judge_failed"] == score["judge_inconsistent"] == 0
    assert {asked.path for asked in server.asked} == {"/v1/chat/completions"}
    assert {asked.body["model"] for asked in server.asked} == {"RM-R1-7B"}
