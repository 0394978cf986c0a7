"""`acetasks wait`: output on stdout and stderr, and exit codes."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
from typing import TYPE_CHECKING

import pytest

from acetasks import errors
from acetasks.cli.client_setup import build_client
from acetasks.cli.exit_codes import CommandError, ExitCode
from acetasks.cli.options import ClientOptions
from acetasks.cli.report import Report
from acetasks.cli.screen import Screen
from acetasks.cli.tracking import TaskTracker
from acetasks.cli.wait import WaitOptions, wait_for_each, wait_for_tasks

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from typer.testing import Result

    import acetasks
    from acetasks.testing.server import AceServer
    from tests.cli.conftest import Terminal

    Terminals = Callable[[], AbstractContextManager[tuple[Terminal, Terminal]]]
    Invoke = Callable[..., Awaitable[Result]]
    Spawn = Callable[..., subprocess.Popen[bytes]]

real_clock = pytest.mark.real_clock

KEYS = [
    *("provider", "id", "state", "artifacts", "error", "progress"),
    *("created_at", "started_at", "finished_at", "duration", "trace_id", "cost", "usage", "response"),
]


@real_clock
async def test_succeeded_tasks_are_printed_and_exit_with_0(server: AceServer, invoke: Invoke) -> None:
    """Each task has one line on stdout with its state, id and URL; stderr has the summary alone."""
    ids = [server.add("luma", after=0) for _ in range(3)]
    result = await invoke("wait", "luma", *ids)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert sorted(line.split()[2] for line in lines) == sorted(ids)
    assert all(line.startswith("succeeded  luma  ") and line.endswith(".mp4") for line in lines)
    assert re.fullmatch(r"3 tasks in \S+ s: 3 succeeded\n", result.stderr)


@real_clock
async def test_json_prints_one_object_per_line_with_every_key(server: AceServer, invoke: Invoke) -> None:
    """Every task has the same keys, a repeated id is printed once, and stdout has nothing else."""
    task_id = server.add("luma", after=0)
    failed = server.add("luma", after=0, outcome="failed", error=("bad_prompt", "No."))
    result = await invoke("wait", "luma", task_id, failed, task_id, "--json")
    lines = {line["id"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert result.stdout.count("\n") == 2
    assert all(list(line) == KEYS for line in lines.values())
    assert lines[task_id]["state"] == "succeeded"
    assert lines[task_id]["error"] is None
    main = lines[task_id]["artifacts"][0]
    assert list(main) == ["url", "kind", "role", "width", "height", "path"]
    assert (main["kind"], main["role"]) == ("video", "main")
    assert lines[failed]["state"] == "failed"
    assert lines[failed]["error"] == {"message": "No.", "code": "bad_prompt"}


@real_clock
@pytest.mark.parametrize("outcome", ["failed", "partial"])
async def test_failed_and_partial_tasks_exit_with_1(server: AceServer, invoke: Invoke, outcome: str) -> None:
    """A failed or partial task sets the exit code, and the other tasks are printed too."""
    ids = [server.add("suno", after=0), server.add("suno", after=0, outcome=outcome)]
    result = await invoke("wait", "suno", *ids)
    assert result.exit_code == 1
    assert sorted(line.split()[0] for line in result.stdout.splitlines()) == sorted(["succeeded", outcome])


async def test_an_unknown_id_exits_with_1_after_the_grace_period(
    server: AceServer, new_client: Callable[..., acetasks.Client], capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown id is reported as not found, and the other task still ends."""
    ids = ["unknown-id", server.add("luma", after=60)]
    tracker = TaskTracker(("luma", task_id) for task_id in ids)
    screen = Screen()
    report = Report(screen, as_json=False)
    client = new_client(observers=[tracker])
    code = await wait_for_tasks(client, tracker, report, WaitOptions(), timeout=None)
    assert code == ExitCode.FAILED
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["not_found", "luma", "unknown-id"]
    assert second.startswith("succeeded  luma")


