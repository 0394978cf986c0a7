"""`acetasks serve`: the simulated service, alone in a process."""

from __future__ import annotations

import errno
import re
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import acetasks
from acetasks.cli import serve
from acetasks.cli.app import app
from acetasks.cli.running import CommandError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Spawn = Callable[..., subprocess.Popen[bytes]]


def read_introduction(process: subprocess.Popen[bytes], tasks: int) -> str:
    """Read what it prints before it serves."""
    lines = 7 + (4 + tasks if tasks else 0)
    return b"".join(process.stdout.readline() for _ in range(lines)).decode()


@pytest.mark.real_clock
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_it_is_told_to_stop(spawn: Spawn, number: signal.Signals) -> None:
    """It prints its address, its token, what to paste and what it holds; records carry wall time."""
    process = spawn("serve", "--port", "0", "--token", "made-up$", "--tasks", "6", "--host", "localhost")
    text = read_introduction(process, 6)
    url = re.search(r"http://127\.0\.0\.1:\d+", text)[0]
    assert f"export ACEDATACLOUD_API_BASE_URL={url}\n" in text
    assert "export USEAPI_API_TOKEN='made-up$'\n" in text
    held = [line.split() for line in text.splitlines()[-6:]]
    assert [provider for provider, _ in held] == ["luma", "veo", "pixverse", "flux", "useapi-pixverse", "luma"]
    assert f"acetasks wait luma {held[0][1]}\n" in text
    async with acetasks.Client("made-up$", base_url=url) as client:
        task = await client.retrieve(*held[0])
    assert not task.state.is_terminal
    assert abs(task.created_at - time.time()) < 60
    process.send_signal(number)
    process.wait()
    assert process.returncode == 0
    assert process.stderr.read() == b""


def test_without_tasks_there_is_only_what_to_paste(spawn: Spawn) -> None:
    """No id to wait for."""
    process = spawn("serve", "--port", "0", "--tasks", "0")
    text = read_introduction(process, 0)
    process.terminate()
    assert "with the token test-token" in text
    assert "acetasks wait" not in text + process.stdout.read().decode()


def test_a_port_in_use_makes_it_2() -> None:
    """And it says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["serve", "--port", str(port)])
    assert result.exit_code == 2
    assert result.stderr == f"error: port {port} is taken: choose another with --port (0 takes a free one)\n"
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "this machine only"),  # noqa: S104  # it is refused
        (["--host", "example.com"], "this machine only"),
        (["--port", "65536"], "--port"),
        (["--speed", "0"], "speed must be"),
        (["--token", "two words"], "a token is"),
        (["--token", ""], "a token is"),
        (["--tasks", "-1"], "--tasks"),
    ],
)
def test_wrong_use_makes_it_2(options: list[str], message: str) -> None:
    """Nothing is served."""
    result = CliRunner().invoke(app, ["serve", "--port", "0", *options])
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.real_clock
async def test_an_address_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's own reason."""

    async def start(_: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(serve.AceServer, "start", start)
    settings = serve.Settings(host="127.0.0.1", port=80, token="t", speed=1.0, seed=0, tasks=0)
    with pytest.raises(CommandError, match=r"cannot listen at 127\.0\.0\.1 port 80: Permission denied"):
        await serve.serve(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1"])
def test_loopback_addresses_stay_as_they_are(host: str) -> None:
    """In both families."""
    assert serve.loopback(host) == host
