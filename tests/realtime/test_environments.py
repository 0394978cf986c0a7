"""Whole runs in real time: through a proxy, with a netrc file, with tracing, and with all of Python's own checks."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver
from http_support import ConnectProxy
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import acetasks
from acetasks import PollPolicy, TaskState
from acetasks.testing.server import AceServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from opentelemetry.trace import Tracer

pytestmark = pytest.mark.real_clock

POLICY = PollPolicy(interval=0.1)
#: The name of the simulated service where it is not reached by its address.
HOST = "ace.example"


async def submit_and_wait(client: acetasks.Client) -> None:
    """Submit five tasks of three providers, wait for one and then for all, and check that they succeed."""
    handles = [await client.submit(name, {"prompt": "a cat"}) for name in ("luma", "luma", "flux", "flux", "suno")]
    tasks = [await handles[0].wait(timeout=20), *await client.wait_all(handles, timeout=20)]
    assert [task.state for task in tasks] == [TaskState.SUCCEEDED] * 6
    assert all(task.artifacts for task in tasks)


@pytest.fixture
async def ace() -> AsyncIterator[AceServer]:
    """The simulated service, with tasks of less than a second."""
    async with AceServer() as server:
        for provider in ("luma", "flux", "suno"):
            server.script(provider, after=0.3, times=None)
        yield server


class LocalResolver(AbstractResolver):
    """A resolver that finds every name on this machine."""

    def __init__(self, **_: object) -> None:
        pass

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, object]]:  # noqa: ARG002
        """Return one address."""
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Do nothing."""


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("excluded", ["", HOST], ids=["proxy", "no proxy"])
async def test_proxy(ace, listen, authority, monkeypatch, excluded):
    """All connections are tunnels of the proxy in `HTTPS_PROXY`, and none if `NO_PROXY` has the host."""

    async def decrypt(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", ace.url.rpartition(":")[2])
        with contextlib.suppress(OSError):
            await asyncio.gather(ConnectProxy.pipe(reader, far_writer), ConnectProxy.pipe(far_reader, writer))

    url = await listen(speak=decrypt, tls=authority.server_context(HOST))
    proxy = ConnectProxy(url)
    monkeypatch.setenv("HTTPS_PROXY", await listen(speak=proxy))
    monkeypatch.setenv("NO_PROXY", excluded)
    monkeypatch.setattr("aiohttp.connector.DefaultResolver", LocalResolver)
    address = url.replace("https://127.0.0.1", HOST)
    async with acetasks.Client(ace.token, base_url=f"https://{address}", policy=POLICY) as client:
        await submit_and_wait(client)
    tunnels = {head.partition("\r\n")[0] for head in proxy.heads}
    assert tunnels == (set() if excluded else {f"CONNECT {address} HTTP/1.1"})


@pytest.mark.parametrize("is_own", [True, False], ids=["own session", "session that reads it"])
async def test_netrc(ace, monkeypatch, tmp_path, is_own):
    """Credentials for the service's host in a netrc file do not replace the token."""
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login somebody password hunter2\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    async with contextlib.AsyncExitStack() as stack:
        http = None if is_own else await stack.enter_async_context(aiohttp.ClientSession(trust_env=True))
        client = acetasks.Client(ace.token, base_url=ace.url, policy=POLICY, http=http)
        await submit_and_wait(await stack.enter_async_context(client))


class Tracing(NamedTuple):
    """A tracer, and where its finished spans are."""

    tracer: Tracer
    exporter: InMemorySpanExporter

    def parents(self, *endings: str) -> list[int | None]:
        """Return the parent's id of each request to a path with one of some endings."""
        spans = self.exporter.get_finished_spans()
        found = [span for span in spans if str(span.attributes.get("http.url")).endswith(endings)]
        return [span.parent and span.parent.span_id for span in found]


@pytest.fixture
def tracing() -> Iterator[Tracing]:
    """OpenTelemetry's instrumentation of all aiohttp sessions opened meanwhile."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield Tracing(provider.get_tracer("tests"), exporter)
    instrumentor.uninstrument()
    provider.shutdown()


@pytest.mark.parametrize("is_own", [True, False], ids=["own session", "user's session"])
async def test_tracing(ace, tracing, is_own):
    """A submission is a child of its caller's span; polls serve many waits, and are children of none."""
    async with contextlib.AsyncExitStack() as stack:
        http = None if is_own else await stack.enter_async_context(aiohttp.ClientSession())
        opening = acetasks.Client(ace.token, base_url=ace.url, policy=POLICY, http=http)
        client = await stack.enter_async_context(opening)
        with tracing.tracer.start_as_current_span("caller") as caller:
            await submit_and_wait(client)
    assert tracing.parents("/videos", "/images", "/audios") == [caller.get_span_context().span_id] * 5
    assert set(tracing.parents("/tasks")) == {None}
    assert not any(ace.token in span.to_json() for span in tracing.exporter.get_finished_spans())


def test_strict_python():
    """Nothing is left open or not awaited, no warning is given, and no callback blocks the loop."""
    program = Path(__file__).with_name("strict_program.py")
    command = [sys.executable, "-X", "dev", "-W", "error", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=25, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout) < 0.1
