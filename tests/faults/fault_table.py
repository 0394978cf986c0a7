"""Fault table: the outcome of each fault for every way of waiting, on the virtual clock.

Each row runs its own scenario: a simulated service with some tasks, one fault, and a client that waits for all tasks in
each of the three ways. The outcome, the number of requests and the elapsed seconds are measured.
`python tests/faults/fault_table.py` prints the table.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import copy
import email.utils
import gzip
import itertools
import logging
import math
import random
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unittest import mock

import aiohttp
import aiohttp.abc
import msgspec
import trustme
from after_kill import EPOCH, LIMIT, AfterKill, kill_submission, kill_waits

import acetasks
from acetasks._http import aiohttp_backend, batch_poll
from acetasks._http.responses import read_poll_response
from acetasks.testing import AceServer, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acetasks.testing import Fault, RecordedRequest

#: The token of every scenario. It must not appear in anything that the client shows.
CANARY = "canary-4f1d9c2e7ab3"
#: Number of tasks in a scenario.
COUNT = 50
ALL_SUCCEEDED = f"{COUNT} succeeded"
#: Seconds until the first and the last task of a scenario end.
FIRST_END, LAST_END = 20.0, 30.0


class Scenario:
    """A simulated service with tasks and faults.

    Attributes:
        server: The simulated service.
        ids: The ids of its tasks.
        provider: The provider of the tasks.
        options: Arguments for the client.
        client: The client, once it is open.
        stack: Resources that are closed at the end of the scenario.
        faults: The scripted faults.
    """

    def __init__(self, server: AceServer, provider: str) -> None:
        self.server = server
        self.provider = provider
        self.ids: list[str] = []
        self.options: dict[str, object] = {}
        self.client: acetasks.Client | None = None
        self.stack = contextlib.AsyncExitStack()
        self.faults: list[Fault] = []

    def add_tasks(self, count: int = COUNT, **options: object) -> None:
        """Create the tasks of the scenario."""
        step = (LAST_END - FIRST_END) / max(1, count - 1)
        for number in range(count):
            after = FIRST_END + number * step
            task = {"after": after, "id": f"task-{number:02}"} | options
            self.ids.append(self.server.add(self.provider, **task))

    def fail(self, **fault: object) -> None:
        """Script a fault of the provider."""
        self.faults.append(self.server.fail(self.provider, **fault))

    def at(self, seconds: float, action: Callable[[], Awaitable[object]]) -> None:
        """Run an action after some seconds."""

        async def later() -> None:
            await asyncio.sleep(seconds)
            await action()

        task = asyncio.create_task(later())
        self.stack.callback(task.cancel)


Arrange = Callable[[Scenario], Awaitable[None] | None]


@dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        name: Description of the fault.
        arrange: Sets the fault up.
        outcome: Expected outcome of `wait`, counted over all tasks.
        listed: Expected outcome of `as_completed` and `wait_all`; None if the same.
        raised: Name of the error that these two raise at the end, or empty.
        extra: Maximum number of requests beyond those of a scenario without a fault.
        late: Maximum number of seconds beyond the duration of a scenario without a fault.
        outages: Maximum number of warnings, one for each outage.
        bugs: Number of exceptions that are logged with a traceback.
        provider: The provider of the tasks.
        count: Number of tasks.
        tasks: Options for the simulated tasks.
    """

    name: str
    arrange: Arrange
    outcome: str = ALL_SUCCEEDED
    listed: str | None = None
    raised: str = ""
    extra: int = 0
    late: float = 0.5
    outages: int = 1
    bugs: int = 0
    provider: str = "luma"
    count: int = COUNT
    tasks: dict[str, object] = field(default_factory=dict)


