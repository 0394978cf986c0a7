"""HTTP: what is sent and with which token, what is sent again, what each fault becomes, and what nobody gets to see."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import itertools
import random
import ssl
import traceback
import tracemalloc
import types
import zlib
from typing import TYPE_CHECKING

import aiohttp
import pytest
import trustme
from aiohttp import web
from aiohttp.abc import AbstractResolver
from aioresponses import aioresponses

import acetasks
from acetasks import RetryPolicy
from acetasks.answers import read_look, read_submission
from acetasks.endpoints import Endpoint, Secret
from acetasks.pool import BODY_LIMIT, check_pool
from acetasks.providers import Service, lookup
from acetasks.session import Session
from acetasks.testing.server import AceServer
from acetasks.wire import Response, build_look, build_submission

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from acetasks.endpoints import TokenProvider
    from acetasks.wire import Request

URL = "https://api.example/luma/tasks"
SUBMIT_URL = "https://api.example/luma/videos"
LUMA = lookup("luma")
LOOK = build_look(LUMA, ["t"])
SUBMISSION = build_submission(LUMA, {"prompt": "a cat"})
READERS = {LOOK.path: functools.partial(read_look, LUMA, LOOK)}
READERS[SUBMISSION.path] = functools.partial(read_submission, LUMA, SUBMISSION)
TOKEN, NEW_TOKEN = "sesame-0123456789", "millet-9876543210"
#: What aiohttp's connection errors are about.
KEY = types.SimpleNamespace(host="api.example", port=443, is_ssl=True, ssl=True)
REFUSED = {"exception": aiohttp.ClientConnectorError(KEY, OSError(111, "refused"))}
#: The first pause of a session, whose randomness is always the same, with a base of one second.
FIRST_PAUSE = random.Random(0).random()


def describe(case: object) -> str | None:
    """Name a case by its fault; anything else is named as pytest does."""
    if not isinstance(case, dict):
        return None
    value = next(iter(case.values()))
    return type(value).__name__ if isinstance(value, Exception) else str(value)


def now() -> float:
    """Tell the loop's time."""
    return asyncio.get_running_loop().time()


def take(response: Response) -> Response:
    """Take an answer as it is."""
    return response


def expose(error: BaseException) -> str:
    """Tell all that an error's chain says, and what the frames of it hold that are not of this file."""
    found, pending = [], [traceback.TracebackException.from_exception(error, capture_locals=True)]
    while pending:
        told = pending.pop()
        pending += filter(None, (told.__cause__, told.__context__, *(told.exceptions or ())))
        frames = [frame for frame in told.stack if frame.filename != __file__]
        found += [*told.format_exception_only(), *(str(frame.locals) for frame in frames)]
    return "\n".join(found)


def chain(error: BaseException | None) -> list[type[BaseException]]:
    """List the kinds of an error and of all that led to it."""
    return [type(error), *chain(error.__cause__ or error.__context__)] if error is not None else []


class Answer(aiohttp.ClientResponse):
    """aioresponses 0.7.9 does not pass what aiohttp 3.14 asks of a response it makes."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **({"stream_writer": types.SimpleNamespace(output_size=0)} | options))


class Giver:
    """A token provider that gives one thing after the other, and the last one for ever; an exception is raised.

    Attributes:
        calls: When it was asked.
    """

    def __init__(self, *gives: str | Exception, takes: float = 0.0) -> None:
        self.calls: list[float] = []
        self._gives = list(gives)
        self._takes = takes

    async def __call__(self) -> str:
        """Give the next thing."""
        self.calls.append(now())
        given = self._gives.pop(0) if len(self._gives) > 1 else self._gives[0]
        await asyncio.sleep(self._takes)
        if isinstance(given, Exception):
            raise given
        return given


class Door:
    """A service that lets in who has the right token, and answers a look and a submission alike.

    Attributes:
        seen: The tokens of the requests that came.
        transports: The connections on which they came.
    """

    def __init__(self, *accepts: str, takes: float = 0.0) -> None:
        self.seen: list[str] = []
        self.transports: set[asyncio.Transport] = set()
        self._accepts = accepts
        self._takes = takes

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer a request."""
        token = request.headers["authorization"].removeprefix("Bearer ")
        self.seen.append(token)
        self.transports.add(request.transport)
        await asyncio.sleep(self._takes)
        if token not in self._accepts:
            return web.json_response({"error": {"code": "invalid_token", "message": "who is there?"}}, status=401)
        return web.json_response({"task_id": "t"})


@pytest.fixture
def http() -> AsyncIterator[aioresponses]:
    """Answers in the place of all HTTP."""
    with aioresponses() as http:
        yield http


@pytest.fixture
async def new_session() -> AsyncIterator[Callable[..., Session]]:
    """Makes sessions, and closes them."""
    sessions = []

    def make(
        base_url: str = "https://api.example",
        *,
        token: Secret | TokenProvider | None = Secret(TOKEN),  # noqa: B008  # it never changes
        http: aiohttp.ClientSession | None = None,
        is_watched: bool = True,
        **retry: float,
    ) -> Session:
        endpoint = Endpoint(base_url=base_url, token=token, token_variable="ACEDATACLOUD_API_TOKEN")
        session = Session(
            {Service.ACEDATA: endpoint, Service.USEAPI: endpoint},
            http=http,
            retry=RetryPolicy(**retry),
            rng=random.Random(0),
            clock=asyncio.get_running_loop().time,
            emit=events.append,
            is_watched=is_watched,
        )
        sessions.append(session)
        return session

    events: list[acetasks.Event] = []
    make.events = events
    make.names = lambda: [type(event).__name__ for event in events]
    make.sent_at = lambda: [event.time for event in events if isinstance(event, acetasks.RequestSent)]
    yield make
    for made in sessions:
        await made.close()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Starts servers that answer every request with a function, and stops them."""
    runners = []

    async def start(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
        async def answer(request: web.Request) -> web.StreamResponse:
            return await handler(request)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def listen() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Starts servers that answer each request with raw bytes, and stops them; None leaves it without an answer."""
    servers, writers = [], []

    async def start(
        *answers: bytes | None,
        tls: ssl.SSLContext | None = None,
        seen: list[bytes] | None = None,
        speak: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None,
    ) -> str:
        replies = itertools.chain(answers, itertools.repeat(answers[-1] if answers else None))

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                if seen is not None:
                    seen.append(head)
                await reader.readuntil(b"}")
                reply = next(replies)
                if reply is None:
                    await asyncio.sleep(10_000)
                else:
                    writer.write(reply)
                    await writer.drain()
            writer.close()

        async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            await (speak or answer)(reader, writer)

        server = await asyncio.start_server(welcome, "127.0.0.1", 0, ssl=tls)
        servers.append(server)
        return f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0)


