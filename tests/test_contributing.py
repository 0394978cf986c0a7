"""CONTRIBUTING: its table of the rooms is the order that the import contracts hold."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = re.findall(r"^\| (`\w+(?:\.py|/)`[^|]*) \|", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE)
IMPORTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]


def test_the_table_of_rooms_is_the_order_of_imports() -> None:
    """Row by row; those that share a row know nothing of each other."""
    (layers,) = [contract["layers"] for contract in IMPORTS["contracts"] if contract.get("containers") == ["acetasks"]]
    rooms = [set(re.findall(r"`(\w+)", row)) for row in TABLE]

    assert rooms == [set(layer.split(" | ")) - {"_version"} for layer in layers]
