"""`acetasks history`, `resume`, `download` and `normalize`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from acetasks.cli.client_setup import name_journal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from typer.testing import Result

    from acetasks.testing.server import AceServer

    Invoke = Callable[..., Awaitable[Result]]

pytestmark = pytest.mark.real_clock


def names_in(directory: Path) -> list[str]:
    """Return the names of the files in a directory."""
    return [path.name for path in directory.iterdir()]


async def test_the_history_lists_the_newest_first(server: AceServer, invoke: Invoke) -> None:
    """Each line begins with the time of submission; the closing line says that there may be more."""
    ids = [server.add("luma", after=0) for _ in range(4)]
    result = await invoke("history", "luma", "--limit", "3")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[4] for line in lines] == ids[:0:-1]
    assert all(line.split()[2] == "succeeded" for line in lines)
    assert result.stderr == "3 tasks; there may be older ones: --limit N or --all lists more\n"
    everything = await invoke("history", "luma", "--all", "--json")
    assert [json.loads(line)["id"] for line in everything.stdout.splitlines()] == ids[::-1]
    assert everything.stderr == "4 tasks\n"


async def test_the_history_has_limits_in_time(server: AceServer, invoke: Invoke) -> None:
    """They are relative to now, or absolute."""
    task = json.loads((await invoke("get", "luma", server.add("luma", after=0), "--json")).stdout)
    created_at = task["created_at"]
    for options, count in (
        (["--since", str(int(created_at - 10))], 1),
        (["--before", str(int(created_at - 10))], 0),
        (["--since", "2001-02-03", "--before", "1h"], 1 if created_at < time.time() - 3600 else 0),
    ):
        result = await invoke("history", "luma", *options)
        assert result.exit_code == 0
        assert len(result.stdout.splitlines()) == count
    wrong = await invoke("history", "luma", "--since", "last week")
    assert wrong.exit_code == 2
    assert "--since: expected a time such as yesterday, 2h or 2026-01-31, got 'last week'" in wrong.stderr


async def test_the_history_can_be_awaited(server: AceServer, invoke: Invoke) -> None:
    """`wait -` reads its lines of JSON."""
    server.add("luma", after=0)
    listed = await invoke("history", "luma", "--json")
    assert (await invoke("wait", "-", stdin=listed.stdout)).exit_code == 0


async def test_the_journal_is_listed_without_a_provider(server: AceServer, invoke: Invoke, tmp_path: Path) -> None:
    """Also what is uncertain, and why something was refused."""
    journal = str(tmp_path / "tasks.db")
    server.fail("luma", status=400, code="bad_request")
    await invoke("submit", "luma", "prompt=a", "--journal", journal, "--key", "one")
    await invoke("submit", "luma", "prompt=a", "--journal", journal, "--key", "two")
    result = await invoke("history", "--journal", journal)
    assert result.exit_code == 0
    newest, oldest = result.stdout.splitlines()
    assert newest.split()[2:] == ["accepted", "luma", *server.tasks, "two"]
    assert oldest.split()[2:6] == ["refused", "luma", "-", "one"]
    lines = [json.loads(line) for line in (await invoke("history", "--journal", journal, "--json")).stdout.splitlines()]
    assert [line["key"] for line in lines] == ["two", "one"]
    assert lines[0]["request"] == {"prompt": "a", "async": True}
    assert "bad_request" in lines[1]["reason"]


async def test_without_provider_and_journal_there_is_nothing_to_list(invoke: Invoke, tmp_path: Path) -> None:
    """A journal that does not exist is not created."""
    none = await invoke("history")
    assert none.exit_code == 2
    assert "nothing to list: name a provider, or a journal with --journal or" in none.stderr
    assert "no journal: name its file with --journal" in (await invoke("resume")).stderr
    for command in ("history", "resume", "report"):
        missing = await invoke(command, "--journal", str(tmp_path / "none.db"))
        assert missing.exit_code == 2
        assert "there is no journal" in missing.stderr
    assert names_in(tmp_path) == []


async def test_a_file_that_is_no_journal_is_named(invoke: Invoke, tmp_path: Path) -> None:
    """In the word of the option."""
    file = tmp_path / "song.txt"
    file.write_text("la la")
    for command in ("history", "resume", "report"):
        result = await invoke(command, "--journal", str(file))
        assert result.exit_code == 1
        assert f"error: journal {file}: the file is no SQLite database" in result.stderr


async def test_a_provider_without_a_history_is_an_error(invoke: Invoke) -> None:
    """The error is the library's."""
    result = await invoke("history", "captcha")
    assert result.exit_code == 2
    assert "'captcha' has no call that lists its tasks" in result.stderr


