"""llama.cpp in this process, through its low-level API: a GGUF file judges on any laptop.

One thread owns the model. It keeps two sequences, one for each order of a pair, and what a request
shares with the tokens that its sequence holds is not read again: the system prompt is read once, and
reading the probability of a finished verdict costs a few tokens.

Floating-point sums depend on how tokens are grouped and where they lie. So that the same request gives
the same text whatever was asked before, every sequence has cells of its own, prompts are read in chunks
that begin at multiples of _CHUNK, and text is written after whole chunks only.
"""

import asyncio
import codecs
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ctypes import CFUNCTYPE, c_bool, c_char_p, c_int, c_void_p, create_string_buffer
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rmr1_sdk.backends.base import (
    RESERVE,
    Capabilities,
    PerProcess,
    StopScanner,
    common_prefix,
    fingerprint,
    opens_thought,
    recorded_prompt,
)
from rmr1_sdk.backends.chat import render_chat
from rmr1_sdk.errors import BackendError, ConfigError, MissingExtraError
from rmr1_sdk.models import find_gguf
from rmr1_sdk.types import Completion, Request, Sampling, Usage

__all__ = ["LlamaCpp"]

_log = logging.getLogger(__name__)

DEFAULT_CONTEXT = 8192
"""Tokens of context where the model was trained with more and nothing else is asked for."""
_SLOTS = 2  # both orders of a pair
_CHUNK = 64


class LlamaCpp:
    """A GGUF file as an engine.

    Args:
        path: the file; or a short name that `rmr1 models` lists; or "ORG/REPO:QUANT" on the Hugging
            Face hub, which is downloaded now unless it was before.
        n_ctx: tokens of prompt and completion together; None is the model's own length, at most 8,192.
        n_threads: None is as many as this machine has cores.

    Raises ConfigError when the file is not there or is no GGUF file. The model is loaded on first use;
    that raises BackendError. Pickles as its arguments.
    """

    def __init__(self, path: str | Path, *, n_ctx: int | None = None, n_threads: int | None = None) -> None:
        for name, value in (("n_ctx", n_ctx), ("n_threads", n_threads)):
            if value is not None and value <= 0:
                raise ConfigError(f"{name} must be more than 0, not {value}")
        self._path = find_gguf(path)
        _check_magic(self._path)
        self._engine = PerProcess(partial(_Engine, self._path, n_ctx, n_threads))
        self.model = self._path.stem
        self._n_ctx = n_ctx
        self._identity: str | None = None

    @property
    def identity(self) -> str:
        """Name, fingerprint of the file (which holds the chat template), and context length asked for."""
        if self._identity is None:
            self._identity = f"llama_cpp:{self._path.name}:{fingerprint(self._path)}:n_ctx={self._n_ctx or 'default'}"
        return self._identity

    @property
    def capabilities(self) -> Capabilities:
        """What this model can do; loads it."""
        engine = self._engine.get()
        return engine.thread.submit(engine.capabilities).result()

    async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        """Answer one request. Cancelling stops it at the next token."""
        engine = self._engine.get()
        loop = asyncio.get_running_loop()
        cancelled = threading.Event()
        tell = None if on_text is None else lambda text: loop.call_soon_threadsafe(on_text, text)
        try:
            return await loop.run_in_executor(engine.thread, engine.answer, request, cancelled, tell)
        finally:
            cancelled.set()

    async def aclose(self) -> None:
        """Free the model. The next use loads it again."""
        if engine := self._engine.take():
            await asyncio.to_thread(engine.close)


def connect(rest: str, **options: Any) -> LlamaCpp:
    """The engine of "llama_cpp:FILE.gguf", of a short name or of ORG/REPO:QUANT."""
    return LlamaCpp(rest, **options)


