"""A file server whose every answer can be replaced, and downloads from it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

import acetasks
from acetasks._downloads import Downloader
from acetasks.events import Observers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

CONTENT = random.Random(0).randbytes(1_000_000)


class FileServer:
    """Serves `CONTENT` under every path, with ranges.

    Attributes:
        requests: The requests so far.
        cut: Returns the number of bytes after which to cut the answer to the n-th request; None for no cut.
        answer: Returns another response to a request, or None.
        headers: Of every answer.
        knows_ranges: Whether ranges are answered with a part.
    """

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.cut: Callable[[int], int | None] = lambda _: None
        self.answer: Callable[[web.Request], web.Response | None] = lambda _: None
        self.headers = {"content-type": "video/mp4", "etag": '"1"'}
        self.knows_ranges = True
        self.content = CONTENT
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        self.requests.append(request)
        if (answer := self.answer(request)) is not None:
            return answer
        start, status, headers = 0, 200, dict(self.headers)
        wanted = request.headers.get("range") if self.knows_ranges else None
        if wanted and request.headers.get("if-range", headers.get("etag")) == headers.get("etag"):
            start, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
            headers["content-range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        headers["content-length"] = str(len(self.content) - start)
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        cut = self.cut(len(self.requests))
        await response.write(self.content[start:] if cut is None else self.content[start : start + cut])
        if cut is not None and request.transport is not None:
            request.transport.close()
        return response


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    """A running file server."""
    server = FileServer()
    app = web.Application()
    app.router.add_get("/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def new_downloader(files: FileServer) -> AsyncIterator[Callable[..., Downloader]]:
    """Makes downloaders that trust the file server; keyword arguments are those of the policy."""
    made: list[Downloader] = []

    def make(*observers: acetasks.Observer, **settings: object) -> Downloader:
        policy = acetasks.DownloadPolicy(**settings)
        made.append(Downloader(policy, observers=Observers(observers), rng=random.Random(0), trusted_urls=[files.url]))
        return made[-1]

    yield make
    for downloader in made:
        await downloader.close()


def new_task(*urls: str, kind: acetasks.ArtifactKind = acetasks.ArtifactKind.VIDEO, **fields: object) -> acetasks.Task:
    """Return a succeeded task with artifacts of one kind."""
    artifacts = tuple(acetasks.Artifact(url=url, kind=kind) for url in urls)
    values = {"provider": "luma", "id": "t", "state": acetasks.TaskState.SUCCEEDED, "artifacts": artifacts}
    return acetasks.Task(**(values | fields))


def renewing(*urls: str) -> Callable[[], Awaitable[acetasks.Task]]:
    """Return a function that retrieves the task with other URLs."""

    async def renew() -> acetasks.Task:
        return new_task(*urls)

    return renew
