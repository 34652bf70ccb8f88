"""`rmr1 judge`: one pair, or a file of them."""

import hashlib
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from rmr1_sdk.errors import ConfigError, DataError, RMR1Error
from rmr1_sdk.judge import Judge, Orders
from rmr1_sdk.pairs import read_pairs
from rmr1_sdk.stats import wilson
from rmr1_sdk.types import Judgment, Pair

__all__ = ["judge"]


@dataclass
class Summary:
    """What a run of a file came to.

    `winners` counts pairs ("none": no reading of either order was readable), `failures` and `forced`
    count readings, `empty` pairs with an answer without text. `position_effects` adds up those of the
    pairs that were read in both orders. `accuracy` is over all labelled pairs: a
    tie is right where the label is one, and no verdict never is.
    """

    pairs: int = 0
    identical: int = 0
    empty: int = 0
    winners: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    readings: int = 0
    forced: int = 0
    position_consistent: int = 0
    both_orders_read: int = 0
    position_effects: float = 0.0
    labelled: int = 0
    right: int = 0
    tokens: int = 0
    wall_s: float = 0.0
    skipped_lines: list[str] = field(default_factory=list)

    def add(self, pair: Pair, judgment: Judgment) -> None:
        self.pairs += 1
        self.identical += pair.is_identical
        self.empty += not (pair.text("A").strip() and pair.text("B").strip())
        self.winners[judgment.winner or "none"] += 1
        self.failures.update(verdict.failure.kind for verdict in judgment.verdicts if verdict.failure)
        self.readings += len(judgment.verdicts)
        self.forced += sum(verdict.forced for verdict in judgment.verdicts)
        self.both_orders_read += judgment.position_consistent is not None
        self.position_consistent += judgment.position_consistent is True
        self.position_effects += judgment.position_effect or 0.0
        self.labelled += pair.label is not None
        self.right += pair.label is not None and pair.label == judgment.winner
        self.tokens += judgment.usage.total_tokens

    def as_json(self) -> dict[str, Any]:
        accuracy = wilson(self.right, self.labelled)
        return {name: value for name, value in vars(self).items() if name != "position_effects"} | {
            "position_effect": self.position_effect,
            "unreadable": self.failures.total(),
            "pairs_per_s": round(self.pairs / self.wall_s, 3) if self.wall_s else None,
            "accuracy": accuracy and accuracy._asdict(),
        }

    def as_text(self) -> str:
        rate = f"{self.pairs / self.wall_s:.2f} pairs/s" if self.wall_s else "-"
        effect = self.position_effect
        rows = [
            ("pairs", f"{self.pairs} ({self.identical} with identical answers, {self.empty} with an empty one)"),
            ("time", f"{self.wall_s:.1f} s, {rate}, {self.tokens:,} tokens"),
            ("winners", ", ".join(f"{name} {self.winners[name]}" for name in ("A", "B", "tie", "none"))),
            ("readings", f"{self.readings}, {self.forced} forced, {self.failures.total()} unreadable"),
            ("unreadable", ", ".join(f"{kind} {n}" for kind, n in self.failures.most_common())),
            ("both orders agree", _share(self.position_consistent, self.both_orders_read)),
            ("position effect", "" if effect is None else f"{effect:+.2f} (above 0: favours what is shown first)"),
            ("agrees with label", _share(self.right, self.labelled)),
            ("bad lines skipped", "\n".join([str(len(self.skipped_lines)), *self.skipped_lines])),
        ]
        shown = [(name, text) for name, text in rows if text and (name != "bad lines skipped" or self.skipped_lines)]
        return "\n".join(f"{name:<18} {text}".replace("\n", "\n" + " " * 19) for name, text in shown)

    @property
    def position_effect(self) -> float | None:
        """The mean over the pairs that were read in both orders."""
        return self.position_effects / self.both_orders_read if self.both_orders_read else None


def _share(successes: int, trials: int) -> str:
    return f"{wilson(successes, trials)} of {trials}" if trials else ""


