"""`acetasks wait` and `acetasks get`: tasks by their ids, each to its own end.

Each id is waited for by itself, so that one that cannot be asked for takes none of the others with it. The client asks
for them together all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

import msgspec
from rich.progress_bar import ProgressBar
from rich.table import Table

from acetasks._validation import check_timeout
from acetasks.cli.output import encode_line, format_line
from acetasks.cli.running import FINAL_ERRORS, CommandError, Exit
from acetasks.cli.words import clock, seconds_in_words
from acetasks.client import Client
from acetasks.errors import (
    AceTasksError,
    BadRequestError,
    ProtocolError,
    TaskFailedError,
    TaskNotFoundError,
    TaskTimeoutError,
    UnknownProviderError,
)
from acetasks.events import Event, TaskChanged
from acetasks.models import Task, TaskState
from acetasks.providers import Service, lookup

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from acetasks.cli.screen import Screen

#: As the only id: the ids are read from stdin.
STDIN = "-"


class Ended(msgspec.Struct, frozen=True):
    """How the waiting for one task, or the look at it, ended.

    Attributes:
        task: As it was last seen.
        limit: The seconds that passed first, or None.
        error: Why it cannot be asked for, or None.
    """

    task: Task
    limit: float | None = None
    error: AceTasksError | None = None


class Lookout:
    """An observer: every task as it was last seen."""

    def __init__(self, provider: str, ids: Sequence[str]) -> None:
        self.provider = provider
        self.seen = {task_id: Task(provider=provider, id=task_id, state=TaskState.PENDING) for task_id in ids}

    def on_event(self, event: Event) -> None:
        """Keep what was seen."""
        if isinstance(event, TaskChanged):
            self.seen[event.task.id] = event.task

    def count(self, *states: TaskState) -> int:
        """Count the tasks in some states."""
        return sum(task.state in states for task in self.seen.values())


class Report:
    """What a command prints of its tasks, and the exit code that they add up to."""

    def __init__(self, screen: Screen, *, as_json: bool) -> None:
        self.verdict = Exit.OK
        self.ended = 0
        self._screen = screen
        self._as_json = as_json

    def take(self, ended: Ended) -> None:
        """Print a task."""
        self.ended += 1
        task, error, limit = ended.task, ended.error, ended.limit
        if self._as_json:
            self._screen.write_json(encode_line(task, error))
        elif limit is None:
            self._screen.write(format_line(task, error))
        if limit is not None:
            state = f"still {task.state.value} after {seconds_in_words(limit)}; the remote task goes on"
            self._screen.note(f"{task.provider} {task.id}: {state}")
            self.verdict = max(self.verdict, Exit.TIMED_OUT)
        elif error is not None or (task.state.is_terminal and task.state is not TaskState.SUCCEEDED):
            self.verdict = max(self.verdict, Exit.FAILED)


def read_ids(ids: Sequence[str]) -> list[str]:
    """Read the ids of a command: its arguments, or the lines of stdin; each once.

    Raises:
        CommandError: Stdin has none.
    """
    if list(ids) != [STDIN]:
        return list(dict.fromkeys(ids))
    try:
        lines = [line.strip() for line in sys.stdin]
    except UnicodeDecodeError as error:
        raise CommandError(f"the ids on stdin cannot be read: {error}") from error
    found = list(dict.fromkeys(line for line in lines if line))
    if not found:
        raise CommandError("there is no id on stdin: give one a line")
    return found


def open_client(
    lookout: Lookout,
    ids: Iterable[str],
    base_url: str | None,
    timeout: float | None = None,
    *,
    allow_insecure: bool = False,
) -> Client:
    """Set up a client, and refuse what could not be asked for before anything is sent.

    Args:
        lookout: Its observer.
        ids: What is to be asked for.
        base_url: Of the provider's service, or None for the usual one.
        timeout: As for `wait`.
        allow_insecure: As for `Client`.

    Returns:
        The client, not opened.

    Raises:
        CommandError: The provider's name, an id, the address, the token or the limit can be none.
    """
    try:
        spec = lookup(lookout.provider)
        is_useapi = spec.service is Service.USEAPI
        client = Client(
            base_url=None if is_useapi else base_url,
            useapi_base_url=base_url if is_useapi else None,
            observers=[lookout],
            allow_insecure=allow_insecure,
        )
        check_timeout(timeout)
        for task_id in ids:
            client.handle(spec.slug, task_id)
    except (ValueError, UnknownProviderError) as error:
        raise CommandError(str(error)) from error
    return client


async def wait(
    client: Client, lookout: Lookout, ids: Sequence[str], *, timeout: float | None, report: Report, screen: Screen
) -> Exit:
    """Wait for tasks, and report each as it ends.

    Args:
        client: Not opened.
        lookout: Its observer.
        ids: Each once.
        timeout: Seconds, or None for no limit.
        report: Takes what has ended.
        screen: Where to show the progress.

    Returns:
        The exit code.

    Raises:
        AceTasksError: What no id is spared: the token is not good, or there is no such provider.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(client)
        if screen.is_live:
            await stack.enter_async_context(screen.showing(lambda: _draw(lookout, report, loop.time() - start)))
        stream = each_ended(client, lookout, ids, timeout)
        async for ended in await stack.enter_async_context(contextlib.aclosing(stream)):
            report.take(ended)
            if not screen.is_live and ended.limit is None:
                how = ended.task.state.value if ended.error is None else "cannot be asked for"
                screen.note(f"{report.ended} of {len(ids)} ended: {ended.task.id} {how}")
    return report.verdict


