"""The blocking client, against the simulated service in a thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import start_blocking_portal
from callback_figures import serve

import acetasks
import acetasks.sync
from acetasks import PollPolicy, TaskState
from acetasks.testing.server import AceServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.real_clock

POLICY = PollPolicy(interval=0.1)
#: Public methods of the asynchronous client that the blocking one does not have; to be kept empty.
MISSING: set[str] = set()
#: Arguments of the asynchronous client that the blocking one does not have: a session belongs to its loop.
MISSING_ARGUMENTS = {"http"}


class ThreadedServer:
    """The simulated service in the event loop of a thread."""

    def __init__(self, server: AceServer, call: Callable[..., object]) -> None:
        self.server = server
        self._call = call

    def add(self, provider: str, **options: object) -> str:
        """Add a task."""
        return self._call(lambda: self.server.add(provider, **options))

    def new_client(self, **options: object) -> acetasks.sync.Client:
        """Return a client of the service, not opened."""
        return acetasks.sync.Client(self.server.token, base_url=self.server.url, policy=POLICY, **options)


@pytest.fixture
def ace() -> Iterator[ThreadedServer]:
    """The simulated service, with luma tasks of a fraction of a second."""
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(AceServer()) as server:
        server.script("luma", after=0.2, times=None)
        yield ThreadedServer(server, portal.call)


def parameters_of(function: object) -> list[tuple[str, object, object]]:
    """Return name, kind and default of each parameter."""
    return [(each.name, each.kind, each.default) for each in inspect.signature(function).parameters.values()]


def public(thing: type) -> set[str]:
    """Return the public attributes of a class."""
    return {name for name in dir(thing) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("own", "other", "missing"),
    [
        (acetasks.sync.Client, acetasks.Client, MISSING),
        (acetasks.sync.TaskHandle, acetasks.TaskHandle, set()),
    ],
    ids=["client", "handle"],
)
def test_methods_are_those_of_the_asynchronous_one(own, other, missing):
    """Each public method has its counterpart, with the same parameters and defaults."""
    assert public(own) == public(other) - missing
    for name in public(own) - {"open"}:
        if inspect.isfunction(getattr(other, name)):
            assert parameters_of(getattr(own, name)) == parameters_of(getattr(other, name)), name
            assert inspect.getdoc(getattr(own, name))


def test_arguments_are_those_of_the_asynchronous_one():
    """The client takes the same arguments, except a session."""
    options = acetasks.client.ClientOptions.__annotations__
    assert {"token", *options} == set(inspect.signature(acetasks.Client).parameters) - MISSING_ARGUMENTS
    assert parameters_of(acetasks.sync.Client) == parameters_of(acetasks.sync.Client.open)


def test_is_not_imported_with_the_package():
    """`import acetasks` starts without it."""
    program = "import acetasks, sys; sys.exit('acetasks.sync' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=20, check=False).returncode == 0


def test_methods_block_until_the_result(ace):
    """Submissions, waits and retrievals return what the asynchronous methods return."""
    with ace.new_client() as client:
        handle = client.submit("luma", {"prompt": "a cat"})
        assert [task.state for task in handle.updates()][-1] is TaskState.SUCCEEDED
        assert handle.wait(timeout=20).id == handle.id
        assert client.wait("luma", handle.id, timeout=20).artifacts
        assert client.run("luma", {"prompt": "a cat"}, timeout=20).state is TaskState.SUCCEEDED
        assert client.retrieve("luma", handle.id).state is TaskState.SUCCEEDED
        assert [task.id for task in client.retrieve_batch("luma", [handle.id] * 2)] == [handle.id] * 2
        assert client.handle("luma", handle.id) == handle
        targets = [handle, acetasks.TaskHandle("luma", handle.id), ["luma", ace.add("luma", after=0)]]
        assert len(client.wait_all(targets, timeout=20)) == 3
        assert len(list(client.as_completed(targets, timeout=20))) == 2
        assert client.durations.hazard("luma").evidence


def test_errors_are_those_of_the_asynchronous_client(ace):
    """Failures, timeouts and wrong arguments raise in the caller's thread."""
    with ace.new_client() as client:
        with pytest.raises(acetasks.TaskFailedError):
            client.wait("luma", ace.add("luma", after=0, outcome="failed"), timeout=20)
        with pytest.raises(acetasks.TaskTimeoutError):
            client.wait_all("luma", [ace.add("luma", outcome="forever")], timeout=0.2)
        with pytest.raises(TypeError, match="slug"):
            client.as_completed("luma")
        with pytest.raises(acetasks.UnknownProviderError, match="did you mean 'luma'"):
            client.handle("lumma", "x")


