"""Files of the hub, from a server on loopback that can be told to misbehave."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from rmr1_sdk.files.models import find_gguf
from tests import processes

FILES = {"m-Q4_1.gguf": b"GGUF" + bytes(24_000_000), "m-Q8_0.gguf": b"GGUF8", "config.json": b"{}"}
FIND = "import sys; from rmr1_sdk.files.models import find_gguf; print(find_gguf(sys.argv[1]))"


class Hub(ThreadingHTTPServer):
    """Speaks as much of the hub's protocol as a download takes.

    `pause_at` holds a file back from that byte on, to the end; `break_at` closes the connection after so many bytes.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files = dict(FILES)
        self.told = dict(FILES)  # what the listing says of them
        self.asked: list[str] = []
        self.tokens: list[str | None] = []
        self.pause_at: int | None = None
        self.break_at: int | None = None
        self.closed = Event()
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def handle(self) -> None:
        with suppress(ConnectionError):  # a client that was killed
            super().handle()

    def _answer(self, *, body: bool) -> None:
        name = self.path.rpartition("/")[2]
        start = int(re.sub(r"\D", "", self.headers.get("Range", "0")) or 0)
        self.server.asked.append(f"{self.command} {name} {start}")
        self.server.tokens.append(self.headers.get("Authorization"))
        digest = {name: hashlib.sha256(content).hexdigest() for name, content in self.server.told.items()}
        head = {"X-Repo-Commit": "c" * 40, "Accept-Ranges": "bytes"}
        if self.path.startswith("/api/models/org/repo?"):
            siblings = [
                {"rfilename": n, "size": len(c), "lfs": {"sha256": digest[n], "size": len(c), "pointerSize": 1}}
                for n, c in self.server.told.items()
            ]
            content = json.dumps({"id": "org/repo", "sha": "c" * 40, "siblings": siblings}).encode()
        elif name in self.server.files:
            content = self.server.files[name]
        else:
            self.send_error(404)
            return
        self.send_response(206 if start else 200)
        if start:
            head["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        for field, value in (head | {"Content-Length": str(len(content) - start)}).items():
            self.send_header(field, value)
        self.end_headers()
        if body:
            self._send(content[start:])

    def _send(self, content: bytes) -> None:
        pause = self.server.pause_at
        content = content[: self.server.break_at]
        self.wfile.write(content[:pause])
        if pause is not None and len(content) > pause:
            self.wfile.flush()
            self.server.closed.wait()
        self.wfile.write(content[len(content[:pause]) :])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    yield server
    server.closed.set()
    server.shutdown()
    server.server_close()


def environment(hub: Hub, tmp_path: Path, **more: str) -> dict[str, str]:
    ours = {"HF_ENDPOINT": hub.url, "RMR1_CACHE": str(tmp_path / "cache")}
    return os.environ | ours | more


def find(hub: Hub, tmp_path: Path, name: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return processes.run([sys.executable, "-c", FIND, name], env=environment(hub, tmp_path, **more))


def test_a_file_is_downloaded_once_and_then_needs_no_network(hub: Hub, tmp_path: Path) -> None:
    first = find(hub, tmp_path, "org/repo:q4_1")
    assert Path(first.stdout.strip()).read_bytes() == FILES["m-Q4_1.gguf"], first.stderr
    asked = len(hub.asked)
    assert find(hub, tmp_path, "org/repo:q4_1").stdout == first.stdout
    assert find(hub, tmp_path, "org/repo:q4_1", HF_HUB_OFFLINE="1").stdout == first.stdout
    assert len(hub.asked) == asked


def test_a_killed_download_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    hub.pause_at = 15_000_000
    cache = tmp_path / "cache"
    with processes.Child([sys.executable, "-c", FIND, "org/repo:Q4_1"], env=environment(hub, tmp_path)) as killed:
        killed.until(lambda: sum(file.stat().st_size for file in cache.rglob("*.part")) > 5_000_000)
        killed.kill()
    hub.pause_at = None
    hub.asked.clear()
    again = find(hub, tmp_path, "org/repo:Q4_1")
    assert Path(again.stdout.strip()).read_bytes() == FILES["m-Q4_1.gguf"], again.stderr
    starts = [int(line.split()[2]) for line in hub.asked if line.startswith("GET m-Q4_1.gguf")]
    assert starts
    assert min(starts) > 5_000_000


def test_a_broken_connection_is_taken_up_again(hub: Hub, tmp_path: Path) -> None:
    hub.break_at = 3_000_000
    found = find(hub, tmp_path, "org/repo:Q4_1")
    assert Path(found.stdout.strip()).read_bytes() == FILES["m-Q4_1.gguf"], found.stderr
    assert len([line for line in hub.asked if line.startswith("GET m-Q4_1.gguf")]) > 8


def test_two_processes_download_once(hub: Hub, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FIND, "org/repo:Q4_1"]
    with (
        processes.Child(command, env=environment(hub, tmp_path)) as one,
        processes.Child(command, env=environment(hub, tmp_path)) as other,
    ):
        paths = {one.finish().stdout, other.finish().stdout}
    assert Path(paths.pop().strip()).read_bytes() == FILES["m-Q4_1.gguf"]
    assert paths == set()
    assert len([line for line in hub.asked if line.startswith("GET m-Q4_1.gguf")]) == 1


def test_all_parts_of_a_split_file_are_there(hub: Hub, tmp_path: Path) -> None:
    names = [f"Q6/m-Q6_K-0000{n}-of-00002.gguf" for n in (1, 2)]
    hub.told = {name: b"GGUF" + name.encode() for name in names}
    hub.files = {name.rpartition("/")[2]: content for name, content in hub.told.items()}
    first = Path(find(hub, tmp_path, "org/repo:Q6_K").stdout.strip())
    assert first.name == "m-Q6_K-00001-of-00002.gguf"
    assert sorted(file.name for file in first.parent.iterdir()) == [name.removeprefix("Q6/") for name in names]
    next(file for file in first.parent.iterdir() if file != first).unlink()
    hub.asked.clear()
    assert Path(find(hub, tmp_path, "org/repo:Q6_K").stdout.strip()) == first
    assert "GET m-Q6_K-00002-of-00002.gguf 0" in hub.asked


def test_a_damaged_file_is_refused_and_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.files["m-Q4_1.gguf"] = b"GGUF" + b"x" * 24_000_000
    damaged = find(hub, tmp_path, "org/repo:Q4_1")
    assert "the download is damaged: its SHA-256 is" in damaged.stderr
    hub.files["m-Q4_1.gguf"] = FILES["m-Q4_1.gguf"][:-9]
    assert "sends fewer bytes than the hub's listing says" in find(hub, tmp_path, "org/repo:Q4_1").stderr
    hub.files = dict(FILES)
    assert Path(find(hub, tmp_path, "org/repo:Q4_1").stdout.strip()).read_bytes() == FILES["m-Q4_1.gguf"]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("org/repo:Q2_K", {}, "org/repo has no GGUF file of quantisation 'Q2_K'; it has: m-Q4_1.gguf, m-Q8_0.gguf"),
        ("org/repo:Q4", {}, "has no GGUF file of quantisation 'Q4'"),
        ("org/other:Q4_1", {}, "the hub has no model 'org/other' that can be read"),
        ("org/repo:Q4_1", {"HF_HUB_OFFLINE": "1"}, "was not downloaded before, and the network is forbidden"),
        ("org/repo:Q4_1", {"HF_TOKEN": "hf_planted\nX: y"}, "$HF_TOKEN: this is no key"),
        ("org/repo:Q4_1", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "the files of org/repo could not be listed"),
    ],
)
def test_what_cannot_be_had_is_said(
    hub: Hub, tmp_path: Path, name: str, settings: dict[str, str], message: str
) -> None:
    failed = find(hub, tmp_path, name, **settings)
    assert failed.returncode == 1
    assert message in failed.stderr.splitlines()[-1]
    assert "planted" not in failed.stderr


