"""The tables of a ledger in an SQLite file, and the statements on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from acetasks._ledger.entries import Abandoned, Accepted, Change, Ended, Entry, Intent, Query, Refused, Saved

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Marks a file as a ledger of acetasks: "AceT". https://www.sqlite.org/pragma.html#pragma_application_id
APPLICATION_ID = 0x41636554
#: Version of the tables, in `PRAGMA user_version`. A change of the tables raises it.
SCHEMA_VERSION = 1
SET_VERSION = f"PRAGMA user_version = {SCHEMA_VERSION}"

#: The statements that make a new file a ledger, in one transaction.
CREATE = (
    """
    CREATE TABLE entries (
        number INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        provider TEXT NOT NULL,
        path TEXT NOT NULL,
        fingerprint BLOB NOT NULL,
        request BLOB NOT NULL,
        sent_at REAL NOT NULL,
        state TEXT NOT NULL,
        task_id TEXT,
        trace_id TEXT,
        reason TEXT,
        ended_at REAL,
        record BLOB,
        files TEXT
    )
    """,
    "CREATE INDEX entries_unfinished ON entries (number) WHERE ended_at IS NULL",
    "CREATE INDEX entries_task ON entries (task_id, provider) WHERE task_id IS NOT NULL",
    "CREATE INDEX entries_time ON entries (sent_at)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    SET_VERSION,
)

_INTENT = ("key", "provider", "path", "fingerprint", "request", "sent_at")
_COLUMNS = ", ".join(Entry.__struct_fields__)
_RESET = ", ".join(f"{name} = excluded.{name}" for name in (*_INTENT[1:], "state"))

INSERT = f"""
    INSERT INTO entries ({", ".join(_INTENT)}, state)
    VALUES ({", ".join(f":{name}" for name in _INTENT)}, 'submitting')
    ON CONFLICT (key) DO UPDATE SET {_RESET}, reason = NULL, ended_at = NULL, files = NULL WHERE state = 'refused'
"""  # noqa: S608  # the names are this module's own
_IS_OPEN = "key = :key AND sent_at = :sent_at AND task_id IS NULL AND ended_at IS NULL"
RESTAMP = f"UPDATE entries SET sent_at = :now, state = 'submitting' WHERE {_IS_OPEN}"  # noqa: S608  # as above
#: For each kind of change, in the order of `CHANGE_ORDER`.
CHANGES: dict[type[Change], str] = {
    Accepted: "UPDATE entries SET task_id = :task_id, trace_id = :trace_id, state = :state, ended_at = :ended_at,"
    " record = :record WHERE key = :key AND task_id IS NULL AND ended_at IS NULL"
    " AND NOT (:unclaimed AND EXISTS (SELECT 1 FROM entries AS other"
    " WHERE other.task_id = :task_id AND other.provider = entries.provider))",
    Refused: f"UPDATE entries SET state = 'refused', ended_at = :ended_at, reason = :reason WHERE {_IS_OPEN}",  # noqa: S608  # as above
    Abandoned: f"UPDATE entries SET state = 'uncertain' WHERE {_IS_OPEN}",  # noqa: S608  # as above
    Ended: "UPDATE entries SET state = :state, ended_at = :ended_at, record = :record"
    " WHERE task_id = :task_id AND provider = :provider AND ended_at IS NULL",
    Saved: "UPDATE entries SET files = :files WHERE (task_id = :task_id AND provider = :provider) OR key = :key",
}
#: Lists are given as JSON, so that there is one statement for each length.
FIND = f"SELECT {_COLUMNS} FROM entries WHERE key IN (SELECT value FROM json_each(?))"  # noqa: S608  # as above
FIND_RESULTS = "SELECT key, task_id, record FROM entries WHERE key IN (SELECT value FROM json_each(?))"
FIND_TASKS = f"SELECT {_COLUMNS} FROM entries WHERE task_id IN (SELECT value FROM json_each(?)) AND provider = ?"  # noqa: S608  # as above
#: The number of the last entry of the page before: 0 without one, and NULL, which is after everything, if it is gone.
_AFTER = "CASE WHEN :after IS NULL THEN 0 ELSE (SELECT number FROM entries WHERE key = :after) END"
UNFINISHED = f"""
    SELECT {_COLUMNS} FROM entries WHERE ended_at IS NULL AND number > {_AFTER} ORDER BY number LIMIT :limit
"""  # noqa: S608  # as above


def build_select(query: Query, after: str | None, limit: int) -> tuple[str, dict[str, object]]:
    """Return the statement that selects a page of entries, and its parameters."""
    conditions = ["TRUE"]
    if query.provider is not None:
        conditions.append("provider = :provider")
    if query.states is not None:
        conditions.append("state IN (SELECT value FROM json_each(:states))")
    if query.since is not None:
        conditions.append("sent_at >= :since")
    if query.before is not None:
        conditions.append("sent_at < :before")
    if after is not None:
        conditions.append("(sent_at, number) > (SELECT sent_at, number FROM entries WHERE key = :after)")
    statement = f"""
        SELECT {_COLUMNS} FROM entries WHERE {" AND ".join(conditions)} ORDER BY sent_at, number LIMIT :limit
    """  # noqa: S608  # as above
    states = None if query.states is None else write_list(query.states)
    parameters = msgspec.structs.asdict(query) | {"states": states, "after": after, "limit": limit}
    return statement, parameters


def write_list(values: Sequence[str]) -> str:
    """Return the JSON of texts, as the statements take it."""
    return msgspec.json.encode(values).decode()


def build_row(change: Change | Intent) -> dict[str, object]:
    """Return the parameters of the statement of a change or an intent."""
    row = msgspec.structs.asdict(change)
    if isinstance(change, Saved):
        row["files"] = write_list(change.files)
    return row


def read_row(row: Sequence[object]) -> Entry:
    """Return the entry in a row.

    Raises:
        msgspec.ValidationError: The row has values that no ledger writes.
    """
    fields = dict(zip(Entry.__struct_fields__, row, strict=True))
    files = fields["files"]
    fields["files"] = msgspec.json.decode(files) if isinstance(files, str) else ()
    return msgspec.convert(fields, Entry)
