"""Dispatch: which batch may leave next, when, and with how many ids."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import PollPolicy, RateLimitError, RetryPolicy, TransportError
from acetasks.batching import Lane
from acetasks.dispatch import Departure, Dispatch
from acetasks.entries import Batch, Entry
from acetasks.holds import Holds
from acetasks.limits import LIMIT_KEPT
from acetasks.providers import lookup
from acetasks.worth import Worth

if TYPE_CHECKING:
    from collections.abc import Sequence

#: At a draw of 0.5 the delays after failures are 1, 2, 4, 8, 8 s, and so on.
RETRY = RetryPolicy(attempts=3, base=2.0, cap=16.0)
LUMA, FLUX, VEO, JOB = (Lane(slug) for slug in ("luma", "flux", "veo", "useapi-pixverse"))
#: Luma's tasks that are under suspicion.
DOUBTED = Lane("luma", 2)
#: Where it does not matter.
SOME = Worth(0.01, 0.0)
#: That of a look that may wait.
SPARE = Worth(0.01, 0.0, is_spare=True)


class Scene:
    """A dispatch, what it holds back from, and names for entries."""

    def __init__(self, policy: PollPolicy | None = None) -> None:
        self.policy = policy or PollPolicy()
        self.holds = Holds(self.policy, RETRY)
        self.dispatch = Dispatch(self.policy, self.holds)
        self.number = 0

    def add(self, lane: Lane, count: int = 1, *, due: float = 0.0, worth: Worth = SOME) -> list[Entry]:
        """Give some new ones their turn together."""
        entries = [Entry((lane.provider, f"t{self.number + place}")) for place in range(count)]
        self.dispatch.add(lane, Batch(entries), due, self.number, worth)
        self.number += count
        return entries

    def take(self, lane: Lane, now: float, *, is_spare: bool = False) -> Sequence[Entry]:
        """Have a batch leave."""
        taken = self.dispatch.take(Departure(now, lookup(lane.provider), lane, is_spare), now)
        for entry in taken.entries:
            entry.batch = None
        return list(taken.entries)

    def next(self, now: float, room: int = 8) -> tuple[float, Lane] | None:
        """Tell what may leave next, and when."""
        departure = self.dispatch.next(now, room)
        return None if departure is None else (departure.time, departure.lane)

    def fail(self, provider: str, times: int, now: float) -> None:
        """Have a provider fail some times."""
        for _ in range(times):
            error = TransportError("reset")
            list(self.holds.note_look(lookup(provider), [error], is_answered=False, sent_at=now, now=now, draw=0.5))


@pytest.fixture
def scene() -> Scene:
    """Nothing to do yet."""
    return Scene()


class TestTime:
    """When the next batch may leave."""

    def test_it_is_known_until_it_is_asked_for_again(self, scene: Scene) -> None:
        """Whoever comes meanwhile may make it earlier, and does not make it later."""
        assert scene.dispatch.departs_at == math.inf
        scene.add(LUMA, due=5.0)
        assert scene.dispatch.departs_at == 5.0
        scene.add(LUMA, due=3.0)
        scene.add(FLUX, due=4.0)
        assert scene.dispatch.departs_at == 3.0
        assert scene.next(3.0) == (3.0, LUMA)
        assert scene.dispatch.departs_at == 3.0
        scene.take(LUMA, 3.0)
        scene.next(3.0)
        assert scene.dispatch.departs_at == 4.0
        scene.next(3.0, room=0)
        assert scene.dispatch.departs_at == math.inf

    def test_nothing_leaves_where_nobody_has_a_turn(self, scene: Scene) -> None:
        """There is room, and nothing to use it for."""
        assert scene.next(0.0) is None
        assert scene.dispatch.is_crowded is False

    def test_a_batch_leaves_when_its_first_is_due(self, scene: Scene) -> None:
        """Not before, and at once if that is over."""
        scene.add(LUMA, due=10.0)

        assert scene.next(3.0) == (10.0, LUMA)
        assert scene.next(10.0) == (10.0, LUMA)
        assert scene.next(12.0) == (12.0, LUMA)

    def test_the_one_that_may_leave_first_is_next(self, scene: Scene) -> None:
        """Whatever the others will be worth."""
        scene.add(LUMA, 50, due=9.0, worth=Worth(1.0, -100.0))
        scene.add(FLUX, due=8.0, worth=Worth(1e-6, 0.0))

        assert scene.next(0.0) == (8.0, FLUX)

    def test_who_has_left_is_waited_for_no_more(self, scene: Scene) -> None:
        """A turn that was given up is nobody's."""
        (entry,) = scene.add(LUMA, due=5.0)
        scene.add(FLUX, due=9.0)
        scene.dispatch.discard(entry)

        assert scene.next(0.0) == (9.0, FLUX)

    def test_a_budget_holds_back_all(self) -> None:
        """What has left must be paid for first, whomever it was for."""
        scene = Scene(PollPolicy(max_rate=0.5))
        for lane in (LUMA, FLUX):
            scene.add(lane, due=1.0)
        scene.take(LUMA, 1.0)

        assert scene.next(1.0) == (3.0, FLUX)
        assert scene.next(3.0) == (3.0, FLUX)

    def test_a_pause_holds_back_a_service_and_not_another(self, scene: Scene) -> None:
        """A 429 is about everything under its token."""
        for lane in (LUMA, FLUX, JOB):
            scene.add(lane, due=1.0)
        error = RateLimitError("slow down", status=429, retry_after=30.0)
        list(scene.holds.note_look(lookup("luma"), [error], is_answered=False, sent_at=1.0, now=1.0, draw=0.5))

        assert scene.next(1.0) == (1.0, JOB)
        scene.take(JOB, 1.0)
        time, _ = scene.next(1.0) or (0.0, None)
        assert time >= 31.0

    @pytest.mark.parametrize(("interval", "later", "count"), [(5.0, 0.5, 9), (2.5, 0.25, 5), (20.0, 0.9375, 16)])
    def test_where_the_rate_is_used_up_some_leave_together(self, interval: float, later: float, count: int) -> None:
        """They wait for each other for a tenth of their interval, but no longer than until a whole burst is free."""
        scene = Scene(PollPolicy(interval=interval, start_rate=16.0))
        scene.add(LUMA, 5000)
        groups: list[tuple[float, int]] = []
        while len(groups) < 4:
            now, _ = scene.next(groups[-1][0] if groups else 100.0) or (0.0, None)
            left = 0
            while scene.next(now) == (now, LUMA):
                scene.dispatch.note_back("luma", len(scene.take(LUMA, now)))
                left += 1
            groups.append((now, left))

        period = 0.0625 + later
        assert groups == [(100.0, 16), *((100.0 + turn * period, count) for turn in (1, 2, 3))]


