"""Callbacks of several workers that share a journal: each may reach any worker, and wakes the one that waits."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import pytest
from announcing_support import AnnouncingMemoryStore
from support import now
from tcp_proxy import TCPProxy
from worker_figures import WORKERS, balance, measure

import acetasks
from acetasks import Callbacks, MemoryStore
from acetasks.testing import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from callback_figures import Figures

    from acetasks import Client, Store
    from acetasks.testing import AceServer

PAYLOAD = {"prompt": "a cat"}
#: Seconds by which polls after callbacks are delayed, to be shared.
LINGER = 0.025
#: Tasks of each worker in the figures.
EACH = 100
#: Seconds for what must happen on the real clock, on a busy machine too; the usual poll would come after 154.
PATIENCE = 60.0


class Workers(NamedTuple):
    """Workers with one client each, of which the second and later ones receive all callbacks, or as `receivers` says.

    Attributes:
        clients: Their clients, open.
        callbacks: Their callbacks.
        receivers: Numbers of the workers that receive each callback from now on.
    """

    clients: list[Client]
    callbacks: list[Callbacks]
    receivers: list[int]


@contextlib.asynccontextmanager
async def start_workers(
    new_client: Callable[..., Client], journal: str | Store, *, count: int = 2, **options: object
) -> AsyncIterator[Workers]:
    """Start workers that share a journal."""
    receivers = [1]
    async with (
        balance(count, lambda callbacks: [callbacks[number] for number in receivers]) as callbacks,
        contextlib.AsyncExitStack() as stack,
    ):
        clients = [
            await stack.enter_async_context(new_client(callbacks=own, journal=journal, **options)) for own in callbacks
        ]
        yield Workers(clients, callbacks, receivers)


@pytest.fixture(autouse=True)
def _wall_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time of day pass with the virtual clock."""
    if "real_clock" not in request.keywords:
        monkeypatch.setattr("time.time", lambda: 1_780_000_000.0 + now())


@pytest.fixture
def store() -> AnnouncingMemoryStore:
    """A journal that passes announcements."""
    return AnnouncingMemoryStore()


@pytest.fixture
async def workers(new_client: Callable[..., Client], store: AnnouncingMemoryStore) -> AsyncIterator[Workers]:
    """Three workers; the second one receives the callbacks."""
    async with start_workers(new_client, store, count=3) as workers:
        yield workers


def poll_times(server: AceServer) -> list[float]:
    """Return the loop time of each poll."""
    return [request.time for request in server.requests if request.action != "submit"]


def send(workers: Workers, server: AceServer, task_id: str, *, to: int, url: str | None = None) -> None:
    """Let a worker receive a callback of the first submission."""
    url = url or str(next(request.body["callback_url"] for request in server.requests if request.action == "submit"))
    workers.callbacks[to].receive(url, b'{"task_id": "%s"}' % task_id.encode())


