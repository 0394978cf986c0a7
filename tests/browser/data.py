"""Tasks for pages: those of the simulated service on the virtual clock, and hostile ones."""

from __future__ import annotations

import asyncio
import math
import random
import struct
import zlib
from typing import TYPE_CHECKING

import msgspec

import acetasks
from acetasks import Artifact, ArtifactKind, Task, TaskError, TaskState
from acetasks.providers import lookup
from acetasks.testing import AceServer, run

if TYPE_CHECKING:
    from pathlib import Path

EPOCH = 1_780_000_000.0
#: Seconds of submitting and waiting; at the end, some tasks are still in progress.
DURATION = 900.0
_FAILURE_RATE = 0.09
#: Size of a picture.
_WIDTH, _HEIGHT = 176, 104
_MODELS = {"luma": "ray-2", "veo": "veo3.1", "flux": "flux-pro-1.1", "suno": "chirp-v5", "pixverse": "v5"}
_SUBJECTS = (
    "A lighthouse on a cliff at dawn",
    "An old tram climbing a street in Lisbon",
    "A paper boat on a flooded desk",
    "Two foxes crossing a frozen lake",
    "A greenhouse full of instruments",
    "A night market under red lanterns",
    "A slow waltz for cello and rain",
)
_STYLES = (
    "volumetric fog, 35 mm film",
    "soft morning light, shallow depth of field",
    "gouache, muted colours",
    "slow dolly shot, cinematic",
    "in the manner of an engraving",
)
_ERRORS = (
    ("moderated", "the prompt was refused by the content filter"),
    ("api_error", "the model did not respond in time"),
    ("too_long", "the prompt has more than 2,000 characters"),
)

#: Sets a flag if it is run in any way that a page can run text.
HIT = "window.hit=(window.hit||0)+1"
HOSTILE = (
    f"<script>{HIT}</script>",
    f"</script><script>{HIT}</script>",
    f"</style><script>{HIT}</script>",
    f'"><img src=x onerror="{HIT}">',
    f"'><svg onload='{HIT}'>",
    f"<details open ontoggle={HIT}>",
    f"<!--><script>{HIT}</script>-->",
    f"{{{{ 7*7 }}}}{{% raw %}}<iframe srcdoc='<script>parent.{HIT}</script>'>",
    "<base href='https://evil.example/'><meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<form action=https://evil.example/><button>x</button></form>",
    "\u202etxt.exe\u2066 \u200b\ufeff\x00\x1b[31m \ud83d \u2028 end",
)
HOSTILE_URLS = (
    f"javascript:{HIT}",
    f"JaVaScRiPt:{HIT}//https://a.example/x.png",
    f"data:text/html,<script>{HIT}</script>",
    f"data:image/svg+xml,<svg onload='{HIT}'/>",
    "file:///etc/passwd",
    "//evil.example/x.png",
    f"https://evil.example/x.png' onerror='{HIT}",
    f'https://evil.example/x.png"onerror="{HIT}',
    "https://evil.example/plain.png",
)


def simulate(count: int) -> list[Task]:
    """Return tasks of five providers as a client has seen them: most have ended, some are in progress."""
    return run(_simulate(count))


async def _simulate(count: int) -> list[Task]:
    rng = random.Random(7)
    async with (
        AceServer(epoch=EPOCH, seed=7) as server,
        acetasks.Client(server.token, base_url=server.url, rng=random.Random(7)) as client,
    ):
        for provider, price in (("flux", 0.3), ("suno", 1.25)):
            server.fail(provider, edit=_add_price(price), times=None)
        waits = [asyncio.create_task(_wait_for_one(server, client, rng.random())) for _ in range(count)]
        found = await asyncio.gather(*waits)
    return sorted(found, key=lambda task: (task.created_at or 0, task.id))


async def _wait_for_one(server: AceServer, client: acetasks.Client, seed: float) -> Task:
    """Create a task some time later, and wait for it until the time of the report."""
    rng = random.Random(seed)
    begin = rng.uniform(0, DURATION - 30)
    await asyncio.sleep(begin)
    provider = rng.choices(list(_MODELS), weights=(3, 3, 5, 2, 2))[0]
    request = {
        "action": "generate",
        "model": _MODELS[provider],
        "prompt": f"{rng.choice(_SUBJECTS)}, {rng.choice(_STYLES)}",
        "aspect_ratio": rng.choice(("16:9", "1:1", "9:16")),
    }
    outcome = "failed" if rng.random() < _FAILURE_RATE else "succeeded"
    duration = min(lookup(provider).typical_duration, 200) * rng.lognormvariate(0.1, 0.3)
    error = rng.choice(_ERRORS) if outcome == "failed" else None
    task_id = server.add(provider, after=duration, outcome=outcome, error=error, request=request)
    try:
        return await client.wait(provider, task_id, timeout=DURATION - begin)
    except (acetasks.TaskTimeoutError, acetasks.TaskFailedError) as stopped:
        return stopped.task