@real_clock
@pytest.mark.parametrize("as_json", [False, True])
async def test_a_timeout_exits_with_3(server: AceServer, invoke: Invoke, as_json: bool) -> None:  # noqa: FBT001  # pytest passes it by name
    """The finished task is printed; the unfinished one is reported on stderr, and with `--json` on stdout too."""
    done, forever = server.add("veo", after=0), server.add("veo", outcome="forever", queued_for=0)
    result = await invoke("wait", "veo", done, forever, "--timeout", "2", *(["--json"] if as_json else []))
    assert result.exit_code == 3
    assert f"veo:{forever}: still running after 2.0 s; the remote task continues" in result.stderr
    assert f"go on with: acetasks wait veo:{forever}\n" in result.stderr
    if as_json:
        states = {line["id"]: line["state"] for line in map(json.loads, result.stdout.splitlines())}
        assert states == {done: "succeeded", forever: "running"}
    else:
        assert [line.split()[2] for line in result.stdout.splitlines()] == [done]


@real_clock
@pytest.mark.parametrize(
    ("args", "variables", "message"),
    [
        (["Luma!", "an-id"], {}, "unknown provider 'Luma!'"),
        (["luma", ""], {}, "task id must be"),
        (["luma", " an-id"], {}, "task id must be"),
        (["luma", "an-id", "--timeout", "nan"], {}, "timeout"),
        (["luma", "an-id"], {"ACEDATACLOUD_API_TOKEN": None}, "no token for"),
        (["luma", "an-id"], {"ACEDATACLOUD_API_TOKEN": "secret and more"}, "token .*(blanks|whitespace|printable)"),
        (["luma", "an-id"], {"ACEDATACLOUD_API_TOKEN": "secret-but-wrong"}, "invalid_token"),
        (["luma", "an-id", "--base-url", "ftp://nowhere"], {}, "base URL.*'ftp://nowhere'"),
        (["useapi-pixverse", "an-id", "--base-url", "ftp://nowhere"], {}, "base URL.*'ftp://nowhere'"),
        (["luma", "an-id", "--base-url", "http://ace.example"], {}, "--allow-insecure"),
        ([], {}, "Missing argument 'TARGET'"),
        (["luma"], {}, "no task ids after 'luma'"),
    ],
)
async def test_usage_errors_and_bad_tokens_exit_with_2(
    invoke: Invoke, args: list[str], variables: dict[str, str | None], message: str
) -> None:
    """The error names the cause on stderr; stdout is empty, and no token is printed."""
    result = await invoke("wait", *args, **variables)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert re.search(message, result.stderr)
    assert "secret" not in result.stderr
    assert "Traceback" not in result.output


@real_clock
async def test_allow_insecure_permits_plain_http_to_another_machine(server: AceServer, invoke: Invoke) -> None:
    """Plain HTTP to an address other than loopback is rejected without `--allow-insecure`."""
    url = server.url.replace("127.0.0.1", "0.0.0.0")  # noqa: S104  # a request target, not a listening address
    task_id = server.add("luma", after=0)
    rejected = await invoke("wait", "luma", task_id, "--base-url", url)
    assert rejected.exit_code == 2
    assert server.request_count == 0
    allowed = await invoke("wait", "luma", task_id, "--base-url", url, "--allow-insecure")
    assert allowed.exit_code == 0


@real_clock
async def test_a_token_without_permission_exits_with_2(
    invoke: Invoke, fake_service: Callable[..., Awaitable[str]]
) -> None:
    """The error has the message of the service."""
    url = await fake_service(lambda _: (403, {"error": {"code": "used_up", "message": "Balance is used up."}}))
    result = await invoke("wait", "luma", "one", "two", "--base-url", url)
    assert result.exit_code == 2
    assert "Balance is used up." in result.stderr


