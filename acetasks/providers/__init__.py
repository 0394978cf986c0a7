"""Provider specs, the normaliser that turns task records into `Task` objects, and the typed responses.

Use `register` to add a provider and `lookup` to see the spec of one.
"""

from acetasks.providers.fields import (
    find_error_object,
    is_missing,
    read_detail,
    read_error_code,
    read_error_message,
    read_text,
)
from acetasks.providers.heads import read_head
from acetasks.providers.normalize import normalize, read_record
from acetasks.providers.record import RecordStatus
from acetasks.providers.responses import (
    FluxImage,
    FluxResponse,
    LumaResponse,
    PixverseResponse,
    PixverseVideo,
    UseapiAttachment,
    UseapiPixverseJob,
    VeoResponse,
    VeoVideo,
)
from acetasks.providers.spec import ArtifactField, HistoryCall, ProviderSpec, Service, TasksCall, Word
from acetasks.providers.table import lookup, register, specs, suggest

__all__ = [
    "ArtifactField",
    "FluxImage",
    "FluxResponse",
    "HistoryCall",
    "LumaResponse",
    "PixverseResponse",
    "PixverseVideo",
    "ProviderSpec",
    "RecordStatus",
    "Service",
    "TasksCall",
    "UseapiAttachment",
    "UseapiPixverseJob",
    "VeoResponse",
    "VeoVideo",
    "Word",
    "find_error_object",
    "is_missing",
    "lookup",
    "normalize",
    "read_detail",
    "read_error_code",
    "read_error_message",
    "read_head",
    "read_record",
    "read_text",
    "register",
    "specs",
    "suggest",
]
