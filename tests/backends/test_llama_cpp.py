"""llama.cpp with a real model: SmolLM2-135M-Instruct."""

import asyncio
import json
import multiprocessing
import os
import pickle
import sys
import threading
from math import exp
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import ConfigError, Criterion, Judge, Pair, Rubric, connect
from rmr1_sdk.backends.llama_context import Context, Options
from rmr1_sdk.backends.llama_cpp import LlamaCpp
from rmr1_sdk.concurrency import submit, wait
from rmr1_sdk.errors import BackendError
from rmr1_sdk.types import Completion, Message, Request, Sampling
from tests import processes
from tests.processes import LIMIT_S, forked

pytestmark = pytest.mark.llama_cpp

CAPITAL = Request(
    messages=(Message(role="user", content="What is the capital of France?"),),
    prefix="The capital of France is",
    sampling=Sampling(max_tokens=24),
)
FREE = Sampling(max_tokens=24, temperature=1.0)
STORY = Request(
    messages=(Message(role="user", content="Tell a long story. " * 30),),
    sampling=Sampling(max_tokens=1500, temperature=1.0),
)
# what the model's own template makes of it
CHAT = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\nThe capital of France is"
)
CHOICES = (" Paris", " London", " the moon")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
PAIR = Pair(question="What is the capital of France?", a="Paris.", b="London.", id="capital")


@pytest.fixture(scope="module")
def engine(gguf: Path) -> LlamaCpp:
    return LlamaCpp(gguf, n_ctx=2048)


def ask(backend: LlamaCpp, request: Request = CAPITAL, **update: Any) -> Completion:
    return wait(submit(backend.generate(request.model_copy(update=update))))


def test_a_real_answer(engine: LlamaCpp) -> None:
    completion = ask(engine)
    assert "Paris" in completion.text
    assert completion.model == engine.model == "SmolLM2-135M-Instruct.Q4_1"
    assert completion.usage.prompt_tokens > completion.usage.completion_tokens > 1
    assert completion.latency_s > 0


def test_a_real_grade_comes_by_force(engine: LlamaCpp) -> None:
    rubric = Rubric(criteria=(Criterion(name="Truth", weight=0.8), Criterion(name="Brevity", weight=0.2)))
    judge = Judge(engine, sampling={"max_tokens": 48})
    grade, again = (judge.grade("What is the capital of France?", "Paris.", rubric=rubric) for _ in range(2))
    [reading] = grade.readings
    assert grade.score is not None
    assert 0 < grade.score < 1, "expected points are never a whole number"
    assert all(mark.forced for mark in reading.marks)
    assert again.score == grade.score


def test_what_was_asked_before_changes_nothing_but_the_time(gguf: Path) -> None:
    backend = LlamaCpp(gguf, n_ctx=1024)
    requests = [STORY.model_copy(update={"sampling": FREE.model_copy(update={"seed": n})}) for n in range(4)]
    fresh = [ask(backend, requests[0])]
    for request in requests[1:]:
        wait(submit(backend.aclose()))  # it is loaded again on its next use
        fresh.append(ask(backend, request))
    warm = [ask(backend, request) for request in (CAPITAL, *requests, *requests)]
    assert [completion.usage.cached_tokens for completion in fresh] == [0] * 4
    assert warm[-1].usage.cached_tokens >= 128
    texts = [completion.text for completion in fresh]
    assert len(set(texts)) == 4
    assert [completion.text for completion in warm[1:]] == texts * 2
    wait(submit(backend.aclose()))


def test_the_seed_decides(engine: LlamaCpp) -> None:
    def drawn(seed: int) -> str:
        return ask(engine, STORY, sampling=FREE.model_copy(update={"seed": seed})).text

    assert drawn(1) == drawn(1) != drawn(2)


