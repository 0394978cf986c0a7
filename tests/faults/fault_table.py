"""The fault table: what goes wrong, and what each way of waiting makes of it, on the virtual clock.

Every row is a scene of its own: a simulated service with some tasks, one fault, and a client that waits for them all
in each of the three ways. What comes of it is measured: the outcome, the requests sent and the seconds spent.
`python tests/faults/fault_table.py` prints the table.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import email.utils
import gzip
import logging
import math
import random
import ssl
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unittest import mock

import aiohttp
import aiohttp.abc
import msgspec
import trustme

import acetasks
from acetasks import pool
from acetasks.testing import AceServer, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acetasks.testing import Fault, RecordedRequest

#: The token of every scene. It must turn up in nothing that the client shows.
CANARY = "canary-4f1d9c2e7ab3"
#: Tasks of a scene, and the limit of its waits in seconds.
COUNT = 50
LIMIT = 300.0
ALL_WELL = f"{COUNT} succeeded"
#: Seconds of each scene until its first and its last task ends.
FIRST_END, LAST_END = 20.0, 30.0


class Scene:
    """A service with tasks, and what goes wrong with it.

    Attributes:
        server: The service.
        ids: Its tasks.
        provider: Whose tasks they are.
        options: What the client is made with.
        client: The client, once it is open.
        stack: What is closed at the end of the scene.
        faults: What the service was told to do wrong.
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
        """Make the tasks of the scene."""
        step = (LAST_END - FIRST_END) / max(1, count - 1)
        for number in range(count):
            after = FIRST_END + number * step
            task = {"after": after, "id": f"task-{number:02}"} | options
            self.ids.append(self.server.add(self.provider, **task))

    def fail(self, **fault: object) -> None:
        """Script a fault of the provider's."""
        self.faults.append(self.server.fail(self.provider, **fault))

    def at(self, seconds: float, action: Callable[[], Awaitable[object]]) -> None:
        """Do something later, in seconds from the start."""

        async def later() -> None:
            await asyncio.sleep(seconds)
            await action()

        task = asyncio.create_task(later())
        self.stack.callback(task.cancel)


Arrange = Callable[[Scene], Awaitable[None] | None]


@dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        name: What goes wrong.
        arrange: Makes it go wrong.
        outcome: What `wait` gives, for each of the tasks.
        listed: What `as_completed` and `wait_all` give; None if the same.
        raised: What these two raise at the end, or empty.
        extra: Requests at most beyond those of a scene without a fault.
        late: Seconds at most beyond it.
        outages: Warnings at most: one for each time that the trouble begins to last.
        provider: Whose tasks are waited for.
        count: How many.
        tasks: How they are scripted.
    """

    name: str
    arrange: Arrange
    outcome: str = ALL_WELL
    listed: str | None = None
    raised: str = ""
    extra: int = 0
    late: float = 0.5
    outages: int = 1
    provider: str = "luma"
    count: int = COUNT
    tasks: dict[str, object] = field(default_factory=dict)


@dataclass
class Result:
    """What came of a row in one way of waiting.

    Attributes:
        outcome: How many tasks ended in which way.
        raised: The type of the error that ended it, or empty.
        requests: How many were sent, each attempt counted.
        seconds: Of virtual time, from the start to the end.
        errors: Every error that was raised.
        events: Every event that was told.
        reprs: What the client and its parts showed of themselves.
        made: How many tasks the service made of a submission.
        left: Tasks and connections that were left over.
        is_complete: Whether no task was reported twice, and an error has every task of its wait.
        was_hit: Whether everything that was to go wrong did.
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
        """Keep an event."""
        self.events.append(event)
        self.requests += isinstance(event, acetasks.RequestSent)


# The ways of waiting.


