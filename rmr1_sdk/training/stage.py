"""Stage folders: a record of the settings and inputs that made each one, and rows of traces."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TextIO

from rmr1_sdk.errors import ConfigError, DataError, file_errors
from rmr1_sdk.files.cache import replacing
from rmr1_sdk.files.pairs import validated
from rmr1_sdk.files.rows import file_digest, json_object
from rmr1_sdk.prompts import Family
from rmr1_sdk.types import Pair, Value

__all__ = ["Step", "Trace", "read_traces"]


class Trace(Value):
    """A judgment that a judge may learn to write, about a pair in the order given.

    `text` is all that the judge writes, thinking first where the family thinks, and ends in the answer. It was
    asked for with the prompt named `prompt`. `teacher` is 1 for the first teacher, which was not told the answer,
    and 2 for the second, which was; `model` is its name.
    """

    pair: Pair
    text: str
    family: Family
    prompt: str
    teacher: Literal[1, 2]
    model: str


def read_traces(path: Path) -> list[Trace]:
    """The traces of a file. Raises ConfigError where it cannot be read, DataError at a line that is none."""
    traces = []
    with file_errors(path):
        lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            traces.append(validated(json_object(line), Trace))
        except ValueError as error:
            raise DataError(str(error), path=path, line=number) from error
    return traces


class Step:
    """A stage's folder. Files appear in it whole, and last `step.json`: what made them, and their SHA-256.

    So a stage that was killed begins again, or goes on from its store, and one that is done is not done twice.

    Args:
        stage: its name.
        out: the folder; made where it is not there.
        settings: all that decides what comes out, as JSON.
        inputs: the files that are read.

    Raises ConfigError where an input cannot be read, or the folder cannot be written.
    """

    def __init__(self, stage: str, out: Path, settings: Mapping[str, Any], inputs: Sequence[Path] = ()) -> None:
        self.out = out
        self._file = out / "step.json"
        self._made: list[str] = []
        self._record: dict[str, Any] = {
            "stage": stage,
            "rmr1_sdk": version("rmr1_sdk"),
            "settings": json.loads(json.dumps(settings)),
            "inputs": {str(path): file_digest(path) for path in inputs},
        }
        with file_errors(out):
            out.mkdir(parents=True, exist_ok=True)

    def is_done(self) -> bool:
        """True where the folder holds the result of these settings and inputs.

        Raises ConfigError where it holds what others made, and says what differs.
        """
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return False
        if differs := self._differs(found):
            raise ConfigError(f"{self.out} was made with something else ({differs}); name another folder, or delete it")
        return "outputs" in found and all((self.out / name).exists() for name in found["outputs"])

    def begin(self) -> None:
        """Note what is being made: a killed stage that goes on from what it left must not do so for another one."""
        self.write("step.json", json.dumps(self._record, indent=2) + "\n")
        self._made.clear()

    def _differs(self, found: Mapping[str, Any]) -> str:
        ours = self._record
        if found["stage"] != ours["stage"]:
            return f"stage {found['stage']}, now {ours['stage']}"
        then, now = found["settings"], ours["settings"]
        changed = [
            f"{name} {json.dumps(then.get(name))}, now {json.dumps(now.get(name))}"
            for name in {**then, **now}
            if then.get(name) != now.get(name)
        ]
        if list(found["inputs"].values()) != list(ours["inputs"].values()):
            changed.append(f"what is in {', '.join(ours['inputs'])}")
        return "; ".join(changed)

    @contextmanager
    def writing(self, name: str) -> Iterator[TextIO]:
        """A file to write, which gets its name when the block ends without an error."""
        with replacing(self.out / name) as part, part.open("w", encoding="utf-8") as file:
            yield file
        self._made.append(name)

    def write(self, name: str, text: str) -> None:
        """A file that holds this text."""
        with self.writing(name) as file:
            file.write(text)

    def keep(self, *names: str) -> None:
        """Count files among the outputs that were written by others."""
        self._made += names

    def note(self, name: str, value: str | None) -> None:
        """Note something that came out on the way, and that another run need not have in common; None is nothing."""
        if value is not None:
            self._record[name] = value

    def finish(self) -> None:
        """Note that everything is there."""
        outputs = {name: file_digest(self.out / name) for name in self._made}
        self.write("step.json", json.dumps(self._record | {"outputs": outputs}, indent=2) + "\n")
