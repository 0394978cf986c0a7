"""Event loops of the tests in real time: each test runs on all of them."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def new_eager_loop() -> asyncio.AbstractEventLoop:
    """Return asyncio's loop, with tasks that run at once until they first wait."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the loops of this installation: eager tasks are new in Python 3.12, and uvloop is not for Windows."""
    loops = {"asyncio": asyncio.new_event_loop}
    if sys.version_info >= (3, 12):
        loops["eager"] = new_eager_loop
    if importlib.util.find_spec("uvloop"):
        loops["uvloop"] = importlib.import_module("uvloop").new_event_loop
    return loops
