"""Streams of ended tasks whose files are downloaded as they come."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from acetasks.errors import AceTasksError, DownloadError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from pathlib import Path

    from acetasks.models import Task


def with_paths(task: Task, paths: Mapping[int, Path]) -> Task:
    """Return a task whose artifacts have the paths of their files, by index."""
    artifacts = [
        msgspec.structs.replace(artifact, path=str(paths[index])) if index in paths else artifact
        for index, artifact in enumerate(task.artifacts)
    ]
    return msgspec.structs.replace(task, artifacts=tuple(artifacts))


async def download_each(
    stream: AsyncGenerator[Task, None], download: Callable[[Task], Awaitable[Mapping[int, Path]]]
) -> AsyncGenerator[Task, None]:
    """Yield the tasks of a stream, each when its files are complete; their artifacts have the paths.

    A task whose download fails is yielded without paths. The first of these errors is raised at the end, as is an
    error of the stream; until then the other downloads go on. Closing the iterator cancels them.
    """
    ended: asyncio.Queue[Task | None] = asyncio.Queue()
    downloads = _Downloads(stream, download, ended)
    reader = asyncio.create_task(downloads.read(), name="acetasks downloads")
    try:
        while (task := await ended.get()) is not None:
            yield task
        await reader
        if downloads.errors:
            for other in downloads.errors[1:]:
                downloads.errors[0].add_note(f"DownloadError: {other}")
            raise downloads.errors[0]
    finally:
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError, AceTasksError):
            await reader


class _Downloads:
    """The downloads of one stream.

    Attributes:
        errors: Errors of downloads so far.
    """

    def __init__(
        self,
        stream: AsyncGenerator[Task, None],
        download: Callable[[Task], Awaitable[Mapping[int, Path]]],
        ended: asyncio.Queue[Task | None],
    ) -> None:
        self._stream = stream
        self._download = download
        self._ended = ended
        self.errors: list[DownloadError] = []

    async def read(self) -> None:
        """Start a download for each task of the stream, and queue the task when it has ended; None at the end."""
        failure: AceTasksError | None = None
        try:
            async with asyncio.TaskGroup() as group, contextlib.aclosing(self._stream):
                try:
                    async for task in self._stream:
                        group.create_task(self._save(task))
                except AceTasksError as error:
                    failure = error  # raised when the running downloads have ended
        finally:
            self._ended.put_nowait(None)
        if failure is not None:
            raise failure

    async def _save(self, task: Task) -> None:
        try:
            task = with_paths(task, await self._download(task))
        except DownloadError as error:
            self.errors.append(error)
        self._ended.put_nowait(task)
