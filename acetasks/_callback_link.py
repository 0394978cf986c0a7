"""Link between the callbacks of an application, the poller of one client, and the clients of other processes."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import msgspec

from acetasks._callbacks import Callbacks, ReceivedCallback
from acetasks._ledger import Announcements, AnnouncingStore
from acetasks._polling import ExpectedCallbacks
from acetasks._records import DECODE_ERRORS
from acetasks.providers import lookup

if TYPE_CHECKING:
    from acetasks._ledger import Store
    from acetasks._polling import Poller
    from acetasks.models import Task
    from acetasks.policies import PollPolicy
    from acetasks.providers import ProviderSpec

_request_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_callback_decoder = msgspec.json.Decoder(ReceivedCallback)


class CallbackLink:
    """Gives submissions their callback URLs, and passes the callbacks that arrive on to the poller.

    The callback of a task that is not awaited here is announced to the other clients of the journal, once. Nothing that
    was announced is announced again.

    Args:
        callbacks: The callbacks of the application.
        policy: How tasks are polled.
        store: The store of the journal, open while the link is; None for no journal.

    Attributes:
        expected: The callbacks that the client expects.
    """

    def __init__(self, callbacks: Callbacks, policy: PollPolicy, store: Store | None) -> None:
        self.expected = ExpectedCallbacks(policy)
        self._callbacks = callbacks
        self._announcements: Announcements | None = None
        if isinstance(store, AnnouncingStore):
            self._announcements = Announcements(store, self._receive_announced)
        self._poller: Poller | None = None

    def __repr__(self) -> str:
        return f"<CallbackLink {self._callbacks!r} {self.expected!r}>"

    def open(self, poller: Poller) -> None:
        """Pass callbacks on to a poller of the running loop from now on."""
        self._poller = poller
        self._callbacks.attach(self._receive, asyncio.get_running_loop())
        if self._announcements is not None:
            self._announcements.open()

    def close(self) -> None:
        """Pass nothing on any more; `wait_closed` must follow."""
        self._callbacks.detach(self._receive)
        self._poller = None

    async def wait_closed(self) -> None:
        """Wait until the store is not used any more."""
        if self._announcements is not None:
            await self._announcements.close()

    def build_url(self, spec: ProviderSpec) -> str:
        """Return the callback URL for one submission."""
        return self._callbacks.build_url(spec.slug)

    def expect(self, provider: str, task_id: str | None, request: bytes, submitted_at: float = -math.inf) -> None:
        """Expect the callback of a submitted task if its request has a callback URL of this application.

        Args:
            provider: The provider's slug.
            task_id: The task's id, or None if it is not known.
            request: Body of the request, as JSON.
            submitted_at: Loop time; minus infinity if another process has submitted it.
        """
        field = lookup(provider).callback_field
        if not task_id or field is None:
            return
        try:
            url = msgspec.json.decode(_request_decoder.decode(request)[field])
        except (KeyError, *DECODE_ERRORS):
            return
        token = self._callbacks.find_token(provider, url) if isinstance(url, str) else None
        if token is not None:
            self.expected.expect((provider, task_id), token, submitted_at)

    def note_accepted(self, task: Task, request: bytes, time: float | None) -> None:
        """Expect the callback of a task that was submitted at a loop time; None if the ledger had it already."""
        if not task.state.is_terminal:
            self.expect(task.provider, task.id, request, -math.inf if time is None else time)

    def _receive(self, callback: ReceivedCallback) -> None:
        """Receive a callback that the service has posted to this process."""
        if self._pass_on(callback) and self._announcements is not None:
            self._announcements.announce(msgspec.json.encode(callback).decode())

    def _receive_announced(self, text: str) -> None:
        """Receive a callback that was posted to another process, or any text of another user of the database."""
        try:
            callback = _callback_decoder.decode(text)
        except DECODE_ERRORS:
            return
        if self._callbacks.is_genuine(callback):
            self._pass_on(callback)

    def _pass_on(self, callback: ReceivedCallback) -> bool:
        """Pass a callback on to the poller; return whether it is the first one of a task that is not awaited here."""
        if self._poller is None:
            return False
        return self._poller.receive_callback((callback.provider, callback.task_id), callback.token)


def check_callbacks(callbacks: object) -> Callbacks | None:
    """Return the setting, or raise `TypeError` if it is of another type."""
    if callbacks is not None and not isinstance(callbacks, Callbacks):
        raise TypeError(f"callbacks must be a Callbacks or None, got {callbacks!r}")
    return callbacks