class TestWorth:
    """Of those that may leave now, the one that it is worth most to ask for."""

    @pytest.mark.parametrize(
        ("flux", "luma", "best"),
        [
            # One is worth hazard * t² / 2, and a request that much for each that it asks for.
            ((10, Worth(0.01, 0.0)), (10, Worth(0.02, 0.0)), LUMA),
            ((10, Worth(0.01, 0.0)), (1, Worth(0.05, 0.0)), FLUX),
            ((10, Worth(0.01, 0.0)), (1, Worth(0.2, 0.0)), LUMA),
            ((10, Worth(0.01, 0.0)), (1, Worth(0.01, -300.0)), LUMA),
            # No more than fit into it count.
            ((500, Worth(0.01, 0.0)), (50, Worth(0.011, 0.0)), LUMA),
        ],
    )
    def test_decides_among_lanes(
        self, scene: Scene, flux: tuple[int, Worth], luma: tuple[int, Worth], best: Lane
    ) -> None:
        """Not who was due first, nor how long ago."""
        scene.add(FLUX, flux[0], due=1.0, worth=flux[1])
        scene.add(LUMA, luma[0], due=60.0, worth=luma[1])

        assert scene.next(30.0) == (30.0, FLUX)
        assert scene.next(100.0) == (100.0, best)

    def test_decides_among_the_batches_of_a_lane(self, scene: Scene) -> None:
        """Those that are likelier to have ended go first, in one request."""
        slow = scene.add(LUMA, 50, due=1.0, worth=Worth(0.001, 0.0))
        fast = scene.add(LUMA, 30, due=2.0, worth=Worth(0.1, 0.0))

        assert scene.take(LUMA, 10.0) == [*fast, *slow[:20]]
        assert scene.take(LUMA, 10.0) == slow[20:]

    def test_nobody_is_put_off_for_ever(self, scene: Scene) -> None:
        """However little it is worth to ask for one, that grows until it is worth most."""
        scene.add(LUMA, due=0.0, worth=Worth(1e-5, 0.0))
        scene.add(FLUX, 50, due=0.0, worth=Worth(0.3, 0.0))
        now, taken = 0.0, None
        while taken != LUMA:
            now += 2.0
            _, taken = scene.next(now) or (0.0, None)
            if taken == FLUX:
                entries = scene.take(FLUX, now)
                scene.dispatch.add(FLUX, Batch(entries), now, 0, Worth(0.3, now))
                scene.dispatch.note_back("flux", len(entries))
            assert now < 10_000.0
        # 50 * 0.3 * 2² / 2 = 1e-5 * t² / 2
        assert now == pytest.approx(math.sqrt(50 * 0.3 * 4.0 / 1e-5), abs=2.0)

    def test_where_it_is_the_same_the_less_suspected_go_first(self, scene: Scene) -> None:
        """By the order of the lanes."""
        scene.add(DOUBTED, worth=SOME)
        scene.add(LUMA, worth=SOME)

        assert scene.next(10.0) == (10.0, LUMA)

    def test_who_has_a_short_interval_is_not_before_the_others_where_a_rate_holds_up_all(self) -> None:
        """What is worth most leaves, whoever could wait the longest for others to leave with."""
        scene = Scene(PollPolicy(start_rate=60.0))
        assert lookup("flux").poll_interval(None) < lookup("veo").poll_interval(None)
        scene.add(FLUX, 10_000, worth=Worth(0.01, 0.0))
        scene.add(VEO, 4500, worth=Worth(1.0, 0.0))
        asked: list[str] = []
        now = 1.0
        while len(asked) < 100:
            time, lane = scene.next(now) or (math.inf, FLUX)
            if time > now:  # who leaves then is told then
                now = time
                continue
            asked.append(lane.provider)
            scene.dispatch.note_back(lane.provider, len(scene.take(lane, now)))

        assert asked == ["veo"] * 90 + ["flux"] * 10


