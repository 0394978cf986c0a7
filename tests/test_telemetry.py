"""OpenTelemetry: spans of submissions, polls and waits, their links, and metrics, exported to memory."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import io
import os
import pathlib
import re
import subprocess
import sys

import aiohttp
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider, export
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from support import EXACT, now

import acetasks
from acetasks.telemetry import OpenTelemetry

EPOCH = 1_780_000_000.0


class Recorded:
    """Spans and metrics of one `OpenTelemetry`."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])
        self.telemetry = OpenTelemetry(self.tracers, self.meters, wall_clock=lambda: EPOCH + now())

    def spans(self, name: str | None = None, **attributes: object):
        """Return the ended spans with a name and attributes, whose dots are written as underscores."""
        return [
            span
            for span in self.exporter.get_finished_spans()
            if name in {None, span.name}
            and all(span.attributes.get(f"acetasks.{key}") == value for key, value in attributes.items())
        ]

    def points(self, name: str):
        """Return the data points of a metric."""
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
        metrics = [metric for scope in scopes for metric in scope.metrics if metric.name == name]
        return [point for metric in metrics for point in metric.data.data_points]


@pytest.fixture
def recorded():
    """Spans and metrics in memory."""
    recorded = Recorded()
    yield recorded
    recorded.meters.shutdown()


