"""The simulated service: a real HTTP server that speaks as the documented services do, for tests without a network.

It serves both services at one address: the tasks calls and submissions of every provider in the table, and of any
other slug in the standard way. Its time is its event loop's, so that on a virtual clock a video takes no time at
all, and all chance comes from one seed, so that every run is the same. What tasks do is in `script`, what records
look like in `shapes` and `gallery`, what a tasks call answers in `desk`, what goes wrong in `faults`; a request comes
in through `door` and `reception` and its answer leaves through `delivery`. Here all of them meet.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

import msgspec

from acetasks.providers.table import lookup
from acetasks.testing.answers import Answer, RefusalError, build_refusal
from acetasks.testing.courier import Courier, RecordedCallback
from acetasks.testing.delivery import Letter, Manner, hold, send, sleep_until
from acetasks.testing.desk import Desk
from acetasks.testing.door import Door
from acetasks.testing.faults import Edit, Effect, Fault, Faults, FaultyFunctionError, When
from acetasks.testing.gallery import shape_of
from acetasks.testing.looks import Json, fake_uuid
from acetasks.testing.reception import Question, Reception, RecordedRequest, Submission
from acetasks.testing.script import Outcome, Phase, Rule, Script, ScriptedTask

if TYPE_CHECKING:
    import types
    from collections.abc import Mapping

    from aiohttp import web

    from acetasks.providers.spec import ProviderSpec
    from acetasks.testing.reception import Errand
    from acetasks.testing.shapes import Shape

#: Connections that may wait to be accepted: a thousand clients may come at once, and the system's default of 100
#: would make the rest of them try again a second later.
BACKLOG = 1024
#: How the answer to a request leaves that no fault hits.
_PLAINLY = Manner()
#: What ends a test from outside, or a program: nothing may come in its place.
_ENDS = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)


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
            seed: Of all that is drawn: ids, durations, failures, and by itself whom a fault hits.
            epoch: What the loop's clock counts from, in seconds since the epoch, for the times in records and the
                dates of answers.
            host: The address to listen at.
            port: The port to listen at; 0 takes a free one.
            speed: What every scripted time of a task is divided by.
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
        self._faults = Faults(seed=seed)
        self._mistakes: list[BaseException] = []
        self._reception = Reception()
        self._courier = Courier(self.callbacks.append)
        self._url = ""
        self._door: Door | None = None
        self._listener: asyncio.Server | None = None

    def __repr__(self) -> str:
        where = f"open at {self._url}" if self._listener else "closed"
        return f"<AceServer {where} tasks={len(self.tasks)} requests={self.request_count}>"

    @property
    def url(self) -> str:
        """Where it listens, such as `http://127.0.0.1:41234`; it stays the same after a stop and another start.

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
        """Begin to listen; after a stop, again at the same address and with the tasks and faults that there were.

        Raises:
            RuntimeError: It listens already.
            OSError: The port is taken.
        """
        if self._listener is not None:
            raise RuntimeError(f"the server listens already, at {self._url}")
        door = Door(self._receive, opened=self._count_opened, closed=self._count_closed)
        self._listener = await asyncio.get_running_loop().create_server(door, self._host, self._port, backlog=BACKLOG)
        self._door = door
        host, self._port = self._listener.sockets[0].getsockname()[:2]
        self._url = f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"
        return self

    async def stop(self) -> None:
        """Close every connection at once, whatever waits for an answer, and forget callbacks not yet posted.

        Clients are refused a connection then, until another `start`.

        Raises:
            BaseException: What the `when` or `edit` of a fault has raised, the first if there were several: those of a
                test's author must not go by unseen, whatever the client makes of the answer.
        """
        await self._close()
        if self._mistakes:
            raise self._take_mistake()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        await self._close()
        if not self._mistakes:
            return
        mistake = self._take_mistake()
        if isinstance(error, _ENDS):
            error.add_note(f"before that, a function that a fault was given had raised {mistake!r}")
            return
        raise mistake

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

    def fail(
        self,
        provider: str | None = None,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        edit: Edit | None = None,
        limit: int | None = None,
        hang: float | None = None,
        reset: bool = False,
        truncate: float | None = None,
        drip: float | None = None,
        split: int | None = None,
        times: int | msgspec.UnsetType | None = msgspec.UNSET,
        rate: float | None = None,
        when: When | None = None,
    ) -> Fault:
        """Say what goes wrong with the next requests.

        Faults are tried in the order in which they were scripted, and a request is hit by the first that is for it, by
        one at most. A request that is hit is processed as usual when it comes - so a submission makes its task, and is
        paid for - unless `status` or `body` replace the real answer. All else is done to the answer, real or not, and
        goes together: first the silence, then the head, then the body in its pieces, then the cut. Seconds are those
        of the event loop's clock, and the server's `speed` does not divide them.

        What `when` and `edit` raise is answered with a 500 that names it, at once, and raised again by `stop` or at
        the end of `async with`, in place of whatever error the 500 has led to.

        Args:
            provider: The slug of the provider whose requests are hit; None means every request, whatever it is for,
                those for unknown paths and with a wrong token too.
            status: The HTTP status, from 200 to 599, that is answered without processing the request. Without a
                `body` the answer is what the service documents for it, in its own form: the codes `bad_request`
                (400), `invalid_token` (401), `used_up` (402), `forbidden` (403), `no_api` (404), `request_too_large`
                (413), `too_many_requests` (429), `api_error` (500) and `timeout` (504); for 502 and 503 a gateway's
                page of HTML, since no service answers then; for any other the code of 400 or 500; below 400 nothing.
                With `edit` the request is processed, and its answer gets this status: a 502 after the work is done.
            headers: Headers that are added to the answer or replace its own, such as `Retry-After` or `Date`.
            body: What is answered without processing the request: bytes and text as they are, anything else as
                JSON; None means no such thing. The status is 200 unless given, the type `application/json` unless the
                headers say otherwise.
            edit: Gets the decoded JSON of the real answer and returns what is sent instead, or bytes that are sent as
                they are: for duplicates, strangers, another order, records that cannot be read.
            limit: How many records the answer to a batch or a history has at most, which it does not tell; no other
                requests are hit then.
            hang: Seconds of silence before the answer; `math.inf` for no answer until the client leaves.
            reset: Whether the connection is reset, without a byte of an answer, or with `truncate` after that share.
            truncate: The share of the body, from 0 to less than 1, after which the connection ends, although the
                whole length was announced.
            drip: Seconds over which the body comes, in 50 pieces or as many as `split` says: the first at once, the
                last at the end. With `math.inf` nothing comes after the first.
            split: In how many writes the body comes, of at least a byte each, which cut characters in two as well.
            times: How many requests are hit; None means all until `Fault.stop`. Unless given, 1, or None with `rate`.
            rate: The share of the requests it is for that are hit, above 0 and up to 1, drawn from a source of the
                fault's own, so that the draws of tasks and other faults stay as they are; None means all.
            when: Says of a request which the fault is for whether it is hit, by its provider, action, ids, path,
                method and time; a submission has no id yet.

        Returns:
            The fault, which tells how many requests it has hit, and can be stopped.

        Raises:
            TypeError: A value is of the wrong kind.
            ValueError: Nothing goes wrong, a number is out of its range, or one value leaves nothing of another to be
                seen.
            UnknownProviderError: The provider's name can be none.
        """
        manner = Manner(headers=headers, hang=hang, reset=reset, truncate=truncate, drip=drip, split=split)
        effect = Effect(status=status, body=body, edit=edit, limit=limit, manner=manner)
        if times is msgspec.UNSET:
            times = 1 if rate is None else None
        return self._faults.add(effect, provider=provider, times=times, rate=rate, when=when)

    def clear_faults(self) -> None:
        """Stop every fault, and forget them; requests that are hit already go on as scripted."""
        self._faults.clear()

    def clear_requests(self) -> None:
        """Forget the requests and callbacks so far, and count from 0 again; open connections and faults stay."""
        self.requests.clear()
        self.callbacks.clear()
        self.request_count = self.ids_asked = self.submissions = 0
        self.connections = self.open_connections
        self.max_concurrent = self._concurrent

    async def _close(self) -> None:
        """Close what is open, and wait until all that was under way has ended."""
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

    def _take_mistake(self) -> BaseException:
        """Take the first of what functions of the author's have raised, and forget the rest."""
        first = self._mistakes[0]
        self._mistakes.clear()
        return first

    def _count_opened(self) -> None:
        self.connections += 1
        self.open_connections += 1

    def _count_closed(self) -> None:
        self.open_connections -= 1

    async def _receive(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take a request, count it and answer it: the one way that every request comes in by."""
        seen = RecordedRequest(time=_now(), method=request.method, path=request.path)
        self.request_count += 1
        if self._keeps_requests:
            self.requests.append(seen)
        self._concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self._concurrent)
        try:
            return await self._respond(request, seen)
        finally:
            self._concurrent -= 1

    async def _respond(self, request: web.BaseRequest, seen: RecordedRequest) -> web.StreamResponse:
        """Understand a request, choose what goes wrong with it, answer it or not, and deliver the answer or not."""
        errand = await self._reception.read(request, seen, token=self.token)
        if isinstance(errand.wish, Question):
            self.ids_asked += len(seen.ids)
        manner = _PLAINLY
        try:
            fault = seen.fault = self._faults.choose(seen)
            letter = await self._answer(errand, fault, seen)
            if fault is not None:
                manner = fault.effect.manner
        except FaultyFunctionError as error:
            self._mistakes.append(error.cause)
            letter = _write(RefusalError(500, "api_error", str(error)).answer(errand.service, self._new_trace()))
        await hold(request, manner)
        seen.status = letter.status
        return await send(request, letter, manner, today=self._epoch + _now())

    async def _answer(self, errand: Errand, fault: Fault | None, seen: RecordedRequest) -> Letter:
        """Write the answer to a request: the real one, or what a fault has in its place.

        Raises:
            FaultyFunctionError: The fault's `edit` has raised something.
        """
        if fault is not None and fault.effect.replaces:
            return fault.effect.replace(errand.service, self._new_trace())
        try:
            answer = await self._process(errand.wish, None if fault is None else fault.effect.limit, seen)
        except RefusalError as refusal:
            answer = refusal.answer(errand.service, self._new_trace())
        letter = _write(answer)
        return letter if fault is None else fault.rewrite(letter)

    async def _process(
        self, wish: Question | Submission | RefusalError, limit: int | None, seen: RecordedRequest
    ) -> Answer:
        """Do what a request is for.

        Raises:
            RefusalError: It is refused.
        """
        if isinstance(wish, RefusalError):
            raise wish
        if isinstance(wish, Submission):
            return await self._submit(wish.spec, wish.body, seen)
        return self._desk.answer(wish.spec, wish.inquiry, now=_now(), ceiling=limit)

    def _new_trace(self) -> str:
        """Make up the id of a request that is refused."""
        self._trace_number += 1
        return fake_uuid(f"refusal {self._trace_number}")

    async def _submit(self, spec: ProviderSpec, body: Json, seen: RecordedRequest) -> Answer:
        """Take a submission: acknowledge it, or wait until it is done where nothing asks for less.

        Raises:
            RefusalError: It was waited for and is lost.
        """
        shape = shape_of(spec.slug)
        rule = self._script.take_rule(spec.slug)
        task = self._script.add(spec, rule, now=_now(), request=body, path=seen.path)
        self.submissions += 1
        seen.ids = (task.id,)
        url = body.get(shape.callback_field)
        if isinstance(url, str) and url:
            self._promise_callback(spec, shape, task, url)
        if body.get("async") is True or url or not spec.accepts_async:
            look = shape.look(spec, task, now=task.created, epoch=self._epoch)
            return Answer(shape.ack_status, shape.ack(msgspec.structs.replace(look, phase=Phase.QUEUED)))
        await sleep_until(task.finishes_at)
        if task.outcome is Outcome.NOT_FOUND:
            raise build_refusal(spec.service, 504)
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


def _write(answer: Answer) -> Letter:
    return Letter(status=answer.status, content=msgspec.json.encode(answer.body))
