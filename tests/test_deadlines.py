"""Deadlines: what is over its time ends in a `TimeoutError`, whatever else runs goes on, and one timer is enough."""

from __future__ import annotations

import asyncio
import contextlib

import anyio
import pytest

from acetasks.deadlines import Deadlines


def now() -> float:
    """Tell the loop's time."""
    return asyncio.get_running_loop().time()


async def take(deadlines: Deadlines, seconds: float) -> float:
    """Do something that takes some seconds; and tell how long it really took, whether it was broken off or not."""
    start = now()
    with contextlib.suppress(TimeoutError), deadlines.set():
        await asyncio.sleep(seconds)
    return now() - start


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times of the timers that were set, as they come."""
    times: list[float] = []
    loop = asyncio.get_running_loop()
    set_timer = loop.call_at

    def call_at(when, callback, *args, **options):
        if isinstance(getattr(callback, "__self__", None), Deadlines):
            times.append(when)
        return set_timer(when, callback, *args, **options)

    monkeypatch.setattr(loop, "call_at", call_at)
    return times


class TestLimit:
    """One thing that runs."""

    async def test_it_ends_in_a_timeout_error_at_its_time(self) -> None:
        """To the very time, and not at a whole second."""
        start = now()
        with pytest.raises(TimeoutError), Deadlines(7.25).set():
            await asyncio.sleep(100)

        assert now() - start == 7.25
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    async def test_what_is_done_in_time_is_left_alone(self) -> None:
        """With what it returns, and with what it raises; and so is what comes after it."""
        deadlines = Deadlines(5.0)
        with deadlines.set():
            await asyncio.sleep(4.9)
        with pytest.raises(ValueError, match="of its own"), deadlines.set():
            raise ValueError("of its own")
        await asyncio.sleep(100)

        assert repr(deadlines) == "<Deadlines of 5 s, 0 running>"

    async def test_an_error_at_the_very_time_is_its_own(self) -> None:
        """What turns the cancellation into another error ends in that, and is not cancelled afterwards."""
        with pytest.raises(ConnectionError), Deadlines(5.0).set():
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                raise ConnectionError from None
        await asyncio.sleep(1)

        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    @pytest.mark.parametrize("at", [3.0, 5.0])
    async def test_whoever_else_cancels_it_sees_it_cancelled(self, at: float) -> None:
        """Before its time, and at the very time of it."""
        task = asyncio.create_task(take(Deadlines(5.0), 100.0))
        asyncio.get_running_loop().call_at(now() + at, task.cancel)
        start = now()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert now() - start == at

    @pytest.mark.parametrize(("seconds", "expected"), [(3.0, "the scope"), (9.0, "the limit")])
    async def test_the_sooner_of_it_and_a_scope_around_it_counts(self, seconds: float, expected: str) -> None:
        """The same for anyio's and asyncio's."""
        for limits in (anyio.move_on_after(seconds), _moving_on(seconds)):
            ended_by = "the scope"
            async with _entered(limits):
                try:
                    with Deadlines(5.0).set():
                        await asyncio.sleep(100)
                except TimeoutError:
                    ended_by = "the limit"
            assert ended_by == expected

    def test_outside_of_a_task_there_is_nothing_to_break_off(self) -> None:
        """It says so."""

        async def call() -> str:
            told = asyncio.get_running_loop().create_future()

            def enter() -> None:
                try:
                    with Deadlines(5.0).set():
                        pass
                except RuntimeError as error:
                    told.set_result(str(error))

            asyncio.get_running_loop().call_soon(enter)
            return await told

        assert "runs in a task" in asyncio.run(call())


class TestMany:
    """Things that run at once."""

    async def test_each_has_its_own_time(self) -> None:
        """From when it began; those that are done in time are done."""
        deadlines = Deadlines(10.0)

        async def begin(at: float, seconds: float) -> float:
            await asyncio.sleep(at)
            return await take(deadlines, seconds)

        took = await asyncio.gather(begin(0, 100), begin(1, 2), begin(3, 100), begin(3, 9.5), begin(9, 100))

        assert took == [10.0, 2.0, 10.0, 9.5, 10.0]

    async def test_a_thousand_take_one_timer_at_a_time(self, timers: list[float]) -> None:
        """Another is set only where the first of those that are left may be over its time."""
        deadlines = Deadlines(10.0)
        start = now()
        took = await asyncio.gather(*(take(deadlines, 1.0 if number < 999 else 100.0) for number in range(1000)))

        assert took == [*[1.0] * 999, 10.0]
        assert timers == [start + 10.0]

        timers.clear()
        first = asyncio.create_task(take(deadlines, 9.0))
        await asyncio.sleep(5)
        second = asyncio.create_task(take(deadlines, 100.0))
        assert await asyncio.gather(first, second) == [9.0, 10.0]
        assert [time - start for time in timers] == [20.0, 25.0]

    async def test_no_timer_is_left_when_nothing_runs(self, timers: list[float]) -> None:
        """So that nothing holds up a loop that is done; and the next that runs has one again."""
        deadlines = Deadlines(10.0)
        for _ in range(3):
            await take(deadlines, 1.0)
        assert len(timers) == 3
        assert await take(deadlines, 100.0) == 10.0

    async def test_those_that_are_over_together_end_together(self) -> None:
        """Also where one that is broken off takes its time to end."""
        deadlines = Deadlines(10.0)

        async def linger() -> float:
            start = now()
            with contextlib.suppress(TimeoutError), deadlines.set():
                try:
                    await asyncio.sleep(100)
                finally:
                    await asyncio.sleep(3)
            return now() - start

        assert await asyncio.gather(linger(), take(deadlines, 100), linger()) == [13.0, 10.0, 13.0]


@contextlib.asynccontextmanager
async def _entered(limits):
    """Enter a context of either sort."""
    if hasattr(limits, "__aenter__"):
        async with limits:
            yield
    else:
        with limits:
            yield


@contextlib.asynccontextmanager
async def _moving_on(seconds: float):
    """Do with asyncio's limit what anyio's does that moves on."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield
