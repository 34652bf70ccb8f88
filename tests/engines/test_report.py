"""No key and no secret of a URL comes into a report, whatever the server says back."""

import base64
import os
import re
import zlib
from pathlib import Path

from tests import processes
from tests.engines.server import Asked, Reply, Server, chat
from tests.engines.test_remote import KEY
from tests.published import write


def test_a_key_is_in_no_report(rmr1: list[str], tmp_path: Path) -> None:
    def behave(asked: Asked) -> Reply:
        assert asked.headers["authorization"]
        return chat("<answer>[[A]]</answer>")

    def run(*arguments: object) -> None:
        given = [*rmr1, *map(str, arguments)]
        done = processes.run(given, env=environment)
        assert done.returncode == 0, done.stderr

    out = tmp_path / "run"
    with Server(behave) as server:
        address = server.url.replace("http://", f"http://user:{KEY}@") + f"/v1?key={KEY}"
        environment = {**os.environ, "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": address}
        run("bench", "ifbench", "--data", write("ifbench", tmp_path), "--partial", "--model", "openai:m", "--out", out)
    texts = []
    for suffix in ("html", "md", "json"):
        run("report", out, "-o", tmp_path / f"report.{suffix}")
        texts.append((tmp_path / f"report.{suffix}").read_text())
    packed = re.findall(r'<script type="text/plain"[^>]*>([^<]*)</script>', texts[0])
    texts += [zlib.decompress(base64.b64decode(text)).decode() for text in packed]
    assert len(texts) == 5
    assert "[[A]]" in texts[-1]
    assert [text for text in texts if KEY in text] == []
