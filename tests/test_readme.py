"""Code samples and names in README and docs/."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import re
import sys
import textwrap

import pytest
from aiohttp import web

import acetasks
from acetasks import testing
from acetasks.testing.server import AceServer

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = {path: path.read_text("utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
MENTIONED = sorted({name for text in PAGES.values() for name in re.findall(r"`(\w+(?:Error|Response|Policy))`", text)})
LINKS = [
    (path, link) for path, text in PAGES.items() for link in re.findall(r"\]\(((?!https?:)[^)#]+)(?:#[^)]*)?\)", text)
]


def find_programs(text: str) -> list[str]:
    """Return the Python code samples of a page."""
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def find_sample(page: str, word: str) -> str:
    """Return the one code sample of a page in `docs` that has a word."""
    (program,) = [program for program in find_programs(PAGES[ROOT / "docs" / page]) if word in program]
    return program


FIRST_PROGRAM, TOUR, FIRST_JOB, TESTING = find_programs(README)
DURATIONS = find_sample("usage.md", "Durations.from_json")
DOWNLOADS = find_sample("usage.md", "ids, download_to")
MANY = find_sample("usage.md", "run_many(")
RESTART = find_sample("durability.md", "client.resume()")
LEAVING = find_sample("usage.md", "aclosing")
CALLBACKS = find_sample("usage.md", "acetasks.Callbacks(")
REPORT = find_sample("report.md", "write_report")
BLOCKING = find_sample("usage.md", "acetasks.sync")
TESTS = [*find_programs(PAGES[ROOT / "docs" / "testing.md"]), TESTING]


@pytest.mark.real_clock
async def test_first_program_runs(tmp_path):
    """The first program, saved and run, prints the state and the URLs of the task."""
    program = tmp_path / "first.py"
    program.write_text(FIRST_PROGRAM, "utf-8")
    async with AceServer() as server:
        server.script("luma", after=0)
        env = os.environ | {"ACEDATACLOUD_API_BASE_URL": server.url, "ACEDATACLOUD_API_TOKEN": server.token}
        process = await asyncio.create_subprocess_exec(sys.executable, program, env=env, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
    assert process.returncode == 0
    assert re.fullmatch(rb"succeeded \['http://127.*'\]\s*", output)


async def test_client_methods_run(server, client, tmp_path, monkeypatch):
    """Every line of the sample of client methods works."""
    monkeypatch.chdir(tmp_path)
    values = {
        "acetasks": acetasks,
        "client": client,
        "task_id": server.add("luma", after=10),
        "a": server.add("luma", after=10),
        "b": server.add("veo", after=10),
        "ids": [server.add("flux", after=5, outcome="failed"), server.add("flux", after=6)],
    }
    values["payloads"] = [{"prompt": "a boat"}]
    body = TOUR.replace("async with acetasks.Client() as client:", "async def tour():")
    exec(compile(f"{body}    return tasks", "tour", "exec"), values)  # noqa: S102  # the project's own sample
    assert [task.state.value for task in await values["tour"]()] == ["failed", "succeeded"]


async def test_sample_of_leaving_early_runs(server, client):
    """The other tasks have no waiters after the first success."""
    ids = [server.add("flux", after=5, outcome="failed"), server.add("flux", after=6), server.add("flux", after=99)]
    values = {"acetasks": acetasks, "contextlib": contextlib, "client": client, "ids": ids}
    code = "async def leave():\n" + textwrap.indent(LEAVING, "    ") + "    return task, tasks"
    exec(compile(code, "leave", "exec"), values)  # noqa: S102  # the project's own sample
    task, _ = await values["leave"]()
    assert task.id == ids[1]
    assert "0 waiters" in repr(client)


async def test_callbacks_sample_runs(server, monkeypatch):
    """The sample with an aiohttp application waits for a task; its public URL cannot be reached from a test."""
    monkeypatch.setenv("ACEDATACLOUD_API_BASE_URL", server.url)
    monkeypatch.setenv("ACEDATACLOUD_API_TOKEN", server.token)
    monkeypatch.setenv("CALLBACK_SECRET", "a secret of the tests")
    server.script_callbacks(drop_rate=1)
    values = {"acetasks": acetasks, "os": os, "web_app": web.Application()}
    code = "async def call():\n" + textwrap.indent(CALLBACKS, "    ") + "    await client.close()\n    return task\n"
    exec(compile(code, "call", "exec"), values)  # noqa: S102  # the project's own sample
    task = await values["call"]()
    assert task.state.value == "succeeded"
    assert server.requests[0].body["callback_url"].startswith("https://shop.example/acetasks/luma/")


async def test_report_sample_runs(server, client, tmp_path, monkeypatch):
    """The sample of a report writes a page."""
    monkeypatch.chdir(tmp_path)
    values = {"client": client, "a": server.add("luma", after=1), "b": server.add("veo", after=1, outcome="failed")}
    code = "async def report():\n" + textwrap.indent(REPORT, "    ")
    exec(compile(code, "report", "exec"), values)  # noqa: S102  # the project's own sample
    await values["report"]()
    assert "<title>Tasks</title>" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.real_clock
async def test_blocking_sample_runs(monkeypatch):
    """The sample of the blocking client runs in a thread without a loop."""
    async with AceServer() as server:
        server.script("luma", after=0)
        monkeypatch.setenv("ACEDATACLOUD_API_BASE_URL", server.url)
        monkeypatch.setenv("ACEDATACLOUD_API_TOKEN", server.token)
        values = {"ids": [server.add("flux", after=0)]}
        await asyncio.to_thread(exec, compile(BLOCKING, "blocking", "exec"), values)
    assert [task.state.value for task in (values["task"], *values["tasks"])] == ["succeeded"] * 2


async def test_durations_sample_runs(server, tmp_path, monkeypatch):
    """The second run continues with the durations that the first run saved."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACEDATACLOUD_API_BASE_URL", server.url)
    monkeypatch.setenv("ACEDATACLOUD_API_TOKEN", server.token)
    body = DURATIONS.replace("    ...", '    await client.wait("luma", add())')
    values = {"acetasks": acetasks, "pathlib": pathlib, "add": lambda: server.add("luma", after=10)}
    code = "async def keep():\n" + textwrap.indent(body, "    ")
    exec(compile(code, "keep", "exec"), values)  # noqa: S102  # the project's own sample
    for runs in (1, 2):
        await values["keep"]()
        durations = acetasks.Durations.from_json((tmp_path / "durations.json").read_bytes())
        assert durations.hazard("luma").evidence == runs


