"""`rmr1 serve`: a judge behind HTTP."""

import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rmr1_sdk import server
from rmr1_sdk.cli import runs
from rmr1_sdk.cli.options import Flags, asks
from rmr1_sdk.errors import ConfigError

__all__ = ["serve"]

_KEYS = "RMR1_SERVER_KEYS"


@partial(asks, leave_out=("model", "model_required", "no_store"))
def serve(
    model: Annotated[str, typer.Argument(help='The engine and model, as in "llama_cpp:model.gguf".')],
    host: Annotated[str, typer.Option(help="Where to listen; without a key only on this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is one that is free.")] = 8000,
    key_file: Annotated[
        Path | None, typer.Option(help=f"Bearer keys, one a line [default: the ones in ${_KEYS}].")
    ] = None,
    max_requests: Annotated[int, typer.Option(help="Requests accepted and not answered yet.")] = 1_000,
    max_body: Annotated[int, typer.Option(help="Bytes a request may have.")] = 1_000_000,
    max_answers: Annotated[int, typer.Option(help="Answers a ranking may have.")] = 32,
    max_samples: Annotated[int, typer.Option(help="Samples a reward request may have.")] = 256,
    request_timeout: Annotated[float, typer.Option(help="Seconds until a request is given up.")] = 600.0,
    drain: Annotated[
        float, typer.Option(min=0, help="Seconds that accepted requests have to end after SIGTERM.")
    ] = 30.0,
    *,
    flags: Flags,
) -> None:
    """Serve a judge over HTTP: comparisons, rankings, rewards, and its engine to other judges."""
    runs.check_model(model, offline=flags.offline)
    flags.model = model
    limits = server.Limits(
        body_bytes=max_body,
        requests=max_requests,
        answers=max_answers,
        samples=max_samples,
        request_s=request_timeout,
    )
    keys = _keys(key_file)
    judge = flags.judge(None)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with judge, server.listen(host, port, keyed=bool(keys)) as sock:
        prompt_in_use = judge.prompt.name  # loads the engine; who connects meanwhile waits
        app = server.create_app(judge, keys=keys, limits=limits, hosts=None if keys else (host, *server.LOOPBACK))
        url = f"http://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}"
        who = f"{len(keys)} keys" if keys else "no key, so for this machine only"
        print(f"{judge.backend.model} with the prompt {prompt_in_use} at {url} ({who})", file=sys.stderr, flush=True)
        server.run(app, sock, drain_s=drain)


def _keys(file: Path | None) -> list[str]:
    """The bearer keys of a file, a line each, or of the environment, with commas between."""
    if file is None:
        return [key.strip() for key in os.environ.get(_KEYS, "").split(",") if key.strip()]
    try:
        keys = file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--key-file {file}: {getattr(error, 'strerror', None) or error}") from error
    if not keys:
        raise ConfigError(f"--key-file {file}: there is no key in it")
    return keys
