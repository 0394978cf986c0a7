"""Downloads of the files that simulated tasks have made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest
from support import now

from acetasks.providers import normalize, specs
from acetasks.testing.server import AceServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server_support import Caller

PROVIDERS = [spec.slug for spec in specs() if spec.artifacts]


async def urls_of(caller: Caller, slug: str, task_id: str) -> list[str]:
    """Return the URLs of a finished task's files."""
    response = await caller.retrieve(slug, task_id)
    return [artifact.url for artifact in normalize(slug, response.body, http_status=response.status).artifacts]


@pytest.fixture
async def url(server: AceServer, caller: Caller) -> str:
    """The URL of a video of 856 bytes."""
    (video, _thumbnail) = await urls_of(caller, "luma", server.add("luma", id="mine", after=0))
    server.clear_requests()
    return video


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A session without a token."""
    async with aiohttp.ClientSession() as http:
        yield http


class TestDownload:
    """Whole files."""

    @pytest.mark.parametrize("slug", PROVIDERS)
    async def test_every_artifact_can_be_downloaded(self, server: AceServer, caller: Caller, slug: str) -> None:
        """Every artifact of every provider is a URL of the server, and a file that differs from all others."""
        first, second = server.add(slug, after=0), server.add(slug, after=0)
        urls = [*await urls_of(caller, slug, first), *await urls_of(caller, slug, second)]
        contents = set()
        for url in urls:
            assert url.startswith(f"{server.url}/files/{slug}/")
            async with caller.http.get(url) as response:
                assert response.status == 200
                contents.add(await response.read())
        assert len(contents) == len(set(urls)) >= 2

    async def test_headers(self, url: str, http: aiohttp.ClientSession) -> None:
        """A file is sent without a token, with its type, length and ETag; HEAD gets the headers alone."""
        async with http.get(url) as response, http.head(url) as head:
            content = await response.read()
            assert (len(content), response.headers["Content-Length"]) == (len(content), str(len(content)))
            names = ("Content-Type", "Content-Length", "ETag", "Accept-Ranges")
            assert [head.headers[name] for name in names] == [response.headers[name] for name in names]
            assert (head.status, await head.read()) == (200, b"")
        assert response.headers["Content-Type"] == "video/mp4"
        assert content[4:8] == b"ftyp"

    async def test_matching_etag(self, url: str, http: aiohttp.ClientSession) -> None:
        """A request with the file's ETag is a 304 without a body."""
        async with http.get(url) as response:
            etag = response.headers["ETag"]
        async with http.get(url, headers={"If-None-Match": etag}) as response:
            assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", etag)

    @pytest.mark.parametrize(
        "path",
        [
            "/files/luma/other.mp4",
            "/files/veo/mine.mp4",
            "/files/luma/mine",
            "/files/luma/",
            "/files/luma/-.mp4",
        ],
    )
    @pytest.mark.usefixtures("url")
    async def test_unknown_file(self, server: AceServer, http: aiohttp.ClientSession, path: str) -> None:
        """A file of an unknown task or of another provider's is a 404."""
        async with http.get(server.url + path) as response:
            assert response.status == 404

    async def test_post_is_no_download(self, url: str, http: aiohttp.ClientSession) -> None:
        """Files are only read: another method is an unknown path."""
        async with http.post(url, headers={"Authorization": "Bearer test-token"}) as response:
            assert response.status == 404
            assert (await response.json())["error"]["code"] == "no_api"

    async def test_id_with_special_characters(self, server: AceServer, caller: Caller) -> None:
        """An id that needs escapes in a URL has files too."""
        (url, *_) = await urls_of(caller, "luma", server.add("luma", id="a/b c-%2F", after=0))
        async with caller.http.get(url) as response:
            assert response.status == 200

    async def test_file_of_a_deleted_task(self, server: AceServer, caller: Caller) -> None:
        """The files of a deleted task are gone."""
        task_id = server.add("wan", after=0)
        (url, *_) = await urls_of(caller, "wan", task_id)
        await caller.send("/wan/tasks", {"action": "delete", "id": task_id})
        async with caller.http.get(url) as response:
            assert response.status == 404

    async def test_lifetime(self) -> None:
        """Files are gone after their lifetime, which begins at the task's end."""
        async with AceServer(file_lifetime=3600) as server, aiohttp.ClientSession() as http:
            server.add("luma", id="mine", after=100)
            url = f"{server.url}/files/luma/mine.mp4"
            statuses = []
            for at in (100.0, 3699.0, 3700.0):
                await asyncio.sleep(at - now())
                async with http.get(url) as response:
                    statuses.append(response.status)
            assert statuses == [200, 200, 404]

    async def test_download_is_recorded(self, server: AceServer, url: str, http: aiohttp.ClientSession) -> None:
        """A download is recorded with its action, provider and task, and is not counted as a poll."""
        await (await http.get(url)).read()
        await (await http.get(f"{server.url}/files/luma/other-1.mp4")).read()
        recorded = [(request.action, request.provider, request.ids, request.status) for request in server.requests]
        assert recorded == [("download", "luma", ("mine",), 200), ("download", "luma", (), 404)]
        assert (server.request_count, server.ids_asked) == (2, 0)

    async def test_urls_follow_the_server(self) -> None:
        """The URLs are those of the server that is asked, also for a task that was added before the start."""
        server = AceServer()
        task_id = server.add("luma", after=0)
        async with server, aiohttp.ClientSession() as http:
            async with http.post(
                f"{server.url}/luma/tasks",
                json={"id": task_id, "action": "retrieve"},
                headers={"Authorization": f"Bearer {server.token}"},
            ) as response:
                record = await response.json()
            async with http.get(record["response"]["video_url"]) as response:
                assert response.status == 200