def reply(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """Write an answer over HTTP."""
    return b"HTTP/1.1 %s\r\n%s\r\n%s" % (status, b"".join(b"%s\r\n" % header for header in headers), body)


GOOD = reply(b'{"task_id":"t"}', b"content-length: 15")


#: Answers over HTTP that are none.
FAULTS = {
    "no answer": b"",
    "no HTTP": b"220 mail.example ESMTP\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\ncontent-le",
    "no status": b"HTTP/1.1 fine\r\n\r\n",
    "a cut body": reply(b'{"task_id":', b"content-length: 15"),
    "a cut chunk": reply(b'f\r\n{"task_id":', b"transfer-encoding: chunked"),
    "no last chunk": reply(b'f\r\n{"task_id":"t"}\r\n', b"transfer-encoding: chunked"),
    "no size of a chunk": reply(b"many\r\n{}\r\n0\r\n\r\n", b"transfer-encoding: chunked"),
    "no length": reply(b"{}", b"content-length: two"),
    "a long header": reply(b"{}", b"content-length: 2", b"x-long: " + b"x" * 100_000),
    "a long status": reply(b"{}", b"content-length: 2", status=b"200 " + b"x" * 100_000),
    "many headers": reply(b"{}", b"content-length: 2", *(b"x-%d: x" % number for number in range(10_000))),
    "an odd header": reply(b"{}", b"content-length: 2", b"x-odd: a\0b"),
    "no gzip": reply(b'{"task_id":"t"}', b"content-length: 15", b"content-encoding: gzip"),
    "no brotli": reply(b'{"task_id":"t"}', b"content-length: 15", b"content-encoding: br"),
}


class TestSending:
    """What goes out, and what comes back."""

    async def test_sends_the_documented_request(self, new_session, serve):
        """A look is a POST with the documented headers and body, and an agent with our version."""
        seen = []

        async def handler(request: web.Request) -> web.Response:
            seen.append((request.method, request.path_qs, request.headers.copy(), await request.read()))
            return web.json_response({})

        session = new_session(f"{await serve(handler)}/prefix/")
        await session.send(LOOK, take)
        await session.send(build_look(lookup("useapi-pixverse"), ["a b&c"]), take)
        (method, path, headers, body), (get, query, _, empty) = seen
        assert (method, path, body) == ("POST", "/prefix/luma/tasks", b'{"id":"t","action":"retrieve"}')
        assert headers["authorization"] == f"Bearer {TOKEN}"
        assert headers["accept"] == headers["content-type"] == "application/json"
        assert headers["user-agent"].startswith(f"acetasks/{acetasks.__version__} ")
        assert (get, query, empty) == ("GET", "/prefix/v1/pixverse/jobs/?jobid=a+b%26c", b"")

    async def test_returns_what_is_read(self, new_session, serve):
        """The reader is given the status, the headers and the whole body; what it makes is returned."""
        answers = []

        async def handler(_: web.Request) -> web.Response:
            return web.json_response({"id": "t"}, headers={"Retry-After": "7", "Date": "today", "X-Other": "x"})

        def read(response: Response) -> str:
            answers.append(response)
            return "read"

        assert await new_session(await serve(handler)).send(LOOK, read) == "read"
        (answer,) = answers
        assert (answer.status, answer.body) == (200, b'{"id": "t"}')
        assert (answer.headers["retry-after"], answer.headers["date"]) == ("7", "today")

    async def test_tells_observers_of_every_attempt(self, new_session, http):
        """Each attempt is an event, with its outcome."""
        http.post(URL, status=500, response_class=Answer)
        http.post(URL, payload={}, response_class=Answer)
        await new_session().send(LOOK, take, attempts=2)
        sent, failed, again, answered = new_session.events
        assert sent == acetasks.RequestSent(time=0.0, provider="luma", ids=1)
        assert (failed.time, type(failed.error)) == (0.0, acetasks.ServiceError)
        assert again == acetasks.RequestSent(time=FIRST_PAUSE, provider="luma", ids=1)
        assert answered == acetasks.RequestAnswered(time=FIRST_PAUSE, provider="luma", ids=1, status=200, seconds=0.0)

    async def test_tells_of_failures_alone_where_nobody_watches(self, new_session, http):
        """They are for the log; what goes well is not worth an event then."""
        http.post(URL, status=500, response_class=Answer)
        http.post(URL, body="<html>", response_class=Answer)
        http.post(URL, payload={}, response_class=Answer)
        session = new_session(is_watched=False)
        with pytest.raises(acetasks.ServiceError):
            await session.send(LOOK, take)
        with pytest.raises(acetasks.ProtocolError):
            await session.send(LOOK, READERS[LOOK.path])
        assert (await session.send(LOOK, take)).status == 200
        failed, unread = new_session.events
        assert (failed.ids, type(failed), type(failed.error)) == (1, acetasks.RequestFailed, acetasks.ServiceError)
        assert (unread.ids, type(unread), type(unread.error)) == (1, acetasks.RequestFailed, acetasks.ProtocolError)

    async def test_times_an_answer_to_its_last_byte(self, new_session, serve):
        """How long a request took counts from its sending, not from its admission or first attempt."""
        session = new_session(await serve(Door(TOKEN, takes=2.5)))
        await session.send(SUBMISSION, take, admit=functools.partial(asyncio.sleep, 4))
        sent, answered = new_session.events
        assert (sent.time, answered.time, answered.seconds, answered.ids) == (4.0, 6.5, 2.5, 0)

    async def test_follows_no_redirect(self, new_session, serve):
        """A redirect is an error that says so, and the token goes nowhere else."""
        paths = []

        async def handler(request: web.Request) -> web.Response:
            paths.append(request.path)
            raise web.HTTPFound("/elsewhere")

        with pytest.raises(acetasks.BadRequestError, match="redirects are not followed"):
            await new_session(await serve(handler)).send(LOOK, take, attempts=3)
        assert paths == ["/luma/tasks"]

    async def test_sends_nothing_without_a_token(self, new_session):
        """A missing token is an error before anything is sent."""
        session = new_session(token=None)
        with pytest.raises(acetasks.AuthenticationError, match="set ACEDATACLOUD_API_TOKEN"):
            session.check(Service.ACEDATA)
        with pytest.raises(acetasks.AuthenticationError, match="set ACEDATACLOUD_API_TOKEN"):
            await session.send(LOOK, take, attempts=3)
        assert new_session.events == []

    async def test_waits_to_be_admitted_before_each_attempt(self, new_session, http):
        """An attempt is sent when it is allowed, and the next one needs leave of its own."""
        http.post(URL, status=500, repeat=True, response_class=Answer)
        asked = []

        async def admit() -> None:
            asked.append(now())
            await asyncio.sleep(10)

        with pytest.raises(acetasks.ServiceError):
            await new_session(base=0).send(LOOK, take, admit=admit, attempts=3)
        assert asked == [0.0, 10.0, 20.0]
        assert new_session.sent_at() == [10.0, 20.0, 30.0]

    async def test_is_not_sent_where_it_is_not_admitted(self, new_session):
        """Leave may be refused for good, and is asked for before the token is."""

        async def admit() -> None:
            raise acetasks.RateLimitError("not today")

        giver = Giver(TOKEN)
        with pytest.raises(acetasks.RateLimitError, match="not today"):
            await new_session(token=giver).send(LOOK, take, admit=admit, attempts=3)
        assert (giver.calls, new_session.events) == ([], [])


class TestSendingAgain:
    """What is tried again, when, and what is not."""

    @pytest.mark.parametrize(
        "fault",
        [
            {"status": 500, "payload": {"error": {"code": "api_error", "message": "x"}}},
            {"status": 503, "body": "<html>"},
            {"status": 200, "body": "<html>"},
            {"status": 200, "body": ""},
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
        """A passing fault is tried over, with a full-jittered pause, and the answer that then comes is read."""
        http.post(URL, **fault, response_class=Answer)
        http.post(URL, payload={"id": "t"}, response_class=Answer)
        look = await new_session(base=1, cap=16).send(LOOK, READERS[LOOK.path], attempts=2)
        assert list(look.readings) == ["t"]
        assert now() == FIRST_PAUSE
        assert new_session.names() == ["RequestSent", "RequestFailed", "RequestSent", "RequestAnswered"]

    async def test_a_look_is_sent_once_unless_told_otherwise(self, new_session, http):
        """The poller looks again in its own time."""
        http.post(URL, status=500, repeat=True, response_class=Answer)
        with pytest.raises(acetasks.ServiceError):
            await new_session(attempts=6).send(LOOK, take)
        assert new_session.names() == ["RequestSent", "RequestFailed"]
        assert now() == 0

    async def test_gives_up_after_its_attempts(self, new_session, http):
        """After the last attempt the last error is raised; the pauses double at most up to the cap."""
        http.post(URL, status=500, repeat=True, response_class=Answer)
        with pytest.raises(acetasks.ServiceError):
            await new_session(base=1, cap=4).send(LOOK, take, attempts=6)
        rng = random.Random(0)
        pauses = [bound * rng.random() for bound in (1, 2, 4, 4, 4)]
        assert new_session.sent_at() == pytest.approx([0, *itertools.accumulate(pauses)])

    @pytest.mark.parametrize(
        ("status", "headers"), [(429, {}), (503, {"Retry-After": "7"}), (400, {}), (401, {}), (403, {})]
    )
    async def test_what_needs_a_pause_or_cannot_succeed_is_not_sent_again(self, new_session, http, status, headers):
        """A rate limit, a pause asked for and a final error come back at once, for the poller to keep."""
        http.post(URL, status=status, headers=headers, repeat=True, response_class=Answer)
        with pytest.raises(acetasks.APIError) as caught:
            await new_session().send(LOOK, take, attempts=4)
        assert now() == 0
        assert new_session.names() == ["RequestSent", "RequestFailed"]
        assert caught.value.status == status
        assert caught.value.retry_after == (7 if headers else None)

    @pytest.mark.parametrize("body", ["[]", '{"id":"t","progress":1e999}'])
    async def test_what_stays_unreadable_is_not_asked_for_again(self, new_session, http, body):
        """An answer that is whole and cannot be read would only come again; it is a failed attempt all the same."""
        http.post(URL, body=body, repeat=True, response_class=Answer)
        with pytest.raises(acetasks.ProtocolError) as caught:
            await new_session().send(LOOK, READERS[LOOK.path], attempts=4)
        sent, failed = new_session.events
        assert (sent.time, failed.error) == (0.0, caught.value)

    async def test_a_page_in_the_place_of_an_answer_is_a_failed_attempt(self, new_session, http):
        """A gateway's page may come with status 200: whoever watches must not take it for an answer."""
        http.post(URL, body="<html>Be right back</html>", repeat=True, response_class=Answer)
        with pytest.raises(acetasks.ProtocolError, match="Be right back"):
            await new_session().send(LOOK, READERS[LOOK.path], attempts=3)
        assert new_session.names() == ["RequestSent", "RequestFailed"] * 3

    async def test_a_pause_until_a_date_counts_from_the_answers_own_time(self, new_session, listen, monkeypatch):
        """Where an answer does not say what time it is, the machine's own clock is asked."""
        monkeypatch.setattr("time.time", lambda: 1_767_225_600.0)  # 2026-01-01, at midnight
        until, date = b"retry-after: Thu, 01 Jan 2026 00:01:30 GMT", b"date: Thu, 01 Jan 2026 00:01:00 GMT"
        busy = functools.partial(reply, b"", b"content-length: 0", until, status=b"503 Busy")
        session = new_session(await listen(busy(), busy(date)))
        pauses = []
        for _ in range(2):
            with pytest.raises(acetasks.ServiceError) as caught:
                await session.send(LOOK, take, attempts=3)
            pauses.append(caught.value.retry_after)
        assert pauses == [90.0, 30.0]


class TestSubmitting:
    """What must not be paid for twice."""

    @pytest.mark.parametrize(
        "fault",
        [
            REFUSED,
            {"exception": aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "no such host"))},
            {"exception": aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("bad"))},
            {"exception": aiohttp.ConnectionTimeoutError()},
        ],
        ids=describe,
    )
    async def test_is_sent_again_if_it_surely_did_not_arrive(self, new_session, http, fault):
        """Where there was no connection nothing was sent, and it is tried over; who asks for looks has no say in it."""
        http.post(SUBMIT_URL, **fault)
        http.post(SUBMIT_URL, payload={"task_id": "t"}, response_class=Answer)
        task = await new_session().send(SUBMISSION, READERS[SUBMISSION.path], attempts=1)
        assert (task.id, now()) == ("t", FIRST_PAUSE)

    async def test_is_given_up_after_its_attempts(self, new_session, http):
        """A service that cannot be reached at all is tried as often as the policy says; nothing is uncertain then."""
        http.post(SUBMIT_URL, **REFUSED, repeat=True)
        with pytest.raises(acetasks.TransportError, match="could not be sent") as caught:
            await new_session(attempts=3).send(SUBMISSION, take)
        assert not caught.value.reached
        assert new_session.names() == ["RequestSent", "RequestFailed"] * 3

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            ({"exception": aiohttp.ServerDisconnectedError()}, acetasks.TransportError),
            ({"exception": ConnectionResetError()}, acetasks.TransportError),
            ({"exception": TimeoutError()}, acetasks.TransportError),
            ({"exception": aiohttp.ClientPayloadError("cut")}, acetasks.TransportError),
            ({"status": 502, "body": "<html>"}, acetasks.ServiceError),
            ({"status": 408}, acetasks.ServiceError),
            ({"status": 504, "payload": {"error": {"code": "timeout", "message": "x"}}}, acetasks.ServiceError),
            ({"body": "<html>"}, acetasks.ProtocolError),
            ({"body": "{}"}, acetasks.ProtocolError),
            ({"body": "[]"}, acetasks.ProtocolError),
            ({"body": '{"task_id":"t","progress":1e999}'}, acetasks.ProtocolError),
        ],
        ids=str,
    )
    async def test_is_uncertain_and_sent_once_if_it_may_have_arrived(self, new_session, http, fault, kind):
        """Whatever may have been accepted is not sent again; the error has what was sent and when."""
        http.post(SUBMIT_URL, repeat=True, **fault, response_class=Answer)
        await asyncio.sleep(5)
        with pytest.raises(acetasks.SubmissionUncertainError, match="paid for twice") as caught:
            await new_session().send(SUBMISSION, READERS[SUBMISSION.path])
        error = caught.value
        assert (error.provider, error.path, error.payload, error.sent_at) == (
            "luma",
            "/luma/videos",
            b'{"prompt":"a cat","async":true}',
            5.0,
        )
        sent, failed = new_session.events
        assert type(error.__cause__) is kind
        assert (sent.time, failed.error) == (5.0, error.__cause__)
        assert str(error.__cause__) in str(error)

    @pytest.mark.parametrize("fault", [{"exception": TimeoutError()}, {"body": "<html>"}], ids=describe)
    async def test_an_uncertain_attempt_is_the_one_that_counts(self, new_session, http, fault):
        """What was sent when is told of the attempt that may have arrived, not of those before it."""
        http.post(SUBMIT_URL, **REFUSED)
        http.post(SUBMIT_URL, **REFUSED)
        http.post(SUBMIT_URL, **fault, response_class=Answer)
        with pytest.raises(acetasks.SubmissionUncertainError) as caught:
            await new_session().send(SUBMISSION, READERS[SUBMISSION.path])
        assert caught.value.sent_at == now() == new_session.sent_at()[-1] > FIRST_PAUSE
        assert len(new_session.sent_at()) == 3

    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (500, "api_error", acetasks.ServiceError),
            (429, "too_many_requests", acetasks.RateLimitError),
            (403, "used_up", acetasks.PermissionDeniedError),
            (401, "invalid_token", acetasks.AuthenticationError),
            (400, "bad_request", acetasks.BadRequestError),
        ],
    )
    async def test_what_the_service_rejects_is_rejected_once(self, new_session, http, status, code, kind):
        """The service's own no is raised as it is, and not sent again."""
        http.post(SUBMIT_URL, status=status, payload={"error": {"code": code}}, repeat=True, response_class=Answer)
        with pytest.raises(kind) as caught:
            await new_session().send(SUBMISSION, READERS[SUBMISSION.path])
        assert type(caught.value) is kind
        assert new_session.names() == ["RequestSent", "RequestFailed"]


