"""llama.cpp in this process: batched judging from a GGUF file.

One thread owns the model and works on up to `n_parallel` requests at once. New prompts are read in
chunks between the steps in which all texts under way grow by one token; finished texts leave at once.

Prompts are read one after another, each from the longest beginning that any sequence still holds: the
system prompt is read once, both orders of a pair share the question, votes share the whole prompt, and
the probability of a finished verdict costs a few tokens. The sequence used longest ago makes room.

Floating-point sums depend on how tokens are grouped and where they lie. Prompts are read one sequence
at a time, every token in a call of at least _MIN_BATCH, and every sequence has cells of its own. With that,
what a prompt leaves in the cache is the same to the last bit, whatever was asked before or beside it.
"""

import asyncio
import atexit
import codecs
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rmr1_sdk.backends.base import RESERVE, Capabilities, PerProcess, StopScanner, common_prefix, fingerprint
from rmr1_sdk.backends.chat import render_chat
from rmr1_sdk.backends.llama_context import CHUNK, Context, Options, Sampler
from rmr1_sdk.errors import BackendError, ConfigError, RMR1Error, file_errors
from rmr1_sdk.files.models import find_gguf
from rmr1_sdk.parsing.tags import opens_thought
from rmr1_sdk.types import Completion, Request, Usage

__all__ = ["LlamaCpp"]

_MIN_BATCH = 64
"""From this many tokens of a sequence on, llama.cpp's attention on CPUs gives each the same, however many."""
_MIN_COPY = 32
"""Tokens: copying a sequence takes about as long as reading some ten of them."""
_GRACE_STEPS = 4
"""Turns for which a sequence is left alone after its text ended."""

Adapter = str | Path | tuple[str | Path, float]


class LlamaCpp:
    """A GGUF file as a backend.

    Args:
        path: the file; or a short name that `rmr1 models` lists; or "ORG/REPO:QUANT" on the Hugging
            Face hub, which is downloaded now unless it was before.
        n_ctx: tokens of prompt and completion together; None is the model's own length, at most 8,192.
        n_parallel: requests that are worked on at once, 1 to 256, each with a cache of n_ctx tokens. None is 8, or
            as many as fit into half of the memory that the weights leave free.
        n_threads: None is what OMP_NUM_THREADS says, else as many as there are cores for this process.
        n_gpu_layers: layers on the GPU, for builds that support one: None is llama.cpp's own choice, -1 all.
        chat_template: the text of a Jinja template to use instead of the file's own.
        adapters: LoRA adapters in GGUF files, each a path or (path, scale), all on from the beginning.

    Raises ConfigError when a file is not there or is no GGUF file. The model is loaded on first use;
    that raises BackendError. Pickles as its arguments.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        n_ctx: int | None = None,
        n_parallel: int | None = None,
        n_threads: int | None = None,
        n_gpu_layers: int | None = None,
        chat_template: str | None = None,
        adapters: Sequence[Adapter] = (),
    ) -> None:
        for name, value in (("n_ctx", n_ctx), ("n_parallel", n_parallel), ("n_threads", n_threads)):
            if value is not None and value <= 0:
                raise ConfigError(f"{name} must be more than 0, not {value}")
        if n_parallel and n_parallel > 256:
            raise ConfigError(f"n_parallel must be at most 256, not {n_parallel}")
        self._options = Options(
            path=find_gguf(path),
            n_ctx=n_ctx,
            n_parallel=n_parallel,
            n_threads=n_threads,
            n_gpu_layers=n_gpu_layers,
            chat_template=chat_template,
            adapters=tuple(_adapter(adapter) for adapter in adapters),
        )
        for file in (self._options.path, *(path for path, _ in self._options.adapters)):
            _check_magic(file)
        self._worker = PerProcess(partial(_Worker, self._options))
        self.model = self._options.path.stem
        self._identity: str | None = None

    @property
    def identity(self) -> str:
        """The file's name and fingerprint (it holds the chat template), and what was asked for that changes answers."""
        if self._identity is None:
            options = self._options
            parts = [options.path.name, fingerprint(options.path), f"n_ctx={options.n_ctx or 'default'}"]
            parts += [f"lora={fingerprint(path)}*{scale:g}" for path, scale in options.adapters]
            if options.chat_template is not None:
                parts.append(f"template={options.chat_template}")
            self._identity = ":".join(["llama_cpp", *parts])
        return self._identity

    @property
    def capabilities(self) -> Capabilities:
        """Capabilities of this model. Loads it."""
        context = self._worker.get().context()
        return Capabilities(
            choices=True,
            prefix=True,
            seed=True,
            streaming=True,
            chat_template=context.template,
            prompt=context.prompt,
            concurrency=context.n_parallel,
        )

    async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        """Answer one request. Cancelling stops it at the next token."""
        worker = self._worker.get()
        loop = asyncio.get_running_loop()
        job = _Job(
            request, self.model, None if on_text is None else lambda text: loop.call_soon_threadsafe(on_text, text)
        )
        worker.take(job)
        try:
            return await asyncio.wrap_future(job.answer)
        finally:
            worker.drop(job)

    async def aclose(self) -> None:
        """Free the model. The next use loads it again."""
        if worker := self._worker.take():
            await asyncio.to_thread(worker.close)


