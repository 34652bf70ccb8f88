"""API keys: checked before they are sent, and masked in everything that is shown."""

import os
import re

from rmr1_sdk.errors import ConfigError

__all__ = ["checked_key", "find_key", "mask_address", "mask_key"]

_LONG = 8
"""From so many characters on, a key is masked inside a word too."""


def find_key(argument: str | None, variable: str) -> str:
    """The key of the argument `api_key`, else of the environment variable; "" where both are missing or blank.

    Raises ConfigError as `checked_key` does.
    """
    return checked_key(argument or "", "api_key") or checked_key(os.environ.get(variable, ""), f"${variable}")


def checked_key(key: str, where: str) -> str:
    """The key without the white space around it.

    Raises ConfigError, which says where the key is from and does not show it, for one that no header can carry.
    """
    bare = key.strip()
    if not (bare.isascii() and bare.isprintable()):
        raise ConfigError(
            f"{where}: this is no key: it has a line break, a control character or one beyond ASCII in it"
        )
    return bare


def mask_key(text: str, key: str) -> str:
    """The text with [key] for the key. A short key is masked as a word of its own alone: "x" is part of many words.

    >>> mask_key("no text for sk-secret", "sk-secret"), mask_key("no text for x", "x")
    ('no text for [key]', 'no text for [key]')
    """
    if not key:
        return text
    pattern = re.escape(key)
    return re.sub(pattern if len(key) >= _LONG else rf"(?<!\w){pattern}(?!\w)", "[key]", text)


def mask_address(address: str) -> str:
    """The address as it was given; "..." where a password or a query may be in it."""
    return "..." if "@" in address or "?" in address else address
