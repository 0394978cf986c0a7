"""Pytest plugin of acetasks: virtual time for the tests that ask for it, and fixtures of a simulated service.

The plugin is active wherever acetasks is installed, and changes nothing for a test that does not ask:

- `@pytest.mark.acetasks_virtual_clock` on a test, a class or (as `pytestmark`) a module runs async tests, and their
  async fixtures, on a `VirtualClockLoop`. `end=3600` bounds the virtual time of a test, in seconds; the default is a
  day. `allow_hosts=["db.example.com"]` lets it connect to public hosts, which are refused otherwise.
- The fixtures `ace_server`, `ace_client` and `ace_environment` imply the marker.
- `acetasks_virtual_clock = all` in pytest's configuration marks all tests, except those that are marked with
  `@pytest.mark.real_clock`.

Tests may be run by pytest-asyncio 1.4 or newer, by anyio's plugin, or from Python 3.13 on by `unittest`'s
`IsolatedAsyncioTestCase`. Nothing of acetasks is imported before a test asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_acetasks.clocks import OPTION, ClockOptions, check_option, read_clock
from pytest_acetasks.runners import (
    add_anyio_backend,
    find_problem,
    fixture_name,
    has_asyncio_plugin,
    offer_loop_factory,
    uses_anyio,
)
from pytest_acetasks.services import open_client, open_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    import acetasks
    from acetasks.testing import AceServer

_MARKERS = (
    "acetasks_virtual_clock(*, end=86400, allow_hosts=()): run the async test on a virtual clock, at most until `end`",
    "real_clock: run the test on asyncio's default loop, whatever `acetasks_virtual_clock` says",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the configuration file."""
    parser.addini(OPTION, "which tests run on a virtual clock: 'marked' (the default) or 'all'", default="marked")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and the fixtures for pytest-asyncio if that is active.

    Raises:
        pytest.UsageError: The option has an unknown value.
    """
    for line in _MARKERS:
        config.addinivalue_line("markers", line)
    check_option(config)
    if has_asyncio_plugin(config):
        from pytest_acetasks import asyncio_fixtures  # noqa: PLC0415  # it needs pytest-asyncio

        config.pluginmanager.register(asyncio_fixtures)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Generator[None, object, object]:
    """Give the tests that ask for it the loop factory of a virtual clock."""
    clock = read_clock(metafunc.definition, metafunc.fixturenames)
    if clock is None:
        return (yield)
    if uses_anyio(metafunc.definition, metafunc.fixturenames):
        add_anyio_backend(metafunc, clock)
        return (yield)
    with offer_loop_factory(metafunc.config, clock):
        return (yield)


# Not a wrapper, so that a skipped test is skipped first. Pytest requires a name that begins with `pytest_`.
@pytest.hookimpl(specname="pytest_runtest_setup")
def pytest_runtest_setup_check(item: pytest.Item) -> None:
    """Fail a test at once that asks for a virtual clock and cannot have it."""
    clock = _read_clock_of(item)
    if (
        clock is not None
        and clock.is_explicit
        and isinstance(item, pytest.Function)
        and (problem := find_problem(item))
    ):
        pytest.fail(problem, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Set up a test on its virtual clock."""
    clock = _read_clock_of(item)
    if clock is None:
        return (yield)
    with offer_loop_factory(item.config, clock):
        result = yield
    _set_unittest_loop(item, clock)
    return result


def _read_clock_of(item: pytest.Item) -> ClockOptions | None:
    return read_clock(item, item.fixturenames) if isinstance(item, pytest.Function) else None


def _set_unittest_loop(item: pytest.Item, clock: ClockOptions) -> None:
    if isinstance(item, pytest.Function) and item.cls is not None and _is_async_case(item.cls):
        case: Any = item.instance
        # A new attribute of Python 3.13; a class with a factory of its own keeps it.
        if getattr(case, "loop_factory", ...) is None:
            case.loop_factory = clock.loop_factory()


def _is_async_case(cls: type) -> bool:
    # By name: unittest loads its module on demand, which a test may have taken away the right to do.
    return any(
        (base.__module__, base.__name__) == ("unittest.async_case", "IsolatedAsyncioTestCase") for base in cls.__mro__
    )


@pytest.fixture
def ace_server(request: pytest.FixtureRequest) -> AceServer:
    """A simulated service in the event loop of the test, new for each test; the test runs on a virtual clock.

    Override it for another server: an async fixture of the same name that yields an `AceServer`.
    """
    server: AceServer = request.getfixturevalue(fixture_name(request, "server"))
    return server


@pytest.fixture
def ace_client(request: pytest.FixtureRequest, ace_server: AceServer) -> acetasks.Client:  # noqa: ARG001  # opened first
    """An open client of `ace_server`."""
    client: acetasks.Client = request.getfixturevalue(fixture_name(request, "client"))
    return client


@pytest.fixture
def ace_environment(ace_server: AceServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment variables with which every client uses `ace_server`, set during the test."""
    variables = ace_server.environment
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


# anyio's plugin runs the async fixtures that use `anyio_backend`.
@pytest.fixture(name="_acetasks_server_anyio")
async def _anyio_server(anyio_backend: object) -> AsyncIterator[AceServer]:  # noqa: ARG001  # makes anyio run it
    async with open_server() as server:
        yield server


@pytest.fixture(name="_acetasks_client_anyio")
async def _anyio_client(anyio_backend: object, ace_server: AceServer) -> AsyncIterator[acetasks.Client]:  # noqa: ARG001
    async with open_client(ace_server) as client:
        yield client
