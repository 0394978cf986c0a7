"""A board on a clock that the test moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acetasks import Durations, Task, TaskChanged, TaskState
from acetasks.cli.board.model import BoardModel

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_780_000_000.0


class Clock:
    """Time of day, and loop time, which runs along from 100."""

    def __init__(self) -> None:
        self.now = NOW

    def wall(self) -> float:
        """Return the time of day."""
        return self.now

    def loop(self) -> float:
        """Return the loop time."""
        return self.now - NOW + 100.0


class Board:
    """A model and its clock.

    Attributes:
        model: The model.
        clock: The clock.
    """

    def __init__(self, *keys: tuple[str, str]) -> None:
        self.clock = Clock()
        self.model = BoardModel(keys, wall_clock=self.clock.wall)
        self.model.start(clock=self.clock.loop, durations=Durations())

    def change(self, key: tuple[str, str], state: TaskState = TaskState.RUNNING, **fields: object) -> None:
        """Let a poll find a task in a state."""
        task = Task(provider=key[0], id=key[1], state=state, **fields)
        self.model.on_event(TaskChanged(time=self.clock.loop(), provider=key[0], task=task))

    def end(self, key: tuple[str, str], state: TaskState = TaskState.SUCCEEDED, **fields: object) -> None:
        """Deliver a task that has ended."""
        self.model.record_end(key, Task(provider=key[0], id=key[1], state=state, **fields))


@pytest.fixture
def make_board() -> Callable[..., Board]:
    """Makes boards of tasks, given as pairs of provider and id."""
    return Board
