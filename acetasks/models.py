"""What users hold: tasks, their states and artifacts, and the policies that steer a client.

All of it is frozen, and nothing of it can be part of a cycle, so that tens of thousands of tasks are nothing for the
garbage collector to go through. A `Task` is one look at one remote task; it keeps the record it was read from, copied
out of the answer it came in, and decodes the long parts only when asked. This room knows nothing of providers: what a
record means is decided in `acetasks.providers`.
"""

from __future__ import annotations

import enum
from typing import TypeVar

import msgspec

from acetasks._records import DECODE_ERRORS, ECHO_LIMIT, excerpt, read_sections, shorten

T = TypeVar("T")


class TaskState(enum.StrEnum):
    """Where a remote task stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    #: Part of what was asked for was made, and is paid for; the rest failed.
    PARTIAL = "partial"
    FAILED = "failed"
    #: The service knows no task of this id.
    NOT_FOUND = "not_found"

    @property
    def is_terminal(self) -> bool:
        """Whether the state is the last one, so that asking again tells nothing new."""
        return self is not _PENDING and self is not _RUNNING


#: Looking a member up in its class takes longer than all else in a question that is asked at every look.
_PENDING, _RUNNING = TaskState.PENDING, TaskState.RUNNING


class ArtifactKind(enum.StrEnum):
    """What sort of file an artifact is."""

    VIDEO = "video"
    IMAGE = "image"
    AUDIO = "audio"
    FILE = "file"


class Artifact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A file that a task has made.

    Attributes:
        url: Where to download it, for a limited time (24 hours to 90 days, by provider). A `data:` URL where the
            service sent the bytes themselves.
        kind: What sort of file it is.
        role: `main` for what was asked for; `thumbnail`, `frame`, `cover`, `raw` and the like for what came with it.
        width: In pixels, where the service says so.
        height: In pixels, where the service says so.
    """

    url: str
    kind: ArtifactKind = ArtifactKind.FILE
    role: str = "main"
    width: int | None = None
    height: int | None = None


class TaskError(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why a task failed, in the service's own words.

    Attributes:
        message: The service's message, or a sentence that says that it gave none.
        code: The service's error code, or None where it gave none.
    """

    message: str
    code: str | None = None


class Task(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One look at one remote task.

    Attributes:
        provider: The provider's slug, such as `luma`.
        id: The task's id; empty where a payload without one was normalised.
        state: Where the task stands.
        artifacts: What it made; empty until the task is terminal, because services hand out preview URLs before.
        error: Why it failed, on a failed or partial task; else None.
        progress: In percent from 0 to 100, where the service says so.
        created_at: When it was submitted, in seconds since the epoch, where the service says so.
        started_at: When work on it began, likewise.
        finished_at: When it ended, likewise.
        duration: Seconds of work, once it has ended and where the service says so. Not the length of the media.
        trace_id: The service's id to quote to its support, or None.
        raw: The record as the service sent it, as JSON.
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
        """What was submitted, decoded at each call; None where the record does not repeat it.

        Raises:
            ProtocolError: It is malformed.
        """
        return self._decode_section(self._sections()[0])

    @property
    def response(self) -> dict[str, object] | None:
        """The service's response object, decoded at each call; None while there is none.

        Raises:
            ProtocolError: It is malformed.
        """
        return self._decode_section(self._sections()[1])

    def decode(self, response_type: type[T]) -> T:
        """Decode the response into a type, such as `acetasks.LumaResponse` or a msgspec Struct of your own.

        Args:
            response_type: Any type that msgspec can decode.

        Returns:
            The response, typed.

        Raises:
            ProtocolError: The task has no response yet, or it does not fit the type.
        """
        response = self._sections()[1]
        if response is None:
            raise ProtocolError(f"{self._name} has no response yet: it is {self.state.value}")
        return self._decode(response, response_type)

    @property
    def _name(self) -> str:
        """Name the task in an error, in which the id that a service sent may not fill pages."""
        return f"{self.provider} task {self.id[:ECHO_LIMIT]}"

    def _sections(self) -> tuple[bytes | None, bytes | None]:
        try:
            return read_sections(self.raw)
        except DECODE_ERRORS as error:
            raise build_decode_error(f"the record of {self._name}", self.raw, error) from error

    def _decode_section(self, raw: bytes | None) -> dict[str, object] | None:
        return None if raw is None else self._decode(raw, dict[str, object])

    def _decode(self, raw: bytes, target: type[T]) -> T:
        decoder = msgspec.json.Decoder(target)  # out here, a TypeError is about the type, which is the caller's
        try:
            return decoder.decode(raw)
        except (*DECODE_ERRORS, TypeError) as error:  # in here, about the response: no list goes into a set
            message = f"a part of {self._name} does not fit {getattr(target, '__name__', target)}"
            raise ProtocolError(f"{message} ({shorten(error)})", excerpt=excerpt(raw), transient=False) from error


def _rebuild(kind: type[AceTasksError], message: str, data: dict[str, object]) -> AceTasksError:
    """Make an error again from its message and attributes, as `copy` and `pickle` ask for it."""
    error = kind.__new__(kind, message)
    Exception.__init__(error, message)
    error.__dict__.update(data)
    return error


class AceTasksError(Exception):
    """The base of every error that acetasks raises on purpose.

    Attributes:
        transient: Whether the same request may succeed when it is sent again later.
        tasks: Where the error ended a wait for several tasks: each of them as it was last seen, those that had ended
            before included, in the order given. Else empty.
    """

    transient: bool = False
    tasks: tuple[Task, ...] = ()

    def __reduce__(self) -> tuple[object, ...]:
        """Carry the message and the attributes through `copy.copy` and `pickle`."""
        return _rebuild, (type(self), str(self), dict(self.__dict__))


class ProtocolError(AceTasksError):
    """Raised when an answer came but cannot be read as what the service documents.

    Attributes:
        excerpt: At most 256 characters of what came.
        transient: Whether asking again may help: false where the answer is whole and well-formed, only not readable.
    """

    def __init__(self, message: str, *, excerpt: str = "", transient: bool = True) -> None:
        self.excerpt = excerpt[:ECHO_LIMIT]
        self.transient = transient
        super().__init__(f"{message}: {self.excerpt!r}" if self.excerpt else message)


def build_decode_error(what: str, raw: bytes | msgspec.Raw, error: Exception) -> ProtocolError:
    """Make the error for JSON that cannot be decoded.

    What is whole but unreadable (a number out of range, nesting without end) stays so; anything else may have been cut
    short, and asking again may help.
    """
    is_whole = isinstance(error, msgspec.ValidationError | RecursionError)
    return ProtocolError(f"{what} cannot be read ({shorten(error)})", excerpt=excerpt(raw), transient=not is_whole)
