"""`docs/command-line.md`: every example runs, and every command and exit code is there."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from acetasks.cli.app import _COMMANDS
from acetasks.cli.exit_codes import ExitCode
from acetasks.testing.server import AceServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from typer.testing import Result

    Invoke = Callable[..., Awaitable[Result]]

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
pytestmark = [
    pytest.mark.real_clock,
    pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not beside the tests"),
]


def read_examples() -> list[str]:
    """Return the commands of the page, in its order."""
    return [
        line
        for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
        for line in block.splitlines()
    ]


@pytest.fixture
async def server() -> AsyncIterator[AceServer]:
    """The simulated service at the time of day, with tasks that end at once."""
    async with AceServer(epoch=time.time() - asyncio.get_running_loop().time()) as server:
        for provider in ("luma", "flux", "suno", "captcha"):
            server.script(provider, after=0, times=None)
        yield server


async def run_line(invoke: Invoke, line: str, variables: dict[str, str]) -> Result:
    """Run a pipeline of `acetasks` commands, and return the result of the last one."""
    result, text = None, None
    words = shlex.split(re.sub(r"\$(\w+)", lambda match: variables[match[1]], line))
    while words:
        end = words.index("|") if "|" in words else len(words)
        program, *arguments = words[:end]
        if program == "echo":
            text = " ".join(arguments)
        else:
            assert program == "acetasks", line
            result = await invoke(*arguments, stdin=text)
            assert result.exit_code == 0, (line, result.output, result.stderr)
            text = result.stdout
        words = words[end + 1 :]
    assert result is not None, line
    return result


async def test_every_example_runs(
    server: AceServer, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, in one directory, as a reader would; each succeeds and prints something."""
    monkeypatch.chdir(tmp_path)
    variables = {f"{provider.upper()}_ID": server.add(provider, after=0) for provider in ("luma", "flux", "captcha")}
    (tmp_path / "prompts.csv").write_text("prompt\na cat\na dog\n")
    (tmp_path / "ids.txt").write_text(f"# today's\nluma:{variables['LUMA_ID']}\n")
    record = {"id": "a", "response": {"success": True, "video_url": "https://files.example/a.mp4"}}
    (tmp_path / "callback.json").write_text(json.dumps(record))
    examples = read_examples()
    assert len(examples) > 20
    for line in examples:
        result = await run_line(invoke, line, variables)
        assert result.stdout or " -o " in line, line


def test_every_command_and_exit_code_is_described() -> None:
    """The tables of the page are complete."""
    text = PAGE.read_text("utf-8")
    rows = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    commands = {match[1] for row in rows if (match := re.match(r"`(\w+)", row))}
    assert {command.__name__ for command in _COMMANDS} | {"demo"} <= commands
    codes = {int(number) for row in rows for number in re.findall(r"^\d+(?:, \d+)?$", row)[:1] and row.split(", ")}
    assert codes == set(map(int, ExitCode))


def test_every_command_of_the_page_has_an_example() -> None:
    """But for those that do not end by themselves, or need a terminal."""
    shown = set(re.findall(r"acetasks (\w+)", "\n".join(read_examples())))
    assert {command.__name__ for command in _COMMANDS} - shown == {"serve", "watch"}
