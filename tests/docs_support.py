"""Code blocks of README and docs/, and what is done with each; `python tests/docs_support.py` prints a count.

A page is run from top to bottom like a notebook: its Python blocks share one namespace, and a directory. An HTML
comment before a block, invisible to readers, says what else is to be done with it; semicolons separate several things:

    <!-- skip: REASON -->             not run
    <!-- file: NAME -->               saved under this name, to be used by later blocks
    <!-- output of: COMMAND -->       the output of a command, "…" for what differs from run to run
    <!-- needs: MODULE, MODULE -->    run where these modules are installed, as in `nox -s docs`
    <!-- real clock -->               run in real time
    <!-- thread -->                   run in real time in a thread, as is a block with acetasks.sync
    <!-- notebook -->                 a cell of the page's notebook, run in a kernel
    <!-- types -->                    only type-checked, in `nox -s docs`: it would need an account of another service
"""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(
    r"(?:^[ ]*<!-- (?P<options>[^>]*?) -->\n+)?"
    r"^(?P<indent>[ ]*)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_DIRECTIVES = {"skip", "file", "output of", "needs", "real clock", "thread", "notebook", "types"}
#: What is not code: it is shown, not run.
NO_CODE = {"text", "mermaid", "csv", "ini", "dockerfile", ""}
SHELLS = {"sh", "bash", "console"}
DATA = {"toml", "json", "yaml"}


@dataclass(frozen=True, kw_only=True)
class Block:
    """A code block of a page.

    Attributes:
        page: The file.
        line: Line of its first line of code.
        language: The word after the backticks.
        code: Its text.
        options: Directives of the comment before it, with their values.
    """

    page: Path
    line: int
    language: str
    code: str
    options: dict[str, str]

    @property
    def name(self) -> str:
        """Place of the block, for messages."""
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"

    @property
    def blocks_the_thread(self) -> bool:
        """Whether the block runs in a thread of its own: the blocking client waits for another thread."""
        return "thread" in self.options or ("acetasks.sync" in self.code and "notebook" not in self.options)

    @property
    def has_tests(self) -> bool:
        """Whether the block is a test file, which pytest runs in a process of its own."""
        return self.language == "python" and re.search(r"^(async )?def test_", self.code, re.MULTILINE) is not None

    @property
    def missing(self) -> list[str]:
        """Modules that the block needs and that are not installed."""
        needed = [name.strip() for name in self.options.get("needs", "").split(",") if name.strip()]
        return [name for name in needed if importlib.util.find_spec(name) is None]

    @property
    def fate(self) -> str:
        """What is done with the block."""
        if "skip" in self.options:
            return "skipped"
        if self.language in NO_CODE and not self.options.keys() & {"file", "output of"}:
            return "no code"
        if "types" in self.options:
            return "type-checked"
        return "parsed" if self.language in DATA else "checked" if self.language in NO_CODE else "run"

    @property
    def needs_real_time(self) -> bool:
        """Whether the virtual clock, which knows the event loop alone, cannot run the block."""
        options = self.options.keys() & {"real clock", "notebook", "output of"}
        return self.language in SHELLS or self.blocks_the_thread or self.has_tests or bool(options)


def find_blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, in their order."""
    text = page.read_text("utf-8")
    blocks = []
    for found in _BLOCK.finditer(text):
        code = re.sub(rf"^{found['indent']}", "", found["code"], flags=re.MULTILINE)
        line = text.count("\n", 0, found.start("code")) + 1
        options = _read_options(found["options"] or "")
        blocks.append(Block(page=page, line=line, language=found["language"], code=code, options=options))
    return blocks


def _read_options(text: str) -> dict[str, str]:
    parts = [text] if text.startswith("skip") else text.split(";")
    pairs = dict(part.partition(":")[::2] for part in parts)
    return {key.strip(): value.strip() for key, value in pairs.items() if key.strip() in _DIRECTIVES}


def main() -> None:
    """Print how many blocks of each page are run, checked and skipped, and why the last are."""
    total: Counter[str] = Counter()
    skipped = []
    for page in PAGES:
        blocks = find_blocks(page)
        fates = Counter(block.fate for block in blocks)
        total += fates
        skipped += [f"  {block.name}: {block.options['skip']}" for block in blocks if block.fate == "skipped"]
        print(f"{page.relative_to(ROOT).as_posix():24}", ", ".join(f"{n} {fate}" for fate, n in sorted(fates.items())))
    print("all:", ", ".join(f"{number} {fate}" for fate, number in sorted(total.items())))
    print("skipped:", *skipped, sep="\n")


if __name__ == "__main__":
    main()
