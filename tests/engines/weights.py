"""The one model that stands behind every real engine here, as a checkpoint."""

from pathlib import Path
from typing import Any


def dequantise(gguf: Path, folder: Path) -> Path:
    """The weights of a GGUF file as float32, for transformers and vLLM."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    return folder
