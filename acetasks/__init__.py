"""Asyncio client that awaits generation tasks on Ace Data Cloud and useapi.net, thousands at once.

Example:
    Wait for one task, for ten minutes at most::

        async with acetasks.Client() as client:
            task = await client.wait("luma", task_id, timeout=600)

Times, timeouts and intervals are in seconds. A point in time is a reading of the event loop's clock, `loop.time()`
("loop time"), unless its description says "since the epoch".
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from acetasks import _ledger, providers
from acetasks._callbacks import Callbacks
from acetasks._ledger import AnnouncingStore, Doubt, Entry, EntryState, Ledger, MemoryStore, Reconciliation, Store
from acetasks._runs import RunResult
from acetasks._scheduling import Durations
from acetasks._version import __version__
from acetasks.client import Client
from acetasks.errors import (
    AceTasksError,
    APIError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    DownloadError,
    LedgerError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServiceError,
    SubmissionUncertainError,
    TaskFailedError,
    TaskNotFoundError,
    TaskTimeoutError,
    TransportError,
    UnknownProviderError,
)
from acetasks.events import (
    BatchesIgnored,
    CallbacksMissing,
    CallbacksRestored,
    DownloadProgress,
    Event,
    LoggingObserver,
    Observer,
    OutageBegan,
    OutageEnded,
    RateCut,
    RateRestored,
    RequestAnswered,
    RequestFailed,
    RequestSent,
    SubmissionUncertain,
    TaskChanged,
    TaskSettled,
    TaskSubmitted,
)
from acetasks.handles import TaskHandle
from acetasks.models import Artifact, ArtifactKind, Task, TaskError, TaskState
from acetasks.policies import DownloadPolicy, PollPolicy, RetryPolicy
from acetasks.providers import (
    FluxResponse,
    LumaResponse,
    PixverseResponse,
    UseapiPixverseJob,
    VeoResponse,
    normalize,
)
from acetasks.stats import (
    ClientStats,
    Explanation,
    ProviderStats,
    RateStats,
    RequestStats,
    SubmissionStats,
    WaitReason,
)

if _TYPE_CHECKING:
    from acetasks._ledger import PostgresStore, SQLiteStore
else:

    def __getattr__(name: str) -> object:
        """Import a store of a database on demand, because it loads its driver."""
        if name not in {"PostgresStore", "SQLiteStore"}:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(_ledger, name)


__all__ = [
    "APIError",
    "AceTasksError",
    "AnnouncingStore",
    "Artifact",
    "ArtifactKind",
    "AuthenticationError",
    "BadRequestError",
    "BatchesIgnored",
    "Callbacks",
    "CallbacksMissing",
    "CallbacksRestored",
    "Client",
    "ClientClosedError",
    "ClientStats",
    "Doubt",
    "DownloadError",
    "DownloadPolicy",
    "DownloadProgress",
    "Durations",
    "Entry",
    "EntryState",
    "Event",
    "Explanation",
    "FluxResponse",
    "Ledger",
    "LedgerError",
    "LoggingObserver",
    "LumaResponse",
    "MemoryStore",
    "Observer",
    "OutageBegan",
    "OutageEnded",
    "PermissionDeniedError",
    "PixverseResponse",
    "PollPolicy",
    "PostgresStore",
    "ProtocolError",
    "ProviderStats",
    "RateCut",
    "RateLimitError",
    "RateRestored",
    "RateStats",
    "Reconciliation",
    "RequestAnswered",
    "RequestFailed",
    "RequestSent",
    "RequestStats",
    "RetryPolicy",
    "RunResult",
    "SQLiteStore",
    "ServiceError",
    "Store",
    "SubmissionStats",
    "SubmissionUncertain",
    "SubmissionUncertainError",
    "Task",
    "TaskChanged",
    "TaskError",
    "TaskFailedError",
    "TaskHandle",
    "TaskNotFoundError",
    "TaskSettled",
    "TaskState",
    "TaskSubmitted",
    "TaskTimeoutError",
    "TransportError",
    "UnknownProviderError",
    "UseapiPixverseJob",
    "VeoResponse",
    "WaitReason",
    "__version__",
    "normalize",
    "providers",
]
