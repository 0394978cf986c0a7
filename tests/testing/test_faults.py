"""Scripted faults: who is hit, with what, and when it shows, on the virtual clock and over plain HTTP."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import aiohttp
import msgspec
import pytest

from acetasks.errors import UnknownProviderError
from acetasks.testing import AceServer, Fault, RecordedRequest, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "test-token"
PAGE = "text/html"
JSON = "application/json"
NO_TIMEOUT = aiohttp.ClientTimeout()


class Answer(msgspec.Struct):
    """An HTTP answer, with the times at which its head and each part of its body came."""

    status: int
    headers: Mapping[str, str]
    begun: float
    parts: list[tuple[float, bytes]]

    @property
    def content(self) -> bytes:
        """The whole body."""
        return b"".join(part for _, part in self.parts)

    @property
    def json(self) -> object:
        """What the body says."""
        return msgspec.json.decode(self.content)

    @property
    def error(self) -> object:
        """The service's error."""
        assert isinstance(self.json, dict)
        return self.json["error"]

    @property
    def ids(self) -> list[object]:
        """The ids of a batch answer, in its order."""
        assert isinstance(self.json, dict)
        return [item["id"] for item in self.json["items"]]


class Caller:
    """Asks a server, with its token unless told otherwise."""

    def __init__(self, server: AceServer, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.http = http

    async def send(self, path: str, body: object = None, *, method: str = "POST", token: str = TOKEN) -> Answer:
        """Send a request with a body of JSON, and read the answer as it comes."""
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Authorization": f"Bearer {token}"}
        url = self.server.url + path
        async with self.http.request(method, url, data=content, headers=headers, allow_redirects=False) as response:
            begun = now()
            parts = [(now(), part) async for part in response.content.iter_any()]
            return Answer(response.status, response.headers, begun, parts)

    async def submit(self, slug: str = "luma") -> Answer:
        """Submit a task that is not waited for."""
        return await self.send(f"/{slug}/videos", {"prompt": "a fog", "async": True})

    async def batch(self, ids: list[str], slug: str = "luma", **more: object) -> Answer:
        """Ask for several tasks."""
        return await self.send(f"/{slug}/tasks", {"ids": ids, "action": "retrieve_batch", **more})

    async def retrieve(self, task_id: str = "x", slug: str = "luma") -> Answer:
        """Ask for one task."""
        return await self.send(f"/{slug}/tasks", {"id": task_id, "action": "retrieve"})


def now() -> float:
    """Tell the time of the loop that a test and its server share."""
    return asyncio.get_running_loop().time()


@pytest.fixture
async def caller(server: AceServer) -> AsyncIterator[Caller]:
    """Ask that server."""
    async with aiohttp.ClientSession(timeout=NO_TIMEOUT) as http:
        yield Caller(server, http)


async def read_raw(server: AceServer) -> tuple[bytes, bytes, BaseException | None]:
    """Ask for a task in bare bytes; return head and body as they came, and what the connection ended with."""
    body = b'{"id": "x", "action": "retrieve"}'
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /luma/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer test-token\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    received, end = b"", None
    try:
        while part := await reader.read(1_000_000):
            received += part
    except ConnectionResetError as error:
        end = error
    writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body, end


class TestReplacedAnswers:
    """A status or a body stands in for the real answer, and the request is not processed."""

    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (400, "bad_request"),
            (401, "invalid_token"),
            (402, "used_up"),
            (403, "forbidden"),
            (404, "no_api"),
            (410, "bad_request"),
            (413, "request_too_large"),
            (429, "too_many_requests"),
            (500, "api_error"),
            (504, "timeout"),
            (520, "api_error"),
        ],
    )
    async def test_status_has_its_documented_error(
        self, server: AceServer, caller: Caller, status: int, code: str
    ) -> None:
        """A status alone is answered with the service's own error for it, in its own form."""
        server.fail("luma", status=status)
        answer = await caller.retrieve()
        assert (answer.status, answer.headers["Content-Type"]) == (status, JSON)
        assert isinstance(answer.json, dict)
        assert answer.json.keys() == {"error", "trace_id"}
        assert isinstance(answer.error, dict)
        assert answer.error["code"] == code
        assert answer.error["message"]

    @pytest.mark.parametrize(
        ("status", "message"),
        [
            (401, "Unauthorized"),
            (402, "Account has no subscription or subscription expired"),
            (410, "Gone"),
            (520, "Status 520"),
        ],
    )
    async def test_status_in_the_form_of_useapi(
        self, server: AceServer, caller: Caller, status: int, message: str
    ) -> None:
        """useapi.net's errors are a text and the status."""
        server.fail("useapi-pixverse", status=status)
        answer = await caller.send("/v1/pixverse/jobs/?jobid=x", method="GET")
        assert (answer.status, answer.json) == (status, {"error": message, "code": status})

    @pytest.mark.parametrize(("status", "title"), [(502, "502 Bad Gateway"), (503, "503 Service Unavailable")])
    @pytest.mark.parametrize("slug", ["luma", None])
    async def test_gateway_answers_with_a_page(
        self, server: AceServer, caller: Caller, status: int, title: str, slug: str | None
    ) -> None:
        """502 and 503 come from a gateway, as a page of HTML."""
        server.fail(slug, status=status)
        answer = await caller.retrieve()
        assert (answer.status, answer.headers["Content-Type"]) == (status, PAGE)
        assert f"<title>{title}</title>" in answer.content.decode()

    @pytest.mark.parametrize("status", [200, 204, 302])
    async def test_status_that_is_no_error_has_no_body(self, server: AceServer, caller: Caller, status: int) -> None:
        """Below 400 nothing is documented to be sent, and nothing is."""
        server.fail(status=status, headers={"Location": "/elsewhere"})
        answer = await caller.retrieve()
        assert (answer.status, answer.content, answer.headers["Location"]) == (status, b"", "/elsewhere")

    @pytest.mark.parametrize(
        ("body", "content"),
        [
            (b"\xff\x00{", b"\xff\x00{"),
            (bytearray(b"{}"), b"{}"),
            ("{ größer", "{ größer".encode()),
            ("", b""),
            ({"items": [], "count": 0}, b'{"items":[],"count":0}'),
            ([1, None], b"[1,null]"),
            (5, b"5"),
            (False, b"false"),
        ],
    )
    async def test_body_is_sent_as_it_is_or_as_json(
        self, server: AceServer, caller: Caller, body: object, content: bytes
    ) -> None:
        """Bytes and text are sent as they are and anything else is encoded, under 200 and with the type of JSON."""
        server.fail("luma", body=body)
        answer = await caller.retrieve(server.add("luma"))
        assert (answer.status, answer.headers["Content-Type"], answer.content) == (200, JSON, content)

    async def test_body_with_a_status_and_headers(self, server: AceServer, caller: Caller) -> None:
        """Status, body and headers go together; headers replace those there are, however they are written."""
        server.fail(
            "luma",
            status=529,
            body="<h1>Overloaded</h1>",
            headers={"content-type": "text/html; charset=latin-1", "Retry-After": "7", "X-More": "yes"},
        )
        answer = await caller.retrieve()
        assert (answer.status, answer.content) == (529, b"<h1>Overloaded</h1>")
        assert answer.headers["Content-Type"] == "text/html; charset=latin-1"
        assert (answer.headers["Retry-After"], answer.headers["X-More"]) == ("7", "yes")

    @pytest.mark.parametrize("options", [{"status": 500}, {"body": {"task_id": "none"}}])
    async def test_submission_that_is_not_processed_makes_no_task(
        self, server: AceServer, caller: Caller, options: dict[str, object]
    ) -> None:
        """A submission that a status or body is answered to is none; the next one is processed."""
        fault = server.fail("luma", **options)  # type: ignore[arg-type]  # the options of the one case or another
        await caller.submit()
        assert (len(server.tasks), server.submissions) == (0, 0)
        (seen,) = server.requests
        assert (seen.provider, seen.action, seen.ids, seen.fault) == ("luma", "submit", (), fault)
        await caller.submit()
        assert (len(server.tasks), server.submissions) == (1, 1)

    async def test_scripted_rule_outlives_a_fault(self, server: AceServer, caller: Caller) -> None:
        """A submission that is not processed uses up no rule."""
        server.script("luma", after=1)
        server.fail("luma", status=429)
        await caller.submit()
        await caller.submit()
        (task,) = server.tasks.values()
        assert task.finishes_at - task.created == 1


