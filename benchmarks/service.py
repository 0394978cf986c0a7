"""The service that everything is measured against: as lean as can be, so that it is never what is waited for.

It speaks the protocol of the documented tasks call, for one provider and with nothing going wrong, straight from the
bytes; `AceServer`, which can do everything else, takes six times as long for a batch. It runs in a process of its own,
is told on stdin when to begin, and counts what it is asked.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import TYPE_CHECKING, cast

import msgspec
from meters import Turns, pin
from plan import NEVER, PROVIDER, TOKEN, Load, plan_tasks
from records import PENDING, PROCESSING, QUEUED, write_end, write_head

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds from the word to begin to the start: the client has to hear of it.
_LEAD = 0.2
#: Connections that may wait to be accepted.
_BACKLOG = 4096
#: A task is queued for this share of its time, at most so many seconds, and says `pending` up to the other share.
_QUEUED_SHARE, _QUEUED_CEILING, _PENDING_SHARE = 0.1, 5.0, 0.2
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_CREDENTIALS = re.compile(rb"\r\nauthorization: bearer " + TOKEN.encode() + rb"\r\n", re.IGNORECASE)
_REQUEST_LINE = f"POST /{PROVIDER}/tasks HTTP/1.1\r\n".encode()
_HEAD_END = b"\r\n\r\n"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the service is started with.

    Attributes:
        load: What it holds.
        core: The processor core to run on; None for any.
    """

    load: Load
    core: int | None


class Counts(msgspec.Struct, kw_only=True):
    """What the service has been asked so far.

    Attributes:
        requests: Requests of all kinds.
        refused: Those of them that were answered with an error.
        ids: Ids asked, repeated ones included.
        connections: Connections opened.
        cpu: Seconds of processor time since the start.
        seconds: Seconds since the start.
        longest: The longest turn of its loop, in seconds.
    """

    requests: int = 0
    refused: int = 0
    ids: int = 0
    connections: int = 0
    cpu: float = 0.0
    seconds: float = 0.0
    longest: float = 0.0


class Question(msgspec.Struct):
    """The body of a tasks call."""

    action: str
    id: str | None = None
    ids: list[str] | None = None


class Held(msgspec.Struct):
    """A task that the service holds; times are on the monotonic clock.

    Attributes:
        id: Its id.
        head: What its record begins with.
        works_from: When the work on it begins.
        says_so_from: When its record begins to say so.
        ends_at: When it ends.
        end: What its record ends with, once it has been asked for.
    """

    id: str
    head: bytes
    works_from: float
    says_so_from: float
    ends_at: float
    end: bytes | None = None


class Service:
    """The tasks, and what was asked of them."""

    def __init__(self, load: Load) -> None:
        """Hold the tasks of a load; none of them moves before `begin`."""
        self.counts = Counts()
        self._epoch = time.time() - time.monotonic()
        self._planned = plan_tasks(load)
        created = time.time()
        self._held = {
            task.id: Held(task.id, write_head(task.id, created), NEVER, NEVER, NEVER) for task in self._planned
        }
        self._decoder = msgspec.json.Decoder(Question)
        self._date = b""

    def begin(self, start: float) -> None:
        """Let the tasks' time begin.

        Args:
            start: When, on the monotonic clock.
        """
        for task in self._planned:
            held = self._held[task.id]
            held.works_from = start + min(task.after * _QUEUED_SHARE, _QUEUED_CEILING)
            held.says_so_from = start + task.after * _PENDING_SHARE
            held.ends_at = start + task.after
        self.counts = Counts()

    def tick(self) -> None:
        """Write the date that answers carry; once a second will do."""
        self._date = time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime()).encode()

    def answer(self, head: bytes, body: bytes) -> list[bytes]:
        """Answer one request.

        Args:
            head: Its first line and headers, up to the empty line.
            body: Its body.

        Returns:
            The answer, in pieces.
        """
        self.counts.requests += 1
        if not head.startswith(_REQUEST_LINE):
            return self._refuse(b"404 Not Found", b"no_api")
        if not _CREDENTIALS.search(head):
            return self._refuse(b"401 Unauthorized", b"invalid_token")
        try:
            question = self._decoder.decode(body)
        except msgspec.DecodeError:
            return self._refuse(b"400 Bad Request", b"bad_request")
        now = time.monotonic()
        if question.action == "retrieve_batch" and question.ids is not None:
            self.counts.ids += len(question.ids)
            found = [self._write(held, now) for held in map(self._held.get, question.ids) if held is not None]
            return self._wrap(b"200 OK", [b'{"items":[', b",".join(found), b'],"count":%d}' % len(found)])
        if question.action == "retrieve" and question.id is not None:
            self.counts.ids += 1
            one = self._held.get(question.id)
            return self._wrap(b"200 OK", [b"{}" if one is None else self._write(one, now)])
        return self._refuse(b"400 Bad Request", b"bad_request")

    def _write(self, held: Held, now: float) -> bytes:
        if now >= held.ends_at:
            if held.end is None:
                held.end = write_end(held.id, self._epoch + held.ends_at)
            return held.head + held.end
        if now >= held.says_so_from:
            return held.head + PROCESSING
        return held.head + (PENDING if now >= held.works_from else QUEUED)

    def _refuse(self, status: bytes, code: bytes) -> list[bytes]:
        self.counts.refused += 1
        return self._wrap(status, [b'{"error":{"code":"%s","message":"refused"}}' % code])

    def _wrap(self, status: bytes, body: Sequence[bytes]) -> list[bytes]:
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%sServer: lean\r\n\r\n"
        return [head % (status, sum(map(len, body)), self._date), *body]


class Connection(asyncio.Protocol):
    """One connection, on which requests come one after the other."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._come = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        self._transport = cast("asyncio.Transport", transport)
        self._service.counts.connections += 1

    def data_received(self, data: bytes) -> None:
        """Answer every request that has come whole."""
        self._come += data
        while self._transport is not None and (end := self._come.find(_HEAD_END)) >= 0:
            head = self._come[: end + 2]
            begin = end + len(_HEAD_END)
            length = _LENGTH.search(head)
            stop = begin + (int(length[1]) if length else 0)
            if len(self._come) < stop:
                return
            body, self._come = self._come[begin:stop], self._come[stop:]
            self._transport.write(b"".join(self._service.answer(head, body)))


async def serve(job: Job, turns: Turns) -> None:
    """Serve until stdin closes, and do what is said there: `begin`, `report`."""
    loop = asyncio.get_running_loop()
    service = Service(job.load)
    listener = await loop.create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=_BACKLOG)
    host, port = listener.sockets[0].getsockname()[:2]
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    ticking = asyncio.create_task(_tick(service))
    _say(f"http://{host}:{port}")
    start = cpu = 0.0
    while command := (await commands.readline()).strip():
        if command == b"begin":
            start = time.monotonic() + _LEAD
            service.begin(start)
            turns.clear()
            cpu = time.process_time()
            _say(start)
        else:
            counts = service.counts
            counts.cpu, counts.seconds = time.process_time() - cpu, time.monotonic() - start
            counts.longest = max(turns.wall, default=0.0)
            _say(counts)
    ticking.cancel()
    listener.close()


async def _tick(service: Service) -> None:
    while True:
        service.tick()
        await asyncio.sleep(1)


def _say(what: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Be the service."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    pin(job.core)
    turns = Turns()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(turns)) as runner:
        runner.run(serve(job, turns))


if __name__ == "__main__":
    main()
