"""CONTRIBUTING: its table of rooms is the order of layers that the import contract holds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = re.findall(r"^\| (`\w+(?:\.py|/)`[^|]*) \|", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE)
IMPORTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]


def test_the_table_of_rooms_is_the_order_of_layers() -> None:
    """Each row is one layer of the exhaustive contract."""
    (layers,) = [
        contract["layers"]
        for contract in IMPORTS["contracts"]
        if contract.get("exhaustive") and contract["containers"] == ["acetasks"]
    ]
    rows = [set(re.findall(r"`(\w+)", row)) for row in TABLE]

    assert rows == [set(re.split(r" [|:] ", layer)) - {"_version"} for layer in layers]
