"""What the tests of evaluation libraries share."""

from pathlib import Path

import pytest

PLUGINS = Path(__file__).with_name("plugins")


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither library reads the user's settings, or leaves anything in the user's folders."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("INSPECT_LOG_DIR", str(tmp_path / "logs"))
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "PRIME_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
