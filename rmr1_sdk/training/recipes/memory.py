"""GPU memory of training, estimated from a model's shape: formulas, no measurement.

Bytes of a parameter and its optimizer are counted as in ZeRO (Rajbhandari et al., arXiv 1910.02054, section 3.1):
with Adam 16 of each, whether as 4 of float32 weight, 4 of gradient and 8 of the two moments (float32 weights that
compute in bfloat16, as FSDP2 shards them), or as 2 + 2 of bfloat16 and 12 of a float32 copy with its moments (as
ZeRO-3 does). Activations are counted in the manner of Korthikanti et al. (arXiv 2205.05198): with checkpointing a
layer's input is kept for each token, and one layer at a time is computed again.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from rmr1_sdk.errors import ConfigError, file_errors
from rmr1_sdk.files.rows import json_object
from rmr1_sdk.types import Value

__all__ = ["Generation", "Machine", "Memory", "Shape", "Trained", "memory"]

_ARCHITECTURES = {"llama": False, "mistral": False, "qwen2": True}
"""Those of Llama's shape, and whether queries, keys and values have biases."""
_NAMES = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "intermediate": "intermediate_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "vocab": "vocab_size",
    "head_dim": "head_dim",
    "tied": "tie_word_embeddings",
}
_OPTIMIZER = 8
"""Bytes: Adam's two moments in float32."""


class Machine(Value):
    """Hardware that a recipe trains on.

    Args:
        nodes: machines.
        gpus: of each; 0 trains on the CPU, in float32.
        memory_gib: of a GPU.
        sharding: what parts weights, gradients and optimizer among all GPUs.
    """

    nodes: int = Field(default=1, ge=1)
    gpus: int = Field(default=0, ge=0)
    memory_gib: float = Field(default=80, gt=0)
    sharding: Literal["none", "fsdp2", "zero3"] = "none"

    @property
    def processes(self) -> int:
        """Number of processes that train together: one on the CPU."""
        return self.nodes * max(1, self.gpus)