def judge(
    file: Annotated[Path | None, typer.Argument(help="A JSONL file of pairs.")] = None,
    model: Annotated[str, typer.Option(help='The engine and model, as in "llama_cpp:model.gguf".')] = "",
    question: Annotated[str | None, typer.Option(help="For one pair: the question, or @FILE.")] = None,
    a: Annotated[str | None, typer.Option(help="For one pair: one answer, or @FILE.")] = None,
    b: Annotated[str | None, typer.Option(help="For one pair: the other answer, or @FILE.")] = None,
    field: Annotated[list[str], typer.Option(help="Where FILE names a field differently: question=prompt.")] = [],  # noqa: B006  # typer copies it
    out: Annotated[Path | None, typer.Option(help="Where judgments go, as JSONL.")] = None,
    prompt: Annotated[str, typer.Option(help="auto, published, or a name from `rmr1 prompts ls`.")] = "auto",
    orders: Annotated[str, typer.Option(help="both, given or random.")] = "both",
    votes: Annotated[int, typer.Option(help="Readings per order; with --max-votes, at least.")] = 1,
    max_votes: Annotated[int | None, typer.Option(help="Readings per order at most; stop when it is settled.")] = None,
    risk: Annotated[float, typer.Option(help="How probably stopping early changes the outcome.")] = 0.05,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens a reading may write.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature.")] = None,
    seed: Annotated[int, typer.Option(help="All randomness follows from it.")] = 0,
    store: Annotated[Path | None, typer.Option(help="Keeps completions [default: OUT.store.db].")] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Keep nothing; no resume.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Judge only the first pairs.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="List bad lines in the summary and go on.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds per comparison.")] = None,
    max_tokens_total: Annotated[int | None, typer.Option(help="Stop when so many tokens are spent.")] = None,
    max_concurrency: Annotated[int | None, typer.Option(help="Requests in flight.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Print each judgment with its reasons.")] = False,
) -> None:
    """Judge one pair (--question, --a, --b) or a file of pairs."""
    if not model:
        raise ConfigError('--model is missing: give an engine and a model, as in "llama_cpp:model.gguf"')
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    pairs, summary, data = _pairs(file, field, (question, a, b), skip_bad)
    pairs = pairs[:limit]
    given = {"max_tokens": max_tokens, "temperature": temperature}
    judge = Judge(
        model,
        prompt=prompt,
        orders=cast(Orders, orders),  # checked by Judge
        votes=votes,
        max_votes=max_votes,
        risk=risk,
        sampling={name: value for name, value in given.items() if value is not None},
        store=None if no_store else store or (out and Path(f"{out}.store.db")),
        max_concurrency=max_concurrency,
        max_tokens_total=max_tokens_total,
        timeout_s=timeout,
        seed=seed,
    )
    started = time.monotonic()
    with judge, _Output(out, _form(explain, out, len(pairs))) as output:
        for judgment in judge.compare_many(pairs, progress=len(pairs) > 1 and sys.stderr.isatty()):
            pair = pairs[summary.pairs]
            summary.add(pair, judgment)
            output.write(judgment)
        asked = {"orders": orders, "votes": votes, "max_votes": max_votes, "risk": risk, "seed": seed}
        run = _run(judge, asked, data)
    summary.wall_s = time.monotonic() - started
    if out:
        (out.parent / "run.json").write_text(json.dumps(run | {"summary": summary.as_json()}, indent=2) + "\n")
    _report(summary, to_stdout=out is not None)


def _pairs(
    file: Path | None, fields: list[str], texts: tuple[str | None, str | None, str | None], skip_bad: bool
) -> tuple[list[Pair], Summary, str | None]:
    """The pairs to judge, the summary they start, and the digest of the file they came from."""
    question, a, b = texts
    if file is None:
        if question is None or a is None or b is None:
            raise ConfigError("give a file of pairs, or --question, --a and --b")
        pair = Pair(question=_text("--question", question), a=_text("--a", a), b=_text("--b", b))
        return [pair], Summary(), None
    if texts != (None, None, None):
        raise ConfigError("give a file of pairs or --question, --a and --b, not both")
    pairs, bad = read_pairs(file, fields=_mapping(fields))
    if bad and not skip_bad:
        more = f" (and {len(bad) - 1} more bad lines)" if len(bad) > 1 else ""
        raise DataError(f"{bad[0]}{more}; nothing was judged. --skip-bad leaves bad lines out and lists them")
    if not pairs:
        raise DataError("no pairs in this file", path=file)
    return pairs, Summary(skipped_lines=[str(error) for error in bad]), hashlib.sha256(file.read_bytes()).hexdigest()


def _text(option: str, value: str) -> str:
    """The value, or what the file of "@FILE" holds; "@@" is an "@" that means itself."""
    if not value.startswith("@") or value.startswith("@@"):
        return value.removeprefix("@")
    try:
        return Path(value[1:]).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{option} {value}: {getattr(error, 'strerror', None) or error}") from error


