"""Rows of tasks and journal entries, odd ones included."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import pytest
from ledger_support import EPOCH, entry

from acetasks import Artifact, ArtifactKind, EntryState, Task, TaskError, TaskState
from acetasks.report.media import MediaReader
from acetasks.report.rows import Amount, Row, build_row, read_amount

if TYPE_CHECKING:
    from pathlib import Path

    from acetasks import Entry

RECORD = {
    "id": "luma-1",
    "created_at": EPOCH + 1,
    "started_at": EPOCH + 11,
    "finished_at": EPOCH + 61,
    "elapsed": 50,
    "request": {"prompt": " a cat ", "model": "ray-2", "action": "generate", "aspect_ratio": "16:9"},
    "response": {
        "success": True,
        "state": "completed",
        "video_url": "https://cdn.example.com/a.mp4",
        "thumbnail_url": "https://cdn.example.com/a.jpg",
        "cost": {"amount": 0.4, "currency": "credit"},
    },
}


@pytest.fixture
def build(tmp_path: Path):
    """Builds the row of a task or an entry."""

    def build_it(item: Task | Entry) -> Row:
        return build_row(1, item, MediaReader(tmp_path))

    return build_it


def task(request: object = None, **fields: object) -> Task:
    """Build a succeeded task with a request."""
    raw = msgspec.json.encode({"request": request, "response": {}})
    return Task(**({"provider": "luma", "id": "1", "state": TaskState.SUCCEEDED, "raw": raw} | fields))


def ended(record: object = RECORD, **fields: object) -> Entry:
    """Build an entry with its end."""
    raw = record if isinstance(record, bytes) else msgspec.json.encode(record)
    end = {"task_id": "luma-1", "state": EntryState.SUCCEEDED, "ended_at": EPOCH + 63, "record": raw}
    return entry("order-1", **(end | fields))


class TestEntries:
    """Rows of journal entries."""

    def test_an_ended_entry_has_what_its_record_has(self, build) -> None:
        """Prompt and parameters are those that were submitted."""
        request = msgspec.json.encode(RECORD["request"] | {"callback_url": "https://me.example/secret", "async": True})
        row = build(ended(request=request, trace_id="trace-1"))
        assert (row.provider, row.task_id, row.key, row.state) == ("luma", "luma-1", "order-1", "succeeded")
        assert (row.prompt, row.kind, row.parameters) == ("a cat", "ray-2 · generate", '{"aspect_ratio":"16:9"}')
        assert (row.amount, row.error, row.trace_id) == (Amount(0.4, "credit"), None, "trace-1")
        assert [file.source for file in row.media] == ["https://cdn.example.com/a.mp4", "https://cdn.example.com/a.jpg"]
        timing = row.timing
        assert (timing.submitted, timing.started, timing.ended) == (EPOCH, EPOCH + 11, EPOCH + 61)
        # By the service's clock alone.
        assert (timing.elapsed, timing.work) == (60.0, 50.0)

    def test_without_times_of_the_service_those_of_the_journal_count(self, build) -> None:
        """From the stamp to the note of the end."""
        row = build(ended({"id": "luma-1", "response": {"state": "completed", "video_url": "https://a.example/a.mp4"}}))
        assert (row.timing.submitted, row.timing.ended, row.timing.elapsed) == (EPOCH, EPOCH + 63, 63.0)

    @pytest.mark.parametrize("record", [b"", b"[]", b"not json", b"\xff", b'{"items": []}'])
    def test_an_unreadable_record_is_the_reason(self, build, record: bytes) -> None:
        """The entry keeps its state, id and times."""
        row = build(ended(record, state=EntryState.FAILED))
        assert (row.state, row.task_id, row.timing.elapsed) == ("failed", "luma-1", 63.0)
        assert row.error is not None

    def test_unfinished_entries_have_no_end(self, build) -> None:
        """They are in progress."""
        row = build(entry("a", state=EntryState.ACCEPTED, task_id="1"))
        assert (row.state, row.is_in_progress, row.timing.elapsed, row.prompt) == ("accepted", True, None, "a cat")

    def test_refused_entries_have_a_reason_and_no_duration(self, build) -> None:
        """A refusal is no end of a task."""
        row = build(entry("a", state=EntryState.REFUSED, reason="HTTP 400", ended_at=EPOCH + 1))
        assert row.error == TaskError(message="HTTP 400")
        assert (row.timing.elapsed, row.task_id) == (None, "")

    def test_uncertain_entries_say_so(self, build) -> None:
        """They may have been accepted."""
        row = build(entry("a", state=EntryState.UNCERTAIN))
        assert "may have been accepted" in row.error.message

    def test_saved_files_are_those_of_the_results(self, build, tmp_path: Path) -> None:
        """In their order, instead of the URLs; if there are as many."""
        (tmp_path / "a.mp4").touch()
        row = build(ended(files=(str(tmp_path / "a.mp4"),)))
        assert [file.source for file in row.media] == ["a.mp4", "https://cdn.example.com/a.jpg"]
        row = build(ended(files=(str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4"))))
        assert [file.source for file in row.media] == [
            "a.mp4",
            "",
            *(RECORD["response"][key] for key in ("video_url", "thumbnail_url")),
        ]


class TestTasks:
    """Rows of tasks."""

    @pytest.mark.parametrize(
        ("request_body", "prompt"),
        [
            ({"prompt": "a", "text": "b"}, "a"),
            ({"prompt": "  ", "text": "b"}, "b"),
            ({"prompt": None, "lyric": "la la"}, "la la"),
            ({"prompt": [{"text": "x"}]}, '[{"text":"x"}]'),
            ({"prompt": 7}, ""),
            ({}, ""),
            (None, ""),
            ("text", ""),
            ([], ""),
        ],
    )
    def test_prompt_is_found(self, build, request_body: object, prompt: str) -> None:
        """Under the keys that providers use; other types are none."""
        assert build(task(request_body)).prompt == prompt

    def test_odd_values_of_a_request_do_no_harm(self, build) -> None:
        """Names that are no text are left out, long texts are cut."""
        row = build(task({"prompt": "x" * 9000, "model": 5, "action": "a" * 500, "more": "y" * 5000}))
        assert row.kind == "a" * 100
        assert row.prompt.endswith("(4,000 more characters)")
        assert row.parameters.startswith('{"more":"yyy')
        assert row.parameters.endswith("more characters)")

    def test_an_unreadable_raw_record_is_none(self, build) -> None:
        """The fields of the task are shown."""
        row = build(task(raw=b"not json", error=TaskError(message="why" * 1000, code="c")))
        assert (row.prompt, row.amount) == ("", None)
        assert row.error.message.endswith("(1,000 more characters)")

    def test_odd_numbers_are_unknown(self, build) -> None:
        """Negative, infinite and not a number."""
        for odd in (-1.0, math.inf, math.nan):
            row = build(task(duration=odd, created_at=odd, finished_at=odd, progress=odd, state=TaskState.RUNNING))
            assert row.timing == type(row.timing)()
            assert row.progress is None

    def test_an_end_before_the_submission_takes_no_time(self, build) -> None:
        """As with a clock that was set back."""
        assert build(task(created_at=EPOCH, finished_at=EPOCH - 5)).timing.elapsed == 0.0

    def test_work_stands_in_for_missing_times(self, build) -> None:
        """The end follows from it."""
        timing = build(task(created_at=EPOCH, duration=9.0)).timing
        assert (timing.elapsed, timing.ended) == (9.0, EPOCH + 9)

    def test_progress_is_of_tasks_in_progress(self, build) -> None:
        """A finished task has none."""
        assert build(task(progress=40.0)).progress is None
        assert build(task(progress=40.0, state=TaskState.RUNNING)).progress == 40.0

    def test_results_come_first(self, build) -> None:
        """Covers and thumbnails follow."""
        artifacts = tuple(
            Artifact(url=f"https://a.example/{role}", kind=ArtifactKind.IMAGE, role=role) for role in ("cover", "main")
        )
        assert [file.role for file in build(task(artifacts=artifacts)).media] == ["main", "cover"]


@pytest.mark.parametrize(
    ("cost", "amount"),
    [
        ({"amount": 0.4, "currency": "credit"}, Amount(0.4, "credit")),
        ({"amount": 3}, Amount(3.0, "")),
        ({"amount": "0.25", "currency": " USD "}, Amount(0.25, "USD")),
        ({"amount": 1, "currency": 5}, Amount(1.0, "")),
        ({"amount": 0, "currency": "credit"}, Amount(0.0, "credit")),
        ({"amount": True}, None),
        ({"amount": None}, None),
        ({"amount": "free"}, None),
        ({"amount": "NaN"}, None),
        ({"amount": 10**400}, None),
        ({"amount": [1]}, None),
        ({"total": 1}, None),
        ({}, None),
        (None, None),
    ],
)
def test_amount_is_a_number(cost: dict[str, object] | None, amount: Amount | None) -> None:
    """Anything else cannot be added up."""
    assert read_amount(cost) == amount
