"""The tables of a ledger in a PostgreSQL database, and the statements on them.

Lists are given as arrays, one for each column, and `unnest` makes rows of them: a group is one statement of fixed text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from acetasks._ledger.entries import Abandoned, Accepted, Change, Ended, Entry, Intent, Query, Refused, Saved

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Version of the tables, in `acetasks_schema`. A change of the tables raises it, and appends to `MIGRATIONS`.
SCHEMA_VERSION = 1
#: Key of the advisory lock under which the tables are created and changed: "AceT", as for the file of SQLite.
LOCK_KEY = 0x41636554
#: Settings of the connection: a plan for each statement, and not for the given values. Each finds its rows by an index,
#: but statistics are missing or old where many entries came at once, and then a large group would scan the table.
PLANNING = {"plan_cache_mode": "force_generic_plan", "jit": "off"}
#: Sets settings of the session.
SET = "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS setting (name, value)"

FIND_TABLES = "SELECT to_regclass('acetasks_schema') IS NOT NULL, to_regclass('acetasks_entries') IS NOT NULL"
IS_READ_ONLY = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean"
READ_VERSION = "SELECT max(version) FROM acetasks_schema"
LOCK = f"SELECT pg_advisory_xact_lock({LOCK_KEY})"
#: What brings the tables from each version to the next; the first creates them.
MIGRATIONS = (
    """
    CREATE TABLE acetasks_schema (
        version integer PRIMARY KEY
    );
    CREATE TABLE acetasks_entries (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        key text COLLATE "C" NOT NULL UNIQUE,
        provider text NOT NULL,
        path text NOT NULL,
        fingerprint bytea NOT NULL,
        request bytea NOT NULL,
        sent_at double precision NOT NULL,
        state text NOT NULL,
        task_id text COLLATE "C",
        trace_id text,
        reason text,
        ended_at double precision,
        record bytea,
        files text
    );
    CREATE INDEX acetasks_entries_unfinished ON acetasks_entries (number) WHERE ended_at IS NULL;
    CREATE INDEX acetasks_entries_task ON acetasks_entries (task_id, provider) WHERE task_id IS NOT NULL;
    CREATE INDEX acetasks_entries_time ON acetasks_entries (sent_at, number);
    """,
)
WRITE_VERSION = "INSERT INTO acetasks_schema (version) VALUES ($1) ON CONFLICT DO NOTHING"

_COLUMNS = ", ".join(Entry.__struct_fields__)


class _Rows(NamedTuple):
    """Rows of one kind, as the arrays of a statement.

    Attributes:
        fields: Names of the attributes, in the order of the parameters.
        types: The types of their arrays.
    """

    fields: tuple[str, ...]
    types: tuple[str, ...]

    @property
    def source(self) -> str:
        """The rows as a table `new`, numbered by `position`."""
        arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(self.types, 1))
        return f"unnest({arrays}) WITH ORDINALITY AS new ({', '.join(self.fields)}, position)"


_INTENTS = _Rows(
    ("key", "provider", "path", "fingerprint", "request", "sent_at"),
    ("text", "text", "text", "bytea", "bytea", "double precision"),
)
_ROWS: dict[type[Change], _Rows] = {
    Accepted: _Rows(
        ("key", "task_id", "trace_id", "state", "ended_at", "record", "unclaimed"),
        ("text", "text", "text", "text", "double precision", "bytea", "boolean"),
    ),
    Refused: _Rows(("key", "sent_at", "ended_at", "reason"), ("text", "double precision", "double precision", "text")),
    Abandoned: _Rows(("key", "sent_at"), ("text", "double precision")),
    Ended: _Rows(
        ("provider", "task_id", "state", "ended_at", "record"),
        ("text", "text", "text", "double precision", "bytea"),
    ),
    Saved: _Rows(("provider", "task_id", "key", "files"), ("text", "text", "text", "text")),
}

_RESET = ", ".join(f"{name} = excluded.{name}" for name in (*_INTENTS.fields[1:], "state"))
#: In the order given, which the numbers of the entries keep.
INSERT = f"""
    INSERT INTO acetasks_entries ({", ".join(_INTENTS.fields)}, state)
    SELECT {", ".join(_INTENTS.fields)}, 'submitting' FROM {_INTENTS.source} ORDER BY position
    ON CONFLICT (key) DO UPDATE SET {_RESET}, reason = NULL, ended_at = NULL, files = NULL
        WHERE acetasks_entries.state = 'refused'
    RETURNING key
