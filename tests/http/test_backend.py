"""AiohttpBackend, below a transport: faults and limits of connections, TLS, and sessions."""

from __future__ import annotations

import asyncio
import functools
import gzip
import socket
import ssl
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from http_support import (
    FIRST_DELAY,
    GOOD,
    LUMA,
    POLL,
    READERS,
    REFUSED,
    SUBMISSION,
    TOKEN,
    URL,
    TokenGate,
    TokenSequence,
    chain,
    describe,
    expose,
    keep,
    reply,
)
from support import now

import acetasks
from acetasks import RetryPolicy
from acetasks._http.aiohttp_backend import BODY_LIMIT, AiohttpBackend, check_session
from acetasks._http.auth import Secret
from acetasks._http.requests import build_poll
from acetasks.testing.server import AceServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Broken HTTP responses.
FAULTS = {
    "no response": b"",
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


class TestFaults:
    """Faults of the service become errors of this library, without secrets."""

    @pytest.mark.parametrize("fault", FAULTS)
    async def test_broken_response_is_a_transport_error(self, new_transport, listen, fault):
        """It is transient, and its traceback shows nothing that aiohttp held."""
        transport = new_transport(await listen(FAULTS[fault], GOOD))
        with pytest.raises(acetasks.TransportError, match="luma: POST /luma/tasks got no complete response") as caught:
            await transport.send(POLL, READERS[POLL.path])
        assert caught.value.reached
        assert chain(caught.value) == [acetasks.TransportError]
        assert TOKEN not in expose(caught.value)
        assert len(str(caught.value)) < 1000
        assert (await transport.send(POLL, READERS[POLL.path])).statuses.keys() == {"t"}
        assert now() == 0

    @pytest.mark.parametrize("fault", FAULTS)
    async def test_broken_response_to_a_submission_is_uncertain(self, new_transport, events, listen, fault):
        """The service may have accepted it; the traceback does not show the token."""
        transport = new_transport(await listen(FAULTS[fault], GOOD))
        with pytest.raises(acetasks.SubmissionUncertainError, match="got no complete response") as caught:
            await transport.send(SUBMISSION, READERS[SUBMISSION.path])
        assert chain(caught.value) == [acetasks.SubmissionUncertainError, acetasks.TransportError]
        assert TOKEN not in expose(caught.value)
        assert len(events.sent_at()) == 1

    @pytest.mark.parametrize(
        ("response", "kind"),
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
    async def test_errors_do_not_show_the_token(self, new_transport, listen, response, kind):
        """No frame of an error from a complete response shows the token."""
        with pytest.raises(kind) as caught:
            await new_transport(await listen(response)).send(POLL, READERS[POLL.path])
        assert TOKEN not in expose(caught.value)

    @pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
    async def test_interim_responses_are_skipped(self, new_transport, listen, interim):
        """A 1xx response precedes the real one."""
        transport = new_transport(await listen(reply(b"", status=interim) + GOOD))
        assert (await transport.send(POLL, keep)).body == b'{"task_id":"t"}'

    @pytest.mark.parametrize(
        ("fault", "text"),
        [
            (
                {"exception": aiohttp.ServerDisconnectedError("gone")},
                "complete response (ServerDisconnectedError: gone)",
            ),
            ({"exception": ConnectionResetError()}, "complete response (ConnectionResetError)"),
            ({"exception": aiohttp.ConnectionTimeoutError()}, "could not be sent (ConnectionTimeoutError)"),
            ({"exception": TimeoutError("x")}, "luma: POST /luma/tasks got no complete response within 30 s"),
            (REFUSED, "luma: POST /luma/tasks could not be sent (ClientConnectorError: Cannot connect to host api.ex"),
        ],
        ids=describe,
    )
    async def test_error_names_request_and_fault(self, new_transport, http, fault, text):
        """The error names the request and aiohttp's error, whose text may be empty."""
        http.post(URL, **fault)
        with pytest.raises(acetasks.TransportError) as caught:
            await new_transport().send(POLL, keep)
        assert text in str(caught.value)
        assert chain(caught.value) == [acetasks.TransportError]

    @pytest.mark.parametrize("fault", [OSError("sealed"), KeyError("vault"), "\r\nx", ""], ids=repr)
    async def test_provider_errors_do_not_show_the_refused_token(self, new_transport, serve, fault):
        """A failed renewal does not show the refused token."""
        provider = TokenSequence(TOKEN, fault)
        with pytest.raises((acetasks.TransportError, acetasks.AuthenticationError), match="token provider") as caught:
            await new_transport(await serve(TokenGate()), token=provider).send(POLL, keep)
        assert TOKEN not in expose(caught.value)

    @pytest.mark.parametrize("has_begun", [False, True], ids=["no response", "half a response"])
    @pytest.mark.parametrize("request_", [POLL, SUBMISSION], ids=["poll", "submission"])
    async def test_cancelled_request_does_not_show_the_token(self, new_transport, serve, has_begun, request_):
        """The traceback of the user's own timeout has aiohttp's frames, without the token."""

        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            if has_begun:
                await response.prepare(request)
                await response.write(b'{"task_id":')
            await asyncio.sleep(10_000)
            return response

        transport = new_transport(await serve(handler))
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(5):
                await transport.send(request_, keep)
        exposed = expose(caught.value)
        assert (
            "Bearer ..." in exposed
        ) is not has_begun  # until the response begins, aiohttp's frames hold the request headers
        assert TOKEN not in exposed
        assert now() == 5.0


#: Errors from outside aiohttp's own tree.
FOREIGN = [RuntimeError("can't start new thread"), KeyError("host"), UnicodeError("label too long"), MemoryError()]
FOREIGN += [AssertionError(), NotImplementedError("TLS in TLS"), ExceptionGroup("all failed", [OSError(1, "x")])]
_NAMES = [type(error).__name__ for error in FOREIGN]


class TestForeignErrors:
    """Every exception below a request is an error of this library, which names its type."""

    @pytest.mark.parametrize("error", FOREIGN, ids=_NAMES)
    @pytest.mark.parametrize("source", ["resolver", "middleware", "tracer", "thread"])
    async def test_foreign_exception_is_a_transport_error(  # noqa: PLR0917  # fixtures, and one argument a column
        self, new_transport, serve, events, monkeypatch, source, error
    ):
        """A poll is transient; a submission is sent again after one in connecting, and uncertain after any other."""
        gate = TokenGate(TOKEN)
        url = (await serve(gate)).replace("127.0.0.1", "api.localhost")
        faults = [error, error]

        async def middleware(request: object, handler: Callable[[object], Awaitable[object]]) -> object:
            if source == "middleware" and faults:
                raise faults.pop()
            return await handler(request)

        async def on_request_start(*_: object) -> None:
            if source == "tracer" and faults:
                raise faults.pop()

        async def getaddrinfo(*_: object, **__: object) -> list[tuple[object, ...]]:
            if faults:
                raise faults.pop()
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(url.rpartition(":")[2])))]

        tracer = aiohttp.TraceConfig()
        tracer.on_request_start.append(on_request_start)
        if source == "thread":  # in which the standard resolver looks names up
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
            resolver = aiohttp.ThreadedResolver()
        else:
            resolver = Resolver(*(faults if source == "resolver" else ()), *["127.0.0.1"] * 3)
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False)
        async with aiohttp.ClientSession(
            connector=connector, trace_configs=[tracer], middlewares=(middleware,)
        ) as http:
            transport = new_transport(url, http=http)
            with pytest.raises(acetasks.TransportError, match=type(error).__name__) as poll:
                await transport.send(POLL, keep)
            if source in {"resolver", "thread"}:
                await transport.send(SUBMISSION, keep)
                assert (gate.seen, now()) == ([TOKEN], FIRST_DELAY)
                submission = events[3].error
                assert (type(submission), submission.reached) == (acetasks.TransportError, False)
            else:
                with pytest.raises(acetasks.SubmissionUncertainError, match=type(error).__name__) as caught:
                    await transport.send(SUBMISSION, keep)
                submission = caught.value
                assert gate.seen == []
            await transport.send(POLL, keep)
        assert (poll.value.transient, poll.value.reached) == (True, True)
        assert chain(poll.value) == [acetasks.TransportError]
        assert TOKEN not in expose(poll.value) + expose(submission)
        assert gate.seen[-1] == TOKEN

    async def test_errors_of_this_library_pass(self, new_transport, http):
        """An error of the own tree keeps its type, and a cancellation is none."""
        http.post(URL, exception=acetasks.ProtocolError("odd"))
        http.post(URL, exception=asyncio.CancelledError())
        with pytest.raises(acetasks.ProtocolError, match=r"^odd$"):
            await new_transport().send(POLL, keep)
        with pytest.raises(asyncio.CancelledError):
            await new_transport().send(POLL, keep)

    async def test_long_text_is_cut(self, new_transport, http):
        """The error has at most 256 characters of a foreign text."""
        http.post(URL, exception=ValueError("x" * 100_000))
        with pytest.raises(acetasks.TransportError, match=r"ValueError: x{256}\)$"):
            await new_transport().send(POLL, keep)

    async def test_waits_survive_a_shortage_of_threads(self, server, new_client, monkeypatch):
        """Name resolution that fails for a moment ends no wait."""
        loop, faults = asyncio.get_running_loop(), [RuntimeError("can't start new thread") for _ in range(3)]
        address, port = server.url.removeprefix("http://").split(":")

        async def getaddrinfo(*_: object, **__: object) -> list[tuple[object, ...]]:
            if faults:
                raise faults.pop()
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port)))]

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        async with new_client(base_url=f"http://api.localhost:{port}") as client:
            waits = [client.wait(provider, server.add(provider, after=3)) for provider in ("luma", "flux")]
            tasks = await asyncio.gather(*waits)
        assert [task.state for task in tasks] == [acetasks.TaskState.SUCCEEDED] * 2
        assert faults == []


