"""Prompts: the messages sent to a model, together with the reader of its answer.

Our own prompts are `cor` (a system prompt that asks for RM-R1's sections) and `reasoning` (for models
that think by themselves). The texts that published RM-R1 checkpoints were trained with come through
`rmr1 prompts import` and are found by `resolve`.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from rmr1_sdk import parsing
from rmr1_sdk.errors import ConfigError, unknown
from rmr1_sdk.parsing import tags
from rmr1_sdk.prompts import published
from rmr1_sdk.prompts.blocks import blocks, extra_blocks, lines, shown_pair
from rmr1_sdk.prompts.stop_reasons import failure_kind, is_cut_in_thought
from rmr1_sdk.types import Completion, Message, Pair, Sampling, Shown, Side, Verdict

__all__ = ["COR", "COR_TIES", "PROMPTS", "REASONING", "Family", "Prompt", "Reader", "get", "resolve", "shown_pair"]

Family = Literal["cor", "reasoning", "custom"]
Reader = Callable[[str, Pair | None, Shown], Verdict]
"""Text, the pair it is about, and the order shown, to a Verdict in the caller's sides."""

CHOICES = ("A]]</answer>", "B]]</answer>")
"""The two ways to go on after `<answer>[[`."""
_FIELD = re.compile(r"\{(question|answer_a|answer_b|conversation_1|conversation_2|blocks)\}")


def read_tags(text: str, pair: Pair | None, shown: Shown) -> Verdict:
    """The reader of all our own prompts."""
    return parsing.read(text, pair=pair, shown=shown)


def read_tags_or_tie(text: str, pair: Pair | None, shown: Shown) -> Verdict:
    """The reader of prompts that allow a tie."""
    return parsing.read(text, pair=pair, shown=shown, ties=True)


@dataclass(frozen=True)
class Prompt:
    """A text to send, and the reader of what comes back.

    `user` may hold `{question}`, `{answer_a}`, `{answer_b}` (A and B as shown), `{conversation_1}`,
    `{conversation_2}`, or `{blocks}`: all of it between RM-R1's block markers. `user_multi` replaces it
    for pairs of several turns. A reference or rubric of the pair that `{blocks}` does not show is
    appended. Everything is filled in one pass, so braces inside an answer stay as they are.

    Args:
        name: stands in judgments and `run.json`.
        family: decides the sampling a judge starts from.
        neutralise: make tags and block markers inside the pair's texts harmless.
        reader: reads a completion; the default knows our tags.
        choices: the two ways to go on at the verdict; None where no probability can be read there.
    """

    name: str
    user: str
    system: str | None = None
    user_multi: str | None = None
    family: Family = "custom"
    neutralise: bool = True
    reader: Reader = read_tags
    choices: tuple[str, str] | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of everything that is asked."""
        asked = [self.system, self.user, self.user_multi, self.neutralise]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    @property
    def sampling(self) -> Sampling:
        """Default sampling for one vote. Models that think get no stop strings: they may write one in a thought."""
        if self.family == "reasoning":
            return Sampling(max_tokens=8192)
        return Sampling(stop=tags.safe_stops(thinks=False)) if self.family == "cor" else Sampling()

    @property
    def vote_temperature(self) -> float:
        """The temperature for several votes."""
        return 0.6 if self.family == "reasoning" else 0.7

    def render(self, pair: Pair, shown: Shown = "AB") -> tuple[Message, ...]:
        """The messages that ask about a pair."""
        seen = pair if shown == "AB" else pair.swapped()
        template = self.user if seen.is_single_turn or self.user_multi is None else self.user_multi
        fields = self._fields(seen)
        extra = "" if "{blocks}" in template else extra_blocks(seen.reference, seen.rubric, self._safe)
        text = _FIELD.sub(lambda match: fields[match.group(1)](), template) + extra
        system = (Message(role="system", content=self.system),) if self.system else ()
        return (*system, Message(role="user", content=text))

    def _safe(self, text: str) -> str:
        return parsing.neutralise(text) if self.neutralise else text

    def _fields(self, seen: Pair) -> dict[str, Callable[[], str]]:
        def conversation(side: Side) -> str:
            return lines(seen.turns(side), side, self._safe)

        return {
            "question": lambda: lines(seen.question, "A", self._safe),
            "answer_a": lambda: lines(seen.a, "A", self._safe),
            "answer_b": lambda: lines(seen.b, "B", self._safe),
            "conversation_1": lambda: conversation("A"),
            "conversation_2": lambda: conversation("B"),
            "blocks": lambda: blocks(seen, self._safe),
        }

    def read(self, completion: Completion, pair: Pair | None = None, shown: Shown = "AB") -> Verdict:
        """Read a completion, in the caller's sides. Never raises with our own reader."""
        text = tags.with_open_thought(completion.text) if self._is_cut_in_thought(completion) else completion.text
        verdict = self.reader(text, pair, shown).model_copy(
            update={"text": completion.text, "usage": completion.usage, "shown": shown}
        )
        if completion.reasoning is not None:
            verdict = verdict.model_copy(update={"thinking": completion.reasoning})
        read = verdict.failure.kind if verdict.failure else None
        kind = failure_kind(completion, read)
        return verdict if kind is None or kind == read else parsing.unreadable(kind, verdict)

    def _is_cut_in_thought(self, completion: Completion) -> bool:
        return self.family == "reasoning" and is_cut_in_thought(completion)

    def verdict_prefix(self, completion: Completion) -> str | None:
        """The text up to where a finished verdict names its side; None where `choices` cannot be read."""
        if self.choices is None or completion.reasoning is not None:  # such a turn cannot be given back as it was
            return None
        return parsing.verdict_prefix(completion.text)

    def force_prefix(self, completion: Completion) -> str | None:
        """The text closed and led up to where a side must be named; None where `choices` cannot be read."""
        if self.choices is None or completion.reasoning is not None:
            return None
        return parsing.force_prefix(completion.text, thinking=self._is_cut_in_thought(completion))


