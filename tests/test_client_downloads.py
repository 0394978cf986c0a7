"""Tests of the client's downloads: files of the simulated service, for single tasks and for waits."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import aiohttp
import pytest
from support import now

import acetasks
from acetasks.testing import AceServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from acetasks.testing import RecordedRequest

VIDEO = {"prompt": "a boat"}


@pytest.fixture
def until_expired(server: AceServer) -> Callable[[str], None]:
    """Makes the first record of a task have a URL that has expired."""

    def make(task_id: str) -> None:
        def edit(record: object) -> object:
            assert isinstance(record, dict)
            record["response"]["video_url"] = f"{server.url}/files/luma/expired.mp4"
            return record

        server.fail("luma", edit=edit, when=lambda request: request.ids == (task_id,), times=1)

    return make


async def fetch(url: str) -> bytes:
    """Return a file as another client gets it."""
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        assert response.status == 200
        return await response.read()


def names(directory: Path) -> list[str]:
    """Return the names of all files."""
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def downloads(server: AceServer) -> list[RecordedRequest]:
    """Return the requests for files."""
    return [request for request in server.requests if request.path.startswith("/files/")]


class Progress:
    """Keeps the events of downloads."""

    def __init__(self) -> None:
        self.events: list[acetasks.DownloadProgress] = []

    def on_event(self, event: acetasks.Event) -> None:
        """Keep an event of a download."""
        if isinstance(event, acetasks.DownloadProgress):
            self.events.append(event)


class TestDownload:
    """`Client.download`."""

    async def test_whole_run(self, server: AceServer, new_client: Callable[..., acetasks.Client], tmp_path: Path):
        """The file of a task arrives whole, without the token; an event says so."""
        progress = Progress()
        async with new_client(observers=[progress]) as client:
            task = await client.wait("luma", server.add("luma", after=100))
            (path,) = await client.download(task, tmp_path / "new")
        assert path == tmp_path / "new" / f"luma-{task.id}.mp4"
        assert path.read_bytes() == await fetch(task.artifacts[0].url)
        assert not any("Authorization" in request.headers for request in downloads(server))
        size = path.stat().st_size
        assert [(e.task_id, e.path, e.done, e.is_complete) for e in progress.events] == [
            (task.id, str(path), size, True)
        ]

    async def test_roles(self, server: AceServer, client: acetasks.Client, tmp_path: Path):
        """All roles, or another one, can be asked for; without `overwrite` nothing is downloaded again."""
        task = await client.wait("luma", server.add("luma", after=0))
        assert {artifact.role for artifact in task.artifacts} > {"main"}
        everything = await client.download(task, tmp_path, roles=None)
        assert len(everything) == len(task.artifacts)
        requests = len(downloads(server))
        assert await client.download(task, tmp_path) == everything[:1]
        assert len(downloads(server)) == requests
        assert await client.download(task, tmp_path, overwrite=True) == everything[:1]
        assert len(downloads(server)) == requests + 1

    @pytest.mark.parametrize("seed", range(3))
    async def test_cut_twenty_times(self, server: AceServer, client: acetasks.Client, tmp_path: Path, seed: int):
        """A download that is cut twenty times at random bytes is whole, and asks for no byte twice."""
        rng = random.Random(seed)
        for _ in range(20):
            server.fail(action="download", cut=rng.randrange(1, 20))
        task = await client.wait("luma", server.add("luma", after=0))
        (path,) = await client.download(task, tmp_path)
        assert len(downloads(server)) == 21
        starts = [int(request.headers.get("Range", "bytes=0-")[6:-1]) for request in downloads(server)]
        assert starts == sorted(set(starts))
        assert path.read_bytes() == await fetch(task.artifacts[0].url)

    async def test_expired_url_is_renewed(
        self,
        server: AceServer,
        client: acetasks.Client,
        tmp_path: Path,
        until_expired: Callable[[str], None],
    ):
        """A task with an expired URL is retrieved again, and its file downloaded from the new one."""
        task_id = server.add("luma", after=0)
        until_expired(task_id)
        task = await client.wait("luma", task_id)
        assert "expired" in task.artifacts[0].url
        with pytest.raises(acetasks.DownloadError, match="has expired") as caught:
            await task.download(tmp_path, policy=acetasks.DownloadPolicy(allow_private=True))
        assert caught.value.expired
        (path,) = await client.download(task, tmp_path)
        assert path.read_bytes() == await fetch((await client.retrieve("luma", task_id)).artifacts[0].url)

    async def test_file_that_is_gone(self, tmp_path: Path):
        """A file that is gone although its task was retrieved again is an error that names the task; none is left."""
        async with (
            AceServer(file_lifetime=3600) as server,
            acetasks.Client(server.token, base_url=server.url) as client,
        ):
            task = await client.wait("luma", server.add("luma", after=0))
            await asyncio.sleep(4000)
            with pytest.raises(acetasks.DownloadError, match=f"luma task {task.id}: .* has expired") as caught:
                await client.download(task, tmp_path)
        assert (caught.value.task, caught.value.expired) == (task, True)
        assert names(tmp_path) == []

    async def test_private_addresses(self, client: acetasks.Client, tmp_path: Path):
        """Another port of this machine than the base URL's is refused."""
        other = acetasks.Artifact(url="http://127.0.0.1:1/a.mp4", kind=acetasks.ArtifactKind.VIDEO)
        task = acetasks.Task(provider="luma", id="t", state=acetasks.TaskState.SUCCEEDED, artifacts=(other,))
        with pytest.raises(acetasks.DownloadError, match="private address"):
            await client.download(task, tmp_path)

    async def test_closed_client(self, server: AceServer, new_client: Callable[..., acetasks.Client], tmp_path: Path):
        """Closing the client ends running downloads, and no part of a file is left."""
        server.fail(action="download", hang=1000, times=None)
        async with new_client() as client:
            task = await client.wait("luma", server.add("luma", after=0))
            running = asyncio.create_task(client.download(task, tmp_path))
            await asyncio.sleep(1)
            assert len(names(tmp_path)) == 1
        with pytest.raises(acetasks.ClientClosedError):
            await running
        assert names(tmp_path) == []
        with pytest.raises(acetasks.ClientClosedError):
            await client.download(task, tmp_path)

    async def test_wrong_policy(self):
        """A policy of another type is refused when the client is created."""
        with pytest.raises(TypeError, match="downloads must be a DownloadPolicy"):
            acetasks.Client("token", downloads=acetasks.PollPolicy())  # type: ignore[arg-type]  # it is wrong