class TestSpans:
    """Spans."""

    async def test_a_submission_is_a_client_span_of_its_caller(self, server, new_client, recorded):
        """It has the stable HTTP attributes, the parent of the caller's context, and neither token nor query."""
        tracer = recorded.tracers.get_tracer("test")
        async with new_client(telemetry=recorded.telemetry) as client:
            with tracer.start_as_current_span("caller") as caller:
                await client.submit("luma", {"prompt": "a cat"})
        (span,) = recorded.spans(action="submit")
        assert span.kind is SpanKind.CLIENT
        assert span.name == "POST /luma/videos"
        assert span.parent.span_id == caller.get_span_context().span_id
        host, port = server.url.removeprefix("http://").split(":")
        assert dict(span.attributes) == {
            "acetasks.provider": "luma",
            "acetasks.action": "submit",
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "server.address": host,
            "server.port": int(port),
            "url.full": f"{server.url}/luma/videos",
        }
        assert span.status.status_code is StatusCode.UNSET
        assert server.token not in span.to_json()

    async def test_a_wait_is_a_span_that_its_polls_are_linked_to(self, server, new_client, recorded):
        """The wait has the final state and the number of polls; each poll is a root span with a link to it."""
        task_id = server.add("luma", after=12)
        tracer = recorded.tracers.get_tracer("test")
        async with new_client(telemetry=recorded.telemetry, policy=EXACT) as client:
            with tracer.start_as_current_span("caller") as caller:
                await client.wait("luma", task_id)
        (wait,) = recorded.spans("acetasks.wait")
        polls = recorded.spans(action="poll")
        assert wait.kind is SpanKind.INTERNAL
        assert wait.parent.span_id == caller.get_span_context().span_id
        assert len(polls) == 4
        assert dict(wait.attributes) == {
            "acetasks.provider": "luma",
            "acetasks.task.id": task_id,
            "acetasks.task.state": "succeeded",
            "acetasks.polls": 4,
        }
        for poll in polls:
            assert poll.kind is SpanKind.CLIENT
            assert poll.parent is None
            assert [link.context for link in poll.links] == [wait.context]
            assert poll.attributes["acetasks.batch.size"] == 1

    async def test_a_poll_links_each_wait_that_it_serves_once(self, server, new_client, recorded):
        """Two single waits and one for many tasks share a poll, which has three links."""
        ids = [server.add("luma", after=1) for _ in range(5)]
        async with new_client(telemetry=recorded.telemetry) as client, asyncio.TaskGroup() as group:
            group.create_task(client.wait("luma", ids[0]))
            group.create_task(client.wait("luma", ids[0]))
            group.create_task(client.wait_all("luma", ids))
        first = recorded.spans(action="poll")[0]
        assert first.attributes["acetasks.batch.size"] == 5
        waits = recorded.spans("acetasks.wait")
        assert {link.context.span_id for link in first.links} == {wait.context.span_id for wait in waits}
        assert len(first.links) == len(waits) == 3
        (many,) = [wait for wait in waits if "acetasks.tasks.count" in wait.attributes]
        assert many.attributes["acetasks.tasks.succeeded"] == many.attributes["acetasks.tasks.count"] == 5

    async def test_links_are_limited(self, server, new_client, recorded):
        """A poll that serves more waits than a span can link has the first of them, and counts for all."""
        task_id = server.add("luma", after=0)
        async with new_client(telemetry=recorded.telemetry) as client:
            await asyncio.gather(*[client.wait("luma", task_id) for _ in range(130)])
        (poll,) = recorded.spans(action="poll")
        assert len(poll.links) == 128
        assert [wait.attributes["acetasks.polls"] for wait in recorded.spans("acetasks.wait")] == [1] * 130

    async def test_a_failed_task_is_an_error_of_the_wait_only(self, server, new_client, recorded):
        """The wait's span has the state and the error's type; its poll succeeded."""
        task_id = server.add("luma", after=0, outcome="failed")
        async with new_client(telemetry=recorded.telemetry) as client:
            with pytest.raises(acetasks.TaskFailedError):
                await client.wait("luma", task_id)
        (wait,), (poll,) = recorded.spans("acetasks.wait"), recorded.spans(action="poll")
        assert wait.status.status_code is StatusCode.ERROR
        assert wait.attributes["error.type"] == "TaskFailedError"
        assert wait.attributes["acetasks.task.state"] == "failed"
        assert poll.status.status_code is StatusCode.UNSET

    async def test_a_rejected_request_has_the_status_as_its_error(self, server, new_client, recorded):
        """A 429 is an error span and a fault; the attempt after it is counted as a resend."""
        server.fail("luma", status=429)
        async with new_client(telemetry=recorded.telemetry) as client:
            await client.submit("luma", {"prompt": "a cat"})
        refused, accepted = recorded.spans(action="submit")
        assert refused.status.status_code is StatusCode.ERROR
        assert refused.attributes["error.type"] == "429"
        assert refused.attributes["http.response.status_code"] == 429
        assert "http.request.resend_count" not in refused.attributes
        assert accepted.attributes["http.request.resend_count"] == 1
        faults = {point.attributes["error.type"]: point.value for point in recorded.points("acetasks.faults")}
        assert faults == {"RateLimitError": 1, "rate_cut": 1}

    async def test_a_cancelled_wait_ends_its_spans(self, server, new_client, recorded):
        """The wait and the poll in flight end with the cancellation, without an error status."""
        task_id = server.add("luma", after=100)
        server.fail("luma", hang=30)
        async with new_client(telemetry=recorded.telemetry) as client:
            waiting = asyncio.create_task(client.wait("luma", task_id))
            await asyncio.sleep(5)
            waiting.cancel()
            await asyncio.wait([waiting])
            await asyncio.sleep(1)
            spans = recorded.spans()
        assert sorted(span.name for span in spans) == ["POST /luma/tasks", "acetasks.wait"]
        assert {span.attributes["error.type"] for span in spans} == {"CancelledError"}
        assert {span.status.status_code for span in spans} == {StatusCode.UNSET}
        assert repr(recorded.telemetry) == "<OpenTelemetry of 0 clients, 0 awaited tasks>"

    async def test_a_stream_that_is_left_early_ends_its_span(self, server, new_client, recorded):
        """Closing `as_completed` ends the wait's span with the tasks that had ended."""
        ids = [server.add("luma", after=1), server.add("luma", after=1000)]
        async with new_client(telemetry=recorded.telemetry) as client:
            async with contextlib.aclosing(client.as_completed("luma", ids)) as tasks:
                async for _ in tasks:
                    break
            (wait,) = recorded.spans("acetasks.wait")
        assert wait.attributes["acetasks.tasks.succeeded"] == 1
        assert wait.status.status_code is StatusCode.UNSET

    async def test_updates_are_a_wait(self, server, new_client, recorded):
        """`TaskHandle.updates` has a span too, with the last state."""
        task_id = server.add("luma", after=1)
        async with new_client(telemetry=recorded.telemetry) as client:
            async for _ in client.handle("luma", task_id).updates():
                pass
        (wait,) = recorded.spans("acetasks.wait")
        assert wait.attributes["acetasks.task.state"] == "succeeded"

    async def test_the_span_of_a_request_is_current_while_it_is_sent(self, server, new_client, recorded):
        """Instrumentation of aiohttp makes its spans below those of the client."""
        tracer = recorded.tracers.get_tracer("test")
        config = aiohttp.TraceConfig()

        async def on_start(*_args: object) -> None:
            tracer.start_span("inner").end()

        config.on_request_start.append(on_start)
        task_id = server.add("luma", after=0)
        async with (
            aiohttp.ClientSession(trace_configs=[config]) as http,
            new_client(telemetry=recorded.telemetry, http=http) as client,
        ):
            await client.wait("luma", task_id)
        (inner,), (poll,) = recorded.spans("inner"), recorded.spans(action="poll")
        assert inner.parent.span_id == poll.context.span_id


