"""Picture of the board for the documentation: the demo's thousand tasks on the virtual clock, the same each time.

`nox -s board-picture` writes it. A test checks that what it shows is what the board shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import io
import logging
import random
import re
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

import acetasks
from acetasks.cli.board.model import BoardModel
from acetasks.cli.board.rendering import BoardRenderer
from acetasks.cli.board.view import BoardView
from acetasks.cli.demo_service import DemoConfig, add_tasks
from acetasks.testing import AceServer, run

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "board.svg"

_WIDTH, _HEIGHT = 96, 26
_CONFIG = DemoConfig(tasks=1000, seed=0, speed=1.0)
_EPOCH = 1_780_000_000.0
#: Seconds of the service's time until the picture is taken, of which one provider is down for the last.
_TIME, _OUTAGE = 200.0, 40.0
#: The fonts of rich's format are loaded from another site; the widths of texts are fixed, so any font will do.
_FONT_FACES = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)


def render_picture() -> str:
    """Return the picture as SVG."""
    console = Console(
        width=_WIDTH,
        height=_HEIGHT,
        file=io.StringIO(),
        record=True,
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
        _environ={},
    )
    run(_draw(console))
    return console.export_svg(
        title="acetasks watch @ids.txt", code_format=_FONT_FACES.sub("", CONSOLE_SVG_FORMAT), unique_id="board"
    )


def read_lines(svg: str) -> list[str]:
    """Return the texts of a picture, line by line."""
    lines: dict[str, str] = {}
    for line, text in re.findall(r'clip-path="url\(#board-(line-\d+)\)">(.*?)</text>', svg):
        lines[line] = lines.get(line, "") + html.unescape(text).replace("\xa0", " ")
    return [" ".join(text.split()) for text in lines.values()]


async def _draw(console: Console) -> None:
    """Await the tasks for a while, and draw the board as it is then."""
    loop = asyncio.get_running_loop()
    async with AceServer(token="picture", seed=_CONFIG.seed, epoch=_EPOCH, record_requests=False) as server:
        add_tasks(server, _CONFIG)
        keys = [(task.provider, task.id) for task in server.tasks.values()]
        model = BoardModel(keys, wall_clock=lambda: _EPOCH + loop.time())
        async with acetasks.Client(
            server.token,
            base_url=server.url,
            useapi_token=server.token,
            useapi_base_url=server.url,
            observers=[model],
            rng=random.Random(0),
        ) as client:
            model.start(clock=loop.time, durations=client.durations)
            loop.call_later(_TIME - _OUTAGE, lambda: server.fail("pixverse", status=503, times=None))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TIME), contextlib.aclosing(client.as_completed(keys)) as tasks:
                    async for task in tasks:
                        model.record_end((task.provider, task.id), task)
            renderer = BoardRenderer(console, title="acetasks watch")
            console.print(renderer.render_board(model, BoardView(model), console.size), end="")


if __name__ == "__main__":
    logging.getLogger("acetasks").setLevel(logging.ERROR)  # the outage is meant
    PICTURE.write_text(render_picture(), "utf-8")
    sys.stdout.write(f"{PICTURE} was written\n")
