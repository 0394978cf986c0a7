"""Requests without I/O: what is sent for a task, and the answer that comes back as plain data.

A `Request` has everything but the base URL and the token, which only the session knows; so a request can be logged,
kept in an error or compared in a test. What an answer says is read in `acetasks.answers`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from acetasks.providers import (
    ProviderSpec,
    Service,
    TasksCall,
)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be sent.

    Attributes:
        provider: The provider's slug.
        service: Whose base URL and token it takes.
        method: The HTTP method.
        path: Below the base URL, beginning with a slash.
        query: Parameters of the URL.
        body: JSON, or empty.
        ids: The tasks it asks for; none for a submission.
        is_submission: Whether it is paid for, so that it must not be sent twice.
        is_blocking: Whether it is a submission that is answered with the result, not with an acknowledgement.
        task_statuses: HTTP statuses of 400 and more that speak of the task itself.
    """

    provider: str
    service: Service
    method: str
    path: str
    query: dict[str, str] = {}
    body: bytes = b""
    ids: tuple[str, ...] = ()
    is_submission: bool = False
    is_blocking: bool = False
    task_statuses: frozenset[int] = frozenset()


class Question(NamedTuple):
    """A look at some tasks, which can be made again as long as nothing is new of any of them.

    Attributes:
        request: What is sent.
        known: The record of each task as it was last read, None where it was not; nothing if none was.
        is_known: Whether there is one of each.
    """

    request: Request
    known: Sequence[bytes | None] = ()
    is_known: bool = False


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What came back.

    Attributes:
        status: The HTTP status.
        headers: To be asked for by lower-case name.
        body: The whole body.
    """

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


def build_look(spec: ProviderSpec, ids: Sequence[str]) -> Request:
    """Build the request for one look at one or many tasks.

    Args:
        spec: The provider's row.
        ids: At least one id, each once; only one where the provider has no batch call.

    Returns:
        The request: a single `retrieve` for one id, a `retrieve_batch` for more.
    """
    ids = tuple(ids)
    query: dict[str, str] = {}
    body: dict[str, object] = {}
    if spec.tasks_call is TasksCall.QUERY:
        query = {spec.id_field: ids[0]}
    elif len(ids) > 1:
        # The documents give `limit` a default of 12 for some providers and do not say whether it cuts `ids`.
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


def build_submission(spec: ProviderSpec, payload: Mapping[str, object], path: str | None = None) -> Request:
    """Build the request that submits a task.

    Args:
        spec: The provider's row.
        payload: The provider's own parameters. `async: true` is added unless it, or a `callback_url`, is there
            already or the provider takes none: without it the service answers only when the task is done.
        path: Where to post it, if not to the provider's first path.

    Returns:
        The request.

    Raises:
        ValueError: There is no path to post to, or it is none.
        TypeError: The payload is no mapping, or has values that JSON cannot say.
    """
    if not isinstance(payload, Mapping):
        raise TypeError(f"the payload of a submission is a mapping of parameters, not {type(payload).__name__}")
    path = path or next(iter(spec.submit_paths), None)
    if path is None:
        raise ValueError(f"provider {spec.slug!r} has no path to submit to in its row; pass path='/{spec.slug}/...'")
    if not path.startswith("/") or path.startswith("//"):
        raise ValueError(f"a path begins with one '/', below the base URL; {path!r} does not")
    body = dict(payload)
    if spec.accepts_async and "async" not in body and not body.get("callback_url"):
        body["async"] = True
    try:
        encoded = msgspec.json.encode(body)
        # msgspec writes "not a number" and infinity as null, which would be paid for.
        json.dumps(msgspec.to_builtins(body), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"the payload of a submission to {path} cannot be written as JSON: {error}") from error
    return Request(
        provider=spec.slug,
        service=spec.service,
        method="POST",
        path=path,
        body=encoded,
        is_submission=True,
        is_blocking=spec.accepts_async and not body.get("async") and not body.get("callback_url"),
    )
