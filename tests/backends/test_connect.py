"""A backend by its name: ours, or one of the user's own."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from rmr1_sdk import FakeBackend, Judge, connect
from rmr1_sdk.errors import BackendError, ConfigError
from tests import processes

OWN = """
from rmr1_sdk import Capabilities, Completion


class Own:
    model = "own"

    def __init__(self, side):
        self.side = side
        self.identity = f"own:{side}"

    @property
    def capabilities(self):
        loaded.append(self)
        return Capabilities()

    async def generate(self, request, *, on_text=None):
        return Completion(text=f"<answer>[[{self.side}]]</answer>", model=self.model)

    async def aclose(self):
        pass


loaded = []


def make(side="A"):
    return Own(side)
"""

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module into the current folder, which is an empty one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        file = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    yield write
    for name, module in list(sys.modules.items()):
        if name not in before and any(
            str(tmp_path) in path for path in (getattr(module, "__file__", None) or "", *_folders(module))
        ):
            del sys.modules[name]


def _folders(module: ModuleType) -> list[str]:
    return list(getattr(module, "__path__", ()))


def test_a_backend_of_ones_own_is_found_in_the_current_folder_and_not_loaded(write: Write) -> None:
    write("own_backends", OWN)
    backend = connect("own_backends:make", side="B")
    assert backend.identity == "own:B"
    assert sys.modules["own_backends"].loaded == []
    assert Judge(backend, orders="given").compare("Q", "1", "2").winner == "B"
    with Judge("own_backends:make", orders="given") as judge:
        assert judge.compare("Q", "1", "2").winner == "A"


def test_it_may_lie_in_a_package_and_be_a_class(write: Write) -> None:
    write("own_package.deeper", OWN)
    assert connect("own_package.deeper:Own", side="B").identity == "own:B"


def test_names_of_ours_keep_their_meaning(write: Write) -> None:
    write("fake", "raise RuntimeError('not asked for')")
    write("replies", "def reply(request):\n    return '<answer>[[A]]</answer>'\n")
    sys.path.append(str(Path.cwd()))
    assert isinstance(connect("fake:replies:reply"), FakeBackend)
    with pytest.raises(ConfigError, match="does not say which model: write fake:"):
        connect("fake")


@pytest.mark.parametrize("spec", ["opnai:model", "opnai:org/model", "opnai", "opnai:"])
def test_a_name_that_is_no_module_is_an_unknown_backend_with_the_nearest(spec: str, write: Write) -> None:
    with pytest.raises(ConfigError, match=r"unknown backend 'opnai.*did you mean openai:.* Known: anthropic, fake,"):
        connect(spec)


def test_a_module_that_a_package_lacks_is_an_unknown_backend(write: Write) -> None:
    write("own_package.deeper", OWN)
    for spec in ("own_package.other:make", "no_package.deeper:make"):
        with pytest.raises(ConfigError, match=rf"^unknown backend .* in '{spec}'\. Known: anthropic"):
            connect(spec)


def test_only_what_can_be_a_function_is_looked_for(write: Write) -> None:
    write("own_backends", "raise RuntimeError('imported')")
    for spec in ("own_backends:org/model", "http://localhost:8000", ".own_backends:make", ":make"):
        with pytest.raises(ConfigError, match="unknown backend"):
            connect(spec)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("def other(): ...", "unknown backend 'broken' in 'broken:make'; the module broken has no make"),
        ("import not_there", r"broken:make: ModuleNotFoundError: No module named 'not_there' \(.*broken.py, line 1\)"),
        ("\nmake = 1 / 0", r"broken:make: ZeroDivisionError: division by zero \(.*broken.py, line 2\)"),
        ("\n\nmake = (", r"broken:make: SyntaxError: .*\(.*broken.py, line 3\)"),
        ("def make(): raise KeyError('k')", r"broken:make: KeyError: 'k' \(.*broken.py, line 1\)"),
        ("def make(a): ...", r"broken:make: TypeError: make\(\) missing 1 required positional argument: 'a'$"),
        ("make = 3", "broken:make: TypeError: 'int' object is not callable$"),
        ("def make(): return {}", "returned dict, which is no Backend: it has no model, identity, capabilities, gen"),
        ("def make(): ...", "returned NoneType, which is no Backend: it has no model"),
    ],
)
def test_an_error_inside_a_module_is_shown_as_it_is(module: str, message: str, write: Write) -> None:
    write("broken", module)
    with pytest.raises(ConfigError, match=message):
        connect("broken:make")


def test_an_error_of_ours_inside_a_module_stays_what_it_is(write: Write) -> None:
    write("away", "from rmr1_sdk import BackendError\n\n\ndef make():\n    raise BackendError('away')\n")
    with pytest.raises(BackendError, match=r"^away$"):
        connect("away:make")


def test_members_may_come_from_the_instance(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    members = dict.fromkeys(("model", "identity", "capabilities", "generate", "aclose"), "there")
    monkeypatch.setitem(sys.modules, "own_backends", SimpleNamespace(make=lambda: SimpleNamespace(**members)))
    assert connect("own_backends:make").model == "there"


def test_the_command_line_uses_it(write: Write, rmr1: list[str]) -> None:
    write("my_backends", OWN)
    asked = ["judge", "--question", "Q", "--a", "1", "--b", "2", "--orders", "given", "--model"]
    ran = processes.run([*rmr1, *asked, "my_backends:make"])
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["winner"] == "A"
    ran = processes.run([*rmr1, *asked, "my_backend:make"])
    assert ran.returncode == 2
    assert "unknown backend 'my_backend'" in ran.stderr