@pytest.mark.parametrize("request_", [LOOK, SUBMISSION], ids=["look", "submission"])
class TestRenewing:
    """What is done about a token that is refused: for looks and submissions alike, since a refusal is an answer."""

    async def test_sends_again_with_another_token(self, new_session, serve, request_: Request):
        """A refused request is sent again at once with a new token, which all requests from then on have."""
        door, giver = Door(NEW_TOKEN), Giver(TOKEN, NEW_TOKEN)
        session = new_session(await serve(door), token=giver)
        await session.send(request_, READERS[request_.path])
        assert door.seen == [TOKEN, NEW_TOKEN]
        assert new_session.names() == ["RequestSent", "RequestFailed", "RequestSent", "RequestAnswered"]
        assert type(new_session.events[1].error) is acetasks.AuthenticationError
        await session.send(LOOK, READERS[LOOK.path])
        await session.send(SUBMISSION, READERS[SUBMISSION.path])
        assert door.seen == [TOKEN, *[NEW_TOKEN] * 3]
        assert len(giver.calls) == 2
        assert now() == 0

    async def test_asks_once_however_many_are_refused_together(self, new_session, serve, request_: Request):
        """Twenty requests that are refused at once take one call, and each is sent once more."""
        door, giver = Door(NEW_TOKEN, takes=1), Giver(TOKEN, NEW_TOKEN, "never-given", takes=2)
        session = new_session(await serve(door), token=giver)
        await asyncio.gather(*(session.send(request_, READERS[request_.path]) for _ in range(20)))
        assert door.seen == [TOKEN] * 20 + [NEW_TOKEN] * 20
        assert giver.calls == [0.0, 3.0]
        assert now() == 6.0

    async def test_the_same_token_again_is_final(self, new_session, serve, request_: Request):
        """Where there is no other token the refusal is raised as it is; nothing is sent twice with one token."""
        door, giver = Door(takes=1), Giver(TOKEN, takes=2)
        session = new_session(await serve(door), token=giver)
        sends = (session.send(request_, READERS[request_.path], attempts=5) for _ in range(10))
        errors = await asyncio.gather(*sends, return_exceptions=True)
        assert {(type(error), error.status, error.code) for error in errors} == {
            (acetasks.AuthenticationError, 401, "invalid_token")
        }
        assert door.seen == [TOKEN] * 10
        assert giver.calls == [0.0, 3.0]

    async def test_a_later_request_asks_again(self, new_session, serve, request_: Request):
        """A provider that had nothing new is asked again before the next request, which then has the new token."""
        door, giver = Door(NEW_TOKEN), Giver(TOKEN, TOKEN, NEW_TOKEN)
        session = new_session(await serve(door), token=giver)
        with pytest.raises(acetasks.AuthenticationError):
            await session.send(request_, take)
        await asyncio.sleep(60)
        await session.send(request_, take)
        assert door.seen == [TOKEN, NEW_TOKEN]
        assert giver.calls == [0.0, 0.0, 60.0]

    async def test_is_tried_once_for_each_request(self, new_session, serve, request_: Request):
        """A new token that is refused as well is final, however many more the provider has."""
        door, giver = Door(), Giver("one", "two", "three")
        with pytest.raises(acetasks.AuthenticationError):
            await new_session(await serve(door), token=giver).send(request_, take, attempts=5)
        assert door.seen == ["one", "two"]

    async def test_a_given_token_has_no_other(self, new_session, serve, request_: Request):
        """Without a provider a refusal is final at once."""
        door = Door()
        with pytest.raises(acetasks.AuthenticationError, match="who is there"):
            await new_session(await serve(door)).send(request_, take, attempts=5)
        assert door.seen == [TOKEN]

    async def test_needs_leave_for_each_sending(self, new_session, serve, request_: Request):
        """A request that is sent again with another token is admitted again."""
        asked = []

        async def admit() -> None:
            asked.append(now())
            await asyncio.sleep(10)

        session = new_session(await serve(Door(NEW_TOKEN)), token=Giver(TOKEN, NEW_TOKEN, takes=3))
        await session.send(request_, take, admit=admit)
        assert asked == [0.0, 16.0]
        assert new_session.sent_at() == [13.0, 26.0]

    async def test_a_provider_that_cannot_be_reached_is_asked_again(self, new_session, serve, request_: Request):
        """A fault of the provider's passes like one of the service's, before which nothing was accepted."""
        door, giver = Door(NEW_TOKEN), Giver(OSError("sealed"), TOKEN, OSError("sealed"), NEW_TOKEN)
        session = new_session(await serve(door), token=giver)
        await session.send(request_, READERS[request_.path], attempts=3)
        rng = random.Random(0)
        pauses = [0.0, *itertools.accumulate(bound * rng.random() for bound in (1, 2))]
        assert door.seen == [TOKEN, NEW_TOKEN]
        assert giver.calls == [pauses[0], pauses[1], pauses[1], pauses[2]]

    async def test_a_provider_that_cannot_be_reached_is_told_to_all(self, new_session, serve, request_: Request):
        """Those who are refused together share the fault, which passes: none is told that the token is wrong."""
        door, giver = Door(takes=1), Giver(TOKEN, OSError("sealed"), takes=2)
        session = new_session(await serve(door), token=giver, attempts=1)
        errors = await asyncio.gather(*(session.send(request_, take) for _ in range(10)), return_exceptions=True)
        assert {(type(error), error.reached) for error in errors} == {(acetasks.TransportError, False)}
        assert giver.calls == [0.0, 3.0]
        assert now() == 5.0

    async def test_a_provider_that_hangs_is_given_up(self, new_session, request_: Request):
        """A provider has the patience of its endpoint; nothing was sent then."""
        giver = Giver(TOKEN, takes=10_000)
        with pytest.raises(acetasks.TransportError, match=r"token provider .* could not be reached") as caught:
            await new_session(token=giver, attempts=1).send(request_, take)
        assert not caught.value.reached
        assert now() == 30.0
        assert new_session.events == []

    async def test_a_cancelled_request_holds_up_no_other(self, new_session, serve, request_: Request):
        """A request that is cancelled while its token is renewed leaves that to the next."""
        door, giver = Door(NEW_TOKEN), Giver(TOKEN, "never-given", NEW_TOKEN, takes=10)
        session = new_session(await serve(door), token=giver)
        first, second = (asyncio.create_task(session.send(request_, take)) for _ in range(2))
        await asyncio.sleep(14)
        first.cancel()
        await second
        assert first.cancelled()
        assert door.seen == [TOKEN, TOKEN, NEW_TOKEN]
        assert giver.calls == [0.0, 10.0, 14.0]


