"""Pytest plugin: what asks for a virtual clock gets one, and everything else is left alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

STRICT = """
[pytest]
asyncio_mode = strict
asyncio_default_fixture_loop_scope = function
filterwarnings = error
addopts = --strict-markers --strict-config -p no:randomly
"""
AUTO = STRICT.replace("strict\nasyncio_default", "auto\nasyncio_default")
ALL = AUTO + "acetasks_virtual_clock = all\n"

# Start of every inner test module.
PREAMBLE = """
    import asyncio
    import time

    import acetasks
    import pytest
    from acetasks.testing import AceServer

    virtual = pytest.mark.acetasks_virtual_clock

    def is_virtual():
        return type(asyncio.get_running_loop()).__name__ == "VirtualClockLoop"

    def now():
        return asyncio.get_running_loop().time()
"""


def run(project: pytest.Pytester, tests: str, *options: str, ini: str = AUTO) -> pytest.RunResult:
    """Run some tests as the project's only ones."""
    project.makeini(ini)
    project.makepyfile(test_it=PREAMBLE + tests)
    return project.runpytest_inprocess(*options)


class TestLeftAlone:
    """Tests that do not ask."""

    def test_importing_the_plugin_is_light(self) -> None:
        """Pytest starts without importing acetasks, aiohttp and pytest-asyncio's fixtures of ours."""
        program = (
            "import sys, pytest_acetasks\n"
            "heavy = {'acetasks', 'aiohttp', 'anyio', 'asyncio', 'msgspec', 'pytest_asyncio'}\n"
            "sys.exit(str(heavy & sys.modules.keys() - before) if heavy & sys.modules.keys() - before else 0)\n"
        ).replace(
            "import sys, pytest_acetasks\n", "import sys, pytest\nbefore = set(sys.modules)\nimport pytest_acetasks\n"
        )
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert (result.returncode, result.stderr) == (0, "")

    def test_project_without_async_tests_does_not_import_the_library(self, pytester: pytest.Pytester) -> None:
        """A run in which no test asks imports nothing of acetasks but the plugin."""
        pytester.makepyfile("import sys\n\ndef test_it():\n    assert 'acetasks' not in sys.modules")
        pytester.makeini(STRICT)
        pytester.runpytest_subprocess("-p", "no:randomly").assert_outcomes(passed=1)

    @pytest.mark.parametrize("ini", [STRICT, AUTO], ids=["strict", "auto"])
    def test_unrelated_tests_keep_real_time(self, pytester: pytest.Pytester, ini: str) -> None:
        """Seven tests with timers, processes, threads and foreign sockets pass as without the plugin."""
        result = run(pytester, UNRELATED, ini=ini)
        result.assert_outcomes(passed=7)

    def test_unmarked_tests_have_no_loop_factory(self, pytester: pytest.Pytester) -> None:
        """An unmarked test is not parametrized, also beside marked ones, and its id is unchanged."""
        result = run(
            pytester,
            """
    @virtual
    async def test_marked():
        assert is_virtual()

    async def test_plain(request):
        assert not hasattr(request.node, "callspec")
        assert not is_virtual()

    @virtual
    @pytest.mark.parametrize("parameter", ["a", "b"])
    async def test_with(parameter):
        assert is_virtual()

    @virtual
    def test_sync():
        pass
    """,
            "-v",
        )
        result.assert_outcomes(passed=5)
        result.stdout.fnmatch_lines(
            [f"test_it.py::{name} PASSED*" for name in ("test_marked", "test_plain", "test_with[[]a[]]")]
        )

    def test_plugin_loads_without_pytest_asyncio(self, pytester: pytest.Pytester) -> None:
        """Without pytest-asyncio other tests run, and a marked one says what it needs."""
        tests = """
    def test_sync():
        pass

    @virtual
    async def test_marked():
        pass

    def test_server(ace_server):
        pass
    """
        result = run(pytester, tests, "-p", "no:asyncio", ini="[pytest]\naddopts = --strict-markers -p no:randomly")
        result.assert_outcomes(passed=1, errors=2)
        result.stdout.fnmatch_lines(["*needs a plugin that runs the test: mark it with @pytest.mark.asyncio*"])


