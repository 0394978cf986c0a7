"""The store that `Client(journal=...)` names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acetasks._ledger.store import Store

_POSTGRES_SCHEMES = ("postgresql://", "postgres://")


def build_store(journal: str | os.PathLike[str] | Store) -> Store:
    """Return a store as it is, or the one in a file or a PostgreSQL database.

    Raises:
        ValueError: The path is empty, a URL that is malformed or of another kind, or SQLite's name for memory.
        TypeError: It is neither a path nor a store.
    """
    if isinstance(journal, str | os.PathLike):
        return _build_named(os.fspath(journal))
    if not all(callable(getattr(journal, name, None)) for name in ("open", "write", "restamp", "unfinished")):
        raise TypeError(f"journal must be the path of a file or a store, got {journal!r}")
    return journal


def _build_named(name: object) -> Store:
    if not isinstance(name, str):
        raise TypeError(f"journal must be a path as text, got {name!r}")
    if name.startswith(_POSTGRES_SCHEMES):
        from acetasks._ledger.postgres import PostgresStore  # noqa: PLC0415  # loaded only when it is used

        return PostgresStore(name)
    if name == ":memory:":
        raise ValueError("journal must be the path of a file, got ':memory:': pass acetasks.MemoryStore() instead")
    # The rest of a URL may have a password.
    scheme, separator, _ = name.partition("://")
    if not name.strip() or separator:
        raise ValueError(
            "journal must be the path of a file, such as 'tasks.db', or a URL 'postgresql://...', got"
            f" {scheme + separator!r}"
        )
    from acetasks._ledger.sqlite import SQLiteStore  # noqa: PLC0415  # as above

    return SQLiteStore(name)
