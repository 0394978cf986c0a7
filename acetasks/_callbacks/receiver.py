"""Receiver of callbacks, without I/O: from the path and body of a request to the clients that are attached."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from acetasks._records import DECODE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from acetasks._callbacks.tokens import TokenMaker

#: Seconds within which the body of a callback must arrive.
BODY_TIMEOUT = 10.0
#: Longest id that is passed on, in characters. Ids are kept, and announced to other processes.
_MAX_ID = 500
#: Longest path that is looked at: the prefix of an application and the two segments of a callback.
_MAX_PATH = 2048


class ReceivedCallback(msgspec.Struct, frozen=True):
    """A callback whose URL has a genuine token. What it says about the task is not believed.

    Attributes:
        provider: The provider's slug.
        task_id: The id in its body.
        token: The token of its URL, which names the submission.
    """

    provider: str
    task_id: str
    token: str


class Admission(NamedTuple):
    """A request with a genuine token, whose body may be read."""

    provider: str
    token: str


class _Body(msgspec.Struct):
    """The fields of a callback that have the task's id; those of a useapi.net job have other names."""

    task_id: str | None = None
    jobid: str | None = None
    id: str | None = None


_decoder = msgspec.json.Decoder(_Body)


class CallbackReceiver:
    """Checks requests, and passes callbacks to the attached clients.

    A request is first admitted by its path alone, so that the body of a forged one is not even read. Nothing of a
    request is kept.

    Args:
        tokens: Checks tokens.
        max_bytes: Maximum size of a body.

    Attributes:
        max_bytes: Maximum size of a body.
        received: Number of genuine callbacks, repeated ones included.
        refused: Number of requests without a genuine token.
    """

    def __init__(self, tokens: TokenMaker, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.received = 0
        self.refused = 0
        self._tokens = tokens
        self._clients: dict[Callable[[ReceivedCallback], object], asyncio.AbstractEventLoop] = {}

    def __repr__(self) -> str:
        return f"<CallbackReceiver {self.received} received, {self.refused} refused>"

    def attach(self, receive: Callable[[ReceivedCallback], object], loop: asyncio.AbstractEventLoop) -> None:
        """Pass callbacks to a function from now on, which is called in an event loop."""
        self._clients[receive] = loop

    def detach(self, receive: Callable[[ReceivedCallback], object]) -> None:
        """Pass no more callbacks to a function."""
        self._clients.pop(receive, None)

    def admit(self, path: str) -> Admission | None:
        """Return what the end of a request's path names if its token is genuine, else None."""
        provider, _, token = path[-_MAX_PATH:].rpartition("/")
        provider = provider.rpartition("/")[2]
        if self._tokens.is_genuine(provider, token):
            return Admission(provider, token)
        self.refused += 1
        return None

    def deliver(self, admission: Admission, body: bytes) -> None:
        """Pass the callback in the body of an admitted request to the clients; one without a usable id is ignored."""
        try:
            fields = _decoder.decode(body)
        except DECODE_ERRORS:
            return
        task_id = fields.task_id or fields.jobid or fields.id
        if not task_id or len(task_id) > _MAX_ID:
            return
        self.received += 1
        callback = ReceivedCallback(admission.provider, task_id, admission.token)
        for receive, loop in tuple(self._clients.items()):
            if loop is _running_loop():
                receive(callback)
            else:
                with contextlib.suppress(RuntimeError):  # it is closed
                    loop.call_soon_threadsafe(receive, callback)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
