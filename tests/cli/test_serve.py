"""`acetasks serve`: runs the simulated service in a process."""

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
from acetasks.cli.exit_codes import CommandError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Spawn = Callable[..., subprocess.Popen[bytes]]


def read_instructions(process: subprocess.Popen[bytes], tasks: int) -> str:
    """Read the lines printed at the start."""
    lines = 8 + (4 + tasks if tasks else 0)
    return b"".join(process.stdout.readline() for _ in range(lines)).decode()


@pytest.mark.real_clock
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_service_runs_until_a_stop_signal(spawn: Spawn, number: signal.Signals) -> None:
    """The address, variables to export and tasks are printed; records carry wall time; a signal exits with 0."""
    process = spawn("serve", "--port", "0", "--token", "made-up$", "--tasks", "6", "--host", "localhost")
    text = read_instructions(process, 6)
    url = re.search(r"http://127\.0\.0\.1:\d+", text)[0]
    assert f"export ACEDATACLOUD_API_BASE_URL={url}\n" in text
    assert f'AceDataCloud(base_url="{url}")\n' in text
    assert "export USEAPI_API_TOKEN='made-up$'\n" in text
    tasks = [line.split() for line in text.splitlines()[-6:]]
    assert [provider for provider, _ in tasks] == ["luma", "veo", "pixverse", "flux", "useapi-pixverse", "luma"]
    assert f"acetasks wait luma {tasks[0][1]}\n" in text
    async with acetasks.Client("made-up$", base_url=url) as client:
        task = await client.retrieve(*tasks[0])
    assert not task.state.is_terminal
    assert abs(task.created_at - time.time()) < 60
    process.send_signal(number)
    process.wait()
    assert process.returncode == 0
    assert process.stderr.read() == b""


def test_without_tasks_only_the_exports_are_printed(spawn: Spawn) -> None:
    """Without tasks no `acetasks wait` command is suggested."""
    process = spawn("serve", "--port", "0", "--tasks", "0")
    text = read_instructions(process, 0)
    process.terminate()
    assert "with the token test-token" in text
    assert "acetasks wait" not in text + process.stdout.read().decode()


def test_a_port_in_use_exits_with_2() -> None:
    """The error names the port and the option to choose another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["serve", "--port", str(port)])
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: port {port} is already in use: choose another with --port, or --port 0 for any free port\n"
    )
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "loopback address"),  # noqa: S104  # it is rejected
        (["--host", "example.com"], "got 'example.com'"),
        (["--port", "65536"], "--port"),
        (["--speed", "0"], "speed must be"),
        (["--token", "two words"], "--token must be"),
        (["--token", ""], "--token must be"),
        (["--tasks", "-1"], "--tasks"),
        (["--failure-rate", "1.5"], "--failure-rate"),
    ],
)
def test_invalid_options_exit_with_2(options: list[str], message: str) -> None:
    """An invalid option is named in the error, and the service does not start."""
    result = CliRunner().invoke(app, ["serve", "--port", "0", *options])
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.real_clock
async def test_an_address_that_cannot_be_bound_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the address and the operating system's reason."""

    async def start(_: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(serve.AceServer, "start", start)
    settings = serve.Settings(host="127.0.0.1", port=80, token="t", speed=1.0, seed=0, tasks=0)
    with pytest.raises(CommandError, match=r"cannot listen on 127\.0\.0\.1 port 80: Permission denied"):
        await serve.run_service(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1"])
def test_loopback_addresses_are_accepted(host: str) -> None:
    """Loopback addresses of IPv4 and IPv6 are returned unchanged."""
    assert serve.loopback_address(host) == host
