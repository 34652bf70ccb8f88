"""Pretraining of a tiny model on worked problems of its domain.

A base model has read much before anybody fine-tunes it on a few thousand judgments. One from nothing has not, and from
so few it learns them by heart instead of learning to reckon.
"""

import random
import sys
from collections.abc import Iterator, Sequence, Set
from itertools import count, islice
from math import cos, pi
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from rmr1_sdk.backends.checkpoint import ChatTokenizer
from rmr1_sdk.files.cache import replacing
from rmr1_sdk.prompts import Prompt
from rmr1_sdk.training.data.held_out import read_held_out
from rmr1_sdk.training.domain import Domain, solve, worked
from rmr1_sdk.training.learn.trainers import Figures
from rmr1_sdk.types import Value

__all__ = ["STATE", "Lessons", "learn"]

STATE = "lessons.pt"
"""The file from which a killed run goes on."""

_SORTED = 8
"""Batches whose texts are sorted by length together."""
_WARM_UP = 50
_EVERY = 200
"""Steps between checkpoints, and between lines of figures."""


class Lessons(Value):
    """Worked problems of the tiny domain, see `domain.worked`, and how they are learned.

    Args:
        domain: what they are about.
        steps: of training.
        batch_size: problems in a step. None comes twice, but by chance.
        learning_rate: the highest; it ends at a fifth of that.
        leave_out: files of labelled pairs; their problems are not among the worked ones, in whatever words.
    """

    domain: Domain = Domain()
    steps: int = Field(default=3000, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    leave_out: tuple[Path, ...] = ()


def learn(lessons: Lessons, model: Any, tokenizer: Any, prompt: Prompt, out: Path, *, seed: int) -> None:
    """Let a model read, in place. It is asked as a judge is; the loss is on what comes after that.

    `out/figures.jsonl` has the loss, and `out/lessons.pt` what a killed run goes on from, which stays there. Raises
    ConfigError or DataError for a file of `leave_out` that cannot be read.
    """
    import torch
    from tqdm import tqdm

    optimizer = torch.optim.AdamW(model.parameters(), lr=lessons.learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    saved, figures = out / STATE, Figures(out / "figures.jsonl")
    begun = _restored(saved, model, optimizer)
    figures.begin_after(begun)
    model.train()
    losses: list[float] = []
    batches = islice(_batches(lessons, tokenizer, prompt, seed), begun, lessons.steps)
    shown = tqdm(batches, "lessons", lessons.steps, initial=begun, disable=not sys.stderr.isatty())
    for step, batch in enumerate(shown, start=begun + 1):
        for group in optimizer.param_groups:
            group["lr"] = lessons.learning_rate * _rate(step, lessons.steps)
        loss = model(input_ids=batch.inputs, attention_mask=batch.mask, labels=batch.labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % _EVERY == 0 or step == lessons.steps:
            figures.add({"step": step, "loss": sum(losses) / len(losses)})
            losses.clear()
            _save(saved, step, model, optimizer)
    model.eval()


def _rate(step: int, steps: int) -> float:
    """The share of the highest learning rate: a short warm-up, then a cosine that ends at a fifth."""
    return min(1.0, step / _WARM_UP) * (0.2 + 0.4 * (1 + cos(pi * step / steps)))


class _Batch(NamedTuple):
    """Tensors of one shape, [texts, tokens]."""

    inputs: Any
    mask: Any
    labels: Any


def _batches(lessons: Lessons, tokenizer: Any, prompt: Prompt, seed: int) -> Iterator[_Batch]:
    """The same ones for the same seed, those of about one length together."""
    texts, rng = _texts(lessons, tokenizer, prompt, seed), random.Random(seed)  # noqa: S311  # not for secrets
    while True:
        some = sorted(islice(texts, lessons.batch_size * _SORTED), key=lambda text: len(text[0]))
        groups = [some[at : at + lessons.batch_size] for at in range(0, len(some), lessons.batch_size)]
        rng.shuffle(groups)
        yield from (_padded(group, tokenizer.pad_token_id) for group in groups)


def _padded(texts: Sequence[tuple[list[int], int]], pad: int) -> _Batch:
    import torch

    longest = max(len(tokens) for tokens, _ in texts)
    inputs = torch.full((len(texts), longest), pad)
    mask = torch.zeros_like(inputs)
    labels = torch.full_like(inputs, -100)
    for row, (tokens, given) in enumerate(texts):
        inputs[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
        labels[row, given : len(tokens)] = inputs[row, given : len(tokens)]
    return _Batch(inputs, mask, labels)


def _texts(lessons: Lessons, tokenizer: Any, prompt: Prompt, seed: int) -> Iterator[tuple[list[int], int]]:
    """Tokens of each, and how many of them are given."""
    left_out = _problems(lessons.leave_out)
    speech = ChatTokenizer(tokenizer)
    for number in count():
        text = worked(number, seed=seed, domain=lessons.domain)
        if text.key not in left_out:
            given = speech.tokens(speech.rendered(prompt.render(text.pair)))
            told = tokenizer(text.told, add_special_tokens=False).input_ids
            yield [*given, *told, tokenizer.eos_token_id], len(given)


def _problems(files: tuple[Path, ...]) -> Set[str]:
    pairs = [pair for file in files for pair in read_held_out(file)]
    return {solve(str(pair.question)).key for pair in pairs}


def _save(file: Path, step: int, model: Any, optimizer: Any) -> None:
    import torch

    with replacing(file) as part:
        torch.save({"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, part)


def _restored(file: Path, model: Any, optimizer: Any) -> int:
    """The step from which a killed run goes on; 0 begins."""
    import torch

    if not file.exists():
        return 0
    state = torch.load(file, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