def count_up(kinds: Sequence[str]) -> str:
    """Tell how many there are of each kind."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(collections.Counter(kinds).items()))


async def by_wait(client: acetasks.Client, scene: Scene, result: Result) -> None:
    """Wait for every task by itself, all at once."""
    waits = [client.wait(scene.provider, task_id, timeout=LIMIT) for task_id in scene.ids]
    kinds = []
    for ended in await asyncio.gather(*waits, return_exceptions=True):
        if isinstance(ended, BaseException):
            result.errors.append(ended)
        kinds.append(type(ended).__name__ if isinstance(ended, BaseException) else str(ended.state))
    result.outcome = count_up(kinds)


async def by_as_completed(client: acetasks.Client, scene: Scene, result: Result) -> None:
    """Take tasks as they end."""
    ended: list[acetasks.Task] = []
    try:
        async for task in client.as_completed(scene.provider, scene.ids, timeout=LIMIT):
            ended.append(task)  # noqa: PERF401  # what came before an error counts
    except acetasks.AceTasksError as error:
        note_raised(result, error)
    result.is_complete = len({task.id for task in ended}) == len(ended)
    result.outcome = count_up([str(task.state) for task in ended])


async def by_wait_all(client: acetasks.Client, scene: Scene, result: Result) -> None:
    """Wait for all, and keep failures as values."""
    try:
        tasks = await client.wait_all(scene.provider, scene.ids, timeout=LIMIT, return_failed=True)
    except acetasks.AceTasksError as error:
        note_raised(result, error)
        tasks = [task for task in error.tasks if task.state.is_terminal]
        result.is_complete = [task.id for task in error.tasks] == scene.ids
    result.outcome = count_up([str(task.state) for task in tasks])


def note_raised(result: Result, error: acetasks.AceTasksError) -> None:
    """Keep an error that ended a wait."""
    result.raised = type(error).__name__
    result.errors.append(error)


# The faults.


def nothing(scene: Scene) -> None:
    """Let all be well."""


def faulty(**fault: object) -> Arrange:
    """Have the service answer badly."""
    return lambda scene: scene.fail(**fault)


def refused(scene: Scene) -> None:
    """Take the service away for a while: connections are refused."""
    scene.at(4, scene.server.stop)
    scene.at(24, scene.server.start)


class FailingResolver(aiohttp.abc.AbstractResolver):
    """Resolves no name some times, and then each to this machine."""

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


async def unresolved(scene: Scene) -> None:
    """Have the service's name not resolve for a while."""
    connector = aiohttp.TCPConnector(resolver=FailingResolver(3), use_dns_cache=False, force_close=True)
    scene.options["http"] = await scene.stack.enter_async_context(aiohttp.ClientSession(connector=connector))
    scene.options["base_url"] = scene.server.url.replace("127.0.0.1", "ace.localhost")


async def without_tls(scene: Scene) -> None:
    """Put the service behind TLS whose handshake fails for a while."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    failures = iter(range(3))
    context.sni_callback = lambda *_: None if next(failures, None) is None else ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE
    host, port = "127.0.0.1", int(scene.server.url.rpartition(":")[2])

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
    scene.stack.callback(front.close)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    connector = aiohttp.TCPConnector(ssl=trust, force_close=True, family=2)
    scene.options["http"] = await scene.stack.enter_async_context(aiohttp.ClientSession(connector=connector))
    scene.options["base_url"] = f"https://localhost:{front.sockets[0].getsockname()[1]}"


def with_limit(arrange: Arrange) -> Arrange:
    """Lower the limit of a body, so that no test has to send 64 MiB."""

    def lowered(scene: Scene) -> Awaitable[None] | None:
        scene.stack.enter_context(mock.patch.object(pool, "BODY_LIMIT", 1_000_000))
        return arrange(scene)

    return lowered


def faulty_until_date(scene: Scene) -> None:
    """Ask for a pause until a time of day, by a clock of the server's own."""
    sent, until = (email.utils.formatdate(1_700_000_000 + seconds, usegmt=True) for seconds in (0, 40))
    scene.fail(status=429, headers={"Retry-After": until, "Date": sent})


def in_items(change: Callable[[list[object]], object]) -> Callable[[object], object]:
    """Change the records of a batch answer."""

    def edit(answer: object) -> object:
        if not isinstance(answer, dict) or "items" not in answer:
            return answer
        return change(answer["items"])

    return edit


def shuffle_items(items: list[object]) -> object:
    """Answer in another order, with every record twice, a stranger's, and `total` in the place of `count`."""
    stranger = {"id": "stranger", "response": {"success": True, "video_url": "https://cdn.example/not-yours.mp4"}}
    return {"items": [stranger, *reversed(items), *items], "total": 12345}


def spoil_one(items: list[object]) -> object:
    """Make one record unreadable: a number that no float holds."""
    return msgspec.json.encode({"items": items}).replace(b'"created_at":', b'"created_at":1e999,"c":', 1)


def spoil(task_id: str) -> Callable[[object], object]:
    """Make one task's record nest without end, wherever it comes."""
    nested = b'{"id":"' + task_id.encode() + b'","request":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    def edit(answer: object) -> object:
        if isinstance(answer, dict) and "items" in answer:
            items = [item for item in answer["items"] if item["id"] != task_id]
            raw = [msgspec.Raw(nested)] if len(items) < len(answer["items"]) else []
            return msgspec.json.encode({"items": [*items, *raw]})
        return nested if isinstance(answer, dict) and answer.get("id") == task_id else answer

    return edit


