"""How a submission may end, on the virtual clock: the error, its note, the events, the log, and what is paid for.

`python tests/faults/ending_table.py` prints the table.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
from fault_table import CANARY, PAGE, Arrange, Scenario, closed_soon, failing_tls, faulty, nothing, refused_shortly

import acetasks
from acetasks.testing import AceServer, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@dataclass(frozen=True)
class Ending:
    """One way in which a submission ends.

    Attributes:
        name: Description of the way.
        arrange: Sets the fault up.
        call: Makes the submission.
        raised: The type of the exception that the caller gets; empty for none.
        note: What the exception names: the task's id, the path of a submission under way, or nothing.
        events: The events of the submission, in their order.
        warns: Whether the log has a warning of it.
        posts: The number of times it is sent.
        made: The number of tasks that the service creates.
    """

    name: str
    arrange: Arrange
    call: Callable[[acetasks.Client], Awaitable[object]]
    raised: str = ""
    note: str = ""
    events: str = ""
    warns: bool = False
    posts: int = 1
    made: int = 0


@dataclass
class Measured:
    """What a submission came to; an observer."""

    raised: str = ""
    note: str = ""
    warns: bool = False
    posts: int = 0
    made: int = 0
    seconds: float = 0.0
    errors: list[BaseException] = field(default_factory=list)
    events: list[acetasks.Event] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def on_event(self, event: acetasks.Event) -> None:
        """Keep the event."""
        self.events.append(event)

    @property
    def listed_events(self) -> str:
        """The names of the events that are about the submission itself."""
        kinds = acetasks.TaskSubmitted | acetasks.SubmissionUncertain
        return ", ".join(f"`{type(event).__name__}`" for event in self.events if isinstance(event, kinds))


async def submit(client: acetasks.Client) -> object:
    """Submit a task."""
    return await client.submit("luma", {"prompt": "a cat"})


def cancelled(seconds: float, call: Callable[[acetasks.Client], Awaitable[object]] = submit) -> Callable[..., object]:
    """Return a call that is cancelled after some seconds."""

    async def cancelled_call(client: acetasks.Client) -> None:
        async def work() -> object:
            return await call(client)

        task = asyncio.create_task(work())
        await asyncio.sleep(seconds)
        task.cancel()
        await task

    return cancelled_call


def cancelled_with_client(seconds: float) -> Callable[..., object]:
    """Return a call that is cancelled after some seconds, and whose client is closed at once."""

    async def closed_call(client: acetasks.Client) -> None:
        try:
            await cancelled(seconds)(client)
        finally:
            await client.close()

    return closed_call


def within(seconds: float, call: Callable[[acetasks.Client], Awaitable[object]] = submit) -> Callable[..., object]:
    """Return a call in a timeout of asyncio's."""

    async def limited_call(client: acetasks.Client) -> None:
        async with asyncio.timeout(seconds):
            await call(client)

    return limited_call


def running(timeout: float | None = None) -> Callable[..., object]:
    """Return a call of `run`."""

    async def run_call(client: acetasks.Client) -> object:
        return await client.run("luma", {"prompt": "a cat"}, timeout=timeout)

    return run_call


def endless(scenario: Scenario) -> None:
    """Let tasks take a day."""
    scenario.server.script("luma", after=86_400)


