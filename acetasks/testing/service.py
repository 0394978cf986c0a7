"""Simulated service: from a parsed request to its sent response, with submissions, callbacks and faults."""

from __future__ import annotations

import functools
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from acetasks.providers.spec import Service
from acetasks.testing.catalogs import CatalogRequest, Catalogs
from acetasks.testing.delivery import DeliveryOptions, loop_time, send, sleep_until, wait_before_response
from acetasks.testing.faults import FaultFunctionError
from acetasks.testing.files import FILES_PATH, Download, FileStore, file_error
from acetasks.testing.responses import (
    LINES_TYPE,
    RequestRejectedError,
    as_lines,
    documented_error,
    generation_error,
    json_response,
    payment_required,
)
from acetasks.testing.routing import Submission
from acetasks.testing.rules import Outcome
from acetasks.testing.samples import template_for
from acetasks.testing.scenario import Phase, Scenario
from acetasks.testing.snapshot import fake_uuid
from acetasks.testing.tasks_api import TasksApi

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from acetasks.testing.callbacks import CallbackSender
    from acetasks.testing.faults import Fault, FaultList, RecordedRequest
    from acetasks.testing.responses import RawResponse
    from acetasks.testing.routing import ParsedRequest
    from acetasks.testing.scenario import ScriptedTask
    from acetasks.testing.snapshot import Snapshot
    from acetasks.testing.templates import Template

_NO_OPTIONS = DeliveryOptions()


