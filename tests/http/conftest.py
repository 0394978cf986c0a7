"""Fixtures of the tests of HTTP: transports and servers."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aioresponses import aioresponses
from http_support import TOKEN, wall_time

import acetasks
from acetasks import PollPolicy, RetryPolicy
from acetasks._http.auth import Endpoint, Secret
from acetasks._http.session import HTTPTransport
from acetasks._runtime import Runtime
from acetasks.providers import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    import aiohttp

    from acetasks._http.auth import TokenProvider
    from acetasks._http.proxies import Proxy


class Recorder(list[acetasks.Event]):
    """Observers that record the events, only failures if there are no observers of the user's."""

    has_own = True

    def __call__(self, event: acetasks.Event) -> None:
        """Record an event."""
        self.append(event)

    def wants(self, kind: type[acetasks.Event]) -> bool:
        """Return whether events of a kind are recorded."""
        return self.has_own or kind is acetasks.RequestFailed

    def names(self) -> list[str]:
        """Return the type name of each event."""
        return [type(event).__name__ for event in self]

    def sent_at(self) -> list[float]:
        """Return the time of each sent request."""
        return [event.time for event in self if isinstance(event, acetasks.RequestSent)]


@pytest.fixture
def events() -> Recorder:
    """The events of all transports of the test."""
    return Recorder()


@pytest.fixture
def http() -> Iterator[aioresponses]:
    """Prepared responses in place of all HTTP."""
    with aioresponses() as http:
        yield http


@pytest.fixture
async def new_transport(events: Recorder) -> AsyncIterator[Callable[..., HTTPTransport]]:
    """Builds transports and closes them."""
    transports = []

    def build(
        base_url: str = "https://api.example",
        *,
        token: Secret | TokenProvider | None = Secret(TOKEN),  # noqa: B008  # it is immutable
        http: aiohttp.ClientSession | None = None,
        proxy: Proxy | None = None,
        **retry: float,
    ) -> HTTPTransport:
        endpoint = Endpoint(base_url=base_url, token=token, token_variable="ACEDATACLOUD_API_TOKEN")
        runtime = Runtime(
            policy=PollPolicy(),
            retry=RetryPolicy(**retry),
            observers=events,
            rng=random.Random(0),
            clock=asyncio.get_running_loop().time,
            wall_clock=wall_time,
        )
        endpoints = dict.fromkeys(Service, endpoint)
        transport = HTTPTransport(endpoints, http=http, runtime=runtime, proxies=dict.fromkeys(Service, proxy))
        transports.append(transport)
        return transport

    yield build
    for transport in transports:
        await transport.close()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Starts servers that pass every request to a function, and stops them."""
    runners = []

    async def start(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
        async def respond(request: web.Request) -> web.StreamResponse:
            return await handler(request)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", respond)
        runner = web.AppRunner(app, shutdown_timeout=0)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()