UNRELATED = """
    import contextlib
    import socket
    import sys
    import threading

    pytestmark = pytest.mark.asyncio

    async def test_sleep_takes_its_time():
        started = time.monotonic()
        await asyncio.sleep(0.1)
        assert time.monotonic() - started >= 0.09

    async def test_loop_of_wall_time():
        started, rounds = time.monotonic(), 0
        while time.monotonic() - started < 0.1:
            await asyncio.sleep(0.025)
            rounds += 1
        assert rounds <= 5

    async def test_subprocess_within_its_limit():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(0.1)")
        assert await asyncio.wait_for(process.wait(), 20) == 0

    async def test_answer_of_a_server_in_a_thread():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def serve():
                connection, _ = listener.accept()
                with connection:
                    time.sleep(0.1)
                    connection.sendall(b"hello")

            thread = threading.Thread(target=serve)
            thread.start()
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            assert await asyncio.wait_for(reader.read(), 20) == b"hello"
            writer.close()
            await writer.wait_closed()
            thread.join()

    async def test_timer_in_a_thread():
        loop = asyncio.get_running_loop()
        event = asyncio.Event()
        threading.Timer(0.1, loop.call_soon_threadsafe, [event.set]).start()
        await asyncio.wait_for(event.wait(), 20)

    async def test_work_in_a_thread():
        assert await asyncio.to_thread(time.sleep, 0.05) is None

    async def test_timeout_of_work_in_a_thread():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(time.sleep, 0.05), 0.01)
"""


class TestAsking:
    """Markers, the option and fixtures."""

    def test_test_and_fixtures_share_one_virtual_clock(self, pytester: pytest.Pytester) -> None:
        """A fixture's set-up, the test and the fixture's tear-down run on one loop with one clock."""
        result = run(
            pytester,
            """
    @pytest.fixture
    async def slow():
        await asyncio.sleep(600)
        yield asyncio.get_running_loop()
        await asyncio.sleep(600)
        assert now() == 1800

    @virtual
    async def test_it(slow):
        assert asyncio.get_running_loop() is slow
        assert now() == 600
        await asyncio.sleep(600)

    @virtual
    async def test_it_again():
        assert now() == 0
    """,
        )
        result.assert_outcomes(passed=2)

    @pytest.mark.parametrize(
        ("module", "class_", "function", "expected"),
        [
            ("pytestmark = virtual", "", "", True),
            ("", "@virtual", "", True),
            ("", "", "@virtual", True),
            ("pytestmark = virtual", "", "@pytest.mark.real_clock", False),
            ("pytestmark = pytest.mark.real_clock", "@virtual", "", True),
            ("", "", "", False),
        ],
        ids=["module", "class", "function", "real in virtual", "virtual in real", "none"],
    )
    def test_closest_marker_decides(
        self, pytester: pytest.Pytester, module: str, class_: str, function: str, *, expected: bool
    ) -> None:
        """The marker that is closest to the test selects its clock."""
        result = run(
            pytester,
            f"""
    {module}

    {class_}
    class TestIt:
        {function}
        async def test_it(self):
            assert is_virtual() is {expected}
    """,
        )
        result.assert_outcomes(passed=1)

    def test_option_for_all_tests(self, pytester: pytest.Pytester) -> None:
        """With the option all tests but those of the real clock are on the virtual one."""
        tests = """
    async def test_virtual():
        assert is_virtual()

    @pytest.mark.real_clock
    async def test_real():
        assert not is_virtual()

    def test_sync():
        pass
    """
        run(pytester, tests, ini=ALL).assert_outcomes(passed=3)

    def test_unknown_option_is_refused(self, pytester: pytest.Pytester) -> None:
        """A mistake in the configuration is an error that names the choices."""
        result = run(pytester, "", ini=ALL.replace("clock = all", "clock = yes"))
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*acetasks_virtual_clock must be 'marked' or 'all'*got 'yes'*"])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("'x'", "takes only end= and allow_hosts=, got 'x'"),
            ("start=1", "takes only end= and allow_hosts=, got start="),
            ("end=0", "needs an end= of more than 0 virtual seconds, got 0"),
            ("allow_hosts='a.example'", "needs a list of names as allow_hosts=, got 'a.example'"),
        ],
    )
    def test_wrong_arguments_are_refused(self, pytester: pytest.Pytester, arguments: str, message: str) -> None:
        """A mistake in the marker is an error that names the test and what the marker takes."""
        result = run(pytester, f"    @virtual({arguments})\n    async def test_it():\n        pass")
        result.stdout.fnmatch_lines([f"*test_it.py::test_it: @pytest.mark.acetasks_virtual_clock {message}"])
        assert result.ret != 0

    def test_own_hook(self, pytester: pytest.Pytester) -> None:
        """A hook of the user's own chooses the loops of tests that do not ask themselves."""
        pytester.makeconftest(
            """
            import asyncio

            def pytest_asyncio_loop_factories(item):
                return {"own": asyncio.SelectorEventLoop}
            """
        )
        tests = """
    async def test_own():
        assert not is_virtual()

    @virtual
    async def test_marked():
        assert is_virtual()
    """
        run(pytester, tests, ini=ALL).assert_outcomes(passed=2)

    def test_strict_mode_needs_the_marker_of_pytest_asyncio(self, pytester: pytest.Pytester) -> None:
        """In strict mode a test without pytest-asyncio's marker says what is missing."""
        tests = """
    @virtual
    async def test_without():
        pass

    @virtual
    @pytest.mark.asyncio
    async def test_with():
        assert is_virtual()
    """
        result = run(pytester, tests, ini=STRICT)
        result.assert_outcomes(passed=1, errors=1)
        result.stdout.fnmatch_lines(["*mark it with @pytest.mark.asyncio*"])

    def test_markers_are_documented(self, pytester: pytest.Pytester) -> None:
        """The markers are in pytest's list of markers."""
        result = run(pytester, "", "--markers")
        result.stdout.fnmatch_lines(["@pytest.mark.acetasks_virtual_clock(*", "@pytest.mark.real_clock: *"])


