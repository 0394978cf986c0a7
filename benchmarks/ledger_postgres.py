"""The ledger in a PostgreSQL database: schemas of its own for the benchmark, and what the server says of them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from typing import TYPE_CHECKING

import asyncpg

from acetasks._ledger import PostgresStore, Saved, postgres_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Seconds of a statement; the first one after many writes may have to read the table from the disk.
_TIMEOUT = 600.0
_SIZES = """
    SELECT pg_total_relation_size('acetasks_entries'), pg_relation_size('acetasks_entries'),
        (SELECT count(*) FROM acetasks_entries)
"""


class Database:
    """A database in which each store gets a schema of a random name.

    Args:
        url: URL of the database; the user must be allowed to create schemas.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._prefix = f"bench_{secrets.token_hex(6)}"
        self._schemas: list[str] = []

    def __repr__(self) -> str:
        return f"<Database {self._prefix}, {len(self._schemas)} schemas>"

    def new_store(self, name: str) -> PostgresStore:
        """Create a schema, and return a store in it; of the same name again, in the same schema."""
        schema = f"{self._prefix}_{re.sub(r'[^a-z0-9]', '_', name)}"
        if schema not in self._schemas:
            self.execute([f"CREATE SCHEMA {schema}"])
            self._schemas.append(schema)
        return PostgresStore(self._url_of(schema), timeout=_TIMEOUT)

    def drop(self) -> None:
        """Drop every schema with all that is in it."""
        self.execute([f"DROP SCHEMA {schema} CASCADE" for schema in self._schemas])

    def execute(self, statements: Sequence[str], *, in_last: bool = False) -> list[list[asyncpg.Record]]:
        """Return the rows of statements, in the schema of the newest store if that is wanted."""

        async def run() -> list[list[asyncpg.Record]]:
            url = self._url_of(self._schemas[-1]) if in_last else self._url
            settings = {**postgres_schema.PLANNING}
            connection = await asyncpg.connect(url, command_timeout=_TIMEOUT, server_settings=settings)
            try:
                return [await connection.fetch(statement) for statement in statements]
            finally:
                await connection.close()

        return asyncio.run(run())

    def measure_size(self) -> tuple[float, float]:
        """Return the bytes of each entry of the newest store, with all indexes, and of its rows alone."""
        ((total, rows, count),) = self.execute([_SIZES], in_last=True)[0]
        return total / count, rows / count

    def explain(self, name: str, statement: str, types: str, values: str) -> None:
        """Print the plan of a statement as a store runs it, and undo what it does."""
        rows = self.execute(
            [
                f"PREPARE measured ({types}) AS {statement}",
                "BEGIN",
                f"EXPLAIN (ANALYZE, BUFFERS) EXECUTE measured ({values})",
                "ROLLBACK",
            ],
            in_last=True,
        )[2]
        print(f"  plan of {name}:")
        for row in rows:
            print(f"    {row[0]}")

    def explain_all(self, task_ids: Sequence[str]) -> None:
        """Print the plans of the list of unfinished entries, and of noting the files of some tasks."""
        self.explain("the unfinished entries", postgres_schema.UNFINISHED, "text, bigint", "NULL, 1000")
        count = len(task_ids)
        arrays = [["luma"] * count, task_ids, None, ["[]"] * count]
        values = ", ".join(
            "ARRAY[" + ", ".join(f"'{value}'" for value in array) + "]"
            if array is not None
            else f"array_fill(NULL::text, ARRAY[{count}])"
            for array in arrays
        )
        statement = postgres_schema.CHANGES[Saved]
        self.explain(f"the files of {count} tasks", statement, "text[], text[], text[], text[]", values)

    def _url_of(self, schema: str) -> str:
        return f"{self._url}{'&' if '?' in self._url else '?'}search_path={schema}"


@contextlib.contextmanager
def open_database(url: str) -> Iterator[Database]:
    """Give a database, and drop what was made in it at the end."""
    database = Database(url)
    try:
        yield database
    finally:
        database.drop()