class TestHeaders:
    """Headers alone go with the real answer."""

    async def test_headers_of_the_real_answer(self, server: AceServer, caller: Caller) -> None:
        """Headers are added or replaced, and the request is processed."""
        date = "Wed, 21 Oct 2015 07:28:00 GMT"
        server.fail("luma", headers={"Date": date, "Retry-After": "30"})
        answer = await caller.submit()
        assert (answer.status, answer.headers["Date"], answer.headers["Retry-After"]) == (200, date, "30")
        assert answer.headers.getall("Date") == [date]  # type: ignore[attr-defined]  # aiohttp's mapping has it
        assert len(server.tasks) == 1

    @pytest.mark.parametrize("options", [{}, {"split": 2}])
    async def test_connection_that_is_closed_after_the_answer(self, server: AceServer, options: dict[str, int]) -> None:
        """`Connection: close` is kept by the server."""
        server.fail(headers={"Connection": "close"}, **options)  # type: ignore[arg-type]  # mypy takes it for any of them
        head, body, end = await read_raw(server)
        assert b"Connection: close" in head
        assert (body, end) == (b"{}", None)

    async def test_later_changes_of_the_mapping_are_none_of_the_fault(self, server: AceServer, caller: Caller) -> None:
        """Headers are what they were when the fault was scripted."""
        headers = {"Retry-After": "1"}
        server.fail(status=429, headers=headers)
        headers["Retry-After"] = "2"
        assert (await caller.retrieve()).headers["Retry-After"] == "1"


class TestEdits:
    """The real answer of a request that is processed is changed."""

    async def test_edit_changes_what_is_decoded(self, server: AceServer, caller: Caller) -> None:
        """An edit gets the decoded answer, its own copy, and what it returns is sent."""
        first, second = server.add("luma"), server.add("luma")

        def mix_up(answer: object) -> object:
            assert isinstance(answer, dict)
            answer["items"] = [*answer["items"][::-1], answer["items"][0], {"id": "stranger"}, "no record", None]
            answer["total"] = answer.pop("count")
            return answer

        fault = server.fail("luma", edit=mix_up)
        answer = await caller.batch([first, second])
        assert isinstance(answer.json, dict)
        assert answer.json["items"][3:] == [{"id": "stranger"}, "no record", None]
        assert [item["id"] for item in answer.json["items"][:3]] == [first, second, second]
        assert (answer.json["total"], answer.headers["Content-Type"]) == (2, JSON)
        assert (await caller.batch([first, second])).ids == [second, first]
        assert fault.hits == 1

    @pytest.mark.parametrize("edited", [b"", b"{", bytearray(b"null")])
    async def test_edit_that_returns_bytes(self, server: AceServer, caller: Caller, edited: bytes) -> None:
        """Bytes are sent as they are."""
        server.fail("luma", edit=lambda _: edited)
        answer = await caller.submit()
        assert (answer.status, answer.content, len(server.tasks)) == (200, edited, 1)

    async def test_edit_of_a_refusal(self, server: AceServer, caller: Caller) -> None:
        """The services' own refusals are real answers as well, and keep their status."""
        server.fail(edit=lambda answer: [answer])
        answer = await caller.send("/nowhere", {})
        assert (answer.status, type(answer.json)) == (404, list)

    async def test_edit_with_a_status(self, server: AceServer, caller: Caller) -> None:
        """With an edit a status replaces that of the real answer: the task is made, and a gateway loses the answer."""
        server.fail("luma", edit=lambda _: b"<h1>Bad Gateway</h1>", status=502)
        answer = await caller.submit()
        assert (answer.status, answer.content) == (502, b"<h1>Bad Gateway</h1>")
        assert (len(server.tasks), server.requests[0].status) == (1, 502)

    async def test_limit_cuts_a_batch(self, server: AceServer, caller: Caller) -> None:
        """A batch has no more records than the limit, and says nothing of it, whatever limit was asked."""
        ids = [server.add("luma") for _ in range(20)]
        server.fail("luma", limit=12, times=3)
        whole, asked, less = (
            await caller.batch(ids),
            await caller.batch(ids, limit=20),
            await caller.batch(ids, limit=5),
        )
        assert whole.ids == asked.ids == ids[::-1][:12]
        assert isinstance(whole.json, dict)
        assert whole.json["count"] == 12
        assert less.ids == ids[::-1][:5]
        assert (await caller.batch(ids)).ids == ids[::-1]

    @pytest.mark.parametrize("limit", [0, 1, 30])
    async def test_limit_cuts_a_history(self, server: AceServer, caller: Caller, limit: int) -> None:
        """A history has no more records than the limit, and no more than usual."""
        ids = [server.add("luma") for _ in range(20)]
        server.fail("luma", limit=limit)
        answer = await caller.send("/luma/tasks", {"action": "retrieve_batch"})
        assert answer.ids == ids[::-1][: min(limit, 12)]

    async def test_limit_hits_nothing_but_batches(self, server: AceServer, caller: Caller) -> None:
        """A request whose answer has no records is not for a limit, which waits for one that is."""
        ids = [server.add("luma") for _ in range(3)]
        fault = server.fail("luma", limit=2)
        await caller.retrieve(ids[0])
        await caller.submit()
        await caller.send("/luma/tasks", {"ids": ids, "action": "retrieve_batch"}, token="wrong")
        assert fault.hits == 0
        assert len((await caller.batch(ids)).ids) == 2

    async def test_limit_and_edit(self, server: AceServer, caller: Caller) -> None:
        """An edit gets what a limit has left."""
        ids = [server.add("luma") for _ in range(3)]
        server.fail("luma", limit=2, edit=lambda answer: {**answer, "count": 3})  # type: ignore[dict-item]
        answer = await caller.batch(ids)
        assert isinstance(answer.json, dict)
        assert (len(answer.ids), answer.json["count"]) == (2, 3)


