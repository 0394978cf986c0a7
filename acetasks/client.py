"""The client, what users hold: submits tasks, looks at them, and waits for them through the poller."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
from typing import TYPE_CHECKING, NamedTuple, Self, overload

import anyio

from acetasks import waiting
from acetasks._validation import check_id, check_timeout
from acetasks.answers import read_submission
from acetasks.durations import Durations
from acetasks.endpoints import Endpoint, Secret, TokenProvider
from acetasks.errors import ClientClosedError
from acetasks.events import Observer, Observers
from acetasks.models import Task, TaskState
from acetasks.policies import PollPolicy, RetryPolicy
from acetasks.poller import CLOSE_PATIENCE, Poller
from acetasks.pool import check_pool
from acetasks.providers import Service, lookup
from acetasks.session import Session
from acetasks.targets import Target, TaskHandle, read_targets
from acetasks.wire import build_submission

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
    from types import TracebackType

    import aiohttp

    from acetasks.entries import Key
    from acetasks.inquiry import Findings

#: The environment variables are those of the official tools.
_ACEDATA_TOKEN, _ACEDATA_BASE_URL = "ACEDATACLOUD_API_TOKEN", "ACEDATACLOUD_API_BASE_URL"
_USEAPI_TOKEN, _USEAPI_BASE_URL = "USEAPI_API_TOKEN", "USEAPI_API_BASE_URL"


class _Running(NamedTuple):
    """What an open client has, and where it was opened."""

    session: Session
    poller: Poller
    loop: asyncio.AbstractEventLoop
    pid: int


class Client:
    """Submits tasks to Ace Data Cloud and useapi.net, and waits for them.

    Use it as `async with Client() as client:`. One client serves any number of concurrent callers in one event loop;
    whatever they wait for is asked for together, and nothing is asked while nobody waits.
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
        http: aiohttp.ClientSession | None = None,
        durations: Durations | None = None,
        observers: Iterable[Observer] = (),
        rng: random.Random | None = None,
        allow_insecure: bool = False,
    ) -> None:
        """Set a client up; nothing is opened or sent yet.

        Args:
            token: For Ace Data Cloud; None takes it from the environment variable ACEDATACLOUD_API_TOKEN. A callable
                is asked for one at the first request, and again when the service refuses it (HTTP 401); it returns
                the token or an awaitable of it.
            base_url: Of Ace Data Cloud; None takes ACEDATACLOUD_API_BASE_URL or https://api.acedata.cloud.
            useapi_token: For useapi.net, likewise; None takes USEAPI_API_TOKEN.
            useapi_base_url: Of useapi.net; None takes USEAPI_API_BASE_URL or https://api.useapi.net.
            policy: How tasks are asked for.
            retry: How failed requests are sent again.
            http: An aiohttp session of your own, which the client uses and leaves open; None opens a pool.
            durations: What is known of how long tasks take, from another client or an earlier run; see `durations`.
            observers: Told of what the client does.
            rng: The randomness of intervals and delays, for repeatable tests; None takes a fresh one.
            allow_insecure: Whether tokens may be sent to other machines without TLS, or without checking whom they
                go to: a base URL of `http://`, or an `http` session that checks no certificates.

        Raises:
            ValueError: A base URL, token or session that no request could safely be sent with.
        """
        self._policy = policy or PollPolicy()
        self._retry = retry or RetryPolicy()
        secret, useapi_secret = _conceal(token, _ACEDATA_TOKEN), _conceal(useapi_token, _USEAPI_TOKEN)
        # From here on no variable shows a token, whatever prints the variables of a traceback.
        del token, useapi_token
        new_endpoint = functools.partial(Endpoint, patience=self._retry.timeout, allow_insecure=allow_insecure)
        self._endpoints = {
            Service.ACEDATA: new_endpoint(
                base_url=base_url or os.environ.get(_ACEDATA_BASE_URL, "").strip() or "https://api.acedata.cloud",
                token=secret,
                token_variable=_ACEDATA_TOKEN,
            ),
            Service.USEAPI: new_endpoint(
                base_url=useapi_base_url or os.environ.get(_USEAPI_BASE_URL, "").strip() or "https://api.useapi.net",
                token=useapi_secret,
                token_variable=_USEAPI_TOKEN,
            ),
        }
        if http is not None:
            check_pool(http, allow_insecure=allow_insecure)
        self._http = http
        own = tuple(observers)
        self._is_watched = bool(own)
        self._emit = Observers(own)
        self._durations = durations or Durations()
        self._rng = rng or random.Random()
        self._running: _Running | None = None
        self._closing: asyncio.Task[None] | None = None
        self._was_opened = False

    def __repr__(self) -> str:
        """Show where it asks and what it follows; no token."""
        state = repr(self._running.poller) if self._running else "closed" if self._was_opened else "not opened"
        return f"<Client {self._endpoints[Service.ACEDATA].base_url} {state}>"

    @property
    def durations(self) -> Durations:
        """What the client has learned of how long tasks take, by provider, model and action.

        Its `to_json()` is for a file, and `Durations.from_json` brings it back for the next client. Clients of one
        process can share it.
        """
        return self._durations

    async def __aenter__(self) -> Self:
        """Open the client.

        Raises:
            ClientClosedError: It was opened before; make a new one.
        """
        if self._was_opened:
            raise ClientClosedError("this client was opened before; a client is opened once: make a new one")
        self._was_opened = True
        loop = asyncio.get_running_loop()
        clock = loop.time
        session = Session(
            self._endpoints,
            http=self._http,
            retry=self._retry,
            rng=self._rng,
            clock=clock,
            emit=self._emit,
            is_watched=self._is_watched,
        )
        poller = Poller(
            session,
            policy=self._policy,
            retry=self._retry,
            durations=self._durations,
            rng=self._rng,
            clock=clock,
            emit=self._emit,
            is_watched=self._is_watched,
        )
        self._running = _Running(session, poller, loop, os.getpid())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close the client: whoever waits gets a `ClientClosedError`, and no connection or task is left.

        It takes a second at most. Closing a closed client does nothing.

        Raises:
            ClientClosedError: It was opened in another event loop or process, and is left to that one.
        """
        if self._running is not None:
            running, self._running = self._require_open(), None
            self._closing = asyncio.create_task(_shut_down(running), name="acetasks close")
        if self._closing is None:
            return
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            # Even if whoever closes it is cancelled, nothing of the client is left behind.
            await asyncio.wait([self._closing])
            raise

    # Waiting.

    async def wait(self, provider: str, task_id: str, *, timeout: float | None = None) -> Task:
        """Wait for a task to end.

        Args:
            provider: The provider's slug, such as `luma`.
            task_id: The task's id.
            timeout: Seconds to wait, or None for no limit. It ends the waiting, not the remote task.

        Returns:
            The task, succeeded or partial.

        Raises:
            TaskFailedError: The task failed.
            TaskNotFoundError: The service knows no such task, past the grace period.
            TaskTimeoutError: The limit passed first; it has the task as it was last seen.
            AuthenticationError: The token is missing, wrong or expired.
            PermissionDeniedError: The token may not use this provider.
            ValueError: The id is empty or the timeout negative.
        """
        return await self.handle(provider, task_id).wait(timeout=timeout)

    @overload
    def as_completed(self, targets: Iterable[Target], /, *, timeout: float | None = None) -> AsyncIterator[Task]: ...
    @overload
    def as_completed(
        self, provider: str, ids: Iterable[str], /, *, timeout: float | None = None
    ) -> AsyncIterator[Task]: ...
    def as_completed(
        self, first: str | Iterable[Target], ids: Iterable[str] | None = None, /, *, timeout: float | None = None
    ) -> AsyncIterator[Task]:
        """Wait for several tasks, and yield each when it ends: failed and unknown ones too.

        Called as `as_completed("flux", ids)`, or with pairs of provider and id, or handles.

        Args:
            first: The provider's slug; or pairs or handles.
            ids: The ids, with a slug. A task that is given twice is yielded once.
            timeout: Seconds for all of them, or None for no limit.

        Returns:
            An iterator over the ended tasks. Leaving it early ends the waiting for the rest.

        Raises:
            TaskTimeoutError: The limit passed first; its `tasks` has every task as it was last seen.
            AuthenticationError: The token is missing, wrong or expired.
            PermissionDeniedError: The token may not use a provider.
            ValueError: There are no ids, an id is empty, or the timeout is negative.
        """
        wanted = read_targets(first, ids)
        poller = self._poller_for(wanted.unfinished)
        return _tasks_of(waiting.each_completed(poller, wanted, check_timeout(timeout)))

    @overload
    async def wait_all(
        self, targets: Iterable[Target], /, *, timeout: float | None = None, return_failed: bool = False
    ) -> list[Task]: ...
    @overload
    async def wait_all(
        self, provider: str, ids: Iterable[str], /, *, timeout: float | None = None, return_failed: bool = False
    ) -> list[Task]: ...
    async def wait_all(
        self,
        first: str | Iterable[Target],
        ids: Iterable[str] | None = None,
        /,
        *,
        timeout: float | None = None,
        return_failed: bool = False,
    ) -> list[Task]:
        """Wait for several tasks to end.

        Called as `wait_all("flux", ids)`, or with pairs of provider and id, or handles.

        Args:
            first: The provider's slug; or pairs or handles.
            ids: The ids, with a slug. A task that is given twice is asked for once, and returned at both places.
            timeout: Seconds for all of them, or None for no limit.
            return_failed: Whether tasks that failed or are not known are returned like the others. Otherwise the
                first such task is raised, and the waiting for the rest ends.

        Returns:
            The tasks, in the order given.

        Raises:
            AceTasksError: As `wait` does; a `TaskTimeoutError` has every task as it was last seen in `tasks`.
            ValueError: There are no ids, an id is empty, or the timeout is negative.
        """
        wanted = read_targets(first, ids)
        poller = self._poller_for(wanted.unfinished)
        return await waiting.wait_all(poller, wanted, check_timeout(timeout), return_failed=return_failed)

    # Submitting.

    async def submit(self, provider: str, payload: Mapping[str, object], *, path: str | None = None) -> TaskHandle:
        """Submit a task. It is sent once, and again only if it surely did not reach the service.

        Args:
            provider: The provider's slug.
            payload: The provider's own parameters. `async: true` is added, unless `async` or a `callback_url` is
                there already; with `async: false` the service answers when the task is done.
            path: Where to post it, such as `/suno/lyrics`; None takes the provider's first.

        Returns:
            The handle of the task. One that was answered with the result itself is finished.

        Raises:
            SubmissionUncertainError: No answer says whether the service accepted it.
            TransportError: It surely did not reach the service.
            APIError: The service rejected it.
            ValueError: There is no path to post to.
            TypeError: The payload cannot be written as JSON.
        """
        session = self._require_open().session
        spec = lookup(provider)
        request = build_submission(spec, payload, path)
        task = await session.send(request, functools.partial(read_submission, spec, request))
        finished = task if task.state.is_terminal else None
        return TaskHandle(spec.slug, task.id, finished, poller_for=self._poller_for)

    async def run(
        self, provider: str, payload: Mapping[str, object], *, path: str | None = None, timeout: float | None = None
    ) -> Task:
        """Submit a task and wait for it to end.

        Args:
            provider: The provider's slug.
            payload: As for `submit`.
            path: As for `submit`.
            timeout: Seconds to wait once it is submitted, or None for no limit.

        Returns:
            The task, succeeded or partial.

        Raises:
            AceTasksError: As `submit` and `wait` do.
        """
        check_timeout(timeout)
        handle = await self.submit(provider, payload, path=path)
        return await handle.wait(timeout=timeout)

    def handle(self, provider: str, task_id: str) -> TaskHandle:
        """Make a handle of a task that was submitted before, here or elsewhere. Nothing is asked.

        Args:
            provider: The provider's slug.
            task_id: The task's id.

        Returns:
            The handle.

        Raises:
            ValueError: The id is empty.
            TypeError: The id is no text.
            UnknownProviderError: The provider's name can be none.
        """
        return TaskHandle(lookup(provider).slug, check_id(task_id), poller_for=self._poller_for)

    # Looking.

    async def retrieve(self, provider: str, task_id: str) -> Task:
        """Look at a task once, without waiting.

        Args:
            provider: The provider's slug.
            task_id: The task's id.

        Returns:
            The task as it is now; in the state `NOT_FOUND` if the service knows none of that id (yet).

        Raises:
            APIError: The service answered with an error.
            TransportError: No complete answer came.
            ProtocolError: The answer cannot be read.
            ValueError: The id is empty.
        """
        return (await self.retrieve_batch(provider, [task_id]))[0]

    async def retrieve_batch(self, provider: str, ids: Iterable[str]) -> list[Task]:
        """Look at several tasks of one provider once, without waiting, in as few requests as it allows.

        Args:
            provider: The provider's slug.
            ids: The ids. One that is given twice is asked for once, and returned at both places.

        Returns:
            The tasks in the order given; those that the service does not know are in the state `NOT_FOUND`.

        Raises:
            AceTasksError: As `retrieve` does.
            ValueError: There are no ids, or an id is empty.
        """
        wanted = read_targets(provider, ids)
        poller = self._poller_for(wanted.unfinished)
        spec = lookup(provider)
        distinct = list(dict.fromkeys(task_id for _, task_id in wanted.keys))
        size = spec.batch_size(self._policy.batch_size)
        batches = [distinct[start : start + size] for start in range(0, len(distinct), size)]
        looks: list[Findings] = []

        async def look(batch: list[str]) -> None:
            looks.append(await poller.look(spec, batch))

        async with anyio.create_task_group() as group:
            for batch in batches:
                group.start_soon(look, batch)
        errors = {task_id: error for findings in looks for task_id, error in findings.errors.items()}
        for task_id in distinct:
            if task_id in errors:
                raise errors[task_id]
        tasks = {task_id: reading.task for findings in looks for task_id, reading in findings.readings.items()}
        return [
            tasks.get(task_id) or Task(provider=spec.slug, id=task_id, state=TaskState.NOT_FOUND)
            for _, task_id in wanted.keys
        ]

    # The parts of an open client.

    def _require_open(self) -> _Running:
        if self._running is None:
            raise ClientClosedError(
                "this client is closed; make a new one"
                if self._was_opened
                else "this client is not open: use it as 'async with acetasks.Client() as client:'"
            )
        # Its connections and its poller belong to where it was opened: a fork shares the sockets, and must not even
        # close them.
        if self._running.pid != os.getpid():
            raise ClientClosedError(
                "this client was opened in another process, before this one was forked off: make a new one in here"
            )
        if self._running.loop is not _running_loop():
            raise ClientClosedError(
                "this client was opened in another event loop: use it in that one, or make a new one in here"
            )
        return self._running

    def _poller_for(self, keys: Iterable[Key]) -> Poller:
        """Give the poller, once it is sure that there is a token for everything that is to be asked for."""
        running = self._require_open()
        for service in {lookup(provider).service for provider in {provider for provider, _ in keys}}:
            running.session.check(service)
        return running.poller


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _shut_down(running: _Running) -> None:
    """End all that an open client has."""
    await running.poller.close()
    with anyio.move_on_after(CLOSE_PATIENCE):
        await running.session.close()


async def _tasks_of(stream: AsyncGenerator[tuple[Key, Task], None]) -> AsyncGenerator[Task, None]:
    """Pass on the tasks of a stream, and close it however the iteration ends."""
    async with contextlib.aclosing(stream):
        async for _, task in stream:
            yield task


def _conceal(token: str | TokenProvider | None, variable: str) -> Secret | TokenProvider | None:
    """Hide a token that was given, or that the environment has, or pass on what gives one."""
    if token is None:
        token = os.environ.get(variable, "").strip()
    if not isinstance(token, str):
        return token
    return Secret(token) if token else None