@dataclass
class Result:
    """The measured result of a row for one way of waiting.

    Attributes:
        outcome: Number of tasks for each outcome.
        raised: Type of the error that ended the wait, or empty.
        requests: Number of requests sent, retries included.
        seconds: Virtual time from the start to the end.
        errors: All raised errors.
        events: All emitted events.
        reprs: `repr` of the client and its parts.
        made: Number of tasks that the service created from a submission.
        left: Asyncio tasks and connections that were not cleaned up.
        is_complete: Whether no task was reported twice, and an error has every task of its wait.
        was_hit: Whether every scripted fault was triggered.
    """

    outcome: str = ""
    raised: str = ""
    requests: int = 0
    seconds: float = 0.0
    errors: list[BaseException] = field(default_factory=list)
    events: list[acetasks.Event] = field(default_factory=list)
    reprs: list[str] = field(default_factory=list)
    made: int = 0
    left: list[str] = field(default_factory=list)
    is_complete: bool = True
    was_hit: bool = True

    def on_event(self, event: acetasks.Event) -> None:
        """Store an event."""
        self.events.append(event)
        self.requests += isinstance(event, acetasks.RequestSent)


# The ways of waiting.


def count_kinds(kinds: Sequence[str]) -> str:
    """Return the count of each kind as text."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(collections.Counter(kinds).items()))


async def use_wait(client: acetasks.Client, scenario: Scenario, result: Result) -> None:
    """Wait for each task separately, all concurrently."""
    waits = [client.wait(scenario.provider, task_id, timeout=LIMIT) for task_id in scenario.ids]
    kinds = []
    for ended in await asyncio.gather(*waits, return_exceptions=True):
        if isinstance(ended, BaseException):
            result.errors.append(ended)
        kinds.append(type(ended).__name__ if isinstance(ended, BaseException) else str(ended.state))
    result.outcome = count_kinds(kinds)


async def use_as_completed(client: acetasks.Client, scenario: Scenario, result: Result) -> None:
    """Collect tasks with `as_completed`."""
    ended: list[acetasks.Task] = []
    try:
        async for task in client.as_completed(scenario.provider, scenario.ids, timeout=LIMIT):
            ended.append(task)  # noqa: PERF401  # tasks yielded before an error count
    except acetasks.AceTasksError as error:
        record_error(result, error)
    result.is_complete = len({task.id for task in ended}) == len(ended)
    result.outcome = count_kinds([str(task.state) for task in ended])


async def use_wait_all(client: acetasks.Client, scenario: Scenario, result: Result) -> None:
    """Wait with `wait_all`, with failed tasks returned."""
    try:
        tasks = await client.wait_all(scenario.provider, scenario.ids, timeout=LIMIT, return_failed=True)
    except acetasks.AceTasksError as error:
        record_error(result, error)
        tasks = [task for task in error.tasks if task.state.is_terminal]
        result.is_complete = [task.id for task in error.tasks] == scenario.ids
    result.outcome = count_kinds([str(task.state) for task in tasks])


def record_error(result: Result, error: acetasks.AceTasksError) -> None:
    """Store an error that ended a wait."""
    result.raised = type(error).__name__
    result.errors.append(error)


# The faults.


def nothing(scenario: Scenario) -> None:
    """Set up no fault."""


def faulty(**fault: object) -> Arrange:
    """Script a fault of the service."""
    return lambda scenario: scenario.fail(**fault)


def refused(scenario: Scenario) -> None:
    """Stop the service for 20 s, so that connections are refused."""
    scenario.at(4, scenario.server.stop)
    scenario.at(24, scenario.server.start)


class EmptyResolver(aiohttp.abc.AbstractResolver):
    """DNS resolver that knows no name."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[aiohttp.abc.ResolveResult]:
        """Fail to resolve a name."""
        raise socket.gaierror(socket.EAI_NONAME, f"{host} is not known for {port} in {family}")

    async def close(self) -> None:
        """Do nothing."""


async def unknown_host(scenario: Scenario) -> None:
    """Make the base URL one of a host that does not exist."""
    connector = aiohttp.TCPConnector(resolver=EmptyResolver(), use_dns_cache=False)
    scenario.options["http"] = await scenario.stack.enter_async_context(aiohttp.ClientSession(connector=connector))
    scenario.options["base_url"] = "https://ace.example"


def without_tls(scenario: Scenario) -> None:
    """Make the base URL the https one of a service that has no TLS."""
    scenario.options["base_url"] = scenario.server.url.replace("http:", "https:")


