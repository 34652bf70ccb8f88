"""The `rmr1` command: arguments in, calls out. Exit codes: 0 ok, 1 failure, 2 usage."""

import sys
import warnings

import typer

from rmr1_sdk.cli import audit, bench, judge, machine, prompts, rank, recipes, report, serve, store, train
from rmr1_sdk.errors import ConfigError, RMR1Error

__all__ = ["app", "main"]

_INTERRUPTED = 130  # what typer makes of Ctrl-C

app = typer.Typer(
    name="rmr1",
    help="Judges that reason: which of two answers is better, and why.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("judge")(judge.judge)
app.command("rank")(rank.rank)
app.command("serve")(serve.serve)
app.command("bench")(bench.bench)
app.command("report")(report.report)
app.command("audit")(audit.audit)
app.command("models")(machine.models)
app.command("doctor")(machine.doctor)
app.add_typer(prompts.app, name="prompts")
app.add_typer(store.app, name="store")
train.app.command("run")(recipes.run)
train.app.command("emit")(recipes.emit)
app.add_typer(train.app, name="train")


def main() -> None:
    """Run the command and exit with its code; errors go to standard error as one line."""
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    try:
        app()
    except ConfigError as error:
        _fail(error, 2)
    except RMR1Error as error:
        _fail(error, 1)
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:
            print("interrupted; with a store or --ray, the same command goes on where this one ended", file=sys.stderr)
        raise


def _fail(error: Exception, code: int) -> None:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(code)