def test_leaving_a_loop_ends_the_wait(ace):
    """Closing the generator of `as_completed` removes its waiters."""
    with ace.new_client() as client:
        tasks = client.as_completed("luma", [ace.add("luma", after=0), ace.add("luma", outcome="forever")])
        assert next(tasks).state is TaskState.SUCCEEDED
        assert "1 waiters" in repr(client)
        tasks.close()
        assert "0 waiters" in repr(client)


def test_is_opened_once(ace):
    """A client works between opening and closing only, and its errors say how to make another."""
    client = ace.new_client()
    with pytest.raises(acetasks.ClientClosedError, match=r"with acetasks\.sync\.Client"):
        client.wait("luma", "x")
    with client:
        tasks = client.as_completed("luma", [ace.add("luma", after=0), ace.add("luma", outcome="forever")])
        next(tasks)
        with pytest.raises(acetasks.ClientClosedError, match="already opened"):
            client.__enter__()
    tasks.close()
    client.close()
    with pytest.raises(acetasks.ClientClosedError, match="closed: create a new one"):
        client.wait("luma", "x")
    opened = acetasks.sync.Client.open(ace.server.token, base_url=ace.server.url)
    assert opened.retrieve("luma", ace.add("luma", after=0)).state is TaskState.SUCCEEDED
    opened.close()


def test_handles_are_pickled_without_their_client(ace):
    """An unpickled handle is equal, and says how to get one with a client."""
    with ace.new_client() as client:
        handle = client.submit("luma", {"prompt": "a cat"})
    restored = pickle.loads(pickle.dumps(handle))
    assert (restored, restored.key) == (handle, ("luma", handle.id))
    for attempt in (restored.wait, restored.updates):
        with pytest.raises(acetasks.ClientClosedError, match=r"client\.handle"):
            attempt()


def test_threads_share_a_client(ace):
    """Several threads wait at once; closing the client ends the waits that are left."""
    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        with ace.new_client() as client:
            waits = [pool.submit(client.run, "luma", {"prompt": "a cat"}, timeout=20) for _ in range(8)]
            assert len({wait.result(20).id for wait in waits}) == 8
            left = pool.submit(client.wait, "luma", ace.add("luma", outcome="forever"))
            while "1 waiters" not in repr(client):
                time.sleep(0.01)
        assert isinstance(left.exception(20), acetasks.ClientClosedError)
    assert not [thread for thread in threading.enumerate() if thread.name == "acetasks"]


async def test_is_used_where_a_loop_runs(ace):
    """A notebook runs a loop in the thread of its cells."""
    with ace.new_client() as client:
        assert client.run("luma", {"prompt": "a cat"}, timeout=20).state is TaskState.SUCCEEDED
    await asyncio.sleep(0)


def test_call_from_its_own_thread_raises(ace):
    """An observer that calls the client gets an error; it would wait for itself."""
    errors = []

    class Caller:
        def on_event(self, _event: acetasks.Event) -> None:
            try:
                client.retrieve("luma", "x")
            except RuntimeError as error:
                errors.append(error)

    with ace.new_client(observers=[Caller()]) as client:
        client.run("luma", {"prompt": "a cat"}, timeout=20)
    assert "own thread" in str(errors[0])


PROGRAM = """
import os, signal, sys, threading, time
import acetasks, acetasks.sync
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
client = acetasks.sync.Client.open()
def interrupt():
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGINT)
"""


