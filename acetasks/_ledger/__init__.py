"""Ledger of submissions: what was sent, what was accepted and how it ended, in a store that outlives the process.

A submission is paid for. So the intent to send it is durable before its request is sent, and its id afterwards; a
process that is killed between the two leaves an uncertain entry, which is never sent again on its own. The room knows
neither requests nor polls: it is given keys, JSON and tasks.
"""

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
    build_fingerprint,
)
from acetasks._ledger.ledger import ACKNOWLEDGED_AFTER, Ledger
from acetasks._ledger.memory import MemoryStore
from acetasks._ledger.reconcile import SETTLE_TIME, Doubt, HistorySource, Reconciliation, reconcile
from acetasks._ledger.sqlite import SQLiteStore
from acetasks._ledger.store import Store, Written
from acetasks._ledger.stores import build_store

__all__ = [
    "ACKNOWLEDGED_AFTER",
    "SETTLE_TIME",
    "Abandoned",
    "Accepted",
    "Change",
    "Doubt",
    "Ended",
    "Entry",
    "EntryState",
    "HistorySource",
    "Intent",
    "Ledger",
    "MemoryStore",
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
