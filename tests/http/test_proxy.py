"""Proxies of the environment: which are found, and requests through real ones, on the real clock."""

from __future__ import annotations

import asyncio
import base64
import pickle

import aiohttp
import pytest
from http_support import GOOD, POLL, SUBMISSION, TOKEN, ConnectProxy, chain, expose, keep, reply

import acetasks
from acetasks import TaskState
from acetasks._http.proxies import Proxy, find_proxy
from acetasks.testing.server import AceServer

pytestmark = pytest.mark.real_clock

URL = "https://ace.example"
PROXY = "http://proxy.example:3128"
DONE = b'{"id":"t","response":{"state":"completed","video_url":"https://files.example/v.mp4"}}'
ONCE = acetasks.RetryPolicy(attempts=1)
FINISHED = reply(DONE, b"content-length: %d" % len(DONE))
BASIC = f"Basic {base64.b64encode(b'user:hunter@2').decode()}"


class ConnectRefusal:
    """A proxy that sends the same bytes to each request."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self._answer)
        writer.close()


class TestFindProxy:
    """`find_proxy`: the variables of the environment."""

    @pytest.mark.parametrize(
        ("variables", "url", "proxy"),
        [
            ({}, URL, None),
            ({"HTTPS_PROXY": PROXY}, URL, PROXY),
            ({"https_proxy": PROXY}, URL, PROXY),
            ({"ALL_PROXY": PROXY}, URL, PROXY),
            ({"all_proxy": PROXY}, "http://ace.example", PROXY),
            ({"HTTP_PROXY": PROXY}, "http://ace.example", PROXY),
            ({"HTTP_PROXY": PROXY}, "HTTP://ACE.example", PROXY),
            ({"HTTP_PROXY": PROXY}, URL, None),
            ({"HTTPS_PROXY": PROXY}, "http://ace.example", None),
            ({"HTTPS_PROXY": PROXY, "ALL_PROXY": "http://other.example"}, URL, PROXY),
            ({"HTTPS_PROXY": "http://other.example", "https_proxy": PROXY}, URL, PROXY),
            ({"HTTPS_PROXY": PROXY, "https_proxy": ""}, URL, None),
            ({"HTTPS_PROXY": "proxy.example:3128"}, URL, PROXY),
            ({"HTTPS_PROXY": f"{PROXY}/"}, URL, PROXY),
            ({"HTTPS_PROXY": "https://[2001:db8::1]"}, URL, "https://[2001:db8::1]"),
        ],
    )
    def test_finds_the_proxy_of_the_scheme(self, monkeypatch, variables, url, proxy):
        """As httpx and curl do: lower case wins, `ALL_PROXY` is the last, and the scheme may be missing."""
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        found = find_proxy(url)
        assert (found and found.url) == proxy

    @pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
    @pytest.mark.parametrize(
        ("hosts", "is_direct"),
        [
            ("ace.example", True),
            ("a.example, ACE.example", True),
            ("example", True),
            (".example", True),
            ("ace.example:443", True),
            ("*", True),
            ("a.example, *", True),
            ("ace.example:8443", False),
            ("e.example", False),
            ("api.ace.example", False),
            ("192.0.2.0/24", False),
            ("", False),
            (",", False),
        ],
    )
    def test_no_proxy_names_direct_hosts(self, monkeypatch, name, hosts, is_direct):
        """It has hosts, domains and `*`."""
        monkeypatch.setenv("HTTPS_PROXY", PROXY)
        monkeypatch.setenv(name, hosts)
        assert (find_proxy(URL) is None) is is_direct

    @pytest.mark.parametrize(
        ("url", "is_direct"),
        [("https://192.0.2.7", True), ("https://[2001:db8::7]", True), ("https://198.51.100.7:8443", False)],
    )
    def test_no_proxy_has_networks(self, monkeypatch, url, is_direct):
        """As for curl, an address may be in a network."""
        monkeypatch.setenv("HTTPS_PROXY", PROXY)
        monkeypatch.setenv("NO_PROXY", "192.0.2.0/24,2001:db8::/32")
        assert (find_proxy(url) is None) is is_direct

    @pytest.mark.parametrize(
        "url",
        ["http://127.0.0.1:8000", "http://localhost", "http://x.localhost", "http://[::1]:1", "https://localhost"],
    )
    def test_this_machine_is_reached_directly(self, monkeypatch, url):
        """A proxy would see the token, and its `localhost` is another machine."""
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, PROXY)
        assert find_proxy(url) is None

    @pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY"])
    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("socks5://user:hunter2@proxy.example:1080", "is a SOCKS proxy.*http=..."),
            ("socks5h://user:hunter2@proxy.example", "is a SOCKS proxy"),
            ("ftp://user:hunter2@proxy.example", "must be like 'http://proxy.example:3128'"),
            ("http://user:hunter2@", "must be like"),
            ("http://user:hunter2@proxy.example:port", "must be like"),
            ("http://user:hunter2@proxy.example:99999", "must be like"),
            ("http://user:hunter2#@proxy.example", ".* must be percent-encoded"),
            ("http://user:hunter2@[::1", "must be like"),
            ("http://user:hunter2@pro xy", "must be like"),
            ("http://user:hunter2@proxy.example\n", "must be like"),
        ],
    )
    def test_invalid_proxy_is_refused_without_repeating_it(self, monkeypatch, name, text, match):
        """A client without it could not connect, or would bypass it; nothing shows the password."""
        monkeypatch.setenv(name, text)
        with pytest.raises(ValueError, match=f"the proxy in {name} {match}") as caught:
            acetasks.Client(TOKEN)
        assert "hunter2" not in expose(caught.value)
        assert chain(caught.value) == [ValueError]

    async def test_user_session_does_not_use_the_environment(self, monkeypatch):
        """A session of the user's has its own connection settings."""
        monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy.example")
        async with aiohttp.ClientSession() as http, acetasks.Client(TOKEN, http=http):
            pass

    def test_credentials_are_hidden(self, monkeypatch):
        """Neither the repr nor a pickle has them."""
        monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter%402@proxy.example:3128")
        proxy = find_proxy(URL)
        assert repr(proxy) == f"<Proxy {PROXY}>"
        assert proxy.credentials.reveal() == BASIC
        with pytest.raises(TypeError):
            pickle.dumps(Proxy(PROXY))


