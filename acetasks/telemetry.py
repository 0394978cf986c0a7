"""Traces and metrics of a client by OpenTelemetry; needs the extra `otel`.

Only the API of OpenTelemetry is used: without an SDK that the application has set up, nothing is recorded. The names
and units of spans, attributes and metrics are in docs/telemetry.md.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.trace import Link, SpanKind, StatusCode
except ModuleNotFoundError as error:
    error.msg = f"{error.name} is not installed: python -m pip install opentelemetry-api"
    raise

from acetasks._runtime import read_wall_clock
from acetasks._version import __version__
from acetasks.errors import APIError, TaskFailedError, TaskNotFoundError
from acetasks.events import (
    BatchesIgnored,
    Event,
    OutageBegan,
    RateCut,
    SubmissionUncertain,
    TaskSettled,
    TaskSubmitted,
)
from acetasks.models import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from acetasks._tracing import Key, RequestTrace
    from acetasks.models import Task
    from acetasks.stats import ClientStats

__all__ = ["OpenTelemetry"]

_NAME = "acetasks"
#: Links of one poll's span; the SDK keeps 128 by default. A wait for many tasks needs one.
_MAX_LINKS = 128
#: Number of ended tasks that are remembered, so that one that is awaited again is not measured again.
_MAX_MEASURED = 10_000
#: Kinds of fault that are no failed request.
_FAULTS: Mapping[type[Event], str] = {
    OutageBegan: "outage",
    RateCut: "rate_cut",
    BatchesIgnored: "batches_ignored",
    SubmissionUncertain: "submission_uncertain",
}
#: Ports of URLs without one.
_PORTS = {"http": 80, "https": 443}


class _Wait:
    """One wait in progress: its span, and what the span gets at the end."""

    def __init__(self, span: Span, started_at: float) -> None:
        self.span = span
        self.started_at = started_at
        self.polls = 0
        self.states: dict[Key, str] = {}


class OpenTelemetry:
    """Traces and metrics of one or more clients: `Client(telemetry=OpenTelemetry())`.

    Args:
        tracer_provider: Makes the spans; None uses the global one.
        meter_provider: Takes the metrics; None uses the global one.
        wall_clock: Returns the seconds since the epoch, to compare with times of the service; None uses the machine's.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        *,
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(_NAME, __version__, tracer_provider)
        self._wall_clock = wall_clock or read_wall_clock
        self._waits: dict[Key, tuple[_Wait, ...]] = {}
        self._measured: collections.OrderedDict[Key, None] = collections.OrderedDict()
        # Replaced and never changed, because exporters read it in threads of their own.
        self._clients: tuple[Callable[[], ClientStats], ...] = ()
        meter = metrics.get_meter(_NAME, __version__, meter_provider)
        self._duration = meter.create_histogram(
            "acetasks.task.duration", "s", "Time from submission to the end of a task, by the service's clock"
        )
        self._lateness = meter.create_histogram(
            "acetasks.task.lateness", "s", "Time from the end of an awaited task to the poll that found it"
        )
        self._fill = meter.create_histogram(
            "acetasks.poll.batch_fill", "1", "Tasks of a poll, as a fraction of the largest batch"
        )
        self._requests = meter.create_counter("acetasks.requests", "{request}", "HTTP requests, each attempt")
        self._faults = meter.create_counter("acetasks.faults", "{fault}", "Failed requests, outages and rate cuts")
        self._cost = meter.create_counter("acetasks.cost", "{credit}", "Price of ended tasks whose record has it")
        meter.create_observable_up_down_counter(
            "acetasks.tasks.pending", [self._observe_pending], "{task}", "Awaited tasks"
        )
        meter.create_observable_gauge(
            "acetasks.rate", [self._observe_rate], "{request}/s", "Requests per second that are sent at most"
        )

    def __repr__(self) -> str:
        return f"<OpenTelemetry of {len(self._clients)} clients, {len(self._waits)} awaited tasks>"

    # What a client calls.

    def on_event(self, event: Event) -> None:
        """Count a fault, or measure a task that has ended."""
        if isinstance(event, TaskSettled | TaskSubmitted):
            if self._is_new_end(event.task):
                self._measure(event.task)
        elif (kind := _FAULTS.get(type(event))) is not None:
            self._faults.add(1, {"acetasks.provider": event.provider, "error.type": kind})

    @contextlib.contextmanager
    def trace_request(self, request: RequestTrace) -> Iterator[Callable[[int], object]]:
        """Make a client span of one attempt of a request, current meanwhile; a poll's is linked to its waits."""
        labels: dict[str, AttributeValue] = {
            "acetasks.provider": request.provider,
            "acetasks.action": request.action,
        }
        waits = self._find_waits(request)
        span = self._tracer.start_span(
            f"{request.method} {request.path}",
            kind=SpanKind.CLIENT,
            attributes=labels | _describe_request(request),
            links=[Link(wait.span.get_span_context()) for wait in itertools.islice(waits, _MAX_LINKS)],
        )
        for wait in waits:
            wait.polls += 1
        if request.action == "poll":
            fill = min(1.0, len(request.ids) / request.batch_size)
            self._fill.record(fill, {"acetasks.provider": request.provider})
        result: dict[str, AttributeValue] = {}
        token = context.attach(trace.set_span_in_context(span))
        try:
            yield lambda status: result.update({"http.response.status_code": status})
        except BaseException as error:
            result.update(_describe_error(error))
            if not _is_abandoned(error):
                span.set_status(StatusCode.ERROR, str(error) if isinstance(error, Exception) else None)
                self._faults.add(1, labels | {"error.type": type(error).__name__})
            raise
        finally:
            context.detach(token)
            span.set_attributes(result)
            span.end()
            self._requests.add(1, labels | result)

    @contextlib.contextmanager
    def trace_wait(self, keys: Sequence[Key]) -> Iterator[Callable[[Task], object]]:
        """Make an internal span of one wait for tasks; it is not current: the wait sends nothing itself."""
        keys = tuple(dict.fromkeys(keys))
        span = self._tracer.start_span("acetasks.wait", attributes=_describe_keys(keys))
        wait = _Wait(span, self._wall_clock())
        for key in keys:
            self._waits[key] = (*self._waits.get(key, ()), wait)
        try:
            yield lambda task: wait.states.update({(task.provider, task.id): task.state.value})
        except BaseException as error:
            if isinstance(error, TaskFailedError | TaskNotFoundError):
                wait.states[error.task.provider, error.task.id] = error.task.state.value
            span.set_attributes(_describe_error(error))
            if not _is_abandoned(error):
                span.set_status(StatusCode.ERROR, str(error))
            raise
        finally:
            for key in keys:
                self._forget(key, wait)
            span.set_attributes(_describe_end(wait, len(keys)))
            span.end()

    def watch(self, read_stats: Callable[[], ClientStats]) -> Callable[[], object]:
        """Observe the pending tasks and the rates of a client, until the returned function is called."""
        self._clients = (*self._clients, read_stats)

        def stop() -> None:
            self._clients = tuple(other for other in self._clients if other is not read_stats)

        return stop

    # Metrics.

    def _is_new_end(self, task: Task) -> bool:
        """Return whether a task has ended and was not measured yet."""
        if not task.state.is_terminal or task.state is TaskState.NOT_FOUND:
            return False
        key = (task.provider, task.id)
        if key in self._measured:
            return False
        if task.id:  # the response to a submission may have the result without an id
            self._measured[key] = None
        if len(self._measured) > _MAX_MEASURED:
            self._measured.popitem(last=False)
        return True

    def _measure(self, task: Task) -> None:
        labels = {"acetasks.provider": task.provider, "acetasks.task.state": task.state.value}
        finished_at, created_at = task.finished_at, task.created_at
        if finished_at is not None and created_at is not None:
            self._duration.record(max(0.0, finished_at - created_at), labels)
        waits = self._waits.get((task.provider, task.id), ())
        # A task that ended before it was awaited could not be noticed earlier.
        if finished_at is not None and waits and min(wait.started_at for wait in waits) <= finished_at:
            self._lateness.record(max(0.0, self._wall_clock() - finished_at), labels)
        cost = task.cost or {}
        if isinstance(amount := cost.get("amount"), int | float) and amount >= 0:
            unit = str(cost.get("currency", "credit"))
            self._cost.add(amount, {"acetasks.provider": task.provider, "acetasks.cost.currency": unit})

    def _observe_pending(self, _options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        counts = collections.Counter[str]()
        for read_stats in self._clients:
            for provider, stats in read_stats().providers.items():
                counts[provider] += sum(stats.pending.values())
        return [metrics.Observation(count, {"acetasks.provider": provider}) for provider, count in counts.items()]

    def _observe_rate(self, _options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        rates = collections.Counter[str]()
        for read_stats in self._clients:
            stats = read_stats()
            for service, limit in stats.rates.items():
                rates[service] += min(limit.rate, stats.max_rate or limit.rate)  # type: ignore[assignment]  # no int
        return [metrics.Observation(rate, {"acetasks.service": service}) for service, rate in rates.items()]

    # Waits.

    def _find_waits(self, request: RequestTrace) -> Sequence[_Wait]:
        if request.action != "poll":
            return ()
        found = [self._waits.get((request.provider, task_id), ()) for task_id in request.ids]
        return list(dict.fromkeys(itertools.chain.from_iterable(found)))

    def _forget(self, key: Key, wait: _Wait) -> None:
        left = tuple(other for other in self._waits[key] if other is not wait)
        if left:
            self._waits[key] = left
        else:
            del self._waits[key]


def _describe_request(request: RequestTrace) -> dict[str, AttributeValue]:
    """Return the attributes of the HTTP semantic conventions; the URL has no query and no credentials."""
    url = urlsplit(request.base_url)
    host, port = url.hostname or "", url.port or _PORTS.get(url.scheme, 0)
    netloc = url.netloc.rpartition("@")[2]
    attributes: dict[str, AttributeValue] = {
        "http.request.method": request.method,
        "server.address": host,
        "server.port": port,
        "url.full": f"{url.scheme}://{netloc}{url.path.rstrip('/')}{request.path}",
    }
    if request.retries:
        attributes["http.request.resend_count"] = request.retries
    if request.ids:
        attributes["acetasks.batch.size"] = len(request.ids)
    return attributes


def _describe_error(error: BaseException) -> dict[str, AttributeValue]:
    """Return the type of an error, which is the status of a response that is an error, as the conventions say."""
    status = error.status if isinstance(error, APIError) else None
    if status is None:
        return {"error.type": type(error).__name__}
    return {"error.type": str(status), "http.response.status_code": status}


def _is_abandoned(error: BaseException) -> bool:
    """Return whether an exception only says that the caller has gone."""
    return isinstance(error, asyncio.CancelledError | GeneratorExit)


def _describe_keys(keys: Sequence[Key]) -> dict[str, AttributeValue]:
    if len(keys) == 1:
        return {"acetasks.provider": keys[0][0], "acetasks.task.id": keys[0][1]}
    providers = sorted({provider for provider, _ in keys})
    attributes: dict[str, AttributeValue] = {"acetasks.tasks.count": len(keys)}
    # One provider is a text everywhere, so that spans can be searched by it.
    return attributes | {"acetasks.provider": providers[0] if len(providers) == 1 else providers}


def _describe_end(wait: _Wait, count: int) -> dict[str, AttributeValue]:
    """Return the number of polls, and the state of a task or the number of tasks in each state."""
    attributes: dict[str, AttributeValue] = {"acetasks.polls": wait.polls}
    if count == 1:
        attributes.update(("acetasks.task.state", state) for state in wait.states.values())
        return attributes
    counts = collections.Counter(wait.states.values())
    return attributes | {f"acetasks.tasks.{state}": number for state, number in counts.items()}
