"""Tasks as lines of text and as lines of JSON."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from acetasks import Artifact, ArtifactKind, ServiceError, Task, TaskError, TaskState, TransportError
from acetasks.cli.task_lines import encode_task_line, format_task_line


def test_a_line_lists_only_main_artifacts() -> None:
    """Cover images are left out, and a data URL is shortened."""
    artifacts = (
        Artifact(url="https://files.example/a.mp3", kind=ArtifactKind.AUDIO),
        Artifact(url="https://files.example/cover.png", kind=ArtifactKind.IMAGE, role="cover"),
        Artifact(url="data:image/png;base64," + "A" * 5000, kind=ArtifactKind.IMAGE),
    )
    line = format_task_line(
        Task(provider="suno", id="1", state=TaskState.SUCCEEDED, artifacts=artifacts, duration=38.4)
    )
    assert line.plain.startswith("succeeded  suno  1  38 s  https://files.example/a.mp3  data:image/png")
    assert line.plain.endswith("... (5,022 characters)")
    assert "cover" not in line.plain
    assert len(line.plain) < 200


@pytest.mark.parametrize(("code", "text"), [("used_up", r"used_up: no\nmore"), (None, r"no\nmore")])
def test_a_failed_line_has_the_error_of_the_service(code: str | None, text: str) -> None:
    """The error message, on one line, follows its code if there is one."""
    task = Task(provider="veo", id="1", state=TaskState.FAILED, error=TaskError(message="no\nmore", code=code))
    assert format_task_line(task).plain == f"failed     veo  1  {text}"


def test_a_polling_error_is_the_error_of_the_line() -> None:
    """The error has the service's code, or None for an error without one."""
    task = Task(provider="veo", id="1", state=TaskState.PENDING)
    error = ServiceError("busy now", status=500, code="busy")
    line = json.loads(encode_task_line(task, error))
    assert line["state"] == "pending"
    assert line["error"] == {"message": str(error), "code": "busy"}
    assert json.loads(encode_task_line(task, TransportError("cut")))["error"] == {"message": "cut", "code": None}
    assert format_task_line(task, TransportError("cut")).plain == "pending    veo  1  cut"


def test_a_line_that_does_not_fit_is_broken_before_its_results() -> None:
    """On a terminal; in a pipe it stays one line."""
    task = Task(
        provider="luma", id="a", state=TaskState.SUCCEEDED, artifacts=(Artifact(url="https://files.example/a.mp4"),)
    )
    assert format_task_line(task).plain == "succeeded  luma  a  https://files.example/a.mp4"
    assert format_task_line(task, width=80).plain == format_task_line(task).plain
    assert format_task_line(task, width=40).plain == "succeeded  luma  a\n  https://files.example/a.mp4"


def test_an_unfinished_task_has_its_age_and_the_usual_duration() -> None:
    """An unknown provider has no usual duration."""
    task = Task(provider="luma", id="a", state=TaskState.RUNNING, progress=42.0, created_at=1000.0)
    assert re.fullmatch(
        r"running    luma  a  42 %  for 1 min 05 s  \(usually .*\)", format_task_line(task, now=1065.0).plain
    )
    other = msgspec.structs.replace(task, provider="brand-new", progress=None)
    assert format_task_line(other, now=1065.0).plain == "running    brand-new  a  for 1 min 05 s"


def test_a_result_that_is_no_file_is_shortened_on_a_terminal_only() -> None:
    """A pipe has all of it."""
    raw = msgspec.json.encode({"id": "a", "response": {"text": "x" * 20_000}})
    task = Task(provider="webextrator", id="a", state=TaskState.SUCCEEDED, raw=raw)
    assert format_task_line(task).plain.endswith('{"text":"' + "x" * 20_000 + '"}')
    shown = format_task_line(task, width=80).plain
    assert shown.endswith("... (20,011 characters; --json has all of them)")
    assert len(shown) < 10_100