@pytest.mark.usefixtures("trusted")
class TestTunnels:
    """Requests over TLS, through a tunnel."""

    @pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
    async def test_polls_and_submissions_pass_the_proxy(self, listen, authority, monkeypatch, name):
        """Only the proxy resolves the name; it sees the host, and no token."""
        seen = []
        accepted = reply(b'{"task_id":"t"}', b"content-length: 15")
        tls = authority.server_context("ace.example")
        proxy = ConnectProxy(await listen(accepted, FINISHED, tls=tls, seen=seen))
        monkeypatch.setenv(name, await listen(speak=proxy))
        async with acetasks.Client(TOKEN, base_url=URL) as client:
            task = await client.run("luma", {"prompt": "a cat"}, timeout=20)
        assert task.state is TaskState.SUCCEEDED
        assert {head.partition("\r\n")[0] for head in proxy.heads} == {"CONNECT ace.example:443 HTTP/1.1"}
        assert TOKEN not in "".join(proxy.heads)
        assert TOKEN.encode() not in proxy.passed
        assert [f"Bearer {TOKEN}".encode() in head for head in seen] == [True, True]

    async def test_credentials_go_to_the_proxy_only(self, listen, authority, monkeypatch):
        """They are in the request for the tunnel, not inside it."""
        seen = []
        proxy = ConnectProxy(await listen(FINISHED, tls=authority.server_context("ace.example"), seen=seen), BASIC)
        url = await listen(speak=proxy)
        monkeypatch.setenv("HTTPS_PROXY", url.replace("http://", "http://user:hunter%402@"))
        async with acetasks.Client(TOKEN, base_url=URL) as client:
            assert (await client.retrieve("luma", "t")).state is TaskState.SUCCEEDED
        (head,) = seen
        assert b"proxy-authorization" not in head.lower()

    async def test_refused_tunnel_did_not_reach_the_service(self, listen, monkeypatch, caplog):
        """The error names the proxy and its status; neither error nor log has credentials."""
        caplog.set_level("DEBUG")
        proxy = ConnectProxy("http://127.0.0.1:1", BASIC)
        url = await listen(speak=proxy)
        monkeypatch.setenv("HTTPS_PROXY", url.replace("http://", "http://user:hunter2@"))
        async with acetasks.Client(TOKEN, base_url=URL, retry=acetasks.RetryPolicy(attempts=2, base=0)) as client:
            match = f"through the proxy {url} could not be sent .*407"
            with pytest.raises(acetasks.TransportError, match=match) as poll:
                await client.retrieve("luma", "t")
            with pytest.raises(acetasks.TransportError, match=match) as submission:
                await client.submit("luma", {"prompt": "a cat"})
            with pytest.raises(acetasks.TaskTimeoutError, match=match) as wait:
                await client.wait("luma", "t", timeout=0.3)
        assert (poll.value.reached, submission.value.reached) == (False, False)
        wrong = base64.b64encode(b"user:hunter2").decode()
        for secret in ("hunter2", wrong, TOKEN):
            assert secret not in caplog.text
            assert not any(secret in expose(error.value) for error in (poll, submission, wait))

    @pytest.mark.parametrize("has_tunnel", [True, False])
    async def test_proxy_that_repeats_its_credentials_does_not_show_them(self, listen, monkeypatch, has_tunnel):
        """They are masked in the status line of a refused tunnel, and in the body of an error."""
        status = b"407 got %s" % BASIC.encode()
        body = b"" if has_tunnel else BASIC.encode()
        url = await listen(speak=ConnectRefusal(reply(body, b"content-length: %d" % len(body), status=status)))
        base_url = URL if has_tunnel else URL.replace("https", "http")
        monkeypatch.setenv("ALL_PROXY", url.replace("http://", "http://user:hunter%402@"))
        async with acetasks.Client(TOKEN, base_url=base_url, allow_insecure=True, retry=ONCE) as client:
            with pytest.raises(acetasks.AceTasksError, match=r"407.*Basic \[masked\]") as caught:
                await client.retrieve("luma", "t")
        assert BASIC.removeprefix("Basic ") not in expose(caught.value)

    async def test_unreachable_proxy_is_named(self, monkeypatch):
        """The error says that the proxy could not be connected."""
        async with AceServer() as gone:
            url = gone.url
        monkeypatch.setenv("HTTPS_PROXY", url.replace("http://", "http://user:hunter2@"))
        async with acetasks.Client(TOKEN, base_url=URL, retry=acetasks.RetryPolicy(attempts=1)) as client:
            with pytest.raises(acetasks.TransportError, match=f"through the proxy {url} could not be sent") as caught:
                await client.submit("luma", {"prompt": "a cat"})
        assert not caught.value.reached
        assert "hunter2" not in expose(caught.value)

    async def test_cancelled_request_does_not_show_credentials(self, listen, monkeypatch, new_transport):
        """The traceback of a timeout around a request has aiohttp's frames."""

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        url = await listen(speak=hang)
        monkeypatch.setenv("HTTPS_PROXY", url.replace("http://", "http://user:hunter2@"))
        transport = new_transport(URL, proxy=find_proxy(URL))
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.2):
                await transport.send(SUBMISSION, keep)
        exposed = expose(caught.value)
        assert "Basic ..." in exposed
        assert not any(secret in exposed for secret in ("hunter2", base64.b64encode(b"user:hunter2").decode(), TOKEN))