async def untrusted(scenario: Scenario) -> None:
    """Make the base URL the one of a server whose certificate is of an unknown authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    front = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    scenario.stack.callback(front.close)
    scenario.options["base_url"] = f"https://127.0.0.1:{front.sockets[0].getsockname()[1]}"


class FailingResolver(aiohttp.abc.AbstractResolver):
    """DNS resolver that fails some times, then resolves every name to 127.0.0.1."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: int = 0,  # noqa: ARG002  # aiohttp passes it
    ) -> list[aiohttp.abc.ResolveResult]:
        """Resolve a name."""
        if self.failures:
            self.failures -= 1
            raise OSError(-3, "Temporary failure in name resolution")
        return [aiohttp.abc.ResolveResult(hostname=host, host="127.0.0.1", port=port, family=2, proto=0, flags=0)]

    async def close(self) -> None:
        """Do nothing."""


async def unresolved(scenario: Scenario) -> None:
    """Make the first name resolutions fail."""
    connector = aiohttp.TCPConnector(resolver=FailingResolver(3), use_dns_cache=False, force_close=True)
    scenario.options["http"] = await scenario.stack.enter_async_context(aiohttp.ClientSession(connector=connector))
    scenario.options["base_url"] = scenario.server.url.replace("127.0.0.1", "ace.localhost")


async def failing_tls(scenario: Scenario) -> None:
    """Put a TLS proxy before the service whose first handshakes fail."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    failures = iter(range(3))
    context.sni_callback = lambda *_: None if next(failures, None) is None else ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE
    host, port = "127.0.0.1", int(scenario.server.url.rpartition(":")[2])

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(pipe(reader, inner_writer), pipe(inner_reader, writer))

    front = await asyncio.start_server(serve, host, 0, ssl=context)
    scenario.stack.callback(front.close)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    connector = aiohttp.TCPConnector(ssl=trust, force_close=True, family=2)
    scenario.options["http"] = await scenario.stack.enter_async_context(aiohttp.ClientSession(connector=connector))
    scenario.options["base_url"] = f"https://localhost:{front.sockets[0].getsockname()[1]}"


def with_limit(arrange: Arrange) -> Arrange:
    """Lower the body size limit, so that no test has to send 64 MiB."""

    def lowered(scenario: Scenario) -> Awaitable[None] | None:
        scenario.stack.enter_context(mock.patch.object(aiohttp_backend, "BODY_LIMIT", 1_000_000))
        return arrange(scenario)

    return lowered


def retry_after_date(scenario: Scenario) -> None:
    """Send a `Retry-After` date, relative to the server's own clock."""
    sent, until = (email.utils.formatdate(1_700_000_000 + seconds, usegmt=True) for seconds in (0, 40))
    scenario.fail(status=429, headers={"Retry-After": until, "Date": sent})


def in_items(change: Callable[[list[object]], object]) -> Callable[[object], object]:
    """Edit the records of a batch response."""

    def edit(answer: object) -> object:
        if not isinstance(answer, dict) or "items" not in answer:
            return answer
        return change(answer["items"])

    return edit


def shuffle_items(items: list[object]) -> object:
    """Reverse and duplicate the records, add an unknown one, and send `total` instead of `count`."""
    stranger = {"id": "stranger", "response": {"success": True, "video_url": "https://cdn.example/not-yours.mp4"}}
    return {"items": [stranger, *reversed(items), *items], "total": 12345}


def send_history(items: list[object]) -> object:
    """Send the latest tasks of the user, whatever the requested ids are."""
    return {"items": [{"id": f"stranger-{number}", "response": {"success": True}} for number, _ in enumerate(items)]}


def spoil_one(items: list[object]) -> object:
    """Make one record unreadable with a number beyond the range of floats."""
    return msgspec.json.encode({"items": items}).replace(b'"created_at":', b'"created_at":1e999,"c":', 1)


def add_nan(items: list[object]) -> object:
    """Give one record a progress of NaN, as Python's `json` module writes it."""
    return msgspec.json.encode({"items": items}).replace(b'"created_at":', b'"progress":NaN,"created_at":', 1)


