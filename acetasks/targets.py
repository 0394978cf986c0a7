"""Ways to name a task: the handle of a submitted one, and pairs of provider and id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from acetasks import waiting
from acetasks._validation import check_id, check_ids, check_timeout
from acetasks.errors import ClientClosedError
from acetasks.providers import lookup
from acetasks.waiting import Wanted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from acetasks.entries import Key
    from acetasks.models import Task
    from acetasks.poller import Poller


class TaskHandle:
    """A task by its provider and id, to be waited for.

    A handle polls nothing while nobody waits. It can be pickled: what comes out again has the provider and id, and is
    given to a client by `client.handle(handle.provider, handle.id)`.

    Attributes:
        provider: The provider's slug.
        id: The task's id; empty where a submission was answered with a result that names none.
        finished: The finished task, where the submission was answered with the result itself; else None.
    """

    __slots__ = ("_poller_for", "finished", "id", "provider")

    def __init__(
        self,
        provider: str,
        task_id: str,
        finished: Task | None = None,
        *,
        poller_for: Callable[[Iterable[Key]], Poller] | None = None,
    ) -> None:
        """Name a task; clients do this in `submit` and `handle`.

        Args:
            provider: The provider's slug.
            task_id: The task's id.
            finished: The finished task, if its end is known.
            poller_for: Gives the client's poller for what is wanted; None for a handle without a client.
        """
        self.provider = provider
        self.id = task_id
        self.finished = finished
        self._poller_for = poller_for

    def __repr__(self) -> str:
        """Show what it is a handle of."""
        state = f" {self.finished.state.value}" if self.finished else ""
        return f"<TaskHandle {self.provider} {self.id}{state}>"

    def __eq__(self, other: object) -> bool:
        """Tell whether the other is a handle of the same task, and knows as much of it."""
        if not isinstance(other, TaskHandle):
            return NotImplemented
        return (self.provider, self.id, self.finished) == (other.provider, other.id, other.finished)

    def __hash__(self) -> int:
        """Hash by provider and id."""
        return hash((self.provider, self.id))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle without the client."""
        return TaskHandle, (self.provider, self.id, self.finished)

    @property
    def key(self) -> Key:
        """What tells its task from others: a result without an id is told by its trace id or record."""
        if self.finished is None:
            return lookup(self.provider).slug, check_id(self.id)
        return self.provider, self.id or f"finished {self.finished.trace_id or hash(self.finished.raw)}"

    async def wait(self, *, timeout: float | None = None) -> Task:
        """Wait for the task to end; see `Client.wait`."""
        seconds = check_timeout(timeout)
        if self.finished is not None:
            return waiting.succeeded_or_raise(self.finished)
        return await waiting.wait_for(self._poller(), self.key, seconds)

    def updates(self) -> AsyncGenerator[Task, None]:
        """Follow the task: it is yielded when first seen and at each change of its state or progress.

        The last one is terminal, and failed tasks are yielded, not raised. Polling stops when the iteration does.
        """
        if self.finished is not None:
            return waiting.once(self.finished)
        return waiting.follow(self._poller(), self.key)

    def _poller(self) -> Poller:
        if self._poller_for is None:
            raise ClientClosedError(
                f"this handle of {self.provider} task {self.id} was unpickled and has no client: get one with"
                " client.handle(handle.provider, handle.id)"
            )
        return self._poller_for([self.key])


#: What can be waited for: a provider and an id, or a handle.
Target = tuple[str, str] | TaskHandle


def read_targets(first: str | Iterable[Target], ids: Iterable[str] | None) -> Wanted:
    """Find out which tasks are meant by a provider and its ids, or by pairs and handles.

    Raises:
        TypeError: It is neither.
        ValueError: There are none, or an id can be none.
        UnknownProviderError: A provider's name can be none.
    """
    if isinstance(first, str):
        if ids is None or isinstance(ids, str):
            raise TypeError(f"give a provider and a list of its ids, not {first!r} and {ids!r}")
        slug = lookup(first).slug
        wanted = Wanted(waiting.KeysOfOne(slug, tuple(check_ids(list(ids)))), {})
    elif ids is not None:
        raise TypeError(f"give a provider's slug with its ids, not {first!r}")
    elif not isinstance(first, Iterable):
        raise TypeError(f"give a list of handles, or of pairs of provider and id, not {first!r}")
    else:
        finished: dict[Key, Task] = {}
        wanted = Wanted([_read_target(target, finished) for target in first], finished)
    if not wanted.keys:
        raise ValueError("no task ids were given: there is nothing to ask for")
    return wanted


def _read_target(target: Target, finished: dict[Key, Task]) -> Key:
    """Find out which task is meant by a pair of provider and id, or by a handle, which may know its end."""
    if isinstance(target, TaskHandle):
        key = target.key
        if target.finished is not None:
            finished[key] = target.finished
        return key
    pair: object = target
    if not isinstance(pair, tuple | list) or len(pair) != 2:  # noqa: PLR2004  # a pair has two
        raise TypeError(f"a task is given as a pair of provider and id, or as a handle, not {target!r}")
    provider, task_id = pair
    return lookup(provider).slug, check_id(task_id)
