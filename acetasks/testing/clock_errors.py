"""Errors of the virtual clock, each with the tasks that were waiting."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class StuckTask:
    """A task that was waiting when the virtual clock was stuck.

    Attributes:
        name: The task's name.
        frames: Its stack as `file:line in function`, from its own coroutine to the innermost await.
    """

    name: str
    frames: tuple[str, ...]


class VirtualClockError(Exception):
    """Base class of the errors that end a run on the virtual clock; a retry does not help.

    Attributes:
        time: The virtual time, in seconds.
        tasks: The unfinished tasks, oldest first if they have their default names.
    """

    def __init__(self, reason: str, *, time: float, tasks: tuple[StuckTask, ...]) -> None:
        self.time = time
        self.tasks = tasks
        waiting = "".join("\n    ".join((f"\n  {task.name}", *task.frames)) for task in tasks)
        super().__init__(f"at virtual time {time!r} s {reason}; waiting tasks:{waiting or ' none'}")


class VirtualClockDeadlockError(VirtualClockError):
    """Raised when nothing on a virtual clock can wake a task, or no end is in sight; a retry does not help."""


class VirtualClockAddressError(VirtualClockError):
    """Raised when code on a virtual clock connects to an address that cannot respond or must not be used.

    That is a host of the public internet that is not allowed, or a simulated service whose event loop does not run.
    """


def list_stuck_tasks(loop: asyncio.AbstractEventLoop) -> tuple[StuckTask, ...]:
    """Return the unfinished tasks of a loop."""
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: (len(task.get_name()), task.get_name()))
    return tuple(StuckTask(task.get_name(), tuple(_list_frames(task.get_coro()))) for task in tasks)


def _list_frames(awaited: object) -> Iterator[str]:
    # Task.get_stack() ends at the outermost coroutine, which seldom shows what is awaited.
    while awaited is not None:
        prefix = next((prefix for prefix in ("cr", "gi", "ag") if hasattr(awaited, f"{prefix}_frame")), None)
        frame = getattr(awaited, f"{prefix}_frame", None)
        if frame is None:
            return
        yield f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
        awaited = getattr(awaited, "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await")
