"""The looks: one scripted task at one moment, and the made-up ids, files and dates that its record tells.

Nothing here is drawn: whatever a task needs beside its script is worked out from its id, so that two looks at
one task differ in nothing but time. This room knows nothing of what records look like.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

import msgspec

from acetasks.providers.spec import ProviderSpec
from acetasks.testing.script import Phase, ScriptedTask

Json = dict[str, object]


class Look(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One look at one scripted task: all that a record is written from. Times are seconds since the epoch.

    Attributes:
        spec: The provider's row.
        task: The task.
        phase: Where it stands.
        now: When it is looked at.
        created: When it was submitted.
        started: When the work began, or will.
        finished: When it ended, or will.
        progress: In percent.
        error: Code and message of its failure; the code may be None.
        is_explicit: Whether the error was scripted, so that the record has to show it.
        hex: 32 hexadecimal digits that belong to this task, for whatever needs an id.
    """

    spec: ProviderSpec
    task: ScriptedTask
    phase: Phase
    now: float
    created: float
    started: float
    finished: float
    progress: float
    error: tuple[str | None, str]
    is_explicit: bool
    hex: str

    @property
    def id(self) -> str:
        """The task's id."""
        return self.task.id

    @property
    def trace_id(self) -> str:
        """The id of the request that submitted it."""
        return _dashed(self.hex)

    @property
    def percent(self) -> int:
        """The progress as a whole number."""
        return int(self.progress)

    @property
    def elapsed(self) -> float:
        """Seconds of work, so far or in all."""
        end = min(self.now, self.finished) if self.phase.has_ended else self.now
        return max(round(end - self.started, 6), 0.0)

    @property
    def error_object(self) -> Json:
        """The error in the usual form; without a code where there is none."""
        code, message = self.error
        return {"message": message} if code is None else {"code": code, "message": message}

    def url(self, suffix: str, part: str = "") -> str:
        """Make up the address of a file that the task has made."""
        return f"https://files.example/{self.spec.slug}/{self.id}{part}.{suffix}"

    def told(self, key: str, default: object = None) -> object:
        """Repeat a value of the request, where it has one."""
        request = self.task.request
        return default if request is None else request.get(key, default)

    def success(self, **extra: Any) -> Json:  # noqa: ANN401  # whatever JSON the caller adds
        """Begin a response that says `success: true`."""
        return {"success": True, "task_id": self.id, "trace_id": self.trace_id, **extra}

    def failure(self, **extra: Any) -> Json:  # noqa: ANN401  # whatever JSON the caller adds
        """Begin a response that says `success: false` and why."""
        return {
            "success": False,
            "task_id": self.id,
            "trace_id": self.trace_id,
            "error": self.error_object,
            **extra,
        }


def fake_hex(text: str) -> str:
    """Make 32 hexadecimal digits that are always the same for a text."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def fake_uuid(text: str) -> str:
    """Make a UUID that is always the same for a text."""
    return _dashed(fake_hex(text))


def iso_utc(epoch: float) -> str:
    """Write a point in time as ISO 8601 in UTC, with milliseconds and a `Z`."""
    moment = dt.datetime.fromtimestamp(epoch, tz=dt.UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='milliseconds')}Z"


def naive_local(epoch: float, utc_offset: float) -> str:
    """Write a point in time to the second, in a zone that the text does not name."""
    zone = dt.timezone(dt.timedelta(hours=utc_offset))
    return dt.datetime.fromtimestamp(epoch, tz=zone).replace(tzinfo=None).isoformat(" ", timespec="seconds")


def _dashed(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
