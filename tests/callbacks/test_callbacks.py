"""The settings object, and the receiver below the apps."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import acetasks
from acetasks import Callbacks
from acetasks._callbacks import ReceivedCallback

SECRET = "a secret of the tests"
URL = "https://shop.example/hooks"


class Inbox:
    """A client in place of a real one: it keeps what it receives."""

    def __init__(self, callbacks: Callbacks) -> None:
        self.received: list[ReceivedCallback] = []
        callbacks.attach(self.receive, asyncio.get_running_loop())

    def receive(self, callback: ReceivedCallback) -> None:
        """Keep a callback."""
        self.received.append(callback)


def body(**fields: object) -> bytes:
    """Return the body of a callback."""
    return msgspec.json.encode({"task_id": "a", **fields})


class TestSettings:
    """`Callbacks(...)`."""

    @pytest.mark.parametrize(
        "url",
        [
            *("", "shop.example/hooks", "ftp://shop.example", "https://", "/hooks", "https://shop.example:0"),
            *("https://shop.example/?a=b", "https://shop.example/#top", "https://shop.example/a b", "https://[::1"),
        ],
    )
    def test_malformed_urls_are_refused(self, url: str) -> None:
        """A URL that nothing can be appended to is refused, and shown."""
        with pytest.raises(ValueError, match=r"^url must ") as caught:
            Callbacks(url)
        assert repr(url) in str(caught.value)

    @pytest.mark.parametrize("url", [None, b"https://shop.example", 7])
    def test_a_url_is_text(self, url: object) -> None:
        """Any other type is refused."""
        with pytest.raises(TypeError, match="url must be a string"):
            Callbacks(url)

    def test_a_short_secret_is_refused_without_showing_it(self) -> None:
        """The message has the length only."""
        with pytest.raises(ValueError, match="at least 16 bytes, got 6") as caught:
            Callbacks(URL, secret="hunter")
        assert "hunter" not in str(caught.value)

    def test_a_secret_is_text_or_bytes(self) -> None:
        """Both make the same tokens; another type is refused."""
        url = Callbacks(URL, secret=SECRET).build_url("luma")
        assert Callbacks(URL, secret=SECRET.encode()).find_token("luma", url)
        with pytest.raises(TypeError, match="secret must be text or bytes, got int"):
            Callbacks(URL, secret=7)

    @pytest.mark.parametrize(
        ("size", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
    )
    def test_a_size_is_a_positive_number(self, size: object, error: type[Exception]) -> None:
        """Any other is refused."""
        with pytest.raises(error, match="max_bytes must be "):
            Callbacks(URL, max_bytes=size)

    def test_repr_has_no_secret(self) -> None:
        """It has the URL and the counts."""
        assert repr(Callbacks(URL, secret=SECRET)) == f"<Callbacks {URL} 0 received, 0 refused>"

    def test_repr_and_errors_have_no_password(self) -> None:
        """Credentials in the URL are sent to the service, and shown nowhere."""
        callbacks = Callbacks("https://user:hunter2@shop.example/hooks")
        assert callbacks.build_url("luma").startswith("https://user:hunter2@shop.example/hooks/luma/")
        assert repr(callbacks) == "<Callbacks https://shop.example/hooks 0 received, 0 refused>"
        for url in ("ftp://user:hunter2@shop.example", "https://user:hunter2@shop.example/?a", "user:hunter2@a"):
            with pytest.raises(ValueError, match=r"^url must ") as caught:
                Callbacks(url)
            assert "hunter2" not in str(caught.value)

    def test_a_client_takes_nothing_else(self) -> None:
        """A URL instead of `Callbacks` is refused."""
        with pytest.raises(TypeError, match="callbacks must be a Callbacks or None, got 'https"):
            acetasks.Client("token", callbacks=URL)


class TestUrls:
    """The URLs of submissions."""

    @pytest.mark.parametrize("url", [URL, URL + "/", "http://127.0.0.1:8080", "https://[::1]:8443/a/b//"])
    def test_each_submission_has_a_url_below(self, url: str) -> None:
        """It has the provider and a token that can be found again."""
        callbacks = Callbacks(url)
        first, second = callbacks.build_url("luma"), callbacks.build_url("luma")
        assert first != second
        assert first.startswith(url.rstrip("/") + "/luma/")
        assert first.endswith(str(callbacks.find_token("luma", first)))

    def test_other_urls_have_no_token(self) -> None:
        """Neither those of others, nor those of another provider, nor one with something behind."""
        callbacks = Callbacks(URL, secret=SECRET)
        url = callbacks.build_url("luma")
        others = [url + "?a", url + "/", url.replace("shop", "shed"), url.replace("/luma/", "/veo/"), URL, "", "/"]
        assert [callbacks.find_token("luma", other) for other in others] == [None] * len(others)
        assert callbacks.find_token("veo", url) is None
        assert Callbacks(URL).find_token("luma", url) is None


class TestReceive:
    """`Callbacks.receive`."""

    async def test_a_genuine_callback_is_passed_on(self) -> None:
        """Each attached client receives the provider, the id and the token, whatever is before them in the path."""
        callbacks = Callbacks(URL)
        inboxes = [Inbox(callbacks), Inbox(callbacks)]
        url = callbacks.build_url("luma")
        token = str(callbacks.find_token("luma", url))
        for path in (f"/hooks/luma/{token}", f"/luma/{token}", url):
            callbacks.receive(path, body())
        assert all(inbox.received == [ReceivedCallback("luma", "a", token)] * 3 for inbox in inboxes)
        assert (callbacks.received, callbacks.refused) == (3, 0)

    async def test_anything_else_is_ignored(self) -> None:
        """Nothing is passed on without a genuine token, an id, or within the size."""
        callbacks = Callbacks(URL, max_bytes=100)
        inbox = Inbox(callbacks)
        token = callbacks.find_token("luma", url := callbacks.build_url("luma"))
        for path in ("", "/", "/hooks", f"/hooks/veo/{token}", f"{url}/", f"{url}?", "/luma/" + "a" * 43, "x" * 5000):
            callbacks.receive(path, body())
        assert callbacks.refused == 8
        for content in (b"", b"{", b"[]", b"null", b'"a"', b'{"task_id": 7}', b"{}", b'{"task_id": ""}', b"\xff"):
            callbacks.receive(url, content)
        callbacks.receive(url, body(more="x" * 100))
        assert (inbox.received, callbacks.received) == ([], 0)

    @pytest.mark.parametrize(
        ("content", "task_id"),
        [
            ({"task_id": "a", "id": "b", "success": False}, "a"),
            ({"jobid": "a", "id": "b", "status": "completed"}, "a"),
            ({"id": "a"}, "a"),
        ],
    )
    async def test_ids_of_each_form_are_found(self, content: object, task_id: str) -> None:
        """Callbacks of Ace Data Cloud have a `task_id`, those of useapi.net a `jobid`."""
        callbacks = Callbacks(URL)
        inbox = Inbox(callbacks)
        callbacks.receive(callbacks.build_url("luma"), msgspec.json.encode(content))
        assert [callback.task_id for callback in inbox.received] == [task_id]

    async def test_a_long_id_is_none(self) -> None:
        """It would be kept; 500 characters are enough for any service."""
        callbacks = Callbacks(URL)
        inbox = Inbox(callbacks)
        for length in (500, 501, 10_000):
            callbacks.receive(callbacks.build_url("luma"), body(task_id="a" * length))
        assert [len(callback.task_id) for callback in inbox.received] == [500]

    @given(st.binary(max_size=200), st.text(max_size=200))
    def test_no_request_raises(self, content: bytes, path: str) -> None:
        """Whatever is sent, nothing is raised."""
        callbacks = Callbacks(URL)
        callbacks.receive(path, content)
        callbacks.receive(callbacks.build_url("luma"), content)

    async def test_a_detached_client_receives_nothing(self) -> None:
        """After `detach`, and a second one, nothing is passed on."""
        callbacks = Callbacks(URL)
        inbox = Inbox(callbacks)
        callbacks.detach(inbox.receive)
        callbacks.detach(inbox.receive)
        callbacks.receive(callbacks.build_url("luma"), body())
        assert inbox.received == []

    async def test_it_may_be_called_in_another_thread(self) -> None:
        """The client receives the callback in its own loop."""
        callbacks = Callbacks(URL)
        seen: list[threading.Thread] = []
        came = asyncio.Event()

        def receive(_: ReceivedCallback) -> None:
            seen.append(threading.current_thread())
            came.set()

        callbacks.attach(receive, asyncio.get_running_loop())
        url = callbacks.build_url("luma")
        thread = threading.Thread(target=callbacks.receive, args=(url, body()))
        thread.start()
        thread.join()
        assert seen == []
        await came.wait()
        assert seen == [threading.current_thread()]

    def test_a_client_of_a_closed_loop_is_passed_over(self) -> None:
        """What a loop has left behind does not break the app."""
        callbacks = Callbacks(URL)

        async def attach() -> Inbox:
            return Inbox(callbacks)

        inbox = asyncio.run(attach())
        callbacks.receive(callbacks.build_url("luma"), body())
        assert inbox.received == []
