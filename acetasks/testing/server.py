"""The simulated service: a real HTTP server that speaks as the documented services do, for tests without a network.

It serves both services at one address: the tasks calls and submissions of every provider in the table, and of any
other slug in the standard way. Its time is its event loop's, so that on a virtual clock a video takes no time at
all, and all chance comes from one seed, so that every run is the same. What tasks do is in `script`, what records
look like in `shapes` and `gallery`, what a tasks call answers in `desk`; here is what concerns HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Self

import msgspec
from aiohttp import web

from acetasks.providers.spec import ProviderSpec, Service
from acetasks.providers.table import lookup
from acetasks.testing.courier import Courier, RecordedCallback
from acetasks.testing.desk import Action, Answer, Desk, RefusalError, read_inquiry, read_query
from acetasks.testing.door import Door
from acetasks.testing.gallery import shape_of
from acetasks.testing.looks import Json, fake_uuid
from acetasks.testing.routes import Route, Routes
from acetasks.testing.script import Outcome, Phase, Rule, Script, ScriptedTask

if TYPE_CHECKING:
    import types
    from collections.abc import Mapping

    from acetasks.testing.shapes import Shape

#: Connections that may wait to be accepted: a thousand clients may come at once, and the system's default of 100
#: would make the rest of them try again a second later.
BACKLOG = 1024
_HEADERS = {"Content-Type": "application/json"}


class RecordedRequest(msgspec.Struct, kw_only=True):
    """One request as the server saw it.

    Attributes:
        time: When it came, in seconds on the clock of the server's event loop.
        method: Its HTTP method.
        path: Its path.
        provider: The slug of the provider it is for; empty where the path is no provider's.
        action: What it is for, or None where it was refused before that was read.
        ids: The ids asked, or the id of the task submitted.
        status: The HTTP status of the answer, or None while there is none.
    """

    time: float
    method: str
    path: str
    provider: str = ""
    action: Action | None = None
    ids: tuple[str, ...] = ()
    status: int | None = None


class AceServer:
    """The simulated service, as an async context manager.

    Attributes:
        token: The bearer token that requests must carry.
        requests: Every request since the start or `clear_requests`, in the order of coming; empty if not recorded.
        callbacks: What became of every callback that was posted.
        request_count: Requests of all kinds.
        ids_asked: Ids in tasks calls, repeated ones included.
        submissions: Tasks that were submitted over HTTP.
        connections: Connections opened in total.
        open_connections: Connections open now.
        max_concurrent: Most requests that were being answered at one time.
    """

    def __init__(
        self,
        *,
        token: str = "test-token",
        seed: int = 0,
        epoch: float = 1_780_000_000.0,
        host: str = "127.0.0.1",
        port: int = 0,
        speed: float = 1.0,
        failure_rate: float = 0.0,
        record_requests: bool = True,
    ) -> None:
        """Prepare the server; `start` or `async with` opens it.

        Args:
            token: The bearer token that requests must carry.
            seed: Of all that is drawn: ids, durations and failures.
            epoch: What the loop's clock counts from, in seconds since the epoch, for the times in records.
            host: The address to listen at.
            port: The port to listen at; 0 takes a free one.
            speed: What every scripted time is divided by.
            failure_rate: The share of tasks without a scripted outcome that fail, from 0 to 1.
            record_requests: Whether `requests` is kept; the counts are in any case.

        Raises:
            ValueError: A number is out of its range.
        """
        self.token = token
        self.requests: list[RecordedRequest] = []
        self.callbacks: list[RecordedCallback] = []
        self.request_count = 0
        self.ids_asked = 0
        self.submissions = 0
        self.connections = 0
        self.open_connections = 0
        self.max_concurrent = 0
        self._epoch = epoch
        self._host = host
        self._port = port
        self._keeps_requests = record_requests
        self._concurrent = 0
        self._trace_number = 0
        self._script = Script(seed=seed, speed=speed, failure_rate=failure_rate)
        self._desk = Desk(self._script, epoch=epoch)
        self._routes = Routes()
        self._courier = Courier(self.callbacks.append)
        self._url = ""
        self._door: Door | None = None
        self._listener: asyncio.Server | None = None

    def __repr__(self) -> str:
        where = f"open at {self._url}" if self._listener else "closed"
        return f"<AceServer {where} tasks={len(self.tasks)} requests={self.request_count}>"

    @property
    def url(self) -> str:
        """Where it listens, such as `http://127.0.0.1:41234`; it stays the same after the stop.

        Raises:
            RuntimeError: It was never started.
        """
        if not self._url:
            raise RuntimeError("the server has no address before it is started: use `async with` or `start`")
        return self._url

    @property
    def tasks(self) -> Mapping[str, ScriptedTask]:
        """Every task by its id, in the order they were made, hidden ones included."""
        return self._script.tasks

    async def start(self) -> Self:
        """Begin to listen.

        Raises:
            RuntimeError: It listens already.
            OSError: The port is taken.
        """
        if self._listener is not None:
            raise RuntimeError(f"the server listens already, at {self._url}")
        door = Door(self._receive, opened=self._count_opened, closed=self._count_closed)
        self._listener = await asyncio.get_running_loop().create_server(door, self._host, self._port, backlog=BACKLOG)
        self._door = door
        host, port = self._listener.sockets[0].getsockname()[:2]
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return self

    async def stop(self) -> None:
        """Close every connection at once, whatever waits for an answer, and forget callbacks not yet posted."""
        listener, door = self._listener, self._door
        if listener is None or door is None:
            return
        self._listener = self._door = None
        # asyncio loses a connection that is accepted in the moment of the close: none is accepted any more, and
        # those that are come in before it.
        for sock in listener.sockets:
            with contextlib.suppress(NotImplementedError):  # a loop without readers accepts in its own way
                asyncio.get_running_loop().remove_reader(sock)
        try:
            await self._courier.close()
            await door.close()
        finally:
            listener.close()
        await listener.wait_closed()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        await self.stop()

    def add(
        self,
        provider: str,
        *,
        after: float | None = None,
        outcome: Outcome | str | None = None,
        id: str | None = None,  # noqa: A002  # the name it has in a record
        visible_after: float = 0.0,
        queued_for: float | None = None,
        progress: float | None = None,
        error: tuple[str, str] | None = None,
        request: Mapping[str, object] | None = None,
    ) -> str:
        """Make a task as if it were submitted now.

        Args:
            provider: The provider's slug.
            after: Seconds until it ends; None draws about the provider's typical duration.
            outcome: `succeeded`, `failed`, `partial`, `not_found` (no tasks call ever knows it) or `forever` (it never
                ends); None means succeeded, or failed at the server's failure rate.
            id: Its id; None draws a UUID.
            visible_after: Seconds until the tasks call knows it.
            queued_for: Seconds until the work begins; None means a tenth of the duration, at most 5.
            progress: What its record shows while it runs, in percent, where the provider's shows any.
            error: The code and message of its failure; None means what the provider's sample shows.
            request: What was submitted; None means what the provider's sample shows.

        Returns:
            Its id.

        Raises:
            ValueError: The id is taken, a time is negative, or the provider's tasks cannot end so.
            UnknownProviderError: The provider's name can be none.
            RuntimeError: No event loop is running, so there is no time.
        """
        rule = Rule(
            after=after,
            outcome=_outcome(outcome),
            visible_after=visible_after,
            queued_for=queued_for,
            progress=progress,
            error=error,
        )
        return self._script.add(lookup(provider), rule, now=_now(), task_id=id, request=request).id

    def script(
        self,
        provider: str,
        *,
        after: float | None = None,
        outcome: Outcome | str | None = None,
        visible_after: float = 0.0,
        queued_for: float | None = None,
        progress: float | None = None,
        error: tuple[str, str] | None = None,
        times: int | None = 1,
    ) -> None:
        """Say what the next submissions to a provider get; they come after those said before.

        Args:
            provider: The provider's slug.
            after: As in `add`.
            outcome: As in `add`.
            visible_after: As in `add`.
            queued_for: As in `add`.
            progress: As in `add`.
            error: As in `add`.
            times: How many submissions; None means every one for which nothing else is said.

        Raises:
            ValueError: A number is out of its range, or the provider's tasks cannot end so.
            UnknownProviderError: The provider's name can be none.
        """
        rule = Rule(
            after=after,
            outcome=_outcome(outcome),
            visible_after=visible_after,
            queued_for=queued_for,
            progress=progress,
            error=error,
        )
        self._script.add_rule(lookup(provider), rule, times=times)

    def clear_requests(self) -> None:
        """Forget the requests and callbacks so far, and count from 0 again; open connections stay counted."""
        self.requests.clear()
        self.callbacks.clear()
        self.request_count = self.ids_asked = self.submissions = 0
        self.connections = self.open_connections
        self.max_concurrent = self._concurrent

    def _count_opened(self) -> None:
        self.connections += 1
        self.open_connections += 1

    def _count_closed(self) -> None:
        self.open_connections -= 1

    async def _receive(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take a request, count it and answer it: the one door that every request comes through."""
        seen = RecordedRequest(time=_now(), method=request.method, path=request.path)
        self.request_count += 1
        if self._keeps_requests:
            self.requests.append(seen)
        self._concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self._concurrent)
        try:
            response = await self._respond(request, seen)
            seen.status = response.status
        finally:
            self._concurrent -= 1
        return response

    async def _respond(self, request: web.BaseRequest, seen: RecordedRequest) -> web.Response:
        """Answer a request, or refuse it in the form of the service it was meant for."""
        route = self._routes.find(seen.method, seen.path)
        try:
            answer = await self._answer(request, route, seen)
        except RefusalError as refusal:
            self._trace_number += 1
            service = Service.ACEDATA if route is None else route.spec.service
            answer = refusal.answer(service, fake_uuid(f"refusal {self._trace_number}"))
        return web.Response(body=msgspec.json.encode(answer.body), status=answer.status, headers=_HEADERS)

    async def _answer(self, request: web.BaseRequest, route: Route | None, seen: RecordedRequest) -> Answer:
        """Answer a request that has come through.

        Raises:
            RefusalError: It is refused.
        """
        is_useapi = route is not None and route.spec.service is Service.USEAPI
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            message = "Unauthorized" if is_useapi else "The specified token is invalid or wrong."
            raise RefusalError(401, "invalid_token", message)
        if route is None:
            raise RefusalError(404, "no_api", "API does not exist, please make sure url is correct.")
        spec = route.spec
        seen.provider = spec.slug
        if not route.asks:
            return await self._submit(spec, await _read_body(request), seen)
        is_query = seen.method == "GET"
        inquiry = read_query(spec, request.query) if is_query else read_inquiry(spec, await _read_body(request))
        seen.action, seen.ids = inquiry.action, inquiry.ids
        self.ids_asked += len(inquiry.ids)
        return self._desk.answer(spec, inquiry, now=_now())

    async def _submit(self, spec: ProviderSpec, body: Json, seen: RecordedRequest) -> Answer:
        """Take a submission: acknowledge it, or wait until it is done where nothing asks for less.

        Raises:
            RefusalError: It was waited for and is lost.
        """
        shape = shape_of(spec.slug)
        rule = self._script.take_rule(spec.slug)
        task = self._script.add(spec, rule, now=_now(), request=body, path=seen.path)
        self.submissions += 1
        seen.action, seen.ids = Action.SUBMIT, (task.id,)
        url = body.get(shape.callback_field)
        if isinstance(url, str) and url:
            self._promise_callback(spec, shape, task, url)
        if body.get("async") is True or url or not spec.accepts_async:
            look = shape.look(spec, task, now=task.created, epoch=self._epoch)
            return Answer(shape.ack_status, shape.ack(msgspec.structs.replace(look, phase=Phase.QUEUED)))
        await _sleep_until(task.finishes_at)
        if task.outcome is Outcome.NOT_FOUND:
            raise RefusalError(504, "timeout", "Timeout to generate.")
        look = shape.look(spec, task, now=max(_now(), task.finishes_at), epoch=self._epoch)
        status = shape.failed_status if look.phase is Phase.FAILED else 200
        return Answer(status, shape.response(look))

    def _promise_callback(self, spec: ProviderSpec, shape: Shape, task: ScriptedTask, url: str) -> None:
        """Have a callback posted when a task ends, if it does and is not lost."""
        if task.outcome is Outcome.NOT_FOUND or task.outcome is Outcome.FOREVER:
            return

        def build() -> bytes:
            look = shape.look(spec, task, now=max(_now(), task.finishes_at), epoch=self._epoch)
            return msgspec.json.encode(shape.callback(look))

        self._courier.take(task.finishes_at, task_id=task.id, url=url, build=build)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _outcome(name: Outcome | str | None) -> Outcome | None:
    return None if name is None else Outcome(name)


async def _read_body(request: web.BaseRequest) -> Json:
    """Read a request's body.

    Raises:
        RefusalError: It is no JSON object, or larger than the service takes.
    """
    try:
        body = msgspec.json.decode(await request.read())
    except web.HTTPRequestEntityTooLarge:
        raise RefusalError(413, "request_too_large", "Request body is too large.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RefusalError(400, "bad_request", "The request body is no JSON.") from None
    if not isinstance(body, dict):
        raise RefusalError(400, "bad_request", "The request body must be a JSON object.")
    return body


async def _sleep_until(when: float) -> None:
    """Sleep until a time on the loop's clock, or for good."""
    loop = asyncio.get_running_loop()
    if math.isinf(when):
        await loop.create_future()
    await asyncio.sleep(when - loop.time())
