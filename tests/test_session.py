"""HTTP: what is sent, what is sent again, and what each fault becomes."""

from __future__ import annotations

import asyncio
import itertools
import random
import ssl
import types
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from aioresponses import aioresponses

import acetasks
from acetasks import RetryPolicy
from acetasks.providers import Service, lookup
from acetasks.session import BODY_LIMIT, Endpoint, Session
from acetasks.testing.server import AceServer
from acetasks.wire import build_look, build_submission

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

URL = "https://api.example/luma/tasks"
SUBMIT_URL = "https://api.example/luma/videos"
LOOK = build_look(lookup("luma"), ["t"])
SUBMISSION = build_submission(lookup("luma"), {"prompt": "a cat"})
TOKEN = "sesame-0123456789"
#: What aiohttp's connection errors are about.
KEY = types.SimpleNamespace(host="api.example", port=443, is_ssl=True, ssl=True)
REFUSED = {"exception": aiohttp.ClientConnectorError(KEY, OSError(111, "refused"))}


def describe(fault: dict[str, object]) -> str:
    """Name a case."""
    value = next(iter(fault.values()))
    return type(value).__name__ if isinstance(value, Exception) else str(value)


class Answer(aiohttp.ClientResponse):
    """aioresponses 0.7.9 does not pass what aiohttp 3.14 asks of a response it makes."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **({"stream_writer": types.SimpleNamespace(output_size=0)} | options))


@pytest.fixture
def http() -> AsyncIterator[aioresponses]:
    """Answers in the place of all HTTP."""
    with aioresponses() as http:
        yield http


@pytest.fixture
async def new_session() -> AsyncIterator[Callable[..., Session]]:
    """Makes sessions, and closes them."""
    sessions = []

    def make(base_url: str = "https://api.example", **retry: float) -> Session:
        endpoint = Endpoint(base_url=base_url, token=TOKEN, token_variable="ACEDATACLOUD_API_TOKEN")
        session = Session(
            {Service.ACEDATA: endpoint, Service.USEAPI: endpoint},
            http=None,
            retry=RetryPolicy(**retry),
            rng=random.Random(0),
            clock=asyncio.get_running_loop().time,
            emit=events.append,
        )
        sessions.append(session)
        return session

    events: list[acetasks.Event] = []
    make.events = events
    yield make
    for session in sessions:
        await session.close()


def now() -> float:
    """Tell the loop's time."""
    return asyncio.get_running_loop().time()