class Resolver(AbstractResolver):
    """A resolver that returns addresses or raises errors, one after the other."""

    def __init__(self, *finds: str | Exception) -> None:
        self.called_at: list[str] = []
        self._finds = list(finds)

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, object]]:
        """Look a name up."""
        self.called_at.append(host)
        found = self._finds.pop(0)
        if isinstance(found, Exception):
            raise found
        return [{"hostname": host, "host": found, "port": port, "family": family or 2, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Do nothing."""


class TestConnecting:
    """Failed connections: nothing was sent, so everything may be sent again."""

    async def test_refused_connection_did_not_reach_the_service(self, new_transport):
        """The error says that nothing was sent."""
        async with AceServer() as gone:
            url = gone.url
        with pytest.raises(acetasks.TransportError, match="could not be sent") as caught:
            await new_transport(url).send(POLL, keep)
        assert not caught.value.reached
        assert chain(caught.value) == [acetasks.TransportError]
        assert TOKEN not in expose(caught.value)

    @pytest.mark.parametrize("request_", [POLL, SUBMISSION], ids=["poll", "submission"])
    async def test_failed_name_resolution_is_transient(self, new_transport, serve, request_):
        """It is not cached: the next request resolves again."""
        gate, resolver = TokenGate(TOKEN), Resolver(OSError(-3, "try again"), "127.0.0.1")
        port = (await serve(gate)).rpartition(":")[2]
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver)) as http:
            transport = new_transport(f"http://api.localhost:{port}", http=http, attempts=1)
            with pytest.raises(acetasks.TransportError, match=r"could not be sent .*api\.localhost") as caught:
                await transport.send(request_, keep)
            assert not caught.value.reached
            assert TOKEN not in expose(caught.value)
            await transport.send(request_, keep)
        assert gate.seen == [TOKEN]
        assert resolver.called_at == ["api.localhost"] * 2

    @pytest.mark.parametrize("request_", [POLL, SUBMISSION], ids=["poll", "submission"])
    async def test_untrusted_certificate_is_refused(self, new_transport, listen, authority, request_):
        """The handshake fails and the token is not sent."""
        seen = []
        url = await listen(GOOD, tls=authority.server_context("127.0.0.1"), seen=seen)
        with pytest.raises(acetasks.TransportError, match=r"could not be sent .*CERTIFICATE_VERIFY_FAILED") as caught:
            await new_transport(url, attempts=2).send(request_, keep)
        assert not caught.value.reached
        assert TOKEN not in expose(caught.value)
        assert seen == []

    @pytest.mark.parametrize("request_", [POLL, SUBMISSION], ids=["poll", "submission"])
    @pytest.mark.parametrize("fault", ["certificate", "host", "http", "banner", "zeros"])
    async def test_pointless_retries_are_not_made(self, new_transport, events, listen, authority, fault, request_):  # noqa: PLR0917  # one argument for each column
        """A certificate that does not verify, or no TLS at all, is raised at once and with what to check."""
        speaks = {"http": b"HTTP/1.1 400 Bad Request\r\n\r\n", "banner": b"SSH-2.0-OpenSSH_9\r\n", "zeros": bytes(1000)}

        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            writer.write(speaks[fault])
            writer.close()

        trusted = aiohttp.TCPConnector(ssl=authority.client_context() if fault == "host" else True)
        if fault in speaks:
            url = (await listen(speak=speak)).replace("http:", "https:")
        else:
            name = "127.0.0.1" if fault == "certificate" else "elsewhere.example"
            url = await listen(GOOD, tls=authority.server_context(name))
        async with aiohttp.ClientSession(connector=trusted) as http:
            with pytest.raises(acetasks.TransportError, match=r"\); .*check the .*base URL") as caught:
                await new_transport(url, http=http, attempts=4).send(request_, keep, attempts=4)
        assert str(caught.value).endswith(f"; {caught.value.remedy}")
        assert ("SSL_CERT_FILE" in caught.value.remedy) is (fault not in speaks)
        assert (caught.value.transient, caught.value.reached) == (False, False)
        assert events.names() == ["RequestSent", "RequestFailed"]
        assert chain(caught.value) == [acetasks.TransportError]

    @pytest.mark.parametrize(
        ("number", "remedy"),
        [
            (
                socket.EAI_NONAME,
                "there is no such host: check the base URL, the proxy, and the network of this machine",
            ),
            (socket.EAI_AGAIN, None),
        ],
    )
    async def test_unknown_host_name_is_transient_with_a_remedy(self, new_transport, events, number, remedy):
        """The network may come up; a name server that does not answer says nothing about the name."""
        resolver = Resolver(*[socket.gaierror(number, "not found")] * 3)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver)) as http:
            with pytest.raises(acetasks.TransportError) as caught:
                await new_transport("https://nowhere.example", http=http, attempts=3).send(SUBMISSION, keep)
        assert (caught.value.remedy, caught.value.transient) == (remedy, True)
        assert len(events.sent_at()) == 3

    async def test_after_a_response_every_failed_connection_is_transient(self, new_transport, listen, authority):
        """The base URL and the certificates were right once: the fault is on the way, and passes."""
        contexts = [authority.server_context(name) for name in ("localhost", "elsewhere.example")]
        tls = authority.server_context("localhost")
        tls.sni_callback = lambda connection, *_: setattr(connection, "context", contexts.pop(0))
        answer = reply(b"{}", b"content-length: 2")
        url = (await listen(answer, tls=tls)).replace("127.0.0.1", "localhost")
        connector = aiohttp.TCPConnector(ssl=authority.client_context(), force_close=True, family=socket.AF_INET)
        async with aiohttp.ClientSession(connector=connector) as http:
            transport = new_transport(url, http=http)
            await transport.send(POLL, keep)
            with pytest.raises(acetasks.TransportError, match="CERTIFICATE_VERIFY_FAILED") as caught:
                await transport.send(POLL, keep)
        assert (caught.value.transient, caught.value.remedy, caught.value.reached) == (True, None, False)

    async def test_certificate_of_another_host_is_refused(self, new_transport, listen, authority):
        """A trusted authority's certificate for another host is not accepted."""
        seen = []
        url = await listen(GOOD, tls=authority.server_context("elsewhere.example"), seen=seen)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=authority.client_context())) as http:
            with pytest.raises(acetasks.TransportError, match=r"could not be sent .*127\.0\.0\.1") as caught:
                await new_transport(url, http=http).send(POLL, keep)
        assert not caught.value.reached
        assert seen == []

    async def test_user_session_can_trust_another_authority(self, new_transport, listen, authority):
        """A session whose connector knows the authority passes the check and works."""
        seen = []
        url = await listen(GOOD, tls=authority.server_context("127.0.0.1"), seen=seen)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=authority.client_context())) as http:
            check_session(http, allow_insecure=False)
            result = await new_transport(url, http=http).send(POLL, READERS[POLL.path])
        assert result.statuses.keys() == {"t"}
        (head,) = seen
        assert f"Bearer {TOKEN}".encode() in head

    @pytest.mark.parametrize("request_", [POLL, SUBMISSION], ids=["poll", "submission"])
    async def test_https_is_not_downgraded(self, new_transport, listen, request_):
        """If the server has no TLS, the handshake fails before anything is sent."""
        seen = []

        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.read(1000))
            writer.write(GOOD)
            writer.close()

        url = (await listen(speak=speak)).replace("http:", "https:")
        with pytest.raises(acetasks.TransportError, match="could not be sent") as caught:
            await new_transport(url, attempts=1).send(request_, keep)
        assert not caught.value.reached
        assert TOKEN not in expose(caught.value)
        assert TOKEN.encode() not in b"".join(seen)
        assert len(seen) == 1

    async def test_hanging_handshake_times_out_early(self, new_transport, events, listen):
        """Connecting for a submission has the timeout of a poll, and is retried."""

        async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(10_000)
            writer.close()

        url = (await listen(speak=hang)).replace("http:", "https:")
        with pytest.raises(acetasks.TransportError, match=r"could not be sent .*ConnectionTimeoutError") as caught:
            await new_transport(url, attempts=2, base=0).send(SUBMISSION, keep)
        assert not caught.value.reached
        assert TOKEN not in expose(caught.value)
        assert (events.sent_at(), now()) == ([0.0, 30.0], 60.0)


