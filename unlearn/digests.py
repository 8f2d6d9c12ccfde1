"""Hash content, the same on any machine."""

import hashlib
import json


def digest(content: object) -> str:
    """Hash JSON-like content into 16 hex digits, the same on any machine."""
    return digest_of(canonical(content))


def digest_of(text: str) -> str:
    """Hash the `canonical` text of some content into 16 hex digits."""
    return sha256(text.encode())[:16]


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(content: object) -> str:
    """Return JSON-like content as the one text that stands for it: keys sorted, no spaces."""
    return _CANONICAL.encode(content)


def sha256(data: bytes) -> str:
    """SHA-256 of the bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()
