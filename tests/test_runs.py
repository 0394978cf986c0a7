"""Tests of `Client.run_many`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import now

import acetasks
from acetasks.testing import AceServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

ROOT = Path(__file__).parents[1]


def prompts(count: int) -> list[dict[str, object]]:
    """Return some payloads."""
    return [{"prompt": f"p{number}"} for number in range(count)]


def submissions(server: AceServer) -> list[str]:
    """Return the prompts submitted."""
    return [request.body["prompt"] for request in server.requests if request.path == "/luma/videos"]


async def test_order_of_completion(server: AceServer, client: acetasks.Client):
    """Results come as their tasks end, with index, payload and task."""
    for after in (300, 100, 200):
        server.script("luma", after=after)
    results = [(result, now()) async for result in client.run_many("luma", prompts(3))]
    assert [result.index for result, _ in results] == [1, 2, 0]
    assert [result.payload["prompt"] for result, _ in results] == ["p1", "p2", "p0"]
    assert {result.task.state for result, _ in results} == {acetasks.TaskState.SUCCEEDED}
    assert [(result.key, result.error) for result, _ in results] == [(None, None)] * 3
    assert [100 <= time < 130 for _, time in results] == [True, False, False]


async def test_no_payloads(server: AceServer, client: acetasks.Client):
    """A job without payloads has no results, and sends nothing."""
    assert [result async for result in client.run_many("luma", [])] == []
    assert server.request_count == 0


async def test_concurrency(server: AceServer, client: acetasks.Client):
    """At most `concurrency` payloads are in work, and an endless source is read only as far as that."""
    server.script("luma", after=50, times=None)
    taken: list[int] = []

    def endless() -> Iterator[dict[str, object]]:
        while True:
            taken.append(len(taken))
            yield {"prompt": "p"}

    async with contextlib.aclosing(client.run_many("luma", endless(), concurrency=3)) as results:
        for read in range(10):
            await anext(results)
            assert len(taken) <= read + 4
            assert len(submissions(server)) <= read + 4


async def test_slow_reader(server: AceServer, client: acetasks.Client):
    """What was not read counts as in work: a reader that stops pays for no more."""
    server.script("luma", after=1, times=None)
    async with contextlib.aclosing(client.run_many("luma", prompts(100), concurrency=4)) as results:
        await anext(results)
        await asyncio.sleep(1000)
        assert len(submissions(server)) == 5


async def test_asynchronous_source(server: AceServer, client: acetasks.Client):
    """Results come while the source has nothing yet."""
    server.script("luma", after=5, times=None)

    async def slow() -> AsyncIterator[dict[str, object]]:
        for prompt in prompts(3):
            yield prompt
            await asyncio.sleep(1000)

    times = [now() async for _ in client.run_many("luma", slow())]
    assert [int(time) // 1000 for time in times] == [0, 1, 2]
    assert max(time % 1000 for time in times) < 30


async def test_errors_are_results(server: AceServer, client: acetasks.Client):
    """A failed task, a refused submission and a timeout are results with their error and task."""
    server.script("luma", after=0, outcome="failed")
    server.script("luma", outcome="forever")
    server.script("luma", after=10)
    server.fail("luma", action="submit", status=400, when=lambda request: request.body["prompt"] == "p3")
    results = {result.index: result async for result in client.run_many("luma", prompts(4), timeout=100)}
    assert [type(results[index].error) for index in range(4)] == [
        acetasks.TaskFailedError,
        acetasks.TaskTimeoutError,
        type(None),
        acetasks.BadRequestError,
    ]
    states = [result.task and result.task.state.value for _, result in sorted(results.items())]
    assert states[0] == "failed"
    assert states[1] in {"pending", "running"}
    assert states[2:] == ["succeeded", None]


async def test_first_error_is_raised(server: AceServer, client: acetasks.Client):
    """With `on_error="raise"` the first error has every task in work, and nothing goes on."""
    server.script("luma", outcome="forever")
    server.script("luma", after=50, outcome="failed")
    server.script("luma", outcome="forever")
    with pytest.raises(acetasks.TaskFailedError) as caught:
        async for _ in client.run_many("luma", prompts(9), concurrency=3, on_error="raise"):
            pass
    tasks = caught.value.tasks
    assert [task.state.value == "failed" for task in tasks] == [False, True, False]
    assert caught.value.task == tasks[1]
    assert "payload 1" in caught.value.__notes__
    assert all(any(tasks[index].id in note for note in caught.value.__notes__) for index in (0, 2))
    assert len(submissions(server)) == 3
    assert not any("run_many" in task.get_name() for task in asyncio.all_tasks())


async def test_uncertain_submissions_are_noted(server: AceServer, client: acetasks.Client):
    """A submission under way when another payload's error ends the job is in the notes."""
    server.fail("luma", action="submit", hang=500, when=lambda request: request.body["prompt"] == "p0")
    server.script("luma", after=10, outcome="failed", times=None)
    with pytest.raises(acetasks.TaskFailedError) as caught:
        async for _ in client.run_many("luma", prompts(2), on_error="raise"):
            pass
    assert any("may have been accepted" in note for note in caught.value.__notes__)


