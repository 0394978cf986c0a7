"""Await generation tasks on Ace Data Cloud and useapi.net: thousands at once, none of them lost.

async with acetasks.Client() as client:
task = await client.wait("luma", task_id, timeout=600)
"""

from acetasks import providers
from acetasks._version import __version__
from acetasks.client import Client
from acetasks.durations import Durations
from acetasks.errors import (
    AceTasksError,
    APIError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
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
    TaskChanged,
    TaskSettled,
)
from acetasks.models import Artifact, ArtifactKind, Task, TaskError, TaskState
from acetasks.policies import PollPolicy, RetryPolicy
from acetasks.providers import (
    FluxResponse,
    LumaResponse,
    PixverseResponse,
    UseapiPixverseJob,
    VeoResponse,
    normalize,
)
from acetasks.targets import TaskHandle

__all__ = [
    "APIError",
    "AceTasksError",
    "Artifact",
    "ArtifactKind",
    "AuthenticationError",
    "BadRequestError",
    "Client",
    "ClientClosedError",
    "Durations",
    "Event",
    "FluxResponse",
    "LoggingObserver",
    "LumaResponse",
    "Observer",
    "OutageBegan",
    "OutageEnded",
    "PermissionDeniedError",
    "PixverseResponse",
    "PollPolicy",
    "ProtocolError",
    "RateCut",
    "RateLimitError",
    "RateRestored",
    "RequestAnswered",
    "RequestFailed",
    "RequestSent",
    "RetryPolicy",
    "ServiceError",
    "SubmissionUncertainError",
    "Task",
    "TaskChanged",
    "TaskError",
    "TaskFailedError",
    "TaskHandle",
    "TaskNotFoundError",
    "TaskSettled",
    "TaskState",
    "TaskTimeoutError",
    "TransportError",
    "UnknownProviderError",
    "UseapiPixverseJob",
    "VeoResponse",
    "__version__",
    "normalize",
    "providers",
]
