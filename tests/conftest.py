"""What several tests share."""

import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.files.models import find_gguf

settings.register_profile("here", deadline=None)  # no test looks at a clock
settings.load_profile("here")


def pytest_configure() -> None:
    """End as after Ctrl-C when the run is terminated, so that fixtures and blocks end what they started.

    What a shell begins in the background ignores Ctrl-C. So would all children, and some are here to be sent it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder of real data, ../shared, which is not here")
    return SHARED


@pytest.fixture
def texts(shared: Path) -> dict[str, str]:
    """The texts that published RM-R1 checkpoints were trained with, by their names there."""
    names = {
        "INSTRUCT_SYSTEM_PROMPT": "instruct_system",
        "INSTRUCT_SINGLE_USER_PROMPT_TEMPLATE": "instruct_user_single",
        "INSTRUCT_MULTI_USER_PROMPT_TEMPLATE": "instruct_user_multi",
        "REASONING_SINGLE_PROMPT_TEMPLATE": "reasoning_user_single",
        "REASONING_MULTI_PROMPT_TEMPLATE": "reasoning_user_multi",
    }
    return {name: (shared / "prompts" / f"{file}.txt").read_bytes().decode() for name, file in names.items()}


@pytest.fixture(scope="session")
def gguf() -> Path:
    """The file of a real model of 135 million parameters."""
    if find_spec("llama_cpp") is None:
        pytest.skip("needs llama.cpp, which is not installed; `make test` installs it")
    try:
        return find_gguf("smollm2-135m")
    except ConfigError as error:
        pytest.skip(f"needs a real model: {error}")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache folder."""
    monkeypatch.setenv("RMR1_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def rmr1() -> list[str]:
    """The `rmr1` command of this environment, to be run as a process of its own."""
    return [sys.executable, "-c", "from rmr1_sdk.cli import main; main()"]
