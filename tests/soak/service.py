"""Simulated service of the soak test, in a separate process and on its own core, so that only the client is measured.

The kinds of faults are drawn from a shuffled list of all kinds, which is used up before it is shuffled again. So every
kind occurs about equally often and at random times.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from plan import TOKEN, Load, plan_tasks

from acetasks.testing import AceServer, Fault, RecordedRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds for which connections are refused.
REFUSAL_SECONDS = 0.4
#: Numbers of records after which a batch response is cut; they differ, since a repeated number would count as a limit.
CUTS = (7, 17, 29, 41)
#: The provider that stops to accept full batches. The client adapts to it; the batches of other providers stay full.
_STRICT = "flux"
_PAGE = "<html><body><h1>We will be back soon</h1></body></html>"
_BUSY = {"error": {"code": "busy", "message": "busy"}}
_REFUSAL = "connections refused"


def shuffle(answer: object) -> object:
    """Reverse and duplicate the records, add an unknown one, and send a wrong `total`."""
    stranger = {"id": "stranger", "response": {"success": True, "video_url": "https://cdn.example/not-yours.mp4"}}
    return {"items": [stranger, *reversed(answer["items"]), *answer["items"]], "total": 12345}


def spoil_one(answer: object) -> bytes:
    """Make the first record unreadable with a number beyond the range of floats."""
    return msgspec.json.encode(answer).replace(b'{"items":[{', b'{"items":[{"created_at":1e999,', 1)


class FaultKind(msgspec.Struct, frozen=True, eq=False):
    """A kind of fault.

    Attributes:
        name: Description of the fault.
        faults: Options for `AceServer.fail`; several are used in turn.
        fits: Whether a request can be hit.
        most: Maximum number of times it is used; None for no limit.
    """

    name: str
    faults: list[dict[str, object]]
    fits: Callable[[RecordedRequest], bool] = lambda _: True
    most: int | None = None


def build_kinds(load: Load, began: float) -> list[FaultKind]:
    """Return all kinds of transient faults.

    Args:
        load: Parameters of the soak test.
        began: Start time of the tasks (loop time).
    """

    def is_late(seen: RecordedRequest) -> bool:
        return seen.time > began + load.last / 2

    def is_batch(seen: RecordedRequest) -> bool:
        return len(seen.ids) > 1

    def is_large(seen: RecordedRequest) -> bool:
        return seen.provider == _STRICT and len(seen.ids) > load.batch // 2

    def is_cuttable(seen: RecordedRequest) -> bool:
        return len(seen.ids) > (max(CUTS) if load.batch > max(CUTS) else min(CUTS))

    def asking(seconds: int) -> dict[str, str]:
        return {"Retry-After": str(seconds)}

    plain = {
        "reset": {"reset": True},
        "truncated": {"truncate": 0.6},
        "reset during the response": {"truncate": 0.3, "reset": True},
        "truncated JSON": {"body": b'{"items": [{"id": "'},
        "empty body": {"body": b""},
        "HTML page with 200": {"body": _PAGE, "headers": {"Content-Type": "text/html"}},
        "wrong bytes": {"body": b"\xff\xfe\x00\x80"},
        "error object with 200": {"body": _BUSY},
        "500": {"status": 500},
        "500, Retry-After: 1": {"status": 500, "headers": asking(1)},
        "502": {"status": 502},
        "502, Retry-After: 2": {"status": 502, "headers": asking(2)},
        "503": {"status": 503},
        "503, Retry-After: 1": {"status": 503, "headers": asking(1)},
        "504": {"status": 504},
        "hang past the timeout": {"hang": load.timeout + 1.0},
        "slow drip": {"drip": load.timeout / 2},
        "split response": {"split": 9},
        # Open connections are reset, and new ones are refused until the service is back.
        _REFUSAL: {"reset": True},
    }
    cuts = [{"limit": kept} for kept in CUTS if kept < load.batch]
    return [
        *(FaultKind(name, [fault]) for name, fault in plain.items()),
        # Each halves the rate for a minute, so each is used once.
        FaultKind("429", [{"status": 429}], is_late, most=1),
        FaultKind("429, Retry-After: 2", [{"status": 429, "headers": asking(2)}], is_late, most=1),
        FaultKind("limited to k records", cuts, is_cuttable),
        FaultKind("duplicates, other order", [{"edit": shuffle}], is_batch),
        FaultKind("unreadable record", [{"edit": spoil_one}], is_batch),
        FaultKind("413", [{"status": 413}], is_large),
    ]


class FaultSelector:
    """Selects the requests that are hit and their faults, at the requested share."""

    def __init__(self, kinds: list[FaultKind], load: Load) -> None:
        """Start without any fault.

        Args:
            kinds: All kinds of faults.
            load: Parameters with the share and the seed.
        """
        self.refusal = asyncio.Event()
        self._faults: dict[str, list[Fault]] = {}
        self._times = dict.fromkeys((kind.name for kind in kinds), 0)
        self._kinds = kinds
        self._share = load.share
        self._rng = random.Random(f"cards {load.seed}")
        self._remaining: list[FaultKind] = []
        self._requests = 0
        self._seen: RecordedRequest | None = None
        self._kind: FaultKind | None = None

    @property
    def hits(self) -> dict[str, int]:
        """Number of requests hit by each kind."""
        return {name: sum(fault.hits for fault in faults) for name, faults in self._faults.items()}

    def script(self, server: AceServer) -> None:
        """Script the faults of a server."""
        for kind in self._kinds:
            self._faults[kind.name] = [
                server.fail(**fault, times=None, when=self._build_when(kind, turn))
                for turn, fault in enumerate(kind.faults)
            ]

    def _build_when(self, kind: FaultKind, turn: int) -> Callable[[RecordedRequest], bool]:
        def is_hit(seen: RecordedRequest) -> bool:
            # Called for each fault in turn; the kind is selected once for each request.
            if seen is not self._seen:
                self._seen, self._kind = seen, self._select(seen)
            return self._kind is kind and (self._times[kind.name] - 1) % len(kind.faults) == turn

        return is_hit

    def _select(self, seen: RecordedRequest) -> FaultKind | None:
        """Return the kind of fault for a request, or None."""
        self._requests += 1
        # Random, but more likely the further the share is behind, so that it is met closely even over few requests.
        owed = self._share * self._requests - sum(self._times.values())
        if self._rng.random() >= self._share * (1.0 + owed):
            return None
        kind = next((kind for kind in self._remaining if kind.fits(seen)), None)
        if kind is None:
            self._remaining += self._rng.sample(self._kinds, len(self._kinds))
            kind = next(kind for kind in self._remaining if kind.fits(seen))
        self._remaining.remove(kind)
        self._times[kind.name] += 1
        if self._times[kind.name] == kind.most:
            self._kinds.remove(kind)
            self._remaining = [other for other in self._remaining if other is not kind]
        if kind.name == _REFUSAL:
            self.refusal.set()
        return kind


class ServiceInfo(msgspec.Struct, frozen=True):
    """Address and start time of the service.

    Attributes:
        url: URL of the service.
        began: Start time of the tasks on the monotonic clock.
    """

    url: str
    began: float


class Hits(msgspec.Struct, frozen=True):
    """Counts of the service.

    Attributes:
        requests: Number of requests.
        kinds: Number of requests hit by each kind of fault.
        cpu: CPU seconds of the service.
    """

    requests: int
    kinds: dict[str, int]
    cpu: float

    @property
    def faulty(self) -> int:
        """Number of requests with a faulty response or none."""
        return sum(self.kinds.values())


class Service:
    """Handle of the service process in the client process."""

    def __init__(self, child: subprocess.Popen[bytes], info: ServiceInfo) -> None:
        """Store the process; `serving` starts it."""
        self._child = child
        self.info = info

    def fetch_hits(self) -> Hits:
        """Return the counts of the service."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(b"\n")
        self._child.stdin.flush()
        return msgspec.json.decode(self._child.stdout.readline(), type=Hits)


