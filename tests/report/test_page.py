"""The page as text: its policy, its escapes, and how it is written."""

from __future__ import annotations

import base64
import hashlib
import html
import html.parser
import os
import re
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_support import entry

import acetasks
from acetasks import Artifact, ArtifactKind, EntryState, MemoryStore, Task, TaskError, TaskState
from acetasks.report import page, read_journal, render_report, write_report

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_780_000_000.0
#: Elements of which a page of the service's could do harm.
_FORBIDDEN = {"iframe", "object", "embed", "base", "link", "img", "video", "audio", "source"}


class Reader(html.parser.HTMLParser):
    """Reads a page as a browser does, as far as elements and attributes go.

    Attributes:
        elements: The elements, with their attributes.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))


def task(text: str, *, url: str = "https://a.example/a.mp4") -> Task:
    """Build a task that has a text everywhere."""
    safe = text.encode("utf-8", "replace").decode()
    raw = msgspec.json.encode(
        {"request": {"prompt": safe, safe or "x": safe, "model": safe}, "cost": {"amount": 1, "currency": safe}}
    )
    return Task(
        provider=text,
        id=text,
        state=TaskState.PARTIAL,
        artifacts=(Artifact(url=url, kind=ArtifactKind.VIDEO, role=text), Artifact(url=text)),
        error=TaskError(message=text, code=text),
        created_at=NOW - 60,
        finished_at=NOW,
        trace_id=text,
        raw=raw,
    )


def test_policy_has_the_hashes_of_script_and_style() -> None:
    """As they are in the page, byte for byte; nothing else is allowed but media."""
    text = render_report([task("a cat")], now=NOW)
    policy = html.unescape(re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1])
    for name in ("script", "style"):
        (content,) = re.findall(f"<{name}>(.*?)</{name}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy.split("; ")
    assert policy.startswith("default-src 'none'; ")
    assert policy.endswith("; img-src https:; media-src https:; base-uri 'none'; form-action 'none'")
    assert "unsafe" not in policy


def test_policy_allows_no_media_without_media() -> None:
    """A page of tasks without files loads nothing."""
    assert "img-src 'none'; media-src 'none'" in page.build_policy("", "", set())


def test_policy_comes_before_everything_that_it_governs() -> None:
    """A browser applies it to what follows."""
    text = render_report([])
    assert text.index("Content-Security-Policy") < min(text.index("<style"), text.index("<script"), text.index("<body"))


def check_elements(text: str) -> None:
    """Check that a page has only the elements and attributes of its template."""
    for tag, attributes in Reader(text).elements:
        assert tag not in _FORBIDDEN
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("href", "src", "data-source"):
            assert re.match(r"https?://|#tasks$|data:(image|video|audio)/", attributes.get(name) or "#tasks")
    assert [tag for tag, _ in Reader(text).elements].count("script") == 1


@given(
    st.text(st.characters(categories=None), max_size=40), st.sampled_from(["<", '"', "'", "</script>", "-->", "&lt;"])
)
@settings(max_examples=60)
def test_any_text_is_text(text: str, mark: str) -> None:
    """In every place that a service can fill; the file can be written whatever it is."""
    rendered = render_report([task(mark + text + mark, url=mark + text)], now=NOW, title=mark + text)
    rendered.encode()
    check_elements(rendered)


def test_text_is_escaped_once() -> None:
    """A reader sees the characters that were received."""
    rendered = render_report([task("<b>&amp;</b> \u202e")], now=NOW)
    assert "<b>" not in rendered
    assert "&lt;b&gt;&amp;amp;&lt;/b&gt; \\u202e" in rendered


def test_template_syntax_in_a_prompt_is_text() -> None:
    """It is a value, not a template."""
    assert "{{ 7*7 }}{% raw %}" in render_report([task("{{ 7*7 }}{% raw %}")], now=NOW)


def test_costs_of_providers_that_report_none() -> None:
    """The page says so, for the provider and the task."""
    text = render_report([Task(provider="luma", id="1", state=TaskState.SUCCEEDED)], now=NOW)
    assert re.sub(r"\s+", " ", text).count("not reported") == 3


def test_a_page_of_nothing() -> None:
    """It says that there are no tasks."""
    assert "There are no tasks." in render_report([])


def test_same_tasks_make_the_same_page() -> None:
    """Byte for byte, at the same time."""
    tasks = [task("a"), entry("b", state=EntryState.ACCEPTED)]
    assert render_report(tasks, now=NOW) == render_report(tasks, now=NOW)


def test_page_replaces_the_one_before(tmp_path: Path) -> None:
    """In one step, and with paths relative to it; nothing else is left in the folder."""
    (tmp_path / "a.mp4").touch()
    target = tmp_path / "report.html"
    target.write_text("old")
    artifact = Artifact(url="https://a.example/a.mp4", kind=ArtifactKind.VIDEO, path=str(tmp_path / "a.mp4"))
    found = Task(provider="luma", id="1", state=TaskState.SUCCEEDED, artifacts=(artifact,))
    assert write_report([found], target, title="Mine", now=NOW) == target
    text = target.read_text("utf-8")
    assert "<title>Mine</title>" in text
    assert 'data-source="a.mp4"' in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "report.html"]


def test_page_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    """The error is that of the system."""
    with pytest.raises(FileNotFoundError):
        write_report([], tmp_path / "missing" / "report.html")
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError, match=r"report\.html"):
        write_report([], tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_missing_jinja2_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    page._open_environment.cache_clear()  # noqa: SLF001  # another test may have filled it
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ModuleNotFoundError, match="python -m pip install jinja2"):
        render_report([])


class TestJournal:
    """`read_journal`."""

    async def test_journal_is_read_without_a_client(self, new_client, server, tmp_path: Path) -> None:
        """Every entry, with its end; while a client has it open, too."""
        async with new_client(journal=tmp_path / "tasks.db") as client:
            server.script("luma", after=10)
            await client.run("luma", {"prompt": "a cat"}, key="a")
            await client.submit("luma", {"prompt": "a dog"}, key="b")
            states = {found.key: found.state for found in await read_journal(tmp_path / "tasks.db")}
        assert states == {"a": EntryState.SUCCEEDED, "b": EntryState.ACCEPTED}
        text = render_report(await read_journal(str(tmp_path / "tasks.db")))
        assert [name in text for name in ("a cat", "a dog")] == [True, True]

    async def test_journal_that_does_not_exist_is_not_created(self, tmp_path: Path) -> None:
        """The error names it."""
        with pytest.raises(acetasks.LedgerError, match=r"nothing\.db: there is no such file"):
            await read_journal(tmp_path / "nothing.db")
        assert os.listdir(tmp_path) == []  # noqa: PTH208  # a path would be a blocking call to the linter

    async def test_store_of_a_user_is_read(self) -> None:
        """As `Client(journal=)` takes it."""
        assert await read_journal(MemoryStore()) == []
