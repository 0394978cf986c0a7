"""The official clients against the simulated service, and beside acetasks.

What a client makes of the service's responses is its own affair: the cells have its faults too. A change of a cell is a
change of the client, or a fault of the simulated service.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING

import pytest
from conformance.official import CLIENTS, PROMPT, CommandLine, McpServer, RefusedError, Sdk, Told, find_urls

import acetasks
from acetasks import ArtifactKind, TaskState
from acetasks.providers import Service as Host
from acetasks.providers import specs

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.conftest import Ours, Service
    from conformance.official import Official

ERROR = ("moderated", "no lighthouses")
#: An operation that a client does not have.
NONE = "-"
#: What each client does, in the order of `CLIENTS`.
EXPECTED = {
    "submit": ["accepted"] * 7,
    # The luma command looks for `data`, which luma's responses do not have: here it prints no file.
    "submit and get the result": ["done, files"] * 2 + ["printed"] + ["printed, files"] * 2 + [NONE] * 2,
    "submit and get a failure": ["refused"] * 5 + [NONE] * 2,
    "look up a finished task": ["succeeded, files"] * 2 + ["shown, files"] * 3 + ["completed, files"] * 2,
    # The previews of suno's songs have `success: true`, which its MCP server takes for the end.
    "look up a running task": ["running"] * 2 + ["shown", "shown, files", "shown", "running", "completed, files"],
    "look up a failed task": ["failed"] * 2 + ["shown"] * 3 + ["failed"] * 2,
    "look up an unknown task": ["running"] * 2 + ["nothing"] * 5,
    "look up three tasks": [NONE] * 2 + ["3 tasks"] * 5,
    # And here it never sees the end.
    "wait": ["succeeded, files"] * 2 + ["Timeout"] + ["completed, files"] * 4,
    # The other commands take every response for a result.
    "wait for a failed task": ["failed"] * 2 + ["Timeout"] + ["completed"] * 2 + ["failed"] * 2,
    "use a wrong token": ["refused"] * 7,
}


def submit(client: Official, service: Service, ours: Ours) -> object:
    """Submit, and let acetasks wait for the task."""
    service.script(client.provider, after=0.5)
    task = ours.wait(client.provider, client.submit())
    assert task.state is TaskState.SUCCEEDED
    return "accepted"


def generate(client: Official, service: Service, ours: Ours) -> object:
    """Submit and get the result in one response."""
    service.script(client.provider, after=0.1)
    told = client.generate()
    (*_, task_id) = service.server.tasks
    check_any_file(told, ours.look(client.provider, task_id))
    return told


def generate_failure(client: Official, service: Service, _ours: Ours) -> object:
    """Submit and get the failure in one response."""
    service.script(client.provider, after=0.1, outcome="failed", error=ERROR)
    return client.generate()


def look_finished(client: Official, service: Service, ours: Ours) -> object:
    """Look up a task; acetasks sees the same files."""
    task_id = service.add(client.provider, after=0)
    told, task = client.look(task_id), ours.look(client.provider, task_id)
    assert {artifact.url for artifact in task.artifacts} <= told.urls
    return told


def look_running(client: Official, service: Service, ours: Ours) -> object:
    """Look up a task that goes on; so says acetasks."""
    task_id = service.add(client.provider, outcome="forever", queued_for=0)
    told = client.look(task_id)
    assert not ours.look(client.provider, task_id).state.is_terminal
    return told


def look_failed(client: Official, service: Service, ours: Ours) -> object:
    """Look up a failed task; acetasks has its reason."""
    task_id = service.add(client.provider, after=0, outcome="failed", error=ERROR)
    task = ours.look(client.provider, task_id)
    assert (task.state, task.error.code, task.error.message) == (TaskState.FAILED, *ERROR)
    return client.look(task_id)


def look_unknown(client: Official, _service: Service, ours: Ours) -> object:
    """Look up a task that does not exist."""
    assert ours.look(client.provider, "no-such-task").state is TaskState.NOT_FOUND
    return client.look("no-such-task")


def look_up_three(client: Official, service: Service, ours: Ours) -> object:
    """Look up tasks in one request; the finished ones have the same files."""
    ids = [service.add(client.provider, after=0) for _ in range(2)]
    told = client.look_up_all([*ids, service.add(client.provider, after=0, outcome="failed")])
    urls = frozenset().union(*(one.urls for one in told))
    for task_id in ids:
        check_any_file(Told("", urls), ours.look(client.provider, task_id))
    return f"{len(told)} tasks"


def wait(client: Official, service: Service, ours: Ours) -> object:
    """Wait for a task that ends soon."""
    task_id = service.add(client.provider, after=1, visible_after=1)
    told = client.wait(task_id, 3)
    check_any_file(told, ours.look(client.provider, task_id))
    return told


def wait_failed(client: Official, service: Service, _ours: Ours) -> object:
    """Wait for a task that has failed."""
    return client.wait(service.add(client.provider, after=0, outcome="failed", error=ERROR), 1)


OPERATIONS: dict[str, Callable[[Official, Service, Ours], object]] = {
    "submit": submit,
    "submit and get the result": generate,
    "submit and get a failure": generate_failure,
    "look up a finished task": look_finished,
    "look up a running task": look_running,
    "look up a failed task": look_failed,
    "look up an unknown task": look_unknown,
    "look up three tasks": look_up_three,
    "wait": wait,
    "wait for a failed task": wait_failed,
}


def check_any_file(told: Told, task: acetasks.Task) -> None:
    """Check that a client shows a file of a task, if it shows any; it may cut a long URL."""
    shown = tuple(url.partition("...")[0] for url in told.urls)
    assert not shown or any(artifact.url.startswith(shown) for artifact in task.artifacts)


def attempt(function: Callable[[], object]) -> str:
    """Return what a client did."""
    try:
        return str(function())
    except RefusedError as error:
        return "Timeout" if "Timeout" in str(error) else "refused"


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation(connect, service, ours, note, name, operation):  # noqa: PLR0917  # fixtures
    """Each client does what it does with the real service, and acetasks sees the same task."""
    client, function = connect(name), OPERATIONS[operation]
    lacks = {
        generate: not client.generate,
        generate_failure: not client.generate,
        look_up_three: not client.look_up_all,
    }
    result = NONE if lacks.get(function) else attempt(lambda: function(client, service, ours))
    note(name, operation, result)
    assert result == EXPECTED[operation][list(CLIENTS).index(name)]


@pytest.mark.parametrize("name", CLIENTS)
def test_wrong_token(connect, service, note, name):
    """Each client says that the token is invalid."""
    client = connect(name, token="wrong-token")
    with pytest.raises(RefusedError, match=r"(?i)token is invalid|invalid api token"):
        client.look(service.add(client.provider, after=0))
    note(name, "use a wrong token", "refused")


# The SDK beside acetasks, for every provider.

#: Where the SDK says something else: its tasks call does not send `task_id`, takes dreamina's last state word for one
#: of a running task, and every URL for a result.
SDK_DIFFERS = {
    ("captcha", "succeeded"): "refused",
    ("captcha", "failed"): "refused",
    ("captcha", "forever"): "refused",
    ("digital-human", "succeeded"): "refused",
    ("digital-human", "failed"): "refused",
    ("digital-human", "forever"): "refused",
    ("dreamina", "succeeded"): "running",
    ("suno", "forever"): "succeeded",
    ("webextrator", "forever"): "succeeded",
}


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "forever"])
@pytest.mark.parametrize("provider", [spec.slug for spec in specs() if spec.service is Host.ACEDATA])
def test_sdk_agrees(connect, service, ours, provider, outcome):
    """The SDK says the same of a task as acetasks, and finds the same files."""
    task_id = service.add(provider, after=0, outcome=outcome)
    task = ours.look(provider, task_id)
    states = {"succeeded": [TaskState.SUCCEEDED], "failed": [TaskState.FAILED]}
    assert task.state in states.get(outcome, [TaskState.PENDING, TaskState.RUNNING])
    try:
        told = connect("SDK").look(task_id, provider)
    except RefusedError:
        told = Told("refused")
    assert told.state == SDK_DIFFERS.get((provider, outcome), {"forever": "running"}.get(outcome, outcome))
    if told.state != "refused":
        assert {artifact.url for artifact in task.artifacts} <= told.urls


# What only some clients have.


def test_flux_video(fast, portal, note, tmp_path):
    """The flux command and the SDK submit a video to a path of its own, and acetasks finds it."""
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"mode": "t2v", "prompt": PROMPT}))
    command = CommandLine(fast, "flux")
    ids = {"flux": json.loads(command.run("video", "--request-file", str(request)))["task_id"]}
    with contextlib.closing(Sdk(fast)) as sdk:
        ids["SDK"] = sdk.client.flux.videos(mode="t2v", prompt=PROMPT).id
    with portal.wrap_async_context_manager(acetasks.Client(fast.token, base_url=fast.url)) as client:
        for name, task_id in ids.items():
            (artifact,) = portal.call(client.wait, "flux", task_id).artifacts
            assert artifact.kind is ArtifactKind.VIDEO
            assert find_urls(command.run("wait", task_id, "--interval", "1")) >= {artifact.url}
            note(name, "submit a flux video", "a video")


def test_maestro(fast):
    """A submission to maestro is accepted at once, whatever `async` says, and polled by its id."""
    with contextlib.closing(Sdk(fast)) as sdk:
        handle = sdk.client.maestro.generate(prompt=PROMPT, async_=False)
        assert handle.id
        handle.wait(poll_interval=0.1, max_wait=10)
    assert handle.urls()


def test_sdk_with_unknown_service(fast):
    """The SDK's attribute for nano-banana is no path of the service."""
    with contextlib.closing(Sdk(fast)) as sdk, pytest.raises(RefusedError, match="APIError"):
        sdk.look("t", "nano_banana")