def _text(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8").rstrip("\n")


COR = Prompt(name="cor", system=_text("cor_system.txt"), user="{blocks}", family="cor", choices=CHOICES)
REASONING = Prompt(name="reasoning", user=_text("reasoning_user.txt"), family="reasoning", choices=CHOICES)

COR_TIES = Prompt(
    name="cor-ties",
    system=_text("cor_system.txt").rpartition(" There is always one")[0] + " " + _text("cor_ties.txt"),
    user="{blocks}",
    family="cor",
    reader=read_tags_or_tie,
)
"""`cor` for judges that may say that both answers are equally good."""

PROMPTS = {prompt.name: prompt for prompt in (COR, REASONING, COR_TIES)}


def get(name: str) -> Prompt:
    """The prompt of that name; "published-instruct" and "published-reasoning" once they were imported."""
    if name in PROMPTS:
        return PROMPTS[name]
    names = [*PROMPTS, *_PUBLISHED]
    if name not in _PUBLISHED:
        raise unknown("prompt", name, names)
    prompt = _published(name)
    if prompt is None:
        raise ConfigError(f"the texts of {name!r} are not here; {_HOW_TO_GET}")
    return prompt


_PUBLISHED: dict[str, Literal["cor", "reasoning"]] = {"published-instruct": "cor", "published-reasoning": "reasoning"}
_CHECKPOINT = re.compile(r"rm-r1-.{0,40}?(instruct|deepseek-distilled)", re.IGNORECASE)
_HOW_TO_GET = "run `rmr1 prompts pull`, or `rmr1 prompts import demo.ipynb` with the authors' notebook"


def _published(name: str) -> Prompt | None:
    texts = published.load()
    if texts is None:
        return None
    if name == "published-instruct":
        return Prompt(
            name=name,
            system=texts["INSTRUCT_SYSTEM_PROMPT"],
            user=texts["INSTRUCT_SINGLE_USER_PROMPT_TEMPLATE"],
            user_multi=texts["INSTRUCT_MULTI_USER_PROMPT_TEMPLATE"],
            family="cor",
            choices=CHOICES,
        )
    return Prompt(
        name=name,
        user=texts["REASONING_SINGLE_PROMPT_TEMPLATE"],
        user_multi=texts["REASONING_MULTI_PROMPT_TEMPLATE"],
        family="reasoning",
        choices=CHOICES,
    )


def resolve(prompt: str | Prompt, *, model: str, chat_template: str | None, recorded: str | None) -> Prompt:
    """The prompt a judge uses. Never uses the network.

    "auto" looks at, in this order: the prompt name recorded in the checkpoint, the table of published
    checkpoints, `<think>` in the chat template; else it is `cor`. A published checkpoint without its
    texts gets ours and a warning; "published" raises ConfigError then.
    """
    if isinstance(prompt, Prompt):
        return prompt
    if prompt not in ("auto", "published"):
        return get(prompt)
    if prompt == "auto" and recorded:
        return get(recorded)
    thinks = tags.writes_thoughts(chat_template)
    checkpoint = _CHECKPOINT.search(model)
    if checkpoint:
        thinks = checkpoint.group(1).lower() != "instruct"
    name = "published-reasoning" if thinks else "published-instruct"
    if prompt == "published":
        return get(name)
    own = REASONING if thinks else COR
    if not checkpoint:
        return own
    if found := _published(name):
        return found
    warnings.warn(
        f"{model} was trained with the published RM-R1 prompt, which is not here; it is judged with {own.name!r} "
        f"instead, and its figures will differ from the published ones. To get it, {_HOW_TO_GET}",
        stacklevel=2,
    )
    return own
