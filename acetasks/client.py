"""The client: submits tasks, retrieves them, and waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import random
from typing import TYPE_CHECKING, NamedTuple, Self, TypedDict, Unpack, overload

import anyio

from acetasks._callback_link import CallbackLink, check_callbacks
from acetasks._downloads import Downloader, download_each, with_paths
from acetasks._http import (
    Endpoint,
    HistoryWalk,
    HTTPTransport,
    Submitter,
    TokenProvider,
    build_endpoints,
    build_submission,
    describe_submitted,
    find_proxies,
    read_entry,
    wrap_token,
)
from acetasks._ledger import ACKNOWLEDGED_AFTER, SETTLE_TIME, HistorySource, Ledger, build_store, reconcile
from acetasks._polling import CLOSE_TIMEOUT, Poller, retrieve_tasks, retrieve_traced, waiting
from acetasks._runs import RunResult, check_arguments, run_many
from acetasks._runtime import Runtime
from acetasks._scheduling import Durations
from acetasks._validation import check_count, check_id, check_setting, check_time, check_timeout
from acetasks.errors import (
    ClientClosedError,
    DownloadError,
    TaskFailedError,
    TaskNotFoundError,
    TaskTimeoutError,
)
from acetasks.events import Observer, Observers
from acetasks.handles import Target, TaskHandle, parse_targets
from acetasks.models import Task, TaskState
from acetasks.policies import DownloadPolicy, PollPolicy, RetryPolicy
from acetasks.providers import HistoryCall, ProviderSpec, Service, lookup

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    import aiohttp

    from acetasks._callbacks import Callbacks
    from acetasks._http import Request
    from acetasks._ledger import Reconciliation, Store
    from acetasks._polling import WaitTargets
    from acetasks._runs import Keys, OnError, Payloads
    from acetasks._scheduling import Key
    from acetasks._tracing import Telemetry
    from acetasks.providers import ProviderSpec
    from acetasks.stats import ClientStats, Explanation

    #: A path in the file system.
    StrPath = str | os.PathLike[str]

_logger = logging.getLogger("acetasks")

#: What to do when a client cannot be used any more.
_NEW_CLIENT = (
    "create a new one, with 'async with acetasks.Client(...) as client:' or 'client = await acetasks.Client.open(...)'"
)


class ClientOptions(TypedDict, total=False):
    """Keyword arguments of `Client` that `Client.open` and `acetasks.sync.Client` pass on; all but `http`."""

    base_url: str | None
    useapi_token: str | TokenProvider | None
    useapi_base_url: str | None
    policy: PollPolicy | None
    retry: RetryPolicy | None
    durations: Durations | None
    downloads: DownloadPolicy | None
    observers: Iterable[Observer]
    telemetry: Telemetry | None
    journal: str | os.PathLike[str] | Store | None
    callbacks: Callbacks | None
    rng: random.Random | None
    allow_insecure: bool


class _Running(NamedTuple):
    """Parts of an open client, with the event loop and process that it was opened in."""

    transport: HTTPTransport
    poller: Poller
    submitter: Submitter
    ledger: Ledger | None
    downloader: Downloader
    callbacks: CallbackLink | None
    loop: asyncio.AbstractEventLoop
    pid: int


class Client:
    """Client for generation tasks on Ace Data Cloud and useapi.net.

    Use it as `async with Client() as client:`, or open it with `await Client.open()` and close it. One client serves
    any number of concurrent waits in one event loop, and polls their tasks in shared requests, only during a wait.

    Args:
        token: Token for Ace Data Cloud; None uses the environment variable ACEDATACLOUD_API_TOKEN. A callable
            returns the token or an awaitable of it; it is called before the first request, and again when the
            service rejects the token (HTTP 401).
        base_url: URL of Ace Data Cloud; None uses ACEDATACLOUD_API_BASE_URL or https://api.acedata.cloud.
        useapi_token: Token for useapi.net, as for `token`; None uses USEAPI_API_TOKEN.
        useapi_base_url: URL of useapi.net; None uses USEAPI_API_BASE_URL or https://api.useapi.net.
        policy: Settings for polling.
        retry: Settings for retries and request timeouts.
        downloads: Settings for downloads.
        http: An aiohttp session to use; it is not closed with the client. None opens one, which uses the proxies of
            the environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY).
        durations: Statistics of task durations from another client or an earlier run; see `durations`.
        observers: Receivers of the client's events.
        telemetry: Makes traces and metrics: `acetasks.telemetry.OpenTelemetry()` (with the extra `otel`). None makes
            none, at no cost.
        journal: Where submissions are written down, so that none that is paid for is lost: the path of a file (with the
            extra `durable`), the URL of a PostgreSQL database, `postgresql://...` (with the extra `postgres`), or a
            `Store`. None writes down nothing.
        callbacks: Where the service can call this program when a task ends; see `Callbacks`. None only polls.
        rng: Source of randomness for jitter and backoff, for repeatable tests; None creates one.
        allow_insecure: Whether to allow sending tokens to other machines without TLS (a base URL of `http://`) or
            without certificate verification (in `http`), or to this machine through a proxy (of `http`).

    Raises:
        ValueError: A base URL, a token, a proxy or the session is malformed or insecure.
        TypeError: A token, a policy or an observer is of another type.
    """

    def __init__(
        self,
        token: str | TokenProvider | None = None,
        *,
        base_url: str | None = None,
        useapi_token: str | TokenProvider | None = None,
        useapi_base_url: str | None = None,
        policy: PollPolicy | None = None,
        retry: RetryPolicy | None = None,
        downloads: DownloadPolicy | None = None,
        http: aiohttp.ClientSession | None = None,
        durations: Durations | None = None,
        observers: Iterable[Observer] = (),
        telemetry: Telemetry | None = None,
        journal: str | os.PathLike[str] | Store | None = None,
        callbacks: Callbacks | None = None,
        rng: random.Random | None = None,
        allow_insecure: bool = False,
    ) -> None:
        # Set before the checks: the traceback of a failed one shows the repr of this object.
        self._endpoints: dict[Service, Endpoint] = {}
        self._running: _Running | None = None
        self._closing: asyncio.Task[None] | None = None
        self._was_opened = False
        self._unwatch: Callable[[], object] = bool
        try:
            secret, useapi_secret = wrap_token(token, Service.ACEDATA), wrap_token(useapi_token, Service.USEAPI)
        finally:
            # Keep tokens out of tracebacks that show local variables.
            del token, useapi_token
        self._policy = check_setting("policy", policy, PollPolicy)
        self._retry = check_setting("retry", retry, RetryPolicy)
        self._downloads = check_setting("downloads", downloads, DownloadPolicy)
        self._endpoints = build_endpoints(
            {Service.ACEDATA: secret, Service.USEAPI: useapi_secret},
            {Service.ACEDATA: base_url, Service.USEAPI: useapi_base_url},
            timeout=self._retry.timeout,
            allow_insecure=allow_insecure,
        )
        self._http, self._proxies = http, find_proxies(http, self._endpoints, allow_insecure=allow_insecure)
        self._store = None if journal is None else build_store(journal)
        self._observers = Observers(observers if telemetry is None else (*observers, telemetry))
        self._telemetry = telemetry
        self._callbacks = check_callbacks(callbacks)
        self._durations, self._rng = durations or Durations(), rng or random.Random()

    def __repr__(self) -> str:
        state = repr(self._running.poller) if self._running else "closed" if self._was_opened else "not opened"
        base_url = self._endpoints[Service.ACEDATA].base_url if self._endpoints else "invalid"
        return f"<Client {base_url} {state}>"

    @property
    def durations(self) -> Durations:
        """Learned statistics of task durations, by provider, model and action.

        Save them with `to_json()` and load them for the next client with `Durations.from_json`. Clients of one process
        can share them.
        """
        return self._durations

    @classmethod
    async def open(
        cls,
        token: str | TokenProvider | None = None,
        *,
        http: aiohttp.ClientSession | None = None,
        **options: Unpack[ClientOptions],
    ) -> Self:
        """Create and open a client, with the arguments and errors of the class; `close` it after use.

        For applications that open and close it in different places, where `async with` cannot be used.
        """
        try:
            client = cls(token, http=http, **options)
        finally:
            # Keep tokens out of tracebacks that show local variables.
            del token, options
        return await client.__aenter__()

    async def __aenter__(self) -> Self:
        """Open the client, and its journal if it has one.

        Raises:
            ClientClosedError: The client was opened before. Create a new one.
            LedgerError: The journal cannot be opened.
        """
        if self._was_opened:
            raise ClientClosedError(f"this client was already opened, and can be opened only once: {_NEW_CLIENT}")
        self._was_opened = True
        loop = asyncio.get_running_loop()
        runtime = Runtime(self._policy, self._retry, self._observers, self._rng, loop.time, telemetry=self._telemetry)
        ledger: Ledger | None = None
        if self._store is not None:
            longest_post = min(self._retry.submit_timeout, ACKNOWLEDGED_AFTER)
            ledger = Ledger(self._store, clock=runtime.wall_clock, longest_post=longest_post)
            await ledger.open()
        transport = HTTPTransport(self._endpoints, http=self._http, runtime=runtime, proxies=self._proxies)
        on_end = None if ledger is None else ledger.finish
        link = None if self._callbacks is None else CallbackLink(self._callbacks, self._policy, self._store)
        expected = None if link is None else link.expected
        poller = Poller(transport, runtime=runtime, durations=self._durations, on_end=on_end, callbacks=expected)
        on_accepted = None if link is None else link.note_accepted
        submitter = Submitter(
            transport, throttle=poller.throttle, runtime=runtime, ledger=ledger, on_accepted=on_accepted
        )
        urls = [endpoint.base_url for endpoint in self._endpoints.values()]
        downloader = Downloader(self._downloads, observers=self._observers, rng=self._rng, trusted_urls=urls)
        self._running = _Running(transport, poller, submitter, ledger, downloader, link, loop, os.getpid())
        if link is not None:
            link.open(poller)
        if self._telemetry is not None:
            self._unwatch = self._telemetry.watch(functools.partial(_describe, self._running))
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the client and its connections; pending waits raise `ClientClosedError`.

        Takes one second at most. Closing a closed client does nothing.

        Raises:
            ClientClosedError: The client was opened in another event loop or process, and stays open there.
        """
        if self._running is not None:
            running, self._running = self._require_open(), None
            self._unwatch()
            if running.callbacks is not None:
                running.callbacks.close()
            context = running.poller.context
            self._closing = asyncio.create_task(_shut_down(running), name="acetasks close", context=context)
        if self._closing is None:
            return
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            # Finish closing even if the caller is cancelled, so that no connection leaks.
            await asyncio.wait([self._closing])
            raise

    # Waiting.

    async def wait(
        self, provider: str, task_id: str, *, timeout: float | None = None, download_to: StrPath | None = None
    ) -> Task:
        """Wait until a task ends.

        Args:
            provider: The provider's slug, such as `luma`.
            task_id: The task's id.
            timeout: Seconds to wait; None for no timeout. It ends the wait, not the remote task, and not a download.
            download_to: Directory for the task's files, as for `download`; None for no download.

        Returns:
            The task, succeeded or partial.

        Raises:
            TaskFailedError: The task failed.
            TaskNotFoundError: The service still has no such task after the grace period.
            TaskTimeoutError: The timeout expired.
            AuthenticationError: The token is missing, wrong or expired.
            PermissionDeniedError: The token may not use this provider, or its balance is used up.
            DownloadError: A file was not downloaded; it has the task.
            ValueError: The id is malformed or the timeout negative.
        """
        return await self.handle(provider, task_id).wait(timeout=timeout, download_to=download_to)

    @overload
    def as_completed(
        self, targets: Iterable[Target], /, *, timeout: float | None = None, download_to: StrPath | None = None
    ) -> AsyncGenerator[Task, None]: ...
    @overload
    def as_completed(
        self, provider: str, ids: Iterable[str], /, *, timeout: float | None = None, download_to: StrPath | None = None
    ) -> AsyncGenerator[Task, None]: ...
    def as_completed(
        self,
        first: str | Iterable[Target],
        ids: Iterable[str] | None = None,
        /,
        *,
        timeout: float | None = None,
        download_to: StrPath | None = None,
    ) -> AsyncGenerator[Task, None]:
        """Wait for several tasks and yield each when it ends, including failed and not found tasks.

        Call it as `as_completed("flux", ids)`, or with (provider, id) pairs and handles.

        Args:
            first: The provider's slug; or pairs and handles.
            ids: Task ids, if `first` is a slug. Duplicates are yielded once.
            timeout: Seconds to wait for all tasks; None for no timeout. Downloads that have begun by then go on.
            download_to: Directory for the files, as for `download`; None for no downloads. Each task is yielded when
                its files are complete, and its artifacts have their `path`; failed tasks at once. A task whose
                download fails is yielded without; its `DownloadError` is raised at the end.

        Returns:
            A generator of the ended tasks. Closing it stops waiting for the others, and ends the downloads: use
            `contextlib.aclosing` if it is left early and still referred to.

        Raises:
            DownloadError: Some files were not downloaded; as for every other error, `tasks` has all tasks.
            AceTasksError: As for `wait`, except that failed and not found tasks do not raise; `tasks` has a snapshot
                of every task. An error that concerns a single task is raised after all others have ended.
            ValueError: An id is malformed, or the timeout is negative.
        """
        targets = parse_targets(first, ids)
        poller = self._poller_for(targets.unfinished)
        return _tasks_of(
            self._with_files(waiting.as_completed(poller, targets, check_timeout(timeout)), targets, download_to)
        )

    @overload
    async def wait_all(
        self,
        targets: Iterable[Target],
        /,
        *,
        timeout: float | None = None,
        return_failed: bool = False,
        download_to: StrPath | None = None,
    ) -> list[Task]: ...
    @overload
    async def wait_all(
        self,
        provider: str,
        ids: Iterable[str],
        /,
        *,
        timeout: float | None = None,
        return_failed: bool = False,
        download_to: StrPath | None = None,
    ) -> list[Task]: ...
    async def wait_all(
        self,
        first: str | Iterable[Target],
        ids: Iterable[str] | None = None,
        /,
        *,
        timeout: float | None = None,
        return_failed: bool = False,
        download_to: StrPath | None = None,
    ) -> list[Task]:
        """Wait until several tasks end, and return them in the order given.

        Args:
            first: As for `as_completed`.
            ids: As for `as_completed`, but duplicates are returned at each position.
            timeout: As for `as_completed`.
            return_failed: Whether to return failed and not found tasks. Otherwise the first one is raised, which ends
                the wait for the others.
            download_to: Directory for the files, as for `as_completed`. All downloads end before an error is raised.

        Raises:
            AceTasksError: As for `wait`; `tasks` has a snapshot of every task, with the paths of its files.
            ValueError: An id is malformed, or the timeout is negative.
        """
        targets = parse_targets(first, ids)
        poller = self._poller_for(targets.unfinished)
        through = functools.partial(self._with_files, targets=targets, directory=download_to)
        return await waiting.wait_all(
            poller, targets, check_timeout(timeout), return_failed=return_failed, through=through
        )

    # Submitting.

    async def submit(
        self,
        provider: str,
        payload: Mapping[str, object],
        *,
        path: str | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> TaskHandle:
        """Submit a task. The request is retried only if it certainly did not reach the service, or after HTTP 429.

        If the call is cancelled after the request was sent, the exception has a note of it, and the response is awaited
        for ten seconds more; the log and the event `TaskSubmitted` then have the task's id.

        Args:
            provider: The provider's slug.
            payload: The provider's parameters. `async: true` is added, unless the payload has `async` or a
                `callback_url`; with `async: false` the service responds when the task is done. A client with
                `callbacks` adds a `callback_url`, unless the payload has its own or `async: false`.
            path: Path of the request, such as `/suno/lyrics`; None uses the provider's default.
            headers: Headers for the service, such as `{"model": "s2-pro"}` for fish, or an `Idempotency-Key`.
            key: Your name for this submission, such as `order-4711`. The same key is submitted and paid for once, by
                any number of processes with the same journal: another call waits for the first one's response and
                returns the handle of its task. None makes each call a submission of its own.

        Returns:
            The handle of the task; already finished if the response was the result itself, or if the task of an earlier
            call with the key has ended.

        Raises:
            SubmissionUncertainError: No response confirms or rejects the submission, or the earlier one of the key.
            LedgerError: The submission cannot be written to the journal, and was not sent.
            TransportError: The submission did not reach the service.
            APIError: The service rejected the submission.
            ValueError: The provider has no default path, `path` is malformed, or a header is malformed or one that
                the client sets, such as `Authorization`; or the key was used for another payload, is malformed, or
                the client has no journal.
            TypeError: The payload cannot be encoded as JSON, or a header is no string.
        """
        spec = lookup(provider)
        return await self._submit(spec, self._build_submission(spec, payload, path, headers), key=key)

    async def run(
        self,
        provider: str,
        payload: Mapping[str, object],
        *,
        path: str | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        timeout: float | None = None,
        download_to: StrPath | None = None,
    ) -> Task:
        """Submit a task and wait until it ends: `submit` and `wait` in one call, with the arguments and errors of both.

        The timeout is for both, not for a download. `TaskTimeoutError` has the task, whose id can be awaited again. If
        it expires before there is an id, the error is as by `submit`: `SubmissionUncertainError` if the request was
        sent.
        """
        seconds = check_timeout(timeout)
        spec = lookup(provider)
        request = self._build_submission(spec, payload, path, headers)
        return await self._run(spec, request, key=key, timeout=seconds, download_to=download_to)

    async def _run(
        self,
        spec: ProviderSpec,
        request: Request,
        *,
        key: str | None,
        timeout: float | None,
        download_to: StrPath | None,
        on_submitted: Callable[[TaskHandle], object] = bool,
    ) -> Task:
        started_at = asyncio.get_running_loop().time()
        handle = await self._submit(spec, request, key=key, timeout=timeout)
        on_submitted(handle)
        with _leaving_trace(handle, request.path):
            if handle.finished is not None:
                return await self._save(waiting.succeeded_or_raise(handle.finished), download_to, key=key)
            elapsed = asyncio.get_running_loop().time() - started_at
            poller = self._poller_for([handle.key])
            task = await waiting.wait_one(poller, handle.key, timeout, elapsed=elapsed)
            return await self._save(task, download_to, key=key)

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
    ) -> AsyncGenerator[RunResult, None]:
        """Run many payloads, and yield a result for each in order of completion.

        An exception of the payloads is raised when what is in work has ended. Closing ends the waits, and is logged.

        Args:
            provider: The provider's slug.
            payloads: Any iterator, also an asynchronous or endless one: they are taken when they can be run.
            concurrency: Maximum number in work, unread results included.
            keys: Key of each payload, as for `submit`: a list, or a function of the payload. A job that is run again
                with the same keys and journal continues where it stopped.
            path: As for `run`; likewise the next three, of which the timeout is for each payload.
            headers: See `path`.
            download_to: See `path`.
            timeout: See `path`.
            on_error: `return` yields errors in the results; `raise` raises the first one, with every task that was in
                work in `tasks`, and what else may be paid for in the notes.
        """
        check_arguments(payloads, keys, concurrency, on_error)
        running, spec = self._require_open(), lookup(provider)
        _check_key(keys, running)
        submit_and_wait = functools.partial(self._run, spec, timeout=check_timeout(timeout), download_to=download_to)

        def run(item: RunResult, on_submitted: Callable[[TaskHandle], object]) -> Awaitable[Task]:
            request = self._build_submission(spec, item.payload, path, headers)
            return submit_and_wait(request, key=item.key, on_submitted=on_submitted)

        return run_many(run, running.poller.last_seen, payloads, keys=keys, concurrency=concurrency, on_error=on_error)

    def _build_submission(
        self,
        spec: ProviderSpec,
        payload: Mapping[str, object],
        path: str | None,
        headers: Mapping[str, str] | None,
    ) -> Request:
        link = self._require_open().callbacks
        url = None if link is None else link.build_url(spec)
        return build_submission(spec, payload, path, headers, callback_url=url)

    async def _submit(
        self, spec: ProviderSpec, request: Request, *, key: str | None = None, timeout: float | None = None
    ) -> TaskHandle:
        running = self._require_open()
        _check_key(key, running)
        task = await running.submitter.submit(spec, request, key=key, timeout=timeout)
        finished = task if task.state.is_terminal else None
        save = functools.partial(self._save, key=key)
        return TaskHandle(spec.slug, task.id, finished, poller_for=self._poller_for, save=save)

    def handle(self, provider: str, task_id: str) -> TaskHandle:
        """Return a handle of a task that was already submitted, here or elsewhere; sends no request.

        Raises:
            ValueError: The id is malformed.
            TypeError: The id is not a string.
            UnknownProviderError: The provider name is invalid.
        """
        return TaskHandle(lookup(provider).slug, check_id(task_id), poller_for=self._poller_for, save=self._save)

    # What happens now.

    def stats(self) -> ClientStats:
        """Return the state of the client: awaited tasks, requests, limits and submissions. Sends no request.

        Raises:
            ClientClosedError: The client is not open.
        """
        return _describe(self._require_open())

    def explain(self, provider: str, task_id: str) -> Explanation:
        """Return why a task is still awaited, and when and why it is polled next; `print` it. Sends no request.

        Raises:
            ClientClosedError: The client is not open.
            ValueError: The id is malformed.
            UnknownProviderError: The provider name is invalid.
        """
        return self._require_open().poller.inspector.explain((lookup(provider).slug, check_id(task_id)))

    # The journal.

    @property
    def journal(self) -> Ledger:
        """The journal of submissions, to look at: `client.journal.tasks(state="failed")`.

        Raises:
            ClientClosedError: The client is not open.
            ValueError: The client has no journal.
        """
        ledger = self._require_open().ledger
        if ledger is None:
            raise ValueError("this client has no journal: create it with Client(journal='tasks.db')")
        return ledger

    async def pending(self) -> AsyncGenerator[TaskHandle, None]:
        """Yield a handle of every task in the journal that has not been seen to end, in the order of submission.

        Uncertain submissions have no id, so they are not among them: see `journal.tasks(state="uncertain")`.

        Raises:
            LedgerError: The journal cannot be read.
            ValueError: The client has no journal.
        """
        async for entry in self.journal.unfinished():
            if entry.task_id is not None:
                if (link := self._require_open().callbacks) is not None:
                    link.expect(entry.provider, entry.task_id, entry.request)
                yield self.handle(entry.provider, entry.task_id)

    async def resume(self, *, timeout: float | None = None, download_to: StrPath | None = None) -> list[Task]:
        """Wait for every task in the journal that has not been seen to end, as after a restart, and return them.

        Uncertain submissions are reconciled first, and the adopted tasks are among those returned, also if they have
        ended. Failed and not found tasks are returned too; a task that is not found stays unfinished in the journal.

        Args:
            timeout: Seconds to wait for all tasks; None for no timeout.
            download_to: Directory for the files, as for `as_completed`.

        Raises:
            AceTasksError: As for `wait_all` and `reconcile`; and `LedgerError` if the journal cannot be read.
            ValueError: The client has no journal, or the timeout is negative.
        """
        check_timeout(timeout)
        adopted = [read_entry(entry) for entry in (await self.reconcile()).adopted if entry.ended_at is not None]
        handles = [TaskHandle(task.provider, task.id, task) for task in adopted]
        handles += [handle async for handle in self.pending()]
        return await self.wait_all(handles, timeout=timeout, return_failed=True, download_to=download_to)

    # Retrieving.

    async def retrieve(self, provider: str, task_id: str | None = None, *, trace_id: str | None = None) -> Task:
        """Return a task as it is now, in state `NOT_FOUND` if the service has none with this id (yet).

        Some providers (`ProviderSpec.finds_traces`) have it by the trace id of its submission too, which the
        acknowledgement and errors have, and which openai lets the submission choose. A task not found so has no id.

        A provider that reports a task only once it has a result (`ProviderSpec.missing_grace`, such as dreamina's) says
        the same of an unknown id: the task is then `PENDING`, and only `wait` finds out, after the grace period.

        Raises:
            APIError: The service responded with an error.
            TransportError: No complete response arrived.
            ProtocolError: The response cannot be read.
            ValueError: The id is malformed, or the provider does not find tasks by their trace ids.
            TypeError: There is no id, or there are both.
        """
        if trace_id is None and task_id is not None:
            return (await self.retrieve_batch(provider, [task_id]))[0]
        if trace_id is None or task_id is not None:
            raise TypeError("retrieve needs a task id or a trace_id, and not both")
        spec = lookup(provider)
        if not spec.finds_traces:
            raise ValueError(f"provider {spec.slug!r} does not find tasks by trace id: use the task id, or `history`")
        return await retrieve_traced(self._poller_of(spec).requests, spec, check_id(trace_id))

    async def retrieve_batch(self, provider: str, ids: Iterable[str]) -> list[Task]:
        """Return several tasks as they are now, in the order given and in as few requests as the provider allows.

        Duplicates are requested once and returned at each position.

        Raises:
            AceTasksError: As for `retrieve`.
            ValueError: An id is malformed.
        """
        targets = parse_targets(provider, ids)
        requests = self._poller_for(targets.keys).requests
        distinct = list(dict.fromkeys(task_id for _, task_id in targets.keys))
        tasks = await retrieve_tasks(requests, lookup(provider), distinct)
        if (ledger := self._require_open().ledger) is not None:
            for task in tasks.values():
                ledger.finish(task)
        return [tasks[task_id] for _, task_id in targets.keys]

    # History.

    def history(
        self,
        provider: str,
        *,
        created_after: dt.datetime | float | None = None,
        created_before: dt.datetime | float | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[Task, None]:
        """Iterate over a provider's tasks as the service lists them, newest first.

        A page of up to 50 tasks is requested when those of the page before are used up; nothing runs in between. Each
        task is yielded once, as it was when its page was read. Other programs with the same token share the history.

        Args:
            provider: The provider's slug.
            created_after: The earliest time of submission, by the service's clock: a datetime with a time zone, or
                seconds since the epoch.
            created_before: The latest time of submission, likewise.
            limit: Maximum number of tasks; None for all.

        Returns:
            An iterator over the tasks; it can be closed at any time.

        Raises:
            AceTasksError: As for `retrieve`, during the iteration.
            ValueError: The provider has no history, a datetime has no time zone, or `limit` is negative.
            TypeError: A time or `limit` is of another type.
        """
        maximum = check_count("limit", limit)
        after, before = check_time("created_after", created_after), check_time("created_before", created_before)
        return self._walk_history(lookup(provider), after, before).tasks(maximum)

    def _walk_history(
        self, spec: ProviderSpec, created_after: float | None, created_before: float | None
    ) -> HistoryWalk:
        fetch = functools.partial(self._poller_of(spec).requests.send, spec)
        return HistoryWalk(spec, fetch, created_after=created_after, created_before=created_before)

    async def reconcile(self, provider: str | None = None) -> Reconciliation:
        """Look uncertain submissions of the journal up, in one walk over the history of each provider.

        Those that are found are adopted: their entries have the task's id. Nothing is sent again.

        Args:
            provider: The provider's slug; None for all.

        Raises:
            AceTasksError: As for `history`; what was adopted before stays so.
            ValueError: This client has no journal.
        """
        slug = None if provider is None else lookup(provider).slug
        return await reconcile(self.journal, self._find_history, provider=slug)

    def _find_history(self, provider: str) -> HistorySource | None:
        spec = lookup(provider)
        if spec.history_call is HistoryCall.NONE:
            return None
        settle_time = max(SETTLE_TIME, spec.missing_grace)
        return HistorySource(functools.partial(self._walk_history, spec), settle_time, spec.history_reach)

    # Downloading.

    async def download(
        self,
        task: Task,
        directory: StrPath,
        *,
        roles: Collection[str] | None = ("main",),
        overwrite: bool = False,
    ) -> list[Path]:
        """Download a task's files into a directory, `DownloadPolicy.concurrency` files of all calls at once.

        As `Task.download`, with the client's settings and events (`DownloadProgress`). If a URL has expired, the task
        is retrieved again for a new one. The journal keeps the paths.

        Args:
            task: A task with artifacts.
            directory: Created if it does not exist.
            roles: Roles of the artifacts to download; None for all.
            overwrite: Whether to replace files of an earlier download; else they are not downloaded again.

        Returns:
            The paths of the files, in the order of the artifacts.

        Raises:
            DownloadError: A file cannot be downloaded or written; the others are complete.
            ClientClosedError: The client was closed meanwhile.
        """
        return list((await self._download(task, directory, roles=roles, overwrite=overwrite)).values())

    async def _download(
        self,
        task: Task,
        directory: StrPath,
        *,
        roles: Collection[str] | None = ("main",),
        overwrite: bool = False,
        key: str | None = None,
    ) -> dict[int, Path]:
        """Return the path of each file, by the position of its artifact, and note it in the journal."""
        renew = functools.partial(self.retrieve, task.provider, task.id) if task.id else None
        running = self._require_open()
        paths = await running.downloader.download(task, directory, roles=roles, overwrite=overwrite, renew=renew)
        if running.ledger is not None and paths:
            running.ledger.save_files(task, paths.values(), key=key)
        return paths

    async def _save(self, task: Task, directory: StrPath | None, *, key: str | None = None) -> Task:
        """Download the files of a task that has not failed, if there is a directory; its artifacts have the paths."""
        if directory is None or task.state not in {TaskState.SUCCEEDED, TaskState.PARTIAL}:
            return task
        return with_paths(task, await self._download(task, directory, key=key))

    def _with_files(
        self, stream: AsyncGenerator[tuple[Key, Task], None], targets: WaitTargets, directory: StrPath | None
    ) -> AsyncGenerator[tuple[Key, Task], None]:
        """Return a stream of ended tasks that come with their files, if there is a directory."""
        if directory is None:
            return stream
        return download_each(stream, targets.keys, functools.partial(self._save, directory=directory))

    # Access to the open client.

    def _require_open(self) -> _Running:
        if self._running is None:
            raise ClientClosedError(
                f"this client is closed: {_NEW_CLIENT}"
                if self._was_opened
                else "this client is not open: use it as 'async with acetasks.Client() as client:'"
            )
        # A fork shares the sockets, so it must not even close them.
        if self._running.pid != os.getpid():
            raise ClientClosedError(
                "this client was opened in another process, before a fork: create a new one in this process"
            )
        if self._running.loop is not _running_loop():
            raise ClientClosedError(
                "this client was opened in another event loop: use it in that loop, or create a new one in this loop"
            )
        return self._running

    def _poller_of(self, spec: ProviderSpec) -> Poller:
        return self._poller_for([(spec.slug, "")])

    def _poller_for(self, keys: Iterable[Key]) -> Poller:
        """Return the poller, or raise if the client is not open or a token for some task is missing."""
        running = self._require_open()
        for provider in {provider for provider, _ in keys}:
            running.transport.check(lookup(provider).service)
        return running.poller


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _describe(running: _Running) -> ClientStats:
    return running.poller.inspector.describe(running.transport.describe(), running.submitter.describe())


async def _shut_down(running: _Running) -> None:
    await asyncio.gather(running.poller.close(), running.submitter.drain(), running.downloader.close())
    with anyio.move_on_after(CLOSE_TIMEOUT):
        await running.transport.close()
        await running.submitter.join()
    if running.callbacks is not None:
        await running.callbacks.wait_closed()
    if running.ledger is not None:
        await running.ledger.close()  # without a time limit: it writes what was paid for


def _check_key(key: object, running: _Running) -> None:
    if key is not None and running.ledger is None:
        raise ValueError("a key is kept in the journal: create the client with Client(journal='tasks.db')")


@contextlib.contextmanager
def _leaving_trace(handle: TaskHandle, path: str) -> Iterator[None]:
    """Note and log the id of a submitted task if an exception ends the block that does not have the task."""
    try:
        yield
    except (TaskFailedError, TaskNotFoundError, TaskTimeoutError, DownloadError):
        raise
    except BaseException as error:
        note = describe_submitted(handle.provider, handle.id, path)
        error.add_note(note)
        _logger.warning("a run was ended by %s: %s", type(error).__name__, note)
        raise


async def _tasks_of(stream: AsyncGenerator[tuple[Key, Task], None]) -> AsyncGenerator[Task, None]:
    """Yield the tasks of a stream, and close it however the iteration ends."""
    async with contextlib.aclosing(stream):
        async for _, task in stream:
            yield task
