"""Model and context of llama.cpp's low-level API, used by one thread at a time.

Every sequence has cells of its own (a "stream" in llama.cpp's words), so that what it holds lies at the
same place whatever the others do. A prefix is shared by copying a sequence and cutting the copy.
"""

import logging
import os
from collections import deque
from collections.abc import Iterable, Sequence
from ctypes import CDLL, CFUNCTYPE, c_char_p, c_float, c_int, c_void_p, cast, create_string_buffer
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from rmr1_sdk.backends.base import recorded_prompt
from rmr1_sdk.backends.llama_library import load_library
from rmr1_sdk.errors import BackendError, ConfigError
from rmr1_sdk.types import Sampling

__all__ = ["CHUNK", "Context", "Options", "quieten"]

_log = logging.getLogger(__name__)

DEFAULT_CONTEXT = 8192
"""Tokens of context where the model was trained with more and nothing else is asked for."""
DEFAULT_PARALLEL = 8
CHUNK = 512
"""Tokens that are read in one call."""


@dataclass(frozen=True)
class Options:
    """Options for loading a file; `None` has the meaning given in LlamaCpp."""

    path: Path
    n_ctx: int | None = None
    n_threads: int | None = None
    n_parallel: int | None = None
    n_gpu_layers: int | None = None
    chat_template: str | None = None
    adapters: tuple[tuple[Path, float], ...] = ()


