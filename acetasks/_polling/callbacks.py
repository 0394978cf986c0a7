"""Expected callbacks: which tasks were submitted with a callback URL, and what an arriving callback is worth.

Pure: every method is given the loop time. A callback never says how a task has ended; at most it leads to one poll.
"""

from __future__ import annotations

import collections
import hmac
import math
from typing import TYPE_CHECKING

import msgspec

from acetasks._scheduling import CallbackState
from acetasks.events import CallbacksMissing, CallbacksRestored, Event
from acetasks.models import TaskState
from acetasks.providers import lookup

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from acetasks._polling.awaited import AwaitedTask
    from acetasks._scheduling import Key, TrackedTask
    from acetasks.models import Task
    from acetasks.policies import PollPolicy

#: Maximum number of tasks whose callbacks are expected; the oldest are forgotten first, and then polled as usual.
_MAX_EXPECTED = 100_000
#: Maximum number of callbacks that are remembered for tasks that are not known: not yet, because they come before the
#: response to their submission; not here, because another process awaits them; or not any more.
_MAX_UNKNOWN = 10_000
#: Tasks of a provider that must end one after the other without their callbacks, and without any other since their
#: submission, before no more are expected.
_MISSES = 3
_ENDS = frozenset({TaskState.SUCCEEDED, TaskState.PARTIAL, TaskState.FAILED})


class ExpectedCallback(msgspec.Struct, eq=False, gc=False):
    """The callback of one task.

    Attributes:
        token: Names the submission.
        submitted_at: Loop time of the submission; minus infinity if another process has sent it.
        is_received: Whether the callback has arrived.
    """

    token: str
    submitted_at: float
    is_received: bool = False


class ExpectedCallbacks:
    """The callbacks that one client expects."""

    def __init__(self, policy: PollPolicy) -> None:
        self._policy = policy
        self._expected: collections.OrderedDict[Key, ExpectedCallback] = collections.OrderedDict()
        # Task ids, by token, of tasks that are not among the expected ones.
        self._unknown: collections.OrderedDict[str, str] = collections.OrderedDict()
        self._misses: collections.Counter[str] = collections.Counter()
        # Loop time of the last callback, by provider.
        self._received_at: dict[str, float] = {}

    def __repr__(self) -> str:
        missing = [provider for provider, misses in self._misses.items() if misses >= _MISSES]
        return f"<ExpectedCallbacks {len(self._expected)} tasks, missing={missing}>"

    def expect(self, key: Key, token: str, submitted_at: float = -math.inf) -> None:
        """Expect the callback of a task, which was submitted at a loop time, or by another process."""
        if key in self._expected:
            return
        callback = self._expected[key] = ExpectedCallback(token, submitted_at)
        callback.is_received = self._unknown.pop(token, None) == key[1]
        if len(self._expected) > _MAX_EXPECTED:
            self._expected.popitem(last=False)

    def receive(self, key: Key, token: str, *, is_awaited: bool) -> bool:
        """Return whether a callback with a genuine token is the first of its task.

        A task that was submitted by another process, and of which only the id is known here, takes the first token.
        """
        callback = self._expected.get(key)
        # 1. Not known.   2. Known by its id only.   3. Of another submission, or repeated.   4. The first.
        if callback is None and not is_awaited:
            return self._remember(key, token)
        if callback is None:
            self.expect(key, token)
            callback = self._expected[key]
        if callback.is_received or not hmac.compare_digest(callback.token, token):
            return False
        callback.is_received = True
        return True

    def restore(self, provider: str, now: float) -> list[Event]:
        """Expect callbacks of a provider, since one has arrived; return the events that follow."""
        self._received_at[provider] = now
        misses = self._misses.pop(provider, 0)
        return [CallbacksRestored(time=now, provider=provider)] if misses >= _MISSES else []

    def sort(self, tasks: Iterable[AwaitedTask], now: float) -> tuple[Sequence[AwaitedTask], Sequence[AwaitedTask]]:
        """Set which new tasks expect a callback, and split them.

        Returns:
            The tasks to poll soon; and those that were submitted just now, of which nothing new can be known yet.
        """
        soon: list[AwaitedTask] = []
        later: list[AwaitedTask] = []
        for task in tasks:
            callback = self._expected.get(task.key)
            if callback is None or callback.is_received or self._misses[task.key[0]] >= _MISSES:
                soon.append(task)
                continue
            task.callback = CallbackState.EXPECTED
            interval = lookup(task.key[0]).poll_interval(self._policy.interval)
            (later if now - callback.submitted_at < interval else soon).append(task)
        return soon, later

    def review(self, provider: str, tasks: Iterable[TrackedTask]) -> None:
        """Expect no callbacks any more for tasks that were polled, if those of their provider do not arrive."""
        if self._misses[provider] >= _MISSES:
            for task in tasks:
                if task.callback is CallbackState.EXPECTED:
                    task.callback = CallbackState.NONE

    def finish(self, task: AwaitedTask, end: Task, now: float) -> list[Event]:
        """Forget the callback of a task that has ended; return the events that follow."""
        callback = self._expected.pop(task.key, None)
        if callback is not None:
            self._remember(task.key, callback.token)
        if callback is None or callback.is_received or end.state not in _ENDS:
            return []
        # Only a rare poll can tell: a frequent one may come before the callback does. Nor does a task that was
        # submitted by another process, which may have received it.
        if task.callback is not CallbackState.EXPECTED or callback.submitted_at == -math.inf:
            return []
        provider = task.key[0]
        # One callback is late or lost if others arrive.
        if self._received_at.get(provider, -math.inf) >= callback.submitted_at:
            return []
        self._misses[provider] += 1
        return [CallbacksMissing(time=now, provider=provider)] if self._misses[provider] == _MISSES else []

    def _remember(self, key: Key, token: str) -> bool:
        """Remember a callback of an unknown task; return whether its token is new, whatever the id."""
        if token in self._unknown:
            return False
        self._unknown[token] = key[1]
        if len(self._unknown) > _MAX_UNKNOWN:
            self._unknown.popitem(last=False)
        return True
