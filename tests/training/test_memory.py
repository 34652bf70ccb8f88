"""Memory by hand, and shapes of models whose parameters are published."""

import json
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.training.recipes.memory import Generation, Machine, Shape, Trained, memory

QWEN: dict[str, Any] = {"vocab": 152064, "qkv_bias": True}
SEVEN = Shape(layers=28, hidden=3584, intermediate=18944, heads=28, kv_heads=4, **QWEN)
NODE = Machine(gpus=8, sharding="zero3")
ONE = Machine(gpus=1)


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        (SEVEN, 7_615_616_512),
        (Shape(layers=48, hidden=5120, intermediate=13824, heads=40, kv_heads=8, **QWEN), 14_770_033_664),
        (Shape(layers=64, hidden=5120, intermediate=27648, heads=40, kv_heads=8, **QWEN), 32_763_876_352),
        (Shape(layers=30, hidden=576, intermediate=1536, heads=9, kv_heads=3, vocab=49152, tied=True), 134_515_008),
    ],
    ids=["Qwen2.5-7B", "Qwen2.5-14B", "Qwen2.5-32B", "SmolLM2-135M"],
)
def test_parameters_are_those_of_the_published_checkpoints(shape: Shape, parameters: int) -> None:
    assert shape.parameters == parameters


# a layer: 2 x 4 x 4 of queries and output, 2 x 4 x 2 of keys and values, 3 x 4 x 8 gated, 2 x 4 of norms
SMALL = Shape(layers=2, hidden=4, intermediate=8, heads=2, kv_heads=1, vocab=10)
LAYER, EMBEDDINGS = 32 + 16 + 96 + 8, 80
WHOLE = 2 * LAYER + EMBEDDINGS + 4
# a token of a layer: norms 2 x (4 + 2) x 4; inputs 2 x 2 x 4; attention 2 x (2 x 4 + 2 x 2); feed-forward 2 x 4 x 8
TOKEN = 48 + 16 + 24 + 64
# where float32 goes from layer to layer: norms 2 x (4 + 4) x 4, inputs 5 x 2 x 4
MIXED = 64 + 40 + 24 + 64


@pytest.mark.parametrize(
    ("machine", "trained", "generation", "by_hand"),
    [
        pytest.param(
            ONE,
            Trained(tokens=10),
            None,
            {
                "weights": 4 * WHOLE,
                "copies": 2 * WHOLE,
                "gradients": 4 * WHOLE,
                "optimizer": 8 * WHOLE,
                "activations": 10 * (2 * 4 * 4 + MIXED),
                "total": 18 * WHOLE + 10 * (32 + MIXED),
            },
            id="all weights on one GPU: 18 bytes of each",
        ),
        pytest.param(
            Machine(nodes=2, gpus=2, sharding="fsdp2"),
            Trained(tokens=10, reference=True),
            None,
            {
                "weights": WHOLE,
                "gradients": WHOLE,
                "optimizer": 2 * WHOLE,
                "reference": WHOLE,
                "copies": 2 * (3 * LAYER + EMBEDDINGS),
                "total": 5 * WHOLE + 2 * (3 * LAYER + EMBEDDINGS) + 10 * (16 + TOKEN),
            },
            id="over four by FSDP2",
        ),
        pytest.param(
            Machine(gpus=4, sharding="zero3"),
            Trained(tokens=0, reference=True),
            Generation(sequences=3, tokens=5),
            {
                "weights": 2 * WHOLE // 4,
                "gradients": 2 * WHOLE // 4,
                "optimizer": 12 * WHOLE // 4,
                "reference": 2 * WHOLE // 4,
                "generation": 3 * 5 * 2 * 2 * 2 * 2 + 2 * WHOLE,
                # what is written with takes the place of gradients, being larger
                "total": (16 * WHOLE // 4) + 2 * (3 * LAYER + EMBEDDINGS) + 240 + 2 * WHOLE,
            },
            id="over four by ZeRO-3, which gathers the weights to write",
        ),
        pytest.param(
            ONE,
            # adapters: queries and output 2 x (4 + 4), keys and values 2 x (4 + 2), gated 3 x (4 + 8)
            Trained(tokens=1, lora_rank=3, checkpointing=False),
            Generation(sequences=9, tokens=9, vllm_share=0.25),
            {
                "weights": 2 * WHOLE + 4 * 2 * 3 * 64,
                "copies": 0,
                "gradients": 4 * 2 * 3 * 64,
                "optimizer": 8 * 2 * 3 * 64,
                "activations": 2 * TOKEN,
                "generation": 20 * 2**30,
                "total": 2 * WHOLE + 16 * 2 * 3 * 64 + 2 * TOKEN + 20 * 2**30,
            },
            id="adapters beside vLLM, with all activations",
        ),
        pytest.param(
            Machine(),
            Trained(tokens=1),
            Generation(sequences=3, tokens=5),
            {
                "weights": 4 * WHOLE,
                "copies": 0,
                "activations": 4 * 4 * 2 + 2 * (4 + 4) * 4 + 4 * 2 * 4 + 4 * (8 + 4) + 4 * 32,
                "generation": 3 * 5 * 2 * 2 * 2 * 4,
            },
            id="float32 on a CPU",
        ),
    ],
)
def test_memory_by_hand(
    machine: Machine, trained: Trained, generation: Generation | None, by_hand: dict[str, int]
) -> None:
    assert SMALL.parameters == WHOLE
    needed = memory(SMALL, machine, trained, generation)
    assert {name: getattr(needed, name) for name in by_hand} == by_hand


def test_sharding_leaves_each_gpu_its_part() -> None:
    """ZeRO's paper: 16 bytes of each parameter, over the GPUs."""
    needed = memory(SEVEN, NODE, Trained(tokens=0))
    kept = needed.weights + needed.gradients + needed.optimizer
    assert kept == pytest.approx(16 * SEVEN.parameters / 8, rel=1e-6)
    four = memory(SEVEN, NODE.model_copy(update={"nodes": 4}), Trained(tokens=0))
    assert four.optimizer == pytest.approx(needed.optimizer / 4, rel=1e-6)


CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 4,
    "intermediate_size": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 10,
    "tie_word_embeddings": False,
}


def test_a_shape_is_read_from_a_checkpoint(tmp_path: Path) -> None:
    def read(**changed: Any) -> Shape:
        (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **changed}))
        return Shape.read(tmp_path)

    assert read() == SMALL
    assert read(model_type="qwen2", num_key_value_heads=None) == SMALL.model_copy(
        update={"kv_heads": 2, "qkv_bias": True}
    )
    with pytest.raises(ConfigError, match=r"a mamba is not of Llama's shape \(llama, mistral, qwen2\)"):
        read(model_type="mamba")
    with pytest.raises(ConfigError, match="there is no right vocab_size"):
        read(vocab_size=None)
    with pytest.raises(ConfigError, match="No such file"):
        Shape.read(tmp_path / "none")
