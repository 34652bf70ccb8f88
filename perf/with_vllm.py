"""What a judge costs beside vLLM: Judge over VLLM, against the same prompts handed straight to its AsyncLLM.

`python perf/with_vllm.py [DATA]` judges pairs of DATA (../shared/data: autoj_pairwise.jsonl) with SmolLM2-135M in both
orders, all at once, and prints the ratio of the two rates: the median of five runs of each, alternated, in one
process on one engine whose cache is emptied before each. What goes to the engine directly is tokenised before the
clock starts: all that the judge asks for, with the same limits, the requests for probabilities included.
"""

import asyncio
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__)
sys.path[0] = str(HERE.parents[1])  # the model is read as in the tests
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
from perf.with_llama_cpp import DATA, pairs  # noqa: E402
from rmr1_sdk import Judge, Pair, prompts  # noqa: E402
from rmr1_sdk.backends.base import common_prefix  # noqa: E402
from rmr1_sdk.backends.vllm import VLLM  # noqa: E402
from rmr1_sdk.concurrency import submit, wait  # noqa: E402
from rmr1_sdk.files.models import find_gguf  # noqa: E402
from rmr1_sdk.judging.pairwise import PairwiseFlow  # noqa: E402
from rmr1_sdk.types import Request  # noqa: E402
from tests.engines.weights import dequantise  # noqa: E402

PAIRS, LIMIT, RUNS = 8, 32, 5


@dataclass
class Spent:
    """What a run took."""

    seconds: float
    written: int


async def recorded(engine: VLLM, policy: PairwiseFlow, pair: Pair) -> list[list[Request]]:
    """The rounds of requests that a judge makes of a pair."""
    flow, rounds = policy.compare(pair), []
    try:
        asks = next(flow)
        while True:
            requests = [ask.request for ask in asks]
            rounds.append(requests)
            asks = flow.send(list(await asyncio.gather(*map(engine.generate, requests))))
    except StopIteration:
        return rounds


class Straight:
    """The same requests as AsyncLLM itself takes them."""

    def __init__(self, engine: VLLM) -> None:
        from vllm import SamplingParams
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        running = engine._engine.get().load()
        self.llm: Any = running._llm
        self._speech = running.speech
        self._input = tokens_input
        self._params = SamplingParams
        self._kind = RequestOutputKind.FINAL_ONLY

    def prepared(self, request: Request) -> list[tuple[Any, Any]]:
        """The calls that answer a request: prompts and their parameters."""
        begin = self._speech.rendered(request.messages) + request.prefix
        if not request.choices:
            sampling = request.sampling
            params = self._params(
                max_tokens=sampling.max_tokens,
                temperature=sampling.temperature,
                seed=sampling.seed,
                stop=list(sampling.stop),
                include_stop_str_in_output=True,
                output_kind=self._kind,
            )
            return [(self._input(self._speech.tokens(begin)), params)]
        wholes = [self._speech.tokens(begin + choice) for choice in request.choices]
        shared = common_prefix([*wholes, self._speech.tokens(begin)])
        asked = {tuple(whole[:at]): whole[at] for whole in wholes for at in range(shared, len(whole))}
        return [(self._input(list(prompt)), self._score(token)) for prompt, token in asked.items()]

    def _score(self, token: int) -> Any:
        return self._params(
            max_tokens=1, temperature=0.0, logprob_token_ids=[token], detokenize=False, output_kind=self._kind
        )

    async def pair(self, number: int, rounds: list[list[list[tuple[Any, Any]]]]) -> int:
        """Make the calls of a pair's rounds, one round after another; tokens written."""
        written = 0
        for turn, requests in enumerate(rounds):
            flat = [call for calls in requests for call in calls]
            names = (f"{number}-{turn}-{n}" for n in range(len(flat)))
            written += sum(
                await asyncio.gather(*(self._one(*call, name) for call, name in zip(flat, names, strict=True)))
            )
        return written

    async def _one(self, prompt: Any, params: Any, name: str) -> int:
        (output,) = [output async for output in self.llm.generate(prompt, params, name)]
        return 0 if params.logprob_token_ids else len(output.outputs[0].token_ids)


def judged(judge: Judge, work: list[Pair]) -> Spent:
    started = time.perf_counter()
    done = list(judge.compare_many(work))
    return Spent(time.perf_counter() - started, sum(judgment.usage.completion_tokens for judgment in done))


def straight(calls: Straight, work: list[list[list[list[tuple[Any, Any]]]]]) -> Spent:
    async def everything() -> list[int]:
        return await asyncio.gather(*(calls.pair(n, rounds) for n, rounds in enumerate(work)))

    started = time.perf_counter()
    written = sum(wait(submit(everything())))
    return Spent(time.perf_counter() - started, written)


def main(data: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = dequantise(find_gguf("smollm2-135m"), Path(folder) / "smollm2")
        options: dict[str, Any] = {"max_model_len": 2048, "enforce_eager": True, "gpu_memory_utilization": 0.3}
        measure(VLLM(model, dtype="float32", **options), pairs(data)[:PAIRS])


def measure(engine: VLLM, work: list[Pair]) -> None:
    prompt = prompts.get("cor")
    sampling = prompt.sampling.model_copy(update={"max_tokens": LIMIT})
    policy = PairwiseFlow(prompt=prompt, model=engine.model, sampling=sampling, can_choose=True)
    judge = Judge(engine, prompt=prompt, sampling={"max_tokens": LIMIT})

    async def rehearse() -> list[list[list[Request]]]:
        return await asyncio.gather(*(recorded(engine, policy, pair) for pair in work))

    rounds = wait(submit(rehearse()))
    calls = Straight(engine)
    prepared = [[[calls.prepared(request) for request in requests] for requests in turns] for turns in rounds]
    runs: list[tuple[Spent, Spent]] = []
    for _ in range(RUNS):
        empty(calls)
        bare = straight(calls, prepared)
        empty(calls)
        runs.append((bare, judged(judge, work)))
        print(f"straight {bare.seconds:.2f} s, Judge {runs[-1][1].seconds:.2f} s", flush=True)
    ratio = median(bare.seconds for bare, _ in runs) / median(ours.seconds for _, ours in runs)
    tokens = median(ours.written for _, ours in runs) / median(bare.written for bare, _ in runs)
    asked = sum(len(requests) for turns in rounds for requests in turns)
    print(
        f"{len(work)} pairs, {asked} requests: {ratio:.3f} of the rate without a judge, {tokens:.3f} x as many tokens"
    )
    judge.close()
    wait(submit(engine.aclose()))


def empty(calls: Straight) -> None:
    assert wait(submit(calls.llm.reset_prefix_cache())), "the engine is still at work"


if __name__ == "__main__":  # vLLM starts processes that import this file again
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
