"""Tasks endpoint of the simulated service, without HTTP: responds to tasks calls from the scenario."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from acetasks.testing.call_options import call_options
from acetasks.testing.requests import Action, TasksQuery
from acetasks.testing.responses import RawResponse, json_response
from acetasks.testing.samples import template_for
from acetasks.testing.scenario import Phase, Scenario, ScriptedTask
from acetasks.testing.snapshot import FILES_URL, fake_uuid, trace_id_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acetasks.providers.spec import ProviderSpec
    from acetasks.testing.snapshot import Snapshot


class TasksApi:
    """Responds to tasks calls.

    Args:
        scenario: The tasks.

    Attributes:
        epoch: The loop's time zero, in seconds since the epoch.
        files_url: The URL that those of all files begin with.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.epoch = 0.0
        self.files_url = FILES_URL

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
        # 1. One task.   2. Several, by their ids or traces.   3. The history.
        if query.action in {Action.RETRIEVE, Action.DELETE}:
            return self._respond_single(spec, query, now)
        found: Iterable[ScriptedTask]
        if query.action is Action.RETRIEVE_BATCH:
            found, limit = self._find_requested(spec, query), query.limit
        else:
            found = self._scenario.history(spec.slug)
            limit = call_options(spec.slug).history_limit if query.limit is None else query.limit
        matching = (task for task in found if _is_shown(task, now) and self._matches(spec, task, query, now))
        template = template_for(spec.slug)
        limits = [bound for bound in (limit, record_limit) if bound is not None]
        start, stop = query.offset, query.offset + min(limits) if limits else None
        shown = list(matching if template.counts_all else islice(matching, stop))
        tasks = shown[start:stop]
        count = len(shown) if template.counts_all else len(tasks)
        items = [template.record(self.snapshot(spec, task, now=now)) for task in tasks]
        return json_response(200, {"items": items, template.count_field: count})

    def snapshot(self, spec: ProviderSpec, task: ScriptedTask, *, now: float) -> Snapshot:
        """Return a snapshot of a task at a loop time, regardless of its visibility."""
        return template_for(spec.slug).snapshot(spec, task, now=now, epoch=self.epoch, files_url=self.files_url)

    def _respond_single(self, spec: ProviderSpec, query: TasksQuery, now: float) -> RawResponse:
        """Return the response with one task; after a `delete` the task is unknown.

        The documents do not show the response to a `delete`, so it has the record as it was.
        """
        template = template_for(spec.slug)
        by_id = [self._scenario.find(spec.slug, task_id) for task_id in query.ids]
        found = [*by_id, *self._find_by_traces(spec, query.trace_ids)]
        task = next((task for task in found if task is not None and _is_shown(task, now)), None)
        if task is None:
            status, build = template.not_found
            wanted = (*query.ids, *query.trace_ids)[0]
            return json_response(status, build(wanted, fake_uuid(f"trace of {wanted}")))
        snapshot = self.snapshot(spec, task, now=now)
        if query.action is Action.DELETE:
            self._scenario.remove(task)
        status = template.failed_status if snapshot.phase is Phase.FAILED else 200
        return json_response(status, template.single_record(snapshot, has_action=query.has_action))

    def _find_requested(self, spec: ProviderSpec, query: TasksQuery) -> list[ScriptedTask]:
        """Return the known tasks of a batch, not in the requested order, like the real services."""
        template = template_for(spec.slug)
        requested = query.ids if template.repeats_duplicates else tuple(dict.fromkeys(query.ids))
        by_id = (self._scenario.find(spec.slug, task_id) for task_id in reversed(requested))
        found = [task for task in by_id if task is not None]
        found += [task for task in self._find_by_traces(spec, query.trace_ids) if task.id not in requested]
        if template.newest_first:
            found.sort(key=lambda task: task.created, reverse=True)
        return found

    def _find_by_traces(self, spec: ProviderSpec, trace_ids: tuple[str, ...]) -> list[ScriptedTask]:
        """Return the tasks with any of these traces, newest first: several submissions may share one of their own."""
        if not trace_ids:
            return []
        return [task for task in self._scenario.history(spec.slug) if trace_id_of(task) in trace_ids]

    def _matches(self, spec: ProviderSpec, task: ScriptedTask, query: TasksQuery, now: float) -> bool:
        """Return whether a task passes the filters of a query."""
        created = self.epoch + task.created
        if query.created_min is not None and created < query.created_min:
            return False
        if query.created_max is not None and created > query.created_max:
            return False
        if not query.fields:
            return True
        record = template_for(spec.slug).record(self.snapshot(spec, task, now=now))
        return all(record.get(key) == value for key, value in query.fields.items())


def _is_shown(task: ScriptedTask, now: float) -> bool:
    phase = task.phase_at(now)
    return phase is not Phase.HIDDEN and not (phase is Phase.QUEUED and template_for(task.provider).hides_queued)