@real_clock
@pytest.mark.parametrize("command", ["wait", "get"])
async def test_an_invalid_id_does_not_affect_other_ids(
    invoke: Invoke, fake_service: Callable[..., Awaitable[str]], command: str
) -> None:
    """The rejected id has a line with its error; the other id has its result."""

    def respond(body: dict[str, object]) -> tuple[int, object]:
        if "bad" in (body.get("ids") or [body.get("id")]):
            return 400, {"error": {"code": "bad_request", "message": "no such id"}}
        return 200, {"id": body["id"], "response": {"success": True, "video_url": "https://files.example/a.mp4"}}

    url = await fake_service(respond)
    result = await invoke(command, "luma", "bad", "good", "--base-url", url, "--json")
    assert result.exit_code == 1
    lines = {line["id"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert lines["good"]["state"] == "succeeded"
    assert lines["bad"]["error"]["code"] == "bad_request"
    text = await invoke(command, "luma", "bad", "--base-url", url)
    assert "no such id" in text.stdout


@real_clock
async def test_a_dash_reads_ids_from_stdin(server: AceServer, invoke: Invoke) -> None:
    """Stdin has one id per line; blank lines and surrounding whitespace are ignored."""
    ids = [server.add("flux", after=0) for _ in range(2)]
    result = await invoke("wait", "flux", "-", stdin=f"{ids[0]}\n\n  {ids[1]}  \n")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2


@real_clock
async def test_stdin_without_ids_exits_with_2(invoke: Invoke) -> None:
    """Blank lines on stdin are a usage error."""
    result = await invoke("wait", "flux", "-", stdin="\n")
    assert result.exit_code == 2
    assert "no task ids on stdin" in result.stderr


def test_binary_stdin_exits_with_2(spawn: Spawn) -> None:
    """Stdin that cannot be decoded is a usage error."""
    process = spawn("wait", "flux", "-", PYTHONIOENCODING="utf-8")
    out, err = process.communicate(b"\xff\xfe\n")
    assert process.returncode == 2
    assert out == b""
    assert b"error: cannot read task ids from stdin" in err


@real_clock
async def test_a_child_process_has_the_same_output_and_exit_code(
    server: AceServer, environment: dict[str, str], spawn: Spawn
) -> None:
    """Characters that the terminal's encoding lacks are escaped."""
    done = server.add("luma", after=0)
    failed = server.add("luma", after=0, outcome="failed", error=("bad", "unzulässig"))
    process = spawn("wait", "luma", done, failed, PYTHONIOENCODING="ascii", **environment)
    out, err = await asyncio.to_thread(process.communicate)
    assert process.returncode == 1
    assert sorted(line.split()[0] for line in out.splitlines()) == [b"failed", b"succeeded"]
    assert rb"bad: unzul\xe4ssig" in out
    assert b"1 succeeded, 1 failed" in err


@real_clock
async def test_ctrl_c_exits_with_130_and_reports_that_the_tasks_continue(
    server: AceServer, environment: dict[str, str], spawn: Spawn
) -> None:
    """The task that ended before Ctrl-C is printed."""
    done, forever = server.add("luma", after=0), server.add("luma", outcome="forever")
    process = spawn("wait", "luma", done, forever, "--json", **environment)
    line = await asyncio.to_thread(process.stdout.readline)
    assert json.loads(line)["id"] == done
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.to_thread(process.communicate)
    assert process.returncode == 130
    assert out == b""
    assert f"interrupted: no task was cancelled; go on with: acetasks wait luma:{forever}".encode() in err
    assert b"Traceback" not in err


@real_clock
@pytest.mark.parametrize("options", [[], ["--json"]])
async def test_a_closed_pipe_exits_with_141_silently(
    server: AceServer, environment: dict[str, str], spawn: Spawn, options: list[str]
) -> None:
    """The exit code is 128 plus the number of SIGPIPE, and stderr has no error."""
    ids = [server.add("luma", after=0) for _ in range(3)]
    process = spawn("wait", "luma", *ids, *options, **environment)
    process.stdout.close()
    err = await asyncio.to_thread(process.stderr.read)
    assert await asyncio.to_thread(process.wait) == 141
    assert b"rror" not in err
    assert b"Traceback" not in err


@pytest.mark.parametrize("as_json", [True, False])
async def test_a_terminal_shows_a_live_progress_bar(
    server: AceServer,
    new_client: Callable[..., acetasks.Client],
    terminals: Terminals,
    as_json: bool,  # noqa: FBT001  # pytest passes it by name
) -> None:
    """The bar is redrawn in place, and results are printed in full above it."""
    ids = [server.add("luma", after=30), server.add("luma", after=60)]
    tracker = TaskTracker(("luma", task_id) for task_id in ids)
    client = new_client(observers=[tracker])
    with terminals() as (out, err):
        screen = Screen()
        report = Report(screen, as_json=as_json)
        code = await wait_for_tasks(client, tracker, report, WaitOptions(), timeout=None)
    assert code == ExitCode.OK
    assert out.text == ""
    assert "1 of 2\n" in err.text
    assert "1 running" in err.text
    assert err.text.count('"state":"succeeded"' if as_json else "\x1b[1m") == 2
    assert all(f"/luma/{task_id}.mp4" in err.text for task_id in ids)
    assert "2 tasks in 1 min" in err.text


async def test_a_fatal_error_cancels_every_wait(server: AceServer, new_client: Callable[..., acetasks.Client]) -> None:
    """A bad token ends the command, and no task remains registered."""
    ids = [server.add("luma") for _ in range(20)]
    tracker = TaskTracker(("luma", task_id) for task_id in ids)
    async with new_client("wrong-token", observers=[tracker]) as client:
        with pytest.raises(errors.AuthenticationError):
            [result async for result in wait_for_each(client, tracker, timeout=None)]
        assert re.search("<TaskRegistry 0 tasks", repr(client))


def test_an_invalid_provider_is_named() -> None:
    """An invalid provider raises before any request is sent."""
    with pytest.raises(CommandError, match="'Lu ma'"):
        build_client(ClientOptions(), targets=[("Lu ma", "an-id")])


@real_clock
async def test_library_warnings_go_to_stderr(invoke: Invoke) -> None:
    """A warning is printed once, and the log handler is removed at the end."""
    result = await invoke("get", "luma3", "an-id")
    assert result.exit_code == 2
    assert result.stderr.count("warning: ") == 1
    assert re.search(r"warning: .*'luma3'.*did you mean 'luma'\?", result.stderr)
    assert not logging.getLogger("acetasks").handlers


@real_clock
async def test_tasks_of_several_providers_are_awaited_and_retrieved(server: AceServer, invoke: Invoke) -> None:
    """In one command; `get` keeps the order of the arguments."""
    targets = [f"{provider}:{server.add(provider, after=0)}" for provider in ("luma", "useapi-pixverse", "luma")]
    waited = await invoke("wait", *targets)
    assert waited.exit_code == 0
    assert "3 tasks in" in waited.stderr
    retrieved = await invoke("get", *targets)
    assert [":".join(line.split()[1:3]) for line in retrieved.stdout.splitlines()] == targets
    assert retrieved.stderr == "3 tasks: 3 succeeded\n"


@real_clock
async def test_a_provider_among_the_ids_is_an_error_with_a_hint(server: AceServer, invoke: Invoke) -> None:
    """Nothing is polled."""
    result = await invoke("wait", "luma", "A", "veo", "B")
    assert result.exit_code == 2
    assert "'veo' is a provider, not a task id: for tasks of several providers write luma:ID veo:ID" in result.stderr
    assert server.request_count == 0


@real_clock
@pytest.mark.parametrize(
    ("option", "outcome", "exit_code"),
    [("--any", "succeeded", 0), ("--any", "failed", 1), ("--fail-fast", "failed", 1)],
)
async def test_a_wait_stops_early(server: AceServer, invoke: Invoke, option: str, outcome: str, exit_code: int) -> None:
    """The others are named in the command to go on with."""
    ended = server.add("luma", after=0, outcome=outcome)
    forever = server.add("luma", outcome="forever")
    result = await invoke("wait", "luma", ended, forever, option)
    assert result.exit_code == exit_code
    assert result.stdout.startswith(f"{outcome:<9}  luma  {ended}")
    assert f"1 {outcome}, 1 not ended" in result.stderr
    assert f"go on with: acetasks wait luma:{forever}\n" in result.stderr


@real_clock
async def test_quiet_and_verbose_commands(server: AceServer, invoke: Invoke) -> None:
    """`-q` prints the result alone; `-vv` prints what the client logs, and the level is as before afterwards."""
    task_id = server.add("luma", after=0)
    quiet = await invoke("wait", "luma", task_id, "-q")
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    assert task_id in quiet.stdout
    server.fail("luma", status=503, code="api_error")
    verbose = await invoke("wait", "luma", task_id, "-vv")
    assert verbose.exit_code == 0
    assert "log: luma: request failed: luma: HTTP 503" in verbose.stderr
    assert logging.getLogger("acetasks").level == logging.NOTSET


@real_clock
async def test_a_timeout_says_what_is_known(server: AceServer, invoke: Invoke) -> None:
    """An id without a record is not said to be pending; a failing service is named with its last error."""
    unknown = await invoke("wait", "luma", "unknown-id", "--timeout", "1s", "--json")
    assert unknown.exit_code == 3
    assert (
        "luma:unknown-id: the service has no record of it after 1.0 s: the id is wrong, or the task" in unknown.stderr
    )
    assert json.loads(unknown.stdout)["error"]["code"] == "timeout"
    assert "continue" not in unknown.stderr
    unsent = await invoke("wait", "luma", "unknown-id", "--timeout", "0")
    assert "luma:unknown-id: nothing is known after 0.00 s: no response was received" in unsent.stderr
    server.fail("luma", status=503, code="api_error", times=None)
    failing = await invoke("wait", "luma", "some-id", "--timeout", "1s")
    assert failing.exit_code == 3
    assert re.search("some-id: nothing is known after 1.0 s: no poll succeeded; .*: HTTP 503 api_error", failing.stderr)
    assert failing.stdout == ""


async def test_a_log_has_a_line_of_progress_now_and_then(
    server: AceServer, new_client: Callable[..., acetasks.Client], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every half a minute, so that a long wait is not silent."""
    tracker = TaskTracker([("luma", server.add("luma", after=100)), ("luma", server.add("luma", after=10))])
    report = Report(Screen(), as_json=False)
    await wait_for_tasks(new_client(observers=[tracker]), tracker, report, WaitOptions(), timeout=None)
    *lines, summary = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 4
    assert lines[0].startswith("0:30 1 of 2 tasks ended")
    assert summary.endswith(": 2 succeeded")


async def test_long_lists_of_unfinished_tasks_are_cut(
    server: AceServer, new_client: Callable[..., acetasks.Client], capsys: pytest.CaptureFixture[str]
) -> None:
    """Twenty are listed, and the others counted."""
    tracker = TaskTracker(("luma", server.add("luma", outcome="forever")) for _ in range(25))
    report = Report(Screen(), as_json=False)
    code = await wait_for_tasks(new_client(observers=[tracker]), tracker, report, WaitOptions(), timeout=5)
    assert code == ExitCode.TIMED_OUT
    err = capsys.readouterr().err
    assert err.count("the remote task continues") == 20
    assert "... and 5 more" in err
    assert "no task was cancelled; run the command again to go on" in err
