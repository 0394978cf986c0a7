"""Scripted faults over HTTP, on the virtual clock: which requests are hit, their responses and the exact times."""

from __future__ import annotations

import asyncio
import math
import re
import socket
import struct
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import aiohttp
import msgspec
import pytest
from support import now

from acetasks.errors import UnknownProviderError
from acetasks.testing import AceServer, Fault, RecordedRequest, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "test-token"
HTML = "text/html"
JSON = "application/json"
NO_TIMEOUT = aiohttp.ClientTimeout()


class Response(msgspec.Struct):
    """HTTP response with the times of its headers and of each part of its body."""

    status: int
    headers: Mapping[str, str]
    started_at: float
    parts: list[tuple[float, bytes]]

    @property
    def content(self) -> bytes:
        """The whole body."""
        return b"".join(part for _, part in self.parts)

    @property
    def json(self) -> object:
        """The decoded body."""
        return msgspec.json.decode(self.content)

    @property
    def error(self) -> object:
        """The service's error."""
        assert isinstance(self.json, dict)
        return self.json["error"]

    @property
    def ids(self) -> list[object]:
        """The ids of a batch response, in its order."""
        assert isinstance(self.json, dict)
        return [item["id"] for item in self.json["items"]]


class Caller:
    """Sends requests to a server, with its token by default."""

    def __init__(self, server: AceServer, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.http = http

    async def send(self, path: str, body: object = None, *, method: str = "POST", token: str = TOKEN) -> Response:
        """Send a request with a JSON body, and read the response as it arrives."""
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Authorization": f"Bearer {token}"}
        url = self.server.url + path
        async with self.http.request(method, url, data=content, headers=headers, allow_redirects=False) as response:
            started_at = now()
            parts = [(now(), part) async for part in response.content.iter_any()]
            return Response(response.status, response.headers, started_at, parts)

    async def submit(self, slug: str = "luma") -> Response:
        """Send a submission that does not block."""
        return await self.send(f"/{slug}/videos", {"prompt": "a fog", "async": True})

    async def batch(self, ids: list[str], slug: str = "luma", **more: object) -> Response:
        """Send the tasks call for several tasks."""
        return await self.send(f"/{slug}/tasks", {"ids": ids, "action": "retrieve_batch", **more})

    async def retrieve(self, task_id: str = "x", slug: str = "luma") -> Response:
        """Send the tasks call for one task."""
        return await self.send(f"/{slug}/tasks", {"id": task_id, "action": "retrieve"})


@pytest.fixture
async def caller(server: AceServer) -> AsyncIterator[Caller]:
    """A caller of that server."""
    async with aiohttp.ClientSession(timeout=NO_TIMEOUT) as http:
        yield Caller(server, http)


async def read_raw(server: AceServer) -> tuple[bytes, bytes, BaseException | None]:
    """Send a tasks call over a bare socket; return headers and body, and the error that ended the connection."""
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


class TestReplacedResponses:
    """A status or a body replaces the real response, and the request is not processed."""

    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (400, "bad_request"),
            (401, "invalid_token"),
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
        """A status alone gets the service's documented error."""
        server.fail("luma", status=status)
        response = await caller.retrieve()
        assert (response.status, response.headers["Content-Type"]) == (status, JSON)
        assert isinstance(response.json, dict)
        assert response.json.keys() == {"error", "trace_id"}
        assert isinstance(response.error, dict)
        assert response.error["code"] == code
        assert response.error["message"]

    async def test_402_is_that_of_x402(self, server: AceServer, caller: Caller) -> None:
        """A 402 has the form of the payment protocol: a balance that is used up is a 403."""
        server.fail("luma", status=402)
        response = await caller.retrieve()
        assert isinstance(response.json, dict)
        assert (response.status, response.json["x402Version"], len(response.json["accepts"])) == (402, 1, 1)

    @pytest.mark.parametrize(
        ("status", "code", "message"),
        [
            (403, "used_up", "Your balance is not sufficient for current request."),
            (400, "token_mismatched", "The specified token is not matched with API."),
            (402, "other", "Payment Required"),
            (503, "busy", "Service Unavailable"),
        ],
    )
    async def test_code(self, server: AceServer, caller: Caller, status: int, code: str, message: str) -> None:
        """A code replaces the usual one of the status, with its documented message."""
        fault = server.fail("luma", status=status, code=code)
        response = await caller.retrieve()
        assert (response.status, response.error) == (status, {"code": code, "message": message})
        assert f"code={code}" in repr(fault)

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
        response = await caller.send("/v1/pixverse/jobs/?jobid=x", method="GET")
        assert (response.status, response.json) == (status, {"error": message, "code": status})

    @pytest.mark.parametrize(("status", "title"), [(502, "502 Bad Gateway"), (503, "503 Service Unavailable")])
    @pytest.mark.parametrize("slug", ["luma", None])
    async def test_gateway_status_has_an_html_page(
        self, server: AceServer, caller: Caller, status: int, title: str, slug: str | None
    ) -> None:
        """502 and 503 get a gateway's HTML page."""
        server.fail(slug, status=status)
        response = await caller.retrieve()
        assert (response.status, response.headers["Content-Type"]) == (status, HTML)
        assert f"<title>{title}</title>" in response.content.decode()

    @pytest.mark.parametrize("status", [200, 204, 302])
    async def test_status_below_400_has_no_body(self, server: AceServer, caller: Caller, status: int) -> None:
        """A status below 400 has no body."""
        server.fail(status=status, headers={"Location": "/elsewhere"})
        response = await caller.retrieve()
        assert (response.status, response.content, response.headers["Location"]) == (status, b"", "/elsewhere")

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
    async def test_body_is_sent_unchanged_or_as_json(
        self, server: AceServer, caller: Caller, body: object, content: bytes
    ) -> None:
        """Bytes and text are sent unchanged and other values as JSON, with status 200 and the type of JSON."""
        server.fail("luma", body=body)
        response = await caller.retrieve(server.add("luma"))
        assert (response.status, response.headers["Content-Type"], response.content) == (200, JSON, content)

    async def test_body_with_a_status_and_headers(self, server: AceServer, caller: Caller) -> None:
        """Status, body and headers can be combined; headers replace those of any case."""
        server.fail(
            "luma",
            status=529,
            body="<h1>Overloaded</h1>",
            headers={"content-type": "text/html; charset=latin-1", "Retry-After": "7", "X-More": "yes"},
        )
        response = await caller.retrieve()
        assert (response.status, response.content) == (529, b"<h1>Overloaded</h1>")
        assert response.headers["Content-Type"] == "text/html; charset=latin-1"
        assert (response.headers["Retry-After"], response.headers["X-More"]) == ("7", "yes")

    @pytest.mark.parametrize("options", [{"status": 500}, {"body": {"task_id": "none"}}])
    async def test_replaced_submission_creates_no_task(
        self, server: AceServer, caller: Caller, options: dict[str, object]
    ) -> None:
        """A submission with a replaced response creates no task; the next one is processed."""
        fault = server.fail("luma", **options)  # type: ignore[arg-type]  # parametrized options
        await caller.submit()
        assert (len(server.tasks), server.submissions) == (0, 0)
        (record,) = server.requests
        assert (record.provider, record.action, record.ids, record.fault) == ("luma", "submit", (), fault)
        await caller.submit()
        assert (len(server.tasks), server.submissions) == (1, 1)

    async def test_replaced_submission_uses_no_rule(self, server: AceServer, caller: Caller) -> None:
        """A submission with a replaced response uses no scripted rule."""
        server.script("luma", after=1)
        server.fail("luma", status=429)
        await caller.submit()
        await caller.submit()
        (task,) = server.tasks.values()
        assert task.finishes_at - task.created == 1


class TestHeaders:
    """Headers alone are added to the real response."""

    async def test_headers_of_the_real_response(self, server: AceServer, caller: Caller) -> None:
        """Headers are added or replaced, and the request is processed."""
        date = "Wed, 21 Oct 2015 07:28:00 GMT"
        server.fail("luma", headers={"Date": date, "Retry-After": "30"})
        response = await caller.submit()
        assert (response.status, response.headers["Date"], response.headers["Retry-After"]) == (200, date, "30")
        assert response.headers.getall("Date") == [date]  # type: ignore[attr-defined]  # aiohttp's mapping has it
        assert len(server.tasks) == 1

    @pytest.mark.parametrize("options", [{}, {"split": 2}])
    async def test_connection_close(self, server: AceServer, options: dict[str, int]) -> None:
        """The server obeys `Connection: close`."""
        server.fail(headers={"Connection": "close"}, **options)  # type: ignore[arg-type]  # mypy takes it for any of them
        head, body, end = await read_raw(server)
        assert b"Connection: close" in head
        assert (body, end) == (b"{}", None)

    async def test_headers_are_copied(self, server: AceServer, caller: Caller) -> None:
        """Later changes of the mapping do not affect the fault."""
        headers = {"Retry-After": "1"}
        server.fail(status=429, headers=headers)
        headers["Retry-After"] = "2"
        assert (await caller.retrieve()).headers["Retry-After"] == "1"


class TestEdits:
    """The real response to a processed request is changed."""

    async def test_edit_changes_the_decoded_body(self, server: AceServer, caller: Caller) -> None:
        """`edit` gets its own copy of the decoded body, and its result is sent."""
        first, second = server.add("luma"), server.add("luma")

        def reorder(body: object) -> object:
            assert isinstance(body, dict)
            body["items"] = [*body["items"][::-1], body["items"][0], {"id": "unknown"}, "no record", None]
            body["total"] = body.pop("count")
            return body

        fault = server.fail("luma", edit=reorder)
        response = await caller.batch([first, second])
        assert isinstance(response.json, dict)
        assert response.json["items"][3:] == [{"id": "unknown"}, "no record", None]
        assert [item["id"] for item in response.json["items"][:3]] == [first, second, second]
        assert (response.json["total"], response.headers["Content-Type"]) == (2, JSON)
        assert (await caller.batch([first, second])).ids == [second, first]
        assert fault.hits == 1

    @pytest.mark.parametrize("edited", [b"", b"{", bytearray(b"null")])
    async def test_edit_that_returns_bytes(self, server: AceServer, caller: Caller, edited: bytes) -> None:
        """Bytes are sent unchanged."""
        server.fail("luma", edit=lambda _: edited)
        response = await caller.submit()
        assert (response.status, response.content, len(server.tasks)) == (200, edited, 1)

    async def test_edit_of_a_rejection(self, server: AceServer, caller: Caller) -> None:
        """`edit` also applies to the service's own errors, which keep their status."""
        server.fail(edit=lambda body: [body])
        response = await caller.send("/nowhere", {})
        assert (response.status, type(response.json)) == (404, list)

    async def test_edit_with_a_status(self, server: AceServer, caller: Caller) -> None:
        """With `edit` the status replaces that of the real response, and the task is created."""
        server.fail("luma", edit=lambda _: b"<h1>Bad Gateway</h1>", status=502)
        response = await caller.submit()
        assert (response.status, response.content) == (502, b"<h1>Bad Gateway</h1>")
        assert (len(server.tasks), server.requests[0].status) == (1, 502)

    async def test_limit_cuts_a_batch(self, server: AceServer, caller: Caller) -> None:
        """A batch has at most `limit` records, without notice, whatever limit the request has."""
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
        """A history has at most `limit` records, and at most its default."""
        ids = [server.add("luma") for _ in range(20)]
        server.fail("luma", limit=limit)
        response = await caller.send("/luma/tasks", {"action": "retrieve_batch"})
        assert response.ids == ids[::-1][: min(limit, 12)]

    async def test_limit_hits_batches_only(self, server: AceServer, caller: Caller) -> None:
        """Requests without records in the response are not hit by a limit."""
        ids = [server.add("luma") for _ in range(3)]
        fault = server.fail("luma", limit=2)
        await caller.retrieve(ids[0])
        await caller.submit()
        await caller.send("/luma/tasks", {"ids": ids, "action": "retrieve_batch"}, token="wrong")
        assert fault.hits == 0
        assert len((await caller.batch(ids)).ids) == 2

    async def test_limit_and_edit(self, server: AceServer, caller: Caller) -> None:
        """`edit` gets the response cut by `limit`."""
        ids = [server.add("luma") for _ in range(3)]
        server.fail("luma", limit=2, edit=lambda body: {**body, "count": 3})  # type: ignore[dict-item]
        response = await caller.batch(ids)
        assert isinstance(response.json, dict)
        assert (len(response.ids), response.json["count"]) == (2, 3)


class TestHang:
    """A response is delayed or never sent."""

    @pytest.mark.parametrize("seconds", [5, 0.1, 80_000.0, 0])
    async def test_hang_takes_exactly_its_seconds(self, server: AceServer, caller: Caller, seconds: float) -> None:
        """A hang delays the headers, and then the whole response is sent at once."""
        await asyncio.sleep(0.7)
        start = now()
        server.fail("luma", hang=seconds)
        response = await caller.retrieve(server.add("luma"))
        assert (response.started_at, now()) == (start + seconds, start + seconds)

    async def test_request_is_processed_before_the_delay(self, server: AceServer, caller: Caller) -> None:
        """A delayed response shows the time at which the request was received."""
        task_id = server.add("luma", after=10)
        server.fail(hang=20, times=2)
        response, _ = await asyncio.gather(caller.batch([task_id]), caller.submit())
        created = [task.created for task in server.tasks.values()]
        assert created == [now() - 20, now() - 20]
        assert isinstance(response.json, dict)
        assert "finished_at" not in response.json["items"][0]
        assert server.max_concurrent == 2

    async def test_hang_can_be_combined(self, server: AceServer, caller: Caller) -> None:
        """Status, body, edit, limit and headers can be combined with a hang."""
        ids = [server.add("luma") for _ in range(3)]
        start = now()
        server.fail("luma", hang=1, status=504)
        server.fail("luma", hang=2, body="?", headers={"X-More": "yes"})
        server.fail("luma", hang=3, edit=lambda _: [], limit=1)
        responses = [await caller.batch(ids) for _ in range(3)]
        assert [response.started_at - start for response in responses] == [1, 3, 6]
        assert [response.status for response in responses] == [504, 200, 200]
        assert (responses[1].headers["X-More"], responses[2].content) == ("yes", b"[]")

    async def test_infinite_hang_ends_with_the_connection(self, server: AceServer, caller: Caller) -> None:
        """An infinite hang ends when the client disconnects; the task is created and nothing is left behind."""
        before = asyncio.all_tasks()
        server.fail("luma", hang=math.inf)
        start = now()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await caller.submit()
        assert now() == start + 30
        await asyncio.sleep(1)
        assert (len(server.tasks), server.requests[0].status, server.open_connections) == (1, None, 0)
        assert asyncio.all_tasks() == before

    async def test_infinite_hang_without_processing(self, server: AceServer, caller: Caller) -> None:
        """With a status the request is neither processed nor responded to."""
        server.fail("luma", hang=math.inf, status=503)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await caller.submit()
        assert (len(server.tasks), server.requests[0].status) == (0, None)


class TestResets:
    """Connections are reset instead of a response."""

    async def test_reset_sends_no_byte(self, server: AceServer) -> None:
        """The connection is reset on TCP level, before any byte."""
        server.fail("luma", reset=True)
        head, body, end = await read_raw(server)
        assert (head, body, type(end)) == (b"", b"", ConnectionResetError)

    async def test_reset_request_is_processed(self, server: AceServer, caller: Caller) -> None:
        """The client sees the reset at once, and the task is created."""
        before, start = asyncio.all_tasks(), now()
        fault = server.fail("luma", reset=True)
        with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
            await caller.submit()
        assert (now(), len(server.tasks)) == (start, 1)
        (record,) = server.requests
        assert (record.action, record.ids, record.status, record.fault) == ("submit", tuple(server.tasks), None, fault)
        await asyncio.sleep(1)
        assert (server.open_connections, asyncio.all_tasks()) == (0, before)
        assert (await caller.submit()).status == 200

    async def test_reset_without_processing(self, server: AceServer, caller: Caller) -> None:
        """With a status the request is not processed."""
        server.fail("luma", reset=True, status=503)
        with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
            await caller.submit()
        assert (len(server.tasks), server.requests[0].status) == (0, None)

    async def test_reset_after_a_hang(self, server: AceServer, caller: Caller) -> None:
        """A hang comes before a reset."""
        start = now()
        server.fail("luma", hang=5, reset=True)
        with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
            await caller.retrieve()
        assert now() == start + 5

    async def test_reset_within_the_body(self, server: AceServer) -> None:
        """With `truncate` the connection is reset after that fraction of the body."""
        server.fail("luma", body=b"0123456789", truncate=0.5, reset=True)
        head, body, end = await read_raw(server)
        assert head.startswith(b"HTTP/1.1 200")
        assert (body, type(end)) == (b"01234", ConnectionResetError)

    async def test_reset_within_a_large_body(self, server: AceServer) -> None:
        """A body larger than the socket buffers is sent as far as the client reads it, before the reset."""
        content = bytes(range(256)) * 100_000
        server.fail("luma", body=content, truncate=0.5, reset=True)
        _, body, end = await read_raw(server)
        # What the kernel has not sent yet when the reset comes is lost.
        assert 0 < len(body) <= len(content) // 2
        assert content.startswith(body)
        assert isinstance(end, ConnectionResetError)

    def test_reset_of_an_unread_connection_takes_no_real_time(self) -> None:
        """Virtual time advances at once after a reset, although bytes will never be acknowledged."""

        class Peer(asyncio.Protocol):
            """Echoes single bytes, and resets the connection as soon as more data arrives."""

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
                start = time.perf_counter()
                for _ in range(3):
                    await asyncio.sleep(1)
                took = time.perf_counter() - start
                writer.transport.abort()
                return took

        assert run(main()) < 0.5


class TestPieces:
    """Bodies are sent in pieces, slowly or truncated."""

    @pytest.mark.parametrize(("share", "sent"), [(0.5, b"01234"), (0.99, b"012345678"), (0, b""), (0.05, b"")])
    async def test_truncate_sends_a_fraction(self, server: AceServer, share: float, sent: bytes) -> None:
        """The full length is announced, the fraction is sent, and the connection is closed in order."""
        server.fail("luma", body=b"0123456789", truncate=share)
        head, body, end = await read_raw(server)
        assert b"Content-Length: 10\r\n" in head + b"\r\n"
        assert (body, end) == (sent, None)

    async def test_truncated_request_is_processed(self, server: AceServer, caller: Caller) -> None:
        """The task of a truncated response is created, and the client misses the rest of the body."""
        before, start = asyncio.all_tasks(), now()
        server.fail("luma", truncate=0.5)
        with pytest.raises(aiohttp.ClientPayloadError):
            await caller.submit()
        assert (now(), len(server.tasks), server.requests[0].status) == (start, 1, 200)
        await asyncio.sleep(1)
        assert (server.open_connections, asyncio.all_tasks()) == (0, before)

    @pytest.mark.parametrize("options", [{"status": 500}, {"edit": lambda _: b"0123"}, {"headers": {"X-More": "yes"}}])
    async def test_truncate_can_be_combined(
        self, server: AceServer, caller: Caller, options: dict[str, object]
    ) -> None:
        """Any response can be truncated, after the delay."""
        start = now()
        server.fail("luma", truncate=0.3, hang=2, **options)  # type: ignore[arg-type]  # parametrized options
        with pytest.raises(aiohttp.ClientPayloadError):
            await caller.retrieve(server.add("luma"))
        assert now() == start + 2

    @pytest.mark.parametrize("seconds", [10, 0.1, 80_000.0])
    async def test_drip_takes_exactly_its_seconds(self, server: AceServer, caller: Caller, seconds: float) -> None:
        """A body drips in 50 pieces, the first at once and the last at the end."""
        await asyncio.sleep(0.7)
        start = now()
        ids = [server.add("luma") for _ in range(5)]
        server.fail("luma", drip=seconds)
        response = await caller.batch(ids)
        assert response.ids == ids[::-1]
        assert [at for at, _ in response.parts] == [start + seconds * (number / 49) for number in range(50)]
        assert (response.started_at, now()) == (start, start + seconds)

    @pytest.mark.parametrize(("body", "times"), [(b"0", [7]), (b"012", [0, 3.5, 7])])
    async def test_drip_of_few_bytes(self, server: AceServer, caller: Caller, body: bytes, times: list[float]) -> None:
        """No piece is empty; a single one is sent at the end."""
        start = now()
        server.fail("luma", body=body, drip=7)
        response = await caller.retrieve()
        assert [at - start for at, _ in response.parts] == times
        assert response.content == body

    async def test_drip_with_split(self, server: AceServer, caller: Caller) -> None:
        """With `split` a body drips in that many pieces: here half of it at once and half later."""
        start = now()
        server.fail("luma", status=429, headers={"Retry-After": "3"}, hang=1, drip=20, split=2)
        response = await caller.retrieve()
        assert [at - start for at, _ in response.parts] == [1, 21]
        assert (response.status, response.headers["Retry-After"]) == (429, "3")

    async def test_infinite_drip(self, server: AceServer, caller: Caller) -> None:
        """After the first piece of an infinite drip nothing is sent until the client disconnects."""
        before, start, parts = asyncio.all_tasks(), now(), []
        server.fail("luma", body=b"0123456789", drip=math.inf, split=2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60), caller.http.post(f"{server.url}/luma/tasks") as response:
                async for part in response.content.iter_any():
                    parts.append((now() - start, part))  # noqa: PERF401  # a comprehension would lose them
        assert parts == [(0, b"01234")]
        await asyncio.sleep(1)
        assert (server.open_connections, asyncio.all_tasks()) == (0, before)

    @pytest.mark.parametrize(("share", "sent"), [(0.5, b"01234"), (0, b"")])
    async def test_drip_and_truncate(self, server: AceServer, share: float, sent: bytes) -> None:
        """The sent part of the body takes the whole duration, and then the connection closes."""
        start = now()
        server.fail("luma", body=b"0123456789", drip=5, truncate=share)
        _, body, end = await read_raw(server)
        assert (body, end, now()) == (sent, None, start + 5)

    async def test_split_takes_no_time(self, server: AceServer, caller: Caller) -> None:
        """A body arrives in about as many reads as there are writes, all at one time."""
        start = now()
        ids = [server.add("luma") for _ in range(5)]
        server.fail("luma", split=20)
        response = await caller.batch(ids)
        assert response.ids == ids[::-1]
        # The kernel may be late with one and deliver it along with the next.
        assert 10 <= len(response.parts) <= 20
        assert {at for at, _ in response.parts} == {start}

    async def test_split_cuts_characters(self, server: AceServer, caller: Caller) -> None:
        """With as many writes as bytes, every multi-byte character is split."""
        server.fail("luma", body="äöü", split=1000)
        response = await caller.retrieve()
        assert response.content.decode() == "äöü"
        assert len(response.parts) > 3

    async def test_split_and_truncate(self, server: AceServer) -> None:
        """The sent part of the body is split."""
        server.fail("luma", body=b"0123456789", split=3, truncate=0.7)
        assert (await read_raw(server))[1:] == (b"0123456", None)

    @pytest.mark.parametrize(("method", "path"), [("HEAD", "/luma/tasks"), ("POST", "/luma/videos")])
    async def test_empty_body_ignores_pieces(self, server: AceServer, caller: Caller, method: str, path: str) -> None:
        """A response without a body is sent at once."""
        server.fail(edit=lambda _: b"", drip=5, truncate=0.5)
        server.fail(drip=5)
        response = await caller.send(path, {}, method=method)
        assert response.content == b""

    async def test_disconnect_during_a_drip(self, server: AceServer, caller: Caller) -> None:
        """A drip ends with its connection, without a task or a socket left behind."""
        before = asyncio.all_tasks()
        server.fail("luma", drip=100)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(33):
                await caller.retrieve(server.add("luma"))
        await asyncio.sleep(1)
        assert (server.open_connections, asyncio.all_tasks()) == (0, before)
        assert server.requests[0].status == 200

    @pytest.mark.parametrize("seconds", [0, 1, 2, 48, 49])
    async def test_disconnect_when_a_piece_is_due(
        self, server: AceServer, caller: Caller, caplog: pytest.LogCaptureFixture, seconds: float
    ) -> None:
        """A piece that is due exactly when the client disconnects causes no error."""
        before, start = asyncio.all_tasks(), now()
        server.fail("luma", body=bytes(1000), drip=49)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout_at(start + seconds), caller.http.post(f"{server.url}/luma/videos") as response:
                await response.read()
        await asyncio.sleep(1)
        assert (server.open_connections, asyncio.all_tasks(), caplog.records) == (0, before, [])

    async def test_disconnect_during_a_split(
        self, server: AceServer, caller: Caller, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Writes after the client has closed the connection cause no error."""
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
    async def test_unread_body_ends_with_the_connection(
        self, server: AceServer, caplog: pytest.LogCaptureFixture, options: dict[str, float]
    ) -> None:
        """A body larger than the socket buffers waits for the client, and ends with the connection."""
        before = asyncio.all_tasks()
        server.fail("luma", body=bytes(30_000_000), **options)  # type: ignore[arg-type]  # parametrized options
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
        """Faults take real seconds on asyncio's default loop."""
        async with AceServer() as server, aiohttp.ClientSession() as http:
            server.fail("luma", hang=0.02, drip=0.02)
            server.fail("luma", reset=True)
            start = now()
            response = await Caller(server, http).retrieve(server.add("luma"))
            assert now() - start >= 0.039
            assert isinstance(response.json, dict)
            with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
                await Caller(server, http).retrieve()


class TestStop:
    """The server is stopped during a fault."""

    @pytest.mark.parametrize(
        "options",
        [{"hang": 100}, {"hang": math.inf}, {"drip": 100}, {"drip": math.inf, "split": 2}],
        ids=" ".join,
    )
    async def test_stop_ends_requests_in_flight(self, options: dict[str, float]) -> None:
        """A stop takes no time, and leaves neither a task nor a connection."""
        before = asyncio.all_tasks()
        server = await AceServer().start()
        async with aiohttp.ClientSession() as http:
            server.fail("luma", **options)  # type: ignore[arg-type]  # parametrized options
            asked = asyncio.create_task(Caller(server, http).retrieve(server.add("luma")))
            await asyncio.sleep(10)
            start = now()
            await server.stop()
            assert (now(), server.open_connections) == (start, 0)
            with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
                await asked
        assert asyncio.all_tasks() == before

    async def test_faults_stay_after_a_stop(self) -> None:
        """A server that is started again has the same faults."""
        server = AceServer()
        fault = server.fail("luma", status=500, times=2)
        for _ in range(2):
            async with server, aiohttp.ClientSession() as http:
                assert (await Caller(server, http).retrieve()).status == 500
        assert fault.hits == 2


class TestMatching:
    """Which requests are hit."""

    async def test_fault_hits_once_by_default(self, server: AceServer, caller: Caller) -> None:
        """A fault hits one request, or `times` requests."""
        once, twice = server.fail("luma", status=500), server.fail("luma", status=502, times=2)
        assert [(await caller.retrieve()).status for _ in range(4)] == [500, 502, 502, 200]
        assert (once.hits, twice.hits) == (1, 2)
        assert [request.fault for request in server.requests] == [once, twice, twice, None]

    async def test_fault_hits_until_it_is_stopped(self, server: AceServer, caller: Caller) -> None:
        """`times=None` hits all requests until `stop`, which may be repeated."""
        fault = server.fail("luma", status=500, times=None)
        assert {(await caller.retrieve()).status for _ in range(20)} == {500}
        fault.stop()
        fault.stop()
        assert ((await caller.retrieve()).status, fault.hits) == (200, 20)

    async def test_fault_of_one_provider(self, server: AceServer, caller: Caller) -> None:
        """A provider's fault hits only requests to it, of any kind."""
        fault = server.fail("luma", status=500, times=None)
        assert (await caller.retrieve(slug="veo")).status == 200
        assert (await caller.send("/nowhere", {})).status == 404
        assert fault.hits == 0
        assert (await caller.submit()).status == (await caller.batch(["x"])).status == (await caller.retrieve()).status
        assert (await caller.send("/luma/tasks", {}, token="wrong")).status == 500
        assert (await caller.send("/luma/tasks", [])).status == 500
        assert fault.hits == 5

    async def test_fault_of_an_unlisted_provider(self, server: AceServer, caller: Caller) -> None:
        """A provider without a spec can be hit."""
        server.fail("unlisted", status=500)
        assert (await caller.retrieve(slug="unlisted")).status == 500

    async def test_fault_without_a_provider_hits_all(self, server: AceServer, caller: Caller) -> None:
        """Without a provider every request is hit, including those with an unknown path or a wrong token."""
        fault = server.fail(status=418, times=None)
        assert (await caller.send("/nowhere", {})).status == 418
        assert (await caller.send("/v1/pixverse/jobs/?jobid=x", method="GET")).status == 418
        assert (await caller.send("/luma/tasks", {}, token="wrong")).status == 418
        assert [request.provider for request in server.requests] == ["", "useapi-pixverse", "luma"]
        assert fault.hits == 3

    async def test_first_matching_fault_hits(self, server: AceServer, caller: Caller) -> None:
        """Faults are tried in order of creation, and a request is hit by at most one."""
        general = server.fail(status=500, times=2)
        special = server.fail("luma", status=429, headers={"Retry-After": "1"}, times=2)
        responses = [await caller.retrieve() for _ in range(4)]
        assert [response.status for response in responses] == [500, 500, 429, 429]
        assert ["Retry-After" in response.headers for response in responses] == [False, False, True, True]
        assert (general.hits, special.hits) == (2, 2)

    async def test_when_gets_the_parsed_request(self, server: AceServer, caller: Caller) -> None:
        """`when` is called with each parsed request until the fault is over."""
        requests: list[tuple[object, ...]] = []

        def select(request: RecordedRequest) -> bool:
            requests.append((request.time, request.method, request.path, request.provider, request.action, request.ids))
            assert (request.status, request.fault) == (None, None)
            return request.ids == ("b", "c")

        fault = server.fail(status=500, when=select)
        await asyncio.sleep(3)
        await caller.submit()
        assert (await caller.retrieve("a")).status == 200
        await caller.send("/v1/pixverse/jobs/?jobid=j", method="GET")
        await caller.send("/nowhere", {})
        await caller.send("/luma/tasks", {})
        assert (await caller.batch(["b", "c"], "veo")).status == 500
        await caller.batch(["b", "c"])
        assert requests == [
            (3.0, "POST", "/luma/videos", "luma", "submit", ()),
            (3.0, "POST", "/luma/tasks", "luma", "retrieve", ("a",)),
            (3.0, "GET", "/v1/pixverse/jobs/", "useapi-pixverse", "retrieve", ("j",)),
            (3.0, "POST", "/nowhere", "", None, ()),
            (3.0, "POST", "/luma/tasks", "luma", None, ()),
            (3.0, "POST", "/veo/tasks", "veo", "retrieve_batch", ("b", "c")),
        ]
        assert fault.hits == 1

    async def test_when_and_provider(self, server: AceServer, caller: Caller) -> None:
        """`when` is called for the provider's requests only, and a request that it rejects is not hit."""
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
        """Clearing faults stops them all; clearing requests does not affect them."""
        fault = server.fail(status=500, times=None)
        assert (await caller.retrieve()).status == 500
        server.clear_requests()
        assert (await caller.retrieve()).status == 500
        server.clear_faults()
        assert (await caller.retrieve()).status == 200
        assert (fault.hits, fault.is_over) == (2, True)

    async def test_when_may_clear_faults(self, server: AceServer, caller: Caller) -> None:
        """Faults may be added and cleared while they are tried."""

        def clear(_: RecordedRequest) -> bool:
            server.clear_faults()
            server.fail(status=502)
            return False

        server.fail(status=500, when=clear)
        assert [(await caller.retrieve()).status for _ in range(3)] == [200, 502, 200]

    async def test_hit_is_counted_at_once(self, server: AceServer, caller: Caller) -> None:
        """A concurrent request is not hit by a fault that was used up by a request still hanging."""
        server.fail("luma", hang=10)
        start = now()
        slow, fast = await asyncio.gather(caller.retrieve(), caller.retrieve())
        assert sorted((slow.started_at - start, fast.started_at - start)) == [0, 10]


class TestRate:
    """A share of the requests is hit."""

    @staticmethod
    async def send_requests(rate: float, *, seed: int = 0, count: int = 400, **options: object) -> list[int]:
        """Send requests to a faulty server and return the statuses."""
        async with AceServer(seed=seed) as server, aiohttp.ClientSession() as http:
            server.fail("luma", status=500, rate=rate, **options)  # type: ignore[arg-type]  # options of the calling test
            return [(await Caller(server, http).retrieve()).status for _ in range(count)]

    async def test_rate_is_a_share_of_the_requests(self) -> None:
        """About the share is hit, without a maximum by default; a share of 1 is all."""
        statuses = await self.send_requests(0.25)
        assert 0.18 < statuses.count(500) / len(statuses) < 0.32
        assert set(await self.send_requests(1, count=20)) == {500}
        assert (await self.send_requests(0.25, times=3)).count(500) == 3
        assert (await self.send_requests(0.25, times=None)).count(500) == statuses.count(500)

    async def test_same_seed_same_hits(self) -> None:
        """Two servers with one seed hit the same requests, another seed hits others."""
        assert (
            await self.send_requests(0.5, seed=7)
            == await self.send_requests(0.5, seed=7)
            != await self.send_requests(0.5, seed=8)
        )

    async def test_faults_have_separate_random_numbers(self, server: AceServer, caller: Caller) -> None:
        """The second fault hits its share of the requests that the first does not hit."""
        first = server.fail("luma", status=500, rate=0.5)
        second = server.fail("luma", status=502, rate=0.5)
        for _ in range(200):
            await caller.retrieve()
        assert 70 < first.hits < 130
        assert 30 < second.hits < 70

    async def test_rate_is_drawn_for_matching_requests_only(self, server: AceServer, caller: Caller) -> None:
        """Requests to other providers, and those that `when` rejects, send_requests no number."""
        fault = server.fail("luma", status=500, rate=0.5, when=lambda request: request.action == "retrieve")
        statuses = []
        for _ in range(30):
            await caller.retrieve(slug="veo")
            await caller.batch(["x"])
            statuses.append((await caller.retrieve()).status)
        assert statuses == await self.send_requests(0.5, count=30)
        assert fault.hits == statuses.count(500)

    async def test_faults_do_not_change_the_tasks(self) -> None:
        """The random tasks do not depend on the faults."""

        async def make(rate: float | None) -> list[tuple[str, float]]:
            async with AceServer(seed=3) as server, aiohttp.ClientSession() as http:
                if rate:
                    server.fail(hang=1, rate=rate)
                for _ in range(10):
                    await Caller(server, http).submit()
                return [(task.id, task.finishes_at - task.starts_at) for task in server.tasks.values()]

        drawn = await make(None)
        assert [task_id for task_id, _ in await make(0.5)] == [task_id for task_id, _ in drawn]


class TestRepr:
    """The repr of a fault."""

    async def test_repr_has_options_hits_and_state(self, server: AceServer, caller: Caller) -> None:
        """The repr has the provider, the options, the number of hits, and whether the fault is over."""
        fault = server.fail("luma", status=429, headers={"Retry-After": "7"}, times=2)
        assert repr(fault) == "<Fault luma status=429 headers={'Retry-After': '7'} times=2 hits=0>"
        await caller.retrieve()
        assert repr(fault) == "<Fault luma status=429 headers={'Retry-After': '7'} times=2 hits=1>"
        await caller.retrieve()
        assert repr(fault) == "<Fault luma status=429 headers={'Retry-After': '7'} times=2 hits=2 used up>"
        assert (fault.is_over, isinstance(fault, Fault)) == (True, True)

    def test_repr_of_other_options(self) -> None:
        """Functions are named, long bodies shortened, and defaults omitted."""
        server = AceServer()
        assert repr(server.fail(hang=math.inf, rate=0.5)) == "<Fault everywhere hang=inf rate=0.5 hits=0>"
        assert repr(server.fail(reset=True, truncate=0, drip=1, split=2)) == (
            "<Fault everywhere reset=True truncate=0 drip=1 split=2 times=1 hits=0>"
        )
        fault = server.fail("veo", edit=dict, limit=3, when=bool, times=None)
        fault.stop()
        assert repr(fault) == "<Fault veo edit=dict limit=3 when=bool hits=0 stopped>"
        assert repr(server.fail(body="x" * 100)) == f"<Fault everywhere body=b'{'x' * 38}... times=1 hits=0>"


class TestInvalidFaults:
    """`fail` rejects an invalid fault and names the argument."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "a fault needs an effect"),
            ({"times": 3}, "a fault needs an effect"),
            ({"rate": 0.5, "when": bool}, "a fault needs an effect"),
            ({"status": 199}, "status must be at least 200, got 199"),
            ({"status": 600}, "status must be at most 599, got 600"),
            ({"limit": -1}, "limit must be at least 0"),
            ({"hang": -1}, "hang must be at least 0 seconds, or math.inf"),
            ({"hang": math.nan}, "hang must be at least 0"),
            ({"drip": -0.1}, "drip must be at least 0 seconds"),
            ({"drip": math.nan}, "drip must be at least 0"),
            ({"truncate": 1}, "truncate must be a fraction of the body from 0 to less than 1"),
            ({"truncate": -0.1}, "truncate must be a fraction"),
            ({"truncate": math.nan}, "truncate must be a fraction"),
            ({"split": 1}, "split must be at least 2"),
            ({"times": 0, "status": 500}, "times must be at least 1"),
            ({"rate": 0, "status": 500}, "rate must be a share above 0 and up to 1"),
            ({"rate": 1.1, "status": 500}, "rate must be a share"),
            ({"rate": math.nan, "status": 500}, "rate must be a share"),
            ({"headers": {"": "x"}}, "headers has the invalid name ''"),
            ({"headers": {"a b": "x"}}, "headers has the invalid name 'a b'"),
            ({"headers": {"X-More": "a\r\nb"}}, "headers has a control character in 'X-More'"),
            ({"headers": {"Content-Length": "5"}}, "headers cannot change Content-Length: use truncate"),
            ({"headers": {"transfer-encoding": "chunked"}}, "headers cannot change transfer-encoding"),
            ({"body": "x", "edit": dict}, "edit changes the real response and body replaces it"),
            ({"body": "x", "limit": 1}, "limit cuts the real response"),
            ({"status": 500, "limit": 1}, "limit cuts the real response"),
            ({"hang": math.inf, "headers": {"X-More": "yes"}}, "headers would have no effect, because hang=math.inf"),
            ({"hang": math.inf, "truncate": 0.5}, "truncate would have no effect"),
            ({"hang": math.inf, "edit": dict}, "edit would have no effect"),
            ({"hang": math.inf, "reset": True}, "reset would have no effect, because hang=math.inf"),
            (
                {"reset": True, "drip": 5, "split": 2},
                "drip and split would have no effect, because reset sends nothing",
            ),
            ({"reset": True, "limit": 5, "hang": 1}, "limit would have no effect, because reset"),
            ({"status": 204, "drip": 5}, "need a body, which this response does not have"),
            ({"status": 302, "truncate": 0.5}, "need a body"),
            ({"body": b"", "split": 2}, "need a body"),
            ({"status": 204, "body": "x"}, "status 204 has no body"),
            ({"status": 304, "edit": dict}, "status 304 has no body"),
        ],
        ids=lambda value: str(value)[:60],
    )
    def test_invalid_value(self, options: dict[str, object], message: str) -> None:
        """A number out of range, or a value without effect, is a ValueError."""
        with pytest.raises(ValueError, match=message):
            AceServer().fail(**options)  # type: ignore[arg-type]  # parametrized options

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"status": "500"}, "status must be an integer, got '500'"),
            ({"status": True}, "status must be an integer"),
            ({"status": 500.0}, "status must be an integer"),
            ({"limit": 2.5}, "limit must be an integer"),
            ({"split": "2"}, "split must be an integer"),
            ({"status": 500, "times": 1.0}, "times must be an integer"),
            ({"hang": "5"}, "hang must be a number, got '5'"),
            ({"drip": True}, "drip must be a number"),
            ({"truncate": "half"}, "truncate must be a number"),
            ({"status": 500, "rate": "0.5"}, "rate must be a number"),
            ({"reset": 1}, "reset must be True or False, got 1"),
            ({"headers": "Retry-After: 5"}, "headers must be a mapping"),
            ({"headers": {"Retry-After": 5}}, "headers must be strings: write 'Retry-After': '5', got"),
            ({"headers": {b"Retry-After": "5"}}, "headers must be strings"),
            ({"body": object()}, "body must be bytes, text or a JSON value"),
            ({"body": {"when": object()}}, "body must be bytes"),
            ({"edit": {"count": 3}}, "edit must be a function"),
            ({"status": 500, "when": "luma"}, "when must be a function"),
            ({"edit": asyncio.sleep}, "edit must be a plain function, got .*: coroutine functions are not awaited"),
            ({"status": 500, "when": asyncio.sleep}, "when must be a plain function"),
        ],
        ids=lambda value: re.sub(r" at 0x\w+", "", str(value))[:60],  # the same in each process
    )
    def test_wrong_type(self, options: dict[str, object], message: str) -> None:
        """A value of the wrong type is a TypeError."""
        with pytest.raises(TypeError, match=message):
            AceServer().fail(**options)  # type: ignore[arg-type]  # parametrized options

    def test_invalid_provider(self) -> None:
        """An invalid provider name is an UnknownProviderError."""
        with pytest.raises(UnknownProviderError):
            AceServer().fail("No Slug", status=500)

    async def test_rejected_fault_is_not_added(self, server: AceServer, caller: Caller) -> None:
        """A rejected fault hits nothing."""
        with pytest.raises(ValueError, match="rate"):
            server.fail(status=500, rate=2)
        assert (await caller.retrieve()).status == 200


class FunctionError(Exception):
    """Raised by a function of a fault."""


def raise_error(_: object) -> bool:
    """Raise an exception."""
    raise FunctionError("it failed")


class TestFunctionErrors:
    """Exceptions of a fault's functions reach the test's author."""

    @pytest.mark.parametrize(
        ("options", "tasks"), [({"edit": raise_error}, 1), ({"status": 503, "when": raise_error}, 0)]
    )
    async def test_function_error_gets_a_500_and_is_raised_at_the_end(
        self, options: dict[str, object], tasks: int
    ) -> None:
        """The request gets a 500 that names the exception, and the end of the server raises it."""
        with pytest.raises(FunctionError, match="it failed") as caught:
            async with AceServer() as server, aiohttp.ClientSession() as http:
                server.fail("luma", hang=5, **options)  # type: ignore[arg-type]  # parametrized options
                response = await Caller(server, http).submit()
                assert (response.status, response.started_at, len(server.tasks)) == (500, 0, tasks)
                assert isinstance(response.error, dict)
                assert response.error["code"] == "api_error"
                assert str(response.error["message"]).startswith(f"{list(options)[-1]} of <Fault luma ")
                assert str(response.error["message"]).endswith("raised FunctionError: it failed")
                assert server.requests[0].status == 500
        assert f"raised by {list(options)[-1]} of <Fault luma" in caught.value.__notes__[0]
        assert server.open_connections == 0
        await server.stop()

    async def test_stop_raises_the_first_function_error_once(self) -> None:
        """A stop closes everything, then raises the first exception and drops the others."""
        server = await AceServer().start()
        errors = iter((FunctionError("first"), FunctionError("second")))

        def raise_next(_: object) -> object:
            raise next(errors)

        server.fail(edit=raise_next, times=2)
        async with aiohttp.ClientSession() as http:
            await Caller(server, http).retrieve()
            await Caller(server, http).retrieve()
        with pytest.raises(FunctionError, match="first"):
            await server.stop()
        await server.stop()
        async with server:
            pass

    async def test_function_error_replaces_the_test_s_own_error(self) -> None:
        """A test that fails because of the 500 raises the function's exception, with its own as the context."""
        with pytest.raises(FunctionError) as caught:
            async with AceServer() as server, aiohttp.ClientSession() as http:
                server.fail(edit=raise_error)
                response = await Caller(server, http).retrieve()
                assert response.status == 200
        assert isinstance(caught.value.__context__, AssertionError)

    async def test_function_error_does_not_replace_a_cancellation(self) -> None:
        """A cancellation is raised, with a note about the exception."""
        asked = asyncio.Event()

        async def main() -> None:
            async with AceServer() as server, aiohttp.ClientSession() as http:
                server.fail(edit=raise_error)
                await Caller(server, http).retrieve()
                asked.set()
                await asyncio.sleep(100)

        task = asyncio.create_task(main())
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert "FunctionError('it failed')" in caught.value.__notes__[0]

    async def test_pytest_fail_in_a_function(self) -> None:
        """`pytest.fail` in a function reaches pytest."""
        with pytest.raises(pytest.fail.Exception, match="unexpected"):
            async with AceServer() as server, aiohttp.ClientSession() as http:
                server.fail(status=500, when=lambda _: pytest.fail("unexpected"))
                assert (await Caller(server, http).retrieve()).status == 500

    @pytest.mark.parametrize(
        ("edited", "message"), [(None, "edit returned None: return the changed response"), (object(), "unsupported")]
    )
    async def test_edit_with_an_invalid_result(self, edited: object, message: str) -> None:
        """An `edit` that returns None or a value that JSON cannot represent is a TypeError."""
        with pytest.raises(TypeError, match=message):
            async with AceServer() as server, aiohttp.ClientSession() as http:
                server.fail(edit=lambda _: edited)
                assert (await Caller(server, http).retrieve()).status == 500

    async def test_fault_continues_after_a_function_error(self) -> None:
        """A fault whose `when` raised has not hit, and is tried again."""
        with pytest.raises(FunctionError):
            async with AceServer() as server, aiohttp.ClientSession() as http:
                fault = server.fail(status=503, when=raise_error)
                for _ in range(2):
                    assert (await Caller(server, http).retrieve()).status == 500
                assert (fault.hits, fault.is_over) == (0, False)
                assert [request.fault for request in server.requests] == [None, None]
