"""Streams of ended tasks, with the download of their files."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from acetasks.errors import AceTasksError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from acetasks._scheduling import Key
    from acetasks.models import Task


def with_paths(task: Task, paths: Mapping[int, Path]) -> Task:
    """Return a task with the paths of files, by index, in its artifacts."""
    artifacts = [
        msgspec.structs.replace(artifact, path=str(paths[index])) if index in paths else artifact
        for index, artifact in enumerate(task.artifacts)
    ]
    return msgspec.structs.replace(task, artifacts=tuple(artifacts))


async def download_each(
    stream: AsyncGenerator[tuple[Key, Task], None],
    keys: Sequence[Key],
    save: Callable[[Task], Awaitable[Task]],
) -> AsyncGenerator[tuple[Key, Task], None]:
    """Yield the tasks of a stream with their keys, each when its files are complete, with the paths in its artifacts.

    After a failed download the task is yielded without paths. The first such error is raised at the end, as is an error
    of the stream; until then the other downloads continue. Closing the iterator cancels them.

    Args:
        stream: Keys and ended tasks.
        keys: All keys of the stream, in the order for the `tasks` of errors.
        save: Downloads the files of a task, and returns it with their paths.
    """
    downloads = _Downloads(stream, save)
    reader = asyncio.create_task(downloads.read(), name="acetasks downloads")
    try:
        while (item := await downloads.ended.get()) is not None:
            yield item
        await reader
    except AceTasksError as error:
        # The error of the wait has the tasks without their paths.
        error.tasks = tuple(downloads.seen.get(key, task) for key, task in zip(keys, error.tasks, strict=False))
        _add_notes(error, downloads.errors)
        raise
    else:
        if downloads.errors:
            first = downloads.errors[0]
            first.tasks = tuple(downloads.seen[key] for key in keys)
            _add_notes(first, downloads.errors[1:])
            raise first
    finally:
        reader.cancel()
        await asyncio.wait([reader])
        if not reader.cancelled():
            reader.exception()  # asyncio logs one that was never retrieved


def _add_notes(error: AceTasksError, others: Iterable[AceTasksError]) -> None:
    for other in others:
        error.add_note(f"{type(other).__name__}: {other}")


class _Downloads:
    """The downloads of one stream.

    Attributes:
        ended: Tasks after their downloads, with their keys; None at the end.
        seen: The same tasks so far, by key.
        errors: Errors of downloads so far.
    """

    def __init__(
        self,
        stream: AsyncGenerator[tuple[Key, Task], None],
        save: Callable[[Task], Awaitable[Task]],
    ) -> None:
        self._stream = stream
        self._save = save
        self.ended: asyncio.Queue[tuple[Key, Task] | None] = asyncio.Queue()
        self.seen: dict[Key, Task] = {}
        self.errors: list[AceTasksError] = []

    async def read(self) -> None:
        """Start a download for each task of the stream, and queue the task when it has ended; None at the end."""
        failure: AceTasksError | None = None
        try:
            async with asyncio.TaskGroup() as group, contextlib.aclosing(self._stream):
                try:
                    async for key, task in self._stream:
                        group.create_task(self._handle(key, task))
                except AceTasksError as error:
                    failure = error  # raised when the running downloads have ended
        finally:
            self.ended.put_nowait(None)
        if failure is not None:
            raise failure

    async def _handle(self, key: Key, task: Task) -> None:
        try:
            task = await self._save(task)
        except AceTasksError as error:  # of the download, or the client was closed
            self.errors.append(error)
        self.seen[key] = task
        self.ended.put_nowait((key, task))