class TestFixtures:
    """`ace_server`, `ace_client` and `ace_environment`."""

    @pytest.mark.parametrize("ini", [STRICT, AUTO], ids=["strict", "auto"])
    def test_fixtures_imply_virtual_time(self, pytester: pytest.Pytester, ini: str) -> None:
        """A ten-minute task ends at its exact time, with a server, a client and an environment for each test."""
        tests = """
    pytestmark = pytest.mark.asyncio

    async def test_client(ace_server, ace_client):
        task = await ace_client.wait("veo", ace_server.add("veo", after=600))
        assert task.duration == 600 - 5
        assert 600 <= now() < 660
        await ace_client.wait("useapi-pixverse", ace_server.add("useapi-pixverse", after=1))

    async def test_environment(ace_environment, ace_server):
        assert is_virtual()
        async with acetasks.Client() as client:
            handle = await client.submit("luma", {"prompt": "a lighthouse"})
        assert [*ace_server.tasks] == [handle.id]

    async def test_environment_is_gone():
        assert "ACEDATACLOUD_API_TOKEN" not in __import__("os").environ
    """
        run(pytester, tests, ini=ini).assert_outcomes(passed=3)

    def test_server_can_be_overridden(self, pytester: pytest.Pytester) -> None:
        """A server of the user's own is used by the client, on the virtual clock."""
        tests = """
    @pytest.fixture
    async def ace_server():
        async with AceServer(token="own", failure_rate=1) as server:
            yield server

    async def test_it(ace_client, ace_server):
        with pytest.raises(acetasks.TaskFailedError):
            await ace_client.run("luma", {"prompt": "a lighthouse"})
        assert is_virtual() and ace_server.token == "own"
    """
        run(pytester, tests).assert_outcomes(passed=1)

    @pytest.mark.parametrize("scope", ["class", "module", "session"])
    def test_fixtures_follow_the_scope_of_the_loop(self, pytester: pytest.Pytester, scope: str) -> None:
        """The fixtures are in the loop of the test, whatever its scope; each test has a server of its own."""
        tests = f"""
    @pytest.mark.asyncio(loop_scope="{scope}")
    class TestIt:
        async def test_one(self, ace_client, ace_server):
            await ace_client.wait("veo", ace_server.add("veo", after=600))
            assert len(ace_server.tasks) == 1

        async def test_two(self, ace_client, ace_server):
            await ace_client.wait("veo", ace_server.add("veo", after=600))
            assert len(ace_server.tasks) == 1
            assert now() >= 1200

    async def test_real():
        assert not is_virtual()
    """
        run(pytester, tests, ini=AUTO).assert_outcomes(passed=3)

    def test_sync_test_is_refused(self, pytester: pytest.Pytester) -> None:
        """A test that is not async cannot use a server in an event loop, and is told what to do."""
        result = run(pytester, "    def test_it(ace_server):\n        pass")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*test_it is not async: make it async, run its code with acetasks.testing.run*"])

    def test_session_scoped_server_in_the_session_s_loop(self, pytester: pytest.Pytester) -> None:
        """A session-scoped server works for tests in the session's loop."""
        tests = """
    import pytest_asyncio

    pytestmark = [virtual, pytest.mark.asyncio(loop_scope="session")]

    @pytest_asyncio.fixture(scope="session", loop_scope="session")
    async def server():
        async with AceServer() as server:
            yield server

    @pytest.mark.parametrize("number", [1, 2])
    async def test_it(server, number):
        server.reset()
        async with acetasks.Client(server.token, base_url=server.url) as client:
            await client.wait("luma", server.add("luma", after=600))
        assert len(server.tasks) == 1
    """
        run(pytester, tests).assert_outcomes(passed=2)

    @pytest.mark.parametrize("marker", ["virtual", "pytest.mark.real_clock"])
    def test_session_scoped_server_with_tests_in_other_loops(self, pytester: pytest.Pytester, marker: str) -> None:
        """A session-scoped server fails tests in loops of their own at once, with what to do."""
        tests = f"""
    import pytest_asyncio

    @pytest_asyncio.fixture(scope="session", loop_scope="session")
    async def server():
        async with AceServer() as server:
            yield server

    @{marker}
    async def test_it(server):
        async with acetasks.Client(server.token, base_url=server.url) as client:
            await client.wait("luma", "some-id")
    """
        result = run(pytester, tests)
        assert result.parseoutcomes().get("passed", 0) == 0
        result.stdout.fnmatch_lines(["*in the loop of the fixture*loop_scope=*session*"])


