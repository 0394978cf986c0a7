"""Shared parts of the tests of the ledger: intents, and a time of day that follows the loop time."""

from __future__ import annotations

from support import now

from acetasks._ledger import Accepted, Ended, Entry, EntryState, Intent, build_fingerprint

#: Seconds since the epoch at loop time 0.
EPOCH = 1_800_000_000.0
REQUEST = b'{"prompt":"a cat","async":true}'


def clock() -> float:
    """Return the time of day, in seconds since the epoch."""
    return EPOCH + now()


def intent(key: str, *, sent_at: float = EPOCH, request: bytes = REQUEST, provider: str = "luma") -> Intent:
    """Build an intent."""
    path = f"/{provider}/videos"
    return Intent(
        key=key,
        provider=provider,
        path=path,
        fingerprint=build_fingerprint(provider, path, request),
        request=request,
        sent_at=sent_at,
    )


def entry(key: str, **fields: object) -> Entry:
    """Build the entry of an intent, with some fields."""
    begun = intent(key)
    return Entry(**({name: getattr(begun, name) for name in begun.__struct_fields__} | fields))


def accepted(key: str, task_id: str | None = None) -> Accepted:
    """Build the change that gives a submission its id, `<key>-task` by default."""
    return Accepted(key=key, task_id=task_id or f"{key}-task", trace_id="trace")


def ended(task_id: str, *, provider: str = "luma", state: EntryState = EntryState.SUCCEEDED) -> Ended:
    """Build the change that ends a task."""
    return Ended(provider=provider, task_id=task_id, state=state, ended_at=EPOCH + 60, record=b'{"id":"t"}')
