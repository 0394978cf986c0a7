"""The aiohttp and the ASGI app: what they respond, and how little they read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import msgspec
import pytest
from aiohttp import web
from callback_figures import serve

from acetasks import Callbacks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, MutableMapping

    from acetasks._callbacks import ASGIApp, ReceivedCallback

    Message = MutableMapping[str, object]

BODY = msgspec.json.encode({"task_id": "a", "success": True})
LIMIT = 1000


class Sender:
    """Sends requests to an app of some callbacks, and keeps what a client would receive."""

    def __init__(self, callbacks: Callbacks) -> None:
        self.callbacks = callbacks
        self.received: list[ReceivedCallback] = []
        callbacks.attach(self.received.append, asyncio.get_running_loop())
        self.url = callbacks.build_url("luma")

    async def send(self, url: str, method: str = "POST", chunks: Iterable[bytes] = (BODY,), length: str = "") -> int:
        """Send a request, and return the status of the response; a length is announced, or else that of the chunks."""
        raise NotImplementedError


class HttpSender(Sender):
    """Sends requests to an aiohttp application over HTTP."""

    async def send(self, url: str, method: str = "POST", chunks: Iterable[bytes] = (BODY,), length: str = "") -> int:
        """Send a request."""
        content = list(chunks)

        async def generate() -> AsyncIterator[bytes]:
            for chunk in content:
                yield chunk

        headers = {"Content-Length": length} if length else {}
        data = content[0] if len(content) == 1 and not length else generate()
        async with aiohttp.ClientSession() as http, http.request(method, url, data=data, headers=headers) as response:
            return response.status


class ASGISender(Sender):
    """Calls an ASGI app."""

    def __init__(self, callbacks: Callbacks) -> None:
        super().__init__(callbacks)
        self.app = callbacks.asgi_app()
        self.reads = 0

    async def send(self, url: str, method: str = "POST", chunks: Iterable[bytes] = (BODY,), length: str = "") -> int:
        """Call the app."""
        content = list(chunks)
        messages: list[Message] = [
            {"type": "http.request", "body": chunk, "more_body": number < len(content) - 1}
            for number, chunk in enumerate(content)
        ]
        headers = [(b"Content-Length", length.encode())] if length else []
        path = url.removeprefix("https://shop.example").removeprefix("http://")
        scope: Message = {"type": "http", "method": method, "path": path, "headers": headers}
        sent = await call(self.app, scope, messages, self)
        start, end = sent
        assert (start["type"], end) == ("http.response.start", {"type": "http.response.body", "body": b""})
        status = start["status"]
        assert isinstance(status, int)
        return status


async def call(
    app: ASGIApp, scope: Message, messages: list[Message], sender: ASGISender | None = None
) -> list[Message]:
    """Call an ASGI app with some messages, after which none comes, and return what it sends."""
    sent: list[Message] = []

    async def receive() -> Message:
        if sender is not None:
            sender.reads += 1
        if not messages:
            await asyncio.get_running_loop().create_future()
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


@pytest.fixture(params=["aiohttp", "asgi"])
async def sender(request: pytest.FixtureRequest) -> AsyncIterator[Sender]:
    """A sender to each app."""
    if request.param == "asgi":
        yield ASGISender(Callbacks("https://shop.example/hooks", max_bytes=LIMIT))
        return
    async with serve(max_bytes=LIMIT) as callbacks:
        yield HttpSender(callbacks)


class TestBoth:
    """What both apps do."""

    async def test_a_genuine_callback_is_received(self, sender: Sender) -> None:
        """It is passed on, and has an empty response."""
        assert await sender.send(sender.url) == 204
        (callback,) = sender.received
        assert (callback.provider, callback.task_id) == ("luma", "a")

    async def test_forged_ones_get_the_same_response(self, sender: Sender) -> None:
        """Nothing can be learned: a wrong token, provider or path has the status of a genuine callback."""
        forged = [sender.url[:-1] + "_~"[sender.url[-1] == "_"], sender.url.replace("/luma/", "/veo/")]
        forged += [sender.url + "/", sender.url.rpartition("/luma")[0] + "/x"]
        assert [await sender.send(url) for url in forged] == [204] * 4
        assert (sender.received, sender.callbacks.refused) == ([], 4)

    @pytest.mark.parametrize("content", [b"", b"no JSON", b"{}", b'{"task_id": null}', b"\xff\xfe"])
    async def test_callbacks_without_an_id_too(self, sender: Sender, content: bytes) -> None:
        """A body that cannot be read, or without an id, has it too."""
        assert await sender.send(sender.url, chunks=[content]) == 204
        assert sender.received == []

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
    async def test_other_methods_are_refused(self, sender: Sender, method: str) -> None:
        """Callbacks are posted."""
        assert await sender.send(sender.url, method) == 405
        assert (sender.received, sender.callbacks.refused) == ([], 0)

    async def test_a_body_in_pieces_is_received(self, sender: Sender) -> None:
        """Chunked transfer has no length; an empty chunk is no end."""
        assert await sender.send(sender.url, chunks=[BODY[:5], BODY[5:9], BODY[9:]]) == 204
        assert len(sender.received) == 1

    async def test_the_largest_body_is_received(self, sender: Sender) -> None:
        """A body of exactly the limit is not too large."""
        assert await sender.send(sender.url, chunks=[BODY.ljust(LIMIT)]) == 204
        assert len(sender.received) == 1

    @pytest.mark.parametrize("chunks", [[BODY.ljust(LIMIT + 1)], [BODY, b" " * LIMIT], [b" " * 400] * 3])
    async def test_a_larger_body_is_refused(self, sender: Sender, chunks: list[bytes]) -> None:
        """Whether its size is announced or not."""
        assert await sender.send(sender.url, chunks=chunks) == 413
        assert sender.received == []


class TestASGI:
    """What only the ASGI app has to do itself."""

    @pytest.fixture
    async def sender(self) -> ASGISender:
        """A sender to the ASGI app."""
        return ASGISender(Callbacks("https://shop.example/hooks", max_bytes=LIMIT))

    async def test_the_body_of_a_forged_callback_is_not_read(self, sender: ASGISender) -> None:
        """Nor is one whose announced length is too large."""
        assert await sender.send(sender.url[:-1], chunks=[b"x" * 10**6] * 100) == 204
        assert await sender.send(sender.url, length=str(LIMIT + 1)) == 413
        assert await sender.send(sender.url, length="9" * 5000) == 413
        assert sender.reads == 0

    async def test_it_stops_reading_at_the_limit(self, sender: ASGISender) -> None:
        """An endless body is read no further than the limit."""
        assert await sender.send(sender.url, chunks=[b"x" * 300] * 1000) == 413
        assert sender.reads == 4

    @pytest.mark.parametrize("length", ["5", "x", "-1", "0"])
    async def test_the_announced_length_may_be_wrong(self, sender: ASGISender, length: str) -> None:
        """What counts is the body."""
        assert await sender.send(sender.url, length=length) == 204
        assert len(sender.received) == 1

    async def test_a_sender_that_has_gone_gets_no_response(self, sender: ASGISender) -> None:
        """A body that ends with a disconnection is no callback."""
        scope: Message = {"type": "http", "method": "POST", "path": sender.url, "headers": []}
        messages: list[Message] = [
            {"type": "http.request", "body": BODY, "more_body": True},
            {"type": "http.disconnect"},
        ]
        assert await call(sender.app, scope, messages) == []
        assert sender.received == []

    async def test_a_body_that_does_not_end_is_given_up(self, sender: ASGISender) -> None:
        """After ten seconds the response is 408."""
        start = asyncio.get_running_loop().time()
        scope: Message = {"type": "http", "method": "POST", "path": sender.url, "headers": []}
        messages: list[Message] = [{"type": "http.request", "body": BODY, "more_body": True}]
        (head, _) = await call(sender.app, scope, messages)
        assert head["status"] == 408
        assert asyncio.get_running_loop().time() - start == 10

    async def test_headers_of_responses(self, sender: ASGISender) -> None:
        """A refused method has the one that is allowed; an empty response without a body has no length."""
        for method, headers in (("GET", [(b"allow", b"POST"), (b"content-length", b"0")]), ("POST", [])):
            scope: Message = {"type": "http", "method": method, "path": "/", "headers": []}
            (head, _) = await call(sender.app, scope, [])
            assert head["headers"] == headers

    async def test_lifespan(self, sender: ASGISender) -> None:
        """The app may be run by itself: it starts and ends with the server."""
        messages: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent = await call(sender.app, {"type": "lifespan"}, messages)
        assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]

    async def test_websockets_are_closed(self, sender: ASGISender) -> None:
        """There is nothing to talk about."""
        sent = await call(sender.app, {"type": "websocket"}, [{"type": "websocket.connect"}])
        assert sent == [{"type": "websocket.close", "code": 1000}]

    async def test_unknown_connections_are_ignored(self, sender: ASGISender) -> None:
        """A type that ASGI does not have yet leads to nothing."""
        assert await call(sender.app, {"type": "webtransport"}, []) == []


class TestAiohttp:
    """What only the aiohttp application has."""

    async def test_the_body_of_a_forged_callback_is_not_awaited(self) -> None:
        """The response comes before the body."""
        async with serve() as callbacks:
            url = aiohttp.client.URL(callbacks.build_url("luma")[:-1])
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(f"POST {url.path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n".encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 204")
            writer.close()

    async def test_a_body_that_does_not_end_is_given_up(self) -> None:
        """After ten seconds the response is 408."""
        async with serve() as callbacks:
            url = aiohttp.client.URL(callbacks.build_url("luma"))
            start = asyncio.get_running_loop().time()
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(f"POST {url.path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{{".encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 408")
            assert asyncio.get_running_loop().time() - start == 10
            writer.close()

    async def test_a_sender_that_goes_away_is_no_error(self, caplog: pytest.LogCaptureFixture) -> None:
        """A body that ends too soon is no callback, and leaves nothing in the log."""
        async with serve() as callbacks:
            sender = HttpSender(callbacks)
            url = aiohttp.client.URL(sender.url)
            for start in (b"", b"{"):
                _, writer = await asyncio.open_connection(url.host, url.port)
                writer.write(f"POST {url.path} HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n".encode() + start)
                await writer.drain()
                await asyncio.sleep(1)
                writer.close()
                await asyncio.sleep(1)
            assert sender.received == []
        assert caplog.records == []

    async def test_a_body_that_cannot_be_decompressed_is_refused(self) -> None:
        """It is no callback, and no error of the application."""
        async with serve() as callbacks, aiohttp.ClientSession() as http:
            url = callbacks.build_url("luma")
            async with http.post(url, data=b"no gzip", headers={"Content-Encoding": "gzip"}) as response:
                assert response.status == 400

    async def test_the_limit_of_the_whole_application_does_not_count(self) -> None:
        """Aiohttp's limit of a megabyte is that of the application it is added to."""

        def build(callbacks: Callbacks) -> web.Application:
            return callbacks.aiohttp_app()

        async with serve(build, max_bytes=3 * 1024 * 1024) as callbacks:
            sender = HttpSender(callbacks)
            assert await sender.send(sender.url, chunks=[BODY, *[b" " * 1024] * 2048]) == 204
            assert len(sender.received) == 1
