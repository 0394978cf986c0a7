"""What one provider is, as data: where it is asked, what its words mean and where its artifacts stand.

A `ProviderSpec` is a row of the table in `acetasks.providers.table`. Providers differ in facts, not in code: there is
no module per provider, and every field here is read by one function that serves all of them.
"""

from __future__ import annotations

import enum
import functools
import re

import msgspec

from acetasks.models import ArtifactKind

#: A provider's slug becomes part of a URL's path, so nothing else may stand in it.
SLUG = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")

#: The interval between looks that a provider gets if its row names none: a share of its typical duration, so that
#: the mean lateness is small against the work, within what the service's documents advise.
INTERVAL_SHARE = 1 / 30
INTERVAL_FLOOR = 2.0
INTERVAL_CEILING = 15.0

_DAY = 24.0


class Service(enum.StrEnum):
    """Who runs a provider: each service has its own base URL and token."""

    ACEDATA = "acedata"
    USEAPI = "useapi"

    #: That of an enum's member is a method in Python, which every request calls a dozen times.
    __hash__ = str.__hash__


class TasksCall(enum.StrEnum):
    """How a provider's tasks are asked for."""

    #: `POST {id, action: retrieve}` and `POST {ids, action: retrieve_batch}`.
    BATCH = "batch"
    #: `POST {id, action: retrieve}` only.
    SINGLE = "single"
    #: `POST {task_id}`, no action, one at a time.
    BARE = "bare"
    #: `GET ?jobid=`, one at a time.
    QUERY = "query"


class Word(enum.Enum):
    """What a state word means."""

    QUEUED = 1
    RUNNING = 2
    DONE = 3
    FAILED = 4


class ArtifactField(msgspec.Struct, frozen=True, dict=True):
    """Where a response names an artifact.

    Attributes:
        path: Keys from the response down, joined by dots; `*` stands for every entry of a list, or for the object
            itself where a provider sends one object in the list's place.
        kind: What sort of file it is.
        role: `main`, or what it is beside the main one.
        size: The prefix of the `..._width` and `..._height` keys beside it; None where it has none.
        cover_of: The path of an artifact that this one is the cover of, where that one is there too.
    """

    path: str
    kind: ArtifactKind
    role: str = "main"
    size: str | None = None
    cover_of: str = ""

    @functools.cached_property
    def side_keys(self) -> tuple[str, str] | None:
        """The keys of the width and the height; None where there are none."""
        if self.size is None:
            return None
        return (f"{self.size}_width", f"{self.size}_height") if self.size else ("width", "height")

    @functools.cached_property
    def is_base64(self) -> bool:
        """Whether the place has the file itself, as base64 text, and no URL."""
        return self.path.endswith("b64_json")


class ProviderSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One provider, as data.

    Attributes:
        slug: Its name, as it stands in paths.
        submit_paths: Where requests are submitted; the first is the default.
        artifacts: Where its responses name what it made.
        typical_duration: Seconds from submission to the finished task, as far as documented samples show.
        source: Where these facts are from.
        service: Whose base URL and token it takes.
        tasks_path: Where its tasks are asked for; empty means `/<slug>/tasks`.
        tasks_call: How they are asked for.
        id_field: The key of the id in requests; its plural, where there is one, is `ids_field`.
        ids_field: The key of the list of ids in a batch request.
        batch_limit: Ids that one batch request may carry, where fewer than the policy's are allowed.
        words: State words that mean something here and nowhere else.
        task_statuses: HTTP statuses of 400 and more whose body is the task's own record.
        failed_statuses: HTTP statuses of 400 and more that say that the task itself has failed.
        preview_hosts: Beginnings of host names whose URLs are previews of unfinished work.
        finished_path: Where the end of the work stands if not in `finished_at`, as in `ArtifactField.path`.
        utc_offset: Hours east of UTC that times without a zone are meant in.
        interval: Seconds between looks; None takes a share of `typical_duration`.
        min_interval: Seconds between looks at one task that the provider asks to keep.
        missing_grace: Seconds for which it may show no trace of a task that it has, where more than the policy's.
        accepts_async: Whether a submission may carry `async: true`.
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
    preview_hosts: tuple[str, ...] = ()
    finished_path: str = ""
    utc_offset: float = 0.0
    interval: float | None = None
    min_interval: float = 0.0
    missing_grace: float = 0.0
    accepts_async: bool = True

    def __post_init__(self) -> None:
        """Refuse a row that could not be asked.

        Raises:
            ValueError: A slug that cannot stand in a path, a path without a slash, a word in capitals, an offset that
                is none.
        """
        if not SLUG.fullmatch(self.slug):
            raise ValueError(f"a provider's slug is lower-case letters, digits and hyphens, not {self.slug!r}")
        for path in (*self.submit_paths, self.tasks_path or "/"):
            if not path.startswith("/"):
                raise ValueError(f"a path of provider {self.slug!r} must begin with '/', not be {path!r}")
        for word in self.words:
            if word != word.strip().lower():
                raise ValueError(f"a word of provider {self.slug!r} is written in lower case, not {word!r}")
        if not abs(self.utc_offset) < _DAY:
            raise ValueError(f"the offset of provider {self.slug!r} from UTC is in hours, not {self.utc_offset!r}")

    @property
    def path(self) -> str:
        """Where its tasks are asked for."""
        return self.tasks_path or f"/{self.slug}/tasks"

    @property
    def has_batch(self) -> bool:
        """Whether many ids can be asked in one request."""
        return self.tasks_call is TasksCall.BATCH

    def poll_interval(self, chosen: float | None) -> float:
        """Tell how long to wait between two looks at one task.

        Args:
            chosen: The policy's interval in seconds, or None for the provider's own.

        Returns:
            Seconds, never less than the provider's documented minimum.
        """
        own = self.interval or min(max(self.typical_duration * INTERVAL_SHARE, INTERVAL_FLOOR), INTERVAL_CEILING)
        return max(own if chosen is None else chosen, self.min_interval)

    def batch_size(self, chosen: int) -> int:
        """Tell how many ids to put into one request.

        Args:
            chosen: The policy's batch size.

        Returns:
            At least 1; 1 where there is no batch call.
        """
        if not self.has_batch:
            return 1
        return min(chosen, self.batch_limit or chosen)
