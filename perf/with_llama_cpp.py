"""LlamaCpp against its peers, on real prompts, and against the ceiling of the library below it.

`python perf/with_llama_cpp.py [DATA]` judges pairs of DATA (../shared/data: autoj_pairwise.jsonl and
pandalm_testset.json) with SmolLM2-135M, at most 96 tokens each, in four cases, and prints ratios: medians of
five runs, alternated, each in a process of its own. The peers get the prompts in the order that suits them:

- `Llama`: llama-cpp-python's create_chat_completion, one after another;
- `xllamacpp` (pip install xllamacpp): llama.cpp's own server in process, with the best of several slot counts;
- `ceiling`: the bare library reads the distinct tokens of all prompts, then writes texts as long as ours were,
  with as many sequences at once.
"""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from operator import ne
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

from rmr1_sdk import Pair, Store, prompts
from rmr1_sdk.backends.base import common_prefix
from rmr1_sdk.backends.chat import render_chat
from rmr1_sdk.backends.llama_context import CHUNK, Context, Options
from rmr1_sdk.backends.llama_cpp import LlamaCpp
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.files.models import find_gguf
from rmr1_sdk.types import Completion, Request, Sampling, Shown

HERE = Path(__file__)
DATA = HERE.parents[2] / "shared" / "data"
MODEL = find_gguf("smollm2-135m")
LIMIT, CONTEXT, PARALLEL, THREADS, RUNS = 96, 2048, 16, 2, 5
CASES = {
    "a": "16 pairs, one order",
    "b": "16 pairs, both orders",
    "c": "4 pairs, one order, 8 votes",
    "d": "best of 6, round robin, both orders",
}
SLOTS = (1, 4, 8)


def work(case: str, data: Path) -> list[Request]:
    """The requests of a case."""
    judged = duels(data) if case == "d" else pairs(data)[: 4 if case == "c" else 16]
    orders: tuple[Shown, ...] = ("AB", "BA") if case in "bd" else ("AB",)
    votes = 8 if case == "c" else 1
    prompt = prompts.get("cor")
    return [
        Request(
            messages=prompt.render(pair, shown),
            sampling=Sampling(
                max_tokens=LIMIT, temperature=0.7 if votes > 1 else 0, seed=vote, stop=prompt.sampling.stop
            ),
        )
        for pair in judged
        for shown in orders
        for vote in range(votes)
    ]


def pairs(data: Path) -> list[Pair]:
    """Real pairs of middle length."""
    rows = map(json.loads, (data / "autoj_pairwise.jsonl").read_text(encoding="utf-8").splitlines())
    found = [Pair(question=row["prompt"], a=row["response 1"], b=row["response 2"]) for row in rows]
    return [pair for pair in found if 700 < len(pair.model_dump_json()) < 1700]


def duels(data: Path) -> list[Pair]:
    """All pairs of six answers to the question that has most of them."""
    answers: dict[str, set[str]] = {}
    for row in json.loads((data / "pandalm_testset.json").read_text(encoding="utf-8")):
        question = f"{row['instruction']}\n\n{row['input']}"
        answers.setdefault(question, set()).update((row["response1"], row["response2"]))
    question, found = max(answers.items(), key=lambda item: len(item[1]))
    six = sorted(found, key=lambda answer: (-len(answer), answer))[:6]
    return [Pair(question=question, a=a, b=b) for n, a in enumerate(six) for b in six[n + 1 :]]


def chat(request: Request) -> dict[str, Any]:
    sampling = request.sampling
    return {
        "messages": [message.model_dump() for message in request.messages],
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "seed": sampling.seed,
        "stop": list(sampling.stop),
    }