class TestArrival:
    """A callback that reaches a worker which does not await its task."""

    async def test_it_wakes_the_worker_that_waits(
        self, server: AceServer, workers: Workers, store: AnnouncingMemoryStore
    ) -> None:
        """With one poll, as soon as if it had come there."""
        server.script("luma", after=50)
        handle = await workers.clients[0].submit("luma", PAYLOAD)
        task = await handle.wait()
        assert (task.state, poll_times(server)) == ("succeeded", [50 + LINGER])
        assert len(store.announced) == 1

    async def test_a_worker_that_awaits_the_task_announces_nothing(
        self, server: AceServer, workers: Workers, store: AnnouncingMemoryStore
    ) -> None:
        """Neither during the wait nor afterwards, however often it comes."""
        server.script("luma", after=50)
        workers.receivers[:] = [0]
        handle = await workers.clients[0].submit("luma", PAYLOAD)
        await handle.wait()
        for _ in range(10):
            send(workers, server, handle.id, to=0)
        await asyncio.sleep(1)
        assert store.announced == []

    async def test_the_worker_that_waits_need_not_be_the_one_that_has_submitted(
        self, server: AceServer, workers: Workers, store: AnnouncingMemoryStore
    ) -> None:
        """By the task's key, which leads to its callback, too; the submitter passes it on then."""
        server.script("luma", after=100)
        workers.receivers[:] = [0]
        await workers.clients[0].submit("luma", PAYLOAD, key="order-1")
        await workers.clients[2].run("luma", PAYLOAD, key="order-1")
        assert poll_times(server) == [LINGER * 2, 100 + LINGER]
        assert len(store.announced) == 1

    async def test_a_task_known_by_its_id_only(
        self, server: AceServer, workers: Workers, store: AnnouncingMemoryStore
    ) -> None:
        """It is polled as usual, and at once when the callback comes."""
        server.script("luma", after=52)
        handle = await workers.clients[0].submit("luma", PAYLOAD)
        await workers.clients[2].wait("luma", handle.id)
        assert poll_times(server)[-1] == pytest.approx(52 + LINGER)
        assert len(store.announced) == 1

    async def test_before_the_response_to_the_submission(
        self, server: AceServer, workers: Workers, store: AnnouncingMemoryStore
    ) -> None:
        """Every worker remembers it, so the wait begins with a poll at once."""
        server.script("luma", after=1)
        server.fail("luma", action="submit", hang=5)
        handle = await workers.clients[0].submit("luma", PAYLOAD)
        assert (len(server.callbacks), len(store.announced), now()) == (1, 1, 5)
        await handle.wait()
        assert poll_times(server) == [5.05]

    async def test_the_state_is_that_of_the_poll(self, server: AceServer, workers: Workers) -> None:
        """A callback that comes too soon leads to one look; from then on the task is polled as without."""
        server.script("luma", after=50)
        server.script_callbacks(drop_rate=1)
        handle = await workers.clients[0].submit("luma", PAYLOAD)
        wait = asyncio.create_task(handle.wait())
        await asyncio.sleep(20)
        send(workers, server, handle.id, to=1)
        await asyncio.sleep(1)
        assert poll_times(server) == [20 + LINGER]
        assert (await wait).state == "succeeded"
        assert now() < 50 + 6.2

    async def test_an_announced_callback_shows_that_they_arrive(
        self, server: AceServer, workers: Workers, caplog
    ) -> None:
        """Callbacks that reach other workers are not missing."""
        server.script("flux", after=20, times=None)
        for _ in range(5):
            await workers.clients[0].run("flux", PAYLOAD)
        assert poll_times(server) == pytest.approx([20 * n + LINGER * n for n in range(1, 6)])
        assert caplog.records == []


