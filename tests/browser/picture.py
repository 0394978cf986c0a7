"""Draw the picture of the report in the documentation: `nox -s report-picture`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from browser.chromium import open_browser
from browser.data import DURATION, EPOCH, add_pictures, simulate

from acetasks.report import write_report

TARGET = Path(__file__).parents[2] / "docs" / "pictures" / "report.png"
WIDTH, HEIGHT = 1200, 1400
_MAX_BYTES = 200_000


def main() -> None:
    """Write the picture."""
    tasks = simulate(130)
    with tempfile.TemporaryDirectory() as name, open_browser() as browser:
        directory = Path(name)
        tasks = add_pictures(tasks, directory, count=16)
        shown = write_report(tasks, directory / "report.html", title="Batch of 28 May", now=EPOCH + DURATION)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(shown.absolute().as_uri())
        page.wait_for_load_state("networkidle")
        TARGET.parent.mkdir(exist_ok=True)
        picture = page.screenshot()
    if len(picture) > _MAX_BYTES:
        sys.exit(f"the picture has {len(picture):,} bytes, more than {_MAX_BYTES:,}")
    TARGET.write_bytes(picture)
    print(f"{len(picture):,} bytes in {TARGET}")


if __name__ == "__main__":
    main()