def test_choices_are_whole_continuations(engine: LlamaCpp, gguf: Path) -> None:
    """Against an independent computation: every whole text through the library's own high-level class."""
    import numpy
    from llama_cpp import Llama

    completion = ask(engine, choices=CHOICES)
    assert completion.text == ""
    assert completion.choice_logprobs is not None
    paris, london, moon = completion.choice_logprobs
    assert paris > london > moon
    assert sum(map(exp, completion.choice_logprobs)) <= 1

    llama = Llama(str(gguf), n_ctx=256, logits_all=True, verbose=False)
    known = len(llama.tokenize(CHAT.encode(), add_bos=False, special=True))
    for choice, score in zip(CHOICES, completion.choice_logprobs, strict=True):
        tokens = llama.tokenize((CHAT + choice).encode(), add_bos=False, special=True)
        llama.reset()
        llama.eval(tokens)
        logits = numpy.array(llama.scores[known - 1 : len(tokens) - 1], dtype=numpy.float64)
        normal = logits - numpy.log(numpy.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
        normal -= logits.max(1, keepdims=True)
        expected = sum(row[token] for row, token in zip(normal, tokens[known:], strict=True))
        assert score == pytest.approx(float(expected), abs=0.2), choice  # the order of sums differs
    llama.close()


def test_choices_hardly_depend_on_how_their_prefix_was_read(engine: LlamaCpp) -> None:
    """Its cells may hold it token by token, as it was written, or in chunks: sums of rounded numbers differ."""

    def probabilities(*choices: str) -> list[float]:
        completion = ask(engine, prefix="The capital is", choices=choices)
        assert completion.choice_logprobs is not None
        return [exp(score) for score in completion.choice_logprobs]

    first = probabilities(*CHOICES)
    ask(engine, STORY, sampling=FREE)
    assert probabilities(*CHOICES) == pytest.approx(first, abs=0.02)
    assert probabilities(*CHOICES[::-1]) == pytest.approx(first[::-1], abs=0.02)


def test_a_stop_string_ends_the_text_and_belongs_to_it(engine: LlamaCpp) -> None:
    completion = ask(engine, sampling=Sampling(max_tokens=24, stop=("Paris",)))
    assert (completion.text.count("Paris"), completion.text[-5:], completion.stop) == (1, "Paris", "stop")


def test_a_text_cut_short_says_so(engine: LlamaCpp) -> None:
    completion = ask(engine, sampling=Sampling(max_tokens=2))
    assert (completion.stop, completion.usage.completion_tokens) == ("length", 2)


def test_a_prompt_longer_than_the_context_is_refused_and_not_cut(engine: LlamaCpp) -> None:
    long = (Message(role="user", content="word " * 30_000),)
    for completion in (ask(engine, messages=long), ask(engine, messages=long, choices=CHOICES)):
        assert (completion.text, completion.stop, completion.choice_logprobs) == ("", "too_long", None)
        assert completion.usage.total_tokens == 0
    judgment = Judge(engine).compare("Which?", "word " * 30_000, "short")
    assert judgment.failure
    assert judgment.failure.kind == "prompt_too_long"


def test_cancelling_stops_the_work(engine: LlamaCpp) -> None:
    pieces: list[str] = []
    begun = threading.Event()

    def tell(piece: str) -> None:
        pieces.append(piece)
        begun.set()

    flight = submit(engine.generate(STORY, on_text=tell))
    assert begun.wait(LIMIT_S)
    flight.cancel()
    assert "Paris" in ask(engine).text, "the thread is free for others"
    written = len(pieces)
    ask(engine)
    assert len(pieces) == written < 1000


def test_pieces_of_characters_are_joined(engine: LlamaCpp) -> None:
    """Hot sampling draws bytes of characters that are several tokens long."""
    pieces: list[str] = []
    hot = STORY.model_copy(update={"sampling": Sampling(max_tokens=200, temperature=5.0, seed=3)})
    completion = wait(submit(engine.generate(hot, on_text=pieces.append)))
    wait(submit(asyncio.sleep(0)))  # what was told is told on the loop
    assert "".join(pieces) == completion.text.removesuffix("\ufffd")
    assert any(ord(letter) > 127 for letter in completion.text)
    emoji = ask(engine, prefix="I feel ", choices=("🙂", "🙃👩‍👩‍👧"))
    assert emoji.choice_logprobs
    assert all(score < 0 for score in emoji.choice_logprobs)


def test_the_start_token_is_not_doubled(engine: LlamaCpp, gguf: Path) -> None:
    """SmolLM2's template writes its start token itself; none is added."""
    from llama_cpp import Llama

    llama = Llama(str(gguf), vocab_only=True, verbose=False)
    expected = len(llama.tokenize(CHAT.encode(), add_bos=False, special=True))
    llama.close()
    assert ask(engine).usage.prompt_tokens == expected


def test_a_judgment_with_probabilities(engine: LlamaCpp) -> None:
    judge = Judge(engine, sampling={"max_tokens": 64})
    judgment = judge.compare(PAIR)
    assert judge.prompt.name == "cor"
    assert [verdict.shown for verdict in judgment.verdicts] == ["AB", "BA"]
    assert any(verdict.mass for verdict in judgment.verdicts)

    alone = Judge(engine, orders="given", sampling={"max_tokens": 64})

    async def twin() -> object:
        return await alone.acompare(PAIR)

    def settled(value: Any) -> list[Any]:
        return [(v.winner, v.text, v.forced) for v in value.verdicts]

    assert settled(alone.compare(PAIR)) == settled(asyncio.run(twin()))


def test_engines_pickle_as_their_arguments(engine: LlamaCpp) -> None:
    copy = pickle.loads(pickle.dumps(engine))
    assert copy.identity == engine.identity
    assert ask(copy).text == ask(engine).text
    wait(submit(copy.aclose()))


def _judge_in_child(judge: Judge, results: Any) -> None:
    results.put(judge.compare(PAIR).model_dump_json(exclude={"latency_s"}))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_loads_its_own(engine: LlamaCpp) -> None:
    judge = Judge(engine, orders="given", sampling={"max_tokens": 16})
    here = judge.compare(PAIR)
    results: Any = multiprocessing.SimpleQueue()
    with forked(_judge_in_child, judge, results) as child:
        child.join(LIMIT_S)
        assert child.exitcode == 0
        there = json.loads(results.get())
    assert [verdict["text"] for verdict in there["verdicts"]] == [verdict.text for verdict in here.verdicts]


def test_a_file_that_is_no_model_is_refused(tmp_path: Path, gguf: Path) -> None:
    text = tmp_path / "text.gguf"
    text.write_text("not a model")
    with pytest.raises(ConfigError, match=r"text\.gguf is not a GGUF file"):
        LlamaCpp(text)
    with pytest.raises(ConfigError, match=r"missing\.gguf: No such file"):
        connect(f"llama_cpp:{tmp_path / 'missing.gguf'}")
    with pytest.raises(ConfigError, match=r"Is a directory"):
        LlamaCpp(tmp_path)
    with pytest.raises(ConfigError, match=r"n_ctx must be more than 0"):
        LlamaCpp(gguf, n_ctx=0)
    with pytest.raises(ConfigError, match=r"convert gaotang/RM-R1-Qwen2.5-Instruct-7B"):
        connect("llama_cpp:rm-r1-instruct-7b")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf.read_bytes()[:5_000_000])
    with pytest.raises(BackendError, match=r"cut\.gguf could not be loaded"):
        ask(LlamaCpp(cut))


