"""A checkpoint in transformers, in this process: the reference backend, plain rather than fast.

Requests that come within a few milliseconds of each other run as one left-padded batch, to its end. Every
row draws from a generator of its own, so its seed decides whatever stands beside it.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rmr1_sdk.backends.base import RESERVE, Capabilities, PerProcess, StopScanner, common_prefix
from rmr1_sdk.backends.checkpoint import ChatTokenizer, Checkpoint
from rmr1_sdk.errors import BackendError, ConfigError, MissingExtraError, RMR1Error
from rmr1_sdk.parsing.tags import opens_thought
from rmr1_sdk.types import Completion, Request, Sampling, Usage

__all__ = ["InMemory", "Transformers"]

_WINDOW_S = 0.005


class Transformers:
    """A checkpoint as a backend.

    Args:
        model: its folder, or its name on the Hugging Face hub.
        device: as torch names it; None is a GPU where there is one.
        dtype: as torch names it; "auto" is the checkpoint's own.
        adapter: a PEFT adapter's folder or name.
        batch_size: the most requests in one batch.

    Raises ConfigError when a folder is no checkpoint, and MissingExtraError. The model is loaded on first
    use; that raises BackendError. Pickles as its arguments.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | None = None,
        dtype: str = "auto",
        adapter: str | None = None,
        batch_size: int = 16,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be more than 0, not {batch_size}")
        self._checkpoint = Checkpoint(str(model), dtype, adapter)
        self.model = self._checkpoint.name
        self._engine = PerProcess(partial(_Engine, partial(_load, self._checkpoint, device), self.model, batch_size))
        self._batch_size = batch_size
        self._identity: str | None = None

    @property
    def identity(self) -> str:
        """Name, fingerprint of the files or commit on the hub, dtype and adapter. For the hub, loads the model."""
        if self._identity is None:
            digest = self._checkpoint.digest or self._engine.get().call(lambda _: self._checkpoint.commit)
            self._identity = f"transformers:{self._checkpoint.identity(digest)}"
        return self._identity

    @property
    def capabilities(self) -> Capabilities:
        """Capabilities of this model. Loads it."""
        template, prompt = self._engine.get().call(lambda loaded: (loaded.speech.template, loaded.recorded_prompt))
        return Capabilities(
            choices=True,
            prefix=True,
            seed=True,
            streaming=True,
            chat_template=template,
            prompt=prompt,
            concurrency=self._batch_size,
        )

    async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        """Answer one request. Cancelling stops it at the next token."""
        return await self._engine.get().generate(request, on_text)

    async def aclose(self) -> None:
        """Free the model. The next use loads it again."""
        if engine := self._engine.take():
            await asyncio.to_thread(engine.close)


