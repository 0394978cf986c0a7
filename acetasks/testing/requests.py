"""Tasks calls as data, parsed from query strings and JSON bodies."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

from acetasks.providers.spec import ProviderSpec, TasksCall
from acetasks.testing.responses import RequestRejectedError
from acetasks.testing.samples import template_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acetasks.testing.snapshot import Json


class Action(enum.StrEnum):
    """Kind of a request."""

    RETRIEVE = "retrieve"
    RETRIEVE_BATCH = "retrieve_batch"
    #: A batch call without ids: the user's latest tasks.
    HISTORY = "history"
    SUBMIT = "submit"


class TasksQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One tasks call.

    Attributes:
        action: `RETRIEVE`, `RETRIEVE_BATCH` or `HISTORY`.
        ids: The requested ids in order, with duplicates; empty for a history.
        has_action: Whether the request named an action.
        limit: Maximum number of tasks; None means all requested ones, or the default of a history.
        offset: Number of tasks to skip.
        created_min: Earliest submission time, in seconds since the epoch.
        created_max: Latest submission time, in seconds since the epoch.
    """

    action: Action
    ids: tuple[str, ...] = ()
    has_action: bool = True
    limit: int | None = None
    offset: int = 0
    created_min: float | None = None
    created_max: float | None = None


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
    action = body.get("action")
    is_bare = spec.tasks_call is TasksCall.BARE
    if action == Action.RETRIEVE_BATCH and not is_bare:
        return _parse_batch(spec, body)
    # Some providers need no action for a single id.
    if action == Action.RETRIEVE or (action is None and (is_bare or template_for(spec.slug).bare_without_action)):
        task_id = body.get(spec.id_field)
        if not isinstance(task_id, str) or not task_id:
            message = f"{spec.id_field} or trace_id is required to retrieve a task"
            raise RequestRejectedError(400, "bad_request", message)
        return TasksQuery(action=Action.RETRIEVE, ids=(task_id,), has_action=action is not None)
    raise RequestRejectedError(400, "bad_request", "action is invalid.")


def _parse_batch(spec: ProviderSpec, body: Json) -> TasksQuery:
    ids = body.get(spec.ids_field)
    if ids is not None and not (isinstance(ids, list) and all(isinstance(task_id, str) for task_id in ids)):
        raise RequestRejectedError(400, "bad_request", f"{spec.ids_field} must be a list of strings")
    # Without ids, or for a provider that ignores them, the call lists the history.
    has_ids = isinstance(ids, list) and spec.has_batch
    return TasksQuery(
        action=Action.RETRIEVE_BATCH if has_ids else Action.HISTORY,
        ids=tuple(ids) if isinstance(ids, list) and has_ids else (),
        limit=_parse_count(body, "limit"),
        offset=_parse_count(body, "offset") or 0,
        created_min=_parse_time(body, "created_at_min"),
        created_max=_parse_time(body, "created_at_max"),
    )


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
