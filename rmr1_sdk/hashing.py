"""Stable hashes for seeded, content-based sampling."""

import hashlib

__all__ = ["digest"]


def digest(*parts: object) -> int:
    """A number of 64 bits that follows from the parts, evenly spread over them."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")
