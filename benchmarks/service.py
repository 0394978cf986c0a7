"""The simulated service in a process of its own, so that what is measured is the client alone."""

import asyncio
import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec

from acetasks.testing import AceServer

TOKEN = "test-token"


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What the service holds: so many luma tasks, which end between two times, in seconds from the start."""

    tasks: int
    first: float
    last: float
    seed: int = 0


class Stage(msgspec.Struct, frozen=True):
    """Where the service is, and when each task ends, in seconds since the epoch."""

    url: str
    ends: dict[str, float]


@contextlib.contextmanager
def serving(load: Load) -> Iterator[Stage]:
    """Run the service while the context lasts."""
    command = [sys.executable, __file__, msgspec.json.encode(load).decode()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            line = child.stdout.readline() if child.stdout else b""
            yield msgspec.json.decode(line, type=Stage)
        finally:
            child.kill()


async def main(load: Load) -> None:
    """Be the service, until stdin closes."""
    loop = asyncio.get_running_loop()
    epoch = time.time() - loop.time()
    draw = random.Random(load.seed)
    async with AceServer(token=TOKEN, epoch=epoch, record_requests=False) as server:
        ids = [server.add("luma", after=draw.uniform(load.first, load.last)) for _ in range(load.tasks)]
        stage = Stage(server.url, {task_id: epoch + server.tasks[task_id].finishes_at for task_id in ids})
        sys.stdout.buffer.write(msgspec.json.encode(stage) + b"\n")
        sys.stdout.buffer.flush()
        await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Load)))