async def test_what_is_uncertain_after_a_renewal_was_sent_after_it(new_session, listen):
    """The refused attempt was surely not accepted: it is the one with the new token that may have been."""
    refusal = reply(b"", b"content-length: 0", status=b"401 Unauthorized")
    session = new_session(await listen(refusal, b""), token=Giver(TOKEN, NEW_TOKEN, takes=3))
    with pytest.raises(acetasks.SubmissionUncertainError) as caught:
        await session.send(SUBMISSION, take)
    assert caught.value.sent_at == 6.0
    assert new_session.sent_at() == [3.0, 6.0]


class TestFaults:
    """What a service does wrong on a real connection: an error of this library, and nothing in it that is secret."""

    @pytest.mark.parametrize("fault", FAULTS)
    async def test_a_broken_answer_is_a_transport_error(self, new_session, listen, fault):
        """An answer that is broken off may come whole next time; nothing that aiohttp held is in the error's frames."""
        session = new_session(await listen(FAULTS[fault], GOOD))
        with pytest.raises(acetasks.TransportError, match="luma: POST /luma/tasks got no complete answer") as caught:
            await session.send(LOOK, READERS[LOOK.path])
        assert caught.value.reached
        assert chain(caught.value) == [acetasks.TransportError]
        assert TOKEN not in expose(caught.value)
        assert len(str(caught.value)) < 1000
        assert (await session.send(LOOK, READERS[LOOK.path])).readings.keys() == {"t"}
        assert now() == 0

    @pytest.mark.parametrize("fault", FAULTS)
    async def test_a_broken_answer_to_a_submission_leaves_it_uncertain(self, new_session, listen, fault):
        """What came may have followed an acceptance; the token is in no frame of that error either."""
        session = new_session(await listen(FAULTS[fault], GOOD))
        with pytest.raises(acetasks.SubmissionUncertainError, match="got no complete answer") as caught:
            await session.send(SUBMISSION, READERS[SUBMISSION.path])
        assert chain(caught.value) == [acetasks.SubmissionUncertainError, acetasks.TransportError]
        assert TOKEN not in expose(caught.value)
        assert len(new_session.sent_at()) == 1

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (reply(b"<html>", b"content-length: 6"), acetasks.ProtocolError),
            (reply(b"", status=b"204 No Content"), acetasks.ProtocolError),
            (reply(b"{}", b"content-length: 2", status=b"500 Oops"), acetasks.ServiceError),
            (reply(b"{}", b"content-length: 2", status=b"401 Who"), acetasks.AuthenticationError),
            (reply(b"{}", b"content-length: 2", status=b"999 Odd"), acetasks.ServiceError),
            (reply(b"", b"location: /", b"content-length: 0", status=b"307 There"), acetasks.BadRequestError),
        ],
        ids=lambda value: value.decode().partition("\r")[0] if isinstance(value, bytes) else value.__name__,
    )
    async def test_no_error_shows_the_token(self, new_session, listen, answer, kind):
        """Nor is the token in any frame of the errors that a whole answer becomes."""
        with pytest.raises(kind) as caught:
            await new_session(await listen(answer)).send(LOOK, READERS[LOOK.path])
        assert TOKEN not in expose(caught.value)

    @pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
    async def test_an_interim_answer_is_none(self, new_session, listen, interim):
        """What announces an answer is passed over."""
        session = new_session(await listen(reply(b"", status=interim) + GOOD))
        assert (await session.send(LOOK, take)).body == b'{"task_id":"t"}'

    @pytest.mark.parametrize(
        ("fault", "text"),
        [
            ({"exception": aiohttp.ServerDisconnectedError("gone")}, "complete answer (ServerDisconnectedError: gone)"),
            ({"exception": ConnectionResetError()}, "complete answer (ConnectionResetError)"),
            ({"exception": aiohttp.ConnectionTimeoutError()}, "could not be sent (ConnectionTimeoutError)"),
            ({"exception": TimeoutError("x")}, "luma: POST /luma/tasks was not answered within 30 s"),
            (REFUSED, "luma: POST /luma/tasks could not be sent (ClientConnectorError: Cannot connect to host api.ex"),
        ],
        ids=describe,
    )
    async def test_says_what_broke(self, new_session, http, fault, text):
        """The error names the request and aiohttp's own error, whose text may be empty."""
        http.post(URL, **fault)
        with pytest.raises(acetasks.TransportError) as caught:
            await new_session().send(LOOK, take)
        assert text in str(caught.value)
        assert chain(caught.value) == [acetasks.TransportError]

    @pytest.mark.parametrize("fault", [OSError("sealed"), KeyError("vault"), "\r\nx", ""], ids=repr)
    async def test_no_fault_of_the_provider_shows_the_last_token(self, new_session, serve, fault):
        """A renewal that fails holds the refused token, and does not show it."""
        giver = Giver(TOKEN, fault)
        with pytest.raises((acetasks.TransportError, acetasks.AuthenticationError), match="token provider") as caught:
            await new_session(await serve(Door()), token=giver).send(LOOK, take)
        assert TOKEN not in expose(caught.value)

    @pytest.mark.parametrize("has_begun", [False, True], ids=["no answer", "half an answer"])
    @pytest.mark.parametrize("request_", [LOOK, SUBMISSION], ids=["look", "submission"])
    async def test_a_request_that_is_cancelled_shows_no_token(self, new_session, serve, has_begun, request_):
        """A timeout of the user's own has aiohttp's frames in its traceback, and they do not show it either."""

        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            if has_begun:
                await response.prepare(request)
                await response.write(b'{"task_id":')
            await asyncio.sleep(10_000)
            return response

        session = new_session(await serve(handler))
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(5):
                await session.send(request_, take)
        exposed = expose(caught.value)
        assert (
            "Bearer ..." in exposed
        ) is not has_begun  # while it waits for the head, aiohttp has the headers at hand
        assert TOKEN not in exposed
        assert now() == 5.0