class Shape(Value):
    """A decoder of Llama's shape: queries may share keys and values, and the feed-forward part is gated.

    Args:
        layers: how many.
        hidden: the width between layers.
        intermediate: the width of the feed-forward part.
        heads: of queries.
        kv_heads: of keys and values.
        vocab: rows of the embeddings, which may be more than the tokenizer has tokens.
        head_dim: None is `hidden / heads`.
        tied: whether the output uses the embeddings.
        qkv_bias: whether queries, keys and values have biases, as Qwen2's have.
    """

    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)
    intermediate: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    vocab: int = Field(ge=1)
    head_dim: int | None = Field(default=None, ge=1)
    tied: bool = False
    qkv_bias: bool = False

    @classmethod
    def read(cls, folder: Path) -> "Shape":
        """That of a checkpoint, from its config.json. Raises ConfigError where that does not tell it."""
        path = folder / "config.json"
        with file_errors(path, catch=(OSError, ValueError)):
            config = json_object(path.read_bytes())
        kind = str(config.get("model_type"))
        if kind not in _ARCHITECTURES:
            raise ConfigError(f"{path}: a {kind} is not of Llama's shape ({', '.join(_ARCHITECTURES)})")
        named = {ours: config[theirs] for ours, theirs in _NAMES.items() if config.get(theirs) is not None}
        try:
            return cls(qkv_bias=_ARCHITECTURES[kind], **{"kv_heads": named.get("heads"), **named})
        except ValidationError as error:
            missing = ", ".join(_NAMES[str(fault["loc"][0])] for fault in error.errors())
            raise ConfigError(f"{path}: there is no right {missing}") from error

    @property
    def queries(self) -> int:
        """The width of all queries of a token."""
        return self.heads * (self.head_dim or self.hidden // self.heads)

    @property
    def keys(self) -> int:
        """The width of all keys of a token, and of all values."""
        return self.kv_heads * (self.head_dim or self.hidden // self.heads)

    @property
    def layer_parameters(self) -> int:
        """Of one layer."""
        attention = self.hidden * (2 * self.queries + 2 * self.keys)
        biases = self.qkv_bias * (self.queries + 2 * self.keys)
        return attention + biases + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def embedding_parameters(self) -> int:
        """Of the embeddings, and of the output where that has its own."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """Of all layers, the embeddings and the last norm."""
        return self.layers * self.layer_parameters + self.embedding_parameters + self.hidden

    def adapter_parameters(self, rank: int) -> int:
        """Of adapters of that rank on all linear layers but the output."""
        attention = 2 * (self.hidden + self.queries) + 2 * (self.hidden + self.keys)
        return self.layers * rank * (attention + 3 * (self.hidden + self.intermediate))


class Trained(Value):
    """Trained model and the size of its batches.

    Args:
        tokens: of the sequences that a process works on at once.
        lora_rank: None trains all weights.
        checkpointing: whether activations are computed again rather than kept.
        reference: whether a second model stays as it is, to measure the divergence from.
    """

    tokens: int
    lora_rank: int | None = None
    checkpointing: bool = True
    reference: bool = False


class Generation(Value):
    """Settings of the generation of completions.

    Args:
        sequences: at once in a process.
        tokens: of each, its prompt too, at most.
        vllm_share: of the GPU's memory, which vLLM takes for its weights and cache; None without it.
    """

    sequences: int
    tokens: int
    vllm_share: float | None = None


class Memory(Value):
    """Bytes of one GPU, or of a process on a CPU.

    Args:
        weights: as they are stored.
        copies: what is held of them to compute with beside that: copies in bfloat16, or layers gathered from others.
        gradients: of what is trained.
        optimizer: Adam's moments, and for ZeRO-3 the weights in float32.
        activations: what the backward pass needs.
        reference: the second model.
        generation: the cache of keys and values, and weights gathered to write with; or what vLLM takes.
        total: the sum, where gradients and activations, and what is written with outside vLLM, take turns.
    """

    weights: int
    copies: int
    gradients: int
    optimizer: int
    activations: int
    reference: int
    generation: int
    total: int


def memory(shape: Shape, machine: Machine, trained: Trained, generation: Generation | None = None) -> Memory:
    """The memory that a step of training needs, without what the allocator and the libraries take besides.

    The loss is not counted: TRL computes it in chunks, without all logits at once.
    """
    kept = _kept(shape, machine, trained)
    compute = 2 if machine.gpus else 4
    # whole float32 weights that compute in bfloat16 leave float32 between the layers
    is_mixed = machine.gpus > 0 and machine.sharding == "none" and trained.lora_rank is None
    between = 4 if is_mixed else compute
    activations = trained.tokens * _activations(shape, compute, between, checkpointing=trained.checkpointing)
    written, beside = 0, False
    if generation and generation.vllm_share is not None:
        written, beside = int(generation.vllm_share * machine.memory_gib * 2**30), True
    elif generation:
        written = _written(shape, machine, generation, compute)
    working = kept["gradients"] + activations
    constant = sum(kept.values()) - kept["gradients"]
    peak = constant + (working + written if beside else max(working, written))
    return Memory(**kept, activations=activations, generation=written, total=peak)


def _kept(shape: Shape, machine: Machine, trained: Trained) -> dict[str, int]:
    """Memory that is needed whatever a process works on."""
    sharded = machine.sharding != "none"
    shards = machine.processes if sharded else 1
    whole = shape.parameters
    if trained.lora_rank is not None:
        learned = shape.adapter_parameters(trained.lora_rank)
        weights = whole * (2 if machine.gpus else 4) // shards + 4 * learned
        gradients, optimizer = 4 * learned, _OPTIMIZER * learned
    elif machine.sharding == "zero3":
        weights, gradients, optimizer = 2 * whole // shards, 2 * whole // shards, (4 + _OPTIMIZER) * whole // shards
    else:
        weights, gradients, optimizer = 4 * whole // shards, 4 * whole // shards, _OPTIMIZER * whole // shards
    if sharded:  # a layer, the one that is fetched ahead, the gradients of one, and what is in no layer
        copies = 2 * (3 * shape.layer_parameters + shape.embedding_parameters)
    else:  # autocast keeps what it has cast until the step's forward pass is over
        copies = 2 * whole if machine.gpus and trained.lora_rank is None else 0
    reference = weights if trained.reference else 0
    return {
        "weights": weights,
        "copies": copies,
        "gradients": gradients,
        "optimizer": optimizer,
        "reference": reference,
    }


def _activations(shape: Shape, compute: int, between: int, *, checkpointing: bool) -> int:
    """Bytes of a token, with so many for each number that is computed with, and that goes from layer to layer.

    Of a layer are kept: of each norm, its input in float32 and what comes of it before its weight; the inputs of
    queries, keys and values, and of both branches of the feed-forward part, which are one each, or one for each linear
    layer where autocast has to cast them; queries, keys, values and what attention gives; the gate before and after its
    activation, the other branch, and their product. Attention keeps no scores.
    """
    norms = 2 * (4 + between) * shape.hidden
    inputs = compute * shape.hidden * (2 if between == compute else 5)
    attention = compute * (2 * shape.queries + 2 * shape.keys)
    layer = norms + inputs + attention + compute * 4 * shape.intermediate
    return between * shape.hidden * shape.layers + layer if checkpointing else layer * shape.layers


def _written(shape: Shape, machine: Machine, generation: Generation, compute: int) -> int:
    """The cache of all sequences at their full length; ZeRO-3 gathers all weights besides."""
    cache = generation.sequences * generation.tokens * shape.layers * 2 * shape.keys * compute
    return cache + (2 * shape.parameters if machine.sharding == "zero3" else 0)
