"""Drivers of the official clients: each is run as its users run it, and says what it told them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import acedatacloud
from acedatacloud._runtime.tasks import artifact_urls, task_status  # what its handles use
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.from_thread import BlockingPortal

PROMPT = "a lighthouse"
#: Where the session of nox installs the servers that cannot share an environment.
APART = "CONFORMANCE_APART"


class Settings(NamedTuple):
    """What a client needs to know of the service."""

    token: str
    url: str
    portal: BlockingPortal


class Told(NamedTuple):
    """What a client tells of a task: its state in the client's words, `shown` if it shows the record only, and URLs."""

    state: str
    urls: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.state}, files" if self.urls else self.state


class RefusedError(Exception):
    """The client reported an error."""


class Official(Protocol):
    """An official client, with one provider."""

    provider: str
    #: Submits a task and waits for the response that has its result; None if it cannot.
    generate: Callable[[], Told] | None
    #: Looks up several tasks in one request; None if it cannot.
    look_up_all: Callable[[list[str]], list[Told]] | None

    def submit(self) -> str:
        """Submit a task, and return its id."""

    def look(self, task_id: str) -> Told:
        """Look up one task."""

    def wait(self, task_id: str, seconds: float) -> Told:
        """Wait for a task."""


class Sdk:
    """The SDK's synchronous client."""

    provider = "luma"
    look_up_all = None

    def __init__(self, settings: Settings) -> None:
        self.client = acedatacloud.AceDataCloud(settings.token, base_url=settings.url, max_retries=0)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def submit(self) -> str:
        with _sdk_errors():
            return self.client.luma.generate(prompt=PROMPT).id

    def generate(self) -> Told:
        with _sdk_errors():
            handle = self.client.luma.generate(prompt=PROMPT, async_=False)
        return Told("done" if handle.done else "running", frozenset(handle.urls()))

    def look(self, task_id: str, provider: str = "luma") -> Told:
        with _sdk_errors():
            return _read_sdk(self.client.tasks.get(task_id, service=provider))

    def wait(self, task_id: str, seconds: float) -> Told:
        with _sdk_errors():
            record = self.client.tasks.wait(task_id, service=self.provider, poll_interval=0.1, max_wait=seconds)
        return _read_sdk(record)


class AsyncSdk:
    """The SDK's asynchronous client, in a new loop for each call."""

    provider = "luma"
    look_up_all = None

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def submit(self) -> str:
        async def run(client: acedatacloud.AsyncAceDataCloud) -> str:
            return (await client.luma.generate(prompt=PROMPT)).id

        return self._run(run)

    def generate(self) -> Told:
        async def run(client: acedatacloud.AsyncAceDataCloud) -> Told:
            handle = await client.luma.generate(prompt=PROMPT, async_=False)
            return Told("done" if handle.done else "running", frozenset(handle.urls()))

        return self._run(run)

    def look(self, task_id: str) -> Told:
        async def run(client: acedatacloud.AsyncAceDataCloud) -> Told:
            return _read_sdk(await client.tasks.get(task_id, service=self.provider))

        return self._run(run)

    def wait(self, task_id: str, seconds: float) -> Told:
        async def run(client: acedatacloud.AsyncAceDataCloud) -> Told:
            waiting = client.tasks.wait(task_id, service=self.provider, poll_interval=0.1, max_wait=seconds)
            return _read_sdk(await waiting)

        return self._run(run)

    def _run(self, function):
        async def call():
            settings = self._settings
            async with acedatacloud.AsyncAceDataCloud(settings.token, base_url=settings.url, max_retries=0) as client:
                return await function(client)

        with _sdk_errors():
            return asyncio.run(call())


class CommandLine:
    """One of the command lines.

    Args:
        settings: The service, for the environment of the command.
        command: The name of the command, which is that of its provider.
    """

    def __init__(self, settings: Settings, command: str) -> None:
        self.provider = command
        self._path = Path(sys.executable).with_name(command)
        self._environment = environment(settings)

    def run(self, *arguments: str) -> str:
        """Run a command to its end, and return its output."""
        command = [str(self._path), *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=20, check=False)
        output = (done.stdout + done.stderr).strip()
        if done.returncode:
            errors = [line for line in output.splitlines() if "Error" in line]
            raise RefusedError((errors or [output])[-1].strip())
        return output

    def submit(self) -> str:
        return json.loads(self.run("generate", PROMPT, "--async", "--json"))["task_id"]

    def generate(self) -> Told:
        return Told("printed", find_urls(self.run("generate", PROMPT)))

    def look(self, task_id: str) -> Told:
        return _read_record(json.loads(self.run("task", task_id, "--json")))

    def look_up_all(self, ids: list[str]) -> list[Told]:
        return [_read_record(item) for item in json.loads(self.run("tasks", *ids, "--json"))["items"]]

    def wait(self, task_id: str, seconds: float) -> Told:
        output = self.run("wait", task_id, "--interval", "1", "--timeout", f"{seconds:.0f}")
        return Told("failed" if "failed" in output else "completed", find_urls(output))


