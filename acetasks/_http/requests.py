"""Requests and responses as plain data, and the builders of requests.

A `Request` has no base URL and no token: the transport adds both. So it can be logged, kept in an error or compared in
a test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from acetasks.providers import ProviderSpec, Service, TasksCall

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A path of the characters that a URL has as they are (RFC 3986, 3.3), without the percent sign: an encoded dot or
#: slash could lead elsewhere.
_PATH = re.compile(r"(/[\w.~!$&'()*+,;=:@-]+)+/?", re.ASCII)
#: The name of a header (RFC 9110, 5.1).
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Headers that the client or HTTP itself sets, by lower-case name.
_OWN_HEADERS = frozenset(
    {
        *("accept", "accept-encoding", "authorization", "connection", "content-encoding", "content-length"),
        *("content-type", "cookie", "expect", "host", "keep-alive", "proxy-authorization", "proxy-connection", "te"),
        *("trailer", "transfer-encoding", "upgrade", "user-agent"),
    }
)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request, independent of base URL and token.

    Attributes:
        provider: The provider's slug.
        service: Selects the base URL and the token.
        path: Relative to the base URL, with a leading slash.
        body: JSON, or empty.
        headers: Headers besides those of every request.
        ids: The polled task ids; empty for a submission.
        payload: What the caller submits, as JSON, if the body has a callback URL besides; else empty.
        callback_url: That URL, whose token no error repeats; else empty.
        is_submission: Whether the request is billed, so that it must not be sent twice.
        is_blocking: Whether the response to the submission is the result, not an acknowledgement.
        task_statuses: HTTP statuses of 400 and above that describe the task, not the request.
    """

    provider: str
    service: Service
    method: str
    path: str
    query: dict[str, str] = {}
    body: bytes = b""
    headers: dict[str, str] = {}
    ids: tuple[str, ...] = ()
    payload: bytes = b""
    callback_url: str = ""
    is_submission: bool = False
    is_blocking: bool = False
    task_statuses: frozenset[int] = frozenset()


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A complete response; its headers are looked up by lower-case name, its body is decompressed."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


def build_poll(spec: ProviderSpec, ids: Sequence[str]) -> Request:
    """Build the request that polls distinct ids: one, or several if the provider has a batch call."""
    ids = tuple(ids)
    query: dict[str, str] = {}
    body: dict[str, object] = {}
    if spec.tasks_call is TasksCall.QUERY:
        query = {spec.id_field: ids[0]}
    elif len(ids) > 1:
        # The API documents give `limit` a default of 12 for some providers, without saying whether it truncates `ids`.
        body = {spec.ids_field: ids, "action": "retrieve_batch", "limit": len(ids), "offset": 0}
    elif spec.tasks_call is TasksCall.BARE:
        body = {spec.id_field: ids[0]}
    else:
        body = {spec.id_field: ids[0], "action": "retrieve"}
    return Request(
        provider=spec.slug,
        service=spec.service,
        method="GET" if query else "POST",
        path=spec.path,
        query=query,
        body=msgspec.json.encode(body) if body else b"",
        ids=ids,
        task_statuses=spec.task_statuses | spec.failed_statuses,
    )


def build_trace_lookup(spec: ProviderSpec, trace_id: str) -> Request:
    """Build the request that retrieves a task by its trace id, which stands for the task's own."""
    body = {"action": "retrieve", "trace_id": trace_id}
    return Request(
        provider=spec.slug,
        service=spec.service,
        method="POST",
        path=spec.path,
        body=msgspec.json.encode(body),
        ids=(trace_id,),
        task_statuses=spec.task_statuses | spec.failed_statuses,
    )


def build_submission(
    spec: ProviderSpec,
    payload: Mapping[str, object],
    path: str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    callback_url: str | None = None,
) -> Request:
    """Build the request that submits a task, to the provider's first path by default.

    `async: true` is added to the payload, unless it has `async` or a `callback_url` or the provider does not accept
    it: without it the service responds only when the task is done.

    The callback URL is added, unless the payload has one, or the service responds when the task is done, or the
    provider has no callbacks.

    Raises:
        ValueError: There is no path, or it is malformed, or a header is malformed or the client's own.
        TypeError: The payload is not a mapping, or has values without a JSON equivalent, or a header is no string.
    """
    if not isinstance(payload, Mapping):
        raise TypeError(f"payload must be a mapping of parameters, got {type(payload).__name__}")
    if path is None:
        path = next(iter(spec.submit_paths), None)
    if path is None:
        raise ValueError(f"provider {spec.slug!r} has no known submit path; pass path='/{spec.slug}/...'")
    _check_path(path)
    body = dict(payload)
    has_callback = bool(body.get(spec.callback_field or "callback_url"))
    if spec.accepts_async and "async" not in body and not has_callback:
        body["async"] = True
    is_blocking = spec.accepts_async and not body.get("async") and not has_callback
    encoded = submitted = _encode_payload(path, body)
    if spec.callback_field is None or has_callback or is_blocking:
        callback_url = None
    elif callback_url is not None:
        submitted = _encode_payload(path, body | {spec.callback_field: callback_url})
    return Request(
        provider=spec.slug,
        service=spec.service,
        method="POST",
        path=path,
        body=submitted,
        headers=_check_headers(headers or {}),
        payload=b"" if callback_url is None else encoded,
        callback_url=callback_url or "",
        is_submission=True,
        is_blocking=is_blocking,
    )


def _check_path(path: str) -> None:
    """Raise `ValueError` for a path that could lead out of the base URL, or is changed on the way to the service."""
    if not path.startswith("/") or path.startswith("//"):
        raise ValueError(f"path must begin with exactly one '/' (it is relative to the base URL), got {path!r}")
    if not _PATH.fullmatch(path) or not {".", ".."}.isdisjoint(path.split("/")):
        raise ValueError(
            "path must have names between single slashes, without '.' and '..', and no characters that a URL gives a"
            f" meaning ('%', '?', '#') or that it cannot have, got {path!r}"
        )


def _check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's headers, or raise for one that is malformed or set by the client."""
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping of names to values, got {type(headers).__name__}")
    seen: set[str] = set()
    given: Mapping[object, object] = dict[object, object](headers.items())
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"headers must be strings, got {name!r}: {type(value).__name__}")
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"headers must have names of letters, digits and hyphens, got {name!r}")
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"header {name!r} is set by the client, and cannot be set for a submission")
        if name.lower() in seen:
            raise ValueError(f"header {name!r} is given twice, in upper and lower case")
        # The value may be a secret, so it is not repeated.
        if not value.isascii() or not value.isprintable() or value != value.strip():
            raise ValueError(f"header {name!r} must have a value of printable ASCII without surrounding spaces")
        seen.add(name.lower())
    return dict(headers)


def _encode_payload(path: str, payload: dict[str, object]) -> bytes:
    """Encode a payload; refuse values that JSON would turn into others, which would be billed."""
    try:
        encoded = msgspec.json.encode(payload)
        # msgspec writes NaN and infinity as null.
        json.dumps(msgspec.to_builtins(payload), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"the payload for {path} cannot be encoded as JSON: {error}") from error
    return encoded