def ours(requests: list[Request]) -> dict[str, Any]:
    engine = LlamaCpp(MODEL, n_ctx=CONTEXT, n_parallel=PARALLEL, n_threads=THREADS)
    assert engine.capabilities  # the model is loaded

    async def all_at_once() -> list[Completion]:
        return await asyncio.gather(*map(engine.generate, requests))

    started = time.perf_counter()
    usages = [completion.usage for completion in wait(submit(all_at_once()))]
    return {
        "seconds": time.perf_counter() - started,
        "read": sum(usage.prompt_tokens - usage.cached_tokens for usage in usages),
        "written": sum(usage.completion_tokens for usage in usages),
        "lengths": [usage.completion_tokens for usage in usages],
    }


def llama(requests: list[Request]) -> dict[str, float]:
    from llama_cpp import Llama

    engine = Llama(str(MODEL), n_ctx=CONTEXT, n_threads=THREADS, n_threads_batch=THREADS, verbose=False)
    calls = sorted((chat(request) for request in requests), key=lambda call: str(call["messages"]))
    for call in calls:  # it adds what every chat template would: its own penalty on repetition
        call["repeat_penalty"], call["top_k"], call["top_p"], call["min_p"] = 1.0, 0, 1.0, 0.0
    started = time.perf_counter()
    answers: list[Any] = [engine.create_chat_completion(**call) for call in calls]
    return {
        "seconds": time.perf_counter() - started,
        "written": sum(answer["usage"]["completion_tokens"] for answer in answers),
    }