class TestSilence:
    """An answer comes late or never."""

    @pytest.mark.parametrize("seconds", [5, 0.1, 1e6, 0])
    async def test_hang_takes_exactly_its_seconds(self, server: AceServer, caller: Caller, seconds: float) -> None:
        """A hang is a silence before the head, and then all comes at once."""
        await asyncio.sleep(0.7)
        begun = now()
        server.fail("luma", hang=seconds)
        answer = await caller.retrieve(server.add("luma"))
        assert (answer.begun, now()) == (begun + seconds, begun + seconds)

    async def test_request_is_processed_before_the_silence(self, server: AceServer, caller: Caller) -> None:
        """A hang holds back an answer that tells of the time at which the request came."""
        task_id = server.add("luma", after=10)
        server.fail(hang=20, times=2)
        answer, _ = await asyncio.gather(caller.batch([task_id]), caller.submit())
        created = [task.created for task in server.tasks.values()]
        assert created == [now() - 20, now() - 20]
        assert isinstance(answer.json, dict)
        assert "finished_at" not in answer.json["items"][0]
        assert server.max_concurrent == 2

    async def test_hang_goes_with_any_answer(self, server: AceServer, caller: Caller) -> None:
        """A status, a body, an edit, a limit and headers come after the silence."""
        ids = [server.add("luma") for _ in range(3)]
        begun = now()
        server.fail("luma", hang=1, status=504)
        server.fail("luma", hang=2, body="?", headers={"X-More": "yes"})
        server.fail("luma", hang=3, edit=lambda _: [], limit=1)
        answers = [await caller.batch(ids) for _ in range(3)]
        assert [answer.begun - begun for answer in answers] == [1, 3, 6]
        assert [answer.status for answer in answers] == [504, 200, 200]
        assert (answers[1].headers["X-More"], answers[2].content) == ("yes", b"[]")

    async def test_hang_for_ever_ends_when_the_client_leaves(self, server: AceServer, caller: Caller) -> None:
        """Without an answer the client has to give up; the task is made, and nothing of the request stays behind."""
        before = asyncio.all_tasks()
        server.fail("luma", hang=math.inf)
        begun = now()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await caller.submit()
        assert now() == begun + 30
        await asyncio.sleep(1)
        assert (len(server.tasks), server.requests[0].status, server.open_connections) == (1, None, 0)
        assert asyncio.all_tasks() == before

    async def test_hang_for_ever_without_processing(self, server: AceServer, caller: Caller) -> None:
        """With a status the request is lost on the way: neither processed nor answered."""
        server.fail("luma", hang=math.inf, status=503)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await caller.submit()
        assert (len(server.tasks), server.requests[0].status) == (0, None)


class TestResets:
    """Connections are reset in place of an answer."""

    async def test_reset_comes_without_a_byte(self, server: AceServer) -> None:
        """A reset is one of TCP, and not a byte comes before it."""
        server.fail("luma", reset=True)
        head, body, end = await read_raw(server)
        assert (head, body, type(end)) == (b"", b"", ConnectionResetError)

    async def test_reset_request_is_processed(self, server: AceServer, caller: Caller) -> None:
        """The client is told at once that the connection is gone, and cannot know that the task is made."""
        before, begun = asyncio.all_tasks(), now()
        fault = server.fail("luma", reset=True)
        with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
            await caller.submit()
        assert (now(), len(server.tasks)) == (begun, 1)
        (seen,) = server.requests
        assert (seen.action, seen.ids, seen.status, seen.fault) == ("submit", tuple(server.tasks), None, fault)
        await asyncio.sleep(1)
        assert (server.open_connections, asyncio.all_tasks()) == (0, before)
        assert (await caller.submit()).status == 200

    async def test_reset_without_processing(self, server: AceServer, caller: Caller) -> None:
        """With a status the connection is gone before the service has taken the request."""
        server.fail("luma", reset=True, status=503)
        with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
            await caller.submit()
        assert (len(server.tasks), server.requests[0].status) == (0, None)

    async def test_reset_after_a_silence(self, server: AceServer, caller: Caller) -> None:
        """A hang and a reset go together, in that order."""
        begun = now()
        server.fail("luma", hang=5, reset=True)
        with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
            await caller.retrieve()
        assert now() == begun + 5

    async def test_reset_in_the_middle(self, server: AceServer) -> None:
        """With `truncate` the connection is reset after that share of the body."""
        server.fail("luma", body=b"0123456789", truncate=0.5, reset=True)
        head, body, end = await read_raw(server)
        assert head.startswith(b"HTTP/1.1 200")
        assert (body, type(end)) == (b"01234", ConnectionResetError)

    async def test_reset_in_the_middle_of_much(self, server: AceServer) -> None:
        """A body of more than fits into the sockets comes as far as the client reads it, and then the reset."""
        content = bytes(range(256)) * 100_000
        server.fail("luma", body=content, truncate=0.5, reset=True)
        _, body, end = await read_raw(server)
        # What the kernel has not sent yet when the reset comes is lost.
        assert 0 < len(body) <= len(content) // 2
        assert content.startswith(body)
        assert isinstance(end, ConnectionResetError)

    def test_reset_of_a_connection_that_nobody_reads_takes_no_real_time(self) -> None:
        """Time goes on at once after a reset, even where bytes will never be acknowledged."""

        class Peer(asyncio.Protocol):
            """Chats, and resets the connection in the very moment in which much comes."""

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.Transport)
                self.transport = transport

            def data_received(self, data: bytes) -> None:
                if len(data) == 1:
                    self.transport.write(data)
                    return
                sock = self.transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.transport.abort()

        async def main() -> float:
            loop = asyncio.get_running_loop()
            async with await loop.create_server(Peer, "127.0.0.1", 0) as listener:
                reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
                for _ in range(50):  # until the kernel puts its acknowledgements off
                    writer.write(b"?")
                    await reader.read(1)
                writer.transport.pause_reading()  # type: ignore[attr-defined]  # the transport reads as well
                writer.write(bytes(100_000))
                begun = time.perf_counter()
                for _ in range(3):
                    await asyncio.sleep(1)
                took = time.perf_counter() - begun
                writer.transport.abort()
                return took

        assert run(main()) < 0.5


