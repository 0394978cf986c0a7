"""Keys of submissions: which are valid, new ones, and whether a key names the same submission again."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

import msgspec

from acetasks._records import ECHO_LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acetasks._ledger.entries import Entry, Intent


def check_key(key: object) -> str:
    """Return the key of a caller.

    Raises:
        TypeError: It is no string.
        ValueError: It is empty, too long, or has whitespace around it or unprintable characters.
    """
    if not isinstance(key, str):
        raise TypeError(f"key must be a string or None, got {key!r}")
    if not key or key != key.strip() or not key.isprintable() or len(key) > ECHO_LIMIT:
        raise ValueError(
            f"key must have 1 to {ECHO_LIMIT} printable characters and no whitespace around them, got {key!r}"
        )
    return key


def build_key(now: float) -> str:
    """Return a new key. Keys of one process are in the order of time, which keeps the index of a store compact."""
    return f"{int(now * 1000):012x}-{secrets.token_hex(10)}"


def check_same(entry: Entry, intent: Intent) -> None:
    """Check that a key names the same submission as before.

    Raises:
        ValueError: It was used for another provider, path or payload.
    """
    if entry.fingerprint != intent.fingerprint:
        raise ValueError(
            f"key {entry.key!r} was used for another payload ({entry.provider} {entry.path}): a key names one"
            " submission; use another one"
        )


def build_fingerprint(provider: str, path: str, request: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a hash of what a submission asks for: equal for equal payloads, whatever the order of their keys.

    Args:
        provider: The provider's slug.
        path: Path of the request.
        request: Body of the request, as JSON.
        headers: The headers that change what is made; their names have no case.
    """
    relevant = sorted((name.lower(), value) for name, value in (headers or {}).items())
    content = [provider, path, msgspec.json.decode(request) if request else None, relevant]
    return hashlib.blake2b(msgspec.json.encode(content, order="sorted"), digest_size=16).digest()
