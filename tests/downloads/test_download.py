"""Downloads over HTTP."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import time
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from download_support import CONTENT, FileServer, new_task, renewing
from http_support import expose
from support import now

import acetasks
from acetasks._downloads.partial_file import PartialFile
from acetasks.models import ArtifactKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from acetasks._downloads import Downloader


class Recorder:
    """Keeps events."""

    def __init__(self) -> None:
        self.events: list[acetasks.DownloadProgress] = []

    def on_event(self, event: acetasks.Event) -> None:
        """Keep an event."""
        assert isinstance(event, acetasks.DownloadProgress)
        self.events.append(event)


def names(directory: Path) -> list[str]:
    """Return the names of all files."""
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


async def test_download(files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path) -> None:
    """A file arrives whole under its name, without a token, cookies or compression in the request."""
    recorder = Recorder()
    directory = tmp_path / "new" / "directory"
    paths = await new_downloader(recorder).download(new_task(f"{files.url}/a.bin?signature=s"), directory)
    assert paths == {0: directory / "luma-t.mp4"}
    assert paths[0].read_bytes() == CONTENT
    assert names(directory) == ["luma-t.mp4"]
    (request,) = files.requests
    assert not {"authorization", "cookie", "range"} & {name.lower() for name in request.headers}
    assert request.headers["accept-encoding"] == "identity"
    size = len(CONTENT)
    assert [(e.task_id, e.path, e.done, e.total, e.is_complete) for e in recorder.events] == [
        ("t", str(paths[0]), size, size, True)
    ]


@pytest.mark.parametrize("seed", range(5))
async def test_cut_twenty_times(
    files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path, seed: int
) -> None:
    """A download cut twenty times at random bytes is whole, and never asks for a byte twice."""
    rng = random.Random(seed)
    files.cut = lambda request: rng.randrange(1, 50_000) if request <= 20 else None
    paths = await new_downloader().download(new_task(f"{files.url}/a"), tmp_path)
    assert paths[0].read_bytes() == CONTENT
    assert len(files.requests) == 21
    assert [request.headers.get("if-range") for request in files.requests] == [None] + ['"1"'] * 20


async def test_no_ranges(files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path) -> None:
    """A server without ranges is asked for the whole file again."""
    files.knows_ranges = False
    files.cut = lambda request: 1000 if request <= 2 else None
    paths = await new_downloader().download(new_task(f"{files.url}/a"), tmp_path)
    assert paths[0].read_bytes() == CONTENT


async def test_changed_file(files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path) -> None:
    """A file that has changed since the cut is fetched anew, not mixed with the old one."""
    files.cut = lambda request: 1000 if request == 1 else None

    def change(_: web.Request) -> None:
        if len(files.requests) == 2:
            files.content, files.headers = CONTENT[::-1], files.headers | {"etag": '"2"'}

    files.answer = change
    paths = await new_downloader().download(new_task(f"{files.url}/a"), tmp_path)
    assert paths[0].read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 206, "headers": {"content-range": "bytes 7-9/10"}},
        {"status": 206, "headers": {"content-range": "bytes 1000-1999/2000"}},
        {"status": 206},
        {"status": 416},
        {"status": 503},
        {"status": 429},
        {"status": 200, "body": b""},
    ],
    ids=str,
)
async def test_overcome(
    files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path, answer: dict[str, object]
) -> None:
    """A wrong range, a transient status and an empty body are overcome."""
    files.cut = lambda request: 1000 if request == 1 else None
    files.answer = lambda _: web.Response(**answer) if len(files.requests) == 2 else None
    paths = await new_downloader().download(new_task(f"{files.url}/a"), tmp_path)
    assert paths[0].read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "reason", "requests", "attributes"),
    [
        ({"status": 503}, "HTTP 503", 5, (True, False)),
        ({"status": 200}, "empty", 5, (True, False)),
        ({"status": 403}, "has expired", 1, (False, True)),
        ({"status": 404}, "has expired", 1, (False, True)),
        ({"status": 410}, "has expired", 1, (False, True)),
        ({"status": 400}, "HTTP 400", 1, (False, False)),
        ({"status": 204}, "HTTP 204", 1, (False, False)),
        ({"status": 304}, "HTTP 304", 1, (False, False)),
        ({"text": "<html>gone", "content_type": "text/html"}, "content is text/html", 1, (False, False)),
        ({"body": b"{}", "content_type": "application/json"}, "application/json", 1, (False, False)),
        ({"body": b"x", "headers": {"content-encoding": "br"}}, "compressed", 1, (False, False)),
        ({"body": b"x" * 3_000_000, "content_type": "video/mp4"}, "max_bytes=2000000", 1, (False, False)),
    ],
    ids=str,
)
async def test_failure(  # noqa: PLR0917  # a table
    files: FileServer,
    new_downloader: Callable[..., Downloader],
    tmp_path: Path,
    answer: dict[str, object],
    reason: str,
    requests: int,
    attributes: tuple[bool, bool],
) -> None:
    """What cannot be downloaded leaves no file, and an error that shows no signature."""
    files.answer = lambda _: web.Response(**answer)
    task = new_task(f"{files.url}/a.mp4?signature=secret")
    with pytest.raises(acetasks.DownloadError, match=reason) as caught:
        await new_downloader(max_bytes=2_000_000).download(task, tmp_path)
    assert (caught.value.transient, caught.value.expired) == attributes
    assert (caught.value.task, caught.value.artifact) == (task, task.artifacts[0])
    assert "luma task t: video http://127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(files.requests) == requests
    assert names(tmp_path) == []


async def test_unknown_size_is_limited(
    files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path
) -> None:
    """A body of unknown size ends at the limit."""

    async def chunks() -> object:
        while True:
            yield b"x" * 100_000

    files.answer = lambda _: web.Response(body=chunks(), content_type="video/mp4")
    with pytest.raises(acetasks.DownloadError, match="more than max_bytes=1000000"):
        await new_downloader(max_bytes=1_000_000).download(new_task(f"{files.url}/a"), tmp_path)
    assert names(tmp_path) == []


async def test_stalled(files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path) -> None:
    """A server that sends nothing more is given up after the timeout, `attempts` times."""

    async def never() -> object:
        yield b"x"
        await asyncio.sleep(10_000)

    files.answer = lambda _: web.Response(body=never(), content_type="video/mp4")
    with pytest.raises(acetasks.DownloadError, match="TimeoutError"):
        await new_downloader(attempts=2, timeout=5).download(new_task(f"{files.url}/a"), tmp_path)
    assert len(files.requests) == 3  # the first brought a byte
    assert 15 < now() < 17


async def test_redirects(files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path) -> None:
    """Five redirects are followed."""
    hops = iter([*("/b/../c", "d", "?e", "//" + files.url.removeprefix("http://") + "/f", files.url + "/g")])

    def redirect(_: web.Request) -> web.Response | None:
        location = next(hops, None)
        return web.Response(status=302, headers={"location": location}) if location else None

    files.answer = redirect
    paths = await new_downloader().download(new_task(f"{files.url}/a"), tmp_path)
    assert paths[0].read_bytes() == CONTENT
    assert files.requests[-1].path == "/g"


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/again", "more than 5 redirects"),
        ("file:///etc/passwd", "scheme is 'file'"),
        ("ftp://f.example/", "scheme is 'ftp'"),
        ("http://169.254.169.254/latest", "private address"),
        ("http://[::1]/a", "private address"),
        ("http://localhost:1/a", r"localhost \(.*\) is a private address"),
        ("http://2130706433/a", "malformed"),
        ("http://u:p@f.example/a", "credentials"),
        ("http://f.example:0x50/a", "malformed"),
    ],
)
async def test_refused_redirect(
    files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path, location: str, reason: str
) -> None:
    """A redirect to another scheme, to a private address, with credentials or without end is refused at once."""
    files.answer = lambda _: web.Response(status=302, headers={"location": location})
    with pytest.raises(acetasks.DownloadError, match=reason) as caught:
        await new_downloader().download(new_task(f"{files.url}/a"), tmp_path)
    assert not caught.value.transient
    assert names(tmp_path) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a", "http://localhost:1/a", "file:///etc/passwd", "x", ""])
async def test_refused_url(new_downloader: Callable[..., Downloader], tmp_path: Path, url: str) -> None:
    """A URL with another scheme or a private address is refused without a request."""
    with pytest.raises(acetasks.DownloadError, match="refused"):
        await new_downloader().download(new_task(url), tmp_path)


async def test_https_to_http(
    monkeypatch: pytest.MonkeyPatch, files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path
) -> None:
    """A redirect from https to http is refused: the file could be replaced on its way."""
    downloader = new_downloader()
    session = downloader._fetcher._open_session()  # noqa: SLF001  # no server with a trusted certificate here
    get = session.get
    monkeypatch.setattr(session, "get", lambda url, **options: get(url.replace("https:", "http:"), **options))
    files.answer = lambda _: web.Response(status=302, headers={"location": f"{files.url}/b"})
    with pytest.raises(acetasks.DownloadError, match="from https to http"):
        await downloader.download(new_task(files.url.replace("http:", "https:") + "/a"), tmp_path)


async def test_proxy(
    monkeypatch: pytest.MonkeyPatch, files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path
) -> None:
    """The proxy of the environment is used, with its credentials, which the traceback of a cancellation hides."""
    monkeypatch.setenv("HTTP_PROXY", files.url.replace("http://", "http://user:hunter2@"))
    task = new_task("http://files.example/a")
    paths = await new_downloader().download(task, tmp_path)
    assert paths[0].read_bytes() == CONTENT
    (request,) = files.requests
    assert request.headers["host"] == "files.example"
    credentials = base64.b64encode(b"user:hunter2").decode()
    assert request.headers["proxy-authorization"] == f"Basic {credentials}"

    async def never() -> object:
        await asyncio.sleep(10_000)
        yield b""

    files.answer = lambda _: web.Response(body=never(), content_type="video/mp4")
    with PartialFile(tmp_path, "t") as partial, pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(5):
            await new_downloader()._fetcher.fetch(task.artifacts[0], partial, lambda *_: None)  # noqa: SLF001
    exposed = expose(caught.value)
    assert "Basic ..." in exposed
    assert credentials not in exposed


async def test_expired_url_is_renewed(
    files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path
) -> None:
    """An expired URL is renewed once."""
    files.answer = lambda request: web.Response(status=403) if request.path == "/old" else None
    downloader = new_downloader()
    task = new_task(f"{files.url}/old")
    paths = await downloader.download(task, tmp_path, renew=renewing(f"{files.url}/new"))
    assert paths[0].read_bytes() == CONTENT
    for urls in ([f"{files.url}/old"], [f"{files.url}/old?2"], []):
        with pytest.raises(acetasks.DownloadError, match="expired"):
            await downloader.download(task, tmp_path, overwrite=True, renew=renewing(*urls))
    assert paths[0].read_bytes() == CONTENT


async def test_all_urls_of_a_task_are_renewed_at_once(
    files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path
) -> None:
    """A task with several expired URLs is retrieved once."""
    files.answer = lambda request: web.Response(status=410) if request.path.startswith("/old") else None
    calls = []

    async def renew() -> acetasks.Task:
        calls.append(now())
        return await renewing(*(f"{files.url}/new{number}" for number in range(3)))()

    task = new_task(*(f"{files.url}/old{number}" for number in range(3)))
    paths = await new_downloader().download(task, tmp_path, renew=renew)
    assert [path.read_bytes() == CONTENT for path in paths.values()] == [True] * 3
    assert len(calls) == 1


async def test_url_that_cannot_be_renewed(
    files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path
) -> None:
    """If the task cannot be retrieved again, the error says why, and whether that may pass."""
    files.answer = lambda _: web.Response(status=403)

    async def renew() -> acetasks.Task:
        raise acetasks.ServiceError("down", status=503, provider="luma")

    reason = r"expired, and there is no new one \(luma: HTTP 503: down\)"
    with pytest.raises(acetasks.DownloadError, match=reason) as caught:
        await new_downloader().download(new_task(f"{files.url}/a"), tmp_path, renew=renew)
    assert (caught.value.transient, caught.value.expired) == (True, True)
    assert isinstance(caught.value.__cause__, acetasks.ServiceError)


async def test_closed_meanwhile(files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path) -> None:
    """Closing the downloader ends running downloads at once, and later ones; no part of a file is left."""
    files.answer = lambda _: web.Response(status=503)
    downloader = new_downloader(attempts=100)
    running = asyncio.create_task(downloader.download(new_task(f"{files.url}/a"), tmp_path))
    await asyncio.sleep(1)
    assert names(tmp_path) != []
    await downloader.close()
    with pytest.raises(acetasks.ClientClosedError):
        await running
    assert (now(), names(tmp_path)) == (1, [])
    with pytest.raises(acetasks.ClientClosedError):
        await downloader.download(new_task(f"{files.url}/a"), tmp_path)


async def test_earlier_download(files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path) -> None:
    """A file of an earlier download is not fetched again, unless it is to be replaced."""
    downloader = new_downloader()
    (tmp_path / "luma-t.webm").write_bytes(b"earlier")
    assert await downloader.download(new_task(f"{files.url}/a"), tmp_path) == {0: tmp_path / "luma-t.webm"}
    assert not files.requests
    paths = await downloader.download(new_task(f"{files.url}/a"), tmp_path, overwrite=True)
    assert paths[0].read_bytes() == CONTENT


async def test_several_files(files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path) -> None:
    """One file that fails leaves the others complete; the error names it, and notes name further ones."""
    files.answer = lambda request: web.Response(status=400) if "bad" in request.path else None
    task = new_task(*(f"{files.url}/{name}" for name in ("a", "bad", "b", "bad2")))
    with pytest.raises(acetasks.DownloadError, match="HTTP 400") as caught:
        await new_downloader().download(task, tmp_path)
    assert len(caught.value.__notes__) == 1
    assert names(tmp_path) == ["luma-t-3.mp4", "luma-t.mp4"]


async def test_concurrency(files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path) -> None:
    """No more files than `concurrency` are fetched at once."""
    running, most = 0, 0

    async def slow() -> object:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1
        yield b"x"

    files.answer = lambda _: web.Response(body=slow(), content_type="video/mp4")
    await new_downloader(concurrency=3).download(new_task(*(f"{files.url}/{i}" for i in range(9))), tmp_path)
    assert most == 3
    assert now() == 3


async def test_cancelled(files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path) -> None:
    """A cancelled download leaves no file."""

    async def never() -> object:
        yield b"x" * 1000
        await asyncio.sleep(10_000)

    files.answer = lambda _: web.Response(body=never(), content_type="video/mp4")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await new_downloader().download(new_task(f"{files.url}/a"), tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "content"),
    [
        ("data:image/png;base64," + base64.b64encode(CONTENT).decode(), CONTENT),
        ("data:image/png;base64,aGVsbG8", b"hello"),
        ("data:image/png,a%20b", b"a b"),
        ("data:,x", b"x"),
    ],
    ids=["large", "without padding", "percent", "without a type"],
)
async def test_data_url(tmp_path: Path, url: str, content: bytes) -> None:
    """The content of a data: URL is written."""
    (path,) = await new_task(url, kind=ArtifactKind.IMAGE).download(tmp_path)
    assert path == tmp_path / "luma-t.png"
    assert path.read_bytes() == content


@pytest.mark.parametrize("url", ["data:image/png;base64", "data:image/png;base64,a", "data:image/png,"])
async def test_bad_data_url(tmp_path: Path, url: str) -> None:
    """A malformed or empty data: URL is an error that does not repeat it."""
    with pytest.raises(acetasks.DownloadError, match="in a data: URL was not downloaded"):
        await new_task(url, kind=ArtifactKind.IMAGE).download(tmp_path)
    assert names(tmp_path) == []


async def test_unwritable(files: FileServer, tmp_path: Path) -> None:
    """A directory that cannot be created is a `DownloadError`."""
    (tmp_path / "file").touch()
    policy = acetasks.DownloadPolicy(allow_private=True)
    with pytest.raises(acetasks.DownloadError, match="cannot be written"):
        await new_task(f"{files.url}/a").download(tmp_path / "file" / "directory", policy=policy)


async def test_abandoned_partial_file(
    files: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path
) -> None:
    """A partial file that an ended process has left is removed after a day; a recent one may be in use."""
    old, recent = tmp_path / ".luma-t.00000000.part", tmp_path / ".luma-t.00000001.part"
    for path in (old, recent):
        path.touch()
    os.utime(old, (time.time() - 90_000,) * 2)
    await new_downloader().download(new_task(f"{files.url}/a"), tmp_path)
    assert names(tmp_path) == [recent.name, "luma-t.mp4"]
