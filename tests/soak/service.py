"""The service of the soak, in a process and on a core of its own, so that what is measured is the client alone.

It deals out its faults like cards: every kind is in the deck once, and a shuffled deck is dealt to its end before the
next, so that every kind comes about as often as any other, at a moment that nobody has chosen.
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
AWAY = 0.4
#: Where an answer to a batch is cut: at another number each time, since the same one twice is taken for a limit.
CUTS = (7, 17, 29, 41)
#: Whose service once takes no full batch any more. The client learns it, and the others' batches stay full.
_STRICT = "flux"
_PAGE = "<html><body><h1>We will be back soon</h1></body></html>"
_BUSY = {"error": {"code": "busy", "message": "busy"}}
_REFUSAL = "refused for a moment"


def shuffle(answer: object) -> object:
    """Answer in another order, with every record twice, a stranger's, and a `total` that is none."""
    stranger = {"id": "stranger", "response": {"success": True, "video_url": "https://cdn.example/not-yours.mp4"}}
    return {"items": [stranger, *reversed(answer["items"]), *answer["items"]], "total": 12345}


def spoil_one(answer: object) -> bytes:
    """Make the first record unreadable: a number that no float holds."""
    return msgspec.json.encode(answer).replace(b'{"items":[{', b'{"items":[{"created_at":1e999,', 1)


class Card(msgspec.Struct, frozen=True, eq=False):
    """A kind of fault.

    Attributes:
        name: What goes wrong.
        faults: What the service is told to do wrong; several are done in turn.
        fits: Tells which requests can be hit.
        most: How often it is dealt at most; None means as often as it comes.
    """

    name: str
    faults: list[dict[str, object]]
    fits: Callable[[RecordedRequest], bool] = lambda _: True
    most: int | None = None


