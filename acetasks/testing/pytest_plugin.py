"""The pytest plugin: async tests and fixtures run on the virtual clock, where a long wait takes no time.

Nobody gets it unasked. A project switches it on in its top `conftest.py`:

    pytest_plugins = ["acetasks.testing.pytest_plugin"]

or with `-p acetasks.testing.pytest_plugin`. It offers pytest-asyncio (1.4 or newer) the loops to run on: a test
and its async fixtures share one `VirtualClockLoop`, or asyncio's usual loop if the test, its class or its module
is marked with `@pytest.mark.real_clock`. A conftest's own `pytest_asyncio_loop_factories` goes before this one.

pytest-asyncio asks for loops for async tests alone: async fixtures that only a synchronous test uses run on the
real clock. This module knows pytest and the clock, and nothing of the library under test.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from acetasks.testing.clock import VirtualClockLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# The name of the hook's specification, which pytest-asyncio has had since 1.4.
_HOOK = "pytest_asyncio_loop_factories"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and refuse to run where nobody would ask for loops.

    Args:
        config: pytest's configuration.

    Raises:
        pytest.UsageError: pytest-asyncio is not there, or too old to run tests on a loop of our choice.
    """
    config.addinivalue_line("markers", "real_clock: run the test on asyncio's usual loop, in real time")
    if not getattr(config.hook, _HOOK).has_spec():
        raise pytest.UsageError(f"{__name__} needs pytest-asyncio 1.4 or newer, switched on")


# Optional, so that the message above is the one seen without pytest-asyncio; last, since pytest asks a plugin that
# a conftest names before that conftest, which knows better.
@pytest.hookimpl(optionalhook=True, trylast=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Choose the loop of a test and its fixtures.

    Args:
        item: The test.

    Returns:
        The one loop to run the test on, by a name that pytest shows nowhere, since there is no other.
    """
    if item.get_closest_marker("real_clock") is not None:
        return {"real_clock": asyncio.new_event_loop}
    return {"virtual_clock": VirtualClockLoop}