class Context:
    """A loaded model with `n_parallel` sequences of `n_ctx` tokens each.

    Raises BackendError when the file cannot be loaded or does not fit into memory.
    """

    def __init__(self, options: Options) -> None:
        llama_cpp = load_library()
        import numpy

        self._lib: Any = llama_cpp  # its functions are made at run time and have no types
        self._np = numpy
        self._said = quieten(llama_cpp)
        self._path = options.path
        self._model: Any = None
        self._context: Any = None
        self._adapters: list[Any] = []
        self._flag = create_string_buffer(b"0")
        self._free_memory = _free_memory()
        try:
            self._load(options)
        except BaseException:
            self.free()
            raise
        template = llama_cpp.llama_model_chat_template(self._model, None)
        self.template = options.chat_template or (template.decode("utf-8", "replace") if template else None)
        self.prompt = self._recorded_prompt()
        self.can_fork = not (
            llama_cpp.llama_model_is_recurrent(self._model) or llama_cpp.llama_model_is_hybrid(self._model)
        )
        self.bos, self.eos = (
            self._name(f(self._vocab)) for f in (llama_cpp.llama_vocab_bos, llama_cpp.llama_vocab_eos)
        )

    def _load(self, options: Options) -> None:
        lib = self._lib
        weights = self._path.stat().st_size
        self._check_memory(weights, 0)
        params = lib.llama_model_default_params()
        if options.n_gpu_layers is not None:
            if options.n_gpu_layers and not lib.llama_supports_gpu_offload():
                raise ConfigError("n_gpu_layers: this build of llama-cpp-python has no support for a GPU")
            params.n_gpu_layers = options.n_gpu_layers
        self._model = lib.llama_model_load_from_file(str(self._path).encode(), params)
        if not self._model:
            raise BackendError(f"{self._path} could not be loaded: {self._reason('damaged, or of an unknown kind')}")
        self._vocab = lib.llama_model_get_vocab(self._model)
        self._n_vocab = lib.llama_vocab_n_tokens(self._vocab)
        trained = lib.llama_model_n_ctx_train(self._model)
        self.n_ctx = options.n_ctx or min(trained or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
        each = self._cache_bytes()
        # by itself the cache takes at most half of what the weights leave free
        fit = max(1, int((self._free_memory - weights) / 2 // each)) if each else DEFAULT_PARALLEL
        self.n_parallel = options.n_parallel or min(DEFAULT_PARALLEL, fit)
        self._check_memory(weights, each * self.n_parallel)
        self._context = self._make_context(options.n_threads)
        if not self._context:
            raise BackendError(f"{self._path}: no memory for {self.n_parallel} x {self.n_ctx} tokens; {self._reason()}")
        self._memory = lib.llama_get_memory(self._context)
        self._batch = lib.llama_batch_init(max(CHUNK, self.n_parallel), 0, 1)
        # llama.cpp asks this between the nodes of its graph, thousands of times a second. So it is no Python
        # function, which would wait for the interpreter's lock, but C's own atoi, with a "0" or a "1" to read.
        self._flag_is_set = cast(CDLL("msvcrt" if os.name == "nt" else None).atoi, lib.ggml_abort_callback)
        lib.llama_set_abort_callback(self._context, self._flag_is_set, cast(self._flag, c_void_p))
        self._adapt(options.adapters)

    def _check_memory(self, weights: int, cache: int) -> None:
        """Weights and cache must fit into free memory: else the system kills the process, or swaps for hours."""
        if weights + cache > self._free_memory:
            sizes = f"{weights / 1e9:.1f} GB of weights"
            if cache:
                sizes += f" and {cache / 1e9:.1f} GB of cache"
            advice = "take a smaller file or quantisation, or give a smaller n_ctx or n_parallel"
            raise BackendError(
                f"{self._path} needs {sizes}, and {self._free_memory / 1e9:.1f} GB of memory are free; {advice}"
            )

    def _cache_bytes(self) -> int:
        """Memory of one sequence's KV cache in bytes, with 16-bit keys and values."""
        lib, model = self._lib, self._model
        head = lib.llama_model_n_embd(model) // max(1, lib.llama_model_n_head(model))
        per_token: int = lib.llama_model_n_layer(model) * lib.llama_model_n_head_kv(model) * head * 2 * 2
        return per_token * self.n_ctx

    def _make_context(self, n_threads: int | None) -> Any:
        params = self._lib.llama_context_default_params()
        params.n_ctx = self.n_ctx * self.n_parallel
        params.n_seq_max = self.n_parallel
        params.n_batch = params.n_ubatch = max(CHUNK, self.n_parallel)
        params.kv_unified = False  # each sequence has cells of its own
        params.swa_full = True  # a prefix can be kept under sliding windows too
        params.n_threads = params.n_threads_batch = n_threads or _threads()
        return self._lib.llama_init_from_model(self._model, params)

    def _adapt(self, adapters: Sequence[tuple[Path, float]]) -> None:
        lib = self._lib
        for path, _ in adapters:
            adapter = lib.llama_adapter_lora_init(self._model, str(path).encode())
            if not adapter:
                raise BackendError(f"adapter {path} does not fit {self._path}: {self._reason('not a LoRA adapter')}")
            self._adapters.append(adapter)
        if adapters:
            scales = (c_float * len(adapters))(*(scale for _, scale in adapters))
            pointers = (lib.llama_adapter_lora_p_ctypes * len(adapters))(*self._adapters)
            if lib.llama_set_adapters_lora(self._context, pointers, len(adapters), scales):
                raise BackendError(f"{self._path}: its adapters could not be set; {self._reason()}")

    def _reason(self, otherwise: str = "") -> str:
        return self._said[0] if self._said else otherwise

    def _recorded_prompt(self) -> str | None:
        buffer = create_string_buffer(256)
        if self._lib.llama_model_meta_val_str(self._model, b"rmr1.prompt", buffer, len(buffer)) > 0:
            return buffer.value.decode("utf-8", "replace")
        return recorded_prompt(self._path.parent)

    def free(self) -> None:
        """Give the memory back; nothing else may be called afterwards."""
        if self._context:
            self._lib.llama_batch_free(self._batch)
            self._lib.llama_free(self._context)
        if self._model:
            self._lib.llama_model_free(self._model)  # with its adapters
        self._context = self._model = None

    def _name(self, token: int) -> str:
        return "" if token < 0 else self.piece(token).decode("utf-8", "replace")

    def tokens(self, text: str) -> list[int]:
        """The tokens of rendered text; a BOS that the template wrote is not added again."""
        raw = text.encode("utf-8", "replace")
        add_special = not (self.bos and text.startswith(self.bos))
        room = len(raw) + 8
        tokens = (self._lib.llama_token * room)()
        n = self._lib.llama_tokenize(self._vocab, raw, len(raw), tokens, room, add_special, True)
        if n < 0:
            raise BackendError(f"the text has more tokens than bytes ({-n} tokens, {len(raw)} bytes)")
        return list(tokens[:n])

    def piece(self, token: int) -> bytes:
        """The bytes of a token."""
        buffer = create_string_buffer(256)
        n = self._lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        return bytes(buffer.raw[: max(n, 0)])

    def ends(self, token: int) -> bool:
        """True where this token ends the model's turn."""
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    def cut(self, sequence: int, length: int) -> int:
        """Forget what a sequence holds beyond a length. Returns what is left of it: all, or nothing."""
        if length > 0 and self._lib.llama_memory_seq_rm(self._memory, sequence, length, -1):
            return length
        self._lib.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return 0

    def copy(self, source: int, target: int) -> None:
        """Make a sequence hold what another holds."""
        self._lib.llama_memory_seq_rm(self._memory, target, -1, -1)
        self._lib.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def read(self, tokens: Sequence[int], start: int, sequence: int, *, every: bool = False) -> bool:
        """Read tokens into one sequence, at most CHUNK; logits of the last, or of every one.

        False where `interrupt` ended it: the sequence is then to be cut to where it was.
        """
        last = len(tokens) - 1
        return self._decode((token, start + n, sequence, every or n == last) for n, token in enumerate(tokens))

    def step(self, rows: Iterable[tuple[int, int, int]]) -> bool:
        """Read one token in each of several sequences, as (token, position, sequence) in their order."""
        return self._decode((*row, True) for row in rows)

    def _decode(self, rows: Iterable[tuple[int, int, int, bool]]) -> bool:
        batch = self._batch
        n = 0
        for token, position, sequence, wanted in rows:
            batch.token[n], batch.pos[n], batch.logits[n] = token, position, wanted
            batch.n_seq_id[n], batch.seq_id[n][0] = 1, sequence
            n += 1
        batch.n_tokens = n
        result = self._lib.llama_decode(self._context, batch)
        if result not in (0, 2):
            raise BackendError(f"llama.cpp could not read a batch (llama_decode returned {result}) {self._reason()}")
        return bool(result == 0)

    def interrupt(self, now: bool) -> None:
        """Make the call that runs, and those after it, end at their next layer; or let them run again.

        May be called from any thread.
        """
        self._flag.value = b"1" if now else b"0"

    def logits(self, row: int) -> Any:
        """Logits of a row of the last batch: float32, of the size of the vocabulary, valid until the next batch."""
        return self._np.ctypeslib.as_array(self._lib.llama_get_logits_ith(self._context, row), (self._n_vocab,))

    def log_softmax(self, logits: Any) -> Any:
        """Log-probabilities of logits, in 64 bits."""
        np = self._np
        shifted = logits.astype(np.float64) - logits.max()
        return shifted - np.log(np.exp(shifted).sum())

    def sampler(self, sampling: Sampling) -> "Sampler":
        """Draws of one request, which depend on its seed alone."""
        return Sampler(self._np, sampling)


_FAR = 30.0
"""exp(-30): a token this much less likely than the first is never drawn. All of them together stay below 1e-7."""


class Sampler:
    """Temperature, top_p, and a draw with a generator of its own; temperature 0 takes the most likely token.

    llama.cpp's own samplers look at every token of the vocabulary, and for top_p sort it: beside a small model
    that shows.
    """

    def __init__(self, np: Any, sampling: Sampling) -> None:
        self._np = np
        self._temperature = 1.0 if sampling.temperature is None else sampling.temperature
        self._top_p = sampling.top_p
        self._random = Random(sampling.seed)  # noqa: S311  # draws, not secrets

    def draw(self, logits: Any) -> int:
        """The next token."""
        np = self._np
        if self._temperature == 0:
            return int(logits.argmax())
        top = logits.max()
        tokens = np.flatnonzero(logits >= top - _FAR * self._temperature)
        weights = np.exp((logits[tokens].astype(np.float64) - top) / self._temperature)
        if self._top_p is not None:
            order = np.argsort(-weights, kind="stable")
            sums = weights[order].cumsum()
            order = order[: np.searchsorted(sums, self._top_p * sums[-1]) + 1]
            tokens, weights = tokens[order], weights[order]
        sums = weights.cumsum()
        place = np.searchsorted(sums, self._random.random() * sums[-1], side="right")
        return int(tokens[min(place, len(tokens) - 1)])


_LogLine = CFUNCTYPE(None, c_int, c_char_p, c_void_p)
_kept_alive: list[object] = []  # llama.cpp holds these for as long as the process lives


def quieten(llama_cpp: Any) -> deque[str]:
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


def _free_memory() -> int:
    from psutil import virtual_memory

    return int(virtual_memory().available)


def _threads() -> int:
    """Number of threads: OMP_NUM_THREADS, else the cores available to this process.

    Ray sets it in a replica, to what it set aside there: threads of several backends on the same cores wait for each
    other and get nothing done.
    """
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if said.isdecimal() and int(said) > 0:
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
