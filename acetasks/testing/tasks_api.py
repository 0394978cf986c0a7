"""Tasks endpoint of the simulated service, without HTTP: responds to tasks calls from the scenario."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from acetasks.testing.requests import Action, TasksQuery
from acetasks.testing.responses import RawResponse, json_response
from acetasks.testing.samples import template_for
from acetasks.testing.scenario import Phase, Scenario, ScriptedTask
from acetasks.testing.snapshot import fake_uuid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from acetasks.providers.spec import ProviderSpec

#: Default number of tasks in a history (openai, webextrator, midjourney and veo document 12).
HISTORY_LIMIT = 12


class TasksApi:
    """Responds to tasks calls.

    Args:
        scenario: The tasks.
        epoch: The loop's time zero, in seconds since the epoch.
    """

    def __init__(self, scenario: Scenario, *, epoch: float) -> None:
        self._scenario = scenario
        self._epoch = epoch

    def __repr__(self) -> str:
        return f"<TasksApi {self._scenario!r}>"

    def respond(
        self, spec: ProviderSpec, query: TasksQuery, *, now: float, record_limit: int | None = None
    ) -> RawResponse:
        """Return the provider's response to a tasks call.

        Args:
            spec: The provider spec.
            query: The tasks call.
            now: The time of the request (loop time).
            record_limit: Maximum number of records whatever the query says; None means no such limit.
        """
        if query.action is Action.RETRIEVE:
            return self._respond_single(spec, query, now)
        found: Iterable[ScriptedTask]
        if query.action is Action.RETRIEVE_BATCH:
            found, limit = self._find_by_ids(spec, query.ids, now), query.limit
        else:
            found = self._find_history(spec, query, now)
            limit = HISTORY_LIMIT if query.limit is None else query.limit
        template = template_for(spec.slug)
        limits = [bound for bound in (limit, record_limit) if bound is not None]
        start, stop = query.offset, query.offset + min(limits) if limits else None
        shown = list(found if template.counts_all else islice(found, stop))
        tasks = shown[start:stop]
        count = len(shown) if template.counts_all else len(tasks)
        items = [template.record(template.snapshot(spec, task, now=now, epoch=self._epoch)) for task in tasks]
        return json_response(200, {"items": items, template.count_field: count})

    def _respond_single(self, spec: ProviderSpec, query: TasksQuery, now: float) -> RawResponse:
        template = template_for(spec.slug)
        (task_id,) = query.ids
        task = self._scenario.find(spec.slug, task_id)
        if task is None or not _is_shown(task, now):
            status, build = template.not_found
            return json_response(status, build(task_id, fake_uuid(f"trace of {task_id}")))
        snapshot = template.snapshot(spec, task, now=now, epoch=self._epoch)
        status = template.failed_status if snapshot.phase is Phase.FAILED else 200
        return json_response(status, template.single_record(snapshot, has_action=query.has_action))

    def _find_by_ids(self, spec: ProviderSpec, ids: tuple[str, ...], now: float) -> list[ScriptedTask]:
        """Return the shown tasks among `ids`, not in the requested order, like the real services."""
        template = template_for(spec.slug)
        requested = ids if template.repeats_duplicates else tuple(dict.fromkeys(ids))
        found = [self._scenario.find(spec.slug, task_id) for task_id in reversed(requested)]
        shown = [task for task in found if task is not None and _is_shown(task, now)]
        if template.newest_first:
            shown.sort(key=lambda task: task.created, reverse=True)
        return shown

    def _find_history(self, spec: ProviderSpec, query: TasksQuery, now: float) -> Iterator[ScriptedTask]:
        """Yield the provider's shown tasks within the query's time span, newest first."""
        for task in self._scenario.history(spec.slug):
            created = self._epoch + task.created
            if query.created_max is not None and created > query.created_max:
                continue
            if query.created_min is not None and created < query.created_min:
                break
            if _is_shown(task, now):
                yield task


def _is_shown(task: ScriptedTask, now: float) -> bool:
    phase = task.phase_at(now)
    return phase is not Phase.HIDDEN and not (phase is Phase.QUEUED and template_for(task.provider).hides_queued)