class TestPlainHttp:
    """Requests without TLS."""

    async def test_this_machine_is_not_reached_through_a_proxy(self, listen, monkeypatch):
        """A simulated service works although a proxy is set, and the proxy does not see the token."""
        async with AceServer() as server:
            proxy = ConnectProxy(server.url)
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(name, await listen(speak=proxy))
            async with acetasks.Client(server.token, base_url=server.url) as client:
                task = await client.wait("luma", server.add("luma", after=0), timeout=10)
        assert task.state is TaskState.SUCCEEDED
        assert proxy.heads == []

    async def test_other_machines_are(self, listen, monkeypatch):
        """With `allow_insecure` the proxy gets the request itself, with its own credentials."""
        seen = []
        url = await listen(FINISHED, seen=seen)
        monkeypatch.setenv("HTTP_PROXY", url.replace("http://", "http://user:hunter%402@"))
        async with acetasks.Client(TOKEN, base_url="http://ace.example", allow_insecure=True) as client:
            assert (await client.retrieve("luma", "t")).state is TaskState.SUCCEEDED
        (head,) = (head.decode() for head in seen)
        assert head.startswith("POST http://ace.example/luma/tasks HTTP/1.1\r\n")
        assert f"proxy-authorization: {BASIC}\r\n" in head
        assert f"authorization: Bearer {TOKEN}\r\n" in head


