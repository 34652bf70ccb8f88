"""`rmr1 serve`: serve a judge over HTTP."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from rmr1_sdk import server
from rmr1_sdk.cli.options import JudgeFlags, OptionGroup, judge_flags, options_of, takes
from rmr1_sdk.errors import ConfigError, file_errors
from rmr1_sdk.keys import checked_key

__all__ = ["serve"]

_KEYS = "RMR1_SERVER_KEYS"


@takes(
    flags=judge_flags(leave_out=("no_store",), model_is_argument=True),
    limits=OptionGroup(options_of(server.Limits, panel="Limits"), lambda given: server.Limits(**given)),
)
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; without keys only this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 8000,
    key_file: Annotated[
        Path | None, typer.Option(help="File of bearer keys, one per line.", show_default=f"the ones in ${_KEYS}")
    ] = None,
    drain: Annotated[
        float, typer.Option(min=0, help="Seconds that accepted requests have to finish after SIGTERM.")
    ] = 30.0,
    *,
    flags: JudgeFlags,
    limits: server.Limits,
) -> None:
    """Serve a judge over HTTP: comparisons, rankings, grades and rewards."""
    flags.check_model()
    keys = _keys(key_file)
    judge = flags.judge(None)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with judge, server.listen(host, port, keyed=bool(keys)) as sock:
        judge.load()  # who connects meanwhile waits
        app = server.create_app(judge, keys=keys, limits=limits, hosts=None if keys else (host, *server.LOOPBACK))
        url = f"http://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}"
        who = f"{len(keys)} keys" if keys else "no key, so for this machine only"
        judging = f"{judge.backend.model} with the prompt {judge.prompt.name}"
        print(f"{judging} at {url} ({who})", file=sys.stderr, flush=True)
        server.run(app, sock, drain_s=drain)


def _keys(file: Path | None) -> list[str]:
    """The bearer keys of a file, a line each, or of the environment, with commas between."""
    where = f"--key-file {file}" if file else f"${_KEYS}"
    with file_errors(where):
        text = file.read_text(encoding="utf-8") if file else os.environ.get(_KEYS, "")
    given = text.split() if file else text.split(",")
    keys = [key for each in given if (key := checked_key(each, where))]
    if not keys and (file or text):
        raise ConfigError(f"{where}: there is no key in it")
    return keys