def connect(rest: str, **options: Any) -> LlamaCpp:
    """The backend of "llama_cpp:FILE.gguf", of a short name or of ORG/REPO:QUANT."""
    return LlamaCpp(rest, **options)


def _adapter(adapter: Adapter) -> tuple[Path, float]:
    path, scale = adapter if isinstance(adapter, tuple) else (adapter, 1.0)
    return Path(path), scale


def _check_magic(path: Path) -> None:
    with file_errors(path), path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise ConfigError(f"{path} is not a GGUF file (it begins with {magic!r})")


class _Interrupted(Exception):
    """A call of llama.cpp ended early: nobody waits for what it was doing."""


class _Job:
    """A request on its way through the worker."""

    def __init__(self, request: Request, model: str, tell: Callable[[str], object] | None) -> None:
        self.request = request
        self.answer: Future[Completion] = Future()
        self._model = model
        self._tell = tell
        self._started = 0.0
        self.tokens: list[int] = []  # what is read before anything can be said
        self.tails: list[list[int]] = []  # of each choice: its own tokens
        self._cached = 0
        self._written = 0
        self._text = ""

    def prepare(self, context: Context) -> None:
        """Render and tokenise. A request that does not fit is answered here, before any work."""
        if context.template is None:
            raise BackendError("the file holds no chat template: a judge needs a chat model, not a base model")
        rendered = render_chat(context.template, self.request.messages, bos=context.bos, eos=context.eos)
        begin = rendered + self.request.prefix
        self.tokens = context.tokens(begin)
        room = context.n_ctx - RESERVE - len(self.tokens)
        self._room = min(room, self.request.sampling.max_tokens)
        self._scanner = StopScanner(self.request.sampling.stop, opens_thought(rendered) + self.request.prefix)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        if self.request.choices:
            wholes = [context.tokens(begin + choice) for choice in self.request.choices]
            room = context.n_ctx - max(map(len, wholes)) + 1
            shared = common_prefix([*wholes, self.tokens])
            self.tokens, self.tails = self.tokens[:shared], [whole[shared:] for whole in wholes]
        if room < 1:
            self.done(Completion(text="", stop="too_long"))

    def start(self, cached: int) -> None:
        self._started = time.monotonic()
        self._cached = cached

    def write(self, piece: bytes | None) -> bool:
        """Take the bytes of the next token, None for the end of the turn. Whether the text goes on."""
        self._written += 1
        is_last = piece is None or self._written >= self._room
        text = self._decoder.decode(piece or b"", final=is_last)
        before = len(self._text)
        self._text += text
        if (ended := self._scanner.feed(text)) is not None:
            self._text = ended
        if self._tell and len(self._text) > before:
            self._tell(self._text[before:])
        if ended is None and not is_last:
            return True
        usage = Usage(prompt_tokens=len(self.tokens), completion_tokens=self._written, cached_tokens=self._cached)
        stop: Literal["stop", "length"] = "stop" if piece is None or ended is not None else "length"
        self.done(Completion(text=self._text, stop=stop, usage=usage))
        return False

    def score(self, scores: Sequence[float]) -> None:
        read = len(self.tokens) + sum(map(len, self.tails))
        usage = Usage(prompt_tokens=read, cached_tokens=self._cached)
        self.done(Completion(text="", choice_logprobs=tuple(scores), usage=usage))

    def done(self, result: Completion | Exception) -> None:
        """Answer, unless nobody waits any more."""
        try:
            if isinstance(result, Exception):
                self.answer.set_exception(result)
            else:
                took = round(time.monotonic() - self._started, 4) if self._started else 0.0
                self.answer.set_result(result.model_copy(update={"model": self._model, "latency_s": took}))
        except InvalidStateError:
            pass  # cancelled a moment ago


