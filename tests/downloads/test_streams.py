"""Streams of tasks with downloads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from download_support import new_task
from support import now

import acetasks
from acetasks._downloads import download_each, with_paths

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


Item = tuple[tuple[str, str], acetasks.Task]


async def ending(*ends: tuple[str, float], error: Exception | None = None) -> AsyncGenerator[Item, None]:
    """Yield tasks at given times with their keys, then raise an error if there is one."""
    for task_id, time in ends:
        await asyncio.sleep(time - now())
        yield ("luma", task_id), new_task("https://f.example/a", id=task_id)
    if error is not None:
        raise error


async def save(task: acetasks.Task) -> acetasks.Task:
    """Take as many seconds as the task's id says; fail if it begins with a dash."""
    seconds = float(task.id)
    await asyncio.sleep(abs(seconds))
    if seconds < 0:
        raise acetasks.DownloadError(f"no file {task.id}", task=task, artifact=task.artifacts[0])
    return with_paths(task, {0: Path(task.id)})


def keys(*ids: str) -> list[tuple[str, str]]:
    """Return the keys of some ids."""
    return [("luma", task_id) for task_id in ids]


async def test_order_of_completion() -> None:
    """Tasks come when their files are complete, with the paths; downloads run beside each other and the wait."""
    stream = download_each(ending(("9", 0), ("1", 2), ("2", 4)), keys("9", "1", "2"), save)
    seen = [(key[1], task.artifacts[0].path, now()) async for key, task in stream]
    assert seen == [("1", "1", 3), ("2", "2", 6), ("9", "9", 9)]


async def test_failed_download() -> None:
    """A task whose download fails comes without a path; the first error is raised at the end, with all tasks."""
    stream = download_each(ending(("-2", 0), ("-1", 0), ("3", 0)), keys("3", "-1", "-2", "3"), save)
    seen = [(await anext(stream))[1] for _ in range(3)]
    with pytest.raises(acetasks.DownloadError, match="no file -1") as caught:
        await anext(stream)
    assert [(task.id, task.artifacts[0].path) for task in seen] == [("-1", None), ("-2", None), ("3", "3")]
    assert caught.value.__notes__ == ["DownloadError: no file -2"]
    assert caught.value.tasks == (seen[2], seen[0], seen[1], seen[2])


async def test_failed_wait() -> None:
    """An error of the wait is raised when the running downloads have ended; its tasks have the paths of their files."""
    error = acetasks.ClientClosedError("closed")
    error.tasks = new_task("https://f.example/a", id="7"), new_task("https://f.example/a", id="5")
    stream = download_each(ending(("5", 1), ("-1", 1), error=error), keys("7", "5"), save)
    assert (await anext(stream))[0] == ("luma", "-1")
    assert ((await anext(stream))[0], now()) == (("luma", "5"), 6)
    with pytest.raises(acetasks.ClientClosedError) as caught:
        await anext(stream)
    assert [task.artifacts[0].path for task in caught.value.tasks] == [None, "5"]
    assert caught.value.__notes__ == ["DownloadError: no file -1"]


async def test_closed_early() -> None:
    """Closing the iterator cancels the downloads and closes the stream."""
    source = ending(("1", 0), ("1000", 0), ("1", 5000))
    stream = download_each(source, keys("1", "1000", "1"), save)
    assert (await anext(stream))[0] == ("luma", "1")
    await stream.aclose()
    assert now() == 1
    assert len(asyncio.all_tasks()) == 1
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_bug_in_a_download() -> None:
    """Another exception in a download ends the iteration with it, and leaves nothing running."""

    async def fail(_: acetasks.Task) -> acetasks.Task:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        async for _ in download_each(ending(("1", 0), ("1", 5000)), keys("1", "1"), fail):
            pass
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
    assert len(asyncio.all_tasks()) == 1


async def test_cancelled_while_it_closes() -> None:
    """A cancellation that comes while the iterator is closed is not lost, and leaves nothing running."""

    async def close_slowly(_: acetasks.Task) -> acetasks.Task:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(10)
        raise AssertionError

    stream = download_each(ending(("1", 0)), keys("1"), close_slowly)
    reading = asyncio.create_task(anext(stream))
    await asyncio.sleep(1)
    reading.cancel()
    await asyncio.sleep(1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert now() == 2
    await asyncio.sleep(20)
    assert len(asyncio.all_tasks()) == 1