async def test_closed_early(server: AceServer, client: acetasks.Client, caplog: pytest.LogCaptureFixture):
    """Closing the iterator ends the waits, and the log has each task that is paid for, read or not."""
    server.script("luma", after=1, times=2)
    server.script("luma", outcome="forever", times=2)
    results = client.run_many("luma", prompts(4))
    first = await anext(results)
    await asyncio.sleep(100)
    await results.aclose()
    requests = server.request_count
    await asyncio.sleep(1000)
    assert server.request_count == requests
    ids = [task.id for task in await client.retrieve_batch("luma", list(server.tasks)) if task.id != first.task.id]
    assert len(ids) == 3
    assert all(task_id in caplog.text for task_id in ids)


async def test_broken_source(server: AceServer, client: acetasks.Client):
    """An exception of the payloads is raised when what is in work has ended and was yielded."""
    server.script("luma", after=100, times=None)

    def broken() -> Iterator[dict[str, object]]:
        yield from prompts(2)
        raise OSError("no disk")

    seen = []
    with pytest.raises(OSError, match="no disk"):
        async for result in client.run_many("luma", broken()):
            seen.append(result.index)  # noqa: PERF401  # the iteration raises at its end
    assert sorted(seen) == [0, 1]


@pytest.mark.parametrize("payload", ["text", {"prompt": object()}], ids=["text", "no JSON"])
async def test_wrong_payload(server: AceServer, client: acetasks.Client, payload: object):
    """A payload that cannot be sent ends the job like an exception of the payloads; later ones are not sent."""
    server.script("luma", after=100, times=None)
    seen = []
    with pytest.raises(TypeError):
        async for result in client.run_many("luma", [*prompts(1), payload, *prompts(5)], concurrency=2):
            seen.append(result.index)  # noqa: PERF401  # the iteration raises at its end
    assert seen == [0]
    assert submissions(server) == ["p0"]


async def test_closed_client(server: AceServer, new_client: Callable[..., acetasks.Client]):
    """A closed client ends the job, also if errors are results."""
    server.script("luma", outcome="forever", times=None)
    async with new_client() as client:
        results = client.run_many("luma", prompts(1))
        reading = asyncio.create_task(anext(results))
        await asyncio.sleep(10)
    with pytest.raises(acetasks.ClientClosedError) as caught:
        await reading
    assert [task.id for task in caught.value.tasks] == list(server.tasks)


async def test_files(client: acetasks.Client, tmp_path: Path):
    """With `download_to` the tasks of results have the paths of their files."""
    async for result in client.run_many("luma", prompts(3), download_to=tmp_path):
        assert Path(result.task.artifacts[0].path).is_file()  # noqa: ASYNC240  # a temporary file
    assert len(list(tmp_path.iterdir())) == 3  # noqa: ASYNC240  # as above


