"""Provider specs: the paths, state words and artifact fields of one provider, as data.

`acetasks.providers.table` contains one `ProviderSpec` per provider. Providers differ in data, not in code: there is no
module per provider, and each field is read by one function for all of them.
"""

from __future__ import annotations

import enum
import functools
import re

import msgspec

from acetasks.models import ArtifactKind

#: The form of a slug, which becomes part of a URL path.
SLUG = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")

#: The poll interval of a spec without one, as a fraction of the typical duration: the mean lateness is then small
#: relative to the work. The limits, in seconds, follow the service's documents.
_INTERVAL_FRACTION = 1 / 30
_MIN_INTERVAL = 2.0
_MAX_INTERVAL = 15.0

_HOURS_PER_DAY = 24.0


class Service(enum.StrEnum):
    """A service that runs providers, with its own base URL and token."""

    ACEDATA = "acedata"
    USEAPI = "useapi"

    #: `Enum.__hash__` is a Python function; each request hashes a service a dozen times.
    __hash__ = str.__hash__


class TasksCall(enum.StrEnum):
    """The form of the requests that read a provider's tasks."""

    #: `POST {id, action: retrieve}` and `POST {ids, action: retrieve_batch}`.
    BATCH = "batch"
    #: Only `POST {id, action: retrieve}`.
    SINGLE = "single"
    #: `POST {task_id}` without an action, one task per request.
    BARE = "bare"
    #: `GET ?jobid=`, one task per request.
    QUERY = "query"


class HistoryCall(enum.StrEnum):
    """The form of the requests that list a provider's latest tasks."""

    #: `POST {action: retrieve_batch, limit, offset}` without ids.
    BATCH = "batch"
    #: `POST {action: retrieve, limit, offset}` without an id.
    SINGLE = "single"
    #: There is none.
    NONE = "none"


class Word(enum.Enum):
    """The meaning of a state word."""

    QUEUED = 1
    RUNNING = 2
    DONE = 3
    FAILED = 4


class ArtifactField(msgspec.Struct, frozen=True, dict=True):
    """A place in responses that contains an artifact.

    Attributes:
        path: Keys from the response down, joined by dots; `*` matches each entry of a list, or the object itself if a
            provider sends one object instead of a list.
        kind: The type of the file.
        role: `main` for a requested file, otherwise what the file is in relation to it, such as `cover`.
        size: The prefix of the `..._width` and `..._height` keys beside it, or None if there are none.
        cover_of: The path of another artifact; if that one exists, the role of this one is `cover`.
        placeholder_host: The host of URLs that do not count beside another file of the same item, because the service
            sends them whether or not the file was made.
    """

    path: str
    kind: ArtifactKind
    role: str = "main"
    size: str | None = None
    cover_of: str = ""
    placeholder_host: str = ""

    @functools.cached_property
    def size_keys(self) -> tuple[str, str] | None:
        """The keys of the width and the height, or None if there are none."""
        if self.size is None:
            return None
        return (f"{self.size}_width", f"{self.size}_height") if self.size else ("width", "height")

    @functools.cached_property
    def is_base64(self) -> bool:
        """Whether the value is the file itself as base64 text, not a URL."""
        return self.path.endswith("b64_json")


class ProviderSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is specific to one provider.

    Attributes:
        slug: The provider's name, as used in paths.
        submit_paths: Paths that accept submissions; the first is the default.
        artifacts: The artifact fields of its responses.
        typical_duration: Seconds from submission to the finished task in documented samples.
        source: The document that these facts are from.
        service: The service that runs it.
        tasks_path: The path that its tasks are polled at; empty for `/<slug>/tasks`.
        tasks_call: The form of the requests that read its tasks.
        id_field: The key of the id in requests.
        ids_field: The key of the list of ids in batch requests.
        batch_limit: Maximum number of ids in one batch request, or None if only the policy's limit applies.
        words: State words with a meaning specific to this provider.
        task_statuses: HTTP statuses of 400 and above whose body is the task's own record.
        failed_statuses: HTTP statuses of 400 and above that mean that the task itself has failed.
        input_paths: Paths in its responses that repeat the request's files, in the form of `ArtifactField.path`.
        preview_hosts: Host name prefixes of URLs that are previews of unfinished work.
        finished_path: The path of the finish time if it is not in `finished_at`, in the form of `ArtifactField.path`.
        utc_offset: Hours east of UTC, for times without a time zone.
        interval: Seconds between polls, or None for a fraction of `typical_duration`.
        min_interval: Minimum seconds between two polls of one task, if the provider requires it.
        missing_grace: Seconds for which the provider may not report an existing task; the policy's value is a minimum.
            With any, a single poll (`Client.retrieve`) that finds no task reports it as pending.
        accepts_async: Whether a submission may contain `async: true`.
        callback_field: Field of a submission with the URL that is called when the task ends, or None if there is none.
        history_call: The form of the requests that list its latest tasks.
        history_reach: Seconds for which the history has a task, or None if no limit is known.
        finds_traces: Whether a task can be retrieved by its trace id.
    """

    slug: str
    submit_paths: tuple[str, ...] = ()
    artifacts: tuple[ArtifactField, ...] = ()
    typical_duration: float = 60.0
    source: str = ""
    service: Service = Service.ACEDATA
    tasks_path: str = ""
    tasks_call: TasksCall = TasksCall.BATCH
    id_field: str = "id"
    ids_field: str = "ids"
    batch_limit: int | None = None
    words: dict[str, Word] = {}
    task_statuses: frozenset[int] = frozenset()
    failed_statuses: frozenset[int] = frozenset()
    input_paths: tuple[str, ...] = ()
    preview_hosts: tuple[str, ...] = ()
    finished_path: str = ""
    utc_offset: float = 0.0
    interval: float | None = None
    min_interval: float = 0.0
    missing_grace: float = 0.0
    accepts_async: bool = True
    callback_field: str | None = "callback_url"
    history_call: HistoryCall = HistoryCall.BATCH
    history_reach: float | None = None
    finds_traces: bool = False

    def __post_init__(self) -> None:
        """Validate the spec.

        Raises:
            ValueError: A slug that is not valid in a path, a path without a leading slash, a state word that is not in
                lower case, or an offset of a day or more.
        """
        if not SLUG.fullmatch(self.slug):
            raise ValueError(
                "provider slug must be lower-case letters and digits, separated by single hyphens, dots or"
                f" underscores, got {self.slug!r}"
            )
        for path in (*self.submit_paths, self.tasks_path or "/"):
            if not path.startswith("/"):
                raise ValueError(f"path of provider {self.slug!r} must start with '/', got {path!r}")
        for word in self.words:
            if word != word.strip().lower():
                raise ValueError(
                    f"state word of provider {self.slug!r} must be in lower case without surrounding whitespace,"
                    f" got {word!r}"
                )
        if not abs(self.utc_offset) < _HOURS_PER_DAY:
            raise ValueError(
                f"utc_offset of provider {self.slug!r} must be between -24 and 24 hours, got {self.utc_offset!r}"
            )

    @property
    def path(self) -> str:
        """The path that its tasks are polled at."""
        return self.tasks_path or f"/{self.slug}/tasks"

    @property
    def has_batch(self) -> bool:
        """Whether one request can poll several tasks."""
        return self.tasks_call is TasksCall.BATCH

    def poll_interval(self, policy_interval: float | None) -> float:
        """Return the seconds between two polls of one task.

        Args:
            policy_interval: The policy's interval in seconds, or None for the provider's own.

        Returns:
            Seconds, never less than the provider's documented minimum.
        """
        default = min(max(self.typical_duration * _INTERVAL_FRACTION, _MIN_INTERVAL), _MAX_INTERVAL)
        own = self.interval or default
        return max(own if policy_interval is None else policy_interval, self.min_interval)

    def batch_size(self, policy_size: int) -> int:
        """Return the maximum number of ids in one request.

        Args:
            policy_size: The policy's batch size.

        Returns:
            At least 1; always 1 without a batch call.
        """
        if not self.has_batch:
            return 1
        return min(policy_size, self.batch_limit or policy_size)
