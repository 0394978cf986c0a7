"""The protocol of stores: where the entries of a ledger are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acetasks._ledger.entries import Change, Entry, Intent, Query


class Written(NamedTuple):
    """What a store found when it wrote.

    Attributes:
        rejected: Keys of the `Accepted` changes that did not apply, unless their entry has the same task already.
        found: For each intent the entry that was there and stays, or None if the intent was inserted.
    """

    rejected: list[str]
    found: list[Entry | None]


class Store(Protocol):
    """A place for the entries of a ledger, such as a file or a database; several processes may share it.

    Every call takes and returns lists, so that the ledger can group them. A call is atomic, and what it wrote is
    durable when it returns. Calls may be concurrent. Each raises `LedgerError` if the store cannot be read or written,
    and has then changed nothing. A store that can also pass messages between its processes is an `AnnouncingStore`.
    """

    async def open(self) -> None:
        """Open the store, and create it if it does not exist."""
        ...

    async def close(self) -> None:
        """Close the store; closing a closed one does nothing."""
        ...

    async def write(self, changes: Sequence[Change], intents: Sequence[Intent]) -> Written:
        """Apply changes where their conditions hold, and then insert the intents with keys that are new or refused.

        Args:
            changes: They apply by kind, in the order of `CHANGE_ORDER`.
            intents: Intents with different keys. An intent replaces a refused entry of its key.
        """
        ...

    async def restamp(self, key: str, seen: float, now: float) -> bool:
        """Set the stamp of an entry without an id or end to `now`, and its state to `SUBMITTING`.

        Args:
            key: Key of the entry.
            seen: The stamp that the entry must have; otherwise nothing is changed.
            now: The new stamp.

        Returns:
            Whether the stamp was set; of several concurrent calls with the same `seen`, one at most succeeds.
        """
        ...

    async def find(self, keys: Sequence[str]) -> list[Entry | None]:
        """Return the entry of each key, or None if there is none."""
        ...

    async def find_tasks(self, provider: str, task_ids: Sequence[str]) -> list[Entry]:
        """Return the entries of a provider that have one of these task ids, in any order."""
        ...

    async def unfinished(self, after: str | None, limit: int) -> list[Entry]:
        """Return entries without an end in the order of their insertion.

        Args:
            after: Key of the last entry of the page before; None for the first page.
            limit: Maximum number of entries.
        """
        ...

    async def select(self, query: Query, after: str | None, limit: int) -> list[Entry]:
        """Return entries in the order of their stamps; `after` and `limit` as for `unfinished`."""
        ...


@runtime_checkable
class AnnouncingStore(Store, Protocol):
    """A `Store` that also passes short texts between the processes that share it.

    What is announced is a hint, of which nothing depends: it may be lost, come twice, and come back to the process that
    has announced it. So a store needs neither of these calls, which must not delay the others.
    """

    async def announce(self, texts: Sequence[str]) -> None:
        """Pass texts to all processes that listen at this moment.

        Args:
            texts: Each of up to 7,000 bytes in UTF-8, without NUL characters.

        Raises:
            LedgerError: They may not have been passed to all.
        """
        ...

    async def listen(self, receive: Callable[[str], object], on_listening: Callable[[], object]) -> None:
        """Pass each text on that is announced, until the call is cancelled.

        Args:
            receive: Called in the event loop with each text; it does not raise.
            on_listening: Called once, when the texts that are announced from now on are received.

        Raises:
            LedgerError: Texts cannot be received, or not any more.
        """
        ...