def spoil(task_id: str, value: bytes) -> Callable[[object], object]:
    """Put a value into the request of one task, in every response."""
    record = b'{"id":"' + task_id.encode() + b'","request":' + value + b"}"

    def edit(answer: object) -> object:
        if isinstance(answer, dict) and "items" in answer:
            items = [msgspec.json.encode(item) for item in answer["items"] if item["id"] != task_id]
            return b'{"items":[' + b",".join([*items, record][: len(answer["items"])]) + b"]}"
        return record if isinstance(answer, dict) and answer.get("id") == task_id else answer

    return edit


def token_renewed(scenario: Scenario) -> None:
    """Replace the token at the service, and give the client a token provider with the new one."""
    tokens = itertools.chain([CANARY], itertools.repeat(f"{CANARY}-token_renewed_before"))

    async def provide() -> str:
        await asyncio.sleep(0.5)
        return next(tokens)

    async def replace() -> None:
        scenario.server.token = f"{CANARY}-token_renewed_before"

    scenario.options["token"] = provide
    scenario.at(8, replace)


def token_revoked(scenario: Scenario) -> None:
    """Revoke the token after 8 s."""

    async def replace() -> None:
        scenario.server.token = "another"

    scenario.at(8, replace)


class BrokenRandom(random.Random):
    """Random source that raises after some calls."""

    def __init__(self) -> None:
        super().__init__(1)
        self.left = 5

    def random(self) -> float:
        """Return a random number, or raise once the calls are used up."""
        self.left -= 1
        if self.left < 0:
            raise ZeroDivisionError("a bug in the loop")
        return super().random()


def broken(scenario: Scenario) -> None:
    """Make the loop of the poller raise an unexpected error."""
    scenario.options["rng"] = BrokenRandom()


def misread(scenario: Scenario) -> None:
    """Make the reading of three responses raise an unexpected error."""
    bugs = [KeyError("a bug")] * 3

    def read(*args: object, **options: object) -> object:
        if bugs:
            raise bugs.pop()
        return read_poll_response(*args, **options)  # type: ignore[arg-type]  # passed on as they are

    scenario.stack.enter_context(mock.patch.object(batch_poll, "read_poll_response", read))


def closed(scenario: Scenario) -> None:
    """Close the client while requests without a response are in flight."""
    scenario.fail(hang=math.inf, times=None, when=lambda request: request.time > 8)

    async def close() -> None:
        assert scenario.client is not None
        await scenario.client.close()

    scenario.at(20, close)


def has(task_id: str, *, batch: bool = False) -> Callable[[RecordedRequest], bool]:
    """Match the requests that contain a task, or only the batches."""
    return lambda seen: task_id in seen.ids and (len(seen.ids) > 1 or not batch)


def in_responses(**response: object) -> Callable[[object], object]:
    """Replace the response of every record in a batch."""
    return in_items(lambda items: {"items": [{"id": item["id"], "response": response} for item in items]})


PAGE = "<!doctype html><title>One moment</title><p>Please wait."
STRANGER = {"id": "stranger", "status": "completed", "response": {"success": True, "task_id": "stranger"}}
LOGIN = {"Location": "https://login.example/"}
JSON_CUT = b'{"items": [{"id": "task-00", "response": {"succ'
HUGE = b" " * 1_500_000
BOMB = {"body": gzip.compress(bytes(8_000_000)), "headers": {"Content-Encoding": "gzip"}}
#: The id that causes the fault.
BAD = "task-17"
NESTED, LARGE = b"[" * 100_000 + b"]" * 100_000, b'"%b"' % (b"x" * 1_000_000)
HIDDEN = {"outcome": "not_found"}


# Expected outcomes: of `wait`, of the two others, and the error that those raise.


def ends_with(error: str) -> tuple[str, str, str]:
    """Expect an error for every task."""
    return f"{COUNT} {error}", "", error


def all_but(error: str) -> tuple[str, str, str]:
    """Expect an error for one task, raised after the others have ended."""
    return f"1 {error}, {COUNT - 1} succeeded", f"{COUNT - 1} succeeded", error


def none_found(count: int) -> tuple[str, str]:
    """Expect that no task is found."""
    return f"{count} TaskNotFoundError", f"{count} not_found"