@pytest.mark.parametrize("form", ["list", "function"])
async def test_continues(server: AceServer, new_client: Callable[..., acetasks.Client], tmp_path: Path, form: str):
    """A job that is run again with its keys and journal submits only what it had not submitted."""
    server.script("luma", after=100, times=None)
    keys = [f"p{number}" for number in range(6)] if form == "list" else lambda payload: payload["prompt"]
    journal = tmp_path / "journal.db"
    async with new_client(journal=journal) as client:
        async for result in client.run_many("luma", prompts(6), keys=keys, concurrency=3):
            assert result.key == f"p{result.index}"
            break
    async with new_client(journal=journal) as client:
        results = [result async for result in client.run_many("luma", prompts(6), keys=keys)]
    assert sorted(result.key for result in results) == [f"p{number}" for number in range(6)]
    assert {result.error for result in results} == {None}
    assert sorted(submissions(server)) == [f"p{number}" for number in range(6)]


async def test_too_few_keys(client: acetasks.Client, new_client: Callable[..., acetasks.Client], tmp_path: Path):
    """A payload without a key is an error, and so are keys without a journal."""
    with pytest.raises(ValueError, match="journal"):
        client.run_many("luma", prompts(2), keys=["a", "b"])
    async with new_client(journal=tmp_path / "journal.db") as other:
        with pytest.raises(ValueError, match="only 1 keys"):
            async for result in other.run_many("luma", prompts(2), keys=["a"]):
                assert result.key == "a"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"payloads": {"prompt": "p"}}, TypeError, "payloads must be"),
        ({"payloads": 7}, TypeError, "payloads must be"),
        ({"concurrency": 0}, ValueError, "at least 1"),
        ({"concurrency": 1.5}, TypeError, "whole number"),
        ({"keys": "key"}, TypeError, "keys must be"),
        ({"on_error": "ignore"}, ValueError, "return, raise"),
        ({"timeout": -1}, ValueError, "timeout"),
    ],
)
async def test_wrong_arguments(
    server: AceServer, client: acetasks.Client, arguments: dict[str, object], error: type[Exception], message: str
):
    """Wrong arguments are refused at once."""
    with pytest.raises(error, match=message):
        client.run_many("luma", **({"payloads": prompts(1)} | arguments))
    assert server.request_count == 0


@pytest.mark.real_clock
async def test_example_is_killed_and_run_again(tmp_path: Path):
    """The example, killed in the middle and run again, has a file for each prompt and has submitted each once."""
    source, pictures = tmp_path / "prompts.csv", tmp_path / "pictures"
    source.write_text("\n".join(["id,prompt", *(f"{number},picture {number}" for number in range(12))]), "utf-8")
    async with AceServer(speed=100) as server:
        # All are submitted before the first ends: one that is under way would be waited for longer than a test.
        server.script("flux", after=200)
        server.script("flux", after=500, times=None)
        env = os.environ | {
            "ACEDATACLOUD_API_BASE_URL": server.url,
            "ACEDATACLOUD_API_TOKEN": server.token,
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, str(ROOT / "examples" / "prompts_to_files.py"), str(source), str(pictures)]
        process = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.DEVNULL)
        while not list(pictures.glob("*.png")):
            assert process.returncode is None
            await asyncio.sleep(0.01)
        process.kill()
        await process.wait()
        assert len(list(pictures.glob("*.png"))) < 12
        again = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.PIPE)
        output, _ = await again.communicate()
        sent = [request.body["prompt"] for request in server.requests if request.path == "/flux/images"]
    assert again.returncode == 0, output
    made = len(list(pictures.glob("*.png")))
    assert len(sent) == len(set(sent))
    assert f"{made} of 12 prompts" in output.decode()
    assert made == len(sent) == 12