class TestEchoes:
    """What must not multiply."""

    async def test_repeated_ones_are_announced_once(
        self, server: AceServer, workers: Workers, store: AnnouncingMemoryStore
    ) -> None:
        """By each worker that receives one before another's announcement, during the wait and after it."""
        server.script("luma", after=50)
        server.script_callbacks(drop_rate=1)
        handle = await workers.clients[0].submit("luma", PAYLOAD)
        wait = asyncio.create_task(handle.wait())
        await asyncio.sleep(50)
        for number in range(1000):
            for worker in (1, 2):
                send(workers, server, handle.id, to=worker)
            if number % 100 == 0:
                await asyncio.sleep(0.001)
        await wait
        for worker in (0, 1, 2) * 1000:
            send(workers, server, handle.id, to=worker)
        await asyncio.sleep(1)
        # Both workers have received it before either has heard of the other.
        assert len(store.announced) == 2
        assert len(poll_times(server)) == 1

    async def test_at_one_worker_it_is_announced_once(
        self, server: AceServer, workers: Workers, store: AnnouncingMemoryStore
    ) -> None:
        """With any ids, as a leaked URL would allow."""
        handle = await workers.clients[0].submit("luma", PAYLOAD)
        for number in range(1000):
            send(workers, server, f"{handle.id}-{number % 10}", to=1)
        await asyncio.sleep(1)
        assert len(store.announced) == 1

    async def test_a_task_that_nobody_awaits(
        self, server: AceServer, workers: Workers, store: AnnouncingMemoryStore
    ) -> None:
        """It is announced once, and leads to nothing."""
        server.script("luma", after=10)
        await workers.clients[0].submit("luma", PAYLOAD)
        await asyncio.sleep(20)
        assert (len(store.announced), poll_times(server)) == (1, [])

    async def test_forged_ones_are_not_announced(
        self, server: AceServer, workers: Workers, store: AnnouncingMemoryStore
    ) -> None:
        """Nor is one without a usable id."""
        handle = await workers.clients[0].submit("luma", PAYLOAD)
        genuine = str(server.requests[0].body["callback_url"])
        for url, task_id in [
            (genuine[:-1] + "~", handle.id),
            (genuine.replace("/luma/", "/flux/"), handle.id),
            (Callbacks("https://shop.example/hooks").build_url("luma"), handle.id),
            (genuine, ""),
            (genuine, "x" * 501),
        ]:
            send(workers, server, task_id, to=1, url=url)
        await asyncio.sleep(1)
        assert store.announced == []

    async def test_forged_announcements_lead_to_nothing(
        self, server: AceServer, workers: Workers, store: AnnouncingMemoryStore
    ) -> None:
        """Other users of a database may send any text."""
        server.script("luma", after=100)
        handle = await workers.clients[0].submit("luma", PAYLOAD)
        wait = asyncio.create_task(handle.wait())
        await asyncio.sleep(10)
        made_up = Callbacks("https://shop.example/hooks").build_url("luma").rpartition("/")[2]
        forged = f'{{"provider":"luma","task_id":"{handle.id}","token":"{made_up}"}}'
        await store.announce(["", "x", "[]", '{"provider":"luma"}', "[" * 5000, forged])
        await asyncio.sleep(10)
        assert poll_times(server) == []
        wait.cancel()


class TestWithoutAnnouncements:
    """Nothing depends on them: the end is found at the worker's next look."""

    @pytest.mark.parametrize("kind", ["deaf", "down", "other store"])
    async def test_the_next_look_finds_the_end(
        self, server: AceServer, new_client: Callable[..., Client], kind: str
    ) -> None:
        """If they are lost, if they fail, and if the store has none."""
        store = MemoryStore() if kind == "other store" else AnnouncingMemoryStore()
        if isinstance(store, AnnouncingMemoryStore):
            store.is_deaf, store.is_down = kind == "deaf", kind == "down"
        server.script("luma", after=100)
        async with start_workers(new_client, store) as workers:
            handle = await workers.clients[0].submit("luma", PAYLOAD)
            await handle.wait()
        ((time),) = poll_times(server)
        assert 154 <= time <= 1.2 * 154

    async def test_a_client_without_callbacks_does_not_listen(
        self, new_client: Callable[..., Client], store: AnnouncingMemoryStore
    ) -> None:
        """Only what needs it does, until it is closed."""
        async with new_client(journal=store), start_workers(new_client, store):
            await asyncio.sleep(1)
            assert store.listening == 2
        assert store.listening == 0


@functools.cache
def figures(**options: float) -> Figures:
    """Return the figures of a run with announcements; several tests compare with one of them."""
    return run(measure(tasks=EACH, **options))


class TestFigures:
    """The figures of the documentation, with a tenth of the tasks."""

    def test_callbacks_that_reach_any_worker(self) -> None:
        """All tasks end within 26 ms, in a twentieth of the polled ids; each other callback is announced once."""
        store = AnnouncingMemoryStore()
        without, with_ = figures(callbacks=False), run(measure(store, tasks=EACH))
        assert without.ended == with_.ended == WORKERS * EACH
        assert with_.median <= with_.worst <= 0.026
        assert with_.ids <= without.ids / 20
        # Three of four callbacks reach another worker.
        assert len(store.announced) == len(set(store.announced)) == pytest.approx(0.75 * WORKERS * EACH, rel=0.1)

    def test_all_callbacks_lost(self) -> None:
        """Every task ends, in at most a tenth of the polls."""
        without, with_ = figures(callbacks=False), figures(drop_rate=1.0)
        assert with_.ended == WORKERS * EACH
        assert with_.ids <= without.ids / 10
        assert with_.worst < 1.2 * 154