ROWS = [
    Row("no fault", nothing),
    # Connection faults.
    Row("connections are refused for 20 s", refused, extra=4, late=4),
    Row("the name does not resolve, 3 times", unresolved, extra=2, late=1),
    Row("the TLS handshake fails, 3 times", failing_tls, extra=2, late=1),
    Row("the connection is reset, 3 times", faulty(reset=True, times=3), extra=2, late=1),
    Row("no response, 3 times", faulty(hang=math.inf, times=3), late=70),
    Row("the response is cut off half-way, 3 times", faulty(truncate=0.5, times=3), extra=2, late=1),
    Row("the response body takes 20 s, 3 times", faulty(drip=20, times=3), late=40),
    Row("the response body takes 60 s, 3 times", faulty(drip=60, times=3), late=70),
    Row("the response arrives in 40 pieces, always", faulty(split=40, times=None)),
    Row("the certificate cannot be verified, ever", untrusted, *ends_with("TransportError"), extra=10, late=50),
    Row("the service has no TLS, ever", without_tls, *ends_with("TransportError"), extra=10, late=50),
    Row("the host name does not exist", unknown_host, *ends_with("TransportError"), extra=10, late=50),
    # Server errors.
    Row("500, 3 times", faulty(status=500, times=3), extra=2, late=1),
    Row("502 with the HTML page of a gateway, 3 times", faulty(status=502, body=PAGE, times=3), extra=2, late=1),
    Row("503 with `Retry-After: 30`", faulty(status=503, headers={"Retry-After": "30"}), late=1),
    Row("504, 3 times", faulty(status=504, times=3), extra=2, late=1),
    Row("500 to a random half of all requests", faulty(status=500, rate=0.5), extra=9, late=9),
    Row("500 for a minute", faulty(status=500, times=None, when=lambda seen: seen.time < 60), extra=10, late=40),
    Row("500 forever", faulty(status=500, times=None), *ends_with("TaskTimeoutError"), extra=40, late=LIMIT),
    # Invalid responses.
    Row("200 with an HTML page, 3 times", faulty(body=PAGE, times=3), extra=2, late=1),
    Row("200 with an empty body, 3 times", faulty(body="", times=3), extra=2, late=1),
    Row("200 with truncated JSON, 3 times", faulty(body=JSON_CUT, times=3), extra=2, late=1),
    Row("200 with bytes that are not text, 3 times", faulty(body=b"\xff\xfe\x00\x80", times=3), extra=2, late=1),
    Row("JSON with the content type text/html, always", faulty(headers={"Content-Type": "text/html"}, times=None)),
    Row("a body above the size limit, 3 times", with_limit(faulty(body=HUGE, times=3)), extra=6, late=1),
    Row("a compressed body above the size limit, 3 times", with_limit(faulty(**BOMB, times=3)), extra=6, late=1),
    # Responses of something between the client and the service.
    Row("a redirect, 3 times", faulty(status=302, headers=LOGIN, times=3), extra=2, late=1),
    Row(
        "redirects, forever",
        faulty(status=302, headers=LOGIN, times=None),
        *ends_with("TaskTimeoutError"),
        extra=40,
        late=LIMIT,
    ),
    Row(
        "403 with the HTML page of a firewall, for 15 s",
        faulty(status=403, body=PAGE, times=None, when=lambda seen: 10 < seen.time < 25),
        extra=6,
        late=5,
    ),
    Row("401 with the HTML page of a captive portal, 3 times", faulty(status=401, body=PAGE, times=3), extra=2, late=1),
    Row("404 with an empty body, 3 times", faulty(status=404, body="", times=3), extra=2, late=1),
    # Rate and size limits.
    Row("429, 3 times", faulty(status=429, times=3), extra=2, late=2),
    Row("429 with `Retry-After: 40`", faulty(status=429, headers={"Retry-After": "40"}), late=11),
    Row("429 with `Retry-After: 200`", faulty(status=429, headers={"Retry-After": "200"}), late=170),
    Row("429 with `Retry-After` as a date in 40 s", retry_after_date, late=11),
    Row(
        "413 to batches of more than 20 ids",
        faulty(status=413, times=None, when=lambda s: len(s.ids) > 20),
        extra=22,
        late=5,
    ),
    Row("responses have at most 12 records", faulty(limit=12, times=None), extra=25, late=5),
    # One bad id or record in a batch.
    Row(
        "one id is rejected with 400",
        faulty(status=400, times=None, when=has(BAD)),
        *all_but("BadRequestError"),
        extra=12,
    ),
    Row(
        "one id makes every batch fail with 500",
        faulty(status=500, times=None, when=has(BAD, batch=True)),
        extra=24,
        late=75,
        outages=3,  # requests for other ids succeed in between
    ),
    Row("one record cannot be read, 3 times", faulty(edit=in_items(spoil_one), times=3), extra=3, late=1),
    Row(
        "one record is nested too deeply",
        faulty(edit=spoil(BAD, NESTED), times=None),
        *all_but("ProtocolError"),
        extra=16,
    ),
    Row(
        "one record is malformed",
        faulty(edit=spoil(BAD, b"undefined"), times=None),
        *all_but("ProtocolError"),
        extra=16,
    ),
    Row(
        "one record is above the size limit",
        with_limit(faulty(edit=spoil(BAD, LARGE), times=None)),
        *all_but("ProtocolError"),
        extra=16,
    ),
    Row("one record has `NaN`, always", faulty(edit=in_items(add_nan), times=None)),
    Row("other order, duplicates, unknown records, `total`", faulty(edit=in_items(shuffle_items), times=None)),
    Row(
        "single polls get the record of another task, 3 times",
        faulty(body=STRANGER, times=3),
        "5 succeeded",
        provider="maestro",
        count=5,
        extra=25,
        late=1,
    ),
    Row(
        "batches get the records of other tasks, always",
        faulty(edit=in_items(send_history), times=None),
        extra=300,
        late=1,
    ),
    # Not found.
    Row("tasks become visible after 8 s", nothing, tasks={"visible_after": 8.0}, extra=2, late=1),
    Row("no task is known to the service", nothing, *none_found(COUNT), tasks=HIDDEN, extra=COUNT),
    Row(
        "no task is known to the service: 404",
        nothing,
        *none_found(5),
        provider="maestro",
        count=5,
        tasks=HIDDEN,
        extra=10,
    ),
    Row("404: the API does not exist", faulty(status=404, times=None), *ends_with("UnknownProviderError")),
    # Authentication and authorization.
    Row("401 after 8 s", token_revoked, *ends_with("AuthenticationError")),
    Row("401, and the token provider returns a new token", token_renewed, extra=1, late=2),
    Row("402", faulty(status=402, body={"error": "payment required"}, times=None), *ends_with("PermissionDeniedError")),
    Row("403, once", faulty(status=403), extra=1, late=1),
    Row(
        "400 `api_not_implemented`",
        faulty(status=400, body={"error": {"code": "api_not_implemented", "message": "no"}}, times=None),
        *ends_with("BadRequestError"),
    ),
    Row("403", faulty(status=403, times=None), *ends_with("PermissionDeniedError")),
    # Unusual record contents.
    Row(
        "`success: false` without a state, forever",
        faulty(edit=in_responses(success=False), times=None),
        f"{COUNT} TaskFailedError",
        f"{COUNT} failed",
    ),
    Row(
        "an undocumented state, for 12 s",
        faulty(edit=in_responses(state="dreaming"), times=None, when=lambda seen: seen.time < 12),
    ),
    Row(
        "an undocumented state, forever",
        faulty(edit=in_responses(state="dreaming"), times=None),
        *ends_with("TaskTimeoutError"),
        extra=50,
        late=LIMIT,
    ),
    # The client itself.
    Row("an unexpected exception in a poll, 3 times", misread, extra=3, bugs=1),
    Row("an unexpected exception in the poller's own loop", broken, *ends_with("AceTasksError")),
    Row("the client is closed with requests in flight", closed, *ends_with("ClientClosedError")),
]


