"""Setup shared by `acetasks wait` and `acetasks get`: reads the task ids and builds the client."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from acetasks import Client, Event, Task, TaskChanged, TaskState, UnknownProviderError
from acetasks.cli.exit_codes import CommandError
from acetasks.providers import Service, lookup

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The id argument that selects stdin as the source of ids.
STDIN = "-"


class LastSeen:
    """Observer that stores the last seen version of each task of a command.

    Attributes:
        provider: The provider's slug.
        tasks: The tasks by id, in the order of the ids; pending until the first poll.
    """

    def __init__(self, provider: str, ids: Iterable[str]) -> None:
        self.provider = provider
        self.tasks = {task_id: Task(provider=provider, id=task_id, state=TaskState.PENDING) for task_id in ids}

    def on_event(self, event: Event) -> None:
        """Store a changed task."""
        if isinstance(event, TaskChanged):
            self.tasks[event.task.id] = event.task

    def count(self, state: TaskState) -> int:
        """Return the number of tasks in a state."""
        return sum(task.state is state for task in self.tasks.values())


def read_ids(arguments: Sequence[str]) -> list[str]:
    """Return the distinct task ids of a command, from its arguments or from the lines of stdin.

    Raises:
        CommandError: Stdin is not text or contains no id.
    """
    if list(arguments) != [STDIN]:
        return list(dict.fromkeys(arguments))
    try:
        lines = [line.strip() for line in sys.stdin]
    except UnicodeDecodeError as error:
        raise CommandError(f"cannot read task ids from stdin, expected text with one id per line: {error}") from error
    ids = list(dict.fromkeys(line for line in lines if line))
    if not ids:
        raise CommandError("no task ids on stdin, expected one id per line")
    return ids


def build_client(last_seen: LastSeen, base_url: str | None, *, allow_insecure: bool = False) -> Client:
    """Return a client for the tasks, and validate all arguments before any request is sent.

    Args:
        last_seen: The tasks; it is registered as an observer.
        base_url: Base URL of the provider's service, or None for the default.
        allow_insecure: As for `Client`.

    Returns:
        The client, not opened.

    Raises:
        CommandError: The provider's name, an id, the base URL or the token is invalid.
    """
    try:
        spec = lookup(last_seen.provider)
        is_useapi = spec.service is Service.USEAPI
        client = Client(
            base_url=None if is_useapi else base_url,
            useapi_base_url=base_url if is_useapi else None,
            observers=[last_seen],
            allow_insecure=allow_insecure,
        )
        for task_id in last_seen.tasks:
            client.handle(spec.slug, task_id)
    except (ValueError, UnknownProviderError) as error:
        raise CommandError(str(error)) from error
    return client
