"""Make a batch of pictures, and a report of it: `python examples/report_of_a_batch.py pictures`.

Open `pictures/report.html` in a browser: prompts, states, pictures, durations, costs and errors.
"""

import asyncio
import sys
from pathlib import Path

import acetasks
from acetasks.report import write_report

PROMPTS = [f"a lighthouse in the style of painter {number}" for number in range(30)]


async def main(directory: Path) -> None:
    payloads = [{"action": "generate", "prompt": prompt} for prompt in PROMPTS]
    async with acetasks.Client() as client:
        results = [result async for result in client.run_many("flux", payloads, download_to=directory)]
    tasks = [result.task for result in sorted(results, key=lambda result: result.index) if result.task is not None]
    print("see", write_report(tasks, directory / "report.html", title="Lighthouses"))


asyncio.run(main(Path(sys.argv[1])))