class TestRoom:
    """Room is left for each provider that has no request under way."""

    def test_there_is_nothing_next_without_room(self, scene: Scene) -> None:
        """Whoever is told so is to look again when something has come back."""
        scene.add(LUMA)

        assert scene.next(5.0, room=0) is None
        assert scene.dispatch.is_crowded is True
        assert scene.next(5.0, room=1) == (5.0, LUMA)
        assert scene.dispatch.is_crowded is False

    def test_a_provider_with_much_to_do_leaves_room_for_the_others(self, scene: Scene) -> None:
        """Its requests may hang, and hold up nobody else."""
        scene.add(LUMA, 1000, worth=Worth(1.0, -1000.0))
        scene.add(FLUX, due=100.0)
        scene.add(VEO, due=100.0)
        room = 6
        while scene.next(5.0, room) == (5.0, LUMA):
            assert scene.dispatch.is_crowded is False
            scene.take(LUMA, 5.0)
            room -= 1

        assert room == 2
        assert scene.dispatch.is_crowded is True
        assert scene.next(5.0, room) == (100.0, FLUX)
        assert scene.next(100.0, room) == (100.0, FLUX)
        scene.take(FLUX, 100.0)
        assert scene.next(100.0, 1) == (100.0, VEO)
        scene.dispatch.note_back("luma", 50)
        assert scene.next(100.0, 2) == (100.0, LUMA)

    def test_room_is_shared_out_where_there_is_less_than_there_are_providers(self, scene: Scene) -> None:
        """Each has a first request before any has a second."""
        lanes = [LUMA, FLUX, VEO, Lane("suno"), Lane("kling")]
        for lane in lanes:
            scene.add(lane, 200)
        left = []
        for room in (3, 2, 1):
            departure = scene.next(5.0, room)
            assert departure is not None
            left.append(departure[1])
            scene.take(departure[1], 5.0)

        assert len(set(left)) == 3
        assert scene.next(5.0, 0) is None

    def test_the_lanes_of_a_provider_share_its_room(self, scene: Scene) -> None:
        """Ids under suspicion are no provider of their own."""
        scene.add(LUMA, 200)
        scene.add(DOUBTED, 200)
        scene.add(FLUX, due=100.0)
        scene.take(LUMA, 5.0)

        assert scene.next(5.0, 1) == (100.0, FLUX)
        assert scene.dispatch.is_crowded is True