class TestLimits:
    """Limits of time and size."""

    @pytest.mark.parametrize("part", ["nothing", "headers", "half"])
    @pytest.mark.parametrize(("request_", "seconds"), [(POLL, 30.0), (SUBMISSION, 600.0)], ids=["poll", "submission"])
    async def test_hanging_response_times_out(self, new_transport, serve, part, request_, seconds):
        """A service that hangs before or within the response is a transport error at the timeout."""

        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            if part != "nothing":
                await response.prepare(request)
            if part == "half":
                await response.write(b'{"id": "t", ')
            await asyncio.sleep(10_000)
            return response

        with pytest.raises(acetasks.AceTasksError, match=f"got no complete response within {seconds:g} s") as caught:
            await new_transport(await serve(handler)).send(request_, keep)
        fault = caught.value.__cause__ if request_.is_submission else caught.value
        assert type(fault) is acetasks.TransportError
        assert fault.reached
        assert TOKEN not in expose(caught.value)
        assert now() == seconds

    async def test_timeout_is_exact(self, new_transport, listen):
        """The timeout of the policy is not rounded."""
        with pytest.raises(acetasks.TransportError, match=r"within 2\.5 s"):
            await new_transport(await listen(None), timeout=2.5).send(POLL, keep)
        assert now() == 2.5

    @pytest.mark.parametrize("cancel_at", [3.0, 5.0])
    async def test_cancellation_is_not_a_timeout(self, new_transport, serve, cancel_at):
        """A cancelled request stays cancelled, even at the very time of its timeout."""
        sending = asyncio.create_task(
            new_transport(await serve(TokenGate(TOKEN, seconds=100)), timeout=5).send(POLL, keep)
        )
        asyncio.get_running_loop().call_at(cancel_at, sending.cancel)
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert now() == cancel_at

    async def test_concurrent_requests_have_their_own_timeouts(self, new_transport, serve):
        """A timeout counts from the sending of its own request."""
        transport = new_transport(await serve(TokenGate(TOKEN, seconds=100)), timeout=10)
        ends = []

        async def send(at: float) -> None:
            await asyncio.sleep(at)
            with pytest.raises(acetasks.TransportError, match="within 10 s"):
                await transport.send(POLL, keep)
            ends.append(now())

        await asyncio.gather(send(0), send(3), send(9))
        assert ends == [10.0, 13.0, 19.0]

    async def test_too_large_body_is_not_read_to_its_end(self, new_transport, serve):
        """Reading stops as soon as the body exceeds the limit."""
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
            await new_transport(await serve(handler)).send(POLL, keep)
        assert not caught.value.transient
        assert written < 2 * BODY_LIMIT
        assert TOKEN not in expose(caught.value)

    @pytest.mark.parametrize("size", [1000, 1001])
    @pytest.mark.parametrize("encoding", ["identity", "gzip"])
    async def test_body_limit_applies_to_decompressed_bytes(self, new_transport, listen, monkeypatch, size, encoding):
        """A body of exactly the limit is read, one byte more is an error, whatever its compressed size."""
        monkeypatch.setattr("acetasks._http.aiohttp_backend.BODY_LIMIT", 1000)
        body = bytes(size) if encoding == "identity" else gzip.compress(bytes(size))
        response = reply(body, b"content-length: %d" % len(body), b"content-encoding: %s" % encoding.encode())
        sending = new_transport(await listen(response)).send(POLL, keep)
        if size == 1000:
            assert (await sending).body == bytes(1000)
            return
        with pytest.raises(acetasks.ProtocolError, match="the response is larger than 1000 bytes"):
            await sending

    @pytest.mark.parametrize("form", ["gzip", "gzip of many parts", "deflate"])
    async def test_decompression_bomb_is_stopped_at_the_limit(self, new_transport, listen, form):
        """A megabyte that expands to a gigabyte takes little more memory than the limit."""
        packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
        zeros = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)  # a repeatable block
        bomb = {
            "gzip": gzip.compress(b"")[:10] + zeros * 64,
            "gzip of many parts": gzip.compress(bytes(2**20)) * 1024,
            "deflate": zlib.compress(b"")[:2] + zeros * 64,
        }[form]
        encoding = form.partition(" ")[0].encode()
        url = await listen(reply(bomb, b"content-length: %d" % len(bomb), b"content-encoding: " + encoding))
        transport = new_transport(url)
        tracemalloc.start()
        try:
            with pytest.raises(acetasks.ProtocolError, match="larger than") as caught:
                await transport.send(POLL, keep)
            kept, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert BODY_LIMIT < peak < 1.25 * BODY_LIMIT
        assert kept < 0.25 * BODY_LIMIT  # the error does not keep the body alive
        assert len(bomb) < 2**21
        assert TOKEN not in expose(caught.value)


