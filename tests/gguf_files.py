"""Small GGUF files that are written here: a LoRA adapter, and a recurrent model with random weights."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

TOKENIZER = ("model", "pre", "tokens", "token_type", "merges", "bos_token_id", "eos_token_id")


def write(path: Path, arch: str, fields: dict[str, int | float], tensors: dict[str, Any], *, like: Path | None) -> Path:
    """A file of an architecture with these fields and tensors, and the tokeniser of another file."""
    writer = gguf.GGUFWriter(path, arch)
    for name, value in fields.items():
        key = name if name.startswith("adapter") else f"{arch}.{name}"
        writer.add_uint32(key, value) if isinstance(value, int) else writer.add_float32(key, value)
    if like:
        known = gguf.GGUFReader(like)
        for name in TOKENIZER:
            if field := known.get_field(f"tokenizer.ggml.{name}"):
                kinds = field.types
                sub = kinds[1] if len(kinds) > 1 else None
                writer.add_key_value(field.name, field.contents(), kinds[0], sub)
        writer.add_chat_template("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: ")
    else:
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def lora(path: Path, *, width: int = 576, layers: int = 30, rank: int = 4) -> Path:
    """A random adapter of the query projections of SmolLM2-135M."""
    draw = np.random.default_rng(0).normal
    tensors = {
        f"blk.{n}.attn_q.weight.lora_{side}": draw(0, 0.3, (rank, width) if side == "a" else (width, rank))
        for n in range(layers)
        for side in "ab"
    }
    return write(path, "llama", {"adapter.lora.alpha": float(rank)}, tensors, like=None)


def mamba(path: Path, like: Path, *, width: int = 32, inner: int = 64, state: int = 16, step: int = 2) -> Path:
    """A recurrent model of one layer, which says nothing sensible."""
    draw = np.random.default_rng(0).normal
    vocabulary = len(gguf.GGUFReader(like).get_field("tokenizer.ggml.tokens").contents())  # type: ignore[union-attr]
    shapes: dict[str, tuple[int, ...]] = {
        "ssm_in.weight": (2 * inner, width),
        "ssm_conv1d.weight": (inner, 4),
        "ssm_conv1d.bias": (inner,),
        "ssm_x.weight": (step + 2 * state, inner),
        "ssm_dt.weight": (inner, step),
        "ssm_dt.bias": (inner,),
        "ssm_d": (inner,),
        "ssm_out.weight": (width, inner),
    }
    tensors = {f"blk.0.{name}": draw(0, 0.3, shape) for name, shape in shapes.items()}
    tensors |= {
        "token_embd.weight": draw(0, 1, (vocabulary, width)),
        "output_norm.weight": np.ones(width),
        "blk.0.attn_norm.weight": np.ones(width),
        "blk.0.ssm_a": -np.ones((inner, state)),
    }
    fields: dict[str, int | float] = {
        "context_length": 2048,
        "embedding_length": width,
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "block_count": 1,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": step,
    }
    return write(path, "mamba", fields, tensors, like=like)
