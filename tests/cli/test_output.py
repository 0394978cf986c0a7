"""How tasks and numbers are written."""

from __future__ import annotations

import json

import pytest

from acetasks import Artifact, ArtifactKind, ServiceError, Task, TaskError, TaskState, TransportError
from acetasks.cli.output import encode_line, format_line
from acetasks.cli.words import clean, clock, percentile, seconds_in_words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 s"),
        (0.123, "0.12 s"),
        (3.25, "3.2 s"),
        (38.4, "38 s"),
        (60.0, "1 min"),
        (154.2, "2 min 34 s"),
        (3599.4, "59 min 59 s"),
        (3900.0, "1 h 05 min"),
    ],
)
def test_seconds_are_as_exact_as_is_of_interest(seconds: float, text: str) -> None:
    """Hundredths below a second, minutes above an hour."""
    assert seconds_in_words(seconds) == text


def test_a_running_time_is_in_minutes_and_seconds() -> None:
    """As on a player."""
    assert [clock(0.9), clock(65.0), clock(3600.0)] == ["0:00", "1:05", "60:00"]


def test_a_percentile_is_one_of_the_values() -> None:
    """The median of two is the greater; nothing has none."""
    assert percentile([], 0.5) == 0.0
    assert percentile([2.0, 1.0], 0.5) == 2.0
    assert percentile([float(number) for number in range(100)], 0.95) == 95.0
    assert percentile([1.0], 1.0) == 1.0


def test_a_foreign_text_steers_no_terminal() -> None:
    """Escapes are shown as question marks, and line ends as blanks."""
    assert clean("a\x1b[31m\r\nb\tc") == "a?[31m b c"


def test_a_line_has_every_main_file_and_no_other() -> None:
    """Thumbnails are for programs; a file that came in the address's place is cut short."""
    artifacts = (
        Artifact(url="https://files.example/a.mp3", kind=ArtifactKind.AUDIO),
        Artifact(url="https://files.example/cover.png", kind=ArtifactKind.IMAGE, role="cover"),
        Artifact(url="data:image/png;base64," + "A" * 5000, kind=ArtifactKind.IMAGE),
    )
    line = format_line(Task(provider="suno", id="1", state=TaskState.SUCCEEDED, artifacts=artifacts, duration=38.4))
    assert line.plain.startswith("succeeded  suno  1  38 s  https://files.example/a.mp3  data:image/png")
    assert line.plain.endswith("... (5,022 characters)")
    assert "cover" not in line.plain
    assert len(line.plain) < 200


@pytest.mark.parametrize(("code", "text"), [("used_up", "used_up: no more"), (None, "no more")])
def test_a_failed_line_has_the_services_own_words(code: str | None, text: str) -> None:
    """With its code where it gave one."""
    task = Task(provider="veo", id="1", state=TaskState.FAILED, error=TaskError(message="no\nmore", code=code))
    assert format_line(task).plain == f"failed     veo  1  {text}"


def test_what_could_not_be_asked_for_has_that_as_its_error() -> None:
    """The code is the service's, where one was given."""
    task = Task(provider="veo", id="1", state=TaskState.PENDING)
    error = ServiceError("busy now", status=500, code="busy")
    refused = json.loads(encode_line(task, error))
    assert refused["state"] == "pending"
    assert refused["error"] == {"message": str(error), "code": "busy"}
    assert json.loads(encode_line(task, TransportError("cut")))["error"] == {"message": "cut", "code": None}
    assert format_line(task, TransportError("cut")).plain == "pending    veo  1  cut"