# Submissions.


@dataclass(frozen=True)
class Submission:
    """A fault of one submission.

    Attributes:
        name: Description of the fault.
        arrange: Sets the fault up.
        outcome: Expected outcome of `submit`.
        posts: Maximum number of times the submission is sent.
        made: Number of tasks that the service creates from it.
    """

    name: str
    arrange: Arrange
    outcome: str = "SubmissionUncertainError"
    posts: int = 1
    made: int = 0


async def refused_shortly(scenario: Scenario) -> None:
    """Stop the service for a second."""
    await scenario.server.stop()
    scenario.at(1, scenario.server.start)


def closed_soon(scenario: Scenario) -> None:
    """Close the client while the submission is in flight."""
    scenario.fail(hang=math.inf)

    async def close() -> None:
        assert scenario.client is not None
        await scenario.client.close()

    scenario.at(3, close)


async def token_renewed_before(scenario: Scenario) -> None:
    """Replace the token at the service before the submission."""
    token_renewed(scenario)
    scenario.server.token = f"{CANARY}-token_renewed_before"


SUBMISSIONS = [
    Submission("no fault", nothing, "accepted", made=1),
    Submission("connections are refused for 1 s", refused_shortly, "accepted", posts=4, made=1),
    Submission("connections are refused forever", lambda scenario: scenario.server.stop(), "TransportError", posts=4),
    Submission("the name does not resolve, 3 times", unresolved, "accepted", posts=4, made=1),
    Submission("the TLS handshake fails, 3 times", failing_tls, "accepted", posts=4, made=1),
    Submission("the certificate cannot be verified, ever", untrusted, "TransportError"),
    Submission("the service has no TLS, ever", without_tls, "TransportError"),
    Submission("the host name does not exist", unknown_host, "TransportError", posts=4),
    Submission("the connection is reset after the request was sent", faulty(reset=True), made=1),
    Submission("no response", faulty(hang=math.inf), made=1),
    Submission("the response is cut off half-way", faulty(truncate=0.5), made=1),
    Submission("the client is closed in the meantime", closed_soon, made=1),
    Submission("500 with a documented error body", faulty(status=500), "ServiceError"),
    Submission("502 with the HTML page of a gateway", faulty(status=502, body=PAGE)),
    Submission("503 with an empty body", faulty(status=503, body="")),
    Submission("504", faulty(status=504)),
    Submission("200 with an HTML page", faulty(body=PAGE)),
    Submission("200 with an empty body", faulty(body="")),
    Submission("200 with JSON without a task id", faulty(body={"success": True})),
    Submission("302", faulty(status=302, headers={"Location": "/there"}), "BadRequestError"),
    Submission("400", faulty(status=400), "BadRequestError"),
    Submission("401", faulty(status=401), "AuthenticationError"),
    Submission("401, and the token provider returns a new token", token_renewed_before, "accepted", posts=2, made=1),
    Submission("403", faulty(status=403), "PermissionDeniedError"),
    Submission("403 with the HTML page of a firewall", faulty(status=403, body=PAGE), "PermissionDeniedError"),
    Submission(
        "429 with `Retry-After: 40`", faulty(status=429, headers={"Retry-After": "40"}), "accepted", posts=2, made=1
    ),
    Submission(
        "429 to every attempt", lambda scenario: scenario.fail(status=429, times=None), "RateLimitError", posts=4
    ),
]


