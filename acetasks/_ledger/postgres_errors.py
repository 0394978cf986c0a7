"""What is wrong with a PostgreSQL server, and what to do, in place of the errors of the driver."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from acetasks.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

#: Reasons and remedies by SQLSTATE, or by its class of two characters.
#: https://www.postgresql.org/docs/current/errcodes-appendix.html
_MESSAGES = {
    "08": "the connection to the server was lost",
    "25006": "the server accepts no writes (a replica, or a session that may only read): name the primary server",
    "28": "the server refused the user: check the user's name, password and permission to connect",
    "3D000": "there is no such database: create it, or name another one",
    "40": "another process changed the same entries at the same time: try again",
    "42501": "the user may not use the tables: grant it USAGE and CREATE on the schema, or the rights on the tables"
    " 'acetasks_entries' and 'acetasks_schema'",
    "42": "the database does not have the tables of a ledger: restore a copy, or name another database",
    "53": "the server has no room left (connections, memory or disk): free some, and try again",
    "55P03": "another process holds the entries for too long: try again",
    "57": "the server ended the connection or the statement: wait until it is up, and try again",
}
#: Classes of conditions that may pass by themselves.
_TRANSIENT = ("08", "25P03", "40", "53", "55P03", "57")
#: Classes after which the same transaction is tried again at once: the connection, and a conflict.
_REPEATABLE = ("08", "25P03", "40", "57P01", "57P02", "57P03", "57P05")


def import_asyncpg(location: str) -> ModuleType:
    """Import asyncpg, or raise what to install."""
    try:
        import asyncpg  # noqa: PLC0415  # the extra may be missing
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise LedgerError("asyncpg is not installed: python -m pip install asyncpg", location=location) from error
    return asyncpg


@contextlib.contextmanager
def translate_errors(location: str) -> Iterator[None]:
    """Raise `LedgerError` in place of the errors of asyncpg and of the network."""
    asyncpg = import_asyncpg(location)
    try:
        yield
    except LedgerError:
        raise
    except asyncpg.PostgresError as error:
        state = error.sqlstate or ""
        message = _find(state) or "it cannot be used"
        raise LedgerError(
            f"{message} (PostgreSQL {state}: {error})", location=location, transient=state.startswith(_TRANSIENT)
        ) from error
    except asyncpg.ClientConfigurationError as error:
        raise LedgerError(f"the URL cannot be used ({error}): correct its options", location=location) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise LedgerError(f"the connection was lost ({error})", location=location, transient=True) from error
    except TimeoutError as error:
        raise LedgerError("the server did not respond in time", location=location, transient=True) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise LedgerError(
            f"the server cannot be reached ({reason}): check that it runs, and its host and port",
            location=location,
            transient=True,
        ) from error


def may_repeat(error: LedgerError) -> bool:
    """Return whether a call that ended with this error can be repeated at once: a lost connection, or a conflict."""
    if not error.transient:
        return False
    import asyncpg  # noqa: PLC0415  # an extra

    cause = error.__cause__
    if isinstance(cause, asyncpg.PostgresError):
        return (cause.sqlstate or "").startswith(_REPEATABLE)
    return isinstance(cause, asyncpg.InterfaceError | asyncpg.InternalClientError | ConnectionError)


def leaves_connection_unusable(error: Exception) -> bool:
    """Return whether the connection is of no use after this error, whatever it says of itself."""
    import asyncpg  # noqa: PLC0415  # an extra

    # 1. The server hangs, so it would not respond to the end of the transaction either.
    # 2. The driver lost its place in the protocol, as when the server ends the connection in the midst of a response.
    return isinstance(error, TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError)


def _find(state: str) -> str | None:
    return next((_MESSAGES[code] for code in (state, state[:2]) if code in _MESSAGES), None)