async def unconnected(scenario: Scenario) -> None:
    """Let connections hang: nothing answers the TLS handshake."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    scenario.stack.callback(server.close)
    scenario.options["base_url"] = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def reset_at_once(scenario: Scenario) -> None:
    """Reset each connection before the request is read."""

    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = await asyncio.start_server(reset, "127.0.0.1", 0)
    scenario.stack.callback(server.close)
    scenario.options["base_url"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def unresolved(scenario: Scenario) -> None:
    """Let the lookup of the name fail."""

    class Resolver(aiohttp.abc.AbstractResolver):
        async def resolve(self, *_: object, **__: object) -> list[aiohttp.abc.ResolveResult]:
            raise OSError(-2, "no such host")

        async def close(self) -> None:
            pass

    connector = aiohttp.TCPConnector(resolver=Resolver(), use_dns_cache=False)
    http = aiohttp.ClientSession(connector=connector)
    scenario.stack.push_async_callback(http.close)
    scenario.options |= {"http": http, "base_url": "http://ace.localhost"}


def too_few_threads(scenario: Scenario) -> None:
    """Let the lookup of the name fail twice, for want of a thread."""
    faults = [RuntimeError("can't start new thread")] * 2
    loop = asyncio.get_running_loop()
    getaddrinfo = loop.getaddrinfo

    async def scarce(*args: object, **options: object) -> object:
        if faults:
            raise faults.pop()
        return await getaddrinfo(*args, **options)

    loop.getaddrinfo = scarce
    scenario.stack.callback(setattr, loop, "getaddrinfo", getaddrinfo)
    scenario.options["base_url"] = scenario.server.url.replace("127.0.0.1", "localhost")


def close_at(seconds: float, scenario: Scenario) -> None:
    """Close the client, which is opened later, after some seconds."""

    async def close() -> None:
        assert scenario.client is not None
        await scenario.client.close()

    scenario.at(seconds, close)


async def close_unconnected(scenario: Scenario) -> None:
    """Close the client while it connects."""
    await unconnected(scenario)
    close_at(3, scenario)


def close_endless(scenario: Scenario) -> None:
    """Close the client while it waits."""
    endless(scenario)
    close_at(60, scenario)


SUBMITTED, UNCERTAIN = "`TaskSubmitted`", "`SubmissionUncertain`"
LOST = {"raised": "SubmissionUncertainError", "events": UNCERTAIN, "warns": True}
ENDINGS = [
    Ending("accepted", nothing, submit, events=SUBMITTED, made=1),
    Ending("cancelled before it was sent", unconnected, cancelled(3), "CancelledError", posts=0),
    Ending(
        "cancelled after it was sent, answered 5 s later",
        faulty(hang=8),
        cancelled(3),
        "CancelledError",
        "path",
        SUBMITTED,
        warns=True,
        made=1,
    ),
    Ending(
        "cancelled after it was sent, never answered",
        faulty(hang=math.inf),
        cancelled(3),
        "CancelledError",
        "path",
        UNCERTAIN,
        warns=True,
        made=1,
    ),
    Ending(
        "cancelled after it was sent, refused with 429",
        faulty(status=429, hang=8),
        cancelled(3),
        "CancelledError",
        "path",
        "",
        warns=True,
    ),
    Ending(
        "cancelled and its client closed, answered 0.3 s later",
        faulty(hang=3.3),
        cancelled_with_client(3),
        "CancelledError",
        "path",
        SUBMITTED,
        warns=True,
        made=1,
    ),
    Ending(
        "cancelled and its client closed, never answered",
        faulty(hang=math.inf),
        cancelled_with_client(3),
        "CancelledError",
        "path",
        UNCERTAIN,
        warns=True,
        made=1,
    ),
    Ending(
        "`asyncio.timeout`, answered later",
        faulty(hang=8),
        within(3),
        "TimeoutError",
        "path",
        SUBMITTED,
        warns=True,
        made=1,
    ),
    Ending(
        "`asyncio.timeout` around `run`, while it waits",
        endless,
        within(60, running()),
        "TimeoutError",
        "id",
        SUBMITTED,
        warns=True,
        made=1,
    ),
    Ending("`run(timeout=)` before it was sent", unconnected, running(3), "TransportError", posts=0),
    Ending(
        "`run(timeout=)` after it was sent, answered later",
        faulty(hang=8),
        running(3),
        "SubmissionUncertainError",
        "path",
        SUBMITTED,
        warns=True,
        made=1,
    ),
    Ending("`run(timeout=)` while it waits", endless, running(60), "TaskTimeoutError", "id", SUBMITTED, made=1),
    Ending("`submit_timeout`", faulty(hang=math.inf), submit, note="path", made=1, **LOST),
    Ending("the client is closed before it was sent", close_unconnected, submit, "ClientClosedError", posts=0),
    Ending("the client is closed after it was sent", closed_soon, submit, note="path", made=1, **LOST),
    Ending(
        "the client is closed while `run` waits",
        close_endless,
        running(),
        "ClientClosedError",
        "id",
        SUBMITTED,
        warns=True,
        made=1,
    ),
    Ending("429 once", faulty(status=429), submit, events=SUBMITTED, warns=True, posts=2, made=1),
    Ending(
        "429 forever",
        lambda scenario: scenario.fail(status=429, times=None),
        submit,
        "RateLimitError",
        warns=True,
        posts=4,
    ),
    Ending("400", faulty(status=400), submit, "BadRequestError"),
    Ending("402", faulty(status=402), submit, "PermissionDeniedError"),
    Ending("500 of the service", faulty(status=500), submit, "ServiceError"),
    Ending("502 of a gateway", faulty(status=502, body=PAGE), submit, note="path", **LOST),
    Ending("200 of a gateway", faulty(body=PAGE), submit, note="path", **LOST),
    Ending("reset before the request is read", reset_at_once, submit, note="path", posts=0, **LOST),
    Ending("reset after the request was read", faulty(reset=True), submit, note="path", made=1, **LOST),
    Ending("cut off in the middle of the response", faulty(truncate=0.5), submit, note="path", made=1, **LOST),
    Ending("connections are refused for 1 s", refused_shortly, submit, events=SUBMITTED, made=1),
    Ending("the TLS handshake fails, 3 times", failing_tls, submit, events=SUBMITTED, made=1),
    Ending("the TLS handshake hangs forever", unconnected, submit, "TransportError", posts=0),
    Ending("the name does not resolve", unresolved, submit, "TransportError", posts=0),
    Ending("no thread to resolve the name, twice", too_few_threads, submit, events=SUBMITTED, made=1),
]


class _Warnings(logging.Handler):
    """Keeps the texts of warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning."""
        self.texts.append(record.getMessage())


def find_note(error: BaseException, made: list[str]) -> str:
    """Return what an exception and its causes name: a task's id, else the path of a submission, else nothing."""
    texts, current = "", error
    while current is not None:
        texts += "\n".join([str(current), *getattr(current, "__notes__", [])])
        current = current.__cause__
    if any(task_id in texts for task_id in made):
        return "id"
    may_be_paid = "may have been accepted" in texts or "may or may not have been accepted" in texts
    return "path" if may_be_paid and "/luma/videos" in texts else ""