class InMemory:
    """A model that others hold in memory, and may change between judgments, as a backend: one in training, for one.

    It tells no probabilities at the verdict, which would cost as much as a second reading of every prompt. The model
    is used as it is: whether it drops out is its owner's business.

    Args:
        model: a causal language model of transformers, with or without adapters.
        tokenizer: with its chat template.
        name: for people.
        batch_size: the most requests in one batch.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str, batch_size: int = 16) -> None:
        self.model = name
        self.identity = f"memory:{name}:{id(model)}"  # its weights may change: no store knows it again
        self.capabilities = Capabilities(
            prefix=True, seed=True, streaming=True, chat_template=tokenizer.chat_template, concurrency=batch_size
        )
        self._engine = _Engine(lambda: _Loaded(model, tokenizer), name, batch_size)

    async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        """Answer one request. Cancelling stops it at the next token."""
        return await self._engine.generate(request, on_text)

    async def aclose(self) -> None:
        """End its thread. It answers nothing more."""
        await asyncio.to_thread(self._engine.close)


def connect(rest: str, **options: Any) -> Transformers:
    """The backend of "transformers:MODEL"."""
    return Transformers(rest, **options)


@dataclass
class _Job:
    """A request that waits for its completion."""

    request: Request
    tell: Callable[[str], object] | None
    future: "Future[Completion]" = field(default_factory=Future)
    cancelled: threading.Event = field(default_factory=threading.Event)


class _Engine:
    """The thread that works with the model. `load` is called there once."""

    def __init__(self, load: Callable[[], "_Loaded"], name: str, batch_size: int) -> None:
        self._load_model = load
        self._name = name
        self._batch_size = batch_size
        self._queue: queue.SimpleQueue[_Job | Callable[[], object] | None] = queue.SimpleQueue()
        self._loaded: _Loaded | None = None
        self._thread = threading.Thread(target=self._run, name="rmr1-transformers", daemon=True)
        self._thread.start()

    async def generate(self, request: Request, on_text: Callable[[str], None] | None) -> Completion:
        loop = asyncio.get_running_loop()
        tell = None if on_text is None else lambda text: loop.call_soon_threadsafe(on_text, text)
        job = _Job(request, tell)
        self._queue.put(job)
        try:
            return await asyncio.wrap_future(job.future)
        finally:
            job.cancelled.set()

    def call(self, ask: Callable[["_Loaded"], Any]) -> Any:
        """Run `ask` with the loaded model, on the model's thread."""
        answer: Future[Any] = Future()

        def answered() -> None:
            try:
                answer.set_result(ask(self._load()))
            except Exception as error:  # noqa: BLE001  # it belongs to the caller, who waits
                answer.set_exception(error)

        self._queue.put(answered)
        while not answer.done() and self._thread.is_alive():
            wait([answer], timeout=1.0)
        if not answer.done():
            raise BackendError("the backend was closed while it was asked")
        return answer.result()

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _load(self) -> "_Loaded":
        if self._loaded is None:
            self._loaded = self._load_model()
        return self._loaded

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            if not isinstance(first, _Job):
                first()
                continue
            jobs, ends = self._gather(first)
            self._answer([job for job in jobs if job.request.choices], _Loaded.choose)
            self._answer([job for job in jobs if not job.request.choices], _Loaded.write)
            if ends:
                break
        self._loaded = None

    def _gather(self, first: _Job) -> tuple[list[_Job], bool]:
        """Collect the requests that arrive within the window, and whether to close after them."""
        jobs, until = [first], time.monotonic() + _WINDOW_S
        while len(jobs) < self._batch_size:
            try:
                item = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if item is None:
                return jobs, True
            if isinstance(item, _Job):
                jobs.append(item)
            else:
                item()
        return jobs, False

    def _answer(self, jobs: list[_Job], how: "Callable[[_Loaded, Sequence[_Job]], list[Completion]]") -> None:
        waiting = [job for job in jobs if not job.cancelled.is_set() and job.future.set_running_or_notify_cancel()]
        if not waiting:
            return
        started = time.monotonic()
        try:
            completions = how(self._load(), waiting)
        except Exception as error:  # noqa: BLE001  # whatever it is, it belongs to those who wait
            failure = error if isinstance(error, RMR1Error) else BackendError(f"transformers failed: {error}")
            failure.__cause__ = None if failure is error else error
            for job in waiting:
                job.future.set_exception(failure)
            return
        latency = round(time.monotonic() - started, 4)
        for job, completion in zip(waiting, completions, strict=True):
            job.future.set_result(completion.model_copy(update={"model": self._name, "latency_s": latency}))


def _load(checkpoint: Checkpoint, device: str | None) -> "_Loaded":
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("transformers", "transformers") from error
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint.source)
        model: Any = AutoModelForCausalLM.from_pretrained(checkpoint.source, dtype=checkpoint.dtype)
        if checkpoint.adapter:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, checkpoint.adapter)
        return _Loaded(model.to(device).eval(), tokenizer, checkpoint.prompt)
    except (OSError, ValueError, RuntimeError) as error:
        raise BackendError(f"{checkpoint.model} could not be loaded: {error}") from error


