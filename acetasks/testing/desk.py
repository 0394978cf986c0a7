"""The desk: what the simulated service answers to a tasks call, without HTTP.

It reads what a body asks for, finds the tasks that are visible at that moment, and has the provider's shape write
them down. How providers differ is data: their rows in `acetasks.providers.table` and their shapes.
"""

from __future__ import annotations

import enum
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from acetasks.providers.spec import ProviderSpec, TasksCall
from acetasks.testing.answers import Answer, RefusalError
from acetasks.testing.gallery import shape_of
from acetasks.testing.looks import Json, fake_uuid
from acetasks.testing.script import Phase, Script, ScriptedTask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: How many tasks a history lists unless asked for more (openai, webextrator, midjourney and veo document 12).
HISTORY_LIMIT = 12


class Action(enum.StrEnum):
    """What a request is for."""

    RETRIEVE = "retrieve"
    RETRIEVE_BATCH = "retrieve_batch"
    #: A batch call without ids: the user's latest tasks.
    HISTORY = "history"
    SUBMIT = "submit"


class Inquiry(msgspec.Struct, frozen=True, kw_only=True):
    """What a tasks call asks for.

    Attributes:
        action: A retrieve, a batch or a history.
        ids: The ids asked, in that order, repeated ones included; none for a history.
        has_action: Whether the request named an action.
        limit: How many tasks to answer at most; None means all that were asked, or the usual of a history.
        offset: How many to pass over.
        created_min: The earliest submission to list, in seconds since the epoch.
        created_max: The latest.
    """

    action: Action
    ids: tuple[str, ...] = ()
    has_action: bool = True
    limit: int | None = None
    offset: int = 0
    created_min: float | None = None
    created_max: float | None = None


def read_query(spec: ProviderSpec, query: Mapping[str, str]) -> Inquiry:
    """Read a tasks call that is a GET.

    Raises:
        RefusalError: The id is missing.
    """
    task_id = query.get(spec.id_field)
    if not task_id:
        raise RefusalError(400, "bad_request", f"Query param {spec.id_field} not provided")
    return Inquiry(action=Action.RETRIEVE, ids=(task_id,))


def read_inquiry(spec: ProviderSpec, body: Json) -> Inquiry:
    """Read a tasks call that is a POST.

    Args:
        spec: The provider's row.
        body: The request's body.

    Returns:
        What it asks for.

    Raises:
        RefusalError: It cannot be understood.
    """
    action = body.get("action")
    is_bare = spec.tasks_call is TasksCall.BARE
    # 1. A batch by ids.   2. A history: a batch without ids, or a provider that ignores them.
    if action == Action.RETRIEVE_BATCH and not is_bare:
        ids = body.get(spec.ids_field)
        if ids is not None and not (isinstance(ids, list) and all(isinstance(task_id, str) for task_id in ids)):
            raise RefusalError(400, "bad_request", f"{spec.ids_field} must be a list of strings")
        by_ids = isinstance(ids, list) and spec.has_batch
        return Inquiry(
            action=Action.RETRIEVE_BATCH if by_ids else Action.HISTORY,
            ids=tuple(ids) if isinstance(ids, list) and by_ids else (),
            limit=_read_count(body, "limit"),
            offset=_read_count(body, "offset") or 0,
            created_min=_read_time(body, "created_at_min"),
            created_max=_read_time(body, "created_at_max"),
        )
    # 3. One id; some providers take it without an action.   4. Nothing that is documented.
    if action == Action.RETRIEVE or (action is None and (is_bare or shape_of(spec.slug).flattens)):
        task_id = body.get(spec.id_field)
        if not isinstance(task_id, str) or not task_id:
            raise RefusalError(400, "bad_request", f"{spec.id_field} or trace_id is required to retrieve a task")
        return Inquiry(action=Action.RETRIEVE, ids=(task_id,), has_action=action is not None)
    raise RefusalError(400, "bad_request", "action is invalid.")


