"""The history of a provider: requests for its pages, and the walk over all of them.

The service lists the newest tasks first. A page can have fewer tasks than asked for, and tasks come and go while the
pages are read, so only the tasks' ids and an empty page say where the walk is.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

import msgspec

from acetasks._http.requests import Request
from acetasks._http.responses import split_batch
from acetasks._records import ECHO_LIMIT
from acetasks.errors import ProtocolError
from acetasks.providers import HistoryCall, ProviderSpec, RecordStatus, read_record

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from acetasks._http.requests import Response
    from acetasks.models import Task

_logger = logging.getLogger("acetasks")

#: Tasks of one page: what the service recommends for batches. Larger ones are documented for some providers only.
PAGE_SIZE = 50
#: Pages in a row without a new task that end a walk. One alone can be a short page of tasks that new ones have shifted.
_STALE_PAGES = 2
#: Seconds after the newest task of the first page within which a task is still listed, since times may be rounded.
_ANCHOR_MARGIN = 1.0


class HistoryPage(msgspec.Struct, frozen=True):
    """One page of a history.

    Attributes:
        statuses: The records of tasks, in the order of the response.
        unreadable: The number of records that cannot be read or have no id.
    """

    statuses: tuple[RecordStatus, ...] = ()
    unreadable: int = 0

    @property
    def size(self) -> int:
        """The number of records of any kind."""
        return len(self.statuses) + self.unreadable


def check_history(spec: ProviderSpec) -> None:
    """Raise `ValueError` if the provider has no history."""
    if spec.history_call is HistoryCall.NONE:
        raise ValueError(f"provider {spec.slug!r} has no call that lists its tasks, so there is no history of it")


def build_history(
    spec: ProviderSpec,
    *,
    limit: int,
    offset: int = 0,
    created_after: float | None = None,
    created_before: float | None = None,
) -> Request:
    """Build the request for one page of a history."""
    action = "retrieve" if spec.history_call is HistoryCall.SINGLE else "retrieve_batch"
    body: dict[str, object] = {"action": action, "limit": limit, "offset": offset}
    if created_after is not None:
        body["created_at_min"] = created_after
    if created_before is not None:
        body["created_at_max"] = created_before
    return Request(
        provider=spec.slug, service=spec.service, method="POST", path=spec.path, body=msgspec.json.encode(body)
    )


def read_history(spec: ProviderSpec, request: Request, response: Response) -> HistoryPage:
    """Read one page of a history, for which `read_failure` has found no error.

    Raises:
        ProtocolError: The body is no list of records.
        APIError: The body is an error in spite of its status.
    """
    records = split_batch(spec, request, response)
    statuses: list[RecordStatus] = []
    for record in records:
        try:
            status = read_record(spec, bytes(record))
        except ProtocolError as error:
            _logger.warning("%s: a record of the history cannot be read: %.*s", spec.slug, ECHO_LIMIT, error)
            continue
        if status.id:
            statuses.append(status)
    return HistoryPage(tuple(statuses), len(records) - len(statuses))


class HistoryWalk:
    """A walk over the history of one provider, page by page, each task once.

    Args:
        spec: The provider, which must have a history.
        fetch: Sends a request and reads its page.
        created_after: The earliest time of submission, in seconds since the epoch, or None.
        created_before: The latest time of submission, or None.

    Attributes:
        is_complete: Whether the end was reached and every record was read. False if the provider repeats its pages,
            or a record cannot be read: then a task that was not listed may exist.
    """

    def __init__(
        self,
        spec: ProviderSpec,
        fetch: Callable[[Request, Callable[[Response], HistoryPage]], Awaitable[HistoryPage]],
        *,
        created_after: float | None = None,
        created_before: float | None = None,
    ) -> None:
        check_history(spec)
        self._spec = spec
        self._fetch = fetch
        self._after, self._before = created_after, created_before
        self.is_complete = False

    def __repr__(self) -> str:
        return f"<HistoryWalk {self._spec.slug} {'complete' if self.is_complete else 'not complete'}>"

    async def tasks(self, limit: int | None = None) -> AsyncGenerator[Task, None]:
        """Yield the tasks, at most `limit`. A request is sent only when the tasks of the page before are used up.

        Raises:
            AceTasksError: As for `Client.retrieve`.
        """
        seen: set[str] = set()
        offset = stale = unreadable = count = 0
        latest = self._before
        while limit is None or count < limit:
            size = PAGE_SIZE if limit is None else min(PAGE_SIZE, limit - count)
            page = await self._fetch_page(size, offset, latest)
            if not page.size or self._is_past(page.statuses):
                self.is_complete = not unreadable + page.unreadable
                return
            if not offset:
                latest = _find_anchor(page.statuses, latest)
            offset, unreadable = offset + page.size, unreadable + page.unreadable
            new: dict[str, Task] = {}
            for status in page.statuses:
                if status.id not in seen:
                    new.setdefault(status.id, status.task)
            stale = 0 if new else stale + 1
            if stale == _STALE_PAGES:
                return
            seen |= new.keys()
            for task in new.values():
                if self._is_wanted(task.created_at) and (limit is None or count < limit):
                    count += 1
                    yield task

    def _fetch_page(self, limit: int, offset: int, created_before: float | None) -> Awaitable[HistoryPage]:
        request = build_history(
            self._spec, limit=limit, offset=offset, created_after=self._after, created_before=created_before
        )
        return self._fetch(request, functools.partial(read_history, self._spec, request))

    def _is_wanted(self, created_at: float | None) -> bool:
        """Return whether a task is in the time asked for, in case that the service does not keep to it."""
        if created_at is None:
            return True
        return (self._after is None or created_at >= self._after) and (
            self._before is None or created_at <= self._before
        )

    def _is_past(self, statuses: Sequence[RecordStatus]) -> bool:
        """Return whether a page has only tasks from before the time asked for: all later pages have too."""
        times = [status.task.created_at for status in statuses]
        return (
            self._after is not None and bool(times) and all(time is not None and time < self._after for time in times)
        )


def _find_anchor(statuses: Sequence[RecordStatus], created_before: float | None) -> float | None:
    """Return the latest time to ask for from the second page on, so that tasks submitted meanwhile shift nothing.

    It follows from the first page, if that begins with the newest task: clocks of this machine may be wrong.
    """
    times = [status.task.created_at for status in statuses]
    known = [time for time in times if time is not None]
    if len(known) < len(times) or not known or known[0] < max(known):
        return created_before
    anchor = known[0] + _ANCHOR_MARGIN
    return anchor if created_before is None else min(anchor, created_before)