async def use_submit(client: acetasks.Client, scenario: Scenario, result: Result) -> None:
    """Submit one task."""
    try:
        await client.submit(scenario.provider, {"prompt": "a cat"})
    except acetasks.AceTasksError as error:
        result.errors.append(error)
        result.outcome = type(error).__name__
    else:
        result.outcome = "accepted"
    result.made = scenario.server.submissions


WAYS = {"wait": use_wait, "as_completed": use_as_completed, "wait_all": use_wait_all, "submit": use_submit}


async def measure(row: Row | Submission, way: str) -> Result:
    """Run a scenario.

    Args:
        row: The fault.
        way: The way of waiting, or `submit`.

    Returns:
        The measured result.
    """
    result = Result()
    async with set_up(row, result) as scenario:
        started = asyncio.get_running_loop().time()
        async with acetasks.Client(**scenario.options) as scenario.client:
            await WAYS[way](scenario.client, scenario, result)
            result.seconds = asyncio.get_running_loop().time() - started
            result.reprs += [repr(scenario.client), repr(vars(scenario.client))]
    return result


@contextlib.asynccontextmanager
async def set_up(row: Row | Submission, result: Result) -> AsyncIterator[Scenario]:
    """Set a scenario up, and note at its end whether its faults were hit, and what was not cleaned up."""
    async with AceServer(token=CANARY, seed=1, epoch=EPOCH) as server:
        scenario = Scenario(server, row.provider if isinstance(row, Row) else "luma")
        async with scenario.stack:
            if isinstance(row, Row):
                scenario.add_tasks(row.count, **row.tasks)
            scenario.options = {
                "token": CANARY,
                "base_url": server.url,
                "policy": acetasks.PollPolicy(interval=5),
                "rng": random.Random(1),
                "observers": [result],
            }
            arranging = row.arrange(scenario)
            if arranging is not None:
                await arranging
            yield scenario
        await asyncio.sleep(0.01)
        result.was_hit = all(fault.hits for fault in scenario.faults)
        result.left = [repr(task) for task in asyncio.all_tasks() - {asyncio.current_task()}]
        result.left += [f"{server.open_connections} connections"] if server.open_connections else []