class TestSize:
    """How many ids a batch takes."""

    def test_riders_fill_the_room_of_a_batch(self, scene: Scene) -> None:
        """Those due next, in order; they cost nothing."""
        due = scene.add(LUMA, 20, due=5.0)
        later = scene.add(LUMA, 20, due=60.0)
        soon = scene.add(LUMA, 20, due=6.0)

        assert scene.take(LUMA, 5.0) == [*due, *soon, *later[:10]]
        assert scene.take(LUMA, 60.0) == later[10:]

    def test_a_provider_that_asks_for_pauses_takes_no_riders(self, scene: Scene) -> None:
        """Whoever is not due must not be asked for yet."""
        spec = lookup("useapi-pixverse")
        assert spec.min_interval > 0
        (due,) = scene.add(JOB, due=5.0)
        (later,) = scene.add(JOB, due=6.0)

        assert scene.take(JOB, 5.0) == [due]
        assert scene.next(5.0) == (6.0, JOB)
        assert scene.take(JOB, 6.0) == [later]

    def test_those_who_fill_a_batch_are_given_as_they_came(self, scene: Scene) -> None:
        """The very batch that was added; where one has left, those who stay."""
        whole, lacking = (Batch(Entry(("luma", f"{name}{place}")) for place in range(50)) for name in "ab")
        scene.dispatch.add(LUMA, whole, 1.0, 0, SOME)
        scene.dispatch.add(LUMA, lacking, 2.0, 0, SOME)
        scene.dispatch.discard(lacking.entries[7])

        assert scene.dispatch.take(Departure(5.0, lookup("luma"), LUMA, is_spare=False), 5.0) is whole
        assert scene.take(LUMA, 5.0) == [*lacking.entries[:7], *lacking.entries[8:]]

    @pytest.mark.parametrize(("batch_size", "sizes"), [(50, [50, 50, 20]), (7, [7, 7, 7]), (1, [1, 1, 1])])
    def test_the_policy_says_how_many(self, batch_size: int, sizes: list[int]) -> None:
        """At most."""
        scene = Scene(PollPolicy(batch_size=batch_size))
        scene.add(LUMA, 120)

        assert [len(scene.take(LUMA, 5.0)) for _ in sizes] == sizes

    def test_a_service_without_batches_is_asked_one_by_one(self, scene: Scene) -> None:
        """Whatever the policy says, and whatever each is worth."""
        first, second = scene.add(JOB, 2)

        assert [scene.take(JOB, 5.0) for _ in range(2)] == [[first], [second]]

    def test_the_suspected_are_asked_in_small_company(self, scene: Scene) -> None:
        """Each halving halves the batch."""
        scene.add(DOUBTED, 30)

        assert [len(scene.take(DOUBTED, 5.0)) for _ in range(3)] == [12, 12, 6]

    def test_what_a_provider_has_shown_to_take_is_kept_to(self, scene: Scene) -> None:
        """Two answers cut at the same number are a limit for a while; of another provider it says nothing."""
        for lane in (LUMA, FLUX):
            scene.add(lane, 200)
        scene.dispatch.note_sizes("luma", [12], None, 5.0)
        assert len(scene.take(LUMA, 5.0)) == 50
        scene.dispatch.note_sizes("luma", [12], None, 5.0)

        assert len(scene.take(LUMA, 5.0)) == 12
        assert len(scene.take(FLUX, 5.0)) == 50
        assert len(scene.take(LUMA, 5.0 + LIMIT_KEPT)) == 50

    def test_what_was_refused_for_its_size_is_not_sent_again(self, scene: Scene) -> None:
        """How many were not too many is known at once; the suspected are asked in halves of that."""
        scene.add(LUMA, 200)
        scene.add(DOUBTED, 200)
        scene.dispatch.note_sizes("luma", [], 24, 5.0)

        assert len(scene.take(LUMA, 5.0)) == 24
        assert len(scene.take(DOUBTED, 5.0)) == 6

    def test_a_request_is_worth_no_more_than_what_it_can_ask_for(self, scene: Scene) -> None:
        """A learned limit makes a provider's requests worth less."""
        scene.add(LUMA, 50, worth=Worth(0.02, 0.0))
        scene.add(FLUX, 50, worth=Worth(0.01, 0.0))
        assert scene.next(10.0) == (10.0, LUMA)
        scene.dispatch.note_sizes("luma", [], 24, 10.0)

        assert scene.next(10.0) == (10.0, FLUX)


