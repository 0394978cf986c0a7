"""What telemetry costs: processor time of awaiting tasks on the virtual clock, without it and with it, as ratios.

Run it as `python benchmarks/telemetry.py`; `--before DIRECTORY` also compares with another copy of the library, such as
one from before a change. Each run is a process of its own, service included; the kinds of run alternate, and the median
of the ratios within each round counts, so that other load on the machine matters little.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

#: Awaits tasks one by one, with the service in the same loop, and prints the seconds of processor time.
_PROGRAM = """
import asyncio, random, sys, time

import acetasks
from acetasks.testing import AceServer, run

kind, count = sys.argv[1], int(sys.argv[2])
options = {}
if kind in ("api", "sdk"):
    from acetasks.telemetry import OpenTelemetry

    providers = ()
    if kind == "sdk":
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider

        providers = TracerProvider(), MeterProvider([InMemoryMetricReader()])
    options["telemetry"] = OpenTelemetry(*providers)


async def main():
    rng = random.Random(1)
    async with AceServer(token="test-token") as server:
        ids = [server.add("luma", after=rng.uniform(60, 240)) for _ in range(count)]
        async with acetasks.Client("test-token", base_url=server.url, rng=random.Random(1), **options) as client:
            begin = time.process_time()
            await asyncio.gather(*[client.wait("luma", task_id) for task_id in ids])
            print(time.process_time() - begin)


run(main())
"""
#: Kinds of run, and which of them each is compared with.
_COMPARED = {"off": "before", "api": "off", "sdk": "off"}
_TEXTS = {
    "off": "without telemetry, to the library before",
    "api": "with telemetry but no SDK, to without",
    "sdk": "with telemetry and the SDK, to without",
}


def measure(kind: str, count: int, library: Path) -> float:
    """Return the seconds of processor time of one run."""
    command = [sys.executable, "-c", _PROGRAM, kind, str(count)]
    env = os.environ | {"PYTHONPATH": str(library)}
    return float(subprocess.run(command, check=True, env=env, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000, help="tasks of each run")
    parser.add_argument("--runs", type=int, default=9, help="rounds")
    parser.add_argument("--before", type=Path, help="directory of another copy of the library")
    options = parser.parse_args()
    own = Path(__file__).parents[1]
    kinds = [*(["before"] if options.before else []), *_COMPARED]
    ratios: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(options.runs):
        seconds = {}
        for kind in kinds if number % 2 else reversed(kinds):  # in both orders
            library = options.before if kind == "before" else own
            seconds[kind] = measure(kind, options.tasks, library)
        for kind, other in _COMPARED.items():
            if other in seconds:
                ratios[kind].append(seconds[kind] / seconds[other])
    for kind, text in _TEXTS.items():
        if found := ratios[kind]:
            print(f"{text}: median {statistics.median(found):.3f}, from {min(found):.3f} to {max(found):.3f}")


if __name__ == "__main__":
    main()
