"""Task handles, and parsing of the arguments that name tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from acetasks._polling import WaitTargets, waiting
from acetasks._records import escape_controls
from acetasks._validation import check_id, check_ids, check_timeout
from acetasks.errors import ClientClosedError
from acetasks.models import Task
from acetasks.providers import lookup

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from acetasks._polling import Poller
    from acetasks._scheduling import Key


class TaskHandle:
    """A reference to a remote task, to wait for it.

    A handle polls only during a wait. It can be pickled, without its client: restore it with
    `client.handle(handle.provider, handle.id)`.

    Attributes:
        provider: The provider's slug.
        id: The task's id; empty if the response to the submission was the result itself, without an id.
        finished: The finished task, if the response to the submission was the result itself; otherwise None.
    """

    __slots__ = ("_poller_for", "_save", "finished", "id", "provider")

    def __init__(
        self,
        provider: str,
        task_id: str,
        finished: Task | None = None,
        *,
        poller_for: Callable[[Iterable[Key]], Poller] | None = None,
        save: Callable[[Task, str | os.PathLike[str]], Awaitable[Task]] | None = None,
    ) -> None:
        """Create a handle; use `Client.submit` or `Client.handle` instead.

        `poller_for` returns the client's poller for some tasks, or raises if they cannot be polled; `save` downloads
        the files of a task into a directory. Both are None for a handle without a client.
        """
        self.provider = provider
        self.id = task_id
        self.finished = finished
        self._poller_for = poller_for
        self._save = save

    def __repr__(self) -> str:
        state = f" {self.finished.state.value}" if self.finished else ""
        return f"<TaskHandle {self.provider} {escape_controls(self.id)}{state}>"

    def __str__(self) -> str:
        return f"{self.provider}:{self.id}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskHandle):
            return NotImplemented
        return (self.provider, self.id, self.finished) == (other.provider, other.id, other.finished)

    def __hash__(self) -> int:
        return hash((self.provider, self.id))

    def __reduce__(self) -> tuple[object, ...]:
        return TaskHandle, (self.provider, self.id, self.finished)

    @property
    def key(self) -> Key:
        """Provider and id; for a finished task without an id, its trace id or a hash of its record instead."""
        if self.finished is None:
            return lookup(self.provider).slug, check_id(self.id)
        return self.provider, self.id or f"finished {self.finished.trace_id or hash(self.finished.raw)}"

    async def wait(self, *, timeout: float | None = None, download_to: str | os.PathLike[str] | None = None) -> Task:
        """Wait until the task ends, and download its files if there is a directory for them; see `Client.wait`."""
        seconds = check_timeout(timeout)
        if self.finished is not None:
            task = waiting.succeeded_or_raise(self.finished)
        else:
            task = await waiting.wait_one(self._poller(), self.key, seconds)
        if download_to is None:
            return task
        if self._save is None:
            raise build_unpickled_error(self)
        return await self._save(task, download_to)

    def updates(self) -> AsyncGenerator[Task, None]:
        """Yield the task after its first poll and after each change of its state or progress.

        The last task yielded is terminal; a failed task is yielded, not raised. Closing the iterator stops the polling.
        """
        if self.finished is not None:
            return waiting.once(self.finished)
        return waiting.updates(self._poller(), self.key)

    def _poller(self) -> Poller:
        if self._poller_for is None:
            raise build_unpickled_error(self)
        return self._poller_for([self.key])


def build_unpickled_error(handle: TaskHandle) -> ClientClosedError:
    """Build the error for the use of a handle without a client."""
    return ClientClosedError(
        f"the handle of {handle.provider} task {handle.id} was unpickled and has no client: get a new handle with"
        " client.handle(handle.provider, handle.id)"
    )


#: One task: a (provider, id) pair, also as a list of two texts as in a row of a CSV file, or a handle.
Target = tuple[str, str] | list[str] | TaskHandle


def parse_targets(first: str | Iterable[Target], ids: Iterable[str] | None) -> WaitTargets:
    """Return the tasks named by a provider's slug and ids, or by pairs and handles; order and duplicates are kept.

    Raises:
        TypeError: The arguments have neither form.
        ValueError: An id is malformed.
        UnknownProviderError: A provider name is invalid.
    """
    if isinstance(first, str):
        if ids is None or isinstance(ids, str):
            raise TypeError(f"expected a provider's slug and a list of task ids, got {first!r} and {ids!r}")
        slug = lookup(first).slug
        return WaitTargets([(slug, task_id) for task_id in check_ids(list(ids))], {})
    if ids is not None:
        raise TypeError(f"task ids need a provider's slug before them, got {first!r}")
    targets: object = first
    if not isinstance(targets, Iterable) or isinstance(targets, Task):  # a task iterates over its own fields
        raise TypeError(f"expected a list of task handles or (provider, id) pairs, got {first!r}")
    given = list(first)
    handles = [target for target in given if isinstance(target, TaskHandle)]
    finished = {handle.key: handle.finished for handle in handles if handle.finished is not None}
    return WaitTargets(list(map(_key_of, given)), finished)


def _key_of(target: Target) -> Key:
    if isinstance(target, TaskHandle):
        return target.key
    pair: object = target
    if not isinstance(pair, tuple | list) or len(pair) != 2:  # noqa: PLR2004  # a pair has two items
        raise TypeError(f"expected a task handle or a (provider, id) pair, got {target!r}")
    provider, task_id = pair
    return lookup(provider).slug, check_id(task_id)