class TestConnecting:
    """Ways to the service that lead nowhere: nothing was sent, so that everything may be sent again."""

    async def test_a_refused_connection_did_not_reach_the_service(self, new_session):
        """Nobody listens: the error says that nothing was sent."""
        async with AceServer() as gone:
            url = gone.url
        with pytest.raises(acetasks.TransportError, match="could not be sent") as caught:
            await new_session(url).send(LOOK, take)
        assert not caught.value.reached
        assert chain(caught.value) == [acetasks.TransportError]
        assert TOKEN not in expose(caught.value)

    @pytest.mark.parametrize("request_", [LOOK, SUBMISSION], ids=["look", "submission"])
    async def test_a_name_that_is_not_found_may_be_found_later(self, new_session, serve, request_):
        """A failure to resolve the host's name passes, and is not remembered."""
        door, resolver = Door(TOKEN), Resolver(OSError(-3, "try again"), "127.0.0.1")
        port = (await serve(door)).rpartition(":")[2]
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver)) as http:
            session = new_session(f"http://api.localhost:{port}", http=http, attempts=1)
            with pytest.raises(acetasks.TransportError, match=r"could not be sent .*api\.localhost") as caught:
                await session.send(request_, take)
            assert not caught.value.reached
            assert TOKEN not in expose(caught.value)
            await session.send(request_, take)
        assert door.seen == [TOKEN]
        assert resolver.asked == ["api.localhost"] * 2

    @pytest.mark.parametrize("request_", [LOOK, SUBMISSION], ids=["look", "submission"])
    async def test_a_certificate_of_nobody_we_trust_is_refused(self, new_session, listen, authority, request_):
        """Without a chain to a trusted authority the handshake fails, and the token is not sent."""
        seen = []
        url = await listen(GOOD, tls=authority.server_context("127.0.0.1"), seen=seen)
        with pytest.raises(acetasks.TransportError, match=r"could not be sent .*CERTIFICATE_VERIFY_FAILED") as caught:
            await new_session(url, attempts=2).send(request_, take)
        assert not caught.value.reached
        assert TOKEN not in expose(caught.value)
        assert seen == []

    async def test_a_certificate_of_another_host_is_refused(self, new_session, listen, authority):
        """An authority that we trust vouches for somebody else: the token is not for them."""
        seen = []
        url = await listen(GOOD, tls=authority.server_context("elsewhere.example"), seen=seen)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=authority.client_context())) as http:
            with pytest.raises(acetasks.TransportError, match=r"could not be sent .*127\.0\.0\.1") as caught:
                await new_session(url, http=http).send(LOOK, take)
        assert not caught.value.reached
        assert seen == []

    async def test_an_authority_of_ones_own_is_trusted_through_ones_own_session(self, new_session, listen, authority):
        """A session whose connector knows the authority passes the check and gets an answer."""
        seen = []
        url = await listen(GOOD, tls=authority.server_context("127.0.0.1"), seen=seen)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=authority.client_context())) as http:
            check_pool(http, allow_insecure=False)
            look = await new_session(url, http=http).send(LOOK, READERS[LOOK.path])
        assert look.readings.keys() == {"t"}
        (head,) = seen
        assert f"Bearer {TOKEN}".encode() in head

    @pytest.mark.parametrize("request_", [LOOK, SUBMISSION], ids=["look", "submission"])
    async def test_a_server_without_tls_is_not_spoken_to_in_the_clear(self, new_session, listen, request_):
        """Where a base URL says https and the server does not, the handshake fails before anything is sent."""
        seen = []

        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.read(1000))
            writer.write(GOOD)
            writer.close()

        url = (await listen(speak=speak)).replace("http:", "https:")
        with pytest.raises(acetasks.TransportError, match="could not be sent") as caught:
            await new_session(url, attempts=1).send(request_, take)
        assert not caught.value.reached
        assert TOKEN not in expose(caught.value)
        assert TOKEN.encode() not in b"".join(seen)
        assert len(seen) == 1

    async def test_a_handshake_that_hangs_is_given_up_early(self, new_session, listen):
        """A submission may take its time to be answered, but not to be connected: then it is sent again."""

        async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(10_000)
            writer.close()

        url = (await listen(speak=hang)).replace("http:", "https:")
        with pytest.raises(acetasks.TransportError, match=r"could not be sent .*ConnectionTimeoutError") as caught:
            await new_session(url, attempts=2, base=0).send(SUBMISSION, take)
        assert not caught.value.reached
        assert TOKEN not in expose(caught.value)
        assert (new_session.sent_at(), now()) == ([0.0, 30.0], 60.0)


