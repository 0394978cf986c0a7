"""Service of the fleet simulation: stateless, in the loop of the clients, in place of aiohttp.

Everything about a task is in its id, so that the service keeps nothing about a million of them. Its records are those
of `AceServer` for a queued, a running and a succeeded task of each provider.
"""

from __future__ import annotations

import asyncio
import email.utils
import functools
import time
from array import array
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from acetasks._http import Response
from acetasks._http.aiohttp_backend import POOL_SIZE
from acetasks.providers import lookup
from acetasks.testing.rules import Outcome
from acetasks.testing.samples import template_for
from acetasks.testing.scenario import MAX_QUEUED, QUEUED_FRACTION, ScriptedTask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from acetasks._http import Request
    from acetasks._http.delivery import Delivery

#: Start of the clock in seconds since the epoch, with a fraction so that it is not aligned to seconds.
EPOCH = 1_790_000_000.37
#: Seconds of a poll and of a submission, there and back.
POLL_LATENCY, SUBMIT_LATENCY = 0.1, 0.5
#: Seconds before the start at which a task may have begun: ids have no negative times.
_BEFORE = 86_400.0
#: What stands for an id and for the times of a task in a template; each appears nowhere else.
_ID = "11111111-2222-4333-8444-555555555555"
_CREATED, _STARTED, _ENDED = 1_111_111_111.5, 1_222_222_222.5, 1_333_333_333.5


class Work(NamedTuple):
    """What an id says about its task. Times are in seconds of the virtual clock."""

    begin: float
    end: float

    @property
    def starts_at(self) -> float:
        """Time at which the task leaves the queue."""
        return self.begin + min(QUEUED_FRACTION * (self.end - self.begin), MAX_QUEUED)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a submission: its number, and the seconds that its task takes."""

    number: int
    seconds: float


class Traffic:
    """What one client has sent.

    Attributes:
        polls: Time of each poll.
        submissions: Time of each submission.
        ids: Number of polled ids by provider, repeated ones included.
        seconds: CPU seconds of the service.
    """

    def __init__(self) -> None:
        self.polls, self.submissions = array("d"), array("d")
        self.ids: dict[str, int] = {}
        self.seconds = 0.0


class Wire:
    """Takes the place of `AiohttpBackend` in one client: passes its requests to the service, and counts them.

    Attributes:
        traffic: What the client has sent.
        alive: Set unless the client is dead, so that no request leaves and no response arrives any more.
        max_connections: As of the client's own session.
    """

    max_connections = POOL_SIZE

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.alive = asyncio.Event()
        self.alive.set()

    async def send(
        self,
        _base_url: str,
        request: Request,
        _token: object,
        *,
        delivery: Delivery | None = None,
        proxy: object = None,  # noqa: ARG002  # there is none
    ) -> Response:
        """Return the response to a request, after its latency."""
        await self.alive.wait()
        traffic, now, started = self.traffic, asyncio.get_running_loop().time(), time.thread_time()
        if delivery is not None:
            delivery.write()
            traffic.submissions.append(now)
            latency = SUBMIT_LATENCY
            response = _accept(request, now + latency / 2)
        else:
            traffic.polls.append(now)
            traffic.ids[request.provider] = traffic.ids.get(request.provider, 0) + len(request.ids)
            latency = POLL_LATENCY
            response = _report(request, now + latency / 2)
        traffic.seconds += time.thread_time() - started
        await asyncio.sleep(latency)
        await self.alive.wait()
        return response

    async def close(self) -> None:
        """Do nothing; there are no connections."""


def write_id(number: int, begin: float, end: float) -> str:
    """Return the id of a task, as long as a UUID; times of the virtual clock, to the millisecond."""
    return f"{number:08x}-{1000 * (begin + _BEFORE):014.0f}-{1000 * (end + _BEFORE):012.0f}"


def read_id(task_id: str) -> Work:
    """Return what an id says about its task."""
    return Work(int(task_id[9:23]) / 1000 - _BEFORE, int(task_id[24:]) / 1000 - _BEFORE)


def _accept(request: Request, now: float) -> Response:
    order = _orders.decode(request.body)
    task_id = write_id(order.number, now, now + order.seconds)
    return _respond(now, b'{"success":true,"task_id":"%s","trace_id":"%s"}' % (task_id.encode(), task_id.encode()))


def _report(request: Request, now: float) -> Response:
    templates = _read_templates(request.provider)
    records = [_write_record(templates, task_id, now) for task_id in request.ids]
    if len(records) == 1:
        return _respond(now, records[0])
    return _respond(now, b'{"items":[%s],"count":%d}' % (b",".join(records), len(records)))


def _respond(now: float, body: bytes) -> Response:
    return Response(status=200, headers={"date": _write_date(int(EPOCH + now))}, body=body)


def _write_record(templates: Sequence[bytes], task_id: str, now: float) -> bytes:
    work = read_id(task_id)
    starts_at = work.starts_at
    values: Mapping[bytes, object] = {
        b"id": task_id.encode(),
        b"created": EPOCH + work.begin,
        b"started": EPOCH + starts_at,
        b"ended": EPOCH + work.end,
        b"elapsed": work.end - starts_at,
    }
    return templates[(now >= starts_at) + (now >= work.end)] % values


@functools.cache
def _read_templates(provider: str) -> tuple[bytes, bytes, bytes]:
    """Return the records of a queued, a running and a succeeded task, with places for its id and times."""
    task = ScriptedTask(
        provider=provider,
        id=_ID,
        outcome=Outcome.SUCCEEDED,
        created=_CREATED,
        visible_at=_CREATED,
        starts_at=_STARTED,
        ends_at=_ENDED,
        progress=50.0,
    )
    spec, template = lookup(provider), template_for(provider)
    queued, running, succeeded = (
        _build_template(msgspec.json.encode(template.record(template.snapshot(spec, task, now=now, epoch=0.0))))
        for now in (_CREATED, _STARTED, _ENDED)
    )
    return queued, running, succeeded


def _build_template(record: bytes) -> bytes:
    text = record.replace(b"%", b"%%").replace(_ID.encode(), b"%(id)s")
    for name, seconds in (
        (b"created", _CREATED),
        (b"started", _STARTED),
        (b"ended", _ENDED),
        (b"elapsed", _ENDED - _STARTED),
    ):
        text = text.replace(b"%.1f" % seconds, b"%%(%s).3f" % name)
    return text


@functools.lru_cache(maxsize=16)
def _write_date(second: int) -> str:
    """Return a time in the HTTP date format."""
    return email.utils.formatdate(second, usegmt=True)


_orders = msgspec.json.Decoder(Order)
