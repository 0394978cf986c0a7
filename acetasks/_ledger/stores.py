"""The store that `Client(journal=...)` names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from acetasks._ledger.postgres import PostgresStore
from acetasks._ledger.sqlite import SQLiteStore

if TYPE_CHECKING:
    from acetasks._ledger.store import Store

_POSTGRES_SCHEMES = ("postgresql://", "postgres://")


def build_store(journal: str | os.PathLike[str] | Store) -> Store:
    """Return a store as it is, or the one in a file or a PostgreSQL database.

    Raises:
        ValueError: The path is empty, a URL of another kind, or SQLite's name for memory.
        TypeError: It is neither a path nor a store.
    """
    if isinstance(journal, str | os.PathLike):
        path = os.fspath(journal)
        if not isinstance(path, str):
            raise TypeError(f"journal must be a path as text, got {journal!r}")
        if path.startswith(_POSTGRES_SCHEMES):
            return PostgresStore(path)
        if path == ":memory:":
            raise ValueError("journal must be the path of a file, got ':memory:': pass acetasks.MemoryStore() instead")
        if not path.strip() or "://" in path:
            raise ValueError(
                f"journal must be the path of a file, such as 'tasks.db', or a URL 'postgresql://...', got {path!r}"
            )
        return SQLiteStore(path)
    if not all(callable(getattr(journal, name, None)) for name in ("open", "write", "restamp", "unfinished")):
        raise TypeError(f"journal must be the path of a file or a store, got {journal!r}")
    return journal
