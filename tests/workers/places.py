"""Where a run takes place: a database of its own, and what its processes are told about it."""

from __future__ import annotations

import contextlib
import enum
import secrets
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import postgres_support

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Mode(enum.StrEnum):
    """How a worker is run."""

    #: The example, with shorter times.
    SHORT = "short"
    #: The same, but it submits without keys and a journal, as code does that knows of neither.
    NAIVE = "naive"
    #: The example as it is.
    UNCHANGED = "unchanged"
    #: The example, with polls so rare that it only waits.
    QUIET = "quiet"


class Place(NamedTuple):
    """What a worker is told.

    Attributes:
        url: URL of the database.
        service: Base URL of the simulated service.
        log: The file of notes, to which all processes append.
        queue: A name that no other run has, for a queue outside the database.
        jobs: The number of jobs that a worker may have at a time.
        mode: How to run the example.
    """

    url: str
    service: str
    log: Path
    queue: str
    jobs: int
    mode: Mode

    def to_arguments(self) -> list[str]:
        """Return the arguments for `from_arguments`."""
        return [self.url, self.service, str(self.log), self.queue, str(self.jobs), self.mode]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the database."""
        parts = urllib.parse.urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or 5432

    def at(self, port: int) -> Place:
        """Return the same place with the database at another port of this machine."""
        return self._replace(url=_replace_address(self.url, host="127.0.0.1", port=port))

    @classmethod
    def from_arguments(cls, arguments: list[str]) -> Place:
        """Read the arguments of a process."""
        url, service, log, queue, jobs, mode = arguments
        return cls(url, service, Path(log), queue, int(jobs), Mode(mode))


def _replace_address(url: str, *, host: str | None = None, port: int | None = None, database: str | None = None) -> str:
    """Return the URL of a database at another address, or of another one."""
    parts = urllib.parse.urlsplit(url)
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    netloc = f"{user}{host or parts.hostname}:{port or parts.port or 5432}"
    return parts._replace(netloc=netloc, path=f"/{database}" if database else parts.path).geturl()


@contextlib.asynccontextmanager
async def new_database() -> AsyncIterator[str]:
    """Give the URL of a database of a random name, which is dropped afterwards."""
    url, name = postgres_support.URL, f"workers_{secrets.token_hex(8)}"
    await execute(url, f"CREATE DATABASE {name}")
    try:
        # Nothing here loses its power, and the disk of a busy machine is slow.
        await execute(url, f"ALTER DATABASE {name} SET synchronous_commit = off")
        yield _replace_address(url, database=name)
    finally:
        await execute(url, f"DROP DATABASE {name} WITH (FORCE)")


async def execute(url: str, statement: str) -> None:
    """Execute a statement over a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
