"""What a user meets first: what `import rmr1_sdk` costs, and that the names are there."""

import importlib
import json
import pkgutil
import sys

import pytest

import rmr1_sdk
from rmr1_sdk.errors import MissingExtraError
from tests import processes

HEAVY = (
    "torch", "transformers", "vllm", "llama_cpp", "trl", "openai", "anthropic", "fastapi", "scipy", "pandas", "numpy",
    "jinja2", "rich", "typer", "httpx2", "asyncio", "sqlite3", "platformdirs",
)  # fmt: skip


def fresh(code: str) -> str:
    return processes.run([sys.executable, "-c", code], check=True).stdout


def test_import_brings_in_nothing_heavy_and_does_nothing() -> None:
    code = (
        "import json, logging, os, sys, threading; before = dict(os.environ), list(logging.root.handlers)\n"
        "import rmr1_sdk\n"
        "assert 'pydantic' not in sys.modules\n"
        "assert rmr1_sdk.types.Pair is rmr1_sdk.Pair  # imported on use\n"
        "assert before == (dict(os.environ), logging.root.handlers) and threading.active_count() == 1\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    loaded = set(json.loads(fresh(code)))
    plain = set(
        json.loads(
            fresh("import json, sys, pydantic; from pydantic import BaseModel; print(json.dumps(sorted(sys.modules)))")
        )
    )
    assert sorted((loaded - plain) & set(HEAVY)) == []
    assert "rmr1_sdk.types" in loaded
    assert "rmr1_sdk.judge" not in loaded


def test_names_are_public_sorted_and_documented() -> None:
    assert rmr1_sdk.__all__ == sorted(rmr1_sdk.__all__)
    for name in rmr1_sdk.__all__:
        assert getattr(rmr1_sdk, name).__doc__, name
        assert name in dir(rmr1_sdk)
    with pytest.raises(AttributeError, match="has no attribute 'Jugde'"):
        _ = rmr1_sdk.Jugde


@pytest.mark.parametrize("name", [module.name for module in pkgutil.walk_packages(rmr1_sdk.__path__, "rmr1_sdk.")])
def test_every_module_says_what_is_public(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except MissingExtraError as missing:
        pytest.skip(str(missing))
    assert module.__doc__
    assert all(hasattr(module, public) for public in getattr(module, "__all__", []))


def test_the_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert version("rmr1_sdk") == rmr1_sdk.__version__
