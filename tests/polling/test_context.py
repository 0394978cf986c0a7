"""Context variables: polls and closing have those of the code that opened the client, and of no wait."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING

import pytest
from support import FakeService, done, new_poller, until

import acetasks
from acetasks import TaskState
from acetasks._http import HTTPTransport
from acetasks._polling.waiting import wait_one

if TYPE_CHECKING:
    from acetasks._polling.poller import Poller

CALLER = contextvars.ContextVar("CALLER", default="nothing")


class ContextService(FakeService):
    """A service that records the context variable in each request."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self.seen: list[str] = []

    def respond(self, request) -> object:
        """Record the variable, and set it for whatever runs in the same context later."""
        self.seen.append(CALLER.get())
        CALLER.set("poll")
        return super().respond(request)

    async def close_idle(self) -> None:
        """Record the variable."""
        self.seen.append(CALLER.get())


async def wait_as(caller: str, poller: Poller, task_id: str, delay: float = 0.0) -> acetasks.Task:
    """Wait for a task with a context variable set."""
    await asyncio.sleep(delay)
    CALLER.set(caller)
    return await wait_one(poller, ("luma", task_id), None)


@pytest.mark.parametrize("rounds", [1, 2])
async def test_polls_run_with_the_context_of_the_opening(rounds):
    """However many waits with values of their own come and go, and whether the background task is started anew."""
    transport = ContextService(until(42, done))
    CALLER.set("opening")
    poller = new_poller(transport)
    CALLER.set("later")
    for number in range(rounds):
        await asyncio.gather(
            asyncio.create_task(wait_as("A", poller, f"a{number}")),
            asyncio.create_task(wait_as("B", poller, f"b{number}", 7)),
        )
    await asyncio.sleep(0.001)

    assert len(transport.seen) > 5
    assert set(transport.seen) == {"opening"}


async def test_observers_token_providers_and_closing_run_with_it(server, new_client, monkeypatch):
    """Each sees the values of the opening."""
    seen: list[tuple[str, str]] = []

    class Watch:
        """Records the variable."""

        def on_event(self, _event: acetasks.Event) -> None:
            seen.append(("observer", CALLER.get()))

    def token() -> str:
        seen.append(("token", CALLER.get()))
        return server.token

    async def close(transport: HTTPTransport) -> None:
        seen.append(("closing", CALLER.get()))
        await original_close(transport)

    original_close = HTTPTransport.close
    monkeypatch.setattr(HTTPTransport, "close", close)

    async def wait(client: acetasks.Client, caller: str, after: float) -> acetasks.Task:
        CALLER.set(caller)
        return await client.wait("luma", server.add("luma", after=after))

    CALLER.set("opening")
    async with new_client(token, observers=[Watch()]) as client:
        waits = [asyncio.create_task(wait(client, caller, after)) for caller, after in (("A", 5), ("B", 60))]
        assert {task.state for task in await asyncio.gather(*waits)} == {TaskState.SUCCEEDED}
        CALLER.set("closing")

    assert set(seen) == {("observer", "opening"), ("token", "opening"), ("closing", "opening")}