def renewing(scene: Scene) -> None:
    """Have the token replaced at the service, and give the client what can fetch the new one."""
    tokens = iter((CANARY, f"{CANARY}-renewed"))

    async def provide() -> str:
        await asyncio.sleep(0.5)
        return next(tokens)

    async def replace() -> None:
        scene.server.token = f"{CANARY}-renewed"

    scene.options["token"] = provide
    scene.at(8, replace)


def revoked(scene: Scene) -> None:
    """Have the token refused from some time on."""

    async def replace() -> None:
        scene.server.token = "another"

    scene.at(8, replace)


class BrokenRandom(random.Random):
    """Randomness with a bug in it that shows after a while."""

    def __init__(self) -> None:
        super().__init__(1)
        self.left = 5

    def random(self) -> float:
        """Draw a number, a limited number of times."""
        self.left -= 1
        if self.left < 0:
            raise ZeroDivisionError("a bug in the loop")
        return super().random()


def broken(scene: Scene) -> None:
    """Have the poller hit a bug."""
    scene.options["rng"] = BrokenRandom()


def closed(scene: Scene) -> None:
    """Close the client while requests are under way that are never answered."""
    scene.fail(hang=math.inf, times=None, when=lambda request: request.time > 8)

    async def close() -> None:
        assert scene.client is not None
        await scene.client.close()

    scene.at(20, close)


def has(task_id: str, *, batch: bool = False) -> Callable[[RecordedRequest], bool]:
    """Choose the requests that a task is in, or only the batches."""
    return lambda seen: task_id in seen.ids and (len(seen.ids) > 1 or not batch)


def in_responses(**response: object) -> Callable[[object], object]:
    """Have every record of a batch answer say this and nothing else."""
    return in_items(lambda items: {"items": [{"id": item["id"], "response": response} for item in items]})


PAGE = "<!doctype html><title>One moment</title><p>Please wait."
JSON_CUT = b'{"items": [{"id": "task-00", "response": {"succ'
HUGE = b" " * 1_500_000
BOMB = {"body": gzip.compress(bytes(8_000_000)), "headers": {"Content-Encoding": "gzip"}}
#: The one id that something is wrong with.
BAD = "task-17"
HIDDEN = {"outcome": "not_found"}


# The outcomes: what `wait` gives, what the two others give, and what they raise.


def ends_with(error: str) -> tuple[str, str, str]:
    """Expect an error for all."""
    return f"{COUNT} {error}", "", error


def all_but(error: str) -> tuple[str, str, str]:
    """Expect an error for one, which is raised when the others have ended."""
    return f"1 {error}, {COUNT - 1} succeeded", f"{COUNT - 1} succeeded", error


def none_found(count: int) -> tuple[str, str]:
    """Expect that none is found."""
    return f"{count} TaskNotFoundError", f"{count} not_found"


