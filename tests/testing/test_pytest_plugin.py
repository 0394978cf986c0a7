"""Pytest plugin: tests and fixtures share a virtual clock unless they are marked otherwise."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

CONFIGURATION = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
asyncio_default_test_loop_scope = function
filterwarnings = error
addopts = --strict-markers -p no:randomly
"""

ENABLED = 'pytest_plugins = ["acetasks.testing.pytest_plugin"]'

# Start of every inner test module.
PREAMBLE = """
    import asyncio

    import pytest

    def is_virtual():
        return type(asyncio.get_running_loop()).__name__ == "VirtualClockLoop"

    @pytest.fixture
    async def fixture_loop():
        return asyncio.get_running_loop()
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with the plugin enabled."""
    pytester.makeini(CONFIGURATION)
    pytester.makeconftest(ENABLED)
    return pytester


def run(project: pytest.Pytester, tests: str, *options: str) -> pytest.RunResult:
    """Run some tests as the project's only ones."""
    project.makepyfile(test_it=PREAMBLE + tests)
    return project.runpytest_inprocess(*options)


def test_test_and_fixtures_share_one_virtual_clock(project: pytest.Pytester) -> None:
    """A fixture's set-up, the test and the fixture's tear-down run on one loop with one clock."""
    result = run(
        project,
        """
    @pytest.fixture
    async def slow(fixture_loop):
        await asyncio.sleep(600)
        yield
        await asyncio.sleep(600)
        assert asyncio.get_running_loop() is fixture_loop
        assert fixture_loop.time() == 1800

    async def test_it(fixture_loop, slow):
        assert is_virtual()
        assert asyncio.get_running_loop() is fixture_loop
        assert fixture_loop.time() == 600
        await asyncio.sleep(600)

    async def test_it_again():
        assert asyncio.get_running_loop().time() == 0
    """,
    )
    result.assert_outcomes(passed=2)


def test_test_ids_are_unchanged(project: pytest.Pytester) -> None:
    """Test ids do not contain the loop, with or without parameters, on both clocks."""
    result = run(
        project,
        """
    async def test_plain():
        pass

    @pytest.mark.real_clock
    async def test_real():
        pass

    @pytest.mark.parametrize("parameter", ["a", "b"])
    async def test_with(parameter):
        pass

    def test_sync():
        pass
    """,
        "--collect-only",
        "-q",
    )
    names = ["test_plain", "test_real", "test_with[a]", "test_with[b]", "test_sync"]
    assert result.outlines[: len(names)] == [f"test_it.py::{name}" for name in names]


@pytest.mark.parametrize(
    ("module", "class_", "function"),
    [
        ("pytestmark = pytest.mark.real_clock", "", ""),
        ("", "@pytest.mark.real_clock", ""),
        ("", "", "@pytest.mark.real_clock"),
    ],
    ids=["module", "class", "function"],
)
def test_marker_selects_the_real_clock(project: pytest.Pytester, module: str, class_: str, function: str) -> None:
    """A marked module, class or test runs on asyncio's default loop, and so do its fixtures."""
    result = run(
        project,
        f"""
    {module}

    {class_}
    class TestIt:
        {function}
        async def test_it(self, fixture_loop):
            assert asyncio.get_running_loop() is fixture_loop
            assert not is_virtual()
    """,
    )
    result.assert_outcomes(passed=1)


def test_marked_and_unmarked_tests_in_one_module(project: pytest.Pytester) -> None:
    """Each test gets its own clock, whatever the previous test had."""
    result = run(
        project,
        """
    async def test_virtual(fixture_loop):
        assert is_virtual()

    @pytest.mark.real_clock
    async def test_real(fixture_loop):
        assert not is_virtual()

    async def test_virtual_again(fixture_loop):
        assert is_virtual()
        assert asyncio.get_running_loop() is fixture_loop
    """,
    )
    result.assert_outcomes(passed=3)


def test_deadlocked_test_fails_and_its_fixtures_end(project: pytest.Pytester) -> None:
    """A deadlocked test fails with the line it waits at, and its fixture is torn down."""
    result = run(
        project,
        """
    @pytest.fixture
    async def fixture():
        yield
        await asyncio.sleep(1)
        print("torn down at", asyncio.get_running_loop().time())

    async def test_it(fixture):
        await asyncio.Event().wait()
    """,
        "-rA",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*VirtualClockDeadlockError: at virtual time 0.0 s*", "*test_it.py:* in test_it", "torn down at 1.0"]
    )


def test_plugin_is_opt_in(pytester: pytest.Pytester) -> None:
    """Without the plugin, tests run on asyncio's default loop."""
    pytester.makeini(CONFIGURATION)
    run(pytester, "    async def test_it():\n        assert not is_virtual()").assert_outcomes(passed=1)


def test_plugin_can_be_enabled_on_the_command_line(pytester: pytest.Pytester) -> None:
    """The plugin can be named on the command line instead of in a conftest."""
    pytester.makeini(CONFIGURATION)
    tests = "    async def test_it():\n        assert is_virtual()"
    run(pytester, tests, "-p", "acetasks.testing.pytest_plugin").assert_outcomes(passed=1)


def test_conftest_hook_takes_precedence(project: pytest.Pytester) -> None:
    """A conftest's own hook chooses loops, and the plugin those of the tests for which it returns None."""
    project.makeconftest(
        f"""
        {ENABLED}

        import asyncio

        def pytest_asyncio_loop_factories(item):
            return {{"own": asyncio.SelectorEventLoop}} if item.name == "test_own" else None
        """
    )
    result = run(
        project,
        """
    async def test_own():
        assert not is_virtual()

    async def test_other():
        assert is_virtual()
    """,
    )
    result.assert_outcomes(passed=2)


def test_pytest_asyncio_is_required(project: pytest.Pytester) -> None:
    """Without pytest-asyncio, pytest stops with an error that names the requirement."""
    project.makeini("[pytest]")
    result = run(project, "", "-p", "no:asyncio")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*acetasks.testing.pytest_plugin needs pytest-asyncio 1.4 or newer*"])


def test_marker_is_documented(project: pytest.Pytester) -> None:
    """The marker is in pytest's list of markers."""
    result = run(project, "", "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.real_clock: *"])
