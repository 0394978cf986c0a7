"""The plugins that run async tests: how each of them gets a loop factory, and what it cannot do."""

from __future__ import annotations

import contextlib
import inspect
import unittest
from typing import TYPE_CHECKING

import pytest

from pytest_acetasks.clocks import MARKER

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Iterator, Mapping

    from pytest_acetasks.clocks import ClockOptions

# Hook of pytest-asyncio since 1.4.
_HOOK = "pytest_asyncio_loop_factories"


class _LoopFactories:
    """Implementation of pytest-asyncio's hook for one test.

    It is registered only while that test is collected or set up: a hook that is there makes pytest-asyncio take the
    loops of all tests from it.
    """

    def __init__(self, factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._factories = {"virtual_clock": factory}

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_asyncio_loop_factories(self) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        """Return the loop factory; its name is not shown, because there is only one."""
        return self._factories


class _LastLoopFactories(_LoopFactories):
    """The same for tests that do not ask themselves: a hook of the user's own takes precedence."""

    @pytest.hookimpl(optionalhook=True, trylast=True)
    def pytest_asyncio_loop_factories(self) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        """Return the loop factory."""
        return self._factories


def has_asyncio_plugin(config: pytest.Config) -> bool:
    """Return whether pytest-asyncio is active."""
    return config.pluginmanager.has_plugin("asyncio")


@contextlib.contextmanager
def offer_loop_factory(config: pytest.Config, clock: ClockOptions) -> Iterator[None]:
    """Have pytest-asyncio use the loop factory of a virtual clock meanwhile."""
    hook = getattr(config.hook, _HOOK, None)
    if hook is None or not hook.has_spec():
        yield
        return
    kind = _LoopFactories if clock.is_explicit else _LastLoopFactories
    factories = kind(clock.loop_factory())
    config.pluginmanager.register(factories)
    try:
        yield
    finally:
        config.pluginmanager.unregister(factories)


def uses_anyio(node: pytest.Item, fixture_names: Collection[str]) -> bool:
    """Return whether anyio's plugin runs a test."""
    return "anyio_backend" in fixture_names and not _uses_asyncio(node)


def add_anyio_backend(metafunc: pytest.Metafunc, clock: ClockOptions) -> None:
    """Parametrize a test of anyio's plugin with asyncio on a virtual clock only."""
    backend = pytest.param(("asyncio", {"loop_factory": clock.loop_factory()}), id="asyncio")
    # As a marker, it replaces the parameters of the fixture. Its scope is that of anyio's fixture.
    metafunc.definition.add_marker(pytest.mark.parametrize("anyio_backend", [backend], scope="module"))


def find_problem(item: pytest.Function) -> str | None:
    """Return why a test that asks for a virtual clock cannot run on one, or None."""
    # 1. unittest.   2. Not async: nothing to do.   3. pytest-asyncio.   4. anyio.   5. Others.
    if item.cls is not None and issubclass(item.cls, unittest.IsolatedAsyncioTestCase):
        return _find_unittest_problem(item.cls)
    if not _is_async(item):
        return None
    if _uses_asyncio(item):
        hook = getattr(item.config.hook, _HOOK, None)
        return (
            None if hook is not None and hook.has_spec() else f"@pytest.mark.{MARKER} needs pytest-asyncio 1.4 or newer"
        )
    if uses_anyio(item, item.fixturenames):
        backend = item.callspec.params.get("anyio_backend") if hasattr(item, "callspec") else None
        if isinstance(backend, tuple) and "loop_factory" in backend[1]:
            return None
        return f"@pytest.mark.{MARKER} needs a test without parameters of its own for anyio_backend, got {backend!r}"
    return (
        f"@pytest.mark.{MARKER}, or a fixture of acetasks, needs a plugin that runs the test: mark it with"
        " @pytest.mark.asyncio (pytest-asyncio 1.4 or newer, or set asyncio_mode = auto) or @pytest.mark.anyio"
    )


def fixture_name(request: pytest.FixtureRequest, kind: str) -> str:
    """Return the name of the fixture that makes a server or a client for the runner of a test.

    Raises:
        pytest.fail.Exception: The test is not async, or no known plugin runs it.
    """
    item = request.node
    if not _is_async(item):
        pytest.fail(
            f"ace_server responds in the event loop of an async test, and {item.name} is not async: make it async, run"
            " its code with acetasks.testing.run, or start `acetasks serve`",
            pytrace=False,
        )
    if uses_anyio(item, item.fixturenames):
        return f"_acetasks_{kind}_anyio"
    if not has_asyncio_plugin(item.config):
        pytest.fail("ace_server needs pytest-asyncio 1.4 or newer, or anyio's plugin", pytrace=False)
    marker = item.get_closest_marker("asyncio")
    scope = marker.kwargs.get("loop_scope") if marker is not None else None
    return f"_acetasks_{kind}_{scope or item.config.getini('asyncio_default_test_loop_scope')}"


def _uses_asyncio(node: pytest.Item) -> bool:
    if not has_asyncio_plugin(node.config):
        return False
    mode = node.config.getoption("asyncio_mode") or node.config.getini("asyncio_mode")
    return mode == "auto" or node.get_closest_marker("asyncio") is not None


def _is_async(item: pytest.Item) -> bool:
    function = getattr(item, "function", None)
    function = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    return inspect.iscoroutinefunction(function)


def _find_unittest_problem(case: type[unittest.IsolatedAsyncioTestCase]) -> str | None:
    if not hasattr(case, "loop_factory"):
        return (
            f"@pytest.mark.{MARKER} on an IsolatedAsyncioTestCase needs Python 3.13: its loop cannot be chosen before;"
            " use an async test of pytest-asyncio, or acetasks.testing.run in a TestCase"
        )
    if case.loop_factory is not None:
        return f"{case.__name__} has a loop_factory of its own, so @pytest.mark.{MARKER} has no effect: remove one"
    return None