async def test_resume_waits_for_what_was_not_seen_to_end(server: AceServer, invoke: Invoke, tmp_path: Path) -> None:
    """An uncertain submission is looked up; a second time there is nothing to do."""
    journal = str(tmp_path / "tasks.db")
    server.script("luma", after=0, times=None)
    submitted = await invoke("submit", "luma", "prompt=a", "--journal", journal)
    resumed = await invoke("resume", "--journal", journal)
    assert resumed.exit_code == 0
    assert resumed.stdout.split()[2] == submitted.stdout.strip().partition(":")[2]
    again = await invoke("resume", "--journal", journal)
    assert again.exit_code == 0
    assert again.stdout == ""
    assert again.stderr.startswith("0 tasks in")
    assert again.stderr.endswith(": nothing to do\n")


async def test_resume_after_a_timeout_goes_on_with_the_journal(
    server: AceServer, invoke: Invoke, tmp_path: Path
) -> None:
    """Not with `wait`, which would leave the end out of the journal."""
    journal = str(tmp_path / "my tasks.db")
    server.script("luma", outcome="forever", times=None)
    await invoke("submit", "luma", "prompt=a", "--journal", journal)
    resumed = await invoke("resume", "--journal", journal, "--timeout", "1")
    assert resumed.exit_code == 3
    assert resumed.stderr.endswith(f"no task was cancelled; go on with: acetasks resume --journal '{journal}'\n")


async def test_resume_reports_what_stays_uncertain(server: AceServer, invoke: Invoke, tmp_path: Path) -> None:
    """The exit code says that a submission must not be repeated blindly."""
    journal = str(tmp_path / "tasks.db")
    server.fail("luma", reset=True)
    assert (await invoke("submit", "luma", "prompt=a", "--journal", journal, "--key", "k")).exit_code == 4
    resumed = await invoke("resume", "--journal", journal)
    assert resumed.exit_code == 4
    assert "(key k) stays uncertain: " in resumed.stderr


async def test_a_journal_may_be_a_database(
    server: AceServer, invoke: Invoke, postgres_url: str, tmp_path: Path
) -> None:
    """Every command takes its URL, and none prints it, because it may have a password."""
    rows, page = tmp_path / "rows.jsonl", tmp_path / "report.html"
    rows.write_text('{"prompt": "a boat"}\n')
    server.script("luma", after=900)
    results = [
        await invoke("submit", "luma", "prompt=a cat", "--key", "k", "--journal", postgres_url),
        await invoke("submit", "luma", "prompt=a cat", "--key", "k", "--journal", postgres_url),
        await invoke("resume", "--timeout", "0.1", ACETASKS_JOURNAL=postgres_url),
        await invoke("run", str(rows), "--provider", "flux", "--timeout", "0.1", "--journal", postgres_url),
        await invoke("history", "--journal", postgres_url),
        await invoke("report", "--journal", postgres_url, "-o", str(page)),
    ]
    assert [result.exit_code for result in results] == [0, 0, 3, 3, 0, 0]
    assert server.submissions == 2
    assert len(results[4].stdout.splitlines()) == 2
    assert "a boat" in page.read_text("utf-8")
    assert [result.stderr for result in results if postgres_url in result.output + result.stderr] == []
    assert name_journal("postgresql://me:secret@db.example/tasks") == "postgresql://..."
    assert name_journal("tasks.db") == "tasks.db"


