"""The client, what users hold: submits tasks, looks at them, and waits for them through the poller."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from typing import TYPE_CHECKING, NamedTuple, Self, overload

import anyio

from acetasks import waiting
from acetasks.answers import read_submission
from acetasks.arguments import check_id, check_timeout
from acetasks.errors import ClientClosedError, ProtocolError, SubmissionUncertainError
from acetasks.events import LoggingObserver, Observer, Observers
from acetasks.models import PollPolicy, RetryPolicy, Task, TaskState
from acetasks.poller import Poller
from acetasks.providers import Service, lookup
from acetasks.session import Endpoint, Session
from acetasks.targets import Target, TaskHandle, read_targets
from acetasks.wire import build_submission

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
    from types import TracebackType

    import aiohttp

    from acetasks.inquiry import Findings
    from acetasks.pending import Key
    from acetasks.waiting import Wanted

#: The environment variables are those of the official tools.
_ACEDATA_TOKEN, _ACEDATA_BASE_URL = "ACEDATACLOUD_API_TOKEN", "ACEDATACLOUD_API_BASE_URL"
_USEAPI_TOKEN, _USEAPI_BASE_URL = "USEAPI_API_TOKEN", "USEAPI_API_BASE_URL"


class _Running(NamedTuple):
    """What an open client has."""

    session: Session
    poller: Poller


class Client:
    """Submits tasks to Ace Data Cloud and useapi.net, and waits for them.

    Use it as `async with Client() as client:`. One client serves any number of concurrent callers in one event loop;
    whatever they wait for is asked for together, and nothing is asked while nobody waits.
    """

    def __init__(
        self,
        token: str | None = None,
        *,
        base_url: str | None = None,
        useapi_token: str | None = None,
        useapi_base_url: str | None = None,
        policy: PollPolicy | None = None,
        retry: RetryPolicy | None = None,
        http: aiohttp.ClientSession | None = None,
        observers: Iterable[Observer] = (),
        rng: random.Random | None = None,
    ) -> None:
        """Set a client up; nothing is opened or sent yet.

        Args:
            token: For Ace Data Cloud; None takes it from the environment variable ACEDATACLOUD_API_TOKEN.
            base_url: Of Ace Data Cloud; None takes ACEDATACLOUD_API_BASE_URL or https://api.acedata.cloud.
            useapi_token: For useapi.net; None takes USEAPI_API_TOKEN.
            useapi_base_url: Of useapi.net; None takes USEAPI_API_BASE_URL or https://api.useapi.net.
            policy: How tasks are asked for.
            retry: How failed requests are sent again.
            http: An aiohttp session of your own, which the client uses and leaves open; None opens a pool.
            observers: Told of what the client does.
            rng: The randomness of intervals and delays, for repeatable tests; None takes a fresh one.

        Raises:
            ValueError: A base URL or token that no request could be sent with.
        """
        self._endpoints = {
            Service.ACEDATA: _endpoint(token, base_url, _ACEDATA_TOKEN, _ACEDATA_BASE_URL, "https://api.acedata.cloud"),
            Service.USEAPI: _endpoint(
                useapi_token, useapi_base_url, _USEAPI_TOKEN, _USEAPI_BASE_URL, "https://api.useapi.net"
            ),
        }
        self._policy = policy or PollPolicy()
        self._retry = retry or RetryPolicy()
        self._http = http
        self._emit = Observers((LoggingObserver(), *observers))
        self._rng = rng or random.Random()
        self._running: _Running | None = None
        self._was_opened = False

    def __repr__(self) -> str:
        """Show where it asks and what it follows; no token."""
        state = repr(self._running.poller) if self._running else "closed" if self._was_opened else "not opened"
        return f"<Client {self._endpoints[Service.ACEDATA].base_url} {state}>"

    async def __aenter__(self) -> Self:
        """Open the client.

        Raises:
            ClientClosedError: It was opened before; make a new one.
        """
        if self._was_opened:
            raise ClientClosedError("this client was opened before; a client is opened once: make a new one")
        self._was_opened = True
        clock = asyncio.get_running_loop().time
        session = Session(
            self._endpoints, http=self._http, retry=self._retry, rng=self._rng, clock=clock, emit=self._emit
        )
        poller = Poller(session, policy=self._policy, retry=self._retry, rng=self._rng, clock=clock, emit=self._emit)
        self._running = _Running(session, poller)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close the client: whoever waits gets a `ClientClosedError`, and no connection or task is left.

        Closing a closed client does nothing.
        """
        running, self._running = self._running, None
        if running is not None:
            with anyio.CancelScope(shield=True):
                await running.poller.close()
                await running.session.close()

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
        return _tasks_of(waiting.each_completed(self._poller_for(wanted), wanted, check_timeout(timeout)))

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
        poller = self._poller_for(wanted)
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
        sent_at = asyncio.get_running_loop().time()
        response = await session.send(request)
        try:
            task = read_submission(spec, request, response)
        except ProtocolError as error:
            raise SubmissionUncertainError(
                str(error), provider=spec.slug, path=request.path, payload=request.body, sent_at=sent_at
            ) from error
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
        poller = self._poller_for(wanted)
        spec = wanted[0].spec
        distinct = list(dict.fromkeys(one.id for one in wanted))
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
        return [tasks.get(one.id) or Task(provider=spec.slug, id=one.id, state=TaskState.NOT_FOUND) for one in wanted]

    # The parts of an open client.

    def _require_open(self) -> _Running:
        if self._running is None:
            raise ClientClosedError(
                "this client is closed; make a new one"
                if self._was_opened
                else "this client is not open: use it as 'async with acetasks.Client() as client:'"
            )
        return self._running

    def _poller_for(self, wanted: Sequence[Wanted]) -> Poller:
        """Give the poller, once it is sure that there is a token for everything that is to be asked for."""
        running = self._require_open()
        for service in {one.spec.service for one in wanted if one.finished is None}:
            running.session.check(service)
        return running.poller


async def _tasks_of(stream: AsyncGenerator[tuple[Key, Task], None]) -> AsyncGenerator[Task, None]:
    """Pass on the tasks of a stream, and close it however the iteration ends."""
    async with contextlib.aclosing(stream):
        async for _, task in stream:
            yield task


def _endpoint(token: str | None, base_url: str | None, token_name: str, url_name: str, default: str) -> Endpoint:
    """Find a service's token and base URL: what was given, then the environment, then the default."""
    return Endpoint(
        base_url=base_url or os.environ.get(url_name) or default,
        token=(token if token is not None else os.environ.get(token_name, "").strip()) or None,
        token_variable=token_name,
    )
