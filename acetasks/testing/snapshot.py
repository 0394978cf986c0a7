"""Snapshot of one scripted task at one time, and the made-up ids, URLs and dates of its record.

Everything that the scenario leaves open is derived from the task's id, so snapshots of one task differ in time only.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any
from urllib.parse import quote

import msgspec

from acetasks.providers.spec import ProviderSpec
from acetasks.testing.scenario import Phase, ScriptedTask

Json = dict[str, object]

#: The URL that those of all files begin with if no server serves them.
FILES_URL = "https://files.example"


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything that a record is built from. Times are in seconds since the epoch.

    Attributes:
        spec: The provider spec.
        task: The task.
        phase: The task's phase.
        now: The time of the snapshot.
        created: When the task was submitted.
        started: When the work started or will start.
        finished: When the task ended or will end.
        progress: In percent.
        error: Code and message of the failure; the code may be None.
        has_scripted_error: Whether the error was scripted, so that the record must show it.
        hex: 32 hexadecimal digits derived from the task id, for made-up ids.
        files_url: The URL that those of all files begin with.
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
    has_scripted_error: bool
    hex: str
    files_url: str = FILES_URL

    @property
    def id(self) -> str:
        """The task's id."""
        return self.task.id

    @property
    def trace_id(self) -> str:
        """The id of the submission request."""
        return trace_id_of(self.task)

    @property
    def percent(self) -> int:
        """The progress as an integer."""
        return int(self.progress)

    @property
    def elapsed(self) -> float:
        """Seconds of work so far, or in total once the task has ended."""
        end = min(self.now, self.finished) if self.phase.has_ended else self.now
        return max(round(end - self.started, 6), 0.0)

    @property
    def error_object(self) -> Json:
        """The error as an object with `message`, and with `code` if there is one."""
        code, message = self.error
        return {"message": message} if code is None else {"code": code, "message": message}

    def file_url(self, suffix: str, part: str = "") -> str:
        """Return the URL of a generated file."""
        return f"{self.files_url}/{self.spec.slug}/{quote(self.id, safe='')}{part}.{suffix}"

    def request_value(self, key: str, default: object = None) -> object:
        """Return a value of the submitted body, or `default`."""
        request = self.task.request
        return default if request is None else request.get(key, default)

    def success(self, **extra: Any) -> Json:  # noqa: ANN401  # whatever JSON the caller adds
        """Return a response with `success: true` and the ids."""
        return {"success": True, "task_id": self.id, "trace_id": self.trace_id, **extra}

    def times(self) -> Json:
        """Return the times of an ended task, as in a record."""
        return {"started_at": self.started, "finished_at": self.finished, "elapsed": self.elapsed}

    def failure(self, **extra: Any) -> Json:  # noqa: ANN401  # whatever JSON the caller adds
        """Return a response with `success: false`, the ids and the error."""
        ids: Json = {"task_id": self.id, "trace_id": self.trace_id}
        return {"success": False, **ids, "error": self.error_object, **extra}


def trace_id_of(task: ScriptedTask) -> str:
    """Return the id of a task's submission request: the submitted `trace_id`, or a made-up one."""
    submitted = (task.request or {}).get("trace_id")
    return submitted if isinstance(submitted, str) and submitted else fake_uuid(task.id)


def fake_hex(text: str) -> str:
    """Return 32 hexadecimal digits that depend on `text` only."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def fake_uuid(text: str) -> str:
    """Return a UUID that depends on `text` only."""
    return _format_uuid(fake_hex(text))


def iso_utc(epoch: float) -> str:
    """Format a time as ISO 8601 in UTC, with milliseconds and a `Z`."""
    moment = dt.datetime.fromtimestamp(epoch, tz=dt.UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='milliseconds')}Z"


def naive_local(epoch: float, utc_offset: float) -> str:
    """Format a time to the second, in a zone of `utc_offset` hours that the text does not name."""
    zone = dt.timezone(dt.timedelta(hours=utc_offset))
    return dt.datetime.fromtimestamp(epoch, tz=zone).replace(tzinfo=None).isoformat(" ", timespec="seconds")


def _format_uuid(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
