"""CONTRIBUTING and the page of the architecture: rooms and modules are those of the code."""

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


def test_the_architecture_has_every_module() -> None:
    """Each module of the library has a place in the table of rooms, and each name in it is a module."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"`(\w+\.py)`", page))
    paths = [path.relative_to(ROOT / "acetasks") for path in (ROOT / "acetasks").rglob("*.py")]
    modules = {path.name for path in paths if path.parts[0] not in {"cli", "testing"} and path.stem[:2] != "__"}

    assert named == modules