async def test_restart_sample_runs(server, tmp_path, monkeypatch, capsys):
    """The sample is cancelled while its task goes on, and run again: the second run awaits the task of the first."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACEDATACLOUD_API_BASE_URL", server.url)
    monkeypatch.setenv("ACEDATACLOUD_API_TOKEN", server.token)
    server.script("luma", after=100, times=None)
    values = {"acetasks": acetasks}
    code = "async def job():\n" + textwrap.indent(RESTART, "    ") + "    return task"
    exec(compile(code, "job", "exec"), values)  # noqa: S102  # the project's own sample
    assert len(RESTART.splitlines()) <= 10
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(50):
            await values["job"]()
    assert (capsys.readouterr().out, server.submissions) == ("", 1)
    task = await values["job"]()
    assert (capsys.readouterr().out, server.submissions) == (f"{task.id} succeeded\n", 1)


async def test_downloads_sample_runs(server, client, tmp_path, monkeypatch, capsys):
    """The sample of downloads prints the path of each file."""
    monkeypatch.chdir(tmp_path)
    code = "async def download():\n" + textwrap.indent(DOWNLOADS, "    ")
    values = {"client": client, "ids": [server.add("flux", id=name) for name in "ab"]}
    exec(compile(code, "download", "exec"), values)  # noqa: S102  # the project's own sample
    await values["download"]()
    printed = capsys.readouterr().out
    assert [f"pictures/flux-{name}" in printed for name in "ab"] == [True, True]


async def test_run_many_sample_runs(client, tmp_path, monkeypatch, capsys):
    """The sample of many submissions prints the path of each file."""
    monkeypatch.chdir(tmp_path)
    code = "async def run_many():\n" + textwrap.indent(MANY, "    ")
    values = {"client": client, "payloads": [{"prompt": word} for word in "ab"]}
    exec(compile(code, "run_many", "exec"), values)  # noqa: S102  # the project's own sample
    await values["run_many"]()
    assert capsys.readouterr().out.count("pictures/flux-") == 2


@pytest.mark.parametrize("mode", ["strict", "auto"])
@pytest.mark.parametrize("number", range(len(TESTS)))
def test_samples_of_tests_pass(pytester, number, mode):
    """Each sample of a test passes in a new project, in both modes of pytest-asyncio."""
    pytester.makepyfile(test_sample=TESTS[number])
    options = ("-p", "no:randomly", "-W", "error", "-o", "asyncio_default_fixture_loop_scope=function")
    result = pytester.runpytest_inprocess(f"--asyncio-mode={mode}", *options)
    assert result.ret == pytest.ExitCode.OK
    assert result.parseoutcomes()["passed"] >= 1


@pytest.mark.parametrize("name", MENTIONED)
def test_mentioned_names_exist(name):
    """Errors, responses and policies named in the documentation exist, or are built-in."""
    assert (
        hasattr(acetasks, name)
        or hasattr(testing, name)
        or name in {"CancelledError", "TimeoutError", "ValueError", "TypeError"}
    )


def test_every_error_is_documented():
    """The page of states and errors lists every error class."""
    page = PAGES[ROOT / "docs" / "states.md"]
    errors = [name for name in acetasks.__all__ if name.endswith("Error") and name != "TaskError"]
    assert [name for name in errors if f"`{name}`" not in page and f".{name}`" not in page] == []


@pytest.mark.parametrize(("page", "link"), LINKS, ids=[f"{page.name}-{link}" for page, link in LINKS])
def test_relative_links_lead_to_files(page, link):
    """Relative links in the documentation lead to existing files."""
    assert (page.parent / link).exists()
