from contextlib import suppress
from pathlib import Path

import pytest

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.files.cache import replacing, write_atomic


def test_a_file_is_written_as_a_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "found.txt"
    write_atomic(file, "before")
    with suppress(RuntimeError), replacing(file) as part:
        part.write_text("half")
        raise RuntimeError
    assert [(path, path.read_text()) for path in tmp_path.iterdir()] == [(file, "before")]
    write_atomic(file, "after")
    assert [(path, path.read_text()) for path in tmp_path.iterdir()] == [(file, "after")]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no/found\.txt: cannot be written: No such file or directory$"):
        write_atomic(tmp_path / "no" / "found.txt", "text")


def test_a_file_that_cannot_be_replaced_leaves_no_half(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="folder: cannot be written"):
        write_atomic(tmp_path / "folder", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
