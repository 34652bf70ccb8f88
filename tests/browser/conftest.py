"""A real Chromium, and a real server with the page."""

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
import uvicorn

from rmr1_sdk import Judge
from rmr1_sdk.server import create_app
from tests.processes import LIMIT_S, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

ROOT = Path(__file__).resolve().parents[2]
ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def chromium() -> Iterator["Browser"]:
    """A headless Chromium with a user folder of its own."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium, which is not on PATH; `make test-browser` says how to install it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=ARGS)
        yield browser
        browser.close()


@contextmanager
def served(judge: Judge, *, key: str | None = None) -> Iterator[str]:
    """A server on loopback, and its address."""
    app = create_app(judge, keys=[key] if key else [])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        assert server.started
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(LIMIT_S)
        assert not thread.is_alive(), "the server did not stop"


Visit = Callable[..., "Page"]


@pytest.fixture
def visit(chromium: "Browser") -> Iterator[Visit]:
    """Opens the page of a judge's server. In the end no error was logged and nothing was asked of anybody else."""
    with ExitStack() as stack:

        def opened(
            judge: Judge,
            *,
            key: str | None = None,
            width: int = 1180,
            scheme: Literal["light", "dark"] = "light",
            expected: str = "$^",
        ) -> "Page":
            """The page; `expected` is a pattern of the errors that the console may log."""
            stack.enter_context(judge)
            origin = stack.enter_context(served(judge, key=key))
            return stack.enter_context(watched(chromium, origin, width=width, scheme=scheme, expected=expected))

        yield opened


@contextmanager
def watched(
    chromium: "Browser", origin: str, *, width: int, scheme: Literal["light", "dark"], expected: str
) -> Iterator["Page"]:
    """The page at an origin, on a screen of this width, and what it logs and asks for."""
    logged: list[str] = []
    asked: list[str] = []

    def log(message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning") and not re.search(expected, message.text):
            logged.append(message.text)

    context = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.set_default_timeout(LIMIT_S * 1000)
    page.on("console", log)
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.goto(origin)
    yield page
    context.close()
    assert logged == []
    assert asked
    assert [url for url in asked if not url.startswith(origin)] == []


@pytest.fixture
def keep() -> Callable[..., None]:
    """Writes a picture to $SCREENSHOTS, or to out/screenshots: of the whole page, or of what is in view."""
    folder = Path(os.environ.get("SCREENSHOTS") or ROOT / "out" / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)

    def kept(page: "Page", name: str, *, whole: bool = True) -> None:
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(600)  # until the bars stand still
        page.screenshot(path=folder / f"{name}.png", full_page=whole)

    return kept
