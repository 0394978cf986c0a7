"""Unexpected exceptions in polls: faults of their own tasks, logged once, and polled again after a backoff."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING

import pytest
from support import FakeService, done, new_poller, now, until

import acetasks
from acetasks import TaskState
from acetasks._polling.results import ResultHandler
from acetasks._polling.waiting import wait_one
from acetasks._scheduling import Scheduler

if TYPE_CHECKING:
    from acetasks._polling.poller import Poller


async def wait(poller: Poller, task_id: str, timeout: float | None = None, provider: str = "luma") -> acetasks.Task:
    """Wait for one task, as a client does."""
    return await wait_one(poller, (provider, task_id), timeout)


def tracebacks(caplog: pytest.LogCaptureFixture) -> list[type[BaseException]]:
    """Return the types of the exceptions that were logged with a traceback."""
    return [record.exc_info[0] for record in caplog.records if record.exc_info and record.exc_info[2] is not None]


def fail_at(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, calls: set[int]) -> None:
    """Make some calls of a method raise after it has done its work; calls count from 0."""
    original, count = getattr(owner, name), itertools.count()

    def fail(*args, **options) -> object:
        result = original(*args, **options)
        if next(count) in calls:
            raise KeyError("bug")
        return result

    monkeypatch.setattr(owner, name, fail)


class SharedRefresh(FakeService):
    """A service that ends its first requests with a cancellation of something else."""

    async def send(self, request, read, *, acquire_slot=None, attempts=1) -> object:
        """Await a cancelled future, and answer after ten seconds."""
        response = await super().send(request, read, acquire_slot=acquire_slot, attempts=attempts)
        if now() < 10:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        return response


async def test_tasks_are_polled_again_after_a_backoff(caplog):
    """Whatever a transport raises, the tasks of the poll are polled again, with backoff; one record is logged."""
    transport = FakeService(until(30, done, before=lambda _: KeyError("bug")))
    poller = new_poller(transport)
    outcomes = await asyncio.gather(*(wait(poller, f"t{n}") for n in range(60)))

    assert {task.state for task in outcomes} == {TaskState.SUCCEEDED}
    assert 4 < len(transport.sent) < 40
    assert tracebacks(caplog) == [KeyError]
    assert (
        "luma: a poll failed unexpectedly, please report it: KeyError('bug'); its tasks are polled again" in caplog.text
    )


async def test_other_batches_and_providers_are_polled_on_time():
    """A poll that raises affects no other one."""
    transport = FakeService(lambda task_id: KeyError("bug") if task_id == "bad" else until(20, done)(task_id))
    poller = new_poller(transport)
    bad = asyncio.create_task(wait(poller, "bad"))
    await asyncio.sleep(1)
    good, other = await asyncio.gather(wait(poller, "good"), wait(poller, "other", provider="veo"))

    assert (good.state, other.state) == (TaskState.SUCCEEDED, TaskState.SUCCEEDED)
    assert [round(time, 6) for time, request in transport.sent if request.provider == "veo"] == [
        1.05, 6.05, 11.05, 16.05, 21.05
    ]  # fmt: skip
    assert not bad.done()
    bad.cancel()
    await asyncio.wait([bad])


async def test_an_id_whose_response_cannot_be_handled_is_isolated():
    """A batch that keeps raising while others are answered is split, so that one bad id delays the others only."""
    transport = FakeService(lambda task_id: KeyError("bug") if task_id == "bad" else done(task_id))
    poller = new_poller(transport)
    bad = asyncio.create_task(wait(poller, "bad", 300))
    await asyncio.gather(*(wait(poller, f"t{n}") for n in range(60)))

    with pytest.raises(acetasks.TaskTimeoutError):
        await bad


async def test_the_timeout_error_has_the_exception():
    """It is the cause of the fault, which the message repeats."""
    poller = new_poller(FakeService(lambda _: KeyError("bug")))
    with pytest.raises(acetasks.TaskTimeoutError, match=r"the last poll failed: luma: .*KeyError\('bug'\)") as caught:
        await wait(poller, "t", 20)

    fault = caught.value.__cause__
    assert isinstance(fault, acetasks.AceTasksError)
    assert fault.transient
    assert isinstance(fault.__cause__, KeyError)


async def test_each_type_is_logged_until_a_poll_succeeds(caplog):
    """Another type has a record of its own, and after a success each type is logged again."""

    def answer(task_id: str) -> object:
        if now() > 60:
            return done(task_id)
        if 20 < now() < 26:
            return {"id": task_id}
        return KeyError("bug") if int(now() * 100) % 2 else ValueError("bug")

    poller = new_poller(FakeService(answer))
    await wait(poller, "t")

    assert 3 <= len(tracebacks(caplog)) <= 4
    assert set(tracebacks(caplog)) == {KeyError, ValueError}
    assert {record.levelno for record in caplog.records if record.exc_info} == {logging.ERROR}


async def test_a_cancellation_of_something_else_is_a_fault(caplog):
    """A CancelledError of something that the poll awaits does not end the poll without a log record."""
    transport = SharedRefresh(done)
    poller = new_poller(transport)

    assert (await wait(poller, "t")).state is TaskState.SUCCEEDED
    assert len(transport.sent) < 15
    assert tracebacks(caplog) == [asyncio.CancelledError]


@pytest.mark.parametrize(
    ("owner", "name"),
    [(ResultHandler, "apply"), (ResultHandler, "resolve"), (Scheduler, "requeue"), (Scheduler, "_push")],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
@pytest.mark.parametrize("calls", [{0}, {1}, {2}, {0, 2}], ids=str)
async def test_no_task_is_lost_if_applying_a_result_raises(monkeypatch, owner, name, calls):
    """Wherever that happens, each task stays scheduled once, and the other waits end."""
    transport = FakeService(until(20, done))
    poller = new_poller(transport)
    waits = [asyncio.create_task(wait(poller, f"t{n}", 300)) for n in range(120)]
    await asyncio.sleep(0.02)
    fail_at(monkeypatch, owner, name, calls)
    outcomes = await asyncio.gather(*waits)

    assert {task.state for task in outcomes} == {TaskState.SUCCEEDED}
    assert now() < 60
    await asyncio.sleep(0.001)
    assert poller.is_idle
    assert repr(poller).endswith("<Scheduler <PollQueue empty>, 0 polls in flight>, 8 free slots>")
