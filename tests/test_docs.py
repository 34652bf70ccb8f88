"""Every Python block of the documentation runs, page by page, from top to bottom; links between pages hold."""

import re
import runpy
from pathlib import Path
from typing import get_args

import pytest

from rmr1_sdk import __version__
from rmr1_sdk.types import FailureKind

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!http)([^)#]+)")


def blocks(page: Path) -> list[str]:
    return _BLOCK.findall(page.read_text(encoding="utf-8"))


def _marked(page: Path) -> object:
    real = any('"llama_cpp:smollm2' in block for block in blocks(page))
    return pytest.param(page, id=page.name, marks=[pytest.mark.llama_cpp] if real else [])


@pytest.mark.parametrize("page", [_marked(page) for page in PAGES if blocks(page)])
def test_examples_run(page: Path, request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("llama_cpp"):
        request.getfixturevalue("gguf")
    names: dict[str, object] = {}
    for block in blocks(page):
        exec(compile(block, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_every_failure_is_explained() -> None:
    table = (ROOT / "docs" / "reading.md").read_text().partition("## Failures")[2]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(get_args(FailureKind))


def test_the_table_of_layers_is_that_of_the_contracts() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    redrawn = runpy.run_path(str(ROOT / "tools" / "layers.py"))["redrawn"]
    assert redrawn(page) == page, "run python tools/layers.py"


def test_the_changelog_has_this_version_below_what_is_unreleased() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", __version__]
