"""README's programs, run as printed."""

from __future__ import annotations

import asyncio
import os
import pathlib
import re
import sys
import textwrap

import pytest

import acetasks
from acetasks.testing.server import AceServer

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text("utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.mark.real_clock
async def test_the_first_program_runs_as_printed(tmp_path):
    """Saved, and called with an id, the first program prints the task's state and URLs."""
    program = tmp_path / "first.py"
    program.write_text(PROGRAMS[0], "utf-8")
    async with AceServer() as server:
        env = os.environ | {"ACEDATACLOUD_API_BASE_URL": server.url, "ACEDATACLOUD_API_TOKEN": server.token}
        process = await asyncio.create_subprocess_exec(
            sys.executable, program, server.add("luma", after=0), env=env, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
    assert process.returncode == 0
    assert re.fullmatch(rb"succeeded \['https://.*'\]\s*", output)


async def test_the_tour_runs_as_printed(server, client):
    """Each line of the tour of a client's methods works."""
    values = {
        "acetasks": acetasks,
        "client": client,
        "task_id": server.add("luma", after=10),
        "a": server.add("luma", after=10),
        "b": server.add("veo", after=10),
        "ids": [server.add("flux", after=5, outcome="failed"), server.add("flux", after=6)],
    }
    body = PROGRAMS[1].replace("async with acetasks.Client() as client:", "async def tour():")
    exec(compile(f"{body}    return tasks", "tour", "exec"), values)  # noqa: S102  # README's own program
    assert [task.state.value for task in await values["tour"]()] == ["failed", "succeeded"]


async def test_what_was_learned_is_kept_as_printed(server, tmp_path, monkeypatch):
    """The first run begins with nothing, and the second with what the first has learned."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACEDATACLOUD_API_BASE_URL", server.url)
    monkeypatch.setenv("ACEDATACLOUD_API_TOKEN", server.token)
    body = PROGRAMS[2].replace("    ...", '    await client.wait("luma", add())')
    values = {"acetasks": acetasks, "pathlib": pathlib, "add": lambda: server.add("luma", after=10)}
    code = "async def keep():\n" + textwrap.indent(body, "    ")
    exec(compile(code, "keep", "exec"), values)  # noqa: S102  # README's own program
    for runs in (1, 2):
        await values["keep"]()
        durations = acetasks.Durations.from_json((tmp_path / "durations.json").read_bytes())
        assert durations.law("luma").evidence == runs


async def test_the_test_of_a_trailer_runs_as_printed():
    """The example of a test is a test."""
    values: dict[str, object] = {}
    exec(compile(PROGRAMS[3], "trailer", "exec"), values)  # noqa: S102  # README's own program
    await values["test_a_trailer_of_ten_minutes"]()


async def test_the_test_of_trouble_runs_as_printed():
    """The example of a test of trouble is a test."""
    values: dict[str, object] = {}
    exec(compile(PROGRAMS[3] + PROGRAMS[4], "trouble", "exec"), values)  # noqa: S102  # README's own program
    await values["test_an_evening_with_a_tired_service"]()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(\w+(?:Error|Response|Policy))`", README))))
def test_every_name_that_the_readme_mentions_exists(name):
    """Errors, responses and policies named in README are there, or are Python's own."""
    assert hasattr(acetasks, name) or name in {"TimeoutError", "ValueError", "TypeError"}


def test_the_readme_names_every_error():
    """Every error of the tree stands in README."""
    errors = [name for name in acetasks.__all__ if name.endswith("Error") and name != "TaskError"]
    assert [name for name in errors if f"`{name}`" not in README and f".{name}`" not in README] == []