class Resolver(AbstractResolver):
    """Finds an address, or raises an error, one after the other.

    Attributes:
        asked: The names that were looked up.
    """

    def __init__(self, *finds: str | OSError) -> None:
        self.asked: list[str] = []
        self._finds = list(finds)

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, object]]:
        """Look a name up."""
        self.asked.append(host)
        found = self._finds.pop(0)
        if isinstance(found, OSError):
            raise found
        return [{"hostname": host, "host": found, "port": port, "family": family or 2, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Do nothing."""


class Authority:
    """An authority for certificates that no machine trusts by itself."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def server_context(self, name: str) -> ssl.SSLContext:
        """Make the TLS settings of a server that it vouches for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(name).configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Make the TLS settings of a client that trusts it."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def authority() -> Authority:
    """An authority of the tests' own."""
    return Authority()


class TestLimits:
    """Time and size."""

    @pytest.mark.parametrize("part", ["nothing", "headers", "half"])
    @pytest.mark.parametrize(("request_", "seconds"), [(LOOK, 30.0), (SUBMISSION, 600.0)], ids=["look", "submission"])
    async def test_a_hanging_answer_is_given_up_after_the_timeout(self, new_session, serve, part, request_, seconds):
        """A service that hangs, before or in mid-answer, is a transport error at the timeout of the request."""

        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            if part != "nothing":
                await response.prepare(request)
            if part == "half":
                await response.write(b'{"id": "t", ')
            await asyncio.sleep(10_000)
            return response

        with pytest.raises(acetasks.AceTasksError, match=f"was not answered within {seconds:g} s") as caught:
            await new_session(await serve(handler)).send(request_, take)
        fault = caught.value.__cause__ if request_.is_submission else caught.value
        assert type(fault) is acetasks.TransportError
        assert fault.reached
        assert TOKEN not in expose(caught.value)
        assert now() == seconds

    async def test_the_timeout_is_the_policys(self, new_session, listen):
        """What the policy says holds to the fraction of a second where that is asked for."""
        with pytest.raises(acetasks.TransportError, match=r"within 2\.5 s"):
            await new_session(await listen(None), timeout=2.5).send(LOOK, take)
        assert now() == 2.5

    async def test_a_body_past_the_limit_is_not_read_to_its_end(self, new_session, serve):
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

        with pytest.raises(acetasks.ProtocolError, match="larger than") as caught:
            await new_session(await serve(handler)).send(LOOK, take)
        assert caught.value.transient
        assert written < 2 * BODY_LIMIT
        assert TOKEN not in expose(caught.value)

    @pytest.mark.parametrize("size", [1000, 1001])
    @pytest.mark.parametrize("encoding", ["identity", "gzip"])
    async def test_the_limit_is_exact_and_counts_what_is_unpacked(
        self, new_session, listen, monkeypatch, size, encoding
    ):
        """A body of just the limit is read; one byte more is too much, whatever size it has on the way."""
        monkeypatch.setattr("acetasks.pool.BODY_LIMIT", 1000)
        body = bytes(size) if encoding == "identity" else gzip.compress(bytes(size))
        answer = reply(body, b"content-length: %d" % len(body), b"content-encoding: %s" % encoding.encode())
        sending = new_session(await listen(answer)).send(LOOK, take)
        if size == 1000:
            assert (await sending).body == bytes(1000)
            return
        with pytest.raises(acetasks.ProtocolError, match="an answer is larger than 1000 bytes"):
            await sending

    @pytest.mark.parametrize("form", ["gzip", "gzip of many parts", "deflate"])
    async def test_a_body_that_unpacks_without_end_is_not_unpacked(self, new_session, listen, form):
        """A megabyte that holds a gigabyte is given up at the limit, and takes little more memory than that."""
        packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
        zeros = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)  # a block that can be repeated
        bomb = {
            "gzip": gzip.compress(b"")[:10] + zeros * 64,
            "gzip of many parts": gzip.compress(bytes(2**20)) * 1024,
            "deflate": zlib.compress(b"")[:2] + zeros * 64,
        }[form]
        encoding = form.partition(" ")[0].encode()
        url = await listen(reply(bomb, b"content-length: %d" % len(bomb), b"content-encoding: " + encoding))
        session = new_session(url)
        tracemalloc.start()
        try:
            with pytest.raises(acetasks.ProtocolError, match="larger than") as caught:
                await session.send(LOOK, take)
            kept, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert BODY_LIMIT < peak < 1.25 * BODY_LIMIT
        assert kept < 0.25 * BODY_LIMIT  # what was read goes, though the error stays
        assert len(bomb) < 2**21
        assert TOKEN not in expose(caught.value)


class TestPool:
    """Connections, and whose they are."""

    async def test_reuses_connections_and_rests(self, new_session, server):
        """Requests in a row share one connection; at rest it is closed, and the next request opens another."""
        session = new_session(server.url, token=Secret(server.token))
        for _ in range(3):
            await session.send(LOOK, take)
        assert (server.connections, server.open_connections) == (1, 1)
        await session.rest()
        await asyncio.sleep(0.01)
        assert server.open_connections == 0
        await session.send(LOOK, take)
        assert server.connections == 2

    async def test_the_same_look_is_sent_alike_each_time(self, new_session, serve):
        """In a row, at once, after a rest and at another base URL; and never as the body of another request."""
        bodies: dict[str, list[tuple[bytes, str]]] = {}

        async def keep(request):
            sent = (await request.read(), request.headers["content-type"])
            bodies.setdefault(request.path, []).append(sent)
            return web.json_response({"task_id": "t"})

        url = await serve(keep)
        session = new_session(url)
        other = build_look(LUMA, ["t", "u"])
        for looks in ([LOOK] * 3, [LOOK, other, SUBMISSION], [other, LOOK]):
            await asyncio.gather(*(session.send(look, take) for look in looks))
            await session.rest()
        await new_session(f"{url}/elsewhere").send(LOOK, take)

        kind = "application/json"
        assert sorted(bodies[LOOK.path]) == sorted([(LOOK.body, kind)] * 5 + [(other.body, kind)] * 2)
        assert bodies["/elsewhere" + LOOK.path] == [(LOOK.body, kind)]
        assert bodies[SUBMISSION.path] == [(SUBMISSION.body, kind)]

    async def test_does_not_rest_under_a_request(self, new_session, serve):
        """A request under way keeps its connection, be it new or sent again."""
        session = new_session(await serve(Door(TOKEN, takes=5)))
        sending = asyncio.create_task(session.send(LOOK, take))
        await asyncio.sleep(1)
        await session.rest()
        assert (await sending).status == 200

    async def test_does_not_rest_between_two_attempts(self, new_session, serve):
        """Nor does it rest under a request that is yet to be sent, again or at all: that has its connection soon."""
        door = Door(TOKEN)
        session = new_session(await serve(door))
        sending = asyncio.create_task(session.send(LOOK, take, admit=functools.partial(asyncio.sleep, 5)))
        await session.send(LOOK, take)
        await session.rest()
        await sending
        assert len(door.transports) == 1

    async def test_a_closed_session_of_the_users_own_is_an_error_of_use(self, new_session):
        """A session that the user has closed too early is named, and nothing is tried over."""
        async with aiohttp.ClientSession() as http:
            session = new_session(http=http)
        with pytest.raises(acetasks.ClientClosedError, match=r"given to Client\(http=\.\.\.\) is closed"):
            await session.send(LOOK, take, attempts=3)
        assert now() == 0

    async def test_the_users_own_session_has_no_say_in_what_an_answer_means(self, new_session, serve):
        """A session that raises for every status, or follows redirects by itself, changes nothing."""

        async def handler(_: web.Request) -> web.Response:
            return web.json_response({"error": {"code": "used_up", "message": "no"}}, status=403)

        url = await serve(handler)
        async with aiohttp.ClientSession(raise_for_status=True, timeout=aiohttp.ClientTimeout(total=0.001)) as http:
            with pytest.raises(acetasks.PermissionDeniedError, match="used_up"):
                await new_session(url, http=http).send(LOOK, take)

    async def test_keeps_no_cookies(self, new_session, serve):
        """Nothing but the token tells the service who asks."""
        cookies = []

        async def handler(request: web.Request) -> web.Response:
            cookies.append(dict(request.cookies))
            response = web.json_response({"id": "t"})
            response.set_cookie("who", "me")
            return response

        # No jar keeps the cookies of a bare address.
        session = new_session((await serve(handler)).replace("127.0.0.1", "localhost"))
        await session.send(LOOK, take)
        await session.send(LOOK, take)
        assert cookies == [{}, {}]

    async def test_shows_where_requests_go(self, new_session):
        """The repr has the base URLs and no token."""
        assert repr(new_session()) == "<Session https://api.example, https://api.example>"


class TestClosing:
    """What becomes of requests under way when the client is closed."""

    async def test_closes_what_it_has_opened_and_no_more(self, new_session, serve):
        """A pool of the session's own is closed with it, and again without harm; the user's own is left open."""
        door = Door(TOKEN)
        url = await serve(door)
        async with aiohttp.ClientSession() as http:
            used, never_used, borrowing = new_session(url), new_session(url), new_session(url, http=http)
            await used.send(LOOK, take)
            await borrowing.send(LOOK, take)
            for _ in range(2):
                await used.close()
                await never_used.close()
                await borrowing.rest()
                await borrowing.close()
            await asyncio.sleep(0.01)
            assert not http.closed
            assert [transport.is_closing() for transport in door.transports].count(False) == 1

    @pytest.mark.parametrize("request_", [LOOK, SUBMISSION], ids=["look", "submission"])
    async def test_sends_nothing_afterwards(self, new_session, serve, request_):
        """A closed session opens no pool and does not even use one that is open, as the user's own may be."""
        door = Door(TOKEN)
        url = await serve(door)
        async with aiohttp.ClientSession() as http:
            closed, borrowing = new_session(url), new_session(url, http=http)
            await borrowing.send(LOOK, take)
            for session in (closed, borrowing):
                await session.close()
                new_session.events.clear()
                with pytest.raises(acetasks.ClientClosedError, match=f"closed before POST {request_.path} was sent"):
                    await session.send(request_, take, attempts=3)
                assert new_session.events == []
            await asyncio.sleep(1)
        assert len(door.seen) == 1

    @pytest.mark.parametrize("is_own", [True, False], ids=["own pool", "the user's"])
    async def test_breaks_off_looks(self, new_session, serve, is_own):
        """A look that waits for its answer ends at once, whoever the pool belongs to."""
        async with contextlib.AsyncExitStack() as stack:
            http = None if is_own else await stack.enter_async_context(aiohttp.ClientSession())
            session = new_session(await serve(Door(TOKEN, takes=25)), http=http)
            sending = asyncio.create_task(session.send(LOOK, take, attempts=3))
            await asyncio.sleep(7)
            await session.close()
            with pytest.raises(acetasks.ClientClosedError, match="while POST /luma/tasks was to be sent") as caught:
                await sending
        assert TOKEN not in expose(caught.value)
        assert new_session.names() == ["RequestSent"]
        assert now() == 7.0

    async def test_what_is_being_submitted_is_uncertain(self, new_session, serve):
        """A submission that was sent may have been accepted, though nobody waits for the answer any more."""
        session = new_session(await serve(Door(TOKEN, takes=25)), token=Giver(TOKEN, takes=2))
        sending = asyncio.create_task(session.send(SUBMISSION, take))
        await asyncio.sleep(7)
        await session.close()
        with pytest.raises(acetasks.SubmissionUncertainError, match="closed before an answer came") as caught:
            await sending
        assert (caught.value.sent_at, caught.value.payload) == (2.0, SUBMISSION.body)
        assert TOKEN not in expose(caught.value)
        assert now() == 7.0

    @pytest.mark.parametrize(
        ("stage", "attempts"), [("leave", 0), ("token", 0), ("another token", 1), ("another attempt", 1)]
    )
    async def test_what_was_surely_not_accepted_is_not_uncertain(self, new_session, serve, listen, stage, attempts):
        """A submission that waits to be sent, for the first time or after an attempt in vain, is simply not sent."""

        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        admit = functools.partial(asyncio.sleep, 100) if stage == "leave" else None
        giver = Giver(TOKEN, NEW_TOKEN, takes=25 if stage == "token" else 4)
        refusing, broken = await serve(Door()), (await listen(speak=hang_up)).replace("http:", "https:")
        session = new_session(broken if stage == "another attempt" else refusing, token=giver, base=1000, cap=1000)
        sending = asyncio.create_task(session.send(SUBMISSION, take, admit=admit))
        await asyncio.sleep(7)
        await session.close()
        with pytest.raises(acetasks.ClientClosedError, match="while POST /luma/videos was to be sent"):
            await sending
        assert new_session.names() == ["RequestSent", "RequestFailed"] * attempts
        assert now() == 7.0


class TestCheckPool:
    """`check_pool`: sessions of the user's own that would give the token away."""

    @pytest.mark.parametrize(
        "new_connector",
        [
            lambda _: None,
            lambda _: aiohttp.TCPConnector(),
            lambda _: aiohttp.TCPConnector(ssl=True),
            lambda _: aiohttp.TCPConnector(ssl=ssl.create_default_context()),
            lambda authority: aiohttp.TCPConnector(ssl=authority.client_context()),
            lambda _: aiohttp.TCPConnector(ssl=aiohttp.Fingerprint(bytes(32))),
            lambda _: aiohttp.UnixConnector("/nowhere"),
        ],
        ids=["default", "plain", "true", "context", "own authority", "fingerprint", "unix"],
    )
    async def test_takes_what_checks_certificates(self, new_connector, authority):
        """A session is checked by what its connector does about certificates; any way of checking them will do."""
        async with aiohttp.ClientSession(connector=new_connector(authority)) as http:
            assert check_pool(http, allow_insecure=False) is None

    @pytest.mark.parametrize("flaw", ["no checks", "no certificates", "optional certificates", "no names"])
    async def test_what_does_not_check_takes_the_users_word(self, flaw):
        """A session that would show the token to anybody is refused, unless the user says that the way is safe."""
        tls: ssl.SSLContext | bool = False
        if flaw != "no checks":
            tls = ssl.create_default_context()
            tls.check_hostname = flaw == "optional certificates"
        if flaw == "no certificates":
            tls.verify_mode = ssl.CERT_NONE
        elif flaw == "optional certificates":
            tls.verify_mode = ssl.CERT_OPTIONAL
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as http:
            with pytest.raises(ValueError, match=r"checks no certificates.* pass allow_insecure=True"):
                check_pool(http, allow_insecure=False)
            assert check_pool(http, allow_insecure=True) is None

    @pytest.mark.parametrize("allow_insecure", [False, True])
    @pytest.mark.filterwarnings("ignore:.*auth.*:DeprecationWarning")
    async def test_refuses_an_auth_beside_the_token(self, allow_insecure):
        """Two sets of credentials do not go into one header."""
        async with aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", "hunter2")) as http:
            with pytest.raises(ValueError, match="has an auth of its own") as caught:
                check_pool(http, allow_insecure=allow_insecure)
        assert "hunter2" not in str(caught.value)

    async def test_a_closed_session_is_for_the_first_request_to_find(self):
        """What is closed has no connector to ask."""
        http = aiohttp.ClientSession()
        await http.close()
        assert check_pool(http, allow_insecure=False) is None