async def serve(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> tuple[str, web.AppRunner]:
    """Serve a handler at every path."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}", runner


class TestSending:
    """What goes out."""

    async def test_sends_the_documented_request(self, new_session):
        """A look is a POST with the documented headers and body, and an agent with our version."""
        seen = []

        async def handler(request: web.Request) -> web.Response:
            seen.append((request.method, request.path_qs, request.headers.copy(), await request.read()))
            return web.json_response({})

        url, runner = await serve(handler)
        session = new_session(f"{url}/prefix/")
        await session.send(LOOK)
        await session.send(build_look(lookup("useapi-pixverse"), ["a b&c"]))
        await runner.cleanup()
        (method, path, headers, body), (get, query, _, empty) = seen
        assert (method, path, body) == ("POST", "/prefix/luma/tasks", b'{"id":"t","action":"retrieve"}')
        assert headers["authorization"] == f"Bearer {TOKEN}"
        assert headers["accept"] == headers["content-type"] == "application/json"
        assert headers["user-agent"].startswith(f"acetasks/{acetasks.__version__} ")
        assert (get, query, empty) == ("GET", "/prefix/v1/pixverse/jobs/?jobid=a+b%26c", b"")

    async def test_tells_observers_of_every_attempt(self, new_session, http):
        """Each attempt is an event, with its outcome."""
        http.post(URL, status=500, response_class=Answer)
        http.post(URL, payload={}, response_class=Answer)
        await new_session().send(LOOK)
        assert [type(event).__name__ for event in new_session.events] == [
            "RequestSent",
            "RequestFailed",
            "RequestSent",
            "RequestAnswered",
        ]

    async def test_follows_no_redirect(self, new_session):
        """A redirect is an error that says so, and the token goes nowhere else."""
        paths = []

        async def handler(request: web.Request) -> web.Response:
            paths.append(request.path)
            raise web.HTTPFound("/elsewhere")

        url, runner = await serve(handler)
        with pytest.raises(acetasks.BadRequestError, match="redirects are not followed"):
            await new_session(url).send(LOOK)
        await runner.cleanup()
        assert paths == ["/luma/tasks"]


class TestSendingAgain:
    """What is tried again, when, and what is not."""

    @pytest.mark.parametrize(
        "fault",
        [
            {"status": 500, "payload": {"error": {"code": "api_error", "message": "x"}}},
            {"status": 503, "body": "<html>"},
            {"exception": aiohttp.ServerDisconnectedError()},
            {"exception": ConnectionResetError()},
            {"exception": aiohttp.ClientPayloadError("cut")},
            REFUSED,
            {"exception": aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "no such host"))},
            {"exception": aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("bad"))},
            {"exception": TimeoutError()},
            {"exception": aiohttp.ConnectionTimeoutError()},
        ],
        ids=describe,
    )
    async def test_a_look_is_sent_again_after_a_passing_fault(self, new_session, http, fault):
        """A passing fault is tried over, with a full-jittered pause, and the answer that then comes is returned."""
        http.post(URL, **fault, response_class=Answer)
        http.post(URL, payload={"id": "t"}, response_class=Answer)
        response = await new_session(base=1, cap=16).send(LOOK)
        assert response.body == b'{"id": "t"}'
        assert 0 < now() < 1

    async def test_gives_up_after_its_attempts(self, new_session, http):
        """After the last attempt the last error is raised; the pauses double at most up to the cap."""
        http.post(URL, status=500, repeat=True, response_class=Answer)
        with pytest.raises(acetasks.ServiceError):
            await new_session(attempts=6, base=1, cap=4).send(LOOK)
        times = [event.time for event in new_session.events if isinstance(event, acetasks.RequestSent)]
        gaps = [b - a for a, b in itertools.pairwise(times)]
        assert len(gaps) == 5
        assert all(gap <= bound for gap, bound in zip(gaps, [1, 2, 4, 4, 4], strict=True))

    @pytest.mark.parametrize(
        ("status", "headers"), [(429, {}), (503, {"Retry-After": "7"}), (400, {}), (401, {}), (403, {})]
    )
    async def test_what_needs_a_pause_or_cannot_succeed_is_not_sent_again(self, new_session, http, status, headers):
        """A rate limit, a pause asked for and a final error come back at once, for the poller to keep."""
        http.post(URL, status=status, headers=headers, repeat=True, response_class=Answer)
        with pytest.raises(acetasks.APIError) as caught:
            await new_session().send(LOOK)
        assert now() == 0
        assert caught.value.status == status
        assert caught.value.retry_after == (7 if headers else None)

    async def test_a_submission_is_sent_again_only_if_it_surely_did_not_arrive(self, new_session, http):
        """A refused connection is tried over, as nothing was sent."""
        http.post(SUBMIT_URL, **REFUSED)
        http.post(SUBMIT_URL, payload={"task_id": "t"}, response_class=Answer)
        assert (await new_session().send(SUBMISSION)).body == b'{"task_id": "t"}'

    @pytest.mark.parametrize(
        "fault",
        [
            {"exception": aiohttp.ServerDisconnectedError()},
            {"exception": ConnectionResetError()},
            {"exception": TimeoutError()},
            {"exception": aiohttp.ClientPayloadError("cut")},
            {"status": 502, "body": "<html>"},
            {"status": 504, "payload": {"error": {"code": "timeout", "message": "x"}}},
        ],
        ids=describe,
    )
    async def test_a_submission_that_may_have_arrived_is_uncertain_and_sent_once(self, new_session, http, fault):
        """Whatever may have been accepted is not sent again; the error has what was sent and when."""
        http.post(SUBMIT_URL, repeat=True, **fault, response_class=Answer)
        await asyncio.sleep(5)
        with pytest.raises(acetasks.SubmissionUncertainError, match="paid for twice") as caught:
            await new_session().send(SUBMISSION)
        error = caught.value
        assert (error.provider, error.path, error.payload, error.sent_at) == (
            "luma",
            "/luma/videos",
            b'{"prompt":"a cat","async":true}',
            5,
        )
        assert sum(isinstance(event, acetasks.RequestSent) for event in new_session.events) == 1

    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (500, "api_error", acetasks.ServiceError),
            (429, "too_many_requests", acetasks.RateLimitError),
            (403, "used_up", acetasks.PermissionDeniedError),
            (400, "bad_request", acetasks.BadRequestError),
        ],
    )
    async def test_a_submission_that_the_service_rejects_is_rejected_once(self, new_session, http, status, code, kind):
        """The service's own no is raised as it is, and not sent again."""
        http.post(SUBMIT_URL, status=status, payload={"error": {"code": code}}, repeat=True, response_class=Answer)
        with pytest.raises(kind):
            await new_session().send(SUBMISSION)
        assert sum(isinstance(event, acetasks.RequestSent) for event in new_session.events) == 1


class TestLimits:
    """Time and size."""

    @pytest.mark.parametrize("part", ["nothing", "headers", "half"])
    async def test_a_hanging_answer_is_given_up_after_the_timeout(self, new_session, part):
        """A service that hangs, before or in mid-answer, is a transport error at the timeout."""

        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            if part != "nothing":
                await response.prepare(request)
            if part == "half":
                await response.write(b'{"id": "t", ')
            await asyncio.sleep(10_000)
            return response

        url, runner = await serve(handler)
        with pytest.raises(acetasks.TransportError, match="within 30 s") as caught:
            await new_session(url, attempts=1).send(LOOK)
        assert now() == pytest.approx(30, abs=1)
        assert caught.value.reached
        await runner.cleanup()

    async def test_a_body_past_the_limit_is_not_read_to_its_end(self, new_session):
        """A body that grows past the limit is given up while it is read."""
        written = 0

        async def handler(request: web.Request) -> web.StreamResponse:
            nonlocal written
            response = web.StreamResponse()
            await response.prepare(request)
            chunk = bytes(1024 * 1024)
            while written < 4 * BODY_LIMIT:
                await response.write(chunk)
                written += len(chunk)
            return response

        url, runner = await serve(handler)
        with pytest.raises(acetasks.ProtocolError, match="larger than"):
            await new_session(url, attempts=1).send(LOOK)
        await runner.cleanup()
        assert written < 2 * BODY_LIMIT

    async def test_a_refused_connection_did_not_reach_the_service(self, new_session):
        """Nobody listens: the error says that nothing was sent."""
        async with AceServer() as gone:
            url = gone.url
        with pytest.raises(acetasks.TransportError, match="could not be sent") as caught:
            await new_session(url, attempts=1).send(LOOK)
        assert not caught.value.reached


class TestPool:
    """Connections."""

    async def test_reuses_connections_and_rests(self, server):
        """Requests in a row share one connection; at rest it is closed, and the next request opens another."""
        endpoint = Endpoint(base_url=server.url, token=server.token, token_variable="X")
        session = Session(
            {Service.ACEDATA: endpoint},
            http=None,
            retry=RetryPolicy(),
            rng=random.Random(0),
            clock=now,
            emit=lambda _: None,
        )
        for _ in range(3):
            await session.send(LOOK)
        assert (server.connections, server.open_connections) == (1, 1)
        await session.rest()
        await asyncio.sleep(0.01)
        assert server.open_connections == 0
        await session.send(LOOK)
        assert server.connections == 2
        await session.close()

    async def test_does_not_rest_under_a_request(self, new_session):
        """A request under way keeps its connection."""

        async def handler(_: web.Request) -> web.Response:
            await asyncio.sleep(5)
            return web.json_response({})

        url, runner = await serve(handler)
        session = new_session(url)
        sending = asyncio.create_task(session.send(LOOK))
        await asyncio.sleep(1)
        await session.rest()
        assert (await sending).status == 200
        await runner.cleanup()


def test_reprs_show_no_token():
    """Neither the endpoint nor the session shows the token."""
    endpoint = Endpoint(base_url="https://api.example", token=TOKEN, token_variable="X")
    assert TOKEN not in repr(endpoint)
    assert "api.example" in repr(endpoint)