ROWS = [
    Row("nothing", nothing),
    # The way there.
    Row("connections are refused for 20 s", refused, extra=4, late=4),
    Row("the name does not resolve, 3 times", unresolved, extra=2, late=1),
    Row("the TLS handshake fails, 3 times", without_tls, extra=2, late=1),
    Row("the connection is reset, 3 times", faulty(reset=True, times=3), extra=2, late=1),
    Row("no answer comes, 3 times", faulty(hang=math.inf, times=3), late=70),
    Row("the answer stops half-way, 3 times", faulty(truncate=0.5, times=3), extra=2, late=1),
    Row("the answer takes 20 s to drip in, 3 times", faulty(drip=20, times=3), late=40),
    Row("the answer takes 60 s to drip in, 3 times", faulty(drip=60, times=3), late=70),
    Row("the answer comes in 40 pieces, always", faulty(split=40, times=None)),
    # The service in trouble.
    Row("500, 3 times", faulty(status=500, times=3), extra=2, late=1),
    Row("502 with a gateway's page, 3 times", faulty(status=502, body=PAGE, times=3), extra=2, late=1),
    Row("503 with `Retry-After: 30`", faulty(status=503, headers={"Retry-After": "30"}), late=1),
    Row("504, 3 times", faulty(status=504, times=3), extra=2, late=1),
    Row("500 to every other request, by chance", faulty(status=500, rate=0.5), extra=9, late=9),
    Row("500 for a minute", faulty(status=500, times=None, when=lambda seen: seen.time < 60), extra=10, late=40),
    Row("500 for good", faulty(status=500, times=None), *ends_with("TaskTimeoutError"), extra=40, late=LIMIT),
    # Answers that are none.
    Row("200 with an HTML page, 3 times", faulty(body=PAGE, times=3), extra=2, late=1),
    Row("200 with an empty body, 3 times", faulty(body="", times=3), extra=2, late=1),
    Row("200 with JSON that is cut short, 3 times", faulty(body=JSON_CUT, times=3), extra=2, late=1),
    Row("200 with bytes that are no text, 3 times", faulty(body=b"\xff\xfe\x00\x80", times=3), extra=2, late=1),
    Row("JSON that calls itself text/html, always", faulty(headers={"Content-Type": "text/html"}, times=None)),
    Row("a body past the limit of size, 3 times", with_limit(faulty(body=HUGE, times=3)), extra=2, late=1),
    Row("a small body that unpacks past it, 3 times", with_limit(faulty(**BOMB, times=3)), extra=2, late=1),
    Row("a redirect", faulty(status=302, headers={"Location": "/there"}), *ends_with("BadRequestError")),
    # Too much asked.
    Row("429, 3 times", faulty(status=429, times=3), extra=2, late=2),
    Row("429 with `Retry-After: 40`", faulty(status=429, headers={"Retry-After": "40"}), late=11),
    Row("429 with `Retry-After` as a date in 40 s", faulty_until_date, late=11),
    Row("413 to more than 20 ids", faulty(status=413, times=None, when=lambda s: len(s.ids) > 20), extra=22, late=5),
    Row("answers are cut at 12 records", faulty(limit=12, times=None), extra=25, late=5),
    # One among many.
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
        outages=3,  # the others are answered in between
    ),
    Row("one record cannot be read, 3 times", faulty(edit=in_items(spoil_one), times=3), extra=3, late=1),
    Row("one record nests without end", faulty(edit=spoil(BAD), times=None), *all_but("ProtocolError"), extra=16),
    Row("another order, duplicates, strangers, `total`", faulty(edit=in_items(shuffle_items), times=None)),
    # Not found.
    Row("tasks show only after 8 s", nothing, tasks={"visible_after": 8.0}, late=1),
    Row("no task is known", nothing, *none_found(COUNT), tasks=HIDDEN),
    Row("no task is known: 404", nothing, *none_found(5), provider="maestro", count=5, tasks=HIDDEN, extra=10),
    Row("404: there is no such API", faulty(status=404, times=None), *ends_with("UnknownProviderError")),
    # Authority.
    Row("401 from the 8th second on", revoked, *ends_with("AuthenticationError")),
    Row("401, and a token provider has a new one", renewing, extra=1, late=2),
    Row("402", faulty(status=402, body={"error": "payment required"}), *ends_with("PermissionDeniedError")),
    Row("403", faulty(status=403, times=None), *ends_with("PermissionDeniedError")),
    # What records say.
    Row(
        "`success: false` and no more, for good",
        faulty(edit=in_responses(success=False), times=None),
        f"{COUNT} TaskFailedError",
        f"{COUNT} failed",
    ),
    Row(
        "a state that nobody has documented, for 12 s",
        faulty(edit=in_responses(state="dreaming"), times=None, when=lambda seen: seen.time < 12),
    ),
    # The client itself.
    Row("a bug in the poller", broken, *ends_with("AceTasksError")),
    Row("the client is closed, with requests under way", closed, *ends_with("ClientClosedError")),
]


# Submissions.


@dataclass(frozen=True)
class Submission:
    """A fault of one submission.

    Attributes:
        name: What goes wrong.
        arrange: Makes it go wrong.
        outcome: What `submit` gives.
        posts: How often it is sent, at most.
        made: How many tasks the service makes of it.
    """

    name: str
    arrange: Arrange
    outcome: str = "SubmissionUncertainError"
    posts: int = 1
    made: int = 0


async def refused_shortly(scene: Scene) -> None:
    """Take the service away for a second."""
    await scene.server.stop()
    scene.at(1, scene.server.start)


def closed_soon(scene: Scene) -> None:
    """Close the client while the submission is under way."""
    scene.fail(hang=math.inf)

    async def close() -> None:
        assert scene.client is not None
        await scene.client.close()

    scene.at(3, close)


async def renewed(scene: Scene) -> None:
    """Have the token replaced at the service before the submission."""
    renewing(scene)
    scene.server.token = f"{CANARY}-renewed"