#: Commands about a song, and what they print.
SONG = "3f2b8a52-6a0e-4f5b-9a55-0d5a3c1f7a10"
SUNO_COMMANDS = {
    "mp4": (["mp4", SONG], r"MP4 URL: https?://\S+"),
    "mp3": (["mp3", SONG], r"MP3 URL: https?://\S+"),
    "wav": (["wav", SONG], r"WAV URL: https?://\S+\.wav"),
    "midi": (["midi", SONG], r"MIDI URL: https?://\S+"),
    "availability": (["availability", SONG], r"\S"),
    "lyrics": (["lyrics", "rain", "--json"], r'"text": "'),
    "upload": (["upload", "https://files.example/a.mp3"], r"Uploaded: \S+"),
    "voice": (["voice", "https://files.example/a.mp3"], r"created \(ID: \S+\)"),
    "persona": (["persona", SONG, "-n", "Ada"], r"Persona created: Ada \(ID: \S+\)"),
    "personas": (["personas", "--user-id", "u"], r"Saved Personas"),
}


@pytest.mark.parametrize("name", SUNO_COMMANDS)
def test_suno_command(fast, note, name):
    """The suno command prints what the documented response has."""
    arguments, pattern = SUNO_COMMANDS[name]
    assert re.search(pattern, CommandLine(fast, "suno").run(*arguments))
    note("suno", f"suno {name}", "as documented")


def test_mcp_personas(connect, note):
    """The MCP server of suno lists personas."""
    server: McpServer = connect("mcp-suno")
    items = json.loads(server.call("suno_list_personas", user_id="u"))["items"]
    note("mcp-suno", "suno personas", f"{len(items)} personas")