@contextlib.contextmanager
def serving(load: Load, core: int | None) -> Iterator[Service]:
    """Run the service process while the context is open.

    Args:
        load: The tasks and faults.
        core: The core to run on; None for any.
    """
    command = [sys.executable, __file__, msgspec.json.encode((load, core)).decode()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            yield Service(child, msgspec.json.decode(child.stdout.readline(), type=ServiceInfo))
        finally:
            child.kill()


async def refuse_connections(server: AceServer, selector: FaultSelector) -> None:
    """Refuse connections for a moment, each time that this fault is selected."""
    while True:
        await selector.refusal.wait()
        selector.refusal.clear()
        await server.stop()
        await asyncio.sleep(REFUSAL_SECONDS)
        await server.start()


async def main(load: Load) -> None:
    """Run the service: print its address, and its counts for each line on stdin, until stdin closes."""
    async with AceServer(token=TOKEN, seed=load.seed, record_requests=False) as server:
        began = asyncio.get_running_loop().time()
        selector = FaultSelector(build_kinds(load, began), load)
        selector.script(server)
        for task in plan_tasks(load):
            server.add(task.provider, id=task.id, after=task.after, outcome=task.outcome)
        refusing = asyncio.create_task(refuse_connections(server, selector))
        send(ServiceInfo(server.url, began))
        while await asyncio.to_thread(sys.stdin.buffer.readline):
            send(Hits(server.request_count, selector.hits, time.process_time()))
        refusing.cancel()


def send(value: msgspec.Struct) -> None:
    """Print a value as one line of JSON."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    own_load, own_core = msgspec.json.decode(sys.argv[1], type=tuple[Load, int | None])
    if own_core is not None:
        os.sched_setaffinity(0, {own_core})
    asyncio.run(main(own_load))
