"""Many submissions of one job: a few in work at a time, their results in order of completion."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

import msgspec

from acetasks.errors import AceTasksError, ClientClosedError
from acetasks.models import Task

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Coroutine

    from acetasks._scheduling import Key
    from acetasks.handles import TaskHandle

_logger = logging.getLogger("acetasks")

Payload: TypeAlias = Mapping[str, object]
Payloads: TypeAlias = Iterable[Payload] | AsyncIterable[Payload]
#: A key for each payload: in the same order, or computed from the payload.
Keys: TypeAlias = Iterable[str] | Callable[[Payload], str]
OnError: TypeAlias = Literal["return", "raise"]


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one submission of `Client.run_many`.

    Attributes:
        index: Position of the payload, from 0.
        payload: The payload.
        key: Its key, or None.
        task: The task in its terminal state, with the paths of its files; as last seen if waiting for it failed; None
            if there is no task, or it is not known whether there is (`SubmissionUncertainError`).
        error: What `Client.run` would have raised; None if the task succeeded, in part at least.
    """

    index: int
    payload: Payload
    key: str | None = None
    task: Task | None = None
    error: AceTasksError | None = None


class Run(Protocol):
    """Submits a payload and waits for its task, as `Client.run` does; the errors are the same."""

    def __call__(self, item: RunResult, on_submitted: Callable[[TaskHandle], object]) -> Awaitable[Task]:
        """Run one payload; `on_submitted` receives the handle as soon as there is one."""


def check_arguments(payloads: object, keys: object, concurrency: object, on_error: object) -> None:
    """Raise `TypeError` or `ValueError` for a wrong argument."""
    if not isinstance(payloads, Iterable | AsyncIterable) or isinstance(payloads, Mapping | str | bytes):
        raise TypeError(f"payloads must be a list or an iterator of mappings, got {type(payloads).__name__}")
    if keys is not None and (isinstance(keys, str | bytes) or not (callable(keys) or isinstance(keys, Iterable))):
        raise TypeError(f"keys must be a list of keys or a function of the payload, got {keys!r}")
    if isinstance(concurrency, bool) or not isinstance(concurrency, int):
        raise TypeError(f"concurrency must be a whole number, got {concurrency!r}")
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, got {concurrency!r}")
    if on_error not in get_args(OnError):
        raise ValueError(f"on_error must be one of {', '.join(get_args(OnError))}, got {on_error!r}")


async def run_many(
    run: Run,
    last_seen: Callable[[Key], Task],
    payloads: Payloads,
    *,
    keys: Keys | None,
    concurrency: int,
    on_error: OnError,
) -> AsyncGenerator[RunResult, None]:
    """Run each payload, and yield the results as they come; see `Client.run_many`.

    Args:
        run: Runs one payload.
        last_seen: Returns a task as last seen.
        payloads: Taken one by one.
        keys: Their keys.
        concurrency: Maximum number of payloads in work, results that were not read included.
        on_error: Whether an error is part of a result, or raised.
    """
    job = _Job(run, last_seen, _number(payloads, keys), concurrency)
    try:
        while (result := await job.next_result()) is not None:
            # Every other payload of a closed client would end in the same way.
            if result.error is not None and (on_error == "raise" or isinstance(result.error, ClientClosedError)):
                raise await job.abort(result, result.error)
            yield result
        if job.failure is not None:
            raise job.failure
    finally:
        await job.close()