class TestSessions:
    """Connections and `aiohttp` sessions."""

    async def test_repr_has_kind_and_state(self, server):
        """The first request opens an own session, also after it was closed; the user's session stays open."""
        backend, token = AiohttpBackend(None, RetryPolicy()), Secret(server.token)
        shown = [repr(backend)]
        for _ in range(2):
            await backend.send(server.url, POLL, token)
            shown.append(repr(backend))
            await backend.close()
            shown.append(repr(backend))
        closed, opened = "<AiohttpBackend own session, closed>", "<AiohttpBackend own session, open>"
        assert shown == [closed, opened, closed, opened, closed]

        async with aiohttp.ClientSession() as http:
            backend = AiohttpBackend(http, RetryPolicy())
            await backend.close()
            assert repr(backend) == "<AiohttpBackend given session, open>"
            assert not http.closed
        assert repr(backend) == "<AiohttpBackend given session, closed>"

    async def test_reuses_connections_until_idle(self, new_transport, server):
        """Consecutive requests share one connection; `close_idle` closes it, and the next request opens another."""
        transport = new_transport(server.url, token=Secret(server.token))
        for _ in range(3):
            await transport.send(POLL, keep)
        assert (server.connections, server.open_connections) == (1, 1)
        await transport.close_idle()
        await asyncio.sleep(0.01)
        assert server.open_connections == 0
        await transport.send(POLL, keep)
        assert server.connections == 2

    async def test_repeated_requests_have_the_same_body(self, new_transport, serve):
        """In a row, concurrently, after `close_idle` and with another base URL."""
        bodies: dict[str, list[tuple[bytes, str]]] = {}

        async def handler(request: web.Request) -> web.Response:
            sent = (await request.read(), request.headers["content-type"])
            bodies.setdefault(request.path, []).append(sent)
            return web.json_response({"task_id": "t"})

        url = await serve(handler)
        transport = new_transport(url)
        other = build_poll(LUMA, ["t", "u"])
        for polls in ([POLL] * 3, [POLL, other, SUBMISSION], [other, POLL]):
            await asyncio.gather(*(transport.send(poll, keep) for poll in polls))
            await transport.close_idle()
        await new_transport(f"{url}/elsewhere").send(POLL, keep)

        kind = "application/json"
        assert sorted(bodies[POLL.path]) == sorted([(POLL.body, kind)] * 5 + [(other.body, kind)] * 2)
        assert bodies["/elsewhere" + POLL.path] == [(POLL.body, kind)]
        assert bodies[SUBMISSION.path] == [(SUBMISSION.body, kind)]

    async def test_close_idle_keeps_connections_in_flight(self, new_transport, serve):
        """A request in flight keeps its connection."""
        transport = new_transport(await serve(TokenGate(TOKEN, seconds=5)))
        sending = asyncio.create_task(transport.send(POLL, keep))
        await asyncio.sleep(1)
        await transport.close_idle()
        assert (await sending).status == 200

    async def test_close_idle_keeps_connections_of_waiting_requests(self, new_transport, serve):
        """A request that waits for a slot keeps the open connections."""
        gate = TokenGate(TOKEN)
        transport = new_transport(await serve(gate))
        sending = asyncio.create_task(transport.send(POLL, keep, acquire_slot=functools.partial(asyncio.sleep, 5)))
        await transport.send(POLL, keep)
        await transport.close_idle()
        await sending
        assert len(gate.connections) == 1

    async def test_closed_user_session_is_an_error(self, new_transport):
        """The error says that the user's session is closed, without retries."""
        async with aiohttp.ClientSession() as http:
            transport = new_transport(http=http)
        with pytest.raises(acetasks.ClientClosedError, match=r"given to Client\(http=\.\.\.\) is closed"):
            await transport.send(POLL, keep, attempts=3)
        assert now() == 0

    async def test_user_session_settings_do_not_change_errors(self, new_transport, serve):
        """A session that raises for every status, or has a short timeout, changes nothing."""

        async def handler(_: web.Request) -> web.Response:
            return web.json_response({"error": {"code": "used_up", "message": "no"}}, status=403)

        url = await serve(handler)
        async with aiohttp.ClientSession(raise_for_status=True, timeout=aiohttp.ClientTimeout(total=0.001)) as http:
            with pytest.raises(acetasks.PermissionDeniedError, match="used_up"):
                await new_transport(url, http=http).send(POLL, keep)

    async def test_keeps_no_cookies(self, new_transport, serve):
        """Only the token identifies the user."""
        cookies = []

        async def handler(request: web.Request) -> web.Response:
            cookies.append(dict(request.cookies))
            response = web.json_response({"id": "t"})
            response.set_cookie("user", "me")
            return response

        # A cookie jar ignores cookies of IP addresses.
        transport = new_transport((await serve(handler)).replace("127.0.0.1", "localhost"))
        await transport.send(POLL, keep)
        await transport.send(POLL, keep)
        assert cookies == [{}, {}]

    async def test_get_polls_are_not_cached(self, new_client, serve):
        """A cache before the service is asked for a fresh response each time, so that the end of a job is noticed."""
        stored: list[dict[str, object]] = []
        asked: list[str | None] = []

        async def cache(request: web.Request) -> web.Response:
            asked.append(request.headers.get("cache-control"))
            if not stored or asked[-1] == "no-cache":
                video = [{"url": "https://files.example/v.mp4"}] if stored else []
                state = "completed" if stored else "progress"
                stored[:] = [{"jobid": "j1", "status": state, "attachments": video}]
            return web.json_response(stored[0])

        async with new_client(useapi_base_url=await serve(cache)) as client:
            task = await client.wait("useapi-pixverse", "j1", timeout=60)
        assert task.state is acetasks.TaskState.SUCCEEDED
        assert asked == ["no-cache"] * 2

    async def test_other_requests_have_no_cache_header(self, new_transport, serve):
        """Caches do not store responses to POST."""
        seen = []

        async def handler(request: web.Request) -> web.Response:
            seen.append("cache-control" in request.headers)
            return web.json_response({"task_id": "t"})

        transport = new_transport(await serve(handler))
        await transport.send(POLL, keep)
        await transport.send(SUBMISSION, keep)
        assert seen == [False, False]