def test_a_token_is_sent_without_the_space_around_it(hub: Hub, tmp_path: Path) -> None:
    assert find(hub, tmp_path, "org/repo:Q4_1", HF_TOKEN=" hf_planted\n").returncode == 0
    assert set(hub.tokens) == {"Bearer hf_planted"}


@pytest.mark.llama_cpp
def test_a_downloaded_model_judges(hub: Hub, tmp_path: Path, gguf: Path, rmr1: list[str]) -> None:
    hub.files = hub.told = {"smol-Q4_1.gguf": gguf.read_bytes()}
    pair = ["--question", "2+2?", "--a", "4", "--b", "5", "--max-tokens", "8"]
    model = ["judge", "--model", "llama_cpp:org/repo:Q4_1"]
    settings = environment(hub, tmp_path)
    offline = processes.run([*rmr1, *model, *pair, "--offline"], env=settings)
    assert (offline.returncode, "the network is forbidden" in offline.stderr) == (2, True)
    assert hub.asked == []
    online = processes.run([*rmr1, *model, *pair], env=settings)
    assert json.loads(online.stdout)["model"] == "smol-Q4_1", online.stderr
    again = processes.run([*rmr1, *model, *pair, "--offline"], env=settings)
    assert json.loads(again.stdout)["verdicts"] == json.loads(online.stdout)["verdicts"]


def test_a_path_is_not_taken_for_a_repository() -> None:
    assert find_gguf("./folder/model.gguf") == Path("folder/model.gguf")
    assert find_gguf("folder/model.gguf") == Path("folder/model.gguf")
