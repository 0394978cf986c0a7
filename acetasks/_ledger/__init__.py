"""Ledger of submissions: what was sent, what was accepted and how it ended, in a store that outlives the process.

A submission is paid for. So the intent to send it is durable before its request is sent, and its id afterwards; a
process that is killed between the two leaves an uncertain entry, which is never sent again on its own. The room knows
neither requests nor polls: it is given keys, JSON and tasks.
"""

import importlib
from typing import TYPE_CHECKING

from acetasks._ledger.announcements import Announcements
from acetasks._ledger.entries import (
    Abandoned,
    Accepted,
    Change,
    Ended,
    Entry,
    EntryState,
    Intent,
    Query,
    Refused,
    Saved,
)
from acetasks._ledger.keys import build_fingerprint
from acetasks._ledger.ledger import ACKNOWLEDGED_AFTER, Ledger
from acetasks._ledger.memory import MemoryStore
from acetasks._ledger.reconcile import SETTLE_TIME, Doubt, HistorySource, Reconciliation, reconcile
from acetasks._ledger.store import AnnouncingStore, Store, Written
from acetasks._ledger.stores import build_store

if TYPE_CHECKING:
    from acetasks._ledger.postgres import PostgresStore
    from acetasks._ledger.sqlite import SQLiteStore
else:
    #: Imported on demand: SQLite would add a tenth to the time of `import acetasks`.
    _ON_DEMAND = {"PostgresStore": "acetasks._ledger.postgres", "SQLiteStore": "acetasks._ledger.sqlite"}

    def __getattr__(name: str) -> object:
        """Import a store of a database on demand."""
        if name not in _ON_DEMAND:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_ON_DEMAND[name]), name)


__all__ = [
    "ACKNOWLEDGED_AFTER",
    "SETTLE_TIME",
    "Abandoned",
    "Accepted",
    "Announcements",
    "AnnouncingStore",
    "Change",
    "Doubt",
    "Ended",
    "Entry",
    "EntryState",
    "HistorySource",
    "Intent",
    "Ledger",
    "MemoryStore",
    "PostgresStore",
    "Query",
    "Reconciliation",
    "Refused",
    "SQLiteStore",
    "Saved",
    "Store",
    "Written",
    "build_fingerprint",
    "build_store",
    "reconcile",
]
