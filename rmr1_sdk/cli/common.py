"""Shared parts of the commands that run a judge: options, output files, and the record of a run."""

import atexit
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from importlib.metadata import packages_distributions, version
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Annotated, Any, Generic, Protocol, TypeVar, cast, get_args

import typer

from rmr1_sdk.backends import BACKENDS
from rmr1_sdk.errors import ConfigError, DataError, RMR1Error, file_errors
from rmr1_sdk.files.cache import write_atomic
from rmr1_sdk.files.judgments import JsonLines, Writer
from rmr1_sdk.files.pairs import Form
from rmr1_sdk.judge import Judge
from rmr1_sdk.types import Outcome, Pair, Value

__all__ = [
    "Output", "as_lines", "check_lines", "check_out", "mapping", "pair_form", "received", "record", "show",
    "show_summary", "text", "write_record",
]  # fmt: skip

Field = Annotated[
    list[str], typer.Option(help="A field under another name in FILE: question=prompt; repeat it.", show_default="none")
]
Label = Annotated[
    str, typer.Option(help="What the labels in FILE mean: A=1,B=2,tie=0.", show_default="A, model_a, A>B, tie ...")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="List bad lines in the summary and go on.")]

V = TypeVar("V", bound=Value)


class Summary(Protocol):
    """Summary of a run over a file."""

    skipped_lines: list[str]

    def as_json(self) -> dict[str, Any]:
        """For programs."""

    def as_text(self) -> str:
        """For a person."""


def check_out(out: Path | None, *inputs: Path | None, folder: bool = False) -> None:
    """Refuse to write over what is read, and over a folder where a file is to be."""
    if out is None or not out.exists():
        return
    if any(given is not None and given.exists() and out.samefile(given) for given in inputs):
        raise ConfigError(f"--out {out} is the file that is read; name another")
    if out.is_dir() and not folder:
        raise ConfigError(f"--out {out} is a folder; name a file")


def check_lines(file: Path, rows: int, bad: Sequence[DataError], skip_bad: bool) -> None:
    """Stop before any work where lines are bad, or where there is nothing to do."""
    if bad and not skip_bad:
        more = f" (and {len(bad) - 1} more bad lines)" if len(bad) > 1 else ""
        raise DataError(f"{bad[0]}{more}; nothing was judged. --skip-bad leaves bad lines out and lists them")
    if not rows:
        raise DataError("nothing to judge in this file", path=file)


def text(option: str, value: str) -> str:
    """The value, or what the file of "@FILE" holds; "@@" is an "@" that means itself."""
    if not value.startswith("@") or value.startswith("@@"):
        return value.removeprefix("@")
    with file_errors(f"{option} {value}"):
        return Path(value[1:]).expanduser().read_text(encoding="utf-8")


def mapping(fields: list[str], row: type[Value]) -> dict[str, str]:
    """Parse `--field OURS=THEIRS`, for rows of this kind."""
    names = {}
    for entry in fields:
        ours, equals, theirs = entry.partition("=")
        if not (equals and theirs) or ours not in row.model_fields:
            raise ConfigError(
                f"--field {entry}: write OURS=THEIRS, as in question=prompt; ours are {', '.join(row.model_fields)}"
            )
        names[ours] = theirs
    return names


def pair_form(fields: list[str], label: str, seed: int) -> Form:
    """The way to read a file of pairs that `--field` and `--label` describe."""
    labels: dict[Outcome, str] = {}
    for entry in label.split(",") if label else ():
        ours, equals, theirs = entry.partition("=")
        if not (equals and theirs) or ours not in get_args(Outcome):
            raise ConfigError(f"--label {label}: write what the file says for each, as in A=1,B=2,tie=0")
        labels[cast(Outcome, ours)] = theirs
    return Form(mapping(fields, Pair), labels, seed)


