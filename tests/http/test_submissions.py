"""Submissions of a client, from the call to the service and back; transports alone are in `test_session`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from http_support import GOOD, KEY, TOKEN, TokenGate
from ledger_support import GatedStore
from support import now

import acetasks
from acetasks._http.aiohttp_backend import POOL_SIZE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Handler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]


async def test_time_of_an_uncertain_submission_is_wall_time(listen, monkeypatch):
    """It can be compared with the times of tasks, which are in seconds since the epoch too."""
    monkeypatch.setattr("time.time", lambda: 1_767_225_600.25)
    async with acetasks.Client(TOKEN, base_url=await listen(b"")) as client:
        with pytest.raises(acetasks.SubmissionUncertainError) as caught:
            await client.submit("luma", {"prompt": "a cat"})
    assert caught.value.sent_at == 1_767_225_600.25


class TestConnections:
    """A submission has a connection of its own, in the client's and in the user's session."""

    @pytest.fixture(params=["own", "given", "given, limited", "given, trusting"])
    async def session(self, request) -> AsyncIterator[aiohttp.ClientSession | None]:
        """The session of the client, or None for the client's own."""
        if request.param == "own":
            yield None
            return
        limit = 1 if "limited" in request.param else 100
        connector = aiohttp.TCPConnector(limit=limit, limit_per_host=limit)
        async with aiohttp.ClientSession(connector=connector, trust_env="trusting" in request.param) as http:
            yield http

    async def test_submissions_use_no_connection_again(self, serve, session):
        """Polls share one, before and after; each submission opens and closes another."""
        gate = TokenGate(TOKEN)
        url, polled = await serve(gate), []
        async with acetasks.Client(TOKEN, base_url=url, http=session) as client:
            for _ in range(3):
                await client.retrieve("luma", "t")
                polled.append(len(gate.connections))
                await client.submit("luma", {"prompt": "a cat"})
                await asyncio.sleep(1)
            used = [transport.is_closing() for transport in gate.connections]
            assert (used.count(True), used.count(False)) == (3, 1)
        assert gate.seen == [TOKEN] * 6
        assert polled == [1, 2, 3]

    async def test_dropped_connection_makes_no_submission_uncertain(self, listen, session):
        """A server that resets what comes on a connection a second time gets every submission, on a new one."""
        heads = []

        async def forget(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await reader.readuntil(b"}"))
            writer.write(GOOD)
            if await reader.read(1):
                heads.append(b"again")
                writer.transport.abort()
            writer.close()

        async with acetasks.Client(TOKEN, base_url=await listen(speak=forget), http=session) as client:
            for _ in range(4):
                assert (await client.submit("luma", {"prompt": "a cat"})).id == "t"
                await asyncio.sleep(0.2)
        assert [b"connection: close" in head.lower() for head in heads] == [True] * 4

    @pytest.mark.parametrize("is_own", [True, False])
    async def test_submissions_through_a_tunnel_use_no_connection_again(self, listen, authority, monkeypatch, is_own):
        """Each one opens a tunnel of its own, in which the service sees nothing of the proxy's."""
        seen, opened = [], []
        inner = await listen(GOOD, tls=authority.server_context("ace.example"), seen=seen)

        async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            opened.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            there, back = await asyncio.open_connection("127.0.0.1", int(inner.rpartition(":")[2]))
            await asyncio.gather(pipe(reader, back), pipe(there, writer))

        url = await listen(speak=tunnel)
        async with contextlib.AsyncExitStack() as stack:
            http = None
            if is_own:
                monkeypatch.setenv("HTTPS_PROXY", url)
                monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", authority.client_context())
            else:
                connector = aiohttp.TCPConnector(ssl=authority.client_context())
                http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, proxy=url))
            client = await stack.enter_async_context(acetasks.Client(TOKEN, base_url="https://ace.example", http=http))
            for _ in range(2):
                assert (await client.submit("luma", {"prompt": "a cat"})).id == "t"
        assert [b"x-connection-id" in head for head in opened] == [not is_own] * 2
        assert [b"x-connection-id" in head for head in seen] == [False] * 2