async def test_files_of_ended_tasks_are_downloaded(server: AceServer, invoke: Invoke, tmp_path: Path) -> None:
    """The paths are printed; what has no files is a warning with the reason, and the exit code 1."""
    image, video = server.add("flux", after=0), server.add("luma", after=0)
    directory = tmp_path / "files"
    result = await invoke("download", f"flux:{image}", f"luma:{video}", str(directory))
    assert result.exit_code == 0
    assert sorted(result.stdout.splitlines()) == sorted(map(str, directory.iterdir()))
    assert result.stderr == f"2 files in {directory}\n"
    running, failed = server.add("luma", after=900), server.add("luma", after=0, outcome="failed")
    captcha = server.add("captcha", after=0)
    others = await invoke("download", f"luma:{running}", f"luma:{failed}", f"captcha:{captcha}", str(directory))
    assert others.exit_code == 1
    assert others.stdout == ""
    assert f"no files yet; wait for them with: acetasks wait luma:{running} --download DIR" in others.stderr
    assert f"luma:{failed}: failed" in others.stderr
    assert f"captcha:{captcha}: its result is no file" in others.stderr


async def test_downloads_have_lines_of_json(server: AceServer, invoke: Invoke, tmp_path: Path) -> None:
    """Each artifact that was downloaded has its path."""
    task_id = server.add("luma", after=0)
    result = await invoke("download", "luma", task_id, str(tmp_path), "--json", "--all-roles")
    artifacts, names = json.loads(result.stdout)["artifacts"], names_in(tmp_path)
    assert sorted(artifact["path"] for artifact in artifacts) == sorted(f"{tmp_path}/{name}" for name in names)
    main = await invoke("download", "luma", task_id, str(tmp_path / "main"), "--json")
    paths = {artifact["role"]: artifact["path"] for artifact in json.loads(main.stdout)["artifacts"]}
    assert paths["main"] is not None
    assert set(paths.values()) == {paths["main"], None}


async def test_a_missing_file_is_a_warning(server: AceServer, invoke: Invoke, tmp_path: Path) -> None:
    """A file that cannot be downloaded is named, and the others are complete."""
    good, bad = server.add("flux", after=0), server.add("flux", after=0)
    server.fail(action="download", status=404, times=None, when=lambda request: bad in request.path)
    result = await invoke("download", "flux", good, bad, str(tmp_path))
    assert result.exit_code == 1
    assert good in result.stdout
    assert f"warning: flux:{bad}: " in result.stderr
    waited = await invoke("wait", "flux", bad, "--download", str(tmp_path))
    assert waited.exit_code == 1
    assert "1 not downloaded" in waited.stderr


async def test_stored_records_are_read(invoke: Invoke, tmp_path: Path) -> None:
    """One record of a file or stdin, or one a line of a JSONL file; no token is needed."""
    done = {"id": "a", "response": {"success": True, "video_url": "https://files.example/a.mp4"}}
    failed = {"id": "b", "response": {"success": False, "error": {"code": "bad", "message": "No."}}, "finished_at": 9}
    (tmp_path / "all.jsonl").write_text(f"{json.dumps(done)}\n\n{json.dumps(failed)}\n")
    without_token = {"ACEDATACLOUD_API_TOKEN": None}
    one = await invoke("normalize", "luma", "-", stdin=json.dumps(done, indent=2), **without_token)
    assert one.exit_code == 0
    assert one.stdout.split() == ["succeeded", "luma", "a", "https://files.example/a.mp4"]
    both = await invoke("normalize", "luma", str(tmp_path / "all.jsonl"), "--json")
    assert both.exit_code == 1
    assert [json.loads(line)["state"] for line in both.stdout.splitlines()] == ["succeeded", "failed"]
    wrong = await invoke("normalize", "luma", "-", stdin="not JSON")
    assert wrong.exit_code == 2
    assert "error: " in wrong.stderr
    assert (await invoke("normalize", "Luma!", "-", stdin="{}")).exit_code == 2


async def test_resume_releases_absent_submissions(
    server: AceServer, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the history has settled, and only if asked to; then the key is submitted again."""
    submit = ("submit", "luma", "prompt=a", "--journal", str(tmp_path / "tasks.db"), "--key", "k")
    resume = ("resume", "--journal", str(tmp_path / "tasks.db"))
    server.fail("luma", action="submit", status=502, body="<html>")
    assert (await invoke(*submit)).exit_code == 4
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 1000)
    for _ in range(2):
        resumed = await invoke(*resume)
        assert (resumed.exit_code, "(key k) is not in the history of luma" in resumed.stderr) == (4, True)
    released = await invoke(*resume, "--release-absent")
    assert released.exit_code == 0
    assert "key k can be submitted again" in released.stderr
    assert (await invoke(*submit)).exit_code == 0
    assert server.submissions == 1