class SimulatedService:
    """Responds to parsed requests.

    Args:
        scenario: The tasks; submissions are added.
        faults: The faults.
        callbacks: Posts the callbacks of submissions.
        file_lifetime: Seconds from a task's end until its files are gone; None means that they stay.
        errors_have_success: Whether error bodies have `success: false`.
        on_submission: Called for each task submitted over HTTP.

    Attributes:
        function_errors: Exceptions raised by `when` and `edit` functions of faults.
    """

    def __init__(
        self,
        scenario: Scenario,
        faults: FaultList,
        callbacks: CallbackSender,
        *,
        file_lifetime: float | None,
        errors_have_success: bool,
        on_submission: Callable[[], None],
    ) -> None:
        self._on_submission = on_submission
        self.function_errors: list[BaseException] = []
        self._scenario = scenario
        self._faults = faults
        self._callbacks = callbacks
        self._tasks_api = TasksApi(scenario)
        self._files = FileStore(scenario, lifetime=file_lifetime)
        self._catalogs = Catalogs(scenario, self._tasks_api)
        self._errors_have_success = errors_have_success
        self._trace_number = 0

    def __repr__(self) -> str:
        return f"<SimulatedService {self._scenario!r}>"

    def open(self, *, url: str, epoch: float) -> None:
        """Set what is known when the server starts.

        Args:
            url: The service's base URL, with which the URLs of files begin.
            epoch: The loop's time zero, in seconds since the epoch.
        """
        self._tasks_api.files_url = url + FILES_PATH
        self._tasks_api.epoch = epoch

    async def respond(
        self, request: web.BaseRequest, parsed: ParsedRequest, record: RecordedRequest
    ) -> web.StreamResponse:
        """Process a request, apply the fault that hits it, and send the response."""
        options = _NO_OPTIONS
        if isinstance(parsed.content, Download):
            task = self._files.find_task(parsed.content)
            record.ids = () if task is None else (task.id,)
        try:
            fault = record.fault = self._faults.choose(record)
            response = await self._build_response(parsed, fault, record)
            if fault is not None:
                options = fault.effect.delivery
        except FaultFunctionError as error:
            self.function_errors.append(error.cause)
            rejection = RequestRejectedError(500, "api_error", str(error))
            response = self._reject(rejection, parsed)
        await wait_before_response(request, options)
        record.status = response.status
        return await send(request, response, options, date=self._tasks_api.epoch + loop_time())

    async def _build_response(self, parsed: ParsedRequest, fault: Fault | None, record: RecordedRequest) -> RawResponse:
        """Return the real response, or the one that a fault replaces it with.

        Raises:
            FaultFunctionError: The `edit` function of the fault raised an exception.
        """
        if fault is not None and fault.effect.replaces_response:
            return fault.effect.replacement(functools.partial(self._build_error, parsed))
        limit = None if fault is None else fault.effect.limit
        try:
            response = await self._process(parsed, limit, record)
        except RequestRejectedError as error:
            response = self._reject(error, parsed)
        return response if fault is None else fault.rewrite(response)

    def _build_error(self, parsed: ParsedRequest, status: int, code: str | None) -> RawResponse:
        """Return the addressed service's own error."""
        if isinstance(parsed.content, Download):
            return file_error(status)
        if status == HTTPStatus.PAYMENT_REQUIRED and parsed.service is Service.ACEDATA and code is None:
            return payment_required()
        return self._reject(documented_error(parsed.service, status, code), parsed)

    def _reject(self, error: RequestRejectedError, parsed: ParsedRequest) -> RawResponse:
        return error.to_response(parsed.service, self._new_trace_id(), with_success=self._errors_have_success)

    async def _process(self, parsed: ParsedRequest, record_limit: int | None, record: RecordedRequest) -> RawResponse:
        content = parsed.content
        if isinstance(content, RequestRejectedError):
            raise content
        if isinstance(content, Download):
            return self._files.respond(content, record.headers, now=loop_time())
        if isinstance(content, Submission):
            response = await self._submit(content, record)
            return as_lines(response) if LINES_TYPE in record.headers.get("Accept", "") else response
        if isinstance(content, CatalogRequest):
            return self._catalogs.respond(content, now=loop_time())
        return self._tasks_api.respond(content.spec, content.query, now=loop_time(), record_limit=record_limit)

    async def _submit(self, submission: Submission, record: RecordedRequest) -> RawResponse:
        """Create a task; return its acknowledgement, or its final response if the submission blocks.

        Raises:
            RequestRejectedError: The submission blocks and its task's outcome is `NOT_FOUND`.
        """
        spec, body = submission.spec, submission.body
        template = template_for(spec.slug)
        rule = self._scenario.pop_rule(spec.slug)
        typical = template.typical_duration(record.path)
        task = self._scenario.add(spec, rule, now=loop_time(), request=body, path=record.path, typical_duration=typical)
        self._on_submission()
        record.ids = (task.id,)
        url = body.get(template.callback_field)
        if isinstance(url, str) and url:
            self._schedule_callback(submission, template, task, url)
        if not template.blocks(spec, record.path, body):
            snapshot = self._tasks_api.snapshot(spec, task, now=task.created)
            snapshot = msgspec.structs.replace(snapshot, phase=Phase.QUEUED)
            return json_response(template.ack_status, template.acknowledgement(snapshot))
        await sleep_until(task.finishes_at)
        if task.outcome is Outcome.NOT_FOUND:
            raise documented_error(spec.service, 504)
        snapshot = self._final_snapshot(submission, task)
        if snapshot.phase is not Phase.FAILED:
            return json_response(200, template.final_response(snapshot))
        if template.full_record is not None:
            return json_response(template.failed_status, template.final_response(snapshot))
        return generation_error(*snapshot.error).to_response(spec.service, snapshot.trace_id)

    def _schedule_callback(self, submission: Submission, template: Template, task: ScriptedTask, url: str) -> None:
        if task.outcome is Outcome.NOT_FOUND or task.outcome is Outcome.FOREVER:
            return

        def build() -> bytes | None:
            if self._scenario.find(task.provider, task.id) is None:  # it was deleted
                return None
            return msgspec.json.encode(template.callback_body(self._final_snapshot(submission, task)))

        self._callbacks.schedule(task.finishes_at, task_id=task.id, url=url, build=build)

    def _final_snapshot(self, submission: Submission, task: ScriptedTask) -> Snapshot:
        # A timer may fire slightly before its time.
        now = max(loop_time(), task.finishes_at)
        return self._tasks_api.snapshot(submission.spec, task, now=now)

    def _new_trace_id(self) -> str:
        self._trace_number += 1
        return fake_uuid(f"refusal {self._trace_number}")