def build_deck(load: Load, began: float) -> list[Card]:
    """List every kind of transient fault once.

    Args:
        load: What is soaked.
        began: When its tasks began, in seconds of the loop's clock.
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
        "reset in mid-answer": {"truncate": 0.3, "reset": True},
        "half a JSON": {"body": b'{"items": [{"id": "'},
        "empty body": {"body": b""},
        "HTML page with 200": {"body": _PAGE, "headers": {"Content-Type": "text/html"}},
        "wrong bytes": {"body": b"\xff\xfe\x00\x80"},
        "an error with 200": {"body": _BUSY},
        "500": {"status": 500},
        "500, Retry-After: 1": {"status": 500, "headers": asking(1)},
        "502": {"status": 502},
        "502, Retry-After: 2": {"status": 502, "headers": asking(2)},
        "503": {"status": 503},
        "503, Retry-After: 1": {"status": 503, "headers": asking(1)},
        "504": {"status": 504},
        "hang past the timeout": {"hang": load.timeout + 1.0},
        "slow drip": {"drip": load.timeout / 2},
        "split answer": {"split": 9},
        # Whatever is under way is cut, and until the service is back nobody gets in.
        _REFUSAL: {"reset": True},
    }
    cuts = [{"limit": kept} for kept in CUTS if kept < load.batch]
    return [
        *(Card(name, [fault]) for name, fault in plain.items()),
        # Each halves the rate for a minute. One of each shows that; more would leave little to soak.
        Card("429", [{"status": 429}], is_late, most=1),
        Card("429, Retry-After: 2", [{"status": 429, "headers": asking(2)}], is_late, most=1),
        Card("cut at k records", cuts, is_cuttable),
        Card("duplicates, another order", [{"edit": shuffle}], is_batch),
        Card("an unreadable record", [{"edit": spoil_one}], is_batch),
        Card("413", [{"status": 413}], is_large),
    ]


class Dealer:
    """Deals faults to requests, to the share of them that is wanted."""

    def __init__(self, deck: list[Card], load: Load) -> None:
        """Begin with none dealt.

        Args:
            deck: Every kind.
            load: Has the share, and the seed of chance.
        """
        self.refusal = asyncio.Event()
        self._faults: dict[str, list[Fault]] = {}
        self._times = dict.fromkeys((card.name for card in deck), 0)
        self._deck = deck
        self._share = load.share
        self._draw = random.Random(f"cards {load.seed}")
        self._dealt: list[Card] = []
        self._requests = 0
        self._seen: RecordedRequest | None = None
        self._card: Card | None = None

    @property
    def hits(self) -> dict[str, int]:
        """How many requests each kind has hit."""
        return {name: sum(fault.hits for fault in faults) for name, faults in self._faults.items()}

    def script(self, server: AceServer) -> None:
        """Tell a server what to do wrong, and when."""
        for card in self._deck:
            self._faults[card.name] = [
                server.fail(**fault, times=None, when=self._build_when(card, turn))
                for turn, fault in enumerate(card.faults)
            ]

    def _build_when(self, card: Card, turn: int) -> Callable[[RecordedRequest], bool]:
        def is_hit(seen: RecordedRequest) -> bool:
            # Asked of each fault in turn: the card is drawn once for each request.
            if seen is not self._seen:
                self._seen, self._card = seen, self._deal(seen)
            return self._card is card and (self._times[card.name] - 1) % len(card.faults) == turn

        return is_hit

    def _deal(self, seen: RecordedRequest) -> Card | None:
        """Draw a card for a request, or none."""
        self._requests += 1
        # By chance, but the more likely the more are owed: so the share is met closely even over few requests.
        owed = self._share * self._requests - sum(self._times.values())
        if self._draw.random() >= self._share * (1.0 + owed):
            return None
        card = next((card for card in self._dealt if card.fits(seen)), None)
        if card is None:
            self._dealt += self._draw.sample(self._deck, len(self._deck))
            card = next(card for card in self._dealt if card.fits(seen))
        self._dealt.remove(card)
        self._times[card.name] += 1
        if self._times[card.name] == card.most:
            self._deck.remove(card)
            self._dealt = [other for other in self._dealt if other is not card]
        if card.name == _REFUSAL:
            self.refusal.set()
        return card


class Stage(msgspec.Struct, frozen=True):
    """Where the service is.

    Attributes:
        url: Its address.
        began: When its tasks began, on the clock that all processes of the machine share.
    """

    url: str
    began: float


class Hits(msgspec.Struct, frozen=True):
    """What the service has done.

    Attributes:
        requests: How many it got.
        kinds: How many of them each kind of fault has hit.
        cpu: Seconds of its processor's time.
    """

    requests: int
    kinds: dict[str, int]
    cpu: float

    @property
    def faulty(self) -> int:
        """Requests that were answered badly, or not at all."""
        return sum(self.kinds.values())


class Service:
    """The service's process, seen from the client's."""

    def __init__(self, child: subprocess.Popen[bytes], stage: Stage) -> None:
        """Keep what was started; `serving` starts it."""
        self._child = child
        self.stage = stage

    def ask_hits(self) -> Hits:
        """Ask for what it has done."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(b"\n")
        self._child.stdin.flush()
        return msgspec.json.decode(self._child.stdout.readline(), type=Hits)


@contextlib.contextmanager
def serving(load: Load, core: int | None) -> Iterator[Service]:
    """Run the service while the context lasts.

    Args:
        load: What it holds.
        core: The core that it is kept to, or None.
    """
    command = [sys.executable, __file__, msgspec.json.encode((load, core)).decode()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            yield Service(child, msgspec.json.decode(child.stdout.readline(), type=Stage))
        finally:
            child.kill()


async def go_away(server: AceServer, dealer: Dealer) -> None:
    """Refuse connections for a moment, each time that this card is dealt."""
    while True:
        await dealer.refusal.wait()
        dealer.refusal.clear()
        await server.stop()
        await asyncio.sleep(AWAY)
        await server.start()


async def main(load: Load) -> None:
    """Be the service: tell where, and what was done when a line comes, until stdin closes."""
    async with AceServer(token=TOKEN, seed=load.seed, record_requests=False) as server:
        began = asyncio.get_running_loop().time()
        dealer = Dealer(build_deck(load, began), load)
        dealer.script(server)
        for task in plan_tasks(load):
            server.add(task.provider, id=task.id, after=task.after, outcome=task.outcome)
        going_away = asyncio.create_task(go_away(server, dealer))
        say(Stage(server.url, began))
        while await asyncio.to_thread(sys.stdin.buffer.readline):
            say(Hits(server.request_count, dealer.hits, time.process_time()))
        going_away.cancel()


def say(what: msgspec.Struct) -> None:
    """Write a line."""
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    own_load, own_core = msgspec.json.decode(sys.argv[1], type=tuple[Load, int | None])
    if own_core is not None:
        os.sched_setaffinity(0, {own_core})
    asyncio.run(main(own_load))
