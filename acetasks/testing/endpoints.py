"""Endpoint: how one submission path answers, where that differs from the provider's main path.

Most providers have one path, whose results are files. Some have more: for lyrics, voices, conversions and the like,
each with its own result. Several of them answer with the result whatever the request's `async` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from acetasks.testing.snapshot import Json, Snapshot

if TYPE_CHECKING:
    from collections.abc import Collection

#: The response in a record: an object, `null`, or UNSET for a record without `response`.
Response = Json | None | msgspec.UnsetType
#: Builds the response of one phase.
ResponseBuilder = Callable[[Snapshot], Response]
#: Builds a record or a part of one.
RecordBuilder = Callable[[Snapshot], Json]
#: Takes the submitted body, and returns whether the submission blocks; None means as `async` says.
Blocks = Callable[[Mapping[str, object]], bool | None]

#: Duration of a submission that is answered with its result, in seconds.
_QUICK_DURATION = 7.4


def absent(_snapshot: Snapshot) -> Response:
    """Omit `response`."""
    return msgspec.UNSET


def as_requested(_body: Mapping[str, object]) -> bool | None:
    """Block unless the request has `async: true`."""
    return None


def always(_body: Mapping[str, object]) -> bool | None:
    """Block whatever the request says."""
    return True


def for_actions(actions: Collection[str]) -> Blocks:
    """Block for these actions, and never for the others."""
    return lambda body: body.get("action") in actions


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Behaviour of one submission path.

    Attributes:
        done: The response of a succeeded task.
        unfinished: The response of a queued or running task.
        blocks: Whether a submission blocks.
        answer_has_times: Whether the response to a blocking submission has the times of the work, unlike the record's.
        ack: The response to a submission that does not block; None means that of the provider.
        record_type: The record's `type`; empty means that of the provider.
        typical_duration: Seconds from submission to the end; None means those of the provider.
    """

    done: ResponseBuilder
    unfinished: ResponseBuilder = absent
    blocks: Blocks = as_requested
    answer_has_times: bool = False
    ack: RecordBuilder | None = None
    record_type: str = ""
    typical_duration: float | None = None

    def answer(self, snapshot: Snapshot) -> Json:
        """Return the response to a blocking submission of a succeeded task."""
        response = self.done(snapshot)
        result = response if isinstance(response, dict) else {}
        return {**result, **snapshot.times()} if self.answer_has_times else result


def quick_endpoint(done: ResponseBuilder, blocks: Blocks = always) -> Endpoint:
    """Return an endpoint that is answered with the result whatever `async` says.

    The response has the times of the work (observed 2026-10 for suno and kling, where `async: true` was requested). It
    takes as long as in the sample of suno/suno_lyrics.
    """
    return Endpoint(done=done, blocks=blocks, answer_has_times=True, typical_duration=_QUICK_DURATION)


def result_data(data: Callable[[Snapshot], object]) -> ResponseBuilder:
    """Return a builder of a response with `success: true`, the ids and the given `data`."""
    return lambda snapshot: snapshot.success(data=data(snapshot))
