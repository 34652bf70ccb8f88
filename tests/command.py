"""The `rmr1` command in this process: as quick as a call, and with what a process of its own would have written."""

import io
import subprocess
import sys
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from rmr1_sdk.cli import main

__all__ = ["run_here"]


def run_here(*arguments: object, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run the command with these arguments. What it changes in the environment is put back."""
    out, err = io.StringIO(), io.StringIO()
    command = ["rmr1", *map(str, arguments)]
    with (
        patch.dict("os.environ", env or {}),
        patch.object(sys, "argv", command),
        warnings.catch_warnings(),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        warnings.simplefilter("default")  # a process of its own prints them
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())