class McpServer:
    """One of the MCP servers, in one session over standard input and output; `close` ends its process.

    Args:
        settings: The service, for the environment of the server.
        provider: The server's provider.
        submit: The name of the tool that submits.
    """

    generate = None  # it always submits with `async`

    def __init__(self, settings: Settings, provider: str, submit: str) -> None:
        self.provider = provider
        self._submit = submit
        self._portal = settings.portal
        self._parameters = _mcp_command(provider, environment(settings))
        self._stack = contextlib.ExitStack()
        self._session: ClientSession | None = None

    def call(self, tool: str, **arguments: object) -> str:
        """Call a tool, and return its text."""
        if self._session is None:
            opening = self._portal.wrap_async_context_manager(_open_mcp(self._parameters))
            self._session = self._stack.enter_context(opening)
        session = self._session
        result = self._portal.call(lambda: session.call_tool(tool, arguments))
        text = "".join(item.text for item in result.content)
        if result.isError:
            raise RefusedError(text)
        return text

    def close(self) -> None:
        """End the server."""
        self._stack.close()

    def submit(self) -> str:
        return json.loads(self.call(self._submit, prompt=PROMPT))["task_id"]

    def look(self, task_id: str) -> Told:
        record = json.loads(self.call(f"{self.provider}_get_task", task_id=task_id))
        polling = record.get("mcp_task_polling")
        if polling is None:
            return Told("nothing")
        state = "completed" if polling["is_complete"] else "failed" if polling["is_failed"] else "running"
        return Told(state, _read_record(record).urls)

    def look_up_all(self, ids: list[str]) -> list[Told]:
        text = self.call(f"{self.provider}_get_tasks_batch", task_ids=ids)
        if text.startswith("{"):
            return [_read_record(item) for item in json.loads(text)["items"]]
        parts = text.split("=== Task: ")[1:]
        return [Told(re.findall(r"State: (\w+)", part)[0], find_urls(part)) for part in parts]

    def wait(self, task_id: str, seconds: float) -> Told:
        """Call the tool again as the server says: it has no tool that waits, and itself pauses 5 s in each call."""
        del seconds
        while (told := self.look(task_id)).state in {"nothing", "running"}:
            pass
        return told


#: The clients, by their names in the table.
CLIENTS: dict[str, Callable[[Settings], Official]] = {
    "SDK": Sdk,
    "SDK, async": AsyncSdk,
    "luma": functools.partial(CommandLine, command="luma"),
    "suno": functools.partial(CommandLine, command="suno"),
    "flux": functools.partial(CommandLine, command="flux"),
    "mcp-luma": functools.partial(McpServer, provider="luma", submit="luma_generate_video"),
    "mcp-suno": functools.partial(McpServer, provider="suno", submit="suno_generate_music"),
}


def environment(settings: Settings) -> dict[str, str]:
    """Build the environment of a command: the names are those of the official documentation."""
    variables = {"ACEDATACLOUD_API_TOKEN": settings.token, "ACEDATACLOUD_API_BASE_URL": settings.url}
    wide = {"COLUMNS": "1000", "NO_COLOR": "1", "PYTHONUTF8": "1", "LOG_LEVEL": "ERROR", "LOGURU_LEVEL": "ERROR"}
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables, **wide}


def find_urls(text: str) -> frozenset[str]:
    """Return the URLs in a text."""
    return frozenset(re.findall(r"https?://[^\s\"',]+", text))


def _read_record(record: dict[str, object]) -> Told:
    """Return what a record tells where the client shows it as it is."""
    return Told("shown" if record else "nothing", find_urls(json.dumps(record.get("response"))))


def _read_sdk(record: dict[str, object]) -> Told:
    return Told(task_status(record) or "running", frozenset(artifact_urls(record)))


@contextlib.contextmanager
def _sdk_errors():
    try:
        yield
    except acedatacloud._runtime.errors.AceDataCloudError as error:
        raise RefusedError(f"{type(error).__name__}: {error}") from error


def _mcp_command(provider: str, variables: dict[str, str]) -> StdioServerParameters:
    """Return the command of a server: installed, or apart from the others."""
    apart = Path(os.environ.get(APART, ""), f"mcp-{provider}")
    if APART in os.environ and apart.is_dir():
        variables["PYTHONPATH"] = str(apart)
        return StdioServerParameters(command=sys.executable, args=["-m", "main"], env=variables)
    command = shutil.which(f"mcp-{provider}", path=str(Path(sys.executable).parent))
    assert command
    return StdioServerParameters(command=command, env=variables)


@contextlib.asynccontextmanager
async def _open_mcp(parameters: StdioServerParameters) -> AsyncIterator[ClientSession]:
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield session