class TestMetrics:
    """Metrics."""

    async def test_pending_tasks_and_rate_are_those_of_open_clients(self, server, new_client, recorded):
        """Pending tasks count by provider while they are awaited, over all clients; closed clients have none."""
        ids = [server.add("luma", after=100) for _ in range(3)]
        async with (
            new_client(telemetry=recorded.telemetry) as client,
            new_client(telemetry=recorded.telemetry) as other,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(client.wait_all("luma", ids))
            group.create_task(other.wait("luma", ids[0]))
            await asyncio.sleep(10)
            (pending,) = recorded.points("acetasks.tasks.pending")
            (rate,) = recorded.points("acetasks.rate")
            assert (dict(pending.attributes), pending.value) == ({"acetasks.provider": "luma"}, 4)
            assert rate.value == sum(c.stats().rates["acedata"].rate for c in (client, other))
        assert recorded.points("acetasks.tasks.pending") == []

    async def test_requests_count_by_action_and_status(self, new_client, recorded):
        """Each attempt counts once."""
        async with new_client(telemetry=recorded.telemetry, policy=EXACT) as client:
            handle = await client.submit("luma", {"prompt": "a cat"})
            await handle.wait()
        counts = {
            (point.attributes["acetasks.action"], point.attributes["http.response.status_code"]): point.value
            for point in recorded.points("acetasks.requests")
        }
        assert counts["submit", 200] == 1
        assert counts["poll", 200] == len(recorded.spans(action="poll"))

    async def test_batch_fill_is_a_fraction_of_the_largest_batch(self, server, new_client, recorded):
        """Ten tasks of a batch of forty fill a quarter."""
        ids = [server.add("luma", after=0) for _ in range(10)]
        policy = acetasks.PollPolicy(batch_size=40)
        async with new_client(telemetry=recorded.telemetry, policy=policy) as client:
            await client.wait_all("luma", ids)
        (fill,) = recorded.points("acetasks.poll.batch_fill")
        assert (fill.count, fill.sum) == (1, 0.25)

    async def test_duration_and_lateness_of_a_task(self, server, new_client, recorded):
        """A task of 12 s is found by the poll at 15 s, three seconds late."""
        task_id = server.add("suno", after=12)
        async with new_client(telemetry=recorded.telemetry, policy=EXACT) as client:
            task = await client.wait("suno", task_id)
            found_at = EPOCH + now()
        assert task.finished_at is not None
        (duration,) = recorded.points("acetasks.task.duration")
        (lateness,) = recorded.points("acetasks.task.lateness")
        assert (duration.count, duration.sum) == (1, pytest.approx(task.finished_at - task.created_at))
        assert (lateness.count, lateness.sum) == (1, pytest.approx(found_at - task.finished_at, abs=0.01))
        assert 2.9 < lateness.sum < 4
        assert dict(lateness.attributes) == {"acetasks.provider": "suno", "acetasks.task.state": "succeeded"}

    async def test_a_task_that_ended_before_the_wait_has_no_lateness(self, server, new_client, recorded):
        """It could not be noticed before it was awaited."""
        task_id = server.add("suno", after=0)
        await asyncio.sleep(1000)
        async with new_client(telemetry=recorded.telemetry) as client:
            await client.wait("suno", task_id)
        assert recorded.points("acetasks.task.lateness") == []
        assert len(recorded.points("acetasks.task.duration")) == 1

    async def test_the_price_of_a_task_is_its_cost(self, new_client, recorded):
        """It is in the currency of the record; a task without a price has none."""
        async with new_client(telemetry=recorded.telemetry) as client:
            for _ in range(2):
                await client.run("flux", {"prompt": "a cat"}, path="/flux/videos")
            await client.run("luma", {"prompt": "a cat"})
        (cost,) = recorded.points("acetasks.cost")
        assert cost.value == pytest.approx(2 * 2.52)
        assert dict(cost.attributes) == {"acetasks.provider": "flux", "acetasks.cost.currency": "credit"}

    async def test_a_task_in_the_response_to_its_submission_is_measured(self, new_client, recorded):
        """A blocking submission is never polled, and costs as much."""
        async with new_client(telemetry=recorded.telemetry) as client:
            await client.run("flux", {"prompt": "a cat", "async": False}, path="/flux/videos")
        (cost,) = recorded.points("acetasks.cost")
        assert cost.value == 2.52

    async def test_a_task_that_is_awaited_again_costs_once(self, new_client, recorded):
        """Its price and its duration count when its end is first found."""
        async with new_client(telemetry=recorded.telemetry) as client:
            task = await client.run("flux", {"prompt": "a cat"}, path="/flux/videos")
            await client.wait("flux", task.id)
        (cost,), (duration,) = recorded.points("acetasks.cost"), recorded.points("acetasks.task.duration")
        assert (cost.value, duration.count) == (2.52, 1)


async def test_the_same_requests_are_sent_with_and_without_telemetry(server, new_client, recorded):
    """Telemetry changes no poll time."""

    async def run(**options: object) -> list[float]:
        ids = [server.add("luma", after=30 + number) for number in range(20)]
        start, first = now(), len(server.requests)
        async with new_client(**options) as client:
            await client.wait_all("luma", ids)
        return [round(request.time - start, 3) for request in server.requests[first:]]

    assert await run() == await run(telemetry=recorded.telemetry)


def test_importing_the_library_imports_no_extra():
    """`import acetasks` leaves out what only some programs need."""
    program = "import sys, acetasks, acetasks.sync; print(*sys.modules)"
    # Coverage, which begins with the process, imports SQLite.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True, env=env).stdout
    loaded = {name.partition(".")[0] for name in output.split()}
    unwanted = {"sqlite3", "aiosqlite", "rich", "typer", "opentelemetry", "jinja2", "pytest", "hypothesis"}
    assert not loaded & unwanted


class TestDocs:
    """docs/telemetry.md."""

    PAGE = pathlib.Path(__file__).parents[1].joinpath("docs", "telemetry.md").read_text("utf-8")
    EXPLAIN, TRACE = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)

    @pytest.fixture(autouse=True)
    def _environment(self, server, monkeypatch):
        monkeypatch.setenv("ACEDATACLOUD_API_TOKEN", server.token)
        monkeypatch.setenv("ACEDATACLOUD_API_BASE_URL", server.url)

    async def test_the_explanation_is_as_printed(self, server, capsys):
        """The first sample prints one explanation and a line of statistics, as in the page."""
        names: dict[str, object] = {}
        exec(self.EXPLAIN, names)  # noqa: S102  # the page's own sample
        await names["main"](server.add("suno", after=90))
        shown = self.PAGE.partition("```text\n")[2].partition("```")[0]
        numbers = re.compile(r"suno task \S+|[\d.]+")
        assert numbers.sub("#", capsys.readouterr().out) == numbers.sub("#", shown)

    async def test_the_tracing_sample_exports_spans(self, server, monkeypatch):
        """The second sample prints the spans of the wait and its polls."""
        printed = io.StringIO()  # the exporter keeps the output that it was imported with
        exporter = functools.partial(export.ConsoleSpanExporter, out=printed)
        monkeypatch.setattr(export, "ConsoleSpanExporter", exporter)
        names: dict[str, object] = {}
        exec(self.TRACE, names)  # noqa: S102  # the page's own sample
        await names["main"](server.add("luma", after=1))
        output = printed.getvalue()
        assert '"name": "acetasks.wait"' in output
        assert '"name": "POST /luma/tasks"' in output

    async def test_every_metric_and_attribute_is_documented(self, server, new_client, recorded):
        """The page names all that a run with a failure makes."""
        server.fail("luma", status=429, action="submit")
        async with new_client(telemetry=recorded.telemetry) as client:
            await client.run("luma", {"prompt": "a cat"})
            await client.wait_all([("luma", server.add("luma", after=1)), ("suno", server.add("suno", after=1))])
            data = recorded.reader.get_metrics_data()
        metrics = {
            metric.name
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }
        attributes = {name for span in recorded.spans() for name in span.attributes}
        assert len(metrics) >= 7
        assert {name for name in metrics | attributes if f"`{name}`" not in self.PAGE} == set()


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.delitem(sys.modules, "acetasks.telemetry")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ModuleNotFoundError, match=r"opentelemetry is not installed: .* install opentelemetry-api"):
        importlib.import_module("acetasks.telemetry")