class TestCheckSession:
    """`check_session`: sessions that would expose the token."""

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
    async def test_accepts_verifying_connectors(self, new_connector, authority):
        """Any way of verifying certificates is accepted."""
        async with aiohttp.ClientSession(connector=new_connector(authority)) as http:
            assert check_session(http, allow_insecure=False) is None

    @pytest.mark.parametrize("flaw", ["no checks", "no certificates", "optional certificates", "no names"])
    async def test_unverified_connectors_need_allow_insecure(self, flaw):
        """A session that would expose the token is refused, unless the user allows it."""
        tls: ssl.SSLContext | bool = False
        if flaw != "no checks":
            tls = ssl.create_default_context()
            tls.check_hostname = flaw == "optional certificates"
        if flaw == "no certificates":
            tls.verify_mode = ssl.CERT_NONE
        elif flaw == "optional certificates":
            tls.verify_mode = ssl.CERT_OPTIONAL
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as http:
            with pytest.raises(ValueError, match=r"does not verify certificates .* pass allow_insecure=True"):
                check_session(http, allow_insecure=False)
            assert check_session(http, allow_insecure=True) is None

    @pytest.mark.parametrize("allow_insecure", [False, True])
    @pytest.mark.filterwarnings("ignore:.*auth.*:DeprecationWarning")
    async def test_refuses_other_credentials(self, allow_insecure):
        """Two sets of credentials do not fit in one header."""
        async with aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", "hunter2")) as http:
            with pytest.raises(ValueError, match="has its own auth") as caught:
                check_session(http, allow_insecure=allow_insecure)
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize("allow_insecure", [False, True])
    async def test_refuses_sessions_that_do_not_decompress(self, allow_insecure):
        """Compressed responses are asked for even so, and waits would time out without reading one."""
        async with aiohttp.ClientSession(auto_decompress=False) as http:
            with pytest.raises(ValueError, match="auto_decompress=False"):
                check_session(http, allow_insecure=allow_insecure)

    async def test_closed_session_is_accepted(self):
        """A closed session has no connector; the first request reports it."""
        http = aiohttp.ClientSession()
        await http.close()
        assert check_session(http, allow_insecure=False) is None