class TestPieces:
    """Bodies come in pieces, slowly or cut short."""

    @pytest.mark.parametrize(("share", "sent"), [(0.5, b"01234"), (0.99, b"012345678"), (0, b""), (0.05, b"")])
    async def test_truncate_sends_a_share(self, server: AceServer, share: float, sent: bytes) -> None:
        """The length of the whole is announced, the share is sent, and the connection ends in order."""
        server.fail("luma", body=b"0123456789", truncate=share)
        head, body, end = await read_raw(server)
        assert b"Content-Length: 10\r\n" in head + b"\r\n"
        assert (body, end) == (sent, None)

    async def test_truncated_request_is_processed(self, server: AceServer, caller: Caller) -> None:
        """A cut answer is a real one: the task is made, and the client misses the rest."""
        before, begun = asyncio.all_tasks(), now()
        server.fail("luma", truncate=0.5)
        with pytest.raises(aiohttp.ClientPayloadError):
            await caller.submit()
        assert (now(), len(server.tasks), server.requests[0].status) == (begun, 1, 200)
        await asyncio.sleep(1)
        assert (server.open_connections, asyncio.all_tasks()) == (0, before)

    @pytest.mark.parametrize("options", [{"status": 500}, {"edit": lambda _: b"0123"}, {"headers": {"X-More": "yes"}}])
    async def test_truncate_goes_with_any_answer(
        self, server: AceServer, caller: Caller, options: dict[str, object]
    ) -> None:
        """Whatever is answered can be cut, once the silence is over."""
        begun = now()
        server.fail("luma", truncate=0.3, hang=2, **options)  # type: ignore[arg-type]  # the one case's or another's
        with pytest.raises(aiohttp.ClientPayloadError):
            await caller.retrieve(server.add("luma"))
        assert now() == begun + 2

    @pytest.mark.parametrize("seconds", [10, 0.1, 1e6])
    async def test_drip_takes_exactly_its_seconds(self, server: AceServer, caller: Caller, seconds: float) -> None:
        """A body drips in 50 pieces, the first at once and the last at the end."""
        await asyncio.sleep(0.7)
        begun = now()
        ids = [server.add("luma") for _ in range(5)]
        server.fail("luma", drip=seconds)
        answer = await caller.batch(ids)
        assert answer.ids == ids[::-1]
        assert [at for at, _ in answer.parts] == [begun + seconds * (number / 49) for number in range(50)]
        assert (answer.begun, now()) == (begun, begun + seconds)

    @pytest.mark.parametrize(("body", "times"), [(b"0", [7]), (b"012", [0, 3.5, 7])])
    async def test_drip_of_few_bytes(self, server: AceServer, caller: Caller, body: bytes, times: list[float]) -> None:
        """No piece is empty; a single one comes at the end."""
        begun = now()
        server.fail("luma", body=body, drip=7)
        answer = await caller.retrieve()
        assert [at - begun for at, _ in answer.parts] == times
        assert answer.content == body

    async def test_drip_in_so_many_pieces(self, server: AceServer, caller: Caller) -> None:
        """With `split` a body drips in so many pieces: half of it at once and half later."""
        begun = now()
        server.fail("luma", status=429, headers={"Retry-After": "3"}, hang=1, drip=20, split=2)
        answer = await caller.retrieve()
        assert [at - begun for at, _ in answer.parts] == [1, 21]
        assert (answer.status, answer.headers["Retry-After"]) == (429, "3")

    async def test_drip_that_dries_up(self, server: AceServer, caller: Caller) -> None:
        """After an infinite drip's first piece nothing comes, until the client leaves."""
        before, begun, parts = asyncio.all_tasks(), now(), []
        server.fail("luma", body=b"0123456789", drip=math.inf, split=2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60), caller.http.post(f"{server.url}/luma/tasks") as response:
                async for part in response.content.iter_any():
                    parts.append((now() - begun, part))  # noqa: PERF401  # a comprehension would lose them
        assert parts == [(0, b"01234")]
        await asyncio.sleep(1)
        assert (server.open_connections, asyncio.all_tasks()) == (0, before)

    @pytest.mark.parametrize(("share", "sent"), [(0.5, b"01234"), (0, b"")])
    async def test_drip_and_truncate(self, server: AceServer, share: float, sent: bytes) -> None:
        """What is sent of the body takes all the seconds, and then comes the cut."""
        begun = now()
        server.fail("luma", body=b"0123456789", drip=5, truncate=share)
        _, body, end = await read_raw(server)
        assert (body, end, now()) == (sent, None, begun + 5)

    async def test_split_takes_no_time(self, server: AceServer, caller: Caller) -> None:
        """A body comes in as many reads as there are writes, all at one time."""
        begun = now()
        ids = [server.add("luma") for _ in range(5)]
        server.fail("luma", split=20)
        answer = await caller.batch(ids)
        assert answer.ids == ids[::-1]
        # The kernel may be late with one and deliver it along with the next.
        assert 10 <= len(answer.parts) <= 20
        assert {at for at, _ in answer.parts} == {begun}

    async def test_split_cuts_characters(self, server: AceServer, caller: Caller) -> None:
        """Where there are as many writes as bytes, every character of more than one is cut in the middle."""
        server.fail("luma", body="äöü", split=1000)
        answer = await caller.retrieve()
        assert answer.content.decode() == "äöü"
        assert len(answer.parts) > 3

    async def test_split_and_truncate(self, server: AceServer) -> None:
        """What is sent of the body comes in so many writes."""
        server.fail("luma", body=b"0123456789", split=3, truncate=0.7)
        assert (await read_raw(server))[1:] == (b"0123456", None)

    @pytest.mark.parametrize(("method", "path"), [("HEAD", "/luma/tasks"), ("POST", "/luma/videos")])
    async def test_nothing_cannot_be_cut(self, server: AceServer, caller: Caller, method: str, path: str) -> None:
        """An answer that turns out to have no body comes as it is."""
        server.fail(edit=lambda _: b"", drip=5, truncate=0.5)
        server.fail(drip=5)
        answer = await caller.send(path, {}, method=method)
        assert answer.content == b""

    async def test_client_that_leaves_a_drip(self, server: AceServer, caller: Caller) -> None:
        """A drip ends with its connection, and leaves neither a task nor a socket behind."""
        before = asyncio.all_tasks()
        server.fail("luma", drip=100)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(33):
                await caller.retrieve(server.add("luma"))
        await asyncio.sleep(1)
        assert (server.open_connections, asyncio.all_tasks()) == (0, before)
        assert server.requests[0].status == 200

    @pytest.mark.parametrize("seconds", [0, 1, 2, 48, 49])
    async def test_client_that_leaves_as_a_piece_is_due(
        self, server: AceServer, caller: Caller, caplog: pytest.LogCaptureFixture, seconds: float
    ) -> None:
        """A piece that is due at the very time at which the client leaves troubles nobody."""
        before, begun = asyncio.all_tasks(), now()
        server.fail("luma", body=bytes(1000), drip=49)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout_at(begun + seconds), caller.http.post(f"{server.url}/luma/videos") as response:
                await response.read()
        await asyncio.sleep(1)
        assert (server.open_connections, asyncio.all_tasks(), caplog.records) == (0, before, [])

    async def test_client_that_leaves_in_the_middle_of_a_split(
        self, server: AceServer, caller: Caller, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The writes that are left come to nothing once the client has closed the connection, and trouble nobody."""
        before = asyncio.all_tasks()
        server.fail("luma", body=bytes(1000), split=1000, times=None)
        for rounds in range(10):
            async with caller.http.post(f"{server.url}/luma/videos") as response:
                await response.content.readany()
                for _ in range(rounds):
                    await asyncio.sleep(0)
                response.close()
        await asyncio.sleep(1)
        assert (server.open_connections, asyncio.all_tasks(), caplog.records) == (0, before, [])

    @pytest.mark.parametrize(
        "options", [{"truncate": 0.9}, {"truncate": 0.9, "reset": True}, {"split": 1000}], ids=" ".join
    )
    async def test_client_that_does_not_read(
        self, server: AceServer, caplog: pytest.LogCaptureFixture, options: dict[str, float]
    ) -> None:
        """A body of more than fits into the sockets waits for the client, and ends with it."""
        before = asyncio.all_tasks()
        server.fail("luma", body=bytes(30_000_000), **options)  # type: ignore[arg-type]  # the one case's or another's
        host, _, port = server.url.removeprefix("http://").rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # the transport reads as well
        writer.write(b"POST /luma/videos HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        await asyncio.sleep(60)
        assert server.open_connections == 1
        writer.transport.abort()
        await asyncio.sleep(1)
        assert (server.open_connections, asyncio.all_tasks(), caplog.records) == (0, before, [])

    @pytest.mark.real_clock
    async def test_real_clock(self) -> None:
        """Faults take real seconds on asyncio's usual loop."""
        async with AceServer() as server, aiohttp.ClientSession() as http:
            server.fail("luma", hang=0.02, drip=0.02)
            server.fail("luma", reset=True)
            begun = now()
            answer = await Caller(server, http).retrieve(server.add("luma"))
            assert now() - begun >= 0.039
            assert isinstance(answer.json, dict)
            with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
                await Caller(server, http).retrieve()


class TestStop:
    """The server is stopped in the middle of a fault."""

    @pytest.mark.parametrize(
        "options",
        [{"hang": 100}, {"hang": math.inf}, {"drip": 100}, {"drip": math.inf, "split": 2}],
        ids=" ".join,
    )
    async def test_stop_ends_what_is_under_way(self, options: dict[str, float]) -> None:
        """A stop takes no time, and leaves neither a task nor a connection behind."""
        before = asyncio.all_tasks()
        server = await AceServer().start()
        async with aiohttp.ClientSession() as http:
            server.fail("luma", **options)  # type: ignore[arg-type]  # the options of the one case or another
            asked = asyncio.create_task(Caller(server, http).retrieve(server.add("luma")))
            await asyncio.sleep(10)
            begun = now()
            await server.stop()
            assert (now(), server.open_connections) == (begun, 0)
            with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
                await asked
        assert asyncio.all_tasks() == before

    async def test_faults_outlive_a_stop(self) -> None:
        """A server that is started again has the faults that it had."""
        server = AceServer()
        fault = server.fail("luma", status=500, times=2)
        for _ in range(2):
            async with server, aiohttp.ClientSession() as http:
                assert (await Caller(server, http).retrieve()).status == 500
        assert fault.hits == 2


class TestChoice:
    """Who is hit."""

    async def test_fault_hits_once_unless_told_otherwise(self, server: AceServer, caller: Caller) -> None:
        """A fault hits one request, or as many as are said."""
        once, twice = server.fail("luma", status=500), server.fail("luma", status=502, times=2)
        assert [(await caller.retrieve()).status for _ in range(4)] == [500, 502, 502, 200]
        assert (once.hits, twice.hits) == (1, 2)
        assert [seen.fault for seen in server.requests] == [once, twice, twice, None]

    async def test_fault_hits_until_it_is_stopped(self, server: AceServer, caller: Caller) -> None:
        """`times=None` means all, until `stop`, which may come twice."""
        fault = server.fail("luma", status=500, times=None)
        assert {(await caller.retrieve()).status for _ in range(20)} == {500}
        fault.stop()
        fault.stop()
        assert ((await caller.retrieve()).status, fault.hits) == (200, 20)

    async def test_fault_of_one_provider(self, server: AceServer, caller: Caller) -> None:
        """A provider's fault hits its requests only, whatever they are for."""
        fault = server.fail("luma", status=500, times=None)
        assert (await caller.retrieve(slug="veo")).status == 200
        assert (await caller.send("/nowhere", {})).status == 404
        assert fault.hits == 0
        assert (await caller.submit()).status == (await caller.batch(["x"])).status == (await caller.retrieve()).status
        assert (await caller.send("/luma/tasks", {}, token="wrong")).status == 500
        assert (await caller.send("/luma/tasks", [])).status == 500
        assert fault.hits == 5

    async def test_fault_of_an_unlisted_provider(self, server: AceServer, caller: Caller) -> None:
        """A provider that has no row can be hit as well."""
        server.fail("newcomer", status=500)
        assert (await caller.retrieve(slug="newcomer")).status == 500

    async def test_fault_of_nobody_hits_all(self, server: AceServer, caller: Caller) -> None:
        """Without a provider every request is hit, for unknown paths and with a wrong token too."""
        fault = server.fail(status=418, times=None)
        assert (await caller.send("/nowhere", {})).status == 418
        assert (await caller.send("/v1/pixverse/jobs/?jobid=x", method="GET")).status == 418
        assert (await caller.send("/luma/tasks", {}, token="wrong")).status == 418
        assert [seen.provider for seen in server.requests] == ["", "useapi-pixverse", "luma"]
        assert fault.hits == 3

    async def test_first_fault_that_matches_is_the_one(self, server: AceServer, caller: Caller) -> None:
        """Faults are tried in the order of scripting, and one request is hit by one at most."""
        general = server.fail(status=500, times=2)
        special = server.fail("luma", status=429, headers={"Retry-After": "1"}, times=2)
        answers = [await caller.retrieve() for _ in range(4)]
        assert [answer.status for answer in answers] == [500, 500, 429, 429]
        assert ["Retry-After" in answer.headers for answer in answers] == [False, False, True, True]
        assert (general.hits, special.hits) == (2, 2)

    async def test_when_sees_what_a_request_is_for(self, server: AceServer, caller: Caller) -> None:
        """The predicate is asked about each request of the provider, once it is understood, until the fault is over."""
        seen: list[tuple[object, ...]] = []

        def look(request: RecordedRequest) -> bool:
            seen.append((request.time, request.method, request.path, request.provider, request.action, request.ids))
            assert (request.status, request.fault) == (None, None)
            return request.ids == ("b", "c")

        fault = server.fail(status=500, when=look)
        await asyncio.sleep(3)
        await caller.submit()
        assert (await caller.retrieve("a")).status == 200
        await caller.send("/v1/pixverse/jobs/?jobid=j", method="GET")
        await caller.send("/nowhere", {})
        await caller.send("/luma/tasks", {})
        assert (await caller.batch(["b", "c"], "veo")).status == 500
        await caller.batch(["b", "c"])
        assert seen == [
            (3.0, "POST", "/luma/videos", "luma", "submit", ()),
            (3.0, "POST", "/luma/tasks", "luma", "retrieve", ("a",)),
            (3.0, "GET", "/v1/pixverse/jobs/", "useapi-pixverse", "retrieve", ("j",)),
            (3.0, "POST", "/nowhere", "", None, ()),
            (3.0, "POST", "/luma/tasks", "luma", None, ()),
            (3.0, "POST", "/veo/tasks", "veo", "retrieve_batch", ("b", "c")),
        ]
        assert fault.hits == 1

    async def test_when_and_provider(self, server: AceServer, caller: Caller) -> None:
        """The predicate of a provider's fault hears of that provider's requests only, and what it spares is not hit."""
        fault = server.fail("veo", status=500, times=2, when=lambda request: request.action == "submit")
        statuses = [
            (await caller.submit("luma")).status,
            (await caller.retrieve(slug="veo")).status,
            (await caller.submit("veo")).status,
            (await caller.submit("veo")).status,
            (await caller.submit("veo")).status,
        ]
        assert (statuses, fault.hits) == ([200, 200, 500, 500, 200], 2)

    async def test_clear_faults(self, server: AceServer, caller: Caller) -> None:
        """Clearing stops every fault; clearing the requests leaves them alone."""
        fault = server.fail(status=500, times=None)
        assert (await caller.retrieve()).status == 500
        server.clear_requests()
        assert (await caller.retrieve()).status == 500
        server.clear_faults()
        assert (await caller.retrieve()).status == 200
        assert (fault.hits, fault.is_over) == (2, True)

    async def test_when_may_clear_faults(self, server: AceServer, caller: Caller) -> None:
        """Faults may come and go while they are tried."""

        def clear(_: RecordedRequest) -> bool:
            server.clear_faults()
            server.fail(status=502)
            return False

        server.fail(status=500, when=clear)
        assert [(await caller.retrieve()).status for _ in range(3)] == [200, 502, 200]

    async def test_fault_counts_a_hit_at_once(self, server: AceServer, caller: Caller) -> None:
        """A request that comes while one still hangs is not hit by a fault that is used up with that."""
        server.fail("luma", hang=10)
        begun = now()
        slow, fast = await asyncio.gather(caller.retrieve(), caller.retrieve())
        assert sorted((slow.begun - begun, fast.begun - begun)) == [0, 10]


class TestChance:
    """A share of the requests is hit."""

    @staticmethod
    async def draw(rate: float, *, seed: int = 0, count: int = 400, **options: object) -> list[int]:
        """Ask again and again, and tell what was answered."""
        async with AceServer(seed=seed) as server, aiohttp.ClientSession() as http:
            server.fail("luma", status=500, rate=rate, **options)  # type: ignore[arg-type]  # whatever the test has
            return [(await Caller(server, http).retrieve()).status for _ in range(count)]

    async def test_rate_is_a_share_of_all(self) -> None:
        """About the share is hit, without an end unless there is one; a share of 1 is all."""
        statuses = await self.draw(0.25)
        assert 0.18 < statuses.count(500) / len(statuses) < 0.32
        assert set(await self.draw(1, count=20)) == {500}
        assert (await self.draw(0.25, times=3)).count(500) == 3
        assert (await self.draw(0.25, times=None)).count(500) == statuses.count(500)

    async def test_same_seed_same_hits(self) -> None:
        """Two servers of one seed hit the same requests, another seed hits others."""
        assert await self.draw(0.5, seed=7) == await self.draw(0.5, seed=7) != await self.draw(0.5, seed=8)

    async def test_faults_draw_by_themselves(self, server: AceServer, caller: Caller) -> None:
        """One fault's draws say nothing about another's: the second hits a share of what the first spares."""
        first = server.fail("luma", status=500, rate=0.5)
        second = server.fail("luma", status=502, rate=0.5)
        for _ in range(200):
            await caller.retrieve()
        assert 70 < first.hits < 130
        assert 30 < second.hits < 70

    async def test_rate_is_drawn_for_what_the_fault_is_for(self, server: AceServer, caller: Caller) -> None:
        """Requests of others, and those that `when` spares, draw nothing."""
        fault = server.fail("luma", status=500, rate=0.5, when=lambda request: request.action == "retrieve")
        statuses = []
        for _ in range(30):
            await caller.retrieve(slug="veo")
            await caller.batch(["x"])
            statuses.append((await caller.retrieve()).status)
        assert statuses == await self.draw(0.5, count=30)
        assert fault.hits == statuses.count(500)

    async def test_faults_do_not_change_the_tasks(self) -> None:
        """The tasks that are drawn are the same, however many faults are."""

        async def make(rate: float | None) -> list[tuple[str, float]]:
            async with AceServer(seed=3) as server, aiohttp.ClientSession() as http:
                if rate:
                    server.fail(hang=1, rate=rate)
                for _ in range(10):
                    await Caller(server, http).submit()
                return [(task.id, task.finishes_at - task.starts_at) for task in server.tasks.values()]

        drawn = await make(None)
        assert [task_id for task_id, _ in await make(0.5)] == [task_id for task_id, _ in drawn]


class TestFault:
    """What a fault tells of itself."""

    async def test_repr_tells_what_goes_wrong(self, server: AceServer, caller: Caller) -> None:
        """The repr names whom it hits, with what, how often it has, and whether it still does."""
        fault = server.fail("luma", status=429, headers={"Retry-After": "7"}, times=2)
        assert repr(fault) == "<Fault luma status=429 headers={'Retry-After': '7'} times=2 hits=0>"
        await caller.retrieve()
        assert repr(fault) == "<Fault luma status=429 headers={'Retry-After': '7'} times=2 hits=1>"
        await caller.retrieve()
        assert repr(fault) == "<Fault luma status=429 headers={'Retry-After': '7'} times=2 hits=2 used up>"
        assert (fault.is_over, isinstance(fault, Fault)) == (True, True)

    def test_repr_of_everything_else(self) -> None:
        """Functions are named, long bodies cut short, and what was not given is left out."""
        server = AceServer()
        assert repr(server.fail(hang=math.inf, rate=0.5)) == "<Fault everywhere hang=inf rate=0.5 hits=0>"
        assert repr(server.fail(reset=True, truncate=0, drip=1, split=2)) == (
            "<Fault everywhere reset=True truncate=0 drip=1 split=2 times=1 hits=0>"
        )
        fault = server.fail("veo", edit=dict, limit=3, when=bool, times=None)
        fault.stop()
        assert repr(fault) == "<Fault veo edit=dict limit=3 when=bool hits=0 stopped>"
        assert repr(server.fail(body="x" * 100)) == f"<Fault everywhere body=b'{'x' * 38}... times=1 hits=0>"


class TestRefusals:
    """A fault that makes no sense is refused where it is scripted, by the name of the argument."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "something that goes wrong"),
            ({"times": 3}, "something that goes wrong"),
            ({"rate": 0.5, "when": bool}, "something that goes wrong"),
            ({"status": 199}, "status must be at least 200, not 199"),
            ({"status": 600}, "status must be at most 599, not 600"),
            ({"limit": -1}, "limit must be at least 0"),
            ({"hang": -1}, "hang must be at least 0 seconds, or math.inf"),
            ({"hang": math.nan}, "hang must be at least 0"),
            ({"drip": -0.1}, "drip must be at least 0 seconds"),
            ({"drip": math.nan}, "drip must be at least 0"),
            ({"truncate": 1}, "truncate must be a share of the body from 0 to less than 1"),
            ({"truncate": -0.1}, "truncate must be a share"),
            ({"truncate": math.nan}, "truncate must be a share"),
            ({"split": 1}, "split must be at least 2"),
            ({"times": 0, "status": 500}, "times must be at least 1"),
            ({"rate": 0, "status": 500}, "rate must be a share above 0 and up to 1"),
            ({"rate": 1.1, "status": 500}, "rate must be a share"),
            ({"rate": math.nan, "status": 500}, "rate must be a share"),
            ({"headers": {"": "x"}}, "headers has the name ''"),
            ({"headers": {"a b": "x"}}, "headers has the name 'a b'"),
            ({"headers": {"X-More": "a\r\nb"}}, "headers has a control character in 'X-More'"),
            ({"headers": {"Content-Length": "5"}}, "headers cannot change Content-Length: use truncate"),
            ({"headers": {"transfer-encoding": "chunked"}}, "headers cannot change transfer-encoding"),
            ({"body": "x", "edit": dict}, "edit changes the real answer and body replaces it"),
            ({"body": "x", "limit": 1}, "limit cuts the real answer"),
            ({"status": 500, "limit": 1}, "limit cuts the real answer"),
            ({"hang": math.inf, "headers": {"X-More": "yes"}}, "headers would not be seen, because hang=math.inf"),
            ({"hang": math.inf, "truncate": 0.5}, "truncate would not be seen"),
            ({"hang": math.inf, "edit": dict}, "edit would not be seen"),
            ({"hang": math.inf, "reset": True}, "reset would not be seen, because hang=math.inf"),
            ({"reset": True, "drip": 5, "split": 2}, "drip and split would not be seen, because reset sends nothing"),
            ({"reset": True, "limit": 5, "hang": 1}, "limit would not be seen, because reset"),
            ({"status": 204, "drip": 5}, "need a body, which this answer has not"),
            ({"status": 302, "truncate": 0.5}, "need a body"),
            ({"body": b"", "split": 2}, "need a body"),
            ({"status": 204, "body": "x"}, "status 204 has no body"),
            ({"status": 304, "edit": dict}, "status 304 has no body"),
        ],
        ids=lambda value: str(value)[:60],
    )
    def test_value_that_makes_no_sense(self, options: dict[str, object], message: str) -> None:
        """Numbers are in their ranges, and no value makes another one pointless."""
        with pytest.raises(ValueError, match=message):
            AceServer().fail(**options)  # type: ignore[arg-type]  # the options of the one case or another

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"status": "500"}, "status must be a whole number, not '500'"),
            ({"status": True}, "status must be a whole number"),
            ({"status": 500.0}, "status must be a whole number"),
            ({"limit": 2.5}, "limit must be a whole number"),
            ({"split": "2"}, "split must be a whole number"),
            ({"status": 500, "times": 1.0}, "times must be a whole number"),
            ({"hang": "5"}, "hang must be a number, not '5'"),
            ({"drip": True}, "drip must be a number"),
            ({"truncate": "half"}, "truncate must be a number"),
            ({"status": 500, "rate": "0.5"}, "rate must be a number"),
            ({"reset": 1}, "reset must be True or False, not 1"),
            ({"headers": "Retry-After: 5"}, "headers must be a mapping"),
            ({"headers": {"Retry-After": 5}}, "headers must be strings: write 'Retry-After': '5', not"),
            ({"headers": {b"Retry-After": "5"}}, "headers must be strings"),
            ({"body": object()}, "body must be bytes, text, or what JSON can say"),
            ({"body": {"when": object()}}, "body must be bytes"),
            ({"edit": {"count": 3}}, "edit must be a function"),
            ({"status": 500, "when": "luma"}, "when must be a function"),
            ({"edit": asyncio.sleep}, "edit must be a plain function, not the coroutine function"),
            ({"status": 500, "when": asyncio.sleep}, "when must be a plain function"),
        ],
        ids=lambda value: str(value)[:60],
    )
    def test_value_of_the_wrong_kind(self, options: dict[str, object], message: str) -> None:
        """What is no number, no function, no mapping or nothing to send is refused as such."""
        with pytest.raises(TypeError, match=message):
            AceServer().fail(**options)  # type: ignore[arg-type]  # the options of the one case or another

    def test_provider_that_can_be_none(self) -> None:
        """A slug is checked as everywhere else."""
        with pytest.raises(UnknownProviderError):
            AceServer().fail("No Slug", status=500)

    async def test_refused_fault_hits_nothing(self, server: AceServer, caller: Caller) -> None:
        """A fault that was refused is not there."""
        with pytest.raises(ValueError, match="rate"):
            server.fail(status=500, rate=2)
        assert (await caller.retrieve()).status == 200


class MistakeError(Exception):
    """What a function of a test's author raises."""


def stumble(_: object) -> bool:
    """Raise what no one expects."""
    raise MistakeError("it stumbled")


class TestMistakes:
    """What a test's own functions raise reaches its author."""

    @pytest.mark.parametrize(("options", "tasks"), [({"edit": stumble}, 1), ({"status": 503, "when": stumble}, 0)])
    async def test_mistake_is_answered_and_raised_at_the_end(self, options: dict[str, object], tasks: int) -> None:
        """The request is answered with a 500 that names the mistake, and the end of the server raises it."""
        with pytest.raises(MistakeError, match="it stumbled") as caught:
            async with AceServer() as server, aiohttp.ClientSession() as http:
                server.fail("luma", hang=5, **options)  # type: ignore[arg-type]  # the one case's or another's
                answer = await Caller(server, http).submit()
                assert (answer.status, answer.begun, len(server.tasks)) == (500, 0, tasks)
                assert isinstance(answer.error, dict)
                assert answer.error["code"] == "api_error"
                assert str(answer.error["message"]).startswith(f"{list(options)[-1]} of <Fault luma ")
                assert str(answer.error["message"]).endswith("raised MistakeError: it stumbled")
                assert server.requests[0].status == 500
        assert f"raised by {list(options)[-1]} of <Fault luma" in caught.value.__notes__[0]
        assert server.open_connections == 0
        await server.stop()

    async def test_stop_raises_the_first_mistake_once(self) -> None:
        """A stop closes everything, then raises the first mistake and forgets the others."""
        server = await AceServer().start()
        mistakes = iter((MistakeError("first"), MistakeError("second")))

        def raise_next(_: object) -> object:
            raise next(mistakes)

        server.fail(edit=raise_next, times=2)
        async with aiohttp.ClientSession() as http:
            await Caller(server, http).retrieve()
            await Caller(server, http).retrieve()
        with pytest.raises(MistakeError, match="first"):
            await server.stop()
        await server.stop()
        async with server:
            pass

    async def test_mistake_comes_before_what_it_has_led_to(self) -> None:
        """A test that fails because of the 500 is told of the mistake, and of its own error as the context."""
        with pytest.raises(MistakeError) as caught:
            async with AceServer() as server, aiohttp.ClientSession() as http:
                server.fail(edit=stumble)
                answer = await Caller(server, http).retrieve()
                assert answer.status == 200
        assert isinstance(caught.value.__context__, AssertionError)

    async def test_mistake_does_not_swallow_a_cancellation(self) -> None:
        """A cancellation goes on, and carries a note of the mistake."""
        asked = asyncio.Event()

        async def main() -> None:
            async with AceServer() as server, aiohttp.ClientSession() as http:
                server.fail(edit=stumble)
                await Caller(server, http).retrieve()
                asked.set()
                await asyncio.sleep(100)

        task = asyncio.create_task(main())
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert "MistakeError('it stumbled')" in caught.value.__notes__[0]

    async def test_failed_test_in_a_function(self) -> None:
        """`pytest.fail` and failed assertions in a function reach pytest."""
        with pytest.raises(pytest.fail.Exception, match="unexpected"):
            async with AceServer() as server, aiohttp.ClientSession() as http:
                server.fail(status=500, when=lambda _: pytest.fail("unexpected"))
                assert (await Caller(server, http).retrieve()).status == 500

    @pytest.mark.parametrize(
        ("edited", "message"), [(None, "edit returned None: return the changed answer"), (object(), "unsupported")]
    )
    async def test_edit_that_returns_nothing_to_send(self, edited: object, message: str) -> None:
        """An edit that forgets to return, or returns what JSON cannot say, is a mistake."""
        with pytest.raises(TypeError, match=message):
            async with AceServer() as server, aiohttp.ClientSession() as http:
                server.fail(edit=lambda _: edited)
                assert (await Caller(server, http).retrieve()).status == 500

    async def test_faults_go_on_after_a_mistake(self) -> None:
        """A fault whose `when` has raised has not hit, and is asked again."""
        with pytest.raises(MistakeError):
            async with AceServer() as server, aiohttp.ClientSession() as http:
                fault = server.fail(status=503, when=stumble)
                for _ in range(2):
                    assert (await Caller(server, http).retrieve()).status == 500
                assert (fault.hits, fault.is_over) == (0, False)
                assert [seen.fault for seen in server.requests] == [None, None]