class TestAllowance:
    """Looks that may wait do so until their provider's allowance has a request for them."""

    @pytest.fixture
    def scene(self) -> Scene:
        """Fifteen seconds from one look to the next: a request every ten, as half as many again are allowed."""
        return Scene(PollPolicy(interval=15.0, jitter=0.0, start_rate=1e6))

    @staticmethod
    def save_from(scene: Scene, now: float, count: int = 1, lane: Lane = LUMA) -> list[Entry]:
        """Have some due that may wait; from then on their provider saves requests."""
        entries = scene.add(lane, count, due=now, worth=SPARE)
        assert (scene.next(now) or (now,))[0] > now
        return entries

    @staticmethod
    def leave_at_once(scene: Scene, now: float) -> int:
        """Count the requests that may leave now, where whoever was asked is to be asked again at once."""
        left = 0
        while (departure := scene.next(now)) is not None and departure[0] <= now:
            entries = scene.take(departure[1], now, is_spare=True)
            scene.dispatch.note_back(departure[1].provider, len(entries))
            scene.dispatch.add(departure[1], Batch(entries), now, 0, SPARE)
            left += 1
            assert left < 1000
        return left

    @pytest.mark.parametrize(
        ("count", "free_at"),
        [(1, 10.0), (50, 10.0), (75, 10.0 / 1.5), (100, 5.0), (200, 2.5), (1000, 0.5481141), (5000, 15.0 / 122.0)],
    )
    def test_it_is_a_request_for_each_full_batch_at_every_interval(
        self, scene: Scene, count: int, free_at: float
    ) -> None:
        """And half as many again, or less where they are many; and one where there is less than one batch."""
        scene.add(LUMA, count, due=0.0, worth=SPARE)

        assert scene.next(0.0) == (pytest.approx(free_at), LUMA)
        assert scene.next(free_at / 2.0) == (pytest.approx(free_at), LUMA)
        assert scene.next(free_at + 1e-6) == (free_at + 1e-6, LUMA)

    @pytest.mark.parametrize(
        ("count", "latest", "free_at"),
        [
            # They wait longer by an interval, divided by one more than the requests that it takes to ask for all.
            (1, -3.0, 4.5),
            (50, -3.0, 4.5),
            (100, -3.0, 2.0),
            (1000, -0.5, 15.0 / 21.0 - 0.5),
            # The allowance has one earlier.
            (1, 3.0, 10.0),
            (100, 1.0, 5.0),
        ],
    )
    def test_nobody_waits_for_it_for_ever(self, scene: Scene, count: int, latest: float, free_at: float) -> None:
        """A look that should not wait any longer leaves, and the sooner the more others there are to leave with."""
        scene.add(LUMA, count, due=0.0, worth=Worth(0.01, -30.0, is_spare=True, latest=latest))

        assert scene.next(0.0) == (pytest.approx(free_at), LUMA)
        assert scene.next(free_at - 0.01) == (pytest.approx(free_at), LUMA)
        assert scene.next(free_at + 1e-6) == (free_at + 1e-6, LUMA)

    def test_who_should_not_wait_any_longer_leaves_first(self, scene: Scene) -> None:
        """Though it is worth less to ask for it than for the others."""
        scene.add(LUMA, 999, due=0.0, worth=Worth(1.0, -30.0, is_spare=True, latest=90.0))
        (last,) = scene.add(LUMA, due=0.0, worth=Worth(1e-6, -30.0, is_spare=True, latest=-0.5))
        assert scene.next(0.0) == (pytest.approx(15.0 / 21.0 - 0.5), LUMA)

        assert last not in scene.take(LUMA, 0.2, is_spare=True)
        assert last in scene.take(LUMA, 0.3, is_spare=True)

    @pytest.mark.parametrize(("jitter", "free_at"), [(0.0, 10.0), (0.2, 11.0), (1.0, 15.0)])
    def test_the_interval_is_the_mean_one(self, jitter: float, free_at: float) -> None:
        """The jitter stretches it."""
        scene = Scene(PollPolicy(interval=15.0, jitter=jitter))
        scene.add(LUMA, due=0.0, worth=SPARE)

        assert scene.next(0.0) == (pytest.approx(free_at), LUMA)

    def test_the_policy_says_how_many_ids_are_a_batch(self) -> None:
        """Smaller batches are more requests."""
        scene = Scene(PollPolicy(interval=15.0, jitter=0.0, batch_size=10))
        scene.add(LUMA, 40, due=0.0, worth=SPARE)

        assert scene.next(0.0) == (pytest.approx(2.5), LUMA)

    def test_nobody_waits_before_being_due(self, scene: Scene) -> None:
        """The allowance is looked at then, and what was saved by then counts."""
        self.save_from(scene, 0.0)
        scene.take(LUMA, 10.0)
        scene.add(LUMA, due=17.0, worth=SPARE)

        assert scene.next(10.0) == (17.0, LUMA)

    def test_what_was_saved_is_spent_when_it_is_wanted(self, scene: Scene) -> None:
        """Three intervals without a look allow three in a row, and the next has to wait again."""
        self.save_from(scene, 0.0)

        assert self.leave_at_once(scene, 30.0) == 3
        assert scene.next(30.0) == (40.0, LUMA)

    @pytest.mark.parametrize("count", [1, 50, 100])
    def test_no_more_than_sixty_intervals_are_saved(self, scene: Scene, count: int) -> None:
        """However long it was that nobody was worth a look, though somebody was waited for."""
        self.save_from(scene, 0.0, count)
        for now in range(0, 1200, 60):
            scene.next(now)

        assert self.leave_at_once(scene, 1200.0) == 60 * max(1, count // 50)

    def test_looks_that_are_not_to_wait_leave_at_once(self, scene: Scene) -> None:
        """Newcomers and retries do not ask what there is to spend."""
        self.save_from(scene, 0.0, 200)
        scene.add(LUMA, due=1.0)

        assert scene.next(1.0) == (1.0, LUMA)

    def test_one_that_is_due_before_the_allowance_is_not_held_up_by_one_that_waits_for_it(self, scene: Scene) -> None:
        """It leaves when it is due, and those who wait ride along."""
        waiting = self.save_from(scene, 0.0, 3)
        newcomers = scene.add(LUMA, due=4.0)

        assert scene.next(0.0) == (4.0, LUMA)
        assert scene.next(3.9) == (4.0, LUMA)
        assert scene.next(4.0) == (4.0, LUMA)
        assert sorted(entry.key for entry in scene.take(LUMA, 4.0)) == sorted(
            entry.key for entry in (*waiting, *newcomers)
        )
        assert scene.next(4.0) is None

    def test_one_that_is_due_after_the_allowance_rides_along(self, scene: Scene) -> None:
        """With those who have waited for it."""
        waiting = self.save_from(scene, 0.0, 3)
        newcomers = scene.add(LUMA, due=12.0)

        assert scene.next(0.0) == (10.0, LUMA)
        assert scene.take(LUMA, 10.0) == [*waiting, *newcomers]

    def test_looks_that_are_not_to_wait_spend_what_there_is(self, scene: Scene) -> None:
        """What they take the others must do without; where nothing is left they take nothing."""
        self.save_from(scene, 0.0)
        assert scene.next(25.0) == (25.0, LUMA)
        for _ in range(2):
            # Of two requests and a half the first look takes one and the second another.
            scene.add(LUMA, due=25.0)
            scene.dispatch.note_back("luma", len(scene.take(LUMA, 25.0)))
        scene.add(LUMA, due=25.0, worth=SPARE)
        assert scene.next(25.0) == (pytest.approx(30.0), LUMA)

        scene.add(LUMA, due=25.0)
        scene.dispatch.note_back("luma", len(scene.take(LUMA, 25.0)))
        scene.add(LUMA, due=25.0, worth=SPARE)
        assert scene.next(25.0) == (pytest.approx(35.0), LUMA)

    @pytest.mark.parametrize(
        ("due", "spare_due", "is_spare"), [(9.0, 1.0, True), (1.0, 9.0, False), (9.0, None, False)]
    )
    def test_it_is_told_whether_a_batch_leaves_only_for_those(
        self,
        scene: Scene,
        due: float,
        spare_due: float | None,
        is_spare: bool,  # noqa: FBT001  # a column
    ) -> None:
        """By whoever is due first."""
        scene.add(LUMA, due=due)
        if spare_due is not None:
            scene.add(LUMA, due=spare_due, worth=SPARE)
        departure = scene.dispatch.next(0.0, 8)

        assert departure == Departure(min(due, spare_due or due), lookup("luma"), LUMA, is_spare)

    def test_those_to_come_ride_along_where_one_leaves_that_is_not_to_wait(self, scene: Scene) -> None:
        """Its request costs nothing more for them; one that leaves for such as they takes those who are nearly due."""
        for is_spare, due in ((False, 40.0), (True, 140.0)):
            first = scene.add(LUMA, due=due - 40.0, worth=SPARE if is_spare else SOME)
            # A tenth of the interval ahead is nearly due.
            soon = scene.add(LUMA, due=due - 38.5, worth=SPARE)
            later = scene.add(LUMA, due=due - 38.4, worth=SPARE)
            newcomer = scene.add(LUMA, due=due)
            taken = scene.take(LUMA, due - 40.0, is_spare=is_spare)

            assert taken == [*first, *newcomer, *soon, *([] if is_spare else later)]

    def test_each_provider_has_its_own(self, scene: Scene) -> None:
        """What one saves another cannot spend."""
        self.save_from(scene, 0.0)
        scene.add(FLUX, due=30.0, worth=SPARE)

        assert self.leave_at_once(scene, 30.0) == 3
        assert scene.next(30.0) == (40.0, FLUX)

    def test_who_waits_for_the_allowance_holds_up_nobody_else(self, scene: Scene) -> None:
        """Another provider's batch leaves meanwhile, though it is worth less."""
        scene.add(LUMA, 50, due=0.0, worth=Worth(1.0, -100.0, is_spare=True))
        scene.add(FLUX, due=5.0)

        assert scene.next(0.0) == (5.0, FLUX)
        assert scene.next(6.0) == (6.0, FLUX)

    def test_an_allowance_does_not_take_the_place_of_a_hold(self, scene: Scene) -> None:
        """Who is held back from waits for both."""
        self.save_from(scene, 0.0)
        error = RateLimitError("slow down", status=429, retry_after=30.0)
        list(scene.holds.note_look(lookup("luma"), [error], is_answered=False, sent_at=0.0, now=0.0, draw=0.5))

        assert (scene.next(20.0) or (0.0,))[0] >= 30.0

    @given(count=st.integers(1, 220), step=st.sampled_from([0.3, 1.0, 7.0]), jitter=st.sampled_from([0.0, 0.2]))
    def test_looks_that_may_wait_cost_no_more_than_is_allowed(self, count: int, step: float, jitter: float) -> None:
        """However eager all of them are to be asked again, over any time."""
        scene = Scene(PollPolicy(interval=15.0, jitter=jitter, start_rate=1e6))
        scene.add(LUMA, count, due=0.0, worth=SPARE)
        now, left = 0.0, 0
        while now < 200.0:
            left += self.leave_at_once(scene, now)
            now += step

        mean = 10.0 * (1.0 + jitter / 2.0)
        # Full batches are asked for, at the right rate.
        expected = max(1.0, count / 50) * 200.0 / mean
        assert expected * 0.9 - 2.0 <= left <= expected + 1.0

    def test_whoever_is_not_to_wait_has_a_place_in_the_request_that_leaves_for_it(self, scene: Scene) -> None:
        """Those who may wait ride along in the room that is left, and have no request to themselves for that."""
        self.save_from(scene, 0.0, 200)
        (newcomer,) = scene.add(LUMA, due=1.0, worth=Worth(0.01, 0.5))

        assert scene.next(1.0) == (1.0, LUMA)
        assert newcomer in scene.take(LUMA, 1.0)
        assert (scene.next(1.0) or (0.0,))[0] > 1.0

    @pytest.mark.parametrize(("pause", "saved"), [(15.0, 1), (30.0, 3), (90.0, 3), (3600.0, 3)])
    def test_little_is_saved_while_nobody_is_waited_for(self, scene: Scene, pause: float, saved: int) -> None:
        """An hour without tasks allows no more than two and a half intervals, of one and a half requests each."""
        self.save_from(scene, 0.0)
        assert self.leave_at_once(scene, 10.0) == 1
        scene.dispatch.note_back("luma", len(scene.take(LUMA, 10.0)))
        scene.add(LUMA, due=10.0 + pause, worth=SPARE)

        assert self.leave_at_once(scene, 10.0 + pause) == saved

    def test_what_is_saved_is_for_as_many_as_there_were(self, scene: Scene) -> None:
        """A lot that comes after one task has not waited for what the time before it is worth."""
        self.save_from(scene, 0.0)
        scene.add(LUMA, 199, due=5.0, worth=SPARE)

        # Half a request was saved for the one; for two hundred there is one every two and a half seconds.
        assert scene.next(5.0) == (pytest.approx(6.25), LUMA)

    def test_once_all_is_spent_some_are_saved_to_leave_together(self, scene: Scene) -> None:
        """A tenth of an interval's worth, and not one by one; over time it is all that there is."""
        scene.add(LUMA, 5000, due=0.0, worth=SPARE)
        now, groups = 0.0, []
        while now < 30.0:
            now, _ = scene.next(now) or (math.inf, None)
            if left := self.leave_at_once(scene, now):
                groups.append(left)

        # A hundred and twenty-two in an interval: the first as soon as there is one, and then of 12.2 all but a rest.
        assert groups == [1, *[12] * (len(groups) - 1)]
        assert sum(groups) == pytest.approx(30.0 * 122.0 / 15.0, abs=13.0)

    def test_ids_under_way_count_as_they_are(self, scene: Scene) -> None:
        """Small requests are no full batches."""
        scene.add(LUMA, 3, due=0.0, worth=Worth(0.01, 0.0))
        for _ in range(3):
            scene.next(0.0)
            scene.take(LUMA, 0.0)
            scene.add(LUMA, 3, due=0.0)
        scene.take(LUMA, 0.0)
        # Twelve are under way, and five more are due.
        scene.add(LUMA, 5, due=0.0, worth=SPARE)

        assert scene.next(0.0) == (pytest.approx(10.0), LUMA)

    def test_ids_under_way_count_with_those_that_are_not(self, scene: Scene) -> None:
        """Also when all but one of them are asked for; what comes back does not count any more."""
        scene.add(LUMA, 150, due=0.0, worth=Worth(0.01, 0.0))
        for _ in range(3):
            scene.take(LUMA, 0.0)
        scene.add(LUMA, 50, due=0.0, worth=SPARE)

        assert scene.next(0.0) == (pytest.approx(2.5), LUMA)
        scene.dispatch.note_back("luma", 50)
        scene.dispatch.note_back("luma", 50)
        assert scene.next(0.0) == (pytest.approx(5.0), LUMA)

    def test_those_under_suspicion_save_nothing(self, scene: Scene) -> None:
        """Their looks are planned apart, and what they have had to wait is no time of the others."""
        scene.add(DOUBTED, due=0.0, worth=SPARE)

        assert scene.next(0.0) == (0.0, DOUBTED)

    @pytest.mark.parametrize("schedule", ["fixed", "proportional"])
    def test_other_schedules_have_none(self, schedule: Literal["fixed", "proportional"]) -> None:
        """Their looks leave when they are due."""
        scene = Scene(PollPolicy(schedule=schedule, start_rate=1e6))
        scene.add(LUMA, due=0.0, worth=SPARE)

        assert scene.next(0.0) == (0.0, LUMA)

    def test_requests_are_saved_from_the_first_task_on(self, scene: Scene) -> None:
        """What the time until the first look that is worth it did not cost is there for when it is worth more."""
        scene.add(LUMA, due=0.0)
        scene.next(0.0)
        entries = scene.take(LUMA, 0.0)
        scene.dispatch.note_back("luma", len(entries))
        scene.dispatch.add(LUMA, Batch(entries), 30.0, 0, SPARE)
        assert scene.next(0.0) == (30.0, LUMA)

        assert self.leave_at_once(scene, 30.0) == 3


class TestProbes:
    """A provider that is down is asked by one request at a time, with fewer ids each time."""

    def test_a_probe_is_of_fewer_ids_each_time(self, scene: Scene) -> None:
        """It may be what is asked that makes it fail."""
        scene.add(LUMA, 200)
        sizes, now = [], 5.0
        scene.fail("luma", 3, now)
        for _ in range(6):
            time, _ = scene.next(now) or (0.0, None)
            assert time > now
            now = time
            sizes.append(len(scene.take(LUMA, now)))
            scene.dispatch.note_back("luma", sizes[-1])
            now += 0.1
            scene.fail("luma", 1, now)

        assert sizes == [25, 12, 6, 3, 1, 1]

    def test_nothing_leaves_while_a_probe_is_under_way(self, scene: Scene) -> None:
        """It is known when it has come back; others leave meanwhile."""
        scene.add(LUMA, 200)
        scene.fail("luma", 3, 5.0)
        time, _ = scene.next(5.0) or (0.0, None)
        probe = scene.take(LUMA, time)

        assert scene.next(time) == (math.inf, LUMA)
        assert scene.dispatch.is_crowded is True
        scene.add(FLUX)
        assert scene.next(time) == (time, FLUX)
        assert scene.dispatch.is_crowded is True
        scene.dispatch.note_back("luma", len(probe))
        scene.fail("luma", 1, time + 0.1)
        assert scene.next(time + 0.1) == (time + 0.1, FLUX)
        assert scene.dispatch.is_crowded is False


@given(
    turns=st.lists(
        st.tuples(
            st.sampled_from([LUMA, DOUBTED, FLUX, VEO, JOB]),
            st.integers(1, 70),
            st.integers(0, 20).map(float),
            st.sampled_from([0.0, 0.001, 0.1, 2.0]),
        ),
        max_size=12,
    ),
    room=st.integers(1, 6),
    latency=st.integers(0, 3),
)
def test_everybody_is_asked_once_and_no_more_than_there_is_room_for(
    turns: list[tuple[Lane, int, float, float]], room: int, latency: int
) -> None:
    """Whatever is due when and worth how much, everything leaves in its lane, none before there is reason to."""
    scene = Scene(PollPolicy(start_rate=1e6))
    due: dict[Entry, float] = {}
    lanes: dict[Entry, Lane] = {}
    for lane, count, time, hazard in turns:
        for entry in scene.add(lane, count, due=time, worth=Worth(hazard, -1.0)):
            due[entry], lanes[entry] = time, lane
    under_way: list[tuple[float, str, int]] = []
    now, left = 0.0, len(due)
    while left or under_way:
        departure = scene.dispatch.next(now, room - len(under_way))
        if departure is not None and departure.time <= now:
            batch = scene.take(departure.lane, now, is_spare=departure.is_spare)
            left -= len(batch)
            spec = lookup(departure.lane.provider)
            assert 1 <= len(batch) <= departure.lane.batch_size(spec.batch_size(50))
            assert {lanes.pop(entry) for entry in batch} == {departure.lane}
            assert min(due[entry] for entry in batch) <= now
            assert not spec.min_interval or max(due[entry] for entry in batch) <= now
            under_way.append((now + latency, departure.lane.provider, len(batch)))
            assert len(under_way) <= room
            continue
        # What could leave if there were more room is waited for by whoever brings something back.
        assert departure is not None or scene.dispatch.is_crowded or not left
        back = min(under_way, default=(math.inf, "", 0))
        if departure is not None and departure.time < back[0]:
            now = departure.time
        else:
            now = back[0]
            under_way.remove(back)
            scene.dispatch.note_back(back[1], back[2])
    assert lanes == {}


def test_repr_shows_who_has_a_turn_and_what_is_under_way(scene: Scene) -> None:
    """The repr counts both."""
    assert repr(scene.dispatch) == "<Dispatch <Agenda empty>, 0 requests under way>"
    scene.add(LUMA, 70)
    scene.take(LUMA, 5.0)

    assert repr(scene.dispatch) == "<Dispatch <Agenda luma: 20>, 1 requests under way>"
    scene.dispatch.note_back("luma", 50)
    assert repr(scene.dispatch) == "<Dispatch <Agenda luma: 20>, 0 requests under way>"


def test_a_row_may_allow_fewer_than_the_policy(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smaller of both counts."""
    row = msgspec.structs.replace(lookup("luma"), batch_limit=9)
    monkeypatch.setattr("acetasks.dispatch.lookup", lambda _: row)
    scene.add(LUMA, 20)

    assert len(scene.take(LUMA, 5.0)) == 9