class TestRange:
    """Parts of files."""

    @pytest.mark.parametrize(
        ("requested", "start", "stop"),
        [
            ("bytes=0-9", 0, 10),
            ("bytes=10-10", 10, 11),
            ("bytes=100-", 100, None),
            ("bytes=-20", -20, None),
            ("bytes=100-99999", 100, None),
            ("bytes=-99999", 0, None),
        ],
    )
    async def test_part(
        self, url: str, http: aiohttp.ClientSession, requested: str, start: int, stop: int | None
    ) -> None:
        """A range gets a 206 with that part and its position, both ends included."""
        async with http.get(url) as response:
            content = await response.read()
        async with http.get(url, headers={"Range": requested}) as response:
            part = await response.read()
        first, last, _ = slice(start, stop).indices(len(content))
        assert (response.status, part) == (206, content[start:stop])
        assert response.headers["Content-Range"] == f"bytes {first}-{last - 1}/{len(content)}"
        assert response.headers["Content-Length"] == str(len(part))

    @pytest.mark.parametrize("requested", ["bytes=5000-", "bytes=5000-6000", "bytes=-0"])
    async def test_unsatisfiable_range(self, url: str, http: aiohttp.ClientSession, requested: str) -> None:
        """A range outside the file is a 416 with the file's length."""
        async with http.head(url) as head, http.get(url, headers={"Range": requested}) as response:
            size = head.headers["Content-Length"]
            assert (response.status, response.headers["Content-Range"]) == (416, f"bytes */{size}")

    @pytest.mark.parametrize("requested", ["bytes=9-5", "bytes=-", "bytes=a-b", "lines=0-9", "bytes=0-1,5-6"])
    async def test_ignored_range(self, url: str, http: aiohttp.ClientSession, requested: str) -> None:
        """An invalid range, another unit or several ranges get the whole file."""
        async with http.get(url, headers={"Range": requested}) as response:
            assert response.status == 200

    @pytest.mark.parametrize(("matches", "status"), [(True, 206), (False, 200)])
    async def test_range_of_a_version(
        self, url: str, http: aiohttp.ClientSession, *, matches: bool, status: int
    ) -> None:
        """With `If-Range` a part is sent only of the version with that ETag."""
        async with http.head(url) as head:
            etag = head.headers["ETag"] if matches else '"other"'
        async with http.get(url, headers={"Range": "bytes=0-9", "If-Range": etag}) as response:
            assert response.status == status


