"""`acetasks providers`: prints the provider specs as a table or as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from acetasks import providers
from acetasks.cli.app import app

if TYPE_CHECKING:
    import pytest


def test_every_provider_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is not truncated in a pipe, and a hint at other providers follows it."""
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(app, ["providers"])
    assert result.exit_code == 0
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.strip()}
    assert {spec.slug for spec in providers.specs()} <= set(lines)
    assert lines["luma"] == ["luma", "acedata", "/luma/videos", "batch", "154", "s", "5.1", "s"]
    assert lines["useapi-pixverse"][1:5] == ["useapi", "/v1/pixverse/create_single", "+1", "single"]
    assert result.stdout.splitlines()[-2:] == [
        "Any other provider is polled at /<provider>/tasks with default settings; submit needs --path for it.",
        "Python programs can define its settings with acetasks.providers.register.",
    ]


def test_json_prints_one_object_per_line() -> None:
    """Each JSON object has the paths and poll settings of one provider."""
    result = CliRunner().invoke(app, ["providers", "--json"])
    objects = {item["slug"]: item for item in map(json.loads, result.stdout.splitlines())}
    assert len(objects) == len(providers.specs())
    assert objects["maestro"]["has_batch"] is False
    assert objects["flux"]["tasks_path"] == "/flux/tasks"
    assert objects["flux"]["interval"] == 2.0
