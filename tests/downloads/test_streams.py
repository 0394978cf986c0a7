"""Streams of tasks with downloads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from download_support import new_task
from support import now

import acetasks
from acetasks._downloads import download_each

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


async def ending(*ends: tuple[str, float], error: Exception | None = None) -> AsyncGenerator[acetasks.Task, None]:
    """Yield tasks at given times, then raise an error if there is one."""
    for task_id, time in ends:
        await asyncio.sleep(time - now())
        yield new_task("https://f.example/a", id=task_id)
    if error is not None:
        raise error


async def download(task: acetasks.Task) -> dict[int, Path]:
    """Take as many seconds as the task's id says; fail if it begins with a dash."""
    seconds = float(task.id)
    await asyncio.sleep(abs(seconds))
    if seconds < 0:
        raise acetasks.DownloadError(f"no file {task.id}", task=task, artifact=task.artifacts[0])
    return {0: Path(task.id)}


async def test_order_of_completion() -> None:
    """Tasks come when their files are complete, with the paths; downloads run beside each other and the wait."""
    stream = download_each(ending(("9", 0), ("1", 2), ("2", 4)), download)
    seen = [(task.id, task.artifacts[0].path, now()) async for task in stream]
    assert seen == [("1", "1", 3), ("2", "2", 6), ("9", "9", 9)]


async def test_failed_download() -> None:
    """A task whose download fails comes without a path; the first error is raised at the end, with the others."""
    stream = download_each(ending(("-2", 0), ("-1", 0), ("3", 0)), download)
    seen = [await anext(stream) for _ in range(3)]
    with pytest.raises(acetasks.DownloadError, match="no file -1") as caught:
        await anext(stream)
    assert [(task.id, task.artifacts[0].path) for task in seen] == [("-1", None), ("-2", None), ("3", "3")]
    assert caught.value.__notes__ == ["DownloadError: no file -2"]


async def test_failed_wait() -> None:
    """An error of the wait is raised when the running downloads have ended."""
    stream = download_each(ending(("5", 1), error=acetasks.ClientClosedError("closed")), download)
    assert ((await anext(stream)).id, now()) == ("5", 6)
    with pytest.raises(acetasks.ClientClosedError):
        await anext(stream)


async def test_closed_early() -> None:
    """Closing the iterator cancels the downloads and closes the stream."""
    source = ending(("1", 0), ("1000", 0), ("1", 5000))
    stream = download_each(source, download)
    assert (await anext(stream)).id == "1"
    await stream.aclose()
    assert now() == 1
    assert len(asyncio.all_tasks()) == 1
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_bug_in_a_download() -> None:
    """Another exception in a download ends the iteration with it, and leaves nothing running."""

    async def fail(_: acetasks.Task) -> dict[int, Path]:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        async for _ in download_each(ending(("1", 0), ("1", 5000)), fail):
            pass
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
    assert len(asyncio.all_tasks()) == 1
