"""The code of docs/workers-other-engines.md, as modules."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from docs_support import find_blocks

PAGE = Path(__file__).parents[2] / "docs" / "workers-other-engines.md"


def load(file: str) -> ModuleType:
    """Run the block that has the name of a file, and return it as a module."""
    (block,) = (block for block in find_blocks(PAGE) if block.options.get("file") == file)
    module = ModuleType(file.removesuffix(".py"))
    sys.modules[module.__name__] = module
    exec(compile(block.code, file, "exec"), module.__dict__)  # noqa: S102  # the project's own page
    return module
