"""Every code block of README and docs/ runs, or is type-checked, or says why not."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import datetime as dt
import fnmatch
import importlib.util
import inspect
import json
import os
import pathlib
import re
import sys
import textwrap
import time
import tomllib
import types
from typing import TYPE_CHECKING, Any

import pytest
from docs_support import DATA, NO_CODE, PAGES, ROOT, SHELLS, Block, find_blocks

import acetasks
from acetasks.testing import AceServer

if TYPE_CHECKING:
    from pathlib import Path

#: `nox -s docs` installs what all blocks need, and sets this so that nothing is left out.
ALL = os.environ.get("ACETASKS_DOCS") == "all"
#: Replaced by the address of the simulated service.
PRODUCTION_URL = "https://api.acedata.cloud"
BLOCKS = {page: find_blocks(page) for page in PAGES}
EVERY = [block for blocks in BLOCKS.values() for block in blocks]


def pages_with(*, real_time: bool) -> list[object]:
    """Return the pages that have blocks to run on one of the clocks."""
    return [
        pytest.param(page, id=page.name)
        for page, blocks in BLOCKS.items()
        if any(block.fate == "run" and block.needs_real_time is real_time for block in blocks)
    ]


class Runner:
    """Runs the blocks of one page in a directory, against a simulated service."""

    def __init__(self, server: AceServer, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._server = server
        self._directory = directory
        self._cells: list[str] = []
        self._tests: list[str] = []
        self._outputs: dict[str, str] = {}
        self.skipped: list[str] = []
        page_module = types.ModuleType("page")  # Django looks for the urlpatterns of a module
        monkeypatch.setitem(sys.modules, "page", page_module)
        self._namespace: dict[str, Any] = page_module.__dict__
        for module in (acetasks, asyncio, contextlib, dt, json, os, pathlib, time):
            self._namespace[module.__name__] = module
        variables = {
            "ACEDATACLOUD_API_BASE_URL": server.url,
            "ACEDATACLOUD_API_TOKEN": server.token,
            "USEAPI_API_BASE_URL": server.url,
            "USEAPI_API_TOKEN": server.token,
            "CALLBACK_SECRET": "a secret of the tests",
            "ID": server.add("luma", after=10),
            **{f"{name.upper()}_ID": server.add(name, after=10) for name in ("captcha", "flux", "luma", "suno", "veo")},
            "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),  # noqa: PTH120  # of the venv
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        for name in ("PYTHONSAFEPATH", "COLUMNS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(directory)
        record = {"task_id": "done", "success": True, "state": "completed", "video_url": "https://f.example/a.mp4"}
        (directory / "callback.json").write_text(json.dumps(record), "utf-8")
        (directory / "ids.txt").write_text(f"luma:{server.add('luma', after=10)}\n", "utf-8")
        (directory / "prompts.csv").write_text("prompt\na boat\na cat\n", "utf-8")

    async def run_page(self, page: Path, *, real_time: bool) -> None:
        """Run the blocks of a page that belong to one of the clocks."""
        async with acetasks.Client(downloads=acetasks.DownloadPolicy(allow_private=True)) as client:
            self._namespace |= self._names(client)
            for block in BLOCKS[page]:
                if block.fate in {"skipped", "type-checked", "no code"}:
                    continue
                self._save(block)
                if block.fate in {"run", "checked"} and block.needs_real_time is real_time:
                    self._namespace["client"] = client  # an earlier block may have closed its own
                    try:
                        await self._run(block)
                    except BaseException as error:
                        error.add_note(f"in the block at {block.name}")
                        raise
            if self._cells:
                await run_notebook(self._cells)

    def _names(self, client: acetasks.Client) -> dict[str, object]:
        """Return what the pages take for granted."""
        done = acetasks.normalize(
            "luma", {"id": "done", "response": {"state": "completed", "video_url": "https://f/a"}}
        )
        return {
            "client": client,
            "task": done,
            "task_id": self._server.add("luma", after=10),
            "a": self._server.add("luma", after=10),
            "b": self._server.add("veo", after=10),
            "ids": [self._server.add("flux", after=5, outcome="failed"), self._server.add("flux", after=6)],
            "payloads": [{"action": "generate", "prompt": word} for word in ("a boat", "a cat")],
        }

    def _save(self, block: Block) -> None:
        if name := block.options.get("file"):
            path = self._directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._redirect(block.code), "utf-8")

    def _redirect(self, code: str) -> str:
        """Return code with the simulated service in place of the real one, if it names it."""
        return code.replace(PRODUCTION_URL, self._server.url)

    async def _run(self, block: Block) -> None:
        if block.missing:
            assert not ALL, f"{block.name} needs {block.missing}"
            self.skipped.append(f"{block.name} needs {', '.join(block.missing)}")
        elif command := block.options.get("output of"):
            check_output(block, self._outputs[command])
        elif block.language in SHELLS:
            await self._run_shell(block)
        elif "notebook" in block.options:
            self._cells.append(self._redirect(block.code))
        elif block.has_tests:
            await self._run_tests(block)
        elif block.blocks_the_thread:
            code = compile(self._redirect(block.code), block.name, "exec")
            await asyncio.to_thread(exec, code, self._namespace)
        elif block.language == "python" and "file" not in block.options:
            await self._run_python(block)

    async def _run_python(self, block: Block) -> None:
        """Run a block as a cell; a program that calls `asyncio.run` is run in this loop instead."""
        text = self._redirect(block.code).replace("asyncio.run(", "await (")
        code = compile(text, block.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, self._namespace)  # noqa: S307  # the project's own pages
        if inspect.iscoroutine(result):
            await result

    async def _run_shell(self, block: Block) -> None:
        """Run each command of a block, and keep what it prints."""
        for command in re.sub(r"\\\n\s*", "", block.code).splitlines():
            if command.startswith("python -m pip install "):
                check_install_line(block, command)  # `nox -s package` installs
            elif command.strip() and not command.startswith("#"):
                self._outputs[command] = await run_process(block.name, "bash", "-euo", "pipefail", "-c", command)

    async def _run_tests(self, block: Block) -> None:
        """Run the tests of a block with pytest, and those of the blocks before it that have its imports."""
        if re.search(r"^(import|from) acetasks", block.code, re.MULTILINE):
            self._tests.clear()
        self._tests.append(block.code)
        (self._directory / "test_page.py").write_text("\n\n".join(self._tests), "utf-8")
        options = ("-p", "no:cacheprovider", "-p", "no:randomly", "-o", "asyncio_mode=auto")
        command = (sys.executable, "-m", "pytest", "-q", *options, "test_page.py")
        await run_process(block.name, *command)


def check_install_line(block: Block, command: str) -> None:
    """Check that an install line names extras that exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for extras in re.findall(r"\[([\w,]+)\]", command):
        assert set(extras.split(",")) <= set(project["optional-dependencies"]), f"{block.name}: {command}"


