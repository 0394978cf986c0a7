"""Reads the entries of a journal without a client, so without a token."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from acetasks._ledger import ACKNOWLEDGED_AFTER, Ledger, build_store
from acetasks._runtime import read_wall_clock
from acetasks.errors import LedgerError

if TYPE_CHECKING:
    from acetasks._ledger import Entry, Store


async def read_journal(journal: str | os.PathLike[str] | Store) -> list[Entry]:
    """Return all entries of a journal in the order of their submission, as `client.journal.tasks()` yields them.

    Other processes may write to the journal meanwhile.

    Args:
        journal: As for `Client`: the path of a file, or a store that is not open.

    Returns:
        The entries, with their states as of now.

    Raises:
        LedgerError: The file does not exist or cannot be read; the message says what to do.
        ValueError: The path is empty.
    """
    store = build_store(journal)
    _check_exists(journal)
    ledger = Ledger(store, clock=read_wall_clock, longest_post=ACKNOWLEDGED_AFTER)
    await ledger.open()
    try:
        return [entry async for entry in ledger.tasks()]
    finally:
        await ledger.close()


def _check_exists(journal: str | os.PathLike[str] | Store) -> None:
    """Raise if a path leads to nothing: a store would create the file when it is opened."""
    if isinstance(journal, str | os.PathLike) and "://" not in os.fspath(journal) and not Path(journal).exists():
        raise LedgerError("there is no such file: name the journal of a client", location=os.fspath(journal))
