"""Tasks as they are now, each polled once, whether they are awaited or not."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import anyio
import msgspec

from acetasks._http import build_trace_lookup, read_traced
from acetasks.errors import AceTasksError
from acetasks.models import TaskState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acetasks._polling.limited_requests import LimitedRequests
    from acetasks.models import Task
    from acetasks.providers import ProviderSpec


async def retrieve_tasks(requests: LimitedRequests, spec: ProviderSpec, ids: Sequence[str]) -> dict[str, Task]:
    """Return tasks of a provider by their ids, in as few requests as it allows.

    Args:
        requests: Sends the requests.
        spec: The provider.
        ids: Valid ids, without duplicates.

    Raises:
        AceTasksError: A poll failed: the error of the first id that has one.
    """
    size = requests.largest_batch(spec)
    tasks: dict[str, Task] = {}
    errors: dict[str, AceTasksError] = {}

    async def poll(batch: Sequence[str]) -> None:
        result = await requests.poll_once(spec, batch)
        tasks.update((task_id, status.task) for task_id, status in result.statuses.items())
        if len(batch) > 1:  # only a poll of the task alone says that there is none
            for task_id in result.missing:
                group.start_soon(poll, [task_id])
        errors.update(result.errors)

    async with anyio.create_task_group() as group:
        for start in range(0, len(ids), size):
            group.start_soon(poll, ids[start : start + size])
    if errors:
        raise next(errors[task_id] for task_id in ids if task_id in errors)
    if lost := [task_id for task_id in ids if task_id not in tasks]:
        # A task group ends without an error if something else cancels a poll.
        raise AceTasksError(f"{spec.slug}: the poll of task {lost[0]!r} ended without a result: try again")
    return {task_id: _as_polled_once(spec, task) for task_id, task in tasks.items()}


async def retrieve_traced(requests: LimitedRequests, spec: ProviderSpec, trace_id: str) -> Task:
    """Return the task of the submission with a trace id; without an id if it is not found.

    Raises:
        AceTasksError: The request failed.
    """
    request = build_trace_lookup(spec, trace_id)
    return _as_polled_once(spec, await requests.send(spec, request, functools.partial(read_traced, spec, trace_id)))


def _as_polled_once(spec: ProviderSpec, task: Task) -> Task:
    """Return a task as a single poll may report it: one poll cannot find that a late reported task does not exist."""
    if task.state is TaskState.NOT_FOUND and spec.missing_grace > 0:
        return msgspec.structs.replace(task, state=TaskState.PENDING)
    return task
