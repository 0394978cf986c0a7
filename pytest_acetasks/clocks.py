"""Which tests run on a virtual clock, and with which options."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection

#: The option of the configuration file, and the name of the marker.
OPTION = MARKER = "acetasks_virtual_clock"
REAL_MARKER = "real_clock"
#: The fixtures that imply the marker.
FIXTURES = frozenset({"ace_server", "ace_client", "ace_environment"})

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class ClockOptions:
    """The virtual clock of one test.

    Attributes:
        end: Virtual seconds after which the test is taken for endless.
        allow_hosts: The public hosts that it may connect to.
        is_explicit: Whether the test asks for it by a marker or a fixture, and not only the configuration for all.
    """

    end: float = _DAY
    allow_hosts: tuple[str, ...] = ()
    is_explicit: bool = True

    def loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop]:
        """Return the loop factory: the same object for the same options, so that wide loop scopes keep their loop."""
        return _make_loop_factory(self.end, self.allow_hosts)


def check_option(config: pytest.Config) -> None:
    """Check the option of the configuration file.

    Raises:
        pytest.UsageError: It has an unknown value.
    """
    value = config.getini(OPTION)
    if value not in {"marked", "all"}:
        raise pytest.UsageError(f"{OPTION} must be 'marked' or 'all' in pytest's configuration, got {value!r}")


def read_clock(node: pytest.Item, fixture_names: Collection[str]) -> ClockOptions | None:
    """Return the virtual clock of a test, or None for the real one.

    Args:
        node: The test, or its definition before it is parametrized.
        fixture_names: All fixtures that it uses, directly or not.

    Raises:
        pytest.fail.Exception: The marker has other arguments than it may.
    """
    # 1. The closest of the two markers.   2. The fixtures.   3. The configuration.
    marker = next((marker for marker in node.iter_markers() if marker.name in {MARKER, REAL_MARKER}), None)
    if marker is not None:
        return None if marker.name == REAL_MARKER else _read_marker(marker, node)
    if not FIXTURES.isdisjoint(fixture_names):
        return ClockOptions()
    return ClockOptions(is_explicit=False) if node.config.getini(OPTION) == "all" else None


def _read_marker(marker: pytest.Mark, node: pytest.Item) -> ClockOptions:
    end, hosts = marker.kwargs.get("end", _DAY), marker.kwargs.get("allow_hosts", ())
    unknown = marker.kwargs.keys() - {"end", "allow_hosts"}
    if marker.args or unknown:
        got = ", ".join([*map(repr, marker.args), *(f"{name}=" for name in sorted(unknown))])
        _refuse(node, f"takes only end= and allow_hosts=, got {got}")
    if isinstance(end, bool) or not isinstance(end, int | float) or not end > 0:
        _refuse(node, f"needs an end= of more than 0 virtual seconds, got {end!r}")
    if isinstance(hosts, str) or not all(isinstance(host, str) for host in hosts):
        _refuse(node, f"needs a list of names as allow_hosts=, got {hosts!r}")
    return ClockOptions(end=float(end), allow_hosts=tuple(hosts))


def _refuse(node: pytest.Item, problem: str) -> None:
    pytest.fail(f"{node.nodeid}: @pytest.mark.{MARKER} {problem}", pytrace=False)


@functools.cache
def _make_loop_factory(end: float, allow_hosts: tuple[str, ...]) -> Callable[[], asyncio.AbstractEventLoop]:
    from acetasks.testing.clock import VirtualClockLoop  # noqa: PLC0415  # not before a test asks for it

    return functools.partial(VirtualClockLoop, end=end, allowed_hosts=allow_hosts)
