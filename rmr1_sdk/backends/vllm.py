"""vLLM in this process: continuous batching over a cache of prefixes, through AsyncLLM.

Conversations are rendered and tokenised here and go to the engine as token ids, so that it reads what every
other engine reads. Choices are scored by requests of one token each that find their prompt in the cache.
"""

import asyncio
import atexit
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rmr1_sdk.backends.base import Capabilities, PerProcess
from rmr1_sdk.backends.checkpoint import Checkpoint
from rmr1_sdk.backends.vllm_engine import Running, Tell, library
from rmr1_sdk.concurrency import await_, submit
from rmr1_sdk.errors import BackendError, ConfigError, MissingExtraError, unknown
from rmr1_sdk.types import Completion, Request

__all__ = ["VLLM"]

_OURS = ("enable_lora", "logprobs_mode", "max_lora_rank", "skip_tokenizer_init")


class VLLM:
    """A checkpoint in vLLM as an engine.

    Args:
        model: its folder, or its name on the Hugging Face hub.
        dtype: as torch names it; "auto" is vLLM's choice for the checkpoint and the device.
        max_model_len: tokens of prompt and completion together; None is the model's own length.
        adapter: a LoRA adapter's folder or name.
        tensor_parallel_size: devices that share each layer.
        data_parallel_size: copies of the model; a conversation stays with one of them.
        gpu_memory_utilization: the share of each device's memory that is used; None is vLLM's own.
        engine_args: everything else that vLLM's AsyncEngineArgs knows.

    Raises ConfigError when a folder is no checkpoint and for an argument that vLLM does not know, and
    MissingExtraError. The model is loaded on first use; that raises BackendError. Pickles as its arguments.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        dtype: str = "auto",
        max_model_len: int | None = None,
        adapter: str | None = None,
        tensor_parallel_size: int = 1,
        data_parallel_size: int = 1,
        gpu_memory_utilization: float | None = None,
        **engine_args: Any,
    ) -> None:
        if find_spec("vllm") is None:
            raise MissingExtraError("vllm", "vllm")
        _check_names(engine_args)
        self._checkpoint = Checkpoint(str(model), dtype, adapter)
        lengths = {"max_model_len": max_model_len} if max_model_len else {}
        self._changes_answers = {**lengths, **engine_args}
        memory = {} if gpu_memory_utilization is None else {"gpu_memory_utilization": gpu_memory_utilization}
        parallel = {"tensor_parallel_size": tensor_parallel_size, "data_parallel_size": data_parallel_size}
        self._engine = PerProcess(partial(_Engine, self._checkpoint, {**self._changes_answers, **parallel, **memory}))
        self.model = self._checkpoint.name
        self._identity: str | None = None

    @property
    def identity(self) -> str:
        """Name, fingerprint of the files or commit on the hub, dtype, adapter, engine_args. For the hub, loads it."""
        if self._identity is None:
            digest = self._checkpoint.digest
            if digest is None:
                self._engine.get().load()
                digest = self._checkpoint.commit
            args = json.dumps(self._changes_answers, sort_keys=True, default=str) if self._changes_answers else ""
            self._identity = f"vllm:{self._checkpoint.identity(digest)}{args}"
        return self._identity

    @property
    def capabilities(self) -> Capabilities:
        """Capabilities of this model. Loads it."""
        running = self._engine.get().load()
        return Capabilities(
            choices=True,
            prefix=True,
            seed=True,
            streaming=True,
            chat_template=running.speech.template,
            prompt=self._checkpoint.prompt,
            concurrency=running.concurrency,
        )

    async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        """Answer one request. Cancelling stops it at the next token."""
        loop = asyncio.get_running_loop()
        tell = None if on_text is None else lambda text: loop.call_soon_threadsafe(on_text, text)
        return await self._engine.get().answer(request, tell)

    async def aclose(self) -> None:
        """End vLLM's processes. The next use starts them again."""
        if engine := self._engine.take():
            await asyncio.to_thread(engine.close)


def connect(rest: str, **options: Any) -> VLLM:
    """The engine of "vllm:MODEL"."""
    return VLLM(rest, **options)


def _check_names(engine_args: Iterable[str]) -> None:
    for name in engine_args:
        if name in _OURS:
            raise ConfigError(f"{name} is set by this engine itself")
        library()
        from vllm.engine.arg_utils import AsyncEngineArgs

        known = [field.name for field in fields(AsyncEngineArgs)]
        if name not in known:
            raise unknown("argument of vLLM's engine", name, known)


@contextmanager
def _failures_told() -> Iterator[None]:
    """Convert vLLM's errors to ours."""
    from vllm.exceptions import VLLMError
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except EngineDeadError as error:
        raise BackendError("vLLM's engine has died; the next request starts it again") from error
    except VLLMError as error:
        raise BackendError(f"vLLM failed: {str(error) or repr(error.__cause__)}") from error


class _Engine:
    """The one AsyncLLM of this process: started when first needed, and again after it has died."""

    def __init__(self, checkpoint: Checkpoint, args: Mapping[str, Any]) -> None:
        self._make = partial(Running, checkpoint, args)
        self._starting = threading.Lock()
        self._running: Running | None = None
        self._flights: set[Future[Completion]] = set()
        self._closed = False
        self._pid = os.getpid()
        atexit.register(self.close)

    def load(self) -> Running:
        """The running engine. Blocks while it starts."""
        with self._starting:
            if self._closed:
                raise BackendError("the backend was closed")
            if self._running and self._running.is_dead:
                self._running.shutdown()
                self._running = None
            if self._running is None:
                self._running = self._make()
            return self._running

    async def answer(self, request: Request, tell: Tell | None) -> Completion:
        """The completion, worked on in the background loop whichever loop this is: AsyncLLM knows only one."""
        flight = submit(self._work(request, tell))
        self._flights.add(flight)
        flight.add_done_callback(self._flights.discard)
        try:
            return await await_(flight)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task and not task.cancelling():
                raise BackendError("the backend was closed") from None
            raise

    async def _work(self, request: Request, tell: Tell | None) -> Completion:
        running = self._running
        if running is None or running.is_dead:
            running = await asyncio.to_thread(self.load)
        started = time.monotonic()
        with _failures_told():
            completion = await (running.choose(request) if request.choices else running.write(request, tell))
        latency = round(time.monotonic() - started, 4)
        return completion.model_copy(update={"model": running.name, "latency_s": latency})

    def close(self) -> None:
        atexit.unregister(self.close)
        if self._pid != os.getpid():
            return  # a forked child has not got these processes
        with self._starting:
            self._closed = True
            for flight in list(self._flights):
                flight.cancel()
            if self._running:
                self._running.shutdown()
                self._running = None