def run_program(ace: ThreadedServer, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program that has an open client, with no output on stderr."""
    env = os.environ | {"ACEDATACLOUD_API_BASE_URL": ace.server.url, "ACEDATACLOUD_API_TOKEN": ace.server.token}
    command = [sys.executable, "-W", "error", "-c", PROGRAM + program]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=25, check=False)


@pytest.mark.parametrize("prepare", ["", "tasks = client.as_completed('luma', ['x', 'y']); next(tasks)"])
def test_exit_without_closing(ace, prepare):
    """The interpreter exits at once and quietly, also with a stream that was left open."""
    ace.server.allow("luma")
    prepare = prepare.replace("'x'", repr(ace.add("luma", after=0))).replace("'y'", repr(ace.add("luma", after=99)))
    done = run_program(ace, prepare + "\nprint('end')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_handle_downloads(ace, tmp_path):
    """A handle waits and downloads; unpickled, it has no client to do so, even if its task has ended."""
    with ace.new_client() as client:
        handle = client.submit("luma", {"prompt": "a cat"})
        task = handle.wait(timeout=20, download_to=tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [f"luma-{task.id}.mp4"]
        finished = client.submit("luma", {"prompt": "a cat", "async": False})
    copy = pickle.loads(pickle.dumps(finished))
    assert copy.wait() == finished.finished
    with pytest.raises(acetasks.ClientClosedError, match="unpickled"):
        copy.wait(download_to=tmp_path)


def test_exit_without_closing_a_journal(ace, tmp_path):
    """The journal is closed with the client, so that the next process finds what this one has submitted."""
    journal = tmp_path / "tasks.db"
    program = f"""
client = acetasks.sync.Client.open(journal={str(journal)!r})
print(client.submit("luma", {{"prompt": "a cat"}}, key="order-1").id)
"""
    done = run_program(ace, program)
    assert (done.returncode, done.stderr) == (0, "")
    # Closing the last connection takes what was written into the file, and removes the others.
    assert [path.name for path in tmp_path.iterdir()] == [journal.name]
    with ace.new_client(journal=journal) as client:
        assert [handle.id for handle in client.pending()] == [done.stdout.strip()]
        assert [task.state for task in client.resume(timeout=20)] == [TaskState.SUCCEEDED]


@pytest.mark.parametrize("close", ["", "await client.close()", "asyncio.get_running_loop().stop()"])
def test_exit_without_closing_an_asynchronous_client(ace, tmp_path, close):
    """A journal that was left open does not keep the interpreter from exiting, and has what was submitted."""
    journal = tmp_path / "tasks.db"
    program = f"""
import asyncio
async def main():
    client = await acetasks.Client.open(journal={str(journal)!r})
    handle = await client.submit("luma", {{"prompt": "a cat"}}, key="order-1")
    print(handle.id, flush=True)
    {close}
try:
    asyncio.run(main())
except RuntimeError as error:  # the loop was stopped
    print(error, file=sys.stdout)
"""
    done = run_program(ace, program)
    assert done.returncode == 0
    with ace.new_client(journal=journal) as client:
        assert [handle.id for handle in client.pending()] == [done.stdout.split()[0]]


def test_interrupted_wait(ace):
    """Ctrl-C ends a wait in the loop too."""
    program = f"""
threading.Thread(target=interrupt).start()
try:
    client.wait("luma", {ace.add("luma", outcome="forever")!r})
except KeyboardInterrupt:
    print("0 waiters" in repr(client))
"""
    done = run_program(ace, program)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_interrupted_submission(ace):
    """Ctrl-C during a submission leaves a note of what may be paid for, and the log the task's id."""
    ace.server.fail("luma", action="submit", drip=1.5)
    program = """
threading.Thread(target=interrupt).start()
try:
    client.submit("luma", {"prompt": "a cat"})
except KeyboardInterrupt as error:
    print(error.__notes__)
time.sleep(2)
"""
    done = run_program(ace, program)
    assert "was under way and may have been accepted" in done.stdout
    assert re.search("luma: task [0-9a-f-]{36} was submitted", done.stderr)


def test_result_of_an_interrupted_call(ace, monkeypatch):
    """If a submission ends as Ctrl-C arrives, the exception names the task."""
    wait = concurrent.futures.wait

    def interrupt(futures: object, timeout: float | None = None) -> None:
        wait(futures, timeout)
        raise KeyboardInterrupt

    with ace.new_client() as client:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as caught:
            patch.setattr(concurrent.futures, "wait", interrupt)
            client.submit("luma", {"prompt": "a cat"})
        (note,) = caught.value.__notes__
        (task_id,) = re.findall("luma task '(.+)'", note)
        assert client.wait("luma", task_id, timeout=20).state is TaskState.SUCCEEDED


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_use_after_a_fork(ace):
    """The child gets an error at each use, and exits."""
    program = """
child = os.fork()
if not child:
    for use in (lambda: client.wait("luma", "x"), client.close):
        try:
            use()
        except acetasks.ClientClosedError as error:
            print("another process" in str(error), flush=True)
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
client.close()
"""
    done = run_program(ace, program)
    assert done.stdout.split() == ["True", "True", "7"]


def test_callbacks_that_another_thread_receives(ace: ThreadedServer) -> None:
    """A wait ends with the poll that a callback leads to, in the client's own loop."""
    policy = PollPolicy(interval=60, callback_interval=300)
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(serve()) as callbacks,
        acetasks.sync.Client(ace.server.token, base_url=ace.server.url, policy=policy, callbacks=callbacks) as client,
    ):
        task = client.submit("luma", {"prompt": "a cat"}).wait(timeout=30)
    assert task.state is TaskState.SUCCEEDED
    assert callbacks.received == 1
    assert [request.action for request in ace.server.requests] == ["submit", "retrieve"]