SUBMISSIONS = [
    Submission("nothing", nothing, "accepted", made=1),
    Submission("connections are refused for 1 s", refused_shortly, "accepted", posts=4, made=1),
    Submission("connections are refused for good", lambda scene: scene.server.stop(), "TransportError", posts=4),
    Submission("the name does not resolve, 3 times", unresolved, "accepted", posts=4, made=1),
    Submission("the TLS handshake fails, 3 times", without_tls, "accepted", posts=4, made=1),
    Submission("the connection is reset once it is sent", faulty(reset=True), made=1),
    Submission("no answer comes", faulty(hang=math.inf), made=1),
    Submission("the answer stops half-way", faulty(truncate=0.5), made=1),
    Submission("the client is closed meanwhile", closed_soon, made=1),
    Submission("500 with the service's own error", faulty(status=500), "ServiceError"),
    Submission("502 with a gateway's page", faulty(status=502, body=PAGE)),
    Submission("503 with an empty body", faulty(status=503, body="")),
    Submission("504", faulty(status=504)),
    Submission("200 with an HTML page", faulty(body=PAGE)),
    Submission("200 with an empty body", faulty(body="")),
    Submission("200 with JSON that names no task", faulty(body={"success": True})),
    Submission("302", faulty(status=302, headers={"Location": "/there"}), "BadRequestError"),
    Submission("400", faulty(status=400), "BadRequestError"),
    Submission("401", faulty(status=401), "AuthenticationError"),
    Submission("401, and a token provider has a new one", renewed, "accepted", posts=2, made=1),
    Submission("403", faulty(status=403), "PermissionDeniedError"),
    Submission("429 with `Retry-After: 40`", faulty(status=429, headers={"Retry-After": "40"}), "RateLimitError"),
]


async def by_submit(client: acetasks.Client, scene: Scene, result: Result) -> None:
    """Submit one task."""
    try:
        await client.submit(scene.provider, {"prompt": "a cat"})
    except acetasks.AceTasksError as error:
        result.errors.append(error)
        result.outcome = type(error).__name__
    else:
        result.outcome = "accepted"
    result.made = scene.server.submissions


WAYS = {"wait": by_wait, "as_completed": by_as_completed, "wait_all": by_wait_all, "submit": by_submit}


async def measure(row: Row | Submission, way: str) -> Result:
    """Play a scene.

    Args:
        row: The fault.
        way: How its tasks are waited for, or `submit`.

    Returns:
        What came of it.
    """
    result = Result()
    loop = asyncio.get_running_loop()
    async with AceServer(token=CANARY, seed=1) as server:
        scene = Scene(server, row.provider if isinstance(row, Row) else "luma")
        async with scene.stack:
            if isinstance(row, Row):
                scene.add_tasks(row.count, **row.tasks)
            scene.options = {
                "token": CANARY,
                "base_url": server.url,
                "policy": acetasks.PollPolicy(interval=5),
                "rng": random.Random(1),
                "observers": [result],
            }
            arranging = row.arrange(scene)
            if arranging is not None:
                await arranging
            started = loop.time()
            async with acetasks.Client(**scene.options) as scene.client:
                await WAYS[way](scene.client, scene, result)
                result.seconds = loop.time() - started
                result.reprs += [repr(scene.client), repr(vars(scene.client))]
        await asyncio.sleep(0.01)
        result.was_hit = all(fault.hits for fault in scene.faults)
        result.left = [repr(task) for task in asyncio.all_tasks() - {asyncio.current_task()}]
        result.left += [f"{server.open_connections} connections"] if server.open_connections else []
    return result


def play(row: Row | Submission, way: str) -> Result:
    """Play a scene on a virtual clock of its own."""
    return run(measure(row, way))


def write_table() -> str:
    """Write what comes of every fault, in Markdown.

    Returns:
        A table of the waits, a blank line and a table of the submissions.
    """
    lines = [
        f"| what goes wrong | {COUNT} times `wait` | `as_completed`, `wait_all` | requests | seconds |",
        "|---|---|---|---:|---:|",
    ]
    for row in ROWS:
        each, listed = play(row, "wait"), play(row, "as_completed")
        outcomes = ", then ".join(
            f"`{part}`" if "Error" in part else part for part in (listed.outcome, listed.raised) if part
        )
        outcomes = "the same" if outcomes == each.outcome else outcomes
        lines.append(f"| {row.name} | {each.outcome} | {outcomes} | {each.requests} | {each.seconds:.0f} |")
    lines += ["", "| what goes wrong | what `submit` gives | times sent | tasks made |", "|---|---|---:|---:|"]
    for submission in SUBMISSIONS:
        result = play(submission, "submit")
        lines.append(f"| {submission.name} | {result.outcome} | {result.requests} | {result.made} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    logging.disable()
    sys.stdout.write(write_table() + "\n")


if __name__ == "__main__":
    main()
