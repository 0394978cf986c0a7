"""What is wrong with an SQLite file, and what to do, in place of SQLite's own errors."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from acetasks.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Primary result codes. https://www.sqlite.org/rescode.html
_PRIMARY = 0xFF
#: Reasons and remedies by primary result code.
_MESSAGES = {
    sqlite3.SQLITE_BUSY: "another process or program holds it: wait until that is done, and try again",
    sqlite3.SQLITE_LOCKED: "another process or program holds it: wait until that is done, and try again",
    sqlite3.SQLITE_READONLY: "this user may not write to it: change the permissions of the file and of its folder, or"
    " name another file",
    sqlite3.SQLITE_PERM: "this user may not use it: change its permissions, or name another file",
    sqlite3.SQLITE_IOERR: "the file system failed to read or write it: check the disk, and try again",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: keep it, and restore a copy or recover its entries into a new file"
    " with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_FULL: "the disk is full: free some space, and try again",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database, or damaged at its beginning: name another file, or restore"
    " a copy",
    sqlite3.SQLITE_ERROR: "the file does not have the tables of a ledger: restore a copy, or name another file",
}
#: Codes of conditions that may pass by themselves.
_TRANSIENT = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether another connection held the file for too long."""
    return _read_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


@contextlib.contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Raise `LedgerError` in place of the errors of SQLite."""
    try:
        yield
    except sqlite3.Error as error:
        code = _read_code(error)
        message = _explain_open(path) if code == sqlite3.SQLITE_CANTOPEN else _MESSAGES.get(code, "it cannot be used")
        raise LedgerError(f"{message} (SQLite: {error})", location=str(path), transient=code in _TRANSIENT) from error


def _read_code(error: sqlite3.Error) -> int:
    # Errors of the module itself, such as of a closed connection, have no code.
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY


def _explain_open(path: Path) -> str:
    try:
        if path.is_dir():
            return "this is a folder: name a file"
        if not path.parent.is_dir():
            return f"there is no folder {path.parent}: create it, or name a file in another one"
    except OSError as error:
        return f"its folder cannot be read ({error.strerror}): change the permissions, or name another file"
    return "this user may not create or open it: change the permissions of its folder, or name another file"