class _Job:
    """The payloads in work.

    Attributes:
        failure: An exception of the payloads, after which no more are taken.
    """

    def __init__(
        self,
        run: Run,
        last_seen: Callable[[Key], Task],
        source: AsyncGenerator[RunResult, None],
        concurrency: int,
    ) -> None:
        self._run = run
        self._last_seen = last_seen
        self._source = source
        self._slots = asyncio.Semaphore(concurrency)
        self._results: asyncio.Queue[RunResult | None] = asyncio.Queue()
        #: What is in work, and its results until they are read, by index.
        self._work: dict[int, RunResult] = {}
        self._handles: dict[int, TaskHandle] = {}
        #: What ended submissions and waits say of their tasks.
        self._notes: list[str] = []
        self.failure: Exception | None = None
        self._is_closing = False
        self._running: set[asyncio.Task[None]] = set()
        self._feeder = self._start(self._feed())

    def __repr__(self) -> str:
        return f"<_Job {len(self._work)} in work>"

    async def next_result(self) -> RunResult | None:
        """Return the next result, or None if there is none left; another payload may then be taken."""
        result = await self._results.get()
        if result is not None:
            self._forget(result)
        return result

    async def abort(self, result: RunResult, error: AceTasksError) -> AceTasksError:
        """Cancel all others, and return the error of a result with what is known of every task."""
        found = {result.index: result.task} | {index: self._find_task(item) for index, item in self._work.items()}
        await self._cancel()
        error.tasks = tuple(task for _, task in sorted(found.items()) if task is not None)
        error.add_note(_describe(result))
        for note in self._notes:
            error.add_note(note)
        return error

    async def close(self) -> None:
        """Cancel what is in work, and log the tasks that ended but were not read."""
        await self._cancel()
        for result in self._work.values():
            if result.task is not None:
                task = result.task
                _logger.warning("%s task %s %s, but run_many was ended", task.provider, task.id, task.state.value)
        await self._source.aclose()

    async def _cancel(self) -> None:
        self._is_closing = True
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _start(self, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name="acetasks run_many")
        self._running.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not self._running:
            self._results.put_nowait(None)

    async def _feed(self) -> None:
        """Take a payload whenever one more may be in work."""
        try:
            while True:
                await self._slots.acquire()
                if (item := await anext(self._source, None)) is None:
                    return
                self._work[item.index] = item
                _ = self._start(self._run_one(item))
        except Exception as error:  # noqa: BLE001  # the payloads are the user's code
            self._fail(error)

    async def _run_one(self, item: RunResult) -> None:
        index = item.index
        try:
            task = await self._run(item, lambda handle: self._handles.update({index: handle}))
            result = msgspec.structs.replace(item, task=task)
        except AceTasksError as error:
            result = msgspec.structs.replace(item, task=_task_of(error) or self._find_task(item), error=error)
        except asyncio.CancelledError as error:
            self._notes += getattr(error, "__notes__", ())
            if not self._is_closing:
                self._fail(AceTasksError(f"{_describe(item)} was cancelled by other code"))
            raise
        except Exception as error:  # noqa: BLE001  # a payload that cannot be sent, such as one that is no JSON
            error.add_note(_describe(item))
            self._fail(error)
            self._forget(item)
            return
        self._work[index] = result
        self._results.put_nowait(result)

    def _fail(self, error: Exception) -> None:
        """Take no more payloads; what is in work goes on."""
        self.failure = self.failure or error
        self._feeder.cancel()

    def _forget(self, item: RunResult) -> None:
        self._work.pop(item.index, None)
        self._handles.pop(item.index, None)
        self._slots.release()

    def _find_task(self, item: RunResult) -> Task | None:
        """Return the task of a payload in work as last seen, or None before its submission was accepted."""
        if item.task is not None:
            return item.task
        handle = self._handles.get(item.index)
        return None if handle is None else handle.finished or self._last_seen(handle.key)


async def _number(payloads: Payloads, keys: Keys | None) -> AsyncGenerator[RunResult, None]:
    """Yield each payload with its number and key.

    Raises:
        ValueError: There are fewer keys than payloads.
        TypeError: A payload is not a mapping.
    """
    given = None if keys is None or callable(keys) else iter(keys)
    index = 0
    async for payload in _iterate(payloads):
        if not isinstance(payload, Mapping):
            raise TypeError(f"payload {index} must be a mapping of parameters, got {type(payload).__name__}")
        key = keys(payload) if callable(keys) else None
        if given is not None and (key := next(given, None)) is None:
            raise ValueError(f"there are only {index} keys, and more payloads")
        yield RunResult(index=index, payload=payload, key=key)
        index += 1


async def _iterate(payloads: Payloads) -> AsyncGenerator[Payload, None]:
    if isinstance(payloads, AsyncIterable):
        async for payload in payloads:
            yield payload
    else:
        for payload in payloads:
            yield payload


def _task_of(error: AceTasksError) -> Task | None:
    """Return the task that an error is about, as last seen."""
    task = getattr(error, "task", None)
    return task if isinstance(task, Task) else None


def _describe(item: RunResult) -> str:
    return f"payload {item.index}" if item.key is None else f"payload {item.index} ({item.key})"