def native(requests: list[Request], slots: int) -> dict[str, float]:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(MODEL)
    params.n_ctx, params.n_parallel = CONTEXT * slots, slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.verbosity = -1
    server = xllamacpp.Server(params)
    calls = sorted((chat(request) for request in requests), key=lambda call: str(call["messages"]))
    for call in calls:
        call |= {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
    started = time.perf_counter()
    with ThreadPoolExecutor(slots) as pool:
        answers = list(pool.map(server.handle_chat_completions, calls))
    return {
        "seconds": time.perf_counter() - started,
        "written": sum(answer["usage"]["completion_tokens"] for answer in answers),
    }


def ceiling(requests: list[Request], lengths: list[int]) -> dict[str, float]:
    """The bare library reads the distinct tokens, then writes texts of these lengths, as many at once as we do.

    The live sequences are always neighbours, each of the middle length of what it holds; none waits for another.
    """
    context = Context(Options(MODEL, n_ctx=CONTEXT, n_parallel=PARALLEL, n_threads=THREADS))
    assert context.template
    texts = {render_chat(context.template, request.messages, bos=context.bos, eos=context.eos) for request in requests}
    held: list[int] = []
    distinct = 0
    started = time.perf_counter()
    for tokens in sorted(map(context.tokens, texts)):
        shared = context.cut(0, common_prefix([held, tokens]))
        for at in range(shared, len(tokens), CHUNK):
            context.read(tokens[at : at + CHUNK], at, 0)
        distinct += len(tokens) - shared
        held = tokens
    seconds = time.perf_counter() - started

    middle = min(len(held), int(mean(len(context.tokens(text)) for text in texts) + mean(lengths) / 2))
    context.cut(0, middle)
    for sequence in range(1, PARALLEL):
        context.copy(0, sequence)
    context.step([(held[0], middle, sequence) for sequence in range(PARALLEL)])  # the copies are made now
    waiting, left = list(lengths), list[int]()
    started = time.perf_counter()
    while left or waiting:
        while waiting and len(left) < PARALLEL:
            left.append(waiting.pop(0))
        for sequence in range(len(left)):
            context.cut(sequence, middle)
        context.step([(held[0], middle, sequence) for sequence in range(len(left))])
        left = [n - 1 for n in left if n > 1]
    return {"seconds": seconds + time.perf_counter() - started, "read": distinct}


def measure(contender: str, case: str, data: Path, lengths: Sequence[int] = ()) -> dict[str, Any]:
    """One run in a process of its own."""
    command = [sys.executable, str(HERE), "--one", contender, case, str(data), json.dumps(list(lengths))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{contender}, case {case}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def one(contender: str, case: str, data: Path, lengths: list[int]) -> dict[str, Any]:
    requests = work(case, data)
    if contender == "ceiling":
        return ceiling(requests, lengths)
    if contender.startswith("xllamacpp"):
        return native(requests, int(contender.partition(":")[2]))
    return {"ours": ours, "Llama": llama}[contender](requests)


def differences(data: Path) -> None:
    """How often a text differs from the one that the same request gets alone."""
    requests = work("b", data)
    engine = LlamaCpp(MODEL, n_ctx=CONTEXT, n_parallel=PARALLEL, n_threads=THREADS)

    async def all_at_once() -> list[Completion]:
        return await asyncio.gather(*map(engine.generate, requests))

    alone = [wait(submit(engine.generate(request))).text for request in requests]
    again = [wait(submit(engine.generate(request))).text for request in reversed(requests)][::-1]
    beside = [completion.text for completion in wait(submit(all_at_once()))]
    print(f"e) {len(requests)} requests at temperature 0, {LIMIT} tokens each")
    for name, texts in (("asked alone once more, in another order", again), (f"{PARALLEL} at once", beside)):
        print(f"   {name}: {sum(map(ne, texts, alone))} of {len(alone)} texts differ")


def heed_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background begins with it ignored


def interrupted(data: Path) -> None:
    """How long `rmr1 judge` takes to end after Ctrl-C in the middle of a batch, and whether its store is whole."""
    took = []
    for _ in range(RUNS):
        with TemporaryDirectory() as folder:
            store, file = Path(folder) / "store.db", Path(folder) / "pairs.jsonl"
            file.write_text("".join(pair.model_dump_json() + "\n" for pair in pairs(data)))
            command = [sys.executable, "-c", "from rmr1_sdk.cli import main; main()", "judge", str(file)]
            command += [
                "--model",
                f"llama_cpp:{MODEL}",
                "--out",
                f"{folder}/out.jsonl",
                "--store",
                str(store),
                f"--max-tokens={LIMIT}",
            ]
            with subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=heed_ctrl_c) as running:
                while not store.exists() or len(list(Store(store).export())) < 4:
                    assert running.poll() is None, "it ended before it could be interrupted"
                    time.sleep(0.2)
                started = time.perf_counter()
                running.send_signal(signal.SIGINT)
                running.wait()
            took.append(time.perf_counter() - started)
            with closing(sqlite3.connect(store)) as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    print(f"f) Ctrl-C in the middle of a batch: {median(took):.2f} s, at most {max(took):.2f} s; the store is whole")


def main(data: Path, cases: str) -> None:
    for case in cases:
        if case in MEASURES:
            MEASURES[case](data)
            continue
        trials = {f"xllamacpp:{slots}": measure(f"xllamacpp:{slots}", case, data)["seconds"] for slots in SLOTS}
        best = min(trials, key=trials.__getitem__)
        ratios: dict[str, list[float]] = {}
        for _ in range(RUNS):
            our = measure("ours", case, data)
            for name in ("ceiling", "Llama", best):
                other = measure(name, case, data, our["lengths"])
                ratios.setdefault(name, []).append(other["seconds"] / our["seconds"])
                if name == "ceiling":
                    ratios.setdefault("read", []).append(our["read"] / other["read"])
                else:
                    ratios.setdefault(f"{name} written", []).append(other["written"] / our["written"])
        middle = {name: median(values) for name, values in ratios.items()}
        print(f"{case}) {CASES[case]}: {our['seconds']:.1f} s")
        print(f"   {middle['ceiling']:.0%} of the ceiling; {middle['read']:.3f} x the distinct tokens are read")
        for name in ("Llama", best):
            tokens = middle[f"{name} written"]
            print(f"   {name} takes {middle[name]:.2f} x as long, and writes {tokens:.2f} x as many tokens", flush=True)


MEASURES = {"e": differences, "f": interrupted}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(sys.argv[2], sys.argv[3], Path(sys.argv[4]), json.loads(sys.argv[5]))))
    else:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA, sys.argv[2] if len(sys.argv) > 2 else "abcdef")
