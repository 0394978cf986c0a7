"""HTTP server that simulates the documented services, for tests without a network.

It serves both services at one address: tasks calls and submissions of every provider in the table and, in the standard
way, of other providers that a test names; and the files that the tasks have made. Its clock is that of its event loop,
and all random numbers are drawn from one seed.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Self

import msgspec

from acetasks.providers.table import lookup
from acetasks.testing.addresses import idle_service_message, register_service, unregister_service
from acetasks.testing.callbacks import CallbackScript, CallbackSender
from acetasks.testing.checks import choose
from acetasks.testing.delivery import DeliveryOptions, loop_time
from acetasks.testing.effects import Edit, Effect
from acetasks.testing.faults import Fault, FaultList, RecordedRequest, When
from acetasks.testing.listener import Listener
from acetasks.testing.outside import VirtualClockWarning
from acetasks.testing.real_time import RealTimeWatch
from acetasks.testing.requests import Action
from acetasks.testing.routing import RequestParser, TasksRequest
from acetasks.testing.rules import build_rule
from acetasks.testing.scenario import Scenario
from acetasks.testing.service import SimulatedService
from acetasks.testing.traffic import Traffic

if TYPE_CHECKING:
    import types
    from collections.abc import Mapping
    from typing import Unpack

    from aiohttp import web

    from acetasks.providers.spec import ProviderSpec
    from acetasks.testing.rules import RuleOptions
    from acetasks.testing.scenario import ScriptedTask

#: Exceptions that end a test or the program from outside, so no other exception may replace them.
_EXIT_EXCEPTIONS = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)


class AceServer(Traffic):
    """The simulated service, as an async context manager.

    It responds while the event loop runs in which it was started.

    Args:
        token: The bearer token that requests must have.
        seed: Seed of all random numbers: ids, durations, failures and, separately, the rates of faults.
        epoch: The loop's time zero, in seconds since the epoch, for the times in records and `Date` headers. None
            takes it from `time.time()` at the first start, also if freezegun or time-machine has set that, rounded up
            to whole seconds: `Date` headers have no fractions, and runs would differ by them.
        host: The address to listen on.
        port: The port to listen on; 0 takes a free one.
        speed: Divisor of every scripted time of a task.
        failure_rate: Share of tasks without a scripted outcome that fail, from 0 to 1.
        record_requests: Whether `requests` is kept; the counts always are.
        errors_have_success: Whether error bodies have `success: false`, as in the guides of Ace Data Cloud; in its
            OpenAPI files they have none.
        file_lifetime: Seconds from a task's end until its files are gone, status 404; None means that they stay.

    Attributes:
        token: The bearer token that requests must have.

    The other attributes are those of `Traffic`: the requests, the callbacks, and their counts.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        *,
        token: str = "test-token",
        seed: int = 0,
        epoch: float | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        speed: float = 1.0,
        failure_rate: float = 0.0,
        record_requests: bool = True,
        file_lifetime: float | None = None,
        errors_have_success: bool = False,
    ) -> None:
        super().__init__(record_requests=record_requests)
        self.token = token
        self._host = host
        self._port = port
        self._epoch = epoch
        self._scenario = Scenario(seed=seed, speed=speed, failure_rate=failure_rate)
        self._faults = FaultList(seed=seed)
        self._callback_sender = CallbackSender(self.callbacks.append, seed=seed)
        self._service = SimulatedService(
            self._scenario,
            self._faults,
            self._callback_sender,
            file_lifetime=file_lifetime,
            errors_have_success=errors_have_success,
            on_submission=self._count_submission,
        )
        self._parser = RequestParser()
        self._real_time = RealTimeWatch()
        self._url = ""
        self._listener: Listener | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        state = f"open at {self._url}" if self._listener else "closed"
        return f"<AceServer {state} tasks={len(self.tasks)} requests={self.request_count}>"

    @property
    def url(self) -> str:
        """The base URL, such as `http://127.0.0.1:41234`; it stays the same after a stop and another start.

        Raises:
            RuntimeError: The server was never started, or its loop cannot respond.
        """
        if not self._url:
            raise RuntimeError("the server has no address before it is started: use `async with` or `start`")
        self._check_loop()
        return self._url

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables with which acetasks and the official clients use the server.

        Raises:
            RuntimeError: The server was never started, or its loop cannot respond.
        """
        return {
            f"{name}_API_{variable}": value
            for name in ("ACEDATACLOUD", "USEAPI")
            for variable, value in (("BASE_URL", self.url), ("TOKEN", self.token))
        }

    @property
    def tasks(self) -> Mapping[str, ScriptedTask]:
        """All tasks by id in the order of creation, including hidden ones."""
        return self._scenario.tasks

    async def start(self) -> Self:
        """Start to listen; after a stop, at the same address and with the same tasks and faults.

        Raises:
            RuntimeError: The server is already listening, or no asyncio event loop is running, as on trio.
            OSError: The port is taken.
        """
        if self._listener is not None:
            raise RuntimeError(f"the server is already listening at {self._url}")
        if not _is_in_loop():
            raise RuntimeError("AceServer needs a running asyncio event loop: acetasks runs on asyncio only")
        listener = Listener(self._handle, on_open=self._count_opened, on_close=self._count_closed)
        host, self._port = await listener.open(self._host, self._port)
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        register_service(self._port, self._loop)
        self._url = f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"
        if self._epoch is None:
            self._epoch = float(math.ceil(time.time() - loop_time()))
        self._service.open(url=self._url, epoch=self._epoch)
        return self

    async def stop(self) -> None:
        """Close every connection at once and drop callbacks not yet posted.

        Clients are refused a connection until another `start`.

        Raises:
            BaseException: The first exception raised by a `when` or `edit` function of a fault.
        """
        await self._close()
        if self._service.function_errors:
            raise self._pop_function_error()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        await self._close()
        if not self._service.function_errors:
            return
        function_error = self._pop_function_error()
        if isinstance(error, _EXIT_EXCEPTIONS):
            error.add_note(f"before that, a function of a fault raised {function_error!r}")
            return
        raise function_error

    def allow(self, provider: str) -> None:
        """Serve a provider that is not in the table in the standard way, as `add`, `script` and `fail` do too.

        The service's response to any other slug is status 404, `no_api`.

        Args:
            provider: The provider's slug.

        Raises:
            UnknownProviderError: The provider name is invalid.
        """
        self._lookup(provider)

    def add(
        self,
        provider: str,
        *,
        id: str | None = None,  # noqa: A002  # the name it has in a record
        request: Mapping[str, object] | None = None,
        path: str = "",
        **options: Unpack[RuleOptions],
    ) -> str:
        """Create a task as if it were submitted now, and return its id.

        Args:
            provider: The provider's slug.
            id: The task's id; None means a UUID.
            request: The submitted body; None means that of the provider's sample.
            path: The submission path, such as `/suno/wav`; empty means the provider's main one.
            options: Outcome and timing, described by `Rule`, such as `after=600` or `outcome="failed"`.

        Raises:
            TypeError: There is no such option.
            ValueError: The id is taken, a time is negative, or the outcome is unknown or impossible for the provider.
            UnknownProviderError: The provider name is invalid.
            RuntimeError: No event loop is running before the start, or the server's loop cannot respond.
        """
        rule = build_rule(**options)
        spec = self._lookup(provider)
        return self._scenario.add(spec, rule, now=self._now(), task_id=id, request=request, path=path).id

    def script(self, provider: str, *, times: int | None = 1, **options: Unpack[RuleOptions]) -> None:
        """Set the outcome and timing of the next submissions to a provider, after those already scripted.

        Args:
            provider: The provider's slug.
            times: The number of submissions; None means every submission that is not scripted otherwise.
            options: Outcome and timing, described by `Rule`, such as `after=600` or `outcome="failed"`.

        Raises:
            TypeError: There is no such option.
            ValueError: A number is out of range, or the outcome is unknown or impossible for the provider.
            UnknownProviderError: The provider name is invalid.
        """
        self._scenario.add_rule(self._lookup(provider), build_rule(**options), times=times)

    def script_callbacks(self, *, delay: float = 0.0, copies: int = 1, drop_rate: float = 0.0) -> None:
        """Set how the callbacks of submissions from now on are posted; without options, each once and at once.

        Args:
            delay: Seconds from the end of the task.
            copies: How many times each is posted, at once.
            drop_rate: Share of the tasks whose callback is never posted, from 0 to 1.

        Raises:
            ValueError: A number is out of range.
        """
        self._callback_sender.script = CallbackScript(delay=delay, copies=copies, drop_rate=drop_rate)

    def fail(
        self,
        provider: str | None = None,
        *,
        status: int | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        edit: Edit | None = None,
        limit: int | None = None,
        hang: float | None = None,
        reset: bool = False,
        truncate: float | None = None,
        cut: int | None = None,
        drip: float | None = None,
        split: int | None = None,
        action: Action | str | None = None,
        times: int | msgspec.UnsetType | None = msgspec.UNSET,
        rate: float | None = None,
        when: When | None = None,
    ) -> Fault:
        """Script and return a fault; `Fault` describes the options.

        Raises:
            TypeError: A value has the wrong type.
            ValueError: There is no effect, or a value is unknown, out of range or hides another's effect.
            UnknownProviderError: The provider name is invalid.
        """
        delivery = DeliveryOptions(
            headers=headers, hang=hang, reset=reset, truncate=truncate, cut=cut, drip=drip, split=split
        )
        kind = choose(Action, action)
        effect = Effect(status=status, code=code, body=body, edit=edit, limit=limit, action=kind, delivery=delivery)
        if times is msgspec.UNSET:
            times = 1 if rate is None else None
        if provider is not None:
            self.allow(provider)
        return self._faults.add(effect, provider=provider, times=times, rate=rate, when=when)

    def clear_faults(self) -> None:
        """Stop and remove every fault; requests already hit are not affected."""
        self._faults.clear()

    def clear_scripts(self) -> None:
        """Remove everything set by `script`; tasks already created are not affected."""
        self._scenario.clear_rules()

    def reset(self) -> None:
        """Make the server like new, for the next test: without tasks, scripts, faults, and recorded requests."""
        self._scenario.clear()
        self._faults.reset()
        self.clear_requests()

    def _now(self) -> float:
        """Return the time of the server's loop, or of the running one before the start."""
        self._check_loop()
        return loop_time() if self._loop is None else self._loop.time()

    def _check_loop(self) -> None:
        """Check that the server can respond to code in the running loop.

        Raises:
            RuntimeError: It was started in another loop, which is not running.
        """
        if self._loop is not None and not self._loop.is_running() and _is_in_loop():
            raise RuntimeError(idle_service_message(f"the AceServer at {self._url}"))

    def _lookup(self, provider: str) -> ProviderSpec:
        """Return the spec of a provider, which is served from now on."""
        spec = lookup(provider)
        self._parser.allow(spec.slug)
        return spec

    async def _close(self) -> None:
        """Stop listening and wait for all requests and callbacks in flight to end."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        unregister_service(self._port)
        self._loop = None
        listener.stop_accepting()
        try:
            await self._callback_sender.close()
        finally:
            await listener.close()

    def _pop_function_error(self) -> BaseException:
        """Return the first exception of a fault's functions and drop the others."""
        first = self._service.function_errors[0]
        self._service.function_errors.clear()
        return first

    def _count_submission(self) -> None:
        self.submissions += 1

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Record and count a request, and respond to it."""
        record = RecordedRequest(time=loop_time(), method=request.method, path=request.path, headers=request.headers)
        self.request_count += 1
        if self._keeps_requests:
            self.requests.append(record)
        self._concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self._concurrent)
        try:
            parsed = await self._parser.parse(request, record, token=self.token)
            if isinstance(parsed.content, TasksRequest):
                self.ids_asked += len(record.ids)
                self._watch_real_time(record)
            return await self._service.respond(request, parsed, record)
        finally:
            self._concurrent -= 1

    def _watch_real_time(self, record: RecordedRequest) -> None:
        tasks = [task for task_id in record.ids if (task := self._scenario.tasks.get(task_id)) is not None]
        try:
            self._real_time.observe_poll(tasks, now=record.time)
        except VirtualClockWarning as warning:  # pytest makes it an error: raised by `stop`, not in the response
            self._service.function_errors.append(warning)


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