class _Loaded:
    """A model, its tokeniser, and the arithmetic on both."""

    def __init__(self, model: Any, tokenizer: Any, prompt: str | None = None) -> None:
        import torch

        self._torch: Any = torch
        self._model = model
        self._tokenizer = tokenizer
        self._device = model.device
        self.speech = ChatTokenizer(tokenizer)
        own = model.generation_config
        ends = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
        self._ends = {*ends, tokenizer.eos_token_id} - {None}
        self._pad = tokenizer.pad_token_id or 0
        self._own_temperature, self._own_top_p = own.temperature or 1.0, own.top_p or 1.0
        self.n_ctx: int = getattr(model.config, "max_position_embeddings", 2**31)
        self.recorded_prompt = prompt

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        """Token ids and attention mask, both [rows, longest], padded on the left."""
        longest = max(map(len, rows))
        ids = [[self._pad] * (longest - len(row)) + list(row) for row in rows]
        mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        return self._torch.tensor(ids, device=self._device), self._torch.tensor(mask, device=self._device)

    def write(self, jobs: Sequence[_Job]) -> list[Completion]:
        rows = [_Row(job, self) for job in jobs]
        live = [row for row in rows if row.stop is None]
        if live:
            with self._torch.inference_mode():
                self._decode(live)
        return [row.completion() for row in rows]

    def _decode(self, rows: Sequence["_Row"]) -> None:
        """Write all rows at once until the last has ended; those that have ended are fed padding."""
        torch = self._torch
        ids, mask = self._padded([row.prompt for row in rows])
        past = None
        while any(row.stop is None for row in rows):
            positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            out = self._model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=past,
                use_cache=True,
                logits_to_keep=1,
            )
            past = out.past_key_values
            logits = out.logits[:, -1].float().cpu()
            tokens = [
                self._pad if row.stop else row.add(self.draw(logits[n], row), self._ends) for n, row in enumerate(rows)
            ]
            ids = torch.tensor(tokens, device=self._device)[:, None]
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)

    def draw(self, logits: Any, row: "_Row") -> int:
        """A token from one row's logits [vocabulary]."""
        torch, sampling = self._torch, row.sampling
        temperature = self._own_temperature if sampling.temperature is None else sampling.temperature
        if temperature == 0:
            return int(logits.argmax())
        ordered, tokens = torch.softmax(logits / temperature, -1).sort(descending=True)
        top_p = self._own_top_p if sampling.top_p is None else sampling.top_p
        ordered[ordered.cumsum(-1) - ordered >= top_p] = 0.0
        return int(tokens[torch.multinomial(ordered, 1, generator=row.generator)])

    def choose(self, jobs: Sequence[_Job]) -> list[Completion]:
        """Log-probabilities of whole continuations, as `common_prefix` says."""
        completions = []
        for job in jobs:
            begin = self.speech.rendered(job.request.messages) + job.request.prefix
            wholes = [self.speech.tokens(begin + choice) for choice in job.request.choices]
            if max(map(len, wholes)) > self.n_ctx:
                completions.append(Completion(text="", stop="too_long"))
                continue
            shared = common_prefix([*wholes, self.speech.tokens(begin)])
            scores = tuple(self._scores(wholes, shared))
            read = shared + sum(len(whole) - shared for whole in wholes)
            completions.append(Completion(text="", choice_logprobs=scores, usage=Usage(prompt_tokens=read)))
        return completions

    def _scores(self, wholes: Sequence[Sequence[int]], shared: int) -> list[float]:
        torch = self._torch
        ids, mask = self._padded(wholes)
        keep = max(map(len, wholes)) - shared + 1
        with torch.inference_mode():
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            out = self._model(input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=keep)
            logs = torch.log_softmax(out.logits[:, -keep:].double().cpu(), -1)
        scores = []
        for row, whole in enumerate(wholes):
            tail = whole[shared:]
            at = logs[row, keep - len(tail) - 1 : keep - 1]
            scores.append(float(sum(at[n, token] for n, token in enumerate(tail))))
        return scores

    def decoder(self) -> Callable[[int], str]:
        """Tokens one by one into text; a character's bytes are held back until it is whole."""
        tokens: list[int] = []
        begun = told = 0

        def feed(token: int) -> str:
            nonlocal begun, told
            tokens.append(token)
            before = self._tokenizer.decode(tokens[begun:told], skip_special_tokens=False)
            text: str = self._tokenizer.decode(tokens[begun:], skip_special_tokens=False)
            if text.endswith("\ufffd") and len(tokens) - told < 8:
                return ""
            begun, told = told, len(tokens)
            return text[len(before) :]

        return feed

    def generator(self, sampling: Sampling) -> Any:
        generator = self._torch.Generator()
        if sampling.seed is None:
            generator.seed()
        else:
            generator.manual_seed(sampling.seed)
        return generator


class _Row:
    """One request of a batch, as far as it is written."""

    def __init__(self, job: _Job, loaded: _Loaded) -> None:
        rendered = loaded.speech.rendered(job.request.messages)
        self.sampling = job.request.sampling
        self.prompt = loaded.speech.tokens(rendered + job.request.prefix)
        self.generator = loaded.generator(self.sampling)
        self.stop: str | None = None
        self._job = job
        self._text = ""
        self._written = 0
        self._decode = loaded.decoder()
        self._room = min(self.sampling.max_tokens, loaded.n_ctx - RESERVE - len(self.prompt))
        self._scanner = StopScanner(self.sampling.stop, opens_thought(rendered) + job.request.prefix)
        if self._room < 1:
            self.stop = "too_long"

    def add(self, token: int, ends: set[int]) -> int:
        """Take the next token, and say when the row has ended."""
        if self._job.cancelled.is_set():
            self.stop = "length"
            return token
        self._written += 1
        if token in ends:
            self.stop = "stop"
            return token
        piece = self._decode(token)
        before = len(self._text)
        self._text += piece
        if (ended := self._scanner.feed(piece)) is not None:
            self._text, self.stop = ended, "stop"
        elif self._written >= self._room:
            self.stop = "length"
        if self._job.tell and len(self._text) > before:
            self._job.tell(self._text[before:])
        return token

    def completion(self) -> Completion:
        if self.stop == "too_long":
            return Completion(text="", stop="too_long")
        usage = Usage(prompt_tokens=len(self.prompt), completion_tokens=self._written)
        return Completion.model_validate({"text": self._text, "stop": self.stop, "usage": usage})