class Desk:
    """Answers tasks calls from a script."""

    def __init__(self, script: Script, *, epoch: float) -> None:
        """Open the desk.

        Args:
            script: The tasks.
            epoch: What the clock's zero is, in seconds since the epoch.
        """
        self._script = script
        self._epoch = epoch

    def __repr__(self) -> str:
        return f"<Desk of {self._script!r}>"

    def answer(self, spec: ProviderSpec, inquiry: Inquiry, *, now: float, ceiling: int | None = None) -> Answer:
        """Answer a tasks call.

        Args:
            spec: The provider's row.
            inquiry: What is asked.
            now: When it is asked, on the server's clock.
            ceiling: How many tasks to answer at most, whatever is asked; None means no such bound.

        Returns:
            The answer as the provider would send it.
        """
        if inquiry.action is Action.RETRIEVE:
            return self._answer_one(spec, inquiry, now)
        shape = shape_of(spec.slug)
        if inquiry.action is Action.RETRIEVE_BATCH:
            found, limit = self._find_asked(spec, inquiry.ids, now), inquiry.limit
        else:
            found, limit = self._find_past(spec, inquiry, now), _default(inquiry.limit, HISTORY_LIMIT)
        limits = [bound for bound in (limit, ceiling) if bound is not None]
        start, stop = inquiry.offset, inquiry.offset + min(limits) if limits else None
        key, counts_all = shape.total
        if counts_all:
            everything = list(found)
            tasks, count = everything[start:stop], len(everything)
        else:
            tasks = list(islice(found, start, stop))
            count = len(tasks)
        items = [shape.record(shape.look(spec, task, now=now, epoch=self._epoch)) for task in tasks]
        return Answer(200, {"items": items, key: count})

    def _answer_one(self, spec: ProviderSpec, inquiry: Inquiry, now: float) -> Answer:
        shape = shape_of(spec.slug)
        (task_id,) = inquiry.ids
        task = self._script.find(spec.slug, task_id)
        if task is None or not self._is_shown(task, now):
            status, build = shape.missing
            return Answer(status, build(task_id, fake_uuid(f"trace of {task_id}")))
        look = shape.look(spec, task, now=now, epoch=self._epoch)
        status = shape.failed_status if look.phase is Phase.FAILED else 200
        return Answer(status, shape.single(look, has_action=inquiry.has_action))

    def _find_asked(self, spec: ProviderSpec, ids: tuple[str, ...], now: float) -> Iterator[ScriptedTask]:
        """Find tasks by id, in another order than they were asked in, as the services do."""
        shape = shape_of(spec.slug)
        asked = ids if shape.repeats else tuple(dict.fromkeys(ids))
        found = [self._script.find(spec.slug, task_id) for task_id in reversed(asked)]
        shown = [task for task in found if task is not None and self._is_shown(task, now)]
        if shape.newest_first:
            shown.sort(key=lambda task: task.created, reverse=True)
        return iter(shown)

    def _find_past(self, spec: ProviderSpec, inquiry: Inquiry, now: float) -> Iterator[ScriptedTask]:
        """Find a provider's latest tasks within a span of time."""
        for task in self._script.history(spec.slug):
            created = self._epoch + task.created
            if inquiry.created_max is not None and created > inquiry.created_max:
                continue
            if inquiry.created_min is not None and created < inquiry.created_min:
                break
            if self._is_shown(task, now):
                yield task

    @staticmethod
    def _is_shown(task: ScriptedTask, now: float) -> bool:
        """Tell whether the tasks call says anything of a task at all."""
        phase = task.phase_at(now)
        return phase is not Phase.HIDDEN and not (phase is Phase.QUEUED and shape_of(task.provider).is_silent)


def _read_count(body: Json, key: str) -> int | None:
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RefusalError(400, "bad_request", f"{key} is invalid.")
    return value


def _read_time(body: Json, key: str) -> float | None:
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusalError(400, "bad_request", f"{key} is invalid.")
    return value


def _default(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value