def received(file: Path | None) -> Path | None:
    """The file; for `-` a copy of standard input, which is removed when the process ends."""
    if file != Path("-"):
        return file
    folder = Path(mkdtemp(prefix="rmr1-"))
    atexit.register(rmtree, folder, ignore_errors=True)
    content = sys.stdin.buffer.read()
    kinds = {b"{": "jsonl", b"[": "json", b"P": "parquet", b"\x1f": "jsonl.gz"}
    copy = folder / f"stdin.{kinds.get(content.lstrip()[:1], 'csv')}"
    copy.write_bytes(content)
    return copy


class Output(Generic[V]):
    """Writer of results: into OUT.part, which is renamed to OUT at the end, and formatted to the screen.

    `start` opens what writes OUT.part.
    """

    def __init__(
        self, out: Path | None, form: Callable[[V], str] | None, start: Callable[[Path], Writer] = JsonLines
    ) -> None:
        self._out = out
        self._part = out and Path(f"{out}.part")
        self._form = form
        self._start = start

    def __enter__(self) -> "Output[V]":
        if self._part:
            with file_errors(f"--out {self._out}: cannot be written"):
                self._part.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._start(self._part)
        return self

    def write(self, result: V) -> None:
        """Print it, and add its line to OUT.part."""
        if self._form:
            print(self._form(result), flush=True)
        if self._part is not None:
            with self._explained():
                self._file.write(result)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._part is None or self._out is None:
            return
        if error is None:
            with self._explained():
                self._file.close()
                os.replace(self._part, self._out)
        else:
            with suppress(OSError):  # the first error is the one to show
                self._file.close()

    def _explained(self) -> AbstractContextManager[None]:
        return file_errors(f"{self._part}", RMR1Error, then="; with a store, the same command resumes")


def record(judge: Judge, asked: dict[str, Any], data: str | None) -> dict[str, Any]:
    """Record of a run: versions, model, prompt, options, what was `asked` for, and the digest of the data."""
    prompt = judge.prompt
    return {
        "rmr1_sdk": version("rmr1_sdk"),
        "python": platform.python_version(),
        "engines": _engines(),
        "model": judge.backend.model,
        "identity": judge.backend.identity,
        "prompt": prompt.name,
        "prompt_sha256": prompt.digest,
        "neutralise": prompt.neutralise,
        **judge.options.model_dump(exclude={"prompt", "sampling"}),
        "sampling": judge.sampling.model_dump(),
        **asked,
        "data_sha256": data,
    }


def _engines() -> dict[str, str]:
    """Versions of the installed libraries that backends import."""
    imports = {name for spec in BACKENDS.values() for name in spec.imports}
    found = {name for package, names in packages_distributions().items() if package in imports for name in names}
    return {name.replace("-", "_"): version(name) for name in sorted(found)}


def write_record(out: Path, run: dict[str, Any]) -> None:
    """`run.json` beside OUT, which says whose it is: the next run in this folder has the next one."""
    write_atomic(out.parent / "run.json", json.dumps({"out": out.name, **run}, indent=2) + "\n")


def as_lines(rows: Sequence[tuple[str, str]], skipped_lines: Sequence[str]) -> str:
    """A summary as lines of a name and a text; names without a text are left out, bad lines come last."""
    skipped = ("bad lines skipped", "\n".join([str(len(skipped_lines)), *skipped_lines]) if skipped_lines else "")
    shown = [(name, text) for name, text in [*rows, skipped] if text]
    return "\n".join(f"{name:<18} {text}".replace("\n", "\n" + " " * 19) for name, text in shown)


def show(text: Callable[[], str], json: Callable[[], str]) -> None:
    """Print text for a person, or JSON where standard output is a pipe."""
    print((text if sys.stdout.isatty() else json)())


def show_summary(summary: Summary, rows: int, *, to_stdout: bool) -> None:
    """JSON when standard output is a pipe of its own, a few lines for a person where there is more than one row."""
    if to_stdout and not sys.stdout.isatty():
        print(json.dumps(summary.as_json()))
    if rows > 1 or summary.skipped_lines:
        print(summary.as_text(), file=sys.stderr)