class TestEnds:
    """Tests that cannot end, or must not."""

    def test_endless_test_fails_with_its_tasks(self, pytester: pytest.Pytester) -> None:
        """A wait for a task that never ends fails at the end of virtual time, and its fixtures end."""
        tests = """
    @pytest.fixture
    async def fixture():
        yield
        await asyncio.sleep(1)
        print("torn down")

    @virtual(end=3600)
    async def test_it(fixture, ace_server, ace_client):
        await ace_client.wait("luma", ace_server.add("luma", outcome="forever"))
    """
        result = run(pytester, tests, "-rA")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            [
                "*VirtualClockDeadlockError: at virtual time * has not ended within 3600 s of virtual time*",
                "*test_it.py:* in test_it",
                "torn down",
            ]
        )

    def test_deadlocked_test_fails(self, pytester: pytest.Pytester) -> None:
        """A test that waits for nothing fails at once, with the line it waits at."""
        result = run(pytester, "    @virtual\n    async def test_it():\n        await asyncio.Event().wait()")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*VirtualClockDeadlockError: at virtual time 0.0 s*", "*test_it.py:* in test_it"])

    def test_forgotten_base_url_is_refused(self, pytester: pytest.Pytester) -> None:
        """A client that would call the real service fails its test, unless the marker allows the host."""
        tests = """
    @virtual
    async def test_forgotten():
        async with acetasks.Client("test-token") as client:
            await client.wait("luma", "some-id")

    @virtual(allow_hosts=["api.acedata.cloud"])
    async def test_allowed(monkeypatch):
        def resolve(host, *_, **__):
            raise OSError(f"resolving {host}")

        monkeypatch.setattr("socket.getaddrinfo", resolve)
        async with acetasks.Client("test-token") as client:
            with pytest.raises(acetasks.TransportError):
                await client.retrieve("luma", "some-id")
    """
        result = run(pytester, tests)
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["*VirtualClockAddressError: *the real host 'api.acedata.cloud': pass base_url*"])

    def test_synchronous_application_in_a_thread(self, pytester: pytest.Pytester) -> None:
        """Code in a thread that waits for virtual time is told so, after the patience of threads."""
        tests = """
    @virtual
    async def test_it(ace_server, monkeypatch):
        monkeypatch.setattr(asyncio.get_running_loop()._thread_patience, "limit", 0.3)
        task_id = ace_server.add("luma", after=60)

        from acetasks.sync import Client

        def application():
            with Client(ace_server.token, base_url=ace_server.url) as client:
                client.wait("luma", task_id, timeout=5)

        await asyncio.to_thread(application)
    """
        result = run(pytester, tests, "-W", "ignore")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["*VirtualClockDeadlockError*have not returned for 0.3 real seconds*waits in vain*"]
        )

    def test_long_task_in_real_time_is_warned_about(self, pytester: pytest.Pytester) -> None:
        """A test that polls a long task in real time gets a warning that names the marker."""
        tests = """
    async def test_it(monkeypatch):
        monkeypatch.setattr("acetasks.testing.real_time._AWAITED", 0.01)
        async with AceServer() as server, acetasks.Client(server.token, base_url=server.url) as client:
            task_id = server.add("luma", after=600)
            await client.retrieve("luma", task_id)
            await asyncio.sleep(0.02)
            await client.retrieve("luma", task_id)
    """
        run(pytester, tests, "-W", "default").assert_outcomes(passed=1, warnings=1)
        result = run(pytester, tests)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["*VirtualClockWarning: the luma task * ends in 600 s of real time: mark the test*"]
        )


