"""The plans of the statements on a PostgreSQL database: none reads the whole table, or takes time with its square."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import pytest
from ledger_support import EPOCH, intent

from acetasks._ledger import (
    Abandoned,
    Accepted,
    Ended,
    EntryState,
    PostgresStore,
    Query,
    Refused,
    Saved,
    postgres_schema,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.real_clock  # the server is another process

#: Entries of the table, every thousandth of which is unfinished, and of the group that a statement changes.
ENTRIES, GROUP = 20_000, 500
_FILL = f"""
    INSERT INTO acetasks_entries
        (key, provider, path, fingerprint, request, sent_at, state, task_id, ended_at, record)
    SELECT 'key-' || n, 'luma', '/luma/videos', '', repeat('x', 200)::bytea, {EPOCH} + n,
        CASE WHEN n % 1000 = 0 THEN 'accepted' ELSE 'succeeded' END, 'task-' || n,
        CASE WHEN n % 1000 = 0 THEN NULL ELSE {EPOCH} + n END, repeat('y', 200)::bytea
    FROM generate_series(1, {ENTRIES}) AS n
"""  # noqa: S608  # the numbers are this module's own


class Statement(NamedTuple):
    """A statement of the store with parameters."""

    text: str
    parameters: list[object]


def _build_statements() -> dict[str, Statement]:
    numbers = range(1, ENTRIES, ENTRIES // GROUP)
    keys, task_ids = [f"key-{number}" for number in numbers], [f"task-{number}" for number in numbers]
    end = {"provider": "luma", "state": EntryState.FAILED, "ended_at": EPOCH, "record": b"{}"}
    changes = {
        "accepted": [Accepted(key=key, task_id=f"new-{key}") for key in keys],
        "adopted": [Accepted(key=keys[0], task_id="new", unclaimed=True)],
        "refused": [Refused(key=key, sent_at=EPOCH, ended_at=EPOCH, reason="no") for key in keys],
        "abandoned": [Abandoned(key=key, sent_at=EPOCH) for key in keys],
        "ended": [Ended(task_id=task_id, **end) for task_id in task_ids],
        "saved": [Saved(provider="luma", task_id=task_id, files=("a",)) for task_id in task_ids],
        "saved by key": [Saved(provider="luma", task_id=None, key=key, files=("a",)) for key in keys],
    }
    schema, build_arrays = postgres_schema, postgres_schema.build_arrays
    return {
        **{name: Statement(schema.CHANGES[type(rows[0])], build_arrays(rows)) for name, rows in changes.items()},
        "insert": Statement(schema.INSERT, build_arrays([intent(f"new-{key}") for key in keys])),
        "restamp": Statement(schema.RESTAMP, [keys[0], EPOCH, EPOCH + 1]),
        "find": Statement(schema.FIND, [keys]),
        "find results": Statement(schema.FIND_RESULTS, [keys]),
        "find tasks": Statement(schema.FIND_TASKS, [task_ids, "luma"]),
        "unfinished": Statement(schema.UNFINISHED, [None, 1000]),
        "unfinished page": Statement(schema.UNFINISHED, ["key-9000", 1000]),
        "select": Statement(*schema.build_select(Query(), None, 500)),
        "select page": Statement(*schema.build_select(Query(provider="luma"), "key-9000", 500)),
        "select since": Statement(*schema.build_select(Query(since=EPOCH + ENTRIES - 9), None, 500)),
        "select state": Statement(*schema.build_select(Query(states=(EntryState.FAILED,)), None, 500)),
    }


STATEMENTS = _build_statements()


@pytest.fixture
async def connection(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the store opens it, to a table with entries but without statistics."""
    store = PostgresStore(postgres_url)
    await store.open()
    await store.close()
    connection = await asyncpg.connect(postgres_url, server_settings=postgres_schema.PLANNING)
    # The server must not make statistics in the middle of a test.
    await connection.execute("ALTER TABLE acetasks_entries SET (autovacuum_enabled = off)")
    await connection.execute(_FILL)
    yield connection
    await connection.close()


async def explain(connection: asyncpg.Connection, statement: Statement) -> str:
    """Run a statement as a prepared one, undo it, and return its plan."""
    types = [f"{kind.name}" for kind in (await connection.prepare(statement.text)).get_parameters()]
    await connection.execute(f"PREPARE tested ({', '.join(types)}) AS {statement.text}")
    quote = "SELECT quote_nullable($1::{}::text)"
    pairs = zip(types, statement.parameters, strict=True)
    values = [await connection.fetchval(quote.format(kind), value) for kind, value in pairs]
    transaction = connection.transaction()
    await transaction.start()
    rows = await connection.fetch(f"EXPLAIN (ANALYZE) EXECUTE tested ({', '.join(values)})")
    await transaction.rollback()
    await connection.execute("DEALLOCATE tested")
    return "\n".join(row[0] for row in rows)


@pytest.mark.parametrize("has_statistics", [False, True])
async def test_every_statement_finds_its_rows_by_an_index(
    connection: asyncpg.Connection, *, has_statistics: bool
) -> None:
    """Right after many entries were written, when nothing is known of them, and later."""
    if has_statistics:
        await connection.execute("ANALYZE acetasks_entries")
    for name, statement in STATEMENTS.items():
        plan = await explain(connection, statement)

        assert "Seq Scan on acetasks_entries" not in plan, f"{name}:\n{plan}"
        dropped = [int(count) for count in re.findall(r"Rows Removed by Join Filter: (\d+)", plan)]
        assert sum(dropped) <= GROUP, f"{name} compares every row with every other:\n{plan}"


async def test_plans_for_the_given_values_would_scan_the_table(connection: asyncpg.Connection) -> None:
    """The reason of the settings: without statistics a group of changes is thought to be of many rows."""
    await connection.execute("SET plan_cache_mode = force_custom_plan")
    plan = await explain(connection, STATEMENTS["saved"])

    assert "Seq Scan on acetasks_entries" in plan
