"""What the tests of real engines share."""

from pathlib import Path
from typing import Any

import pytest

from tests.engines.weights import dequantise


@pytest.fixture(scope="session")
def checkpoint(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The GGUF file of the llama.cpp tests, its weights de-quantised to float32."""
    return dequantise(gguf, tmp_path_factory.mktemp("checkpoint") / "smollm2")


@pytest.fixture(scope="session")
def adapter(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter of that checkpoint with random weights."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype="float32")
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    folder = tmp_path_factory.mktemp("adapter")
    tuned.save_pretrained(folder)
    return folder
