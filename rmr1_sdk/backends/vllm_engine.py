"""A running AsyncLLM, and the translation of requests to it."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal

from rmr1_sdk.backends.base import RESERVE, StopScanner, common_prefix
from rmr1_sdk.backends.checkpoint import ChatTokenizer, Checkpoint
from rmr1_sdk.errors import BackendError
from rmr1_sdk.parsing.tags import opens_thought, writes_thoughts
from rmr1_sdk.types import Completion, Request, Usage

__all__ = ["Running", "Tell", "library"]

Tell = Callable[[str], object]
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # of adapters, as vLLM allows them


def library() -> Any:  # mypy does not read vllm
    """The vllm package. It would log to standard output, where `rmr1` writes results: to standard error instead."""
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    import vllm

    return vllm


class Running:
    """A running AsyncLLM, and how requests are put to it. `choose` and `write` run on the background loop."""

    def __init__(self, checkpoint: Checkpoint, args: Mapping[str, Any]) -> None:
        vllm = library()
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.async_llm import AsyncLLM

        self._params = partial(vllm.SamplingParams, skip_special_tokens=False)
        self._kinds = RequestOutputKind
        self._input = vllm.inputs.tokens_input
        try:
            self._adapter, more = _adapter(checkpoint.adapter)
            options = {"disable_log_stats": True, **args, **more}
            engine_args = vllm.AsyncEngineArgs(checkpoint.source, dtype=checkpoint.dtype, **options)
            _keep_prompts_whole(engine_args)
            self._llm: Any = AsyncLLM.from_engine_args(engine_args)
        except (OSError, ValueError, RuntimeError) as error:
            raise BackendError(f"{checkpoint.model} could not be loaded: {error}") from error
        config = self._llm.vllm_config
        self.name = checkpoint.name
        self.speech = ChatTokenizer(self._llm.get_tokenizer())
        self._copies: int = config.parallel_config.data_parallel_size
        self.concurrency: int = config.scheduler_config.max_num_seqs * self._copies
        self._n_ctx: int = config.model_config.max_model_len
        own = config.model_config.get_diff_sampling_param()
        self._own_temperature, self._own_top_p = own.get("temperature", 1.0), own.get("top_p", 1.0)
        self._numbers = count()

    @property
    def is_dead(self) -> bool:
        """True where the engine's processes have died."""
        return bool(self._llm.errored)

    def shutdown(self) -> None:
        """End its processes. Who still waits gets an error."""
        self._llm.shutdown()

    def _outputs(self, prompt: list[int], params: Any, request: Request) -> AsyncGenerator[Any, None]:
        """Yield the engine's outputs for a prompt; closing the generator stops the work."""
        outputs: AsyncGenerator[Any, None] = self._llm.generate(
            self._input(prompt),
            params,
            f"rmr1-{next(self._numbers)}",
            lora_request=self._adapter,
            # each copy of the model has a cache of its own: what a conversation left there is found again
            data_parallel_rank=hash(request.messages) % self._copies if self._copies > 1 else None,
        )
        return outputs

    async def write(self, request: Request, tell: Tell | None) -> Completion:
        """The text that comes next.

        The engine finds stop strings by itself, and gives out nothing before the end, where nobody listens and
        no thought is open. If it stopped within a thought, or where one may be open, every piece is looked at.
        """
        rendered = self.speech.rendered(request.messages)
        opens = opens_thought(rendered) + request.prefix
        prompt = self.speech.tokens(rendered + request.prefix)
        room = min(request.sampling.max_tokens, self._n_ctx - RESERVE - len(prompt))
        if room < 1:
            return Completion(text="", stop="too_long")
        watch = tell is not None or (bool(request.sampling.stop) and writes_thoughts(opens))
        completion = None if watch else await self._text(request, prompt, room, opens)
        if completion is None:
            completion = await self._text(request, prompt, room, opens, tell or (lambda _: None))
        assert completion is not None  # watched, it does not stop within a thought
        return completion

    async def _text(
        self, request: Request, prompt: list[int], room: int, opens: str, watch: Tell | None = None
    ) -> Completion | None:
        """The text, piece by piece if it is to be watched; None where the engine stopped within a thought."""
        sampling = request.sampling
        params = self._params(
            max_tokens=room,
            temperature=self._own_temperature if sampling.temperature is None else sampling.temperature,
            top_p=self._own_top_p if sampling.top_p is None else sampling.top_p,
            seed=sampling.seed,
            stop=None if watch else [stop for stop in sampling.stop if stop],
            output_kind=self._kinds.DELTA if watch else self._kinds.FINAL_ONLY,
        )
        scanner = StopScanner(sampling.stop, opens)
        text, ended, written = "", None, 0
        async with aclosing(self._outputs(prompt, params, request)) as outputs:
            async for output in outputs:
                new = output.outputs[0]
                named = new.stop_reason if isinstance(new.stop_reason, str) else ""  # a stop string, taken off
                before, text = len(text), text + new.text + named
                written += len(new.token_ids)
                if (ended := scanner.feed(new.text + named)) is not None:
                    text = ended
                if watch and len(text) > before:
                    watch(text[before:])
                if ended is not None:
                    break
        if named and ended is None:
            return None
        stop: Literal["stop", "length"] = new.finish_reason if ended is None else "stop"
        if stop not in ("stop", "length"):
            raise BackendError(f"vLLM gave a request up: {stop}")
        usage = Usage(prompt_tokens=len(prompt), completion_tokens=written, cached_tokens=output.num_cached_tokens or 0)
        return Completion(text=text, stop=stop, usage=usage)

    async def choose(self, request: Request) -> Completion:
        """Log-probabilities of whole continuations, as `common_prefix` says.

        Where the tails part, and at each token of a tail, one request of one token asks for the next ones. The
        engine works on them together and reads what they share once; `prompt_logprobs` would read it all anew.
        """
        begin = self.speech.rendered(request.messages) + request.prefix
        wholes = [self.speech.tokens(begin + choice) for choice in request.choices]
        if max(map(len, wholes)) > self._n_ctx:
            return Completion(text="", stop="too_long")
        shared = common_prefix([*wholes, self.speech.tokens(begin)])
        nexts: dict[tuple[int, ...], set[int]] = {}
        for whole in wholes:
            for at in range(shared, len(whole)):
                nexts.setdefault(tuple(whole[:at]), set()).add(whole[at])
        told = await asyncio.gather(*(self._next(request, prompt, tokens) for prompt, tokens in nexts.items()))
        logprobs = dict(zip(nexts, (logprobs for logprobs, _ in told), strict=True))
        scores = (sum(logprobs[tuple(whole[:at])][whole[at]] for at in range(shared, len(whole))) for whole in wholes)
        usage = Usage(
            prompt_tokens=shared + sum(len(whole) - shared for whole in wholes),
            cached_tokens=min((cached for _, cached in told), default=0),
        )
        return Completion(text="", choice_logprobs=tuple(scores), usage=usage)

    async def _next(self, request: Request, prompt: tuple[int, ...], tokens: set[int]) -> tuple[dict[int, float], int]:
        """The log-probability of each of these tokens after a prompt, and how much of that was in the cache."""
        params = self._params(
            max_tokens=1,
            temperature=0.0,
            logprob_token_ids=sorted(tokens),
            detokenize=False,
            output_kind=self._kinds.FINAL_ONLY,
        )
        async with aclosing(self._outputs(list(prompt), params, request)) as outputs:
            output = await anext(outputs)
        told = output.outputs[0].logprobs[0]
        return {token: told[token].logprob for token in tokens}, output.num_cached_tokens or 0


def _keep_prompts_whole(engine_args: Any) -> None:
    """On a CPU, vLLM 0.32 dies of a request with a seed whose prompt it reads in parts: each is read in one step."""
    from vllm.platforms import current_platform

    if current_platform.is_cpu() and engine_args.enable_chunked_prefill is None:
        engine_args.enable_chunked_prefill = False
        if engine_args.max_num_batched_tokens is None:
            engine_args.max_num_batched_tokens = max(4096, engine_args.create_model_config().max_model_len)


def _adapter(adapter: str | None) -> tuple[Any, dict[str, Any]]:
    """A LoRA adapter as requests name it, and what the engine needs for it."""
    if adapter is None:
        return None, {}
    from vllm.lora.request import LoRARequest
    from vllm.lora.utils import get_adapter_absolute_path

    folder = get_adapter_absolute_path(adapter)
    rank = json.loads(Path(folder, "adapter_config.json").read_text(encoding="utf-8"))["r"]
    allowed = next((most for most in _RANKS if rank <= most), rank)
    return LoRARequest("adapter", 1, folder), {"enable_lora": True, "max_lora_rank": allowed}