@dataclass(eq=False)
class _Slot:
    """A sequence of the cache: the tokens it holds, and who works on it."""

    number: int
    tokens: list[int] = field(default_factory=list)
    exact: int = 0  # so many of them were read as any backend would read them
    prompt: int = 0  # so many of them were a prompt,
    logits: Any = None  # and these came after it
    used: int = 0  # when it was last begun from, in requests let in
    left: int = 0  # when its last text ended, in turns of the worker
    job: _Job | None = None
    sampler: Sampler | None = None  # there once the prompt is read
    next: int = 0  # the token to be read in the next step

    def hold(self, other: "_Slot") -> None:
        """Hold what another holds."""
        self.tokens, self.exact, self.prompt, self.logits = list(other.tokens), other.exact, other.prompt, other.logits


class _Worker:
    """The thread that owns the model. `context`, `take`, `drop` and `close` are called from others."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._loading = threading.Lock()
        self._context: Context | None = None
        self._slots: list[_Slot] = []
        self._waiting: deque[_Job] = deque()
        self._clock = 0
        self._turn = 0
        self._news = threading.Condition()
        self._arrived: deque[_Job] = deque()  # with _news held, as the next two
        self._running: Sequence[_Job] = ()  # whom the present call of llama.cpp works for
        self._closed = False
        self._pid = os.getpid()
        atexit.register(self.close)
        self._thread = threading.Thread(target=self._run, name="rmr1-llama-cpp", daemon=True)
        self._thread.start()

    def context(self) -> Context:
        """The loaded model."""
        with self._loading:
            if self._context is None:
                try:
                    self._context = Context(self._options)
                except (OSError, RuntimeError, MemoryError) as error:
                    raise BackendError(f"llama.cpp failed: {error}") from error
            return self._context

    def take(self, job: _Job) -> None:
        with self._news:
            if self._closed:
                raise BackendError("the backend was closed")
            self._arrived.append(job)
            self._news.notify()

    def drop(self, job: _Job) -> None:
        """Nobody waits for this answer; a call of llama.cpp that nobody waits for ends at its next layer."""
        if not job.answer.cancel():
            return  # it was answered
        with self._news:
            if self._context and self._running and all(other.answer.cancelled() for other in self._running):
                self._context.interrupt(True)
            self._news.notify()

    def close(self) -> None:
        atexit.unregister(self.close)
        if self._pid != os.getpid():
            return  # a forked child has not got this thread
        with self._news:
            self._closed = True
            if self._context:
                self._context.interrupt(True)
            self._news.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._gather():
            try:
                self._work()
            except Exception as error:  # noqa: BLE001  whatever it is, everyone who waits must hear of it
                self._fail(error)
        self._fail(BackendError("the backend was closed"))

    def _gather(self) -> bool:
        """Take in what arrived; waits for it when there is nothing else to do. False when closed."""
        with self._news:
            while not (self._closed or self._arrived or self._waiting or any(slot.job for slot in self._slots)):
                self._news.wait()
            self._waiting.extend(self._arrived)
            self._arrived.clear()
            return not self._closed

    def _fail(self, error: Exception) -> None:
        """Tell everyone, and forget the model: it may be in any state. The next request loads it again."""
        if not isinstance(error, RMR1Error):
            error = BackendError(f"llama.cpp failed: {error!r}").with_traceback(error.__traceback__)
        jobs = [*self._waiting, *(slot.job for slot in self._slots if slot.job)]
        for slot in self._slots:
            self._release(slot)
        self._waiting.clear()
        self._slots = []
        with self._news:
            jobs += self._arrived
            self._arrived.clear()
        with self._loading:
            context, self._context = self._context, None
            if context:
                context.free()
        for job in jobs:
            job.done(error)

    def _work(self) -> None:
        """One turn: let a waiting prompt in, read a chunk of it, then one step of all texts under way."""
        context = self.context()
        if not self._slots:
            self._slots = [_Slot(n) for n in range(context.n_parallel)]
        self._turn += 1
        self._prepare_waiting(context)
        self._compact(context)
        try:
            for slot in [slot for slot in self._slots if slot.job and not slot.sampler] or self._admit(context):
                self._read(context, slot)
            if writing := [slot for slot in self._slots if slot.sampler]:
                self._step(context, writing)
        except _Interrupted:
            for slot in self._slots:
                if slot.job:
                    self._cut(context, slot, len(slot.tokens))

    def _prepare_waiting(self, context: Context) -> None:
        """Prepare new requests, and let go of those that nobody waits for."""
        for job in list(self._waiting):
            if not job.tokens:
                try:
                    job.prepare(context)
                except RMR1Error as error:
                    job.done(error)
            if job.answer.done():
                self._waiting.remove(job)
        for slot in self._slots:
            if slot.job and slot.job.answer.cancelled():
                self._release(slot)

    def _release(self, slot: _Slot) -> None:
        slot.job = slot.sampler = None
        slot.left = self._turn

    def _compact(self, context: Context) -> None:
        """Move the last text into a gap among the others: llama.cpp reads only neighbouring sequences in one pass.

        Not at once: what just ended may be gone on from, to read the probability of its verdict.
        """
        live = [slot.number for slot in self._slots if slot.job]
        if self._waiting or not live or not context.can_fork:
            return
        last = self._slots[live[-1]]
        gaps = (
            slot for slot in self._slots[live[0] : live[-1]] if not slot.job and slot.left < self._turn - _GRACE_STEPS
        )
        gap = next(gaps, None)
        if gap is None or not last.sampler:
            return
        context.copy(last.number, gap.number)
        gap.hold(last)
        gap.used, gap.job, gap.sampler, gap.next = last.used, last.job, last.sampler, last.next
        self._release(last)

    def _admit(self, context: Context) -> list[_Slot]:
        """Give a waiting request its sequence, with what any other holds of its beginning; none if none is free.

        Choices go first: they are quick, and what they go on from is still there.
        """
        free = [slot for slot in self._slots if not slot.job]
        if not free or not self._waiting:
            return []
        job = next((job for job in self._waiting if job.tails), self._waiting[0])
        self._waiting.remove(job)
        alone = len(free) == len(self._slots) and not self._waiting
        usable = {slot.number: _usable(slot, job, exact=alone) if context.can_fork else 0 for slot in self._slots}
        best = max(self._slots, key=lambda slot: (usable[slot.number], not slot.job))
        keep = usable[best.number]
        goes_on = not best.job and keep >= best.prompt
        slot = best if goes_on else min(free, key=lambda slot: slot.used)
        if slot is not best:
            keep = keep if keep >= _MIN_COPY else 0
            if keep:
                context.copy(best.number, slot.number)
                slot.hold(best)
        self._cut(context, slot, keep)
        self._clock += 1
        best.used = slot.used = self._clock
        slot.job = job
        job.start(cached=keep)
        return [slot]

    def _cut(self, context: Context, slot: _Slot, length: int) -> None:
        length = context.cut(slot.number, length)
        del slot.tokens[length:]
        slot.exact = min(slot.exact, length)
        if length < slot.prompt:
            slot.prompt, slot.logits = 0, None

    def _read(self, context: Context, slot: _Slot) -> None:
        """Read a chunk of a prompt; after its last, begin to write or score."""
        job = slot.job
        assert job
        logits = slot.logits if slot.prompt == len(job.tokens) else self._extend(context, slot, job.tokens)
        if logits is None:
            return
        if job.tails:
            job.score([self._score(context, slot, job, tail, logits) for tail in job.tails])
            self._cut(context, slot, len(job.tokens))
            self._release(slot)
            return
        slot.prompt, slot.logits = len(job.tokens), logits
        slot.sampler = context.sampler(job.request.sampling)
        self._write(context, slot, slot.sampler.draw(logits))

    def _extend(self, context: Context, slot: _Slot, tokens: Sequence[int]) -> Any:
        """Read on towards these tokens; the logits after the last, None before."""
        held = len(slot.tokens)
        left = len(tokens) - held
        count = min(left, CHUNK)
        if 0 < left - count < _MIN_BATCH:
            count = left - _MIN_BATCH
        chunk = tokens[held : held + count]
        self._call(context, [slot], partial(context.read, chunk, held, slot.number))
        slot.tokens.extend(chunk)
        if slot.exact == held and count >= _MIN_BATCH:
            slot.exact = len(slot.tokens)
        return context.logits(count - 1).copy() if count == left else None

    def _score(self, context: Context, slot: _Slot, job: _Job, tail: Sequence[int], logits: Any) -> float:
        """The log-probability of a choice: its first token by the logits of the prompt, the others as a fork."""
        total = float(context.log_softmax(logits)[tail[0]]) if tail else 0.0
        start = len(job.tokens)
        if len(tail) > 1:
            self._cut(context, slot, start)
            while len(slot.tokens) < start:  # where the memory cannot forget a part of what it holds
                self._extend(context, slot, job.tokens)
        for at in range(0, len(tail) - 1, CHUNK):
            chunk = tail[at : min(at + CHUNK, len(tail) - 1)]
            self._call(context, [slot], partial(context.read, chunk, start + at, slot.number, every=True))
            slot.tokens.extend(chunk)
            for row, token in enumerate(tail[at + 1 : at + 1 + len(chunk)]):
                total += float(context.log_softmax(context.logits(row))[token])
        return total

    def _step(self, context: Context, slots: Sequence[_Slot]) -> None:
        """One more token for every text under way."""
        rows = [(slot.next, len(slot.tokens), slot.number) for slot in slots]
        self._call(context, slots, partial(context.step, rows))
        for row, slot in enumerate(slots):
            assert slot.sampler
            slot.tokens.append(slot.next)
            self._write(context, slot, slot.sampler.draw(context.logits(row)))

    def _write(self, context: Context, slot: _Slot, token: int) -> None:
        assert slot.job
        slot.next = token
        if not slot.job.write(None if context.ends(token) else context.piece(token)):
            self._release(slot)

    def _call(self, context: Context, slots: Sequence[_Slot], work: Callable[[], bool]) -> None:
        """Call llama.cpp so that it ends early when nobody waits any more."""
        with self._news:
            self._running = [slot.job for slot in slots if slot.job]
            context.interrupt(self._closed or all(job.answer.cancelled() for job in self._running))
        try:
            if not work():
                raise _Interrupted
        finally:
            with self._news:
                self._running = ()


def _usable(slot: _Slot, job: _Job, *, exact: bool) -> int:
    """Number of a sequence's cached tokens that can serve as the beginning of a request.

    Of the same prompt all, as what came after it was kept. Where the text shall be `exact`, only what was read
    exactly counts, and of another prompt so much that at least _MIN_BATCH tokens remain. Choices need no such care.
    """
    shared = common_prefix([slot.tokens, job.tokens])
    exact = exact and not job.tails
    if exact:
        shared = min(shared, slot.exact)
    if shared == len(job.tokens) == slot.prompt and not job.tails:
        return shared
    return max(0, min(shared, len(job.tokens) - (_MIN_BATCH if exact else 1)))