class TestUnsent:
    """What was certainly not sent is sent again, within the attempts of the policy."""

    @pytest.mark.parametrize(
        ("stage", "submit_timeout", "ends_at"),
        [("name", 2, 4.0), ("name", 9, 18.0), ("handshake", 2, 4.0), ("handshake", 9, 4.0)],
    )
    @pytest.mark.parametrize("is_own", [True, False], ids=["own", "given"])
    async def test_timeout_in_connecting_is_retried(  # noqa: PLR0917  # fixtures, and one argument a column
        self, listen, monkeypatch, stage, submit_timeout, ends_at, is_own
    ):
        """Whichever of the two timeouts ends first, neither a name lookup nor a handshake sends a submission."""
        port = int((await listen(speak=hang)).rpartition(":")[2])

        async def getaddrinfo(*_: object, **__: object) -> list[tuple[object, ...]]:
            if stage == "name":
                await asyncio.sleep(10_000)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        retry = acetasks.RetryPolicy(timeout=2, submit_timeout=submit_timeout, attempts=2, base=0)
        async with contextlib.AsyncExitStack() as stack:
            connector = None if is_own else aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver())
            http = None if is_own else await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            client = acetasks.Client(TOKEN, base_url=f"https://ace.localhost:{port}", http=http, retry=retry)
            await stack.enter_async_context(client)
            with pytest.raises(acetasks.TransportError, match="could not be sent") as caught:
                await client.submit("luma", {"prompt": "a cat"})
            assert (caught.value.reached, now()) == (False, ends_at)

    async def test_retry_of_a_middleware_does_not_hide_the_first_attempt(self, listen):
        """A middleware that repeats a request by itself may have sent it: a refused connection is no proof any more."""
        heads = []

        async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await reader.readuntil(b"}"))
            writer.close()

        async def repeat(request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
            with contextlib.suppress(aiohttp.ServerDisconnectedError):
                return await handler(request)
            raise aiohttp.ClientConnectorError(KEY, OSError(111, "refused"))

        async with (
            aiohttp.ClientSession(middlewares=(repeat,)) as http,
            acetasks.Client(TOKEN, base_url=await listen(speak=drop), http=http) as client,
        ):
            with pytest.raises(acetasks.SubmissionUncertainError, match="refused"):
                await client.submit("luma", {"prompt": "a cat"})
        assert len(heads) == 1

    async def test_replaced_body_makes_a_lost_submission_uncertain(self, listen):
        """Where a middleware has another body sent, nothing tells whether it was."""
        bodies = []

        async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            bodies.append((await reader.readuntil(b"}")).partition(b"\r\n\r\n")[2])
            writer.close()

        async def replace(request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
            await request.update_body(b'{"prompt":"a dog"}')
            return await handler(request)

        async with (
            aiohttp.ClientSession(middlewares=(replace,)) as http,
            acetasks.Client(TOKEN, base_url=await listen(speak=drop), http=http) as client,
        ):
            with pytest.raises(acetasks.SubmissionUncertainError):
                await client.submit("luma", {"prompt": "a cat"})
        assert bodies == [b'{"prompt":"a dog"}']


async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept a connection, and nothing else."""
    await asyncio.sleep(10_000)
    writer.close()


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on everything that comes."""
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
    writer.close()


class TestRates:
    """Submissions within the limits of the service and of the user."""

    async def test_refused_submissions_are_spaced(self, server, new_client):
        """Thirty of fifty are answered 429: all are accepted in the end, and none is sent in the pause."""
        server.fail("luma", status=429, headers={"Retry-After": "2"}, times=30)
        events = Events()
        async with new_client(observers=[events]) as client:
            handles = await asyncio.gather(*(client.submit("luma", {"prompt": "a cat"}) for _ in range(50)))
        assert server.submissions == len({handle.id for handle in handles}) == 50
        sent_at = [event.time for event in events.of(acetasks.RequestSent)]
        assert sent_at[:50] == [0.0] * 50
        assert len(sent_at) == 80
        assert sent_at[50] >= 2.0
        assert sent_at[-1] > sent_at[50] + 0.5
        (cut,) = events.of(acetasks.RateCut)
        assert cut.rate == 25.0

    async def test_submissions_and_polls_take_turns_in_the_users_rate(self, server, new_client):
        """Together they are never faster than the rate, none starves, and submissions keep their order."""
        events = Events()
        policy = acetasks.PollPolicy(interval=1, jitter=0, max_rate=2)
        async with new_client(policy=policy, observers=[events]) as client:
            waiting = asyncio.create_task(client.wait("flux", server.add("flux", after=20)))
            await asyncio.sleep(5)
            handles = await asyncio.gather(*(client.submit("luma", {"prompt": "a cat"}) for _ in range(6)))
            await waiting
        sent = events.of(acetasks.RequestSent)
        gaps = [later.time - earlier.time for earlier, later in itertools.pairwise(sent)]
        assert min(gaps) >= 0.549
        assert [handle.id for handle in handles] == list(server.tasks)[1:]
        counts = [event.ids for event in sent]
        assert counts[counts.index(0) :][:11] == [0, 1] * 5 + [0]

    async def test_a_slow_journal_collects_no_submissions(self, server, new_client):
        """Those that it writes down late leave one after the other all the same."""
        store = GatedStore(latency=3.0)
        policy = acetasks.PollPolicy(max_rate=2)
        async with new_client(policy=policy, journal=store) as client:
            await asyncio.gather(*(client.submit("luma", {"prompt": "a cat"}) for _ in range(4)))
        times = [seen.time for seen in server.requests]
        assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.549

    async def test_submissions_wait_for_a_connection_before_their_turn(self, server, new_client):
        """With all connections in use, the next submission is neither written down nor counted."""
        store = GatedStore()
        server.fail("luma", hang=20, times=POOL_SIZE)
        async with new_client(journal=store) as client, asyncio.TaskGroup() as group:
            for _ in range(POOL_SIZE + 1):
                group.create_task(client.submit("luma", {"prompt": "a cat"}))
            await asyncio.sleep(10)
            assert len(store.groups) == 1
            assert store.groups[0].count(" ") == POOL_SIZE - 1

    async def test_a_late_token_collects_no_polls(self, server, new_client):
        """Polls whose turn came while the first token was awaited take another."""

        async def find_token() -> str:
            await asyncio.sleep(5)
            return server.token

        policy = acetasks.PollPolicy(interval=1, max_rate=2, batch_size=1)
        async with new_client(find_token, useapi_token=server.token, policy=policy) as client:
            await client.wait_all("luma", [server.add("luma", after=0) for _ in range(8)])
        times = [seen.time for seen in server.requests]
        assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.549


class TestAbandoned:
    """Submissions whose caller has gone; `tests/faults/ending_table.py` has every way in which one may end."""

    @pytest.mark.parametrize("steps", range(40))
    async def test_cancellation_at_any_step_loses_nothing(self, server, new_client, steps):
        """Either nothing was sent, or the exception has a note and an event tells the task."""
        events = Events()
        async with new_client(observers=[events]) as client:
            submitting = asyncio.create_task(client.submit("luma", {"prompt": "a cat"}))
            for _ in range(steps):
                await asyncio.sleep(0)
            submitting.cancel()
            try:
                ended: object = await submitting
            except asyncio.CancelledError as error:
                ended = error
            await asyncio.sleep(30)
        told = [event.id for event in events.of(acetasks.TaskSubmitted)]
        assert told == list(server.tasks)
        if isinstance(ended, asyncio.CancelledError):
            assert bool(getattr(ended, "__notes__", [])) == bool(told)
        else:
            assert [ended.id] == told

    async def test_response_at_the_time_of_the_cancellation_is_named(self, server, new_client):
        """The note has the id if the response is there already."""
        events = Events()
        async with new_client(observers=[events]) as client:
            submitting = asyncio.create_task(client.submit("luma", {"prompt": "a cat"}))
            events.then = lambda event: isinstance(event, acetasks.TaskSubmitted) and submitting.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await submitting
        (task_id,) = server.tasks
        (note,) = caught.value.__notes__
        assert note.startswith(f"luma task {task_id} was submitted to /luma/videos and may be paid for: ")
        assert note.endswith(f"wait for it with client.handle('luma', '{task_id}')")

    async def test_failed_sibling_loses_no_id(self, server, new_client, caplog):
        """One of fifty is refused, and the task group cancels the others: the log and the events have every id."""
        server.fail("luma", status=400)
        server.fail("luma", hang=2, times=None)
        events = Events()
        async with new_client(observers=[events]) as client:
            with pytest.raises(ExceptionGroup) as caught:
                async with asyncio.TaskGroup() as group:
                    for _ in range(50):
                        group.create_task(client.submit("luma", {"prompt": "a cat"}))
            await asyncio.sleep(5)
        assert [type(error) for error in caught.value.exceptions] == [acetasks.BadRequestError]
        assert {event.id for event in events.of(acetasks.TaskSubmitted)} == set(server.tasks)
        assert len(server.tasks) == server.submissions > 0
        assert all(task_id in caplog.text for task_id in server.tasks)

    @pytest.mark.parametrize("is_sent", [True, False])
    async def test_cancellation_by_other_code_is_an_error(self, server, new_client, listen, is_sent):
        """Something that cancels all tasks of the loop but the caller's leaves an error, not a silent end."""
        server.fail("luma", hang=100)
        url = server.url if is_sent else (await listen(speak=hang)).replace("http:", "https:")
        expected = acetasks.SubmissionUncertainError if is_sent else acetasks.TransportError
        async with new_client(base_url=url) as client:
            submitting = asyncio.create_task(client.submit("luma", {"prompt": "a cat"}))
            await asyncio.sleep(1)
            for task in asyncio.all_tasks():
                if task.get_name() == "acetasks submission":
                    task.cancel()
            with pytest.raises(expected, match="cancelled") as caught:
                await submitting
        assert is_sent or caught.value.reached is False
        assert (now(), server.submissions) == (1.0, int(is_sent))

    async def test_unexpected_exception_after_the_response_is_uncertain(self, server, new_client, monkeypatch):
        """A bug in reading the response does not hide that there was one."""

        def misread(*_: object) -> None:
            raise KeyError("oops")

        monkeypatch.setattr("acetasks._http.submissions.read_submission", misread)
        events = Events()
        async with new_client(observers=[events]) as client:
            with pytest.raises(acetasks.SubmissionUncertainError, match="unexpected KeyError: 'oops'") as caught:
                await client.submit("luma", {"prompt": "a cat"})
        assert [event.error for event in events.of(acetasks.SubmissionUncertain)] == [caught.value]
        assert type(caught.value.__cause__) is KeyError
        assert server.submissions == 1

    async def test_closing_ends_abandoned_submissions(self, server, new_client):
        """After half a second at most, and no task is left."""
        server.fail("luma", hang=100)
        before = asyncio.all_tasks()
        async with new_client() as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3):
                    await client.submit("luma", {"prompt": "a cat"})
            assert len(asyncio.all_tasks() - before) > 0
        assert now() == 3.5
        assert [task for task in asyncio.all_tasks() if task.get_name().startswith("acetasks")] == []


class TestRunTimeout:
    """`run(timeout=)` is for the submission and the wait together."""

    @pytest.mark.parametrize("seconds", [1.5, 3.0])
    async def test_timeout_ends_a_submission(self, server, new_client, seconds):
        """Exactly then, with the time of sending and a note."""
        server.fail("luma", hang=100)
        async with new_client() as client:
            with pytest.raises(acetasks.SubmissionUncertainError, match=f"no response within {seconds:g} s") as caught:
                await client.run("luma", {"prompt": "a cat"}, timeout=seconds)
            assert now() == seconds
        assert ["under way and may have been accepted" in note for note in caught.value.__notes__] == [True]

    async def test_timeout_ends_a_wait(self, server, new_client):
        """The error has the task, and the whole timeout."""
        server.fail("luma", hang=20)
        server.script("luma", after=1000)
        async with new_client() as client:
            with pytest.raises(acetasks.TaskTimeoutError, match="after 60 s") as caught:
                await client.run("luma", {"prompt": "a cat"}, timeout=60)
            assert now() == 60.0
            assert [caught.value.task.id] == list(server.tasks)
            assert caught.value.timeout == 60

    async def test_refusal_is_the_error_of_a_timeout_between_attempts(self, server, new_client):
        """Nothing was accepted, and the error says why."""
        server.fail("luma", status=429, headers={"Retry-After": "40"}, times=None)
        async with new_client() as client:
            with pytest.raises(acetasks.RateLimitError):
                await client.run("luma", {"prompt": "a cat"}, timeout=30)
        assert (now(), server.submissions) == (30.0, 0)

    @pytest.mark.parametrize("timeout", [0, 3])
    async def test_unsent_submission_is_a_transport_error(self, server, new_client, listen, timeout):
        """It can be repeated."""
        url = (await listen(speak=hang)).replace("http:", "https:")
        async with new_client(base_url=url) as client:
            with pytest.raises(acetasks.TransportError, match=f"not sent: no response within {timeout} s") as caught:
                await client.run("luma", {"prompt": "a cat"}, timeout=timeout)
        assert (caught.value.reached, now(), server.submissions) == (False, timeout, 0)


class Events(list[acetasks.Event]):
    """An observer that keeps every event, and passes it to a function."""

    then: Callable[[acetasks.Event], object] = bool

    def on_event(self, event: acetasks.Event) -> None:
        """Keep an event."""
        self.append(event)
        self.then(event)

    def of(self, *kinds: type[acetasks.Event]) -> list[acetasks.Event]:
        """Return the events of some types."""
        return [event for event in self if isinstance(event, kinds)]


class TestHeaders:
    """Headers of the caller's."""

    async def test_submissions_have_the_headers_and_polls_have_not(self, serve):
        """`submit` and `run` send them beside the client's own."""
        seen = []

        async def handler(request: web.Request) -> web.Response:
            seen.append((request.path, request.headers.get("model"), request.headers["authorization"]))
            return web.json_response(
                {"task_id": "t", "id": "t", "response": {"success": True, "data": [{"audio_url": "u"}]}}
            )

        headers, own = {"model": "s2-pro", "Idempotency-Key": "17"}, f"Bearer {TOKEN}"
        async with acetasks.Client(TOKEN, base_url=await serve(handler)) as client:
            await client.submit("fish", {"text": "hello"}, path="/fish/tts", headers=headers)
            await client.run("fish", {"text": "hello"}, path="/fish/tts", headers=headers)
            await client.wait("fish", "t")
            with pytest.raises(ValueError, match="'Authorization' is set by the client"):
                await client.submit("fish", {}, headers={"Authorization": "Bearer other"})
        assert seen[:2] == [("/fish/tts", "s2-pro", own)] * 2
        assert set(seen[2:]) == {("/fish/tasks", None, own)}