def _check_magic(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    if magic != b"GGUF":
        raise ConfigError(f"{path} is not a GGUF file (it begins with {magic!r})")


def _check_memory(path: Path, weights: int, cache: int, free: int) -> None:
    """Weights and cache must fit into free memory: else the system kills the process, or swaps for hours."""
    if weights + cache > free:
        sizes = f"{weights / 1e9:.1f} GB of weights"
        if cache:
            sizes += f" and {cache / 1e9:.1f} GB of cache"
        advice = "take a smaller file or quantisation, or give a smaller n_ctx"
        raise BackendError(f"{path} needs {sizes}, and {free / 1e9:.1f} GB of memory are free; {advice}")


@dataclass
class _Slot:
    """A sequence of the cache: the tokens it holds, and how many of them were read as a prompt."""

    sequence: int
    tokens: list[int] = field(default_factory=list)
    prompt: int = 0
    used: int = 0


class _Cancelled(Exception):
    """Nobody waits for this answer any more."""


class _Engine:
    """What the thread owns. All methods but `close` run on that thread."""

    def __init__(self, path: Path, n_ctx: int | None, n_threads: int | None) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="rmr1-llama-cpp")
        self._path = path
        self._wanted = (n_ctx, n_threads)
        self._loaded: _Loaded | None = None

    def _load(self) -> "_Loaded":
        if self._loaded is None:
            self._loaded = _Loaded(self._path, *self._wanted)
        return self._loaded

    def capabilities(self) -> Capabilities:
        loaded = self._load()
        return Capabilities(
            choices=True,
            prefix=True,
            seed=True,
            chat_template=loaded.template,
            prompt=loaded.recorded_prompt,
            concurrency=_SLOTS,
        )

    def answer(self, request: Request, cancelled: threading.Event, tell: Callable[[str], object] | None) -> Completion:
        try:
            loaded = self._load()
            started = time.monotonic()
            completion = (
                loaded.choose(request, cancelled) if request.choices else loaded.write(request, cancelled, tell)
            )
            return completion.model_copy(
                update={"model": self._path.stem, "latency_s": round(time.monotonic() - started, 4)}
            )
        except (OSError, RuntimeError, MemoryError) as error:
            raise BackendError(f"llama.cpp failed: {error}") from error

    def close(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded:
            self.thread.submit(loaded.free).result()
        self.thread.shutdown()


class _Loaded:
    """A model, its context, and the arithmetic on both."""

    def __init__(self, path: Path, n_ctx: int | None, n_threads: int | None) -> None:
        try:
            import llama_cpp
        except ImportError as error:
            raise MissingExtraError("llama_cpp", "llama-cpp") from error
        import numpy
        from psutil import virtual_memory

        self._lib: Any = llama_cpp  # its functions are made at run time and have no types
        self._np = numpy
        said = _quieten(llama_cpp)
        weights, free = path.stat().st_size, virtual_memory().available
        _check_memory(path, weights, 0, free)
        params = llama_cpp.llama_model_default_params()
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise BackendError(f"{path} could not be loaded: {_last(said) or 'damaged, or of an unknown kind'}")
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._n_vocab = llama_cpp.llama_vocab_n_tokens(self._vocab)
        trained = llama_cpp.llama_model_n_ctx_train(self._model)
        self.n_ctx = n_ctx or min(trained or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
        _check_memory(path, weights, self._cache_bytes(), free)
        self._context = self._make_context(n_threads)
        if not self._context:
            raise BackendError(f"{path}: no memory for a context of {self.n_ctx} tokens; {_last(said)}")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(_CHUNK, 0, 1)
        self._slots = [_Slot(n) for n in range(_SLOTS)]
        self._clock = 0
        template = llama_cpp.llama_model_chat_template(self._model, None)
        self.template: str | None = template.decode("utf-8", "replace") if template else None
        self.recorded_prompt = self._recorded_prompt(path)

    def _cache_bytes(self) -> int:
        """What the cache of all sequences takes: keys and values of 16 bits."""
        lib, model = self._lib, self._model
        head = lib.llama_model_n_embd(model) // max(1, lib.llama_model_n_head(model))
        per_token: int = lib.llama_model_n_layer(model) * lib.llama_model_n_head_kv(model) * head * 2 * 2
        return per_token * self.n_ctx * _SLOTS

    def _make_context(self, n_threads: int | None) -> Any:
        params = self._lib.llama_context_default_params()
        params.n_ctx = self.n_ctx * _SLOTS
        params.n_seq_max = _SLOTS
        params.n_batch = params.n_ubatch = _CHUNK
        params.kv_unified = False  # each sequence has cells of its own
        params.swa_full = True  # a prefix can be kept under sliding windows too
        threads = n_threads or _cores()
        params.n_threads = params.n_threads_batch = threads
        return self._lib.llama_init_from_model(self._model, params)

    def _recorded_prompt(self, path: Path) -> str | None:
        buffer = create_string_buffer(256)
        if self._lib.llama_model_meta_val_str(self._model, b"rmr1.prompt", buffer, len(buffer)) > 0:
            return buffer.value.decode("utf-8", "replace")
        return recorded_prompt(path.parent)

    def free(self) -> None:
        self._lib.llama_batch_free(self._batch)
        self._lib.llama_free(self._context)
        self._lib.llama_model_free(self._model)

    # --- text and tokens ---

    def _rendered(self, request: Request) -> str:
        if self.template is None:
            raise BackendError("the file holds no chat template: a judge needs a chat model, not a base model")
        bos, eos = (self._name(f(self._vocab)) for f in (self._lib.llama_vocab_bos, self._lib.llama_vocab_eos))
        return render_chat(self.template, request.messages, bos=bos, eos=eos)

    def _name(self, token: int) -> str:
        return "" if token < 0 else self._piece(token).decode("utf-8", "replace")

    def _tokens(self, text: str) -> list[int]:
        """The tokens of rendered text; a BOS that the template wrote is not added again."""
        raw = text.encode("utf-8", "replace")
        bos = self._name(self._lib.llama_vocab_bos(self._vocab))
        add_special = not (bos and text.startswith(bos))
        room = len(raw) + 8
        tokens = (self._lib.llama_token * room)()
        n = self._lib.llama_tokenize(self._vocab, raw, len(raw), tokens, room, add_special, True)
        if n < 0:
            raise BackendError(f"the text has more tokens than bytes ({-n} tokens, {len(raw)} bytes)")
        return list(tokens[:n])

    def _piece(self, token: int) -> bytes:
        buffer = create_string_buffer(256)
        n = self._lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        return bytes(buffer.raw[: max(n, 0)])

    # --- answering ---

    def write(self, request: Request, cancelled: threading.Event, tell: Callable[[str], object] | None) -> Completion:
        rendered = self._rendered(request)
        tokens = self._tokens(rendered + request.prefix)
        room = self.n_ctx - RESERVE - len(tokens)
        if room < 1:
            return Completion(text="", stop="too_long")
        slot, cached = self._slot_for(tokens, exact=True)
        self._feed(slot, tokens, cancelled)
        scanner = StopScanner(request.sampling.stop, opens_thought(rendered) + request.prefix)
        text, stop = self._sample(
            slot, request.sampling, min(room, request.sampling.max_tokens), scanner, cancelled, tell
        )
        usage = Usage(
            prompt_tokens=len(tokens), completion_tokens=len(slot.tokens) - len(tokens) + 1, cached_tokens=cached
        )
        return Completion.model_validate({"text": text, "stop": stop, "usage": usage})

    def _sample(
        self,
        slot: _Slot,
        sampling: Sampling,
        room: int,
        scanner: StopScanner,
        cancelled: threading.Event,
        tell: Callable[[str], object] | None,
    ) -> tuple[str, str]:
        """Write up to `room` tokens after what the slot holds."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pieces: list[str] = []
        chain = self._chain(sampling)
        try:
            for n in range(1, room + 1):
                token = self._lib.llama_sampler_sample(chain, self._context, -1)
                if self._lib.llama_vocab_is_eog(self._vocab, token):
                    return "".join(pieces) + decoder.decode(b"", final=True), "stop"
                piece = decoder.decode(self._piece(token))
                pieces.append(piece)
                if tell and piece:
                    tell(piece)
                if (ended := scanner.feed(piece)) is not None:
                    return ended, "stop"
                if n < room:
                    self._feed(slot, [*slot.tokens, token], cancelled)
            return "".join(pieces) + decoder.decode(b"", final=True), "length"
        finally:
            self._lib.llama_sampler_free(chain)

    def _chain(self, sampling: Sampling) -> Any:
        lib = self._lib
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        if sampling.temperature == 0:
            lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_greedy())
            return chain
        if sampling.temperature is not None:
            lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_temp(sampling.temperature))
        if sampling.top_p is not None:
            lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_p(sampling.top_p, 1))
        seed = lib.LLAMA_DEFAULT_SEED if sampling.seed is None else sampling.seed % 2**32
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_dist(seed))
        return chain

    def choose(self, request: Request, cancelled: threading.Event) -> Completion:
        """Log-probabilities of whole continuations, as `common_prefix` says."""
        begin = self._rendered(request) + request.prefix
        wholes = [self._tokens(begin + choice) for choice in request.choices]
        if max(map(len, wholes)) > self.n_ctx:
            return Completion(text="", stop="too_long")
        shared = common_prefix([*wholes, self._tokens(begin)])
        slot, cached = self._slot_for(wholes[0][: shared - 1], exact=False)
        scores = []
        for whole in wholes:
            self._truncate(slot, min(shared - 1, len(slot.tokens)))
            rows = self._feed(slot, whole, cancelled, logits_from=shared - 1)
            scores.append(sum(float(row[token]) for row, token in zip(rows, whole[shared:], strict=False)))
        self._truncate(slot, shared - 1)
        read = shared + sum(len(whole) - shared for whole in wholes)
        return Completion(text="", choice_logprobs=tuple(scores), usage=Usage(prompt_tokens=read, cached_tokens=cached))

    # --- the cache ---

    def _slot_for(self, tokens: Sequence[int], *, exact: bool) -> tuple[_Slot, int]:
        """A slot that holds a prefix of the tokens and nothing else, and that prefix's length.

        `exact` leaves only what was read as a fresh engine would read it: whole chunks of a prompt. The
        slot whose prompt this one goes on from is taken, else the one used longest ago.
        """
        self._clock += 1
        shared = {slot.sequence: common_prefix([slot.tokens, tokens]) for slot in self._slots}
        slot = max(self._slots, key=lambda s: (0 < s.prompt <= shared[s.sequence], -s.used))
        keep = shared[slot.sequence]
        if exact:
            keep = min(keep, slot.prompt, len(tokens) - 1) // _CHUNK * _CHUNK
        self._truncate(slot, keep)
        slot.prompt = len(tokens) if exact else min(slot.prompt, keep)
        slot.used = self._clock
        return slot, len(slot.tokens)

    def _truncate(self, slot: _Slot, length: int) -> None:
        """Forget what a slot holds beyond a length; all of it where the memory cannot forget a part."""
        if length >= len(slot.tokens):
            return
        if length <= 0 or not self._lib.llama_memory_seq_rm(self._memory, slot.sequence, length, -1):
            self._lib.llama_memory_seq_rm(self._memory, slot.sequence, -1, -1)
            length = 0
        del slot.tokens[length:]

    def _feed(
        self, slot: _Slot, tokens: Sequence[int], cancelled: threading.Event, logits_from: int | None = None
    ) -> list[Any]:
        """Read the tokens that the slot does not hold yet.

        The last one always gets logits. With `logits_from`, the log-probabilities after every token
        from that position on are returned.
        """
        rows: list[Any] = []
        first = len(tokens) - 1 if logits_from is None else logits_from
        while len(slot.tokens) < len(tokens):
            if cancelled.is_set():
                raise _Cancelled
            start = len(slot.tokens)
            chunk = tokens[start : start + _CHUNK - start % _CHUNK]
            wanted = self._fill(chunk, start, slot.sequence, first)
            self._decode(slot, cancelled)
            slot.tokens.extend(chunk)
            if logits_from is not None:
                rows += [self._log_softmax(n) for n in wanted]
        return rows

    def _fill(self, chunk: Sequence[int], start: int, sequence: int, first: int) -> list[int]:
        """Put tokens into the batch; returns the places in it that get logits."""
        batch = self._batch
        batch.n_tokens = len(chunk)
        wanted = []
        for n, token in enumerate(chunk):
            batch.token[n] = token
            batch.pos[n] = start + n
            batch.n_seq_id[n] = 1
            batch.seq_id[n][0] = sequence
            batch.logits[n] = start + n >= first
            if start + n >= first:
                wanted.append(n)
        return wanted

    def _decode(self, slot: _Slot, cancelled: threading.Event) -> None:
        # asking Python between the layers costs too much for single tokens, and they are quick
        stop = _Abort(lambda _: cancelled.is_set()) if self._batch.n_tokens > 1 else _Abort()
        self._lib.llama_set_abort_callback(self._context, stop, None)
        result = self._lib.llama_decode(self._context, self._batch)
        if result == 0:
            return
        self._lib.llama_memory_seq_rm(self._memory, slot.sequence, -1, -1)
        slot.tokens.clear()
        if cancelled.is_set():
            raise _Cancelled
        raise BackendError(f"llama.cpp could not read a batch (llama_decode returned {result})")

    def _log_softmax(self, n: int) -> Any:
        np = self._np
        logits = np.ctypeslib.as_array(self._lib.llama_get_logits_ith(self._context, n), (self._n_vocab,))
        shifted = logits.astype(np.float64) - logits.max()
        return shifted - np.log(np.exp(shifted).sum())


_Abort = CFUNCTYPE(c_bool, c_void_p)
_LogLine = CFUNCTYPE(None, c_int, c_char_p, c_void_p)
_kept_alive: list[object] = []  # llama.cpp holds these for as long as the process lives


def _quieten(llama_cpp: Any) -> deque[str]:
    """Send llama.cpp's log to ours; returns where its latest errors gather."""
    said: deque[str] = deque(maxlen=4)

    def line(level: int, text: bytes, _: object) -> None:
        words = text.decode("utf-8", "replace").strip()
        _log.debug("%s", words)
        if level == 4:  # GGML_LOG_LEVEL_ERROR
            said.append(words)

    callback = _LogLine(line)
    _kept_alive.append(callback)
    llama_cpp.llama_log_set(callback, None)
    return said


def _last(said: Sequence[str]) -> str:
    return said[0] if said else ""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