class TestFaults:
    """Faults of downloads."""

    async def test_faults_of_a_provider_spare_its_files(
        self, server: AceServer, url: str, http: aiohttp.ClientSession
    ) -> None:
        """A fault without an action does not hit downloads: the real files are on other hosts."""
        faults = [server.fail("luma", status=500), server.fail(status=500)]
        async with http.get(url) as response:
            assert response.status == 200
        assert [fault.hits for fault in faults] == [0, 0]

    @pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (404, "NoSuchKey"), (410, "Gone")])
    async def test_status(
        self, server: AceServer, url: str, http: aiohttp.ClientSession, status: int, code: str
    ) -> None:
        """A status alone gets the error of an object store, once."""
        server.fail("luma", action="download", status=status)
        async with http.get(url) as response:
            assert (response.status, response.headers["Content-Type"]) == (status, "application/xml")
            assert f"<Code>{code}</Code>" in await response.text()
        async with http.get(url) as response:
            assert response.status == 200

    async def test_cut(self, server: AceServer, url: str, http: aiohttp.ClientSession) -> None:
        """A download that is cut after a number of bytes can be resumed from there."""
        server.fail(action="download", cut=100)
        received = b""
        async with http.get(url) as response:
            size = int(response.headers["Content-Length"])
            with pytest.raises(aiohttp.ClientPayloadError):
                while chunk := await response.content.readany():
                    received += chunk
        assert len(received) == 100
        async with http.get(url, headers={"Range": "bytes=100-"}) as response:
            received += await response.read()
        async with http.get(url) as response:
            assert received == await response.read()
        assert len(received) == size

    async def test_cut_of_a_shorter_body(self, server: AceServer, caller: Caller) -> None:
        """A body that is shorter than the cut is sent as usual, over a connection that stays open."""
        server.fail("luma", cut=1000)
        assert (await caller.retrieve("luma", "x")).body == {}
        assert (await caller.retrieve("luma", "x")).body == {}
        assert server.connections == 1

    async def test_slow_download(self, server: AceServer, url: str, http: aiohttp.ClientSession) -> None:
        """A download can take its time."""
        server.fail(action="download", hang=3, drip=20)
        start = now()
        async with http.get(url) as response:
            assert now() == start + 3
            await response.read()
        assert now() == start + 23

    async def test_expiry(self, server: AceServer, url: str, http: aiohttp.ClientSession) -> None:
        """A function can make the files of one task expire at a time."""
        server.fail(
            action="download",
            status=403,
            times=None,
            when=lambda request: request.time >= 60 and request.ids == ("mine",),
        )
        statuses = []
        for at in (0, 59, 60):
            await asyncio.sleep(at - now())
            async with http.get(url) as response:
                statuses.append(response.status)
        assert statuses == [200, 200, 403]

    async def test_action_selects_requests(self, server: AceServer, caller: Caller) -> None:
        """A fault with an action hits requests of that kind only."""
        fault = server.fail("luma", action="submit", status=500, times=None)
        await caller.retrieve("luma", "x")
        assert fault.hits == 0
        assert (await caller.send("/luma/videos", {"async": True})).status == 500
        assert repr(fault) == "<Fault luma action=submit status=500 hits=1>"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"action": "download", "edit": lambda body: body}, "a download has none"),
            ({"action": "download", "limit": 1}, "a download has none"),
            ({"action": "download", "status": 403, "code": "used_up"}, "a download has none"),
            ({"status": 200, "code": "used_up"}, "status of 400 or more"),
            ({"code": "used_up"}, "needs an effect"),
            ({"action": "upload", "status": 500}, "'upload' is not a valid Action"),
            ({"cut": -1}, "cut must be at least 0"),
            ({"cut": 5, "truncate": 0.5}, "pass one of them"),
            ({"cut": 5, "status": 204}, "need a body"),
        ],
    )
    async def test_invalid_fault(self, server: AceServer, options: dict[str, object], message: str) -> None:
        """Options that cannot apply to a download are rejected."""
        with pytest.raises(ValueError, match=message):
            server.fail(**options)  # type: ignore[arg-type]  # parametrized options
