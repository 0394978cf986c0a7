"""Make a picture of each prompt of a CSV file: `python examples/prompts_to_files.py prompts.csv pictures`.

Kill it and run it again: no prompt is paid for twice, and no file is downloaded twice. The file has columns `id` and
`prompt`; the results are in `pictures`, beside the journal of what was submitted.
"""

import asyncio
import csv
import sys
from pathlib import Path

from rich.progress import Progress

import acetasks


async def main(source: Path, directory: Path) -> None:
    rows = list(csv.DictReader(source.read_text("utf-8").splitlines()))  # nothing runs yet
    payloads = ({"action": "generate", "prompt": row["prompt"]} for row in rows)
    directory.mkdir(exist_ok=True)  # as above
    failed = 0
    with Progress() as progress:
        bar = progress.add_task("pictures", total=len(rows))
        async with acetasks.Client(journal=directory / "journal.db") as client:
            results = client.run_many(
                "flux", payloads, keys=[row["id"] for row in rows], concurrency=20, download_to=directory
            )
            async for result in results:
                progress.advance(bar)
                if result.error is not None:
                    failed += 1
                    progress.print(f"{result.key}: {result.error}")
    print(len(rows) - failed, "of", len(rows), "prompts have their pictures in", directory)


asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
