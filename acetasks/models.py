"""Immutable task, artifact and state types, and the two errors that decoding a task can raise.

The types know nothing of providers: `acetasks.providers` decides what a record means. They cannot be part of a
reference cycle, so `gc=False` keeps them out of garbage collections, which tens of thousands of tasks would slow down.

`AceTasksError` and `ProtocolError` are here because `Task` raises them; import them from `acetasks.errors`.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, TypeVar

import msgspec

from acetasks._records import (
    DECODE_ERRORS,
    ECHO_LIMIT,
    decode,
    escape_controls,
    excerpt,
    may_be_truncated,
    read_billing,
    read_sections,
    shorten,
)
from acetasks._views import build_json_schema, build_pydantic_schema, render_task

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from acetasks.policies import DownloadPolicy

T = TypeVar("T")

#: Maximum length of an error's text: escapes can make the received text in it twelve times as long.
_MAX_TEXT = 2000
#: The code of the error of a task that the service reports as done, without its files.
NO_RESULT = "no_result"


class TaskState(enum.StrEnum):
    """State of a remote task."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    #: Some of the results were made, and are charged for; the others failed.
    PARTIAL = "partial"
    FAILED = "failed"
    #: The service has no task with this id.
    NOT_FOUND = "not_found"

    @property
    def is_terminal(self) -> bool:
        """Whether the state is final."""
        return self is not _PENDING and self is not _RUNNING


#: Module globals: `is_terminal` runs at every poll, and looking up the enum members would be most of its cost.
_PENDING, _RUNNING = TaskState.PENDING, TaskState.RUNNING


class ArtifactKind(enum.StrEnum):
    """Media type of an artifact."""

    VIDEO = "video"
    IMAGE = "image"
    AUDIO = "audio"
    FILE = "file"


class Artifact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A file made by a task.

    Attributes:
        url: Download URL, valid for a limited time (24 hours to 90 days, by provider). A `data:` URL where the service
            sent the content itself.
        kind: Media type.
        role: `main` for a requested result; `thumbnail`, `frame`, `cover`, `raw` and the like for an extra file.
        width: Width in pixels, or None if not reported.
        height: Height in pixels, or None if not reported.
        path: Path of the downloaded file, or None if the wait was not asked to download it.
    """

    url: str
    kind: ArtifactKind = ArtifactKind.FILE
    role: str = "main"
    width: int | None = None
    height: int | None = None
    path: str | None = None


class TaskError(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Reason of a task's failure, as reported by the service.

    Attributes:
        message: The service's message, or a sentence that says that there is none.
        code: The service's error code, or None if there is none; `no_result` if the service reports success but
            returned no file.
    """

    message: str
    code: str | None = None


