"""`acetasks wait`: what it prints where, and the exit codes."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from typing import TYPE_CHECKING

import pytest

from acetasks import errors
from acetasks.cli import waiting
from acetasks.cli.running import CommandError, Exit
from acetasks.cli.screen import Screen

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
    *("created_at", "started_at", "finished_at", "duration", "trace_id"),
]


@real_clock
async def test_succeeded_tasks_are_printed_and_the_exit_code_is_0(server: AceServer, invoke: Invoke) -> None:
    """Each task has a line on stdout with its state, id and address, and a quiet one on stderr."""
    ids = [server.add("luma", after=0) for _ in range(3)]
    result = await invoke("wait", "luma", *ids)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert sorted(line.split()[2] for line in lines) == sorted(ids)
    assert all(line.startswith("succeeded  luma  ") and line.endswith(".mp4") for line in lines)
    assert result.stderr.count("of 3 ended") == 3


@real_clock
async def test_json_is_one_object_a_line_with_every_key(server: AceServer, invoke: Invoke) -> None:
    """A program gets the same keys of every task, and nothing else on stdout."""
    task_id = server.add("luma", after=0)
    failed = server.add("luma", after=0, outcome="failed", error=("bad_prompt", "No."))
    result = await invoke("wait", "luma", task_id, failed, task_id, "--json")
    lines = {line["id"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert result.stdout.count("\n") == 2
    assert all(list(line) == KEYS for line in lines.values())
    assert lines[task_id]["state"] == "succeeded"
    assert lines[task_id]["error"] is None
    main = lines[task_id]["artifacts"][0]
    assert list(main) == ["url", "kind", "role", "width", "height"]
    assert (main["kind"], main["role"]) == ("video", "main")
    assert lines[failed]["state"] == "failed"
    assert lines[failed]["error"] == {"message": "No.", "code": "bad_prompt"}


@real_clock
@pytest.mark.parametrize("outcome", ["failed", "partial"])
async def test_a_task_that_did_not_wholly_succeed_makes_it_1(server: AceServer, invoke: Invoke, outcome: str) -> None:
    """The others are printed all the same."""
    ids = [server.add("suno", after=0), server.add("suno", after=0, outcome=outcome)]
    result = await invoke("wait", "suno", *ids)
    assert result.exit_code == 1
    assert sorted(line.split()[0] for line in result.stdout.splitlines()) == sorted(["succeeded", outcome])


async def test_an_unknown_id_makes_it_1_after_the_grace(
    server: AceServer, new_client: Callable[..., acetasks.Client], capsys: pytest.CaptureFixture[str]
) -> None:
    """On the virtual clock, since the grace is ten seconds."""
    ids = ["nobody-knows-this", server.add("luma", after=60)]
    lookout = waiting.Lookout("luma", ids)
    screen = Screen()
    report = waiting.Report(screen, as_json=False)
    client = new_client(observers=[lookout])
    code = await waiting.wait(client, lookout, ids, timeout=None, report=report, screen=screen)
    assert code == Exit.FAILED
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["not_found", "luma", "nobody-knows-this"]
    assert second.startswith("succeeded  luma")


@real_clock
@pytest.mark.parametrize("as_json", [False, True])
async def test_a_limit_that_passes_makes_it_3(server: AceServer, invoke: Invoke, as_json: bool) -> None:  # noqa: FBT001  # pytest passes it by name
    """The finished task is printed; the unfinished one is named on stderr, and as JSON too if asked."""
    done, forever = server.add("veo", after=0), server.add("veo", outcome="forever", queued_for=0)
    result = await invoke("wait", "veo", done, forever, "--timeout", "2", *(["--json"] if as_json else []))
    assert result.exit_code == 3
    assert f"veo {forever}: still running after 2.0 s; the remote task goes on" in result.stderr
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
        (["luma", ""], {}, "a task id is"),
        (["luma", " an-id"], {}, "a task id is"),
        (["luma", "an-id", "--timeout", "nan"], {}, "timeout"),
        (["luma", "an-id"], {"ACEDATACLOUD_API_TOKEN": None}, "no token for"),
        (["luma", "an-id"], {"ACEDATACLOUD_API_TOKEN": "secret and more"}, "has blanks"),
        (["luma", "an-id"], {"ACEDATACLOUD_API_TOKEN": "secret-but-wrong"}, "invalid_token"),
        (["luma", "an-id", "--base-url", "ftp://nowhere"], {}, "a base URL is like"),
        (["useapi-pixverse", "an-id", "--base-url", "ftp://nowhere"], {}, "a base URL is like"),
        (["luma", "an-id", "--base-url", "http://ace.example"], {}, "allow_insecure"),
        (["luma"], {}, "Missing argument"),
    ],
)
async def test_wrong_use_and_a_bad_token_make_it_2(
    invoke: Invoke, args: list[str], variables: dict[str, str | None], message: str
) -> None:
    """One line says what is wrong; nothing is on stdout, and no token anywhere."""
    result = await invoke("wait", *args, **variables)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert "secret" not in result.stderr
    assert "Traceback" not in result.output


@real_clock
async def test_another_machine_without_tls_can_be_allowed(server: AceServer, invoke: Invoke) -> None:
    """An address that is not known to be this machine's is asked without TLS only when told so."""
    url = server.url.replace("127.0.0.1", "0.0.0.0")  # noqa: S104  # where to ask, not where to listen
    task_id = server.add("luma", after=0)
    refused = await invoke("wait", "luma", task_id, "--base-url", url)
    assert refused.exit_code == 2
    assert server.request_count == 0
    allowed = await invoke("wait", "luma", task_id, "--base-url", url, "--allow-insecure")
    assert allowed.exit_code == 0