async def each_ended(
    client: Client, lookout: Lookout, ids: Sequence[str], timeout: float | None
) -> AsyncGenerator[Ended, None]:
    """Wait for each task by itself.

    Args:
        client: An open one.
        lookout: Its observer.
        ids: Each once.
        timeout: Seconds, or None for no limit.

    Yields:
        How the waiting for each has ended, in the order in which it does.

    Raises:
        AceTasksError: What no id is spared.
    """
    waits = [asyncio.create_task(_wait_for(client, lookout, task_id, timeout)) for task_id in ids]
    try:
        for ended in asyncio.as_completed(waits):
            yield await ended
    finally:
        for one in waits:
            one.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _wait_for(client: Client, lookout: Lookout, task_id: str, timeout: float | None) -> Ended:
    try:
        return Ended(await client.wait(lookout.provider, task_id, timeout=timeout))
    except (TaskFailedError, TaskNotFoundError) as error:
        return Ended(error.task)
    except TaskTimeoutError as error:
        return Ended(error.task, limit=error.timeout)
    except FINAL_ERRORS:
        raise
    except AceTasksError as error:
        return Ended(lookout.seen[task_id], error=error)


async def look(client: Client, lookout: Lookout, ids: Sequence[str], report: Report) -> Exit:
    """Look at tasks once, and report each.

    Args:
        client: Not opened.
        lookout: Its observer.
        ids: Each once.
        report: Takes what was seen.

    Returns:
        The exit code.

    Raises:
        AceTasksError: None of them could be asked for.
    """
    async with client:
        try:
            found = [Ended(task) for task in await client.retrieve_batch(lookout.provider, ids)]
        except (BadRequestError, ProtocolError):
            # One of them cannot be asked for, or its record cannot be read: which, each alone will tell.
            found = [await _look_at(client, lookout, task_id) for task_id in ids]
    for ended in found:
        report.take(ended)
    return report.verdict


async def _look_at(client: Client, lookout: Lookout, task_id: str) -> Ended:
    try:
        return Ended(await client.retrieve(lookout.provider, task_id))
    except (BadRequestError, ProtocolError) as error:
        return Ended(lookout.seen[task_id], error=error)


def _draw(lookout: Lookout, report: Report, elapsed: float) -> Table:
    """Draw the progress of a wait: a bar, and how the unfinished tasks stand."""
    total = len(lookout.seen)
    waiting = lookout.count(TaskState.PENDING), lookout.count(TaskState.RUNNING)
    standing = ", ".join(
        f"{number} {name}" for number, name in zip(waiting, ("pending", "running"), strict=True) if number
    )
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row(
        lookout.provider,
        ProgressBar(
            total, report.ended, width=24, style="bright_black", complete_style="green", finished_style="green"
        ),
        f"{report.ended} of {total}",
        standing,
        clock(elapsed),
    )
    return table
