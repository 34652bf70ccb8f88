"""Tiny model and tokenizer made from nothing, small enough to train on a laptop.

It learns to copy, and so to quote and to compare, within minutes: every other layer is a short convolution, as in LFM2,
and the base of its rotary positions is low and its first weights large. A Llama with the usual ones (10,000 and 0.02)
does not.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from rmr1_sdk import prompts
from rmr1_sdk.errors import ConfigError, MissingExtraError
from rmr1_sdk.training.stage import Step, Trace, read_traces
from rmr1_sdk.training.tiny.lessons import STATE, Lessons, learn
from rmr1_sdk.types import Value

__all__ = ["LARGEST_VOCABULARY", "TinyModel", "make", "make_from", "make_tokenizer"]

_SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>")
_WORDS = 1024
LARGEST_VOCABULARY = len(_SPECIAL) + 256 + _WORDS
"""Tokens that its tokenizer may have: those of turns, all bytes, and what is found in the texts."""
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message.role != 'system' %}"
    "<|{{ message.role }}|>{{ message.content }}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Its chat template. It leaves the system prompt out, which says nothing to a model that cannot read it and would be
most of the text."""


class TinyModel(Value):
    """The size of a model, and how it begins.

    Args:
        hidden: the width between layers. Multiples of 256 are what the K-quants of llama.cpp need.
        intermediate: the width of the feed-forward part.
        layers: how many.
        heads: of attention.
        convolutions: every other layer, the first one too, is a short convolution: an LFM2, which learns to copy
            several times faster, and whose sequences cannot be packed. Else it is a Llama.
        context: tokens that it may have.
        rope_theta: the base of the rotary positions.
        init: the standard deviation of the first weights.
        lessons: what it reads before it meets a judgment; None is nothing.
        seed: all randomness follows from it.
    """

    hidden: int = Field(default=128, ge=1)
    intermediate: int = Field(default=256, ge=1)
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    convolutions: bool = True
    context: int = 2048
    rope_theta: float = 1000.0
    init: float = 0.08
    lessons: Lessons | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _attends(self) -> "TinyModel":
        if self.convolutions and self.layers < 2:
            raise ValueError("the first layer is a convolution: layers must be 2 or more, for one of attention")
        return self


def make(traces: Sequence[Trace], out: Path, model: TinyModel | None = None) -> None:
    """Write a checkpoint, and a tokenizer that was trained on the texts of these traces.

    Its weights are random, or with `model.lessons` what came of reading them. Raises ConfigError where there are no
    traces.
    """
    size = model or TinyModel()
    tokenizer = make_tokenizer(_texts(traces))
    made = _begun(size, tokenizer)
    if size.lessons:
        out.mkdir(parents=True, exist_ok=True)
        learn(size.lessons, made, tokenizer, prompts.get(traces[0].prompt), out, seed=size.seed)
    made.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / STATE).unlink(missing_ok=True)


def make_from(traces: Path, out: Path, model: TinyModel) -> None:
    """The same as a stage, of a file of traces: one that was killed goes on, and one that is done is not done twice.

    Raises ConfigError where a file cannot be read, or the folder is of another model.
    """
    left_out = model.lessons.leave_out if model.lessons else ()
    step = Step("model", out, model.model_dump(mode="json"), [traces, *left_out])
    if not step.is_done():
        step.begin()
        make(read_traces(traces), out, model)
        step.keep(*(file.name for file in sorted(out.iterdir()) if not file.name.startswith("step.json")))
        step.finish()


def _begun(size: TinyModel, tokenizer: Any) -> Any:
    """The model with random weights."""
    import torch
    from transformers import Lfm2Config, Lfm2ForCausalLM, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(size.seed)
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads,
        "max_position_embeddings": size.context,
        "initializer_range": size.init,
        "rope_parameters": {"rope_type": "default", "rope_theta": size.rope_theta},
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if not size.convolutions:
        return LlamaForCausalLM(LlamaConfig(**settings))
    kinds = [("conv", "full_attention")[number % 2] for number in range(size.layers)]
    return Lfm2ForCausalLM(Lfm2Config(**settings, layer_types=kinds, block_auto_adjust_ff_dim=False))


def _texts(traces: Iterable[Trace]) -> Iterator[str]:
    """Texts that a model trained on these traces reads and writes."""
    for trace in traces:
        yield from (
            message.content for message in prompts.get(trace.prompt).render(trace.pair) if message.role == "user"
        )
        yield trace.text


def make_tokenizer(texts: Iterable[str]) -> Any:
    """BPE over characters with bytes for what it has not seen, in the manner of Llama 2.

    llama.cpp runs those of any vocabulary. It merges whatever makes a token, by the token's score, and splits nothing
    beforehand; so does this one, and both make the same tokens of any text. While it is trained, words and numbers do
    not grow over spaces and marks, and those that are frequent become one token: what is one token can be copied, and
    compared, in one step.
    """
    try:
        from tokenizers import Tokenizer, decoders, models, normalizers
        from transformers import PreTrainedTokenizerFast
    except ImportError as error:
        raise MissingExtraError("tokenizers", "train") from error
    words = [word for word in _words(texts) if word not in _SPECIAL]
    pieces = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += words
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    merges = [
        (piece[:at], piece[at:])
        for piece in words
        for at in range(1, len(piece))
        if piece[:at] in vocabulary and piece[at:] in vocabulary
    ]
    unknown, begin, end, pad, *turns = _SPECIAL
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    loaded: Any = PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token=unknown,
        bos_token=begin,
        eos_token=end,
        pad_token=pad,
        additional_special_tokens=turns,
        add_prefix_space=False,
        clean_up_tokenization_spaces=False,
    )
    loaded.chat_template = TEMPLATE
    return loaded


def _words(texts: Iterable[str]) -> list[str]:
    """The characters and the merged pieces of these texts, in the order in which they were merged."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    first = next(texts := iter(texts), None)
    if first is None:
        raise ConfigError("a tokenizer is trained on texts, and there are none")
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Replace(" ", "▁")
    # our tags and markers whole, marks alone, and numbers and words with the space before them
    marks = r".,:;?!%*+=()\n\-\[\]<>"
    pattern = rf"</?\w+>|\[(?:The|Client)[^\]\n]*\]|\[\[|\]\]|[{marks}]|▁?\d+|▁?[^▁\d{marks}]+|▁"
    learner.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    trainer = trainers.BpeTrainer(vocab_size=_WORDS, min_frequency=2, show_progress=False)
    learner.train_from_iterator(chain([first], texts), trainer)
    vocabulary = learner.get_vocab()
    return sorted(vocabulary, key=lambda piece: vocabulary[piece])
