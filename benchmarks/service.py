"""Benchmark service: a minimal HTTP server, fast enough that it is never the bottleneck.

It implements the documented tasks endpoint for one provider, without faults, on raw bytes; the full-featured
`AceServer` takes six times as long for a batch. It runs in a separate process, reads commands from stdin and counts
requests.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import TYPE_CHECKING, cast

import msgspec
from meters import LoopTimer, pin
from plan import NEVER, PROVIDER, TOKEN, Load, plan_tasks
from records import PENDING, PROCESSING, QUEUED, write_end, write_head

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds from the `begin` command to the start, so that the client learns of it in time.
_LEAD = 0.2
#: Maximum number of connections waiting to be accepted.
_BACKLOG = 4096
#: Share of its duration during which a task is queued, the maximum of that in seconds, and the share up to which its
#: state is `pending`.
_QUEUED_SHARE, _QUEUED_CEILING, _PENDING_SHARE = 0.1, 5.0, 0.2
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_CREDENTIALS = re.compile(rb"\r\nauthorization: bearer " + TOKEN.encode() + rb"\r\n", re.IGNORECASE)
_REQUEST_LINE = f"POST /{PROVIDER}/tasks HTTP/1.1\r\n".encode()
_HEAD_END = b"\r\n\r\n"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of the service process.

    Attributes:
        load: The tasks.
        core: The CPU core to run on; None for any.
    """

    load: Load
    core: int | None


class Counts(msgspec.Struct, kw_only=True):
    """Counts of the service.

    Attributes:
        requests: Number of requests.
        refused: Number of requests with an error response.
        ids: Number of polled ids, repeated ones included.
        connections: Number of opened connections.
        cpu: CPU seconds since the start.
        seconds: Seconds since the start.
        longest: Duration of the longest loop iteration in seconds.
    """

    requests: int = 0
    refused: int = 0
    ids: int = 0
    connections: int = 0
    cpu: float = 0.0
    seconds: float = 0.0
    longest: float = 0.0


class TasksRequest(msgspec.Struct):
    """Body of a request to the tasks endpoint."""

    action: str
    id: str | None = None
    ids: list[str] | None = None


class StoredTask(msgspec.Struct):
    """A task of the service. Times are on the monotonic clock.

    Attributes:
        id: The task id.
        head: First part of its record.
        pending_at: Time at which its state becomes `pending`.
        processing_at: Time at which its state becomes `processing`.
        ends_at: Time at which it ends.
        end: Last part of its final record; built on first use.
    """

    id: str
    head: bytes
    pending_at: float
    processing_at: float
    ends_at: float
    end: bytes | None = None


class Service:
    """The tasks and the request counts."""

    def __init__(self, load: Load) -> None:
        """Create the tasks of a load; they stay queued until `begin`."""
        self.counts = Counts()
        self._epoch = time.time() - time.monotonic()
        self._planned = plan_tasks(load)
        created = time.time()
        self._tasks = {
            task.id: StoredTask(task.id, write_head(task.id, created), NEVER, NEVER, NEVER) for task in self._planned
        }
        self._decoder = msgspec.json.Decoder(TasksRequest)
        self._date = b""

    def begin(self, start: float) -> None:
        """Start the tasks.

        Args:
            start: Start time on the monotonic clock.
        """
        for task in self._planned:
            stored = self._tasks[task.id]
            stored.pending_at = start + min(task.after * _QUEUED_SHARE, _QUEUED_CEILING)
            stored.processing_at = start + task.after * _PENDING_SHARE
            stored.ends_at = start + task.after
        self.counts = Counts()

    def tick(self) -> None:
        """Update the date header of the responses; called once a second."""
        self._date = time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime()).encode()

    def respond(self, head: bytes, body: bytes) -> list[bytes]:
        """Return the response to one request.

        Args:
            head: Request line and headers, up to the empty line.
            body: Request body.

        Returns:
            The response in pieces.
        """
        self.counts.requests += 1
        if not head.startswith(_REQUEST_LINE):
            return self._error(b"404 Not Found", b"no_api")
        if not _CREDENTIALS.search(head):
            return self._error(b"401 Unauthorized", b"invalid_token")
        try:
            request = self._decoder.decode(body)
        except msgspec.DecodeError:
            return self._error(b"400 Bad Request", b"bad_request")
        now = time.monotonic()
        if request.action == "retrieve_batch" and request.ids is not None:
            self.counts.ids += len(request.ids)
            found = [self._write(stored, now) for stored in map(self._tasks.get, request.ids) if stored is not None]
            return self._response(b"200 OK", [b'{"items":[', b",".join(found), b'],"count":%d}' % len(found)])
        if request.action == "retrieve" and request.id is not None:
            self.counts.ids += 1
            one = self._tasks.get(request.id)
            return self._response(b"200 OK", [b"{}" if one is None else self._write(one, now)])
        return self._error(b"400 Bad Request", b"bad_request")

    def _write(self, stored: StoredTask, now: float) -> bytes:
        if now >= stored.ends_at:
            if stored.end is None:
                stored.end = write_end(stored.id, self._epoch + stored.ends_at)
            return stored.head + stored.end
        if now >= stored.processing_at:
            return stored.head + PROCESSING
        return stored.head + (PENDING if now >= stored.pending_at else QUEUED)

    def _error(self, status: bytes, code: bytes) -> list[bytes]:
        self.counts.refused += 1
        return self._response(status, [b'{"error":{"code":"%s","message":"refused"}}' % code])

    def _response(self, status: bytes, body: Sequence[bytes]) -> list[bytes]:
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%sServer: lean\r\n\r\n"
        return [head % (status, sum(map(len, body)), self._date), *body]


class Connection(asyncio.Protocol):
    """One HTTP connection with sequential requests."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._service.counts.connections += 1

    def data_received(self, data: bytes) -> None:
        """Respond to every complete request."""
        self._received += data
        while self._transport is not None and (end := self._received.find(_HEAD_END)) >= 0:
            head = self._received[: end + 2]
            begin = end + len(_HEAD_END)
            length = _LENGTH.search(head)
            stop = begin + (int(length[1]) if length else 0)
            if len(self._received) < stop:
                return
            body, self._received = self._received[begin:stop], self._received[stop:]
            self._transport.write(b"".join(self._service.respond(head, body)))


async def serve(job: Job, timer: LoopTimer) -> None:
    """Serve until stdin closes, and run the commands `begin` and `report` from stdin."""
    loop = asyncio.get_running_loop()
    service = Service(job.load)
    listener = await loop.create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=_BACKLOG)
    host, port = listener.sockets[0].getsockname()[:2]
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    ticking = asyncio.create_task(_tick(service))
    _send(f"http://{host}:{port}")
    start = cpu = 0.0
    while command := (await commands.readline()).strip():
        if command == b"begin":
            start = time.monotonic() + _LEAD
            service.begin(start)
            timer.clear()
            cpu = time.process_time()
            _send(start)
        else:
            counts = service.counts
            counts.cpu, counts.seconds = time.process_time() - cpu, time.monotonic() - start
            counts.longest = max(timer.wall, default=0.0)
            _send(counts)
    ticking.cancel()
    listener.close()


async def _tick(service: Service) -> None:
    while True:
        service.tick()
        await asyncio.sleep(1)


def _send(value: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Run the service process."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    pin(job.core)
    timer = LoopTimer()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(timer)) as runner:
        runner.run(serve(job, timer))


if __name__ == "__main__":
    main()