class TestWaits:
    """`download_to` of the waits."""

    async def test_wait_and_run(self, server: AceServer, client: acetasks.Client, tmp_path: Path):
        """`wait` and `run` return the task with the paths of its files; a failed task raises as ever."""
        task = await client.wait("luma", server.add("luma", after=10), download_to=tmp_path)
        made = await client.run("luma", VIDEO, download_to=tmp_path)
        handle = await client.submit("luma", VIDEO)
        awaited = await handle.wait(download_to=tmp_path)
        tasks = (task, made, awaited)
        assert [t.artifacts[0].path for t in tasks] == [f"{tmp_path}/luma-{t.id}.mp4" for t in tasks]
        assert len(names(tmp_path)) == 3
        assert (await handle.wait()).artifacts[0].path is None
        with pytest.raises(acetasks.TaskFailedError):
            await client.wait("luma", server.add("luma", after=0, outcome="failed"), download_to=tmp_path)

    async def test_run_whose_download_fails(
        self, server: AceServer, client: acetasks.Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ):
        """A download that fails leaves the task in the error of a `run`."""
        server.fail(action="download", status=404, times=None)
        with pytest.raises(acetasks.DownloadError) as caught:
            await client.run("luma", VIDEO, download_to=tmp_path)
        assert caught.value.task.state is acetasks.TaskState.SUCCEEDED
        assert "a run was ended" not in caplog.text

    async def test_wait_all(self, server: AceServer, client: acetasks.Client, tmp_path: Path):
        """All tasks are returned in the order given, with their files; failed ones without, if asked for."""
        ids = [server.add("flux", after=after) for after in (30, 10, 20)]
        ids.append(server.add("flux", after=0, outcome="failed"))
        tasks = await client.wait_all("flux", [*ids, ids[0]], return_failed=True, download_to=tmp_path)
        assert [task.id for task in tasks] == [*ids, ids[0]]
        files = {task.id: task.artifacts[0].path for task in tasks if task.artifacts}
        assert list(files) == ids[:3]
        assert sorted(files.values()) == [str(tmp_path / name) for name in names(tmp_path)]

    async def test_as_completed(self, server: AceServer, new_client: Callable[..., acetasks.Client], tmp_path: Path):
        """Tasks come when their files are complete, failed ones at once; a slow download holds up no other task."""
        slow, fast = server.add("luma", id="slow", after=10), server.add("luma", id="fast", after=100)
        failed = server.add("luma", id="failed", after=0, outcome="failed")
        server.fail(
            action="download", status=503, times=None, when=lambda request: "slow" in request.path and now() < 200
        )
        policy = acetasks.DownloadPolicy(attempts=1000)
        async with new_client(downloads=policy) as client:
            stream = client.as_completed("luma", [slow, fast, failed], download_to=tmp_path)
            seen = [(task.id, [a.path is not None for a in task.artifacts][:1], now()) async for task in stream]
        assert [(task_id, paths) for task_id, paths, _ in seen] == [("failed", []), ("fast", [True]), ("slow", [True])]
        assert seen[0][2] < 10
        assert 100 <= seen[1][2] < 130
        assert seen[2][2] >= 200

    @pytest.mark.parametrize("way", ["as_completed", "wait_all"])
    async def test_no_task_is_lost(self, server: AceServer, client: acetasks.Client, tmp_path: Path, way: str):
        """A failed download is raised when all others have ended, and the error has every task with its paths."""
        ids = [server.add("flux", id=f"t{number}", after=10 * number) for number in range(5)]
        server.fail(action="download", status=404, times=None, when=lambda request: "t1" in request.path)
        seen: list[str] = []
        with pytest.raises(acetasks.DownloadError) as caught:
            if way == "wait_all":
                await client.wait_all("flux", ids, download_to=tmp_path)
            async for task in client.as_completed("flux", ids, download_to=tmp_path):
                seen.append(task.id)  # noqa: PERF401  # the iteration raises at its end
        assert sorted(seen) == (ids if way == "as_completed" else [])
        assert [task.id for task in caught.value.tasks] == ids
        assert {task.state for task in caught.value.tasks} == {acetasks.TaskState.SUCCEEDED}
        assert [task.artifacts[0].path is None for task in caught.value.tasks] == [False, True, False, False, False]
        assert len(names(tmp_path)) == 4

    async def test_timeout(self, server: AceServer, new_client: Callable[..., acetasks.Client], tmp_path: Path):
        """A timeout lets a download go on that has begun, and its error has the path."""
        done, unfinished = server.add("luma", after=0), server.add("luma", outcome="forever")
        server.fail(action="download", status=503, times=None, when=lambda _: now() < 40)
        async with new_client(downloads=acetasks.DownloadPolicy(attempts=1000)) as client:
            with pytest.raises(acetasks.TaskTimeoutError) as caught:
                await client.wait_all("luma", [unfinished, done], timeout=35, download_to=tmp_path)
            assert now() >= 40
        assert caught.value.task.id == unfinished
        assert caught.value.tasks[1].artifacts[0].path == str(tmp_path / names(tmp_path)[0])

    async def test_closing_the_iterator(self, server: AceServer, client: acetasks.Client, tmp_path: Path):
        """Closing the iterator ends its downloads and the polling."""
        ids = [server.add("luma", id="fast", after=0), server.add("luma", id="slow", after=0)]
        server.fail(action="download", hang=1000, times=None, when=lambda request: "slow" in request.path)
        stream = client.as_completed("luma", [*ids, server.add("luma", outcome="forever")], download_to=tmp_path)
        assert (await anext(stream)).id == "fast"
        await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
        assert names(tmp_path) == ["luma-fast.mp4"]
        requests = server.request_count
        await asyncio.sleep(1000)
        assert server.request_count == requests