def _mapping(fields: list[str]) -> dict[str, str]:
    mapping = {}
    for entry in fields:
        ours, equals, theirs = entry.partition("=")
        if not (equals and theirs) or ours not in Pair.model_fields:
            raise ConfigError(
                f"--field {entry}: write OURS=THEIRS, as in question=prompt; ours are {', '.join(Pair.model_fields)}"
            )
        mapping[ours] = theirs
    return mapping


_Form = Callable[[Judgment], str]


def _form(explain: bool, out: Path | None, pairs: int) -> _Form | None:
    """How judgments are printed, None where they are not: in OUT alone they are JSON."""
    if explain or (out is None and sys.stdout.isatty() and pairs == 1):
        return lambda judgment: f"== {_name(judgment)} ({judgment.latency_s:.1f} s)\n{judgment.explain()}\n"
    if out is not None:
        return None
    if not sys.stdout.isatty():
        return Judgment.model_dump_json
    print(f"{'pair':<24} {'winner':<6} {'p(A)':>5} {'orders':<8} {'forced':>6} {'seconds':>8}")
    return _row


def _row(judgment: Judgment) -> str:
    """A line of the table for a person; `--explain` has the reasons."""
    p_a = "-" if judgment.p_a is None else f"{judgment.p_a:.2f}"
    orders = {True: "agree", False: "differ", None: "-"}[judgment.position_consistent]
    forced = sum(verdict.forced for verdict in judgment.verdicts)
    winner = judgment.winner or (judgment.failure.kind if judgment.failure else "none")
    return f"{_name(judgment):<24.24} {winner:<6} {p_a:>5} {orders:<8} {forced:>6} {judgment.latency_s:>8.1f}"


def _name(judgment: Judgment) -> str:
    return judgment.pair_id or "pair"


class _Output:
    """Where judgments go: into OUT.part, which becomes OUT when all are there, and in some form to the screen."""

    def __init__(self, out: Path | None, form: _Form | None) -> None:
        self._out = out
        self._part = out and Path(f"{out}.part")
        self._form = form

    def __enter__(self) -> "_Output":
        if self._part:
            try:
                self._part.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._part.open("w", encoding="utf-8")
            except OSError as error:
                raise ConfigError(f"--out {self._out}: cannot be written ({error.strerror or error})") from error
        return self

    def write(self, judgment: Judgment) -> None:
        if self._form:
            print(self._form(judgment), flush=True)
        if self._part is None:
            return
        try:
            self._file.write(judgment.model_dump_json() + "\n")
            self._file.flush()
        except OSError as error:
            why = f"{self._part}: {error.strerror or error}"
            raise RMR1Error(f"{why}; with a store, the same command goes on where this one ended") from error

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._part and self._out:
            with suppress(OSError):  # a full disk was reported by write
                self._file.close()
            if error is None:
                os.replace(self._part, self._out)


def _run(judge: Judge, asked: dict[str, Any], data: str | None) -> dict[str, Any]:
    """What it takes to tell one run from another."""
    policy_prompt = judge.prompt
    return {
        "rmr1_sdk": version("rmr1_sdk"),
        "python": platform.python_version(),
        "engines": {name: found for name in ("llama_cpp_python",) if (found := _version(name))},
        "model": judge.backend.model,
        "identity": judge.backend.identity,
        "prompt": policy_prompt.name,
        "prompt_sha256": policy_prompt.digest,
        "neutralise": policy_prompt.neutralise,
        "sampling": judge.sampling.model_dump(),
        **asked,
        "data_sha256": data,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _report(summary: Summary, *, to_stdout: bool) -> None:
    """The summary: JSON when standard output is a pipe of its own, a few lines for a person."""
    if to_stdout and not sys.stdout.isatty():
        print(json.dumps(summary.as_json()))
    if summary.pairs > 1 or summary.skipped_lines:
        print(summary.as_text(), file=sys.stderr)
    if summary.pairs and summary.winners["none"] == summary.pairs:
        kinds: Sequence[str] = [kind for kind, _ in summary.failures.most_common()]
        hint = "; every prompt is longer than the model's context" if kinds == ["prompt_too_long"] else ""
        raise RMR1Error(f"no verdict could be read ({', '.join(kinds)}){hint}")