class Task(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A remote task, as of one poll.

    Attributes:
        provider: The provider's slug, such as `luma`.
        id: The task's id; empty if normalised from a payload without one.
        state: State of the task.
        artifacts: Files made; empty until the state is terminal, because services list preview URLs before that.
        error: Reason of the failure of a failed or partial task; otherwise None.
        progress: Percentage from 0 to 100, or None if not reported.
        created_at: Time of submission, in seconds since the epoch, or None if not reported.
        started_at: Time at which work began, in seconds since the epoch, or None if not reported.
        finished_at: Time at which the task ended, in seconds since the epoch, or None if not reported.
        duration: Seconds of work, or None before the end or if not reported. Not the length of the media.
        trace_id: The service's id for support requests, or None.
        raw: The record as received, as JSON. What the service sent as `NaN`, an infinite number, or an invalid escape
            or character in a text is replaced, where a reader of strict JSON would reject the record for it.
    """

    provider: str
    id: str
    state: TaskState
    artifacts: tuple[Artifact, ...] = ()
    error: TaskError | None = None
    progress: float | None = None
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    duration: float | None = None
    trace_id: str | None = None
    raw: bytes = b"{}"

    @property
    def request(self) -> dict[str, object] | None:
        """The submitted parameters, decoded at each access; None if the record does not repeat them.

        Raises:
            ProtocolError: The record's request is malformed.
        """
        return self._decode_section("request", self._sections()[0])

    @property
    def response(self) -> dict[str, object] | None:
        """The service's response object, decoded at each access; None if there is none yet.

        Raises:
            ProtocolError: The record's response is malformed.
        """
        return self._decode_section("response", self._sections()[1])

    @property
    def cost(self) -> dict[str, object] | None:
        """The price, such as `{"amount": 0.4, "currency": "credit"}`; None if the record does not have it."""
        return _read_billing_object(read_billing(self.raw)[0], "amount")

    @property
    def usage(self) -> dict[str, object] | None:
        """The amounts that the price was calculated from; None if the record does not have them."""
        return _read_billing_object(read_billing(self.raw)[1], "total")

    def to_dict(self) -> dict[str, object]:
        """Return the task as plain values for `json.dumps` and web frameworks, with its response but not the record."""
        fields = msgspec.structs.asdict(self)
        del fields["raw"]
        fields["state"] = self.state.value
        fields["artifacts"] = [
            msgspec.structs.asdict(artifact) | {"kind": artifact.kind.value} for artifact in self.artifacts
        ]
        fields["error"] = None if self.error is None else msgspec.structs.asdict(self.error)
        return fields | {"cost": self.cost, "usage": self.usage, "response": self._read_any_response()}

    def to_json(self) -> bytes:
        """Return `to_dict()` as one line of JSON, as `acetasks wait --json` prints it."""
        return msgspec.json.encode(self.to_dict())

    @classmethod
    def from_json(cls, data: bytes | str) -> Task:
        """Restore a task from `to_json()`, such as a line of `acetasks wait --json`.

        The result has the same values. Its `raw` has only what the JSON repeats of the record: response, cost and
        usage.

        Raises:
            ProtocolError: The data is not the JSON of a task.
        """
        raw = data.encode() if isinstance(data, str) else data
        try:
            task = _task_decoder.decode(raw)
            kept = {name: value for name, value in _kept_decoder.decode(raw).items() if name in _KEPT}
        except DECODE_ERRORS as error:
            raise build_decode_error("the JSON of a task", raw, error) from error
        return msgspec.structs.replace(task, raw=msgspec.json.encode({"response": None} | kept))

    def __iter__(self) -> Iterator[tuple[str, object]]:
        """Yield the items of `to_dict()`, so that `dict(task)` works, and with it FastAPI's encoder."""
        return iter(self.to_dict().items())

    def __repr__(self) -> str:
        return f"<Task {escape_controls(self._summary)}>"

    def _repr_html_(self) -> str:
        """Return the task with its main files, for notebooks."""
        media = [(artifact.kind.value, artifact.url) for artifact in self.artifacts if artifact.role == "main"]
        return render_task(self._summary, media)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> object:
        """Return pydantic's schema: tasks and the values of `to_dict()` are valid, and `to_dict()` writes tasks."""
        return build_pydantic_schema(cls, _read_plain_task, cls.to_dict)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: object, handler: object) -> dict[str, object]:
        """Return the JSON schema of `to_dict()`, for OpenAPI documents."""
        return build_json_schema(cls)

    def decode(self, response_type: type[T]) -> T:
        """Decode the response into a type, such as `acetasks.LumaResponse` or your own msgspec Struct.

        Args:
            response_type: Any type that msgspec can decode.

        Raises:
            ProtocolError: The task has no response yet, or its response does not fit the type.
        """
        response = self._sections()[1]
        if response is None:
            raise ProtocolError(f"{self._name} has no response yet: it is {self.state.value}")
        return self._decode("response", response, response_type)

    async def download(
        self,
        directory: str | os.PathLike[str],
        *,
        roles: Collection[str] | None = ("main",),
        overwrite: bool = False,
        policy: DownloadPolicy | None = None,
    ) -> list[Path]:
        """Download the task's files into a directory; `Client.download` also renews expired URLs.

        The names are made of provider, task id, role and number. A file is complete, or not there.

        Args:
            directory: Created if it does not exist.
            roles: Roles of the artifacts to download; None for all.
            overwrite: Whether to replace files of an earlier download; else they are not downloaded again.
            policy: Settings.

        Returns:
            The paths of the files, in the order of the artifacts.

        Raises:
            DownloadError: A file cannot be downloaded or written; the others are complete.
        """
        from acetasks._downloads import download_task  # noqa: PLC0415  # it is built on tasks

        return await download_task(self, directory, roles=roles, overwrite=overwrite, policy=policy)

    @property
    def _name(self) -> str:
        """Name of the task in error messages."""
        return f"{self.provider} task {self.id[:ECHO_LIMIT]}"

    @property
    def _summary(self) -> str:
        """One line for people, without URLs, which may be signed."""
        parts = [f"{self._name.replace(' task ', ' ')} {self.state.value}"]
        if self.progress is not None and not self.state.is_terminal:
            parts.append(f"{self.progress:g} %")
        if self.artifacts:
            parts.append(f"{len(self.artifacts)} file{'s' if len(self.artifacts) > 1 else ''}")
        if self.error is not None:
            code = f"{self.error.code}: " if self.error.code else ""
            parts.append(f"{code}{self.error.message}"[:ECHO_LIMIT])
        return ", ".join(parts)

    def _read_any_response(self) -> object:
        """Return the response, of any JSON type; None if there is none, or if it cannot be read."""
        try:
            response = self._sections()[1]
            return None if response is None else decode(_any_decoder, response)[0]
        except (ProtocolError, *DECODE_ERRORS):
            return None

    def _sections(self) -> tuple[bytes | None, bytes | None]:
        try:
            return read_sections(self.raw)
        except DECODE_ERRORS as error:
            raise build_decode_error(f"the record of {self._name}", self.raw, error) from error

    def _decode_section(self, section: str, raw: bytes | None) -> dict[str, object] | None:
        return None if raw is None else self._decode(section, raw, dict[str, object])

    def _decode(self, section: str, raw: bytes, target: type[T]) -> T:
        decoder = msgspec.json.Decoder(target)  # outside the try: a TypeError here is the caller's fault
        try:
            return decode(decoder, raw)[0]
        except (*DECODE_ERRORS, TypeError) as error:  # a TypeError here is the data's, such as a list in a set
            message = f"the {section} of {self._name} does not fit {getattr(target, '__name__', target)}"
            raise ProtocolError(f"{message} ({shorten(error)})", excerpt=excerpt(raw), transient=False) from error


