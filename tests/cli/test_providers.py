"""`acetasks providers`: the table, printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from acetasks import providers
from acetasks.cli.app import app

if TYPE_CHECKING:
    import pytest


def test_every_row_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing cut off where it is no terminal, and a hint at `register` last."""
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(app, ["providers"])
    assert result.exit_code == 0
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.strip()}
    assert {spec.slug for spec in providers.specs()} <= set(lines)
    assert lines["luma"] == ["luma", "acedata", "/luma/videos", "batch", "154", "s", "5.1", "s"]
    assert lines["useapi-pixverse"][1:5] == ["useapi", "/v1/pixverse/create_single", "+1", "single"]
    assert "register" in result.stdout.splitlines()[-1]


def test_json_has_one_object_a_line() -> None:
    """With what a program would ask of a row."""
    result = CliRunner().invoke(app, ["providers", "--json"])
    rows = {row["slug"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert len(rows) == len(providers.specs())
    assert rows["maestro"]["has_batch"] is False
    assert rows["flux"]["tasks_path"] == "/flux/tasks"
    assert rows["flux"]["interval"] == 2.0