async def measure_kill(row: Row | Submission, *, is_noted: bool, result: Result) -> AfterKill:
    """Run a scenario whose process is killed and restarted.

    Args:
        row: The fault.
        is_noted: Of a submission, whether the process is killed after it has noted what became of it.
        result: Receives the events, and what is left.
    """
    loop = asyncio.get_running_loop()

    def read_clock() -> float:
        return EPOCH + loop.time()  # as the service's

    async with set_up(row, result) as scenario:
        scenario.stack.enter_context(mock.patch("time.time", read_clock))

        def new_client(**options: object) -> acetasks.Client:
            rng = copy.deepcopy(scenario.options["rng"])  # each process has its own
            return acetasks.Client(**scenario.options | options | {"rng": rng})

        if isinstance(row, Row):
            return await kill_waits(scenario, new_client)
        return await kill_submission(scenario, new_client, is_noted=is_noted)


def run_row(row: Row | Submission, way: str) -> Result:
    """Run a scenario on its own virtual clock."""
    return run(measure(row, way))


def run_killed(row: Row | Submission, *, is_noted: bool = True, result: Result | None = None) -> AfterKill:
    """Run a scenario whose process is killed, on its own virtual clock; see `measure_kill`."""
    return run(measure_kill(row, is_noted=is_noted, result=result or Result()))


def write_table() -> str:
    """Return the outcome of every fault as Markdown.

    Returns:
        A table of the waits, a blank line and a table of the submissions.
    """
    lines = [
        f"| fault | {COUNT} times `wait` | `as_completed`, `wait_all` | requests | seconds | after `kill -9` |",
        "|---|---|---|---:|---:|---|",
    ]
    for row in ROWS:
        each, listed = run_row(row, "wait"), run_row(row, "as_completed")
        outcomes = ", then ".join(
            f"`{part}`" if "Error" in part else part for part in (listed.outcome, listed.raised) if part
        )
        outcomes = "the same" if outcomes == each.outcome else outcomes
        lines.append(
            f"| {row.name} | {each.outcome} | {outcomes} | {each.requests} | {each.seconds:.0f}"
            f" | {run_killed(row).text} |"
        )
    lines += [
        "",
        "| fault | outcome of `submit` | times sent | tasks created | `kill -9` before it is noted | `kill -9` then |",
        "|---|---|---:|---:|---|---|",
    ]
    for submission in SUBMISSIONS:
        result = run_row(submission, "submit")
        before, after = (run_killed(submission, is_noted=is_noted).text for is_noted in (False, True))
        lines.append(
            f"| {submission.name} | {result.outcome} | {result.requests} | {result.made} | {before} | {after} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    logging.disable()
    sys.stdout.write(write_table() + "\n")


if __name__ == "__main__":
    main()
