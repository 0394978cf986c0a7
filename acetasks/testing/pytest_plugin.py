"""Pytest plugin that runs async tests and fixtures on the virtual clock, where long waits take no time.

The plugin is opt-in. Enable it in the top-level `conftest.py`:

    pytest_plugins = ["acetasks.testing.pytest_plugin"]

or with `-p acetasks.testing.pytest_plugin`. It needs pytest-asyncio 1.4 or newer. A test and its async fixtures share
one `VirtualClockLoop`, or asyncio's default loop if the test, its class or its module is marked with
`@pytest.mark.real_clock`. A conftest's own `pytest_asyncio_loop_factories` takes precedence.

pytest-asyncio chooses loops for async tests only: async fixtures of a synchronous test run on the real clock.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from acetasks.testing.clock import VirtualClockLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Hook of pytest-asyncio since 1.4.
_HOOK = "pytest_asyncio_loop_factories"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker.

    Raises:
        pytest.UsageError: pytest-asyncio is missing, disabled or too old.
    """
    config.addinivalue_line("markers", "real_clock: run the test on asyncio's default loop, in real time")
    if not getattr(config.hook, _HOOK).has_spec():
        raise pytest.UsageError(f"{__name__} needs pytest-asyncio 1.4 or newer, enabled")


# Optional, so that the error above is shown without pytest-asyncio; last, because pytest calls a plugin named by a
# conftest before the conftest itself, which takes precedence.
@pytest.hookimpl(optionalhook=True, trylast=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the loop factory of a test and its fixtures; its name is not shown, because there is only one."""
    if item.get_closest_marker("real_clock") is not None:
        return {"real_clock": asyncio.new_event_loop}
    return {"virtual_clock": VirtualClockLoop}
