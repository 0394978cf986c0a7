"""Tasks calls as data, parsed from query strings and JSON bodies."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

from acetasks.providers.spec import ProviderSpec, TasksCall
from acetasks.testing.call_options import CallOptions, call_options
from acetasks.testing.responses import RequestRejectedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acetasks.testing.snapshot import Json


class Action(enum.StrEnum):
    """Kind of a request."""

    RETRIEVE = "retrieve"
    RETRIEVE_BATCH = "retrieve_batch"
    #: A batch call without ids: the user's latest tasks.
    HISTORY = "history"
    DELETE = "delete"
    SUBMIT = "submit"
    #: A request for a generated file.
    DOWNLOAD = "download"


#: Filters by a field of the record. The official web app sends them to every provider.
_FILTER_KEYS = ("application_id", "user_id", "type")
_HISTORY_KEYS = ("action", "limit", "offset", "created_at_min", "created_at_max", *_FILTER_KEYS)


class TasksQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One tasks call.

    Attributes:
        action: Any but `SUBMIT` and `DOWNLOAD`.
        ids: The requested ids in order, with duplicates; empty for a history.
        trace_ids: The requested trace ids in order.
        has_action: Whether the request named an action.
        limit: Maximum number of tasks; None means all requested ones, or the default of a history.
        offset: Number of tasks to skip.
        created_min: Earliest submission time, in seconds since the epoch.
        created_max: Latest submission time, in seconds since the epoch.
        fields: Required values of fields of the record.
    """

    action: Action
    ids: tuple[str, ...] = ()
    trace_ids: tuple[str, ...] = ()
    has_action: bool = True
    limit: int | None = None
    offset: int = 0
    created_min: float | None = None
    created_max: float | None = None
    fields: dict[str, str] = {}


def parse_query_string(spec: ProviderSpec, query: Mapping[str, str]) -> TasksQuery:
    """Return the tasks call of a GET request.

    Raises:
        RequestRejectedError: The id is missing.
    """
    task_id = query.get(spec.id_field)
    if not task_id:
        raise RequestRejectedError(400, "bad_request", f"Query param {spec.id_field} not provided")
    return TasksQuery(action=Action.RETRIEVE, ids=(task_id,))


def parse_body(spec: ProviderSpec, body: Json) -> TasksQuery:
    """Return the tasks call of a POST request.

    Raises:
        RequestRejectedError: The body is not a documented tasks call.
    """
    options, action = call_options(spec.slug), body.get("action")
    is_bare = spec.tasks_call is TasksCall.BARE
    if action == Action.RETRIEVE_BATCH and not is_bare:
        return _parse_batch(spec, options, body)
    if action == Action.DELETE and options.deletes:
        return TasksQuery(action=Action.DELETE, ids=(_parse_id(spec, options, body),))
    # Some providers need no action for a single id.
    if action == Action.RETRIEVE or (action is None and (is_bare or options.action_is_optional)):
        return _parse_single(spec, options, body)
    raise RequestRejectedError(400, "bad_request", "action is invalid.")


def _parse_single(spec: ProviderSpec, options: CallOptions, body: Json) -> TasksQuery:
    has_action = body.get("action") is not None
    # A trace takes precedence over an id (the official clients' description of openai's call).
    if options.by_trace and body.get("trace_id") is not None:
        trace_id = body["trace_id"]
        if not isinstance(trace_id, str) or not trace_id:
            raise RequestRejectedError(400, "bad_request", "trace_id must be a string")
        return TasksQuery(action=Action.RETRIEVE, trace_ids=(trace_id,), has_action=has_action)
    if options.lists_without_id and body.get(spec.id_field) is None:
        return _parse_history(spec, options, body)
    return TasksQuery(action=Action.RETRIEVE, ids=(_parse_id(spec, options, body),), has_action=has_action)


def _parse_id(spec: ProviderSpec, options: CallOptions, body: Json) -> str:
    keys = (spec.id_field, *options.other_id_keys)
    task_id = next((body[key] for key in keys if body.get(key) is not None), None)
    if not isinstance(task_id, str) or not task_id:
        names = f"{spec.id_field} or trace_id" if options.by_trace else spec.id_field
        raise RequestRejectedError(400, "bad_request", f"{names} is required to retrieve a task")
    return task_id


def _parse_batch(spec: ProviderSpec, options: CallOptions, body: Json) -> TasksQuery:
    ids = _parse_ids(body, spec.ids_field)
    trace_ids = _parse_ids(body, "trace_ids") if options.by_trace else None
    # Without ids, or for a provider that ignores them, the call lists the history.
    if (ids is None or not spec.has_batch) and trace_ids is None:
        return _parse_history(spec, options, body)
    return _build_list(Action.RETRIEVE_BATCH, body, ids=ids or (), trace_ids=trace_ids or ())


def _parse_history(spec: ProviderSpec, options: CallOptions, body: Json) -> TasksQuery:
    """Return a history.

    Raises:
        RequestRejectedError: The request has a key that the service does not document. If it ignored such a filter,
            the history would contain tasks that the caller did not ask for.
    """
    known = {*_HISTORY_KEYS, spec.ids_field} | ({"trace_ids"} if options.by_trace else set())
    for key, value in body.items():
        if key not in known and value is not None:
            raise RequestRejectedError(400, "bad_request", f"{key} is not documented for a history of {spec.slug}")
    return _build_list(Action.HISTORY, body)


def _build_list(
    action: Action, body: Json, *, ids: tuple[str, ...] = (), trace_ids: tuple[str, ...] = ()
) -> TasksQuery:
    return TasksQuery(
        action=action,
        ids=ids,
        trace_ids=trace_ids,
        limit=_parse_count(body, "limit"),
        offset=_parse_count(body, "offset") or 0,
        created_min=_parse_time(body, "created_at_min"),
        created_max=_parse_time(body, "created_at_max"),
        fields={key: _parse_text(body, key) for key in _FILTER_KEYS if body.get(key) is not None},
    )


def _parse_ids(body: Json, key: str) -> tuple[str, ...] | None:
    value = body.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RequestRejectedError(400, "bad_request", f"{key} must be a list of strings")
    return tuple(value)


def _parse_text(body: Json, key: str) -> str:
    value = body[key]
    if not isinstance(value, str):
        raise RequestRejectedError(400, "bad_request", f"{key} must be a string")
    return value


def _parse_count(body: Json, key: str) -> int | None:
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RequestRejectedError(400, "bad_request", f"{key} is invalid.")
    return value


def _parse_time(body: Json, key: str) -> float | None:
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestRejectedError(400, "bad_request", f"{key} is invalid.")
    return value