"""  # noqa: S608  # the names are this module's own


def _build_update(kind: type[Change], assignments: str, conditions: str) -> str:
    """Return the statement that applies the changes of a kind; of several for one row it applies the first.

    The rows are locked in the order of their keys, so that two processes do not wait for each other. The lock is taken
    where the values pass through, since a join of two lists of rows would take time that grows with their square.
    """
    rows = _ROWS[kind]
    order = "position DESC" if kind is Saved else "position"
    return f"""
        WITH found AS (
            SELECT DISTINCT ON (entry.number) new.*, entry.number
            FROM {rows.source}
            JOIN acetasks_entries AS entry ON {conditions}
            ORDER BY entry.number, {order}
        ), new AS (
            SELECT found.* FROM found JOIN acetasks_entries AS entry USING (number)
            ORDER BY entry.key FOR UPDATE OF entry
        )
        UPDATE acetasks_entries AS entry SET {assignments}
        FROM new WHERE entry.number = new.number AND {conditions}
    """  # noqa: S608  # as above


_IS_OPEN = "entry.key = new.key AND entry.sent_at = new.sent_at AND entry.task_id IS NULL AND entry.ended_at IS NULL"
#: For each kind of change, in the order of `CHANGE_ORDER`.
CHANGES: dict[type[Change], str] = {
    Accepted: _build_update(
        Accepted,
        "task_id = new.task_id, trace_id = new.trace_id, state = new.state, ended_at = new.ended_at,"
        " record = new.record",
        "entry.key = new.key AND entry.task_id IS NULL AND entry.ended_at IS NULL"
        " AND NOT (new.unclaimed AND EXISTS (SELECT 1 FROM acetasks_entries AS other"
        " WHERE other.task_id = new.task_id AND other.provider = entry.provider))",
    ),
    Refused: _build_update(Refused, "state = 'refused', ended_at = new.ended_at, reason = new.reason", _IS_OPEN),
    Abandoned: _build_update(Abandoned, "state = 'uncertain'", _IS_OPEN),
    Ended: _build_update(
        Ended,
        "state = new.state, ended_at = new.ended_at, record = new.record",
        "entry.task_id = new.task_id AND entry.provider = new.provider AND entry.ended_at IS NULL",
    ),
    Saved: _build_update(
        Saved,
        "files = new.files",
        "((entry.task_id = new.task_id AND entry.provider = new.provider) OR entry.key = new.key)",
    ),
}
#: Only one transaction at a time adopts tasks: each must see what the others have claimed.
LOCK_ADOPTIONS = f"SELECT pg_advisory_xact_lock({LOCK_KEY}, 1)"
RESTAMP = (
    "UPDATE acetasks_entries SET sent_at = $3, state = 'submitting'"
    " WHERE key = $1 AND sent_at = $2 AND task_id IS NULL AND ended_at IS NULL RETURNING key"
)
FIND = f"SELECT {_COLUMNS} FROM acetasks_entries WHERE key = ANY($1::text[])"  # noqa: S608  # as above
FIND_RESULTS = "SELECT key, task_id, record FROM acetasks_entries WHERE key = ANY($1::text[])"
FIND_TASKS = f"SELECT {_COLUMNS} FROM acetasks_entries WHERE task_id = ANY($1::text[]) AND provider = $2"  # noqa: S608  # as above
#: The number of the last entry of the page before: 0 without one, and NULL, which is after everything, if it is gone.
_AFTER = "CASE WHEN $1::text IS NULL THEN 0 ELSE (SELECT number FROM acetasks_entries WHERE key = $1) END"
UNFINISHED = f"""
    SELECT {_COLUMNS} FROM acetasks_entries
    WHERE ended_at IS NULL AND number > ({_AFTER}) ORDER BY number LIMIT $2
"""  # noqa: S608  # as above


def build_select(query: Query, after: str | None, limit: int) -> tuple[str, list[object]]:
    """Return the statement that selects a page of entries, and its parameters."""
    conditions: list[str] = []
    parameters: list[object] = [limit]

    def add(condition: str, value: object) -> None:
        parameters.append(value)
        conditions.append(condition.format(f"${len(parameters)}"))

    if query.provider is not None:
        add("provider = {}", query.provider)
    if query.states is not None:
        add("state = ANY({}::text[])", [state.value for state in query.states])
    if query.since is not None:
        add("sent_at >= {}", query.since)
    if query.before is not None:
        add("sent_at < {}", query.before)
    if after is not None:
        add("(sent_at, number) > (SELECT sent_at, number FROM acetasks_entries WHERE key = {})", after)
    statement = f"""
        SELECT {_COLUMNS} FROM acetasks_entries WHERE {" AND ".join(conditions) or "TRUE"}
        ORDER BY sent_at, number LIMIT $1
    """  # noqa: S608  # as above
    return statement, parameters


def build_arrays(rows: Sequence[Change] | Sequence[Intent]) -> list[list[object]]:
    """Return the parameters of the statement of some changes of one kind, or intents: an array for each column."""
    fields = _INTENTS.fields if isinstance(rows[0], Intent) else _ROWS[type(rows[0])].fields
    return [[_write_value(getattr(row, name)) for row in rows] for name in fields]


def _write_value(value: object) -> object:
    return msgspec.json.encode(value).decode() if isinstance(value, tuple) else value


def read_row(row: Iterable[tuple[str, object]]) -> Entry:
    """Return the entry in a row.

    Raises:
        msgspec.ValidationError: The row has values that no ledger writes.
    """
    fields = dict(row)
    files = fields["files"]
    fields["files"] = msgspec.json.decode(files) if isinstance(files, str) else ()
    return msgspec.convert(fields, Entry)
