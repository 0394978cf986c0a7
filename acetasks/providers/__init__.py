"""Providers as data: the rows, the normaliser that reads their records, and the typed responses.

Users find `register` and `lookup` here, to add a provider of their own and to see what is known of one.
"""

from acetasks.providers.normalize import normalize, read_record
from acetasks.providers.reading import find_error_object, is_missing, read_error_code, read_error_message, read_text
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
from acetasks.providers.spec import ArtifactField, ProviderSpec, Service, TasksCall, Word
from acetasks.providers.table import lookup, register, specs, suggest
from acetasks.providers.view import Reading

__all__ = [
    "ArtifactField",
    "FluxImage",
    "FluxResponse",
    "LumaResponse",
    "PixverseResponse",
    "PixverseVideo",
    "ProviderSpec",
    "Reading",
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
    "read_error_code",
    "read_error_message",
    "read_record",
    "read_text",
    "register",
    "specs",
    "suggest",
]
