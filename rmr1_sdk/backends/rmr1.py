"""Another machine's engine, behind `rmr1 serve`."""

from rmr1_sdk.backends.base import Capabilities
from rmr1_sdk.types import Value

__all__ = ["About"]


class About(Value):
    """What a server tells of its engine."""

    model: str
    identity: str
    capabilities: Capabilities