async def measure(ending: Ending) -> Measured:
    """Submit once and wait until nothing of it is left."""
    result, handler = Measured(), _Warnings()
    async with AceServer(token=CANARY, seed=1) as server:
        scenario = Scenario(server, "luma")
        async with scenario.stack:
            scenario.options = {"token": CANARY, "base_url": server.url, "rng": random.Random(1)}
            arranging = ending.arrange(scenario)
            if arranging is not None:
                await arranging
            started = asyncio.get_running_loop().time()
            logging.getLogger("acetasks").addHandler(handler)
            try:
                async with acetasks.Client(observers=[result], **scenario.options) as scenario.client:
                    try:
                        await ending.call(scenario.client)
                    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # any end is measured
                        result.errors.append(error)
                        result.raised = type(error).__name__
                    result.seconds = asyncio.get_running_loop().time() - started
                    await asyncio.sleep(30)  # longer than an abandoned submission is awaited
                    tasks = asyncio.all_tasks() - {asyncio.current_task()}
                    result.left += [task.get_name() for task in tasks if task.get_name().startswith("acetasks")]
            finally:
                logging.getLogger("acetasks").removeHandler(handler)
            result.note = find_note(result.errors[0], list(server.tasks)) if result.errors else ""
            result.texts = [*handler.texts, *map(repr, result.events), *map(repr, result.errors)]
            result.warns, result.made = bool(handler.texts), server.submissions
            result.posts = sum(request.path == "/luma/videos" for request in server.requests)
    return result


def write_ending_table() -> str:
    """Return the table as Markdown."""
    lines = [
        "| a submission is | raised | it names | events | warning | times sent | tasks created |",
        "|---|---|---|---|---|---:|---:|",
    ]
    for ending in ENDINGS:
        result = run(measure(ending))
        columns = (
            ending.name,
            f"`{result.raised}`" if result.raised else "",
            {"id": "the task's id", "path": "the path", "": ""}[result.note],
            result.listed_events,
            "yes" if result.warns else "",
            str(result.posts),
            str(result.made),
        )
        lines.append(f"| {' | '.join(columns)} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    logging.getLogger("acetasks").propagate = False
    sys.stdout.write(write_ending_table() + "\n")


if __name__ == "__main__":
    main()