@pytest.mark.real_clock  # the server is another process
class TestPostgres:
    """The same over a PostgreSQL server."""

    async def test_it_wakes_the_worker_that_waits(
        self, server: AceServer, new_client: Callable[..., Client], postgres_url: str
    ) -> None:
        """With one poll, long before the usual one; by the key in a third worker too."""
        server.script("luma", after=1, times=None)
        async with start_workers(new_client, postgres_url, count=3) as workers, asyncio.timeout(PATIENCE):
            handle = await workers.clients[0].submit("luma", PAYLOAD)
            await handle.wait()
            assert len(poll_times(server)) == 1
            again = await workers.clients[0].submit("luma", PAYLOAD, key="order-1")
            task = await workers.clients[2].run("luma", PAYLOAD, key="order-1")
        assert task.id == again.id

    async def test_before_the_response_to_the_submission(
        self, server: AceServer, new_client: Callable[..., Client], postgres_url: str
    ) -> None:
        """It is remembered where the response comes."""
        server.script("luma", after=0)
        server.fail("luma", action="submit", hang=2)
        async with start_workers(new_client, postgres_url) as workers, asyncio.timeout(PATIENCE):
            handle = await workers.clients[0].submit("luma", PAYLOAD)
            assert len(server.callbacks) == 1
            await handle.wait()
        assert len(poll_times(server)) == 1

    async def test_repeated_ones_are_announced_once(
        self, server: AceServer, new_client: Callable[..., Client], postgres_url: str
    ) -> None:
        """A thousand copies, and forged ones, are one notification."""
        async with start_workers(new_client, postgres_url) as workers, listen(postgres_url) as notifications:
            handle = await workers.clients[0].submit("luma", PAYLOAD)
            for _ in range(1000):
                send(workers, server, handle.id, to=1)
                send(workers, server, handle.id, to=1, url=Callbacks("https://shop.example/x").build_url("luma"))
            await asyncio.wait_for(notifications.get(), PATIENCE)
            await asyncio.sleep(0.5)
            assert notifications.empty()

    async def test_a_listener_that_is_cut(
        self, server: AceServer, new_client: Callable[..., Client], postgres_url: str, caplog
    ) -> None:
        """The task whose callback comes meanwhile ends at the next look; then the listener is back."""
        caplog.set_level(logging.INFO, "acetasks")
        parts = urlsplit(postgres_url)
        server.script("luma", after=1, times=None)
        policy = acetasks.PollPolicy(callback_interval=5, jitter=0)
        async with TCPProxy(parts.hostname or "127.0.0.1", parts.port or 5432) as proxy:
            user = f"{parts.username}@" if parts.username else ""
            behind = parts._replace(netloc=f"{user}127.0.0.1:{proxy.port}").geturl()
            async with (
                start_workers(new_client, postgres_url, policy=policy) as workers,
                new_client(callbacks=workers.callbacks[0], journal=behind, policy=policy) as client,
                asyncio.timeout(PATIENCE),
            ):
                await client.run("luma", PAYLOAD)
                start = now()
                handle = await client.submit("luma", PAYLOAD)
                proxy.stop()
                await handle.wait()
                assert now() - start >= 4
                await proxy.start()
                while "received again" not in caplog.text:  # noqa: ASYNC110  # the log has no event
                    await asyncio.sleep(0.05)
                start = now()
                await client.run("luma", PAYLOAD)
                assert now() - start < 4
        assert caplog.text.count("are not received") == 1


@contextlib.asynccontextmanager
async def listen(url: str) -> AsyncIterator[asyncio.Queue[object]]:
    """Give the notifications of a journal, as any user of its database can see them."""
    connection = await asyncpg.connect(url)
    queue: asyncio.Queue[object] = asyncio.Queue()
    channel = await connection.fetchval("SELECT 'acetasks_' || 'acetasks_entries'::regclass::oid")
    await connection.add_listener(channel, lambda *notification: queue.put_nowait(notification))
    yield queue
    await connection.close()
