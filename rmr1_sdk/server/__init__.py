"""A judge behind HTTP: `create_app` makes the application, `listen` and `run` serve it.

Needs the extra `server`, which is imported when one of them is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from rmr1_sdk.errors import MissingExtraError
from rmr1_sdk.server.limits import Limits

if TYPE_CHECKING:
    from rmr1_sdk.server.app import create_app
    from rmr1_sdk.server.serving import LOOPBACK, listen, run

__all__ = ["LOOPBACK", "Limits", "create_app", "listen", "run"]

_LATE = {
    "LOOPBACK": "rmr1_sdk.server.serving",
    "create_app": "rmr1_sdk.server.app",
    "listen": "rmr1_sdk.server.serving",
    "run": "rmr1_sdk.server.serving",
}


def __getattr__(name: str) -> object:
    if name not in _LATE:
        raise AttributeError(f"module 'rmr1_sdk.server' has no attribute {name!r}")
    try:
        return getattr(import_module(_LATE[name]), name)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in ("fastapi", "uvicorn", "prometheus_client"):
            raise MissingExtraError(error.name, "server") from error
        raise