@real_clock
async def test_a_token_without_permission_makes_it_2(invoke: Invoke, answering: Callable[..., Awaitable[str]]) -> None:
    """The service's own words say why."""
    url = await answering(lambda _: (403, {"error": {"code": "used_up", "message": "Balance is used up."}}))
    result = await invoke("wait", "luma", "one", "two", "--base-url", url)
    assert result.exit_code == 2
    assert "Balance is used up." in result.stderr


@real_clock
@pytest.mark.parametrize("command", ["wait", "get"])
async def test_an_id_that_cannot_be_asked_for_takes_no_other_with_it(
    invoke: Invoke, answering: Callable[..., Awaitable[str]], command: str
) -> None:
    """Its error has a line; the others have theirs."""

    def answer(body: dict[str, object]) -> tuple[int, object]:
        if "bad" in (body.get("ids") or [body.get("id")]):
            return 400, {"error": {"code": "bad_request", "message": "no such id"}}
        return 200, {"id": body["id"], "response": {"success": True, "video_url": "https://files.example/a.mp4"}}

    url = await answering(answer)
    result = await invoke(command, "luma", "bad", "good", "--base-url", url, "--json")
    assert result.exit_code == 1
    lines = {line["id"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert lines["good"]["state"] == "succeeded"
    assert lines["bad"]["error"]["code"] == "bad_request"
    people = await invoke(command, "luma", "bad", "--base-url", url)
    assert "no such id" in people.stdout


@real_clock
async def test_ids_come_from_stdin_if_the_only_id_is_a_dash(server: AceServer, invoke: Invoke) -> None:
    """One a line; blank lines do not count."""
    ids = [server.add("flux", after=0) for _ in range(2)]
    result = await invoke("wait", "flux", "-", stdin=f"{ids[0]}\n\n  {ids[1]}  \n")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2


@real_clock
async def test_a_stdin_without_ids_makes_it_2(invoke: Invoke) -> None:
    """Waiting for nothing is not what was meant."""
    result = await invoke("wait", "flux", "-", stdin="\n")
    assert result.exit_code == 2
    assert "no id on stdin" in result.stderr


def test_a_stdin_that_is_no_text_makes_it_2(spawn: Spawn) -> None:
    """Such as a file that was piped by mistake."""
    out, err = spawn("wait", "flux", "-", PYTHONIOENCODING="utf-8").communicate(b"\xff\xfe\n")
    assert out == b""
    assert b"error: the ids on stdin cannot be read" in err


@real_clock
async def test_the_real_command_exits_as_the_others_do(
    server: AceServer, environment: dict[str, str], spawn: Spawn
) -> None:
    """In a process of its own, in a locale without the letters that a failure is told in."""
    done = server.add("luma", after=0)
    failed = server.add("luma", after=0, outcome="failed", error=("bad", "unzulässig"))
    process = spawn("wait", "luma", done, failed, PYTHONIOENCODING="ascii", **environment)
    out, err = await asyncio.to_thread(process.communicate)
    assert process.returncode == 1
    assert sorted(line.split()[0] for line in out.splitlines()) == [b"failed", b"succeeded"]
    assert rb"bad: unzul\xe4ssig" in out
    assert b"2 of 2 ended" in err


@real_clock
async def test_ctrl_c_makes_it_130_and_says_that_the_tasks_go_on(
    server: AceServer, environment: dict[str, str], spawn: Spawn
) -> None:
    """What has ended by then was printed."""
    done, forever = server.add("luma", after=0), server.add("luma", outcome="forever")
    process = spawn("wait", "luma", done, forever, "--json", **environment)
    line = await asyncio.to_thread(process.stdout.readline)
    assert json.loads(line)["id"] == done
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.to_thread(process.communicate)
    assert process.returncode == 130
    assert out == b""
    assert b"interrupted: the remote tasks go on" in err
    assert b"Traceback" not in err


@real_clock
@pytest.mark.parametrize("options", [[], ["--json"]])
async def test_a_closed_pipe_ends_it_quietly(
    server: AceServer, environment: dict[str, str], spawn: Spawn, options: list[str]
) -> None:
    """As any tool's in front of `head`: 128 and the number of SIGPIPE."""
    ids = [server.add("luma", after=0) for _ in range(3)]
    process = spawn("wait", "luma", *ids, *options, **environment)
    process.stdout.close()
    err = await asyncio.to_thread(process.stderr.read)
    assert await asyncio.to_thread(process.wait) == 141
    assert b"rror" not in err
    assert b"Traceback" not in err


@pytest.mark.parametrize("as_json", [True, False])
async def test_a_terminal_shows_how_far_it_is(
    server: AceServer,
    new_client: Callable[..., acetasks.Client],
    terminals: Terminals,
    as_json: bool,  # noqa: FBT001  # pytest passes it by name
) -> None:
    """A bar is redrawn in place; results stand whole above it, through the one console."""
    ids = [server.add("luma", after=30), server.add("luma", after=60)]
    lookout = waiting.Lookout("luma", ids)
    client = new_client(observers=[lookout])
    with terminals() as (out, err):
        screen = Screen()
        report = waiting.Report(screen, as_json=as_json)
        code = await waiting.wait(client, lookout, ids, timeout=None, report=report, screen=screen)
    assert code == Exit.OK
    assert out.text == ""
    assert "1 of 2" in err.text
    assert "1 running" in err.text
    assert err.text.count('"state":"succeeded"' if as_json else "\x1b[1m") == 2
    assert all(f"/luma/{task_id}.mp4" in err.text for task_id in ids)
    assert "ended:" not in err.text


async def test_a_final_error_ends_every_wait(server: AceServer, new_client: Callable[..., acetasks.Client]) -> None:
    """No other id would be spared it, and none is still waited for."""
    ids = [server.add("luma") for _ in range(20)]
    lookout = waiting.Lookout("luma", ids)
    async with new_client("wrong-token", observers=[lookout]) as client:
        with pytest.raises(errors.AuthenticationError):
            [ended async for ended in waiting.each_ended(client, lookout, ids, None)]
        assert "<Pending 0 ids" in repr(client)


def test_a_refusal_names_what_was_wrong() -> None:
    """Nothing is sent to find out."""
    with pytest.raises(CommandError, match="'Lu ma'"):
        waiting.open_client(waiting.Lookout("Lu ma", ["an-id"]), ["an-id"], None)


@real_clock
async def test_warnings_of_the_library_go_to_stderr(invoke: Invoke) -> None:
    """Once, and the handler is taken off in the end."""
    result = await invoke("get", "lumaq", "an-id")
    assert result.exit_code == 1
    assert result.stderr.count("warning: provider 'lumaq' has no row (did you mean 'luma'?)") == 1
    assert not logging.getLogger("acetasks").handlers