async def run_process(name: str, *command: str) -> str:
    """Run a command, and return what it prints on stdout."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), 90)
    except TimeoutError:
        process.kill()
        await process.wait()
        pytest.fail(f"{name}: {command[-1]} does not end by itself: skip it, with a reason")
    assert process.returncode == 0, f"{name}: {command[-1]} printed:\n{output.decode()}{errors.decode()}"
    return output.decode()


async def run_notebook(cells: list[str]) -> None:
    """Run cells in a kernel of their own, as Jupyter does."""
    import nbformat  # noqa: PLC0415  # `nox -s docs` installs it
    from nbclient import NotebookClient  # noqa: PLC0415  # as above

    version = nbformat.v4
    notebook = version.new_notebook(cells=[version.new_code_cell(cell) for cell in cells])
    await NotebookClient(notebook, kernel_name="python3", timeout=60).async_execute()


def check_output(block: Block, printed: str) -> None:
    """Check lines in any order: what runs at the same time ends in an order of its own."""
    expected = block.code.replace("…", "*").splitlines()
    lines = printed.splitlines()
    assert len(lines) == len(expected), printed
    missing = [line for line in expected if not fnmatch.filter(lines, line)]
    assert missing == [], printed


@pytest.mark.parametrize("page", pages_with(real_time=False))
async def test_python_of_a_page_runs(
    page: Path, server: AceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the virtual clock, in the order of the page."""
    server.script("luma", after=10, times=None)
    await Runner(server, tmp_path, monkeypatch).run_page(page, real_time=False)


@pytest.mark.real_clock
@pytest.mark.parametrize("page", pages_with(real_time=True))
async def test_commands_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In real time, in which the service is a hundred times as fast as usual."""
    async with AceServer(speed=100) as server:
        await Runner(server, tmp_path, monkeypatch).run_page(page, real_time=True)


@pytest.mark.parametrize("block", EVERY, ids=lambda block: block.name)
def test_block_is_code_that_is_checked_or_has_a_reason(block: Block) -> None:
    """A language without a rule would be a block that nothing checks."""
    assert block.language in {"python", *SHELLS, *DATA, *NO_CODE}
    if "skip" in block.options:
        assert len(block.options["skip"]) > 10, "a reason"
    if block.language == "toml":
        tomllib.loads(block.code)
    elif block.language == "json":
        json.loads(block.code)
    elif block.language == "yaml" and (ALL or importlib.util.find_spec("yaml")):
        importlib.import_module("yaml").safe_load(block.code)
    elif block.language == "python":
        compile(block.code, block.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.skipif(not ALL, reason="`nox -s docs` installs the other services' clients")
@pytest.mark.real_clock
async def test_code_that_is_not_run_has_correct_types(tmp_path: Path) -> None:
    """The code of other clients is as their versions of today have it."""
    blocks = [block for block in EVERY if "types" in block.options and block.fate == "type-checked"]
    for number, block in enumerate(blocks):
        code = f"async def block() -> None:  # {block.name}\n{textwrap.indent(block.code, '    ')}"
        (tmp_path / f"block_{number}.py").write_text(code, "utf-8")
    options = ("--strict", "--config-file=", "--cache-dir", str(tmp_path))
    files = [str(tmp_path / f"block_{number}.py") for number in range(len(blocks))]
    await run_process("types", sys.executable, "-m", "mypy", *options, *files)


def test_pages_of_the_site_are_all_in_its_contents() -> None:
    """A page that no one can navigate to is lost."""
    lines = (ROOT / "mkdocs.yml").read_text("utf-8").splitlines()
    contents = "".join(f"{line}\n" for line in lines if not line.strip().startswith("#"))
    assert [page.name for page in PAGES[1:] if f": {page.name}\n" not in contents] == []