def test_memory_is_checked_before_it_is_taken(gguf: Path) -> None:
    with pytest.raises(BackendError, match=r"GB of weights and .* GB of cache, and .* are free; take a smaller"):
        ask(LlamaCpp(gguf, n_ctx=100_000_000))


@pytest.mark.parametrize(
    ("said", "given", "threads"),
    [("1", None, 1), ("3,2", None, 3), ("1", 2, 2), ("", None, CORES), ("0", None, CORES), ("many", None, CORES)],
)
def test_threads_are_as_many_as_openmp_is_told(
    gguf: Path, monkeypatch: pytest.MonkeyPatch, said: str, given: int | None, threads: int
) -> None:
    import llama_cpp

    monkeypatch.setenv("OMP_NUM_THREADS", said)
    context = Context(Options(path=gguf, n_ctx=256, n_parallel=1, n_threads=given))
    assert llama_cpp.llama_n_threads(context._context) == threads
    context.free()


LOADED = """
import ctypes, os, sys
from pathlib import Path
{first}
from rmr1_sdk.backends.llama_context import Context, Options
for _ in range(2):
    Context(Options(path=Path(sys.argv[1]), n_ctx=256, n_parallel=1)).free()
seen = ctypes.CDLL(None).getenv  # by C, torch and child processes
seen.restype = ctypes.c_char_p
print(os.environ.get("OMP_WAIT_POLICY"), (seen(b"OMP_WAIT_POLICY") or b"None").decode())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp is looked at, which llama.cpp has on Linux")
@pytest.mark.parametrize(
    ("given", "first", "spins", "policy", "lines"),
    [
        ({}, "", "0", None, 0),
        ({"OMP_WAIT_POLICY": "active"}, "", "30000000000", "active", 0),
        ({"OMP_WAIT_POLICY": "active"}, "import llama_cpp", "30000000000", "active", 0),
        ({"GOMP_SPINCOUNT": "7"}, "", "7", None, 0),
        ({}, "ctypes.CDLL('libgomp.so.1')", "300000", None, 1),
        ({}, "import llama_cpp", "300000", None, 1),
    ],
)
def test_threads_wait_passively_unless_the_user_or_another_library_decided(
    gguf: Path, given: dict[str, str], first: str, spins: str, policy: str | None, lines: int
) -> None:
    unset = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    command = [sys.executable, "-c", LOADED.format(first=first), gguf]
    ran = processes.run(command, env=unset | {"OMP_DISPLAY_ENV": "VERBOSE"} | given, check=True)
    assert f"GOMP_SPINCOUNT = '{spins}'" in ran.stderr  # libgomp says so when it is loaded
    assert ran.stdout.split() == [str(policy)] * 2
    assert ran.stderr.count("start with OMP_WAIT_POLICY=passive") == lines


def test_the_prompt_recorded_beside_the_file_is_used(tmp_path: Path, gguf: Path) -> None:
    (tmp_path / "mine.gguf").symlink_to(gguf)
    (tmp_path / "rmr1.json").write_text('{"prompt": "reasoning"}')
    with Judge(f"llama_cpp:{tmp_path / 'mine.gguf'}") as judge:
        assert judge.prompt.name == "reasoning"
        assert judge.sampling.stop == ()
    (tmp_path / "rmr1.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"rmr1\.json: not of the form"):
        Judge(f"llama_cpp:{tmp_path / 'mine.gguf'}").compare(PAIR)


def test_sections_arrive_while_they_are_written_and_end_in_what_compare_returns(engine: LlamaCpp) -> None:
    judge = Judge(engine, orders="given", max_concurrency=1, sampling={"max_tokens": 96})
    *sections, last = judge.stream(PAIR)
    told = [event.text for event in sections if event.attempt == 0]
    assert len(told) > 9
    assert last.judgment
    compared = judge.compare(PAIR)
    assert last.judgment.winner == compared.winner
    assert last.judgment.p_a == pytest.approx(compared.p_a)
    assert [verdict.text for verdict in last.judgment.verdicts] == [verdict.text for verdict in compared.verdicts]


def test_what_is_told_is_the_text_of_the_completion(engine: LlamaCpp) -> None:
    for stop in ((), ("is Par",), ("France", " of")):
        pieces: list[str] = []
        request = STORY.model_copy(update={"sampling": Sampling(max_tokens=40, temperature=1.5, seed=3, stop=stop)})
        completion = wait(submit(engine.generate(request, on_text=pieces.append)))
        assert "".join(pieces) == completion.text