@pytest.fixture
def netrc(monkeypatch, tmp_path):
    """A netrc file with credentials for every host."""
    path = tmp_path / "netrc"
    path.write_text("default login somebody password hunter2\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


@pytest.mark.usefixtures("netrc")
class TestUserSession:
    """Proxies of a user's own session, which sends requests without TLS to them in the clear."""

    @pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
    @pytest.mark.parametrize("service", ["base_url", "useapi_base_url"])
    async def test_proxy_of_the_environment_would_see_the_token(self, monkeypatch, name, service):
        """The base URL is of this machine, but the proxy need not be: refused, unless the user allows it."""
        monkeypatch.setenv(name, PROXY)
        options = {service: "http://127.0.0.1:8080"}
        async with aiohttp.ClientSession(trust_env=True) as http:
            with pytest.raises(ValueError, match=r"to a proxy, on the way to 'http://127\.0\.0\.1:8080': add"):
                acetasks.Client(TOKEN, http=http, **options)
            acetasks.Client(TOKEN, http=http, allow_insecure=True, **options)
        async with aiohttp.ClientSession() as http:
            acetasks.Client(TOKEN, http=http, **options)

    async def test_proxy_of_the_session_would_see_the_token(self):
        """It is used whatever NO_PROXY says."""
        async with aiohttp.ClientSession(proxy=PROXY) as http:
            with pytest.raises(ValueError, match="unencrypted to a proxy"):
                acetasks.Client(TOKEN, http=http, base_url="http://localhost:8080")

    @pytest.mark.parametrize(
        ("variables", "url"),
        [
            ({}, "http://127.0.0.1:8080"),
            ({"HTTPS_PROXY": PROXY}, "http://127.0.0.1:8080"),
            ({"HTTP_PROXY": PROXY, "NO_PROXY": "localhost, 127.0.0.1"}, "http://127.0.0.1:8080"),
            ({"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY}, URL),
        ],
        ids=["none", "of another scheme", "excluded", "tunnel"],
    )
    async def test_no_other_session_is_refused(self, monkeypatch, variables, url):
        """Through a tunnel TLS is verified, and a direct connection shows the token to nobody."""
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        async with aiohttp.ClientSession(trust_env=True) as http:
            acetasks.Client(TOKEN, http=http, base_url=url)


class TestNetrc:
    """A netrc file does not replace or add credentials."""

    async def test_own_session_does_not_read_netrc(self, new_transport, listen):
        """The request has the token."""
        seen = []
        await new_transport(await listen(GOOD, seen=seen)).send(POLL, keep)
        (head,) = seen
        assert head.lower().count(b"authorization:") == 1
        assert f"authorization: Bearer {TOKEN}\r\n".encode() in head

    @pytest.mark.parametrize("request_", [POLL, SUBMISSION], ids=["poll", "submission"])
    async def test_user_session_that_reads_netrc_sends_the_token(self, new_transport, listen, request_):
        """With `trust_env` the token replaces netrc's credentials, and the session's middlewares still run."""
        seen = []
        passed = []

        async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> object:
            passed.append(request.method)
            return await handler(request)

        url = await listen(GOOD, seen=seen)
        async with aiohttp.ClientSession(trust_env=True, middlewares=(middleware,)) as http:
            transport = new_transport(url, http=http)
            await transport.send(request_, keep)
            await transport.send(request_, keep)
        for head in seen:
            assert head.lower().count(b"authorization:") == 1
            assert f"authorization: Bearer {TOKEN}\r\n".lower().encode() in head.lower()
        assert len(seen) == 2
        assert passed == ["POST"] * 2

    async def test_errors_of_such_a_session_do_not_show_the_token(self, new_transport, listen):
        """A broken response, and a timeout of the user's, with all local variables shown."""

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with aiohttp.ClientSession(trust_env=True) as http:
            with pytest.raises(acetasks.TransportError) as broken:
                await new_transport(await listen(b""), http=http).send(POLL, keep)
            transport = new_transport(await listen(speak=hang), http=http)
            with pytest.raises(TimeoutError) as cancelled:
                async with asyncio.timeout(0.2):
                    await transport.send(POLL, keep)
        for error in (broken.value, cancelled.value):
            assert TOKEN not in expose(error)
        assert "hunter2" not in expose(broken.value)

    @pytest.mark.usefixtures("trusted")
    async def test_netrc_has_no_credentials_for_a_proxy(self, listen, authority, monkeypatch):
        """A proxy gets only what its variable has."""
        proxy = ConnectProxy(await listen(FINISHED, tls=authority.server_context("ace.example")))
        monkeypatch.setenv("HTTPS_PROXY", await listen(speak=proxy))
        async with acetasks.Client(TOKEN, base_url=URL) as client:
            await client.retrieve("luma", "t")
        assert "authorization" not in "".join(proxy.heads).lower()