def _add_price(price: float):
    def edit(body: dict[str, object]) -> dict[str, object]:
        for record in body.get("items", [body]):
            if isinstance(response := record.get("response"), dict) and record.get("finished_at"):
                response["cost"] = {"amount": price, "currency": "credit"}
        return body

    return edit


def add_pictures(tasks: list[Task], directory: Path, *, count: int) -> list[Task]:
    """Give the images of the first tasks a file each, as a client does that downloads them."""
    shown = []
    for number, task in enumerate(tasks):
        artifacts = [
            msgspec.structs.replace(artifact, path=str(_write_picture(directory, task.id, index)))
            if number < count and artifact.kind is ArtifactKind.IMAGE
            else artifact
            for index, artifact in enumerate(task.artifacts)
        ]
        shown.append(msgspec.structs.replace(task, artifacts=tuple(artifacts)))
    return shown


def _write_picture(directory: Path, task_id: str, index: int) -> Path:
    """Write a landscape of two colours and a sun, which depend on the id, as a PNG."""
    rng = random.Random(f"{task_id} {index}")
    sky, ground = ([rng.randrange(40, 225) for _ in range(3)] for _ in range(2))
    sun_x, sun_y, horizon = rng.randrange(30, 146), rng.randrange(18, 50), rng.randrange(58, 80)
    lines = []
    for y in range(_HEIGHT):
        shade = 0.55 + 0.45 * (y / horizon if y < horizon else 1.6 - y / _HEIGHT)
        line = [bytes(int(value * shade) for value in (sky if y < horizon else ground))] * _WIDTH
        half = math.isqrt(max(144 - (y - sun_y) ** 2, 0)) if y < horizon else 0
        line[sun_x - half : sun_x + half] = [b"\xff\xec\xbe"] * (2 * half)
        lines.append(b"\0" + b"".join(line))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(lines), 9)),
        (b"IEND", b""),
    )
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    path = directory / f"{task_id}-{index}.png"
    path.write_bytes(content)
    return path


def build_hostile_tasks() -> list[Task]:
    """Return tasks with every hostile text in every place that a service or a caller can fill."""
    tasks = []
    for text in HOSTILE:
        raw = msgspec.json.encode(
            {
                "request": {"prompt": _encodable(text), "model": _encodable(text), _encodable(text): _encodable(text)},
                "response": {},
                "cost": {"amount": 1, "currency": _encodable(text)},
            }
        )
        artifacts = tuple(
            Artifact(url=url, kind=kind, role=text) for url in (*HOSTILE_URLS, text) for kind in ArtifactKind
        )
        error = TaskError(message=text, code=text)
        tasks += [
            Task(provider=text, id=text, state=state, artifacts=artifacts, error=error, trace_id=text, raw=raw)
            for state in (TaskState.PARTIAL, TaskState.FAILED)
        ]
    return tasks


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def build_every_state() -> list[Task]:
    """Return a task of each state, with and without the parts that a row can have."""
    raw = msgspec.json.encode({"request": {"prompt": "a cat", "model": "m"}, "response": {}, "cost": {"amount": 2}})
    error = TaskError(message="it failed", code="api_error")
    return [
        Task(
            provider=provider,
            id=f"{provider}-{state}",
            state=state,
            raw=raw if provider == "luma" else b"{}",
            error=error if state in {TaskState.FAILED, TaskState.PARTIAL} else None,
            progress=40 if state is TaskState.RUNNING else None,
            created_at=EPOCH if provider == "luma" else None,
            finished_at=EPOCH + 60 if provider == "luma" and state.is_terminal else None,
            artifacts=(Artifact(url="https://files.example/a.mp4", kind=ArtifactKind.VIDEO, width=1280, height=720),)
            if state in {TaskState.SUCCEEDED, TaskState.PARTIAL}
            else (),
        )
        for provider in ("luma", "wan")
        for state in TaskState
    ]
