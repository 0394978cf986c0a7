"""Blocking client for scripts, notebooks and synchronous web frameworks: `acetasks.Client` in a thread of its own.

Every method has the name, arguments, results and errors of its counterpart, and blocks until that returns. Several
threads may share a client: their tasks are then polled in shared requests. In async code use `acetasks.Client`.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import functools
import os
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, Self, TypeVar, Unpack, overload

from acetasks import client as _client
from acetasks import handles as _handles
from acetasks._polling.waiting import succeeded_or_raise
from acetasks.errors import ClientClosedError
from acetasks.models import Task

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Mapping

    from acetasks._http import TokenProvider
    from acetasks._ledger import Entry, EntryState, Ledger
    from acetasks._runs import Keys, OnError, Payloads, RunResult
    from acetasks._scheduling import Durations, Key
    from acetasks.client import StrPath
    from acetasks.stats import ClientStats, Explanation

__all__ = ["Client", "Journal", "Target", "TaskHandle"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: Seconds that an interrupted call has to end in the loop, for the notes of its exception.
_CANCEL_TIMEOUT = 1.0
#: Longest wait for a lock in seconds: on Windows nothing interrupts one, not even Ctrl-C.
_LONGEST_BLOCK = 0.5 if sys.platform == "win32" else None
_NEW_CLIENT = (
    "create a new one, with 'with acetasks.sync.Client(...) as client:' or 'client = acetasks.sync.Client.open(...)'"
)
#: Marks the end of a stream.
_END = object()


class _Stream(Generic[_T]):
    """Async generator that is iterated in one asyncio task, as its task groups need, and read from others."""

    def __init__(self, generator: AsyncGenerator[_T, None]) -> None:
        self._generator = generator
        self._task: asyncio.Task[None] | None = None
        self._wanted = asyncio.Semaphore(0)
        self._items = asyncio.Queue[object]()

    async def read(self) -> object:
        """Return the next item, or `_END`."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="acetasks stream")
        self._wanted.release()
        item = await self._items.get()
        if item is _END:
            await self._task  # raises the generator's error
        return item

    async def close(self) -> None:
        """Close the generator."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            async with contextlib.aclosing(self._generator):
                await self._wanted.acquire()
                async for item in self._generator:
                    self._items.put_nowait(item)
                    await self._wanted.acquire()
        finally:
            self._items.put_nowait(_END)


class _Loop:
    """Event loop in a thread, for the calls of one client.

    Any number of threads may call it at once. The lock is for starting and stopping, and for beginning a call.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._lock = threading.Lock()
        self._calls: set[concurrent.futures.Future[object]] = set()
        self._pid = 0
        self._closing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the thread; it does not keep the interpreter from ending.

        anyio's blocking portal would: in a forked process, it waits at the end for a thread that is not there.

        Raises:
            ClientClosedError: It was started before.
        """
        started = concurrent.futures.Future[asyncio.AbstractEventLoop]()
        with self._lock:
            if self._thread is not None:
                raise ClientClosedError(f"this client was already opened, and can be opened only once: {_NEW_CLIENT}")
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._run, args=(started,), name="acetasks", daemon=True)
            self._thread.start()
            self._loop = started.result()

    def stop(self) -> None:
        """End the thread; calls that have not ended raise `ClientClosedError`."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    @property
    def is_open(self) -> bool:
        """Whether the thread was started and not stopped, here or in the process before a fork."""
        return self._loop is not None

    @property
    def is_running(self) -> bool:
        """Whether the thread runs, in this process."""
        return self._loop is not None and self._pid == os.getpid()

    @property
    def is_own_thread(self) -> bool:
        """Whether this is that thread, in which waiting for a call would never end."""
        return self.is_running and threading.current_thread() is self._thread

    def check(self) -> asyncio.AbstractEventLoop:
        """Return the loop, or raise as `call` does."""
        if self._loop is None:
            raise ClientClosedError(
                f"this client is closed: {_NEW_CLIENT}"
                if self._thread is not None
                else "this client is not open: use it as 'with acetasks.sync.Client() as client:'"
            )
        if self._pid != os.getpid():
            raise ClientClosedError(
                "this client was opened in another process, before a fork: create a new one in this process"
            )
        if self.is_own_thread:
            raise RuntimeError(
                "a blocking client was called in its own thread, as by an observer or token function: the call would"
                " wait for itself"
            )
        return self._loop

    def call(self, function: Callable[_P, Awaitable[_T]], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Await a function's result in the loop; if this thread is interrupted meanwhile, the call is cancelled.

        Raises:
            ClientClosedError: The thread does not run, or was stopped during the call.
            RuntimeError: This is that thread.
        """
        ended, notes = threading.Event(), list[str]()

        async def run() -> _T:
            try:
                result = await function(*args, **kwargs)
                notes.extend(_describe(result))
            except asyncio.CancelledError as error:
                notes.extend(getattr(error, "__notes__", ()))
                raise
            else:
                return result
            finally:
                ended.set()

        future = self._begin(run)
        try:
            while not concurrent.futures.wait((future,), timeout=_LONGEST_BLOCK).done:
                pass
        except BaseException as error:  # such as KeyboardInterrupt
            future.cancel()
            ended.wait(_CANCEL_TIMEOUT)
            for note in notes:
                error.add_note(note)
            raise
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ClientClosedError(f"this client was closed during the call: {_NEW_CLIENT}") from None

    def stream(
        self, function: Callable[_P, AsyncGenerator[_T, None]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Generator[_T, None, None]:
        """Call a function that returns an async generator, and return its items as a generator."""

        async def begin() -> AsyncGenerator[_T, None]:
            return function(*args, **kwargs)

        return self._iterate(self.call(begin))

    def _iterate(self, generator: AsyncGenerator[_T, None]) -> Generator[_T, None, None]:
        stream = _Stream(generator)
        try:
            while (item := self.call(stream.read)) is not _END:
                yield item  # type: ignore[misc]  # all others are the generator's
        finally:
            # 1. The garbage collector may run in any thread.   2. Closing the client has ended the stream.
            if self.is_own_thread:
                self._closing = asyncio.create_task(stream.close())
            else:
                with contextlib.suppress(ClientClosedError):
                    self.call(stream.close)

    def _run(self, started: concurrent.futures.Future[asyncio.AbstractEventLoop]) -> None:
        async def serve() -> None:
            started.set_result(asyncio.get_running_loop())
            await self._stopping.wait()

        try:
            asyncio.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)
        finally:
            with self._lock:
                self._loop = None
            for future in tuple(self._calls):
                future.cancel()

    def _begin(self, function: Callable[[], Coroutine[object, object, _T]]) -> concurrent.futures.Future[_T]:
        self.check()  # before the lock, which after a fork may be held by a thread that is not there
        with self._lock:
            future = asyncio.run_coroutine_threadsafe(function(), self.check())
            self._calls.add(future)  # type: ignore[arg-type]  # a future is invariant
        future.add_done_callback(self._calls.discard)
        return future


class TaskHandle:
    """A reference to a remote task, to wait for it; see `acetasks.TaskHandle`.

    It can be pickled, without its client: restore it with `client.handle(handle.provider, handle.id)`.
    """

    __slots__ = ("_handle", "_loop")

    def __init__(self, handle: _handles.TaskHandle, loop: _Loop | None = None) -> None:
        """Create a handle; use `Client.submit` or `Client.handle` instead."""
        self._handle = handle
        self._loop = loop

    def __repr__(self) -> str:
        return repr(self._handle)

    def __eq__(self, other: object) -> bool:
        return self._handle == other._handle if isinstance(other, TaskHandle) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._handle)

    def __reduce__(self) -> tuple[object, ...]:
        return TaskHandle, (self._handle,)

    @property
    def provider(self) -> str:
        """The provider's slug."""
        return self._handle.provider

    @property
    def id(self) -> str:
        """The task's id; empty if the response to the submission was the result itself, without an id."""
        return self._handle.id

    @property
    def finished(self) -> Task | None:
        """The finished task, if the response to the submission was the result itself; otherwise None."""
        return self._handle.finished

    @property
    def key(self) -> Key:
        """Provider and id; for a finished task without an id, its trace id or a hash of its record instead."""
        return self._handle.key

    def wait(self, *, timeout: float | None = None, download_to: StrPath | None = None) -> Task:
        """Wait until the task ends, and download its files if there is a directory; see `acetasks.Client.wait`."""
        if self._loop is None and self.finished is not None and download_to is None:
            return succeeded_or_raise(self.finished)
        return self._require_loop().call(self._handle.wait, timeout=timeout, download_to=download_to)

    def updates(self) -> Generator[Task, None, None]:
        """Yield the task after its first poll and after each change; see `acetasks.TaskHandle.updates`."""
        return self._require_loop().stream(self._handle.updates)

    def _require_loop(self) -> _Loop:
        if self._loop is None:
            raise _handles.build_unpickled_error(self._handle)
        return self._loop


#: One task: a (provider, id) pair, or a handle, also one of the asynchronous client.
Target = _handles.Target | TaskHandle


def _blocking(
    method: Callable[Concatenate[_client.Client, _P], Awaitable[_T]],
) -> Callable[Concatenate[Client, _P], _T]:
    """Return a method that blocks until the client's own has returned."""

    @functools.wraps(method)
    def call(self: Client, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self._loop.call(method, self._client, *args, **kwargs)

    return call


def _submitting(
    method: Callable[Concatenate[_client.Client, _P], Awaitable[_handles.TaskHandle]],
) -> Callable[Concatenate[Client, _P], TaskHandle]:
    """Return a method that blocks until the client's own has returned a handle."""

    @functools.wraps(method)
    def call(self: Client, /, *args: _P.args, **kwargs: _P.kwargs) -> TaskHandle:
        return TaskHandle(self._loop.call(method, self._client, *args, **kwargs), self._loop)

    return call


class Journal:
    """The journal of a blocking client; see `acetasks.Client.journal`."""

    def __init__(self, client: _client.Client, loop: _Loop) -> None:
        self._client = client
        self._loop = loop

    def find(self, key: str) -> Entry | None:
        """Return the entry of a key, or None if there is none."""
        return self._loop.call(self._ledger.find, key)

    def tasks(
        self,
        *,
        provider: str | None = None,
        state: EntryState | str | None = None,
        since: float | None = None,
        before: float | None = None,
    ) -> Generator[Entry, None, None]:
        """Yield entries in the order of their times; see `acetasks.Ledger.tasks`."""
        return self._loop.stream(self._ledger.tasks, provider=provider, state=state, since=since, before=before)

    @property
    def _ledger(self) -> Ledger:
        async def get() -> Ledger:
            return self._client.journal

        return self._loop.call(get)


class Client:
    """Blocking client for generation tasks on Ace Data Cloud and useapi.net, with an event loop in a thread of its own.

    Use it as `with Client() as client:`, or open it with `Client.open()` and close it. Any number of threads may use it
    at once, also where an event loop runs, as in a notebook. A method that is interrupted, as by Ctrl-C, is cancelled
    like one of `acetasks.Client`: the exception of a submission has a note of what may be paid for. A client that is
    not closed is closed when the interpreter exits. It cannot be used in a process forked after it was opened.

    The arguments and errors are those of `acetasks.Client`, without `http`: a session belongs to the loop that it was
    created in. Observers and token functions are called in the client's thread, and must not call the client.
    """

    def __init__(self, token: str | TokenProvider | None = None, **options: Unpack[_client.ClientOptions]) -> None:
        self._loop = _Loop()
        try:
            self._client = _client.Client(token, **options)
        finally:
            # Keep tokens out of tracebacks that show local variables.
            del token, options

    def __repr__(self) -> str:
        return f"<sync {self._client!r}>"

    @property
    def durations(self) -> Durations:
        """Learned statistics of task durations; see `acetasks.Client.durations`."""
        return self._client.durations

    @classmethod
    def open(cls, token: str | TokenProvider | None = None, **options: Unpack[_client.ClientOptions]) -> Self:
        """Create and open a client, with the arguments and errors of the class; `close` it after use."""
        try:
            client = cls(token, **options)
        finally:
            del token, options
        return client.__enter__()

    def __enter__(self) -> Self:
        """Open the client.

        Raises:
            ClientClosedError: The client was opened before. Create a new one.
        """
        self._loop.start()
        try:
            self._loop.call(self._client.__aenter__)
        except BaseException:
            self._loop.stop()
            raise
        atexit.register(self._close_at_exit)
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the client and its connections, and end its thread; pending calls raise `ClientClosedError`.

        Takes one second at most. Closing a closed client does nothing.

        Raises:
            ClientClosedError: The client was opened in another process, and stays open there.
        """
        if not self._loop.is_open:
            return
        self._loop.check()
        atexit.unregister(self._close_at_exit)
        try:
            self._loop.call(self._client.close)
        finally:
            self._loop.stop()

    # Methods of `acetasks.Client` that need nothing but its loop.

    wait = _blocking(_client.Client.wait)
    run = _blocking(_client.Client.run)
    retrieve = _blocking(_client.Client.retrieve)
    retrieve_batch = _blocking(_client.Client.retrieve_batch)
    download = _blocking(_client.Client.download)
    resume = _blocking(_client.Client.resume)
    reconcile = _blocking(_client.Client.reconcile)
    submit = _submitting(_client.Client.submit)

    # Those that take targets, or return something else.

    def handle(self, provider: str, task_id: str) -> TaskHandle:
        """Return a handle of a task that was already submitted; see `acetasks.Client.handle`."""
        return TaskHandle(self._client.handle(provider, task_id), self._loop)

    @overload
    def as_completed(
        self, targets: Iterable[Target], /, *, timeout: float | None = None, download_to: StrPath | None = None
    ) -> Generator[Task, None, None]: ...
    @overload
    def as_completed(
        self, provider: str, ids: Iterable[str], /, *, timeout: float | None = None, download_to: StrPath | None = None
    ) -> Generator[Task, None, None]: ...
    def as_completed(
        self,
        first: str | Iterable[Target],
        ids: Iterable[str] | None = None,
        /,
        *,
        timeout: float | None = None,
        download_to: StrPath | None = None,
    ) -> Generator[Task, None, None]:
        """Wait for several tasks and yield each when it ends; see `acetasks.Client.as_completed`.

        Closing the generator stops waiting for the others.
        """
        start: Callable[..., AsyncGenerator[Task, None]] = self._client.as_completed
        return self._loop.stream(start, _unwrap(first), ids, timeout=timeout, download_to=download_to)

    def run_many(
        self,
        provider: str,
        payloads: Payloads,
        *,
        concurrency: int = 10,
        keys: Keys | None = None,
        path: str | None = None,
        headers: Mapping[str, str] | None = None,
        download_to: StrPath | None = None,
        timeout: float | None = None,
        on_error: OnError = "return",
    ) -> Generator[RunResult, None, None]:
        """Run many payloads, and yield a result for each in order of completion; see `acetasks.Client.run_many`.

        Payloads are read in the client's thread.
        """
        return self._loop.stream(
            self._client.run_many,
            provider,
            payloads,
            concurrency=concurrency,
            keys=keys,
            path=path,
            headers=headers,
            download_to=download_to,
            timeout=timeout,
            on_error=on_error,
        )

    def history(
        self,
        provider: str,
        *,
        created_after: dt.datetime | float | None = None,
        created_before: dt.datetime | float | None = None,
        limit: int | None = None,
    ) -> Generator[Task, None, None]:
        """Yield a provider's tasks as the service lists them, newest first; see `acetasks.Client.history`."""
        return self._loop.stream(
            self._client.history, provider, created_after=created_after, created_before=created_before, limit=limit
        )

    def stats(self) -> ClientStats:
        """Return the state of the client; see `acetasks.Client.stats`."""

        async def read() -> ClientStats:
            return self._client.stats()

        return self._loop.call(read)

    def explain(self, provider: str, task_id: str) -> Explanation:
        """Return why a task is still awaited; see `acetasks.Client.explain`."""

        async def read() -> Explanation:
            return self._client.explain(provider, task_id)

        return self._loop.call(read)

    def pending(self) -> Generator[TaskHandle, None, None]:
        """Yield a handle of every task in the journal that has not ended; see `acetasks.Client.pending`."""
        for handle in self._loop.stream(self._client.pending):
            yield TaskHandle(handle, self._loop)

    @property
    def journal(self) -> Journal:
        """The journal of submissions, to look at; see `acetasks.Client.journal`."""
        self._loop.check()
        return Journal(self._client, self._loop)

    @overload
    def wait_all(
        self,
        targets: Iterable[Target],
        /,
        *,
        timeout: float | None = None,
        return_failed: bool = False,
        download_to: StrPath | None = None,
    ) -> list[Task]: ...
    @overload
    def wait_all(
        self,
        provider: str,
        ids: Iterable[str],
        /,
        *,
        timeout: float | None = None,
        return_failed: bool = False,
        download_to: StrPath | None = None,
    ) -> list[Task]: ...
    def wait_all(
        self,
        first: str | Iterable[Target],
        ids: Iterable[str] | None = None,
        /,
        *,
        timeout: float | None = None,
        return_failed: bool = False,
        download_to: StrPath | None = None,
    ) -> list[Task]:
        """Wait until several tasks end, and return them in the order given; see `acetasks.Client.wait_all`."""
        wait: Callable[..., Awaitable[list[Task]]] = self._client.wait_all
        return self._loop.call(
            wait, _unwrap(first), ids, timeout=timeout, return_failed=return_failed, download_to=download_to
        )

    def _close_at_exit(self) -> None:
        if self._loop.is_running:  # not in a forked process
            self.close()


def _unwrap(first: str | Iterable[Target]) -> str | Iterable[_handles.Target]:
    """Return what names tasks, with the asynchronous handles of blocking ones; the client checks it."""
    if isinstance(first, str) or not isinstance(first, Iterable):
        return first
    return [target._handle if isinstance(target, TaskHandle) else target for target in first]  # noqa: SLF001


def _describe(result: object) -> list[str]:
    """Return notes of a result that is lost because its call was interrupted."""
    if isinstance(result, _handles.TaskHandle | Task):
        return [f"the result of the call was {result.provider} task {result.id!r}"]
    return []