#: What `to_json` repeats of the record.
_KEPT = ("response", "cost", "usage")
_any_decoder = msgspec.json.Decoder()
_task_decoder = msgspec.json.Decoder(Task)
_kept_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _read_plain_task(value: object) -> Task:
    """Convert the values of `Task.to_dict()` to a task, for pydantic, which expects ValueError for any others."""
    try:
        return Task.from_json(msgspec.json.encode(value))
    except (ProtocolError, TypeError, OverflowError) as error:
        raise ValueError(shorten(error)) from error


def _read_billing_object(value: object, number_key: str) -> dict[str, object] | None:
    """Return an object with values; a plain number becomes an object with one key."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {number_key: value}
    return value if isinstance(value, dict) and value else None


def _rebuild(error_type: type[AceTasksError], message: str, data: dict[str, object]) -> AceTasksError:
    """Rebuild an error from its message and attributes, for `copy` and `pickle`."""
    error = error_type.__new__(error_type, message)
    Exception.__init__(error, message)
    error.__dict__.update(data)
    return error


class AceTasksError(Exception):
    """Base class of all errors raised by acetasks.

    Its text can repeat text from a service, and is made safe to log and to print: on one line, with line ends, control
    characters and invisible formatting escaped. The attributes are as received.

    Attributes:
        transient: Whether the same request may succeed later.
        tasks: Snapshot of every task of the wait that this error ended, in the order given and including the tasks
            that had finished; empty if the error did not end a wait for several tasks.
    """

    transient: bool = False
    tasks: tuple[Task, ...] = ()

    def __init__(self, *args: object) -> None:
        super().__init__(*(escape_controls(arg)[:_MAX_TEXT] if isinstance(arg, str) else arg for arg in args))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), dict(self.__dict__))


class ProtocolError(AceTasksError):
    """Raised when a response or a stored record cannot be read as the service documents it.

    Attributes:
        excerpt: The first 256 characters of the content.
        transient: Whether a retry may help: false if the content is complete, or larger than the client reads.
    """

    def __init__(self, message: str, *, excerpt: str = "", transient: bool = True) -> None:
        self.excerpt = excerpt[:ECHO_LIMIT]
        self.transient = transient
        super().__init__(f"{message}: {self.excerpt!r}" if self.excerpt else message)


def build_decode_error(content: str, raw: bytes | msgspec.Raw, error: Exception) -> ProtocolError:
    """Build the error for JSON that msgspec cannot decode; `content` describes it, such as "a task record"."""
    message = f"{content} cannot be read ({shorten(error)})"
    return ProtocolError(message, excerpt=excerpt(raw), transient=may_be_truncated(raw, error))
