"""Run every example as a separate program against the simulated service: `python examples/run_all.py`."""

import asyncio
import os
import socket
import sys
import tempfile
from pathlib import Path

from acetasks.testing import AceServer

HERE = Path(__file__).parent


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def arguments(server: AceServer, directory: Path) -> dict[str, list[str]]:
    """Return the arguments of each example, with tasks created for those that take ids."""
    lines = ["id,prompt", *(f"{number},picture {number}" for number in range(50))]
    (directory / "prompts.csv").write_text("\n".join(lines), "utf-8")
    outcomes = ("succeeded", "succeeded", "failed")
    return {
        "wait_for_one.py": [server.add("luma", after=0)],
        "submit_and_follow.py": [],
        "many_at_once.py": [server.add("flux", after=index / 10, outcome=outcomes[index % 3]) for index in range(60)],
        "mixed_providers.py": [
            f"{provider}:{server.add(provider, after=0)}" for provider in ("luma", "veo", "suno", "useapi-pixverse")
        ],
        "own_provider.py": [],
        "watch_requests.py": [server.add("pixverse", after=0) for _ in range(120)],
        "ten_minutes_in_no_time.py": [],
        "trouble_on_purpose.py": [],
        "learn_and_remember.py": [],
        "callbacks_in_a_web_app.py": [f"http://127.0.0.1:{free_port()}", "5"],
        "report_of_a_batch.py": [str(directory / "batch")],
        "workers/try_it.py": [],
        "prompts_to_files.py": [str(directory / "prompts.csv"), str(directory / "pictures")],
    }


async def run(name: str, args: list[str], env: dict[str, str]) -> bool:
    """Run one example, print its output, and return whether it succeeded."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, HERE / name, *args, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    lines = output.decode().splitlines()
    shown = lines if len(lines) <= 8 else [*lines[:4], f"... {len(lines) - 5} more lines ...", lines[-1]]
    print("\n".join([f"== {name}: exit code {process.returncode}", *shown]))
    return process.returncode == 0 and bool(lines)


async def main() -> None:
    """Run all examples concurrently."""
    with tempfile.TemporaryDirectory() as directory:
        await run_all(Path(directory))


async def run_all(directory: Path) -> None:
    async with AceServer(speed=100) as server:
        env = os.environ | server.environment
        server.allow("lantern")  # the provider of own_provider.py, which the service does not know
        programs = arguments(server, directory)
        missing = {path.name for path in HERE.glob("*.py")} - {*programs, Path(__file__).name}
        if missing:
            sys.exit(f"examples without arguments in run_all.py: {sorted(missing)}")
        results = await asyncio.gather(*(run(name, args, env) for name, args in programs.items()))
    if not all(results):
        sys.exit("an example failed")


if __name__ == "__main__":
    asyncio.run(main())