class TestRunners:
    """Other plugins that run async tests."""

    def test_anyio(self, pytester: pytest.Pytester) -> None:
        """Tests of anyio's plugin, and their fixtures, run on asyncio with virtual time if they ask."""
        tests = """
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    async def loop():
        return asyncio.get_running_loop()

    @virtual
    async def test_marked(loop):
        assert is_virtual() and loop is asyncio.get_running_loop()
        await asyncio.sleep(600)

    async def test_fixtures(ace_server, ace_client):
        await ace_client.wait("veo", ace_server.add("veo", after=600))
        assert now() >= 600

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    async def test_real(loop):
        assert not is_virtual()

    @virtual
    @pytest.mark.parametrize("number", [1, 2])
    async def test_marked_again(loop, number):
        assert is_virtual() and loop is asyncio.get_running_loop()
    """
        for ini in (STRICT, "[pytest]\naddopts = -p no:asyncio -p no:randomly\nfilterwarnings = error"):
            run(pytester, tests, ini=ini).assert_outcomes(passed=5)

    def test_anyio_on_another_backend(self, pytester: pytest.Pytester) -> None:
        """A test that is parametrized with backends itself is refused."""
        tests = """
    @virtual
    @pytest.mark.anyio
    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    async def test_it():
        pass
    """
        result = run(pytester, tests, ini=STRICT)
        assert result.ret != 0
        result.stdout.fnmatch_lines(["*anyio_backend*"])

    def test_unittest(self, pytester: pytest.Pytester) -> None:
        """IsolatedAsyncioTestCase has virtual time from Python 3.13 on, and says so before."""
        tests = """
    import unittest

    @virtual
    class TestCase(unittest.IsolatedAsyncioTestCase):
        async def asyncSetUp(self):
            await asyncio.sleep(600)

        async def test_it(self):
            assert is_virtual() and now() == 600

    class TestReal(unittest.IsolatedAsyncioTestCase):
        async def test_it(self):
            assert not is_virtual()
    """
        result = run(pytester, tests)
        if sys.version_info >= (3, 13):
            result.assert_outcomes(passed=2)
        else:
            result.assert_outcomes(passed=1, errors=1)
            result.stdout.fnmatch_lines(["*IsolatedAsyncioTestCase needs Python 3.13*"])

    def test_hypothesis(self, pytester: pytest.Pytester) -> None:
        """Each example of a property runs on the virtual clock."""
        tests = """
    from hypothesis import given, settings, strategies

    @virtual
    @settings(max_examples=5, database=None)
    @given(strategies.integers(1, 600))
    async def test_it(seconds):
        started = now()
        await asyncio.sleep(seconds)
        assert now() == started + seconds
    """
        run(pytester, tests).assert_outcomes(passed=1)
