"""Assertions about requests, resets between tests, and the loop that a server belongs to."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

import acetasks.sync
from acetasks import Client, RateLimitError, RetryPolicy, TaskFailedError
from acetasks.testing import AceServer

if TYPE_CHECKING:
    from collections.abc import Callable


class TestAssertRequests:
    """`AceServer.assert_requests`."""

    async def test_counts_are_checked(self, server: AceServer, client: Client) -> None:
        """The numbers that hold return the requests, filtered by provider and action."""
        await client.retrieve("luma", server.add("luma"))
        await client.submit("veo", {"prompt": "a lighthouse"})
        assert [request.action for request in server.assert_requests(count=2)] == ["retrieve", "submit"]
        assert [request.provider for request in server.assert_requests("veo", at_least=1, at_most=1)] == ["veo"]
        assert server.assert_requests("luma", action="submit", count=0) == []

    @pytest.mark.parametrize(
        ("bounds", "message"),
        [
            ({"at_most": 1}, r"expected at most 1 requests of provider 'luma' and action 'retrieve', got 2\n"),
            ({"at_least": 3}, r"expected at least 3 requests .*, got 2\n"),
            ({"count": 3}, r"expected exactly 3 requests .*, got 2\n"),
            ({"at_least": 3, "at_most": 5}, r"expected at least 3 and at most 5 requests .*, got 2\n"),
        ],
    )
    async def test_failure_lists_the_requests(
        self, server: AceServer, client: Client, bounds: dict[str, int], message: str
    ) -> None:
        """A number that does not hold is an error with the time, path, status and body of each request."""
        task_id = server.add("luma")
        for _ in range(2):
            await client.retrieve("luma", task_id)
        line = rf"  +0\.000 s  POST /luma/tasks  200  .*{task_id}.*"
        with pytest.raises(AssertionError, match=f"{message}{line}\n{line}"):
            server.assert_requests("luma", action="retrieve", **bounds)

    async def test_long_lists_are_cut(self, server: AceServer, client: Client) -> None:
        """The message lists twenty requests at most."""
        for _ in range(23):
            await client.retrieve("luma", server.add("luma"))
        with pytest.raises(AssertionError, match=r"got 23\n(.*\n){20}  \.\.\. and 3 more$"):
            server.assert_requests(at_most=0)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "pass count, at_least or at_most"),
            ({"at_most": -1}, "at_most must be at least 0, got -1"),
            ({"at_most": 1, "action": "sumbit"}, "'sumbit' is not a valid Action: choose one of 'retrieve',"),
        ],
    )
    async def test_mistakes_are_refused(self, server: AceServer, arguments: dict[str, object], message: str) -> None:
        """A call without a number, or with an impossible one, is an error of the test."""
        with pytest.raises(ValueError, match=message):
            server.assert_requests(**arguments)

    async def test_requests_must_be_recorded(self) -> None:
        """A server that does not record its requests cannot be asked for them."""
        async with AceServer(record_requests=False) as server:
            with pytest.raises(RuntimeError, match="without record_requests=False"):
                server.assert_requests(at_most=1)


class TestAssertSubmitted:
    """`AceServer.assert_submitted`."""

    async def test_submissions_are_found_by_their_fields(self, server: AceServer, client: Client) -> None:
        """Submissions that have the fields, among others, are returned."""
        for prompt in ("a lighthouse", "a boat", "a boat"):
            await client.submit("luma", {"prompt": prompt, "action": "generate"})
        assert len(server.assert_submitted("luma")) == 3
        assert len(server.assert_submitted("luma", {"prompt": "a boat"}, times=2)) == 2
        (request,) = server.assert_submitted("luma", {"prompt": "a lighthouse"}, path="/luma/videos", times=1)
        assert request.ids == (next(iter(server.tasks)),)
        assert server.assert_submitted("veo", times=0) == []

    async def test_failure_lists_the_submissions(self, server: AceServer, client: Client) -> None:
        """Without such a submission the error lists those that there are."""
        await client.submit("luma", {"prompt": "a boat"})
        with pytest.raises(
            AssertionError,
            match=r"expected at least one submission of 'luma' with \{'prompt': 'a lighthouse'\}, got 0 among 1"
            r" submissions\n.* s  POST /luma/videos  200  .*'prompt': 'a boat'",
        ):
            server.assert_submitted("luma", {"prompt": "a lighthouse"})
        with pytest.raises(AssertionError, match=r"exactly 2 submissions of 'luma' to /luma/videos, got 1 among 1"):
            server.assert_submitted("luma", path="/luma/videos", times=2)

    async def test_refused_submissions_do_not_count(self, server: AceServer, new_client: Callable[..., Client]) -> None:
        """A submission that was refused has created nothing."""
        server.fail("luma", status=429, action="submit")
        async with new_client(retry=RetryPolicy(attempts=1)) as client:
            with pytest.raises(RateLimitError):
                await client.submit("luma", {"prompt": "a boat"})
        server.assert_submitted("luma", times=0)
        server.assert_requests("luma", action="submit", count=1)


class TestReset:
    """`AceServer.reset`."""

    async def test_a_reset_server_is_like_a_new_one(self) -> None:
        """Tasks, scripts, faults and requests are gone, and the next tasks have the same ids again."""
        seen = []
        async with AceServer(failure_rate=0.5) as server, Client(server.token, base_url=server.url) as client:
            for _ in range(2):
                server.script("luma", outcome="failed")
                server.fail("luma", status=503, rate=0.5)
                ids = [server.add("luma") for _ in range(5)]
                tasks = await client.wait_all("luma", ids, return_failed=True)
                seen.append([(task.id, task.state, round(task.duration, 3)) for task in tasks])
                server.reset()
                assert (dict(server.tasks), server.requests, server.request_count) == ({}, [], 0)
            await client.run("luma", {"prompt": "a boat"})
        assert seen[0] == seen[1]

    async def test_open_connections_go_on(self, server: AceServer, client: Client) -> None:
        """A client keeps its connections over a reset."""
        await client.retrieve("luma", server.add("luma"))
        server.reset()
        await client.retrieve("luma", server.add("luma"))
        assert server.connections == 1


class TestOptions:
    """Options of `add` and `script`."""

    @pytest.mark.parametrize("call", ["add", "script"])
    async def test_mistakes_name_the_choices(self, server: AceServer, call: str) -> None:
        """A wrong outcome lists the outcomes, and an unknown option is a TypeError."""
        with pytest.raises(ValueError, match="'fail' is not a valid Outcome: choose one of 'succeeded', 'failed',"):
            getattr(server, call)("luma", outcome="fail")
        with pytest.raises(TypeError, match="afterwards"):
            getattr(server, call)("luma", afterwards=3)

    async def test_script_and_add_take_the_same_options(self, server: AceServer, client: Client) -> None:
        """A failure that is scripted looks like one that is added."""
        options = {"after": 60, "outcome": "failed", "error": ("moderated", "no lighthouses")}
        server.script("luma", **options)
        handle = await client.submit("luma", {"prompt": "a lighthouse"})
        for task_id in (handle.id, server.add("luma", **options)):
            with pytest.raises(TaskFailedError, match="no lighthouses"):
                await client.wait("luma", task_id)


class TestLoops:
    """The event loop that a server was started in."""

    def test_tasks_can_be_added_between_runs_of_the_loop(self) -> None:
        """A synchronous fixture may add tasks to a server whose loop runs later."""
        with asyncio.Runner() as runner:
            server = runner.run(AceServer().start())
            server.add("luma")
            assert server.environment["USEAPI_API_BASE_URL"] == server.url
            runner.run(server.stop())

    @pytest.mark.parametrize("use", [lambda server: server.url, lambda server: server.add("luma")], ids=["url", "add"])
    def test_use_in_another_loop_is_refused(self, use: Callable[[AceServer], object]) -> None:
        """Code in another loop is told that the server cannot respond, and what to do."""

        async def use_in_loop() -> None:
            use(server)

        with asyncio.Runner() as runner:
            server = runner.run(AceServer().start())
            with pytest.raises(RuntimeError, match=r"AceServer at http.* cannot respond: .*loop_scope"):
                asyncio.run(use_in_loop())
            runner.run(server.stop())

    @pytest.mark.real_clock
    async def test_blocking_client_in_a_thread(self, server: AceServer) -> None:
        """Code of another thread and loop may use a server whose loop runs."""

        def wait() -> str:
            with acetasks.sync.Client(server.token, base_url=server.url) as client:
                return client.wait("luma", server.add("luma", after=0)).state.value

        assert await asyncio.to_thread(wait) == "succeeded"

    def test_start_without_asyncio_is_refused(self) -> None:
        """On another framework, such as trio, the error names the one that is needed."""
        start = AceServer().start()
        with pytest.raises(RuntimeError, match="needs a running asyncio event loop: acetasks runs on asyncio only"):
            start.send(None)

    async def test_environment(self, server: AceServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client without arguments uses the server that the environment names, for both services."""
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        async with Client(rng=random.Random(1)) as client:
            for provider in ("luma", "useapi-pixverse"):
                await client.wait(provider, server.add(provider))
