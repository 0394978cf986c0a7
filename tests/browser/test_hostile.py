"""Hostile prompts, ids, errors and URLs are text in the page: nothing runs, and nothing is requested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from browser.data import HIT, HOSTILE, HOSTILE_URLS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from browser.conftest import Opened

    Open = Callable[..., Opened]

_MAY_LOAD = {"https://evil.example/plain.png"}
#: What a page without escapes would run, at least one of them without an interaction.
_OPEN_ALL = "document.querySelectorAll('details').forEach((row) => { row.open = true; })"


def test_nothing_runs_at_load(open_page: Open, hostile_page: Path) -> None:
    """No script, handler, dialog, frame or request, and no violation of the policy."""
    opened = open_page(hostile_page)
    assert opened.page.evaluate("window.hit") is None
    assert opened.requests == []
    assert opened.messages == []
    assert opened.page.locator("iframe, base, embed, object").count() == 0
    assert opened.page.locator("script").count() == 1


def test_nothing_runs_when_rows_are_opened(open_page: Open, hostile_page: Path) -> None:
    """Rows that are opened request the one harmless URL, as a picture or a player, and no other."""
    opened = open_page(hostile_page)
    opened.page.evaluate(_OPEN_ALL)
    opened.page.locator("#previews").check()
    opened.page.mouse.wheel(0, 20_000)
    opened.page.wait_for_timeout(300)
    assert opened.page.locator(".media img").count() > 0
    assert set(opened.requests) == _MAY_LOAD
    assert opened.page.evaluate("window.hit") is None
    assert [message for message in opened.messages if "Failed to load resource" not in message] == []


def test_no_address_of_another_scheme_is_in_an_attribute(open_page: Open, hostile_page: Path) -> None:
    """Links and media have HTTP addresses only; the others are text that can be read."""
    page = open_page(hostile_page).page
    page.evaluate(_OPEN_ALL)
    addresses = page.evaluate(
        "[...document.querySelectorAll('[href], [src], [poster], [data-source]')].flatMap((element) =>"
        " ['href', 'src', 'poster', 'data-source'].map((name) => element.getAttribute(name))).filter(Boolean)"
    )
    assert set(addresses) == {"#tasks", *_MAY_LOAD}
    text = page.locator("#t1").text_content()
    assert all(url[:250] in text for url in HOSTILE_URLS)


def test_the_text_is_shown_as_it_was(open_page: Open, hostile_page: Path) -> None:
    """Prompts and errors are the received text, character for character."""
    page = open_page(hostile_page).page
    shown = page.locator("#rows .prompt").all_text_contents()[::2]
    reasons = page.locator("#rows .reason").all_text_contents()[::2]
    assert shown[:-1] == list(HOSTILE[:-1])
    assert reasons[:-1] == [f"{text}: {text}" for text in HOSTILE[:-1]]


def test_invisible_characters_are_shown(open_page: Open, hostile_page: Path) -> None:
    """Marks that reverse text, and control characters, are escapes that can be seen."""
    text = open_page(hostile_page).page.locator(f"#t{2 * len(HOSTILE)} .reason").text_content()
    assert r"\u202etxt.exe\u2066 \u200b\ufeff\u0000\u001b[31m \ud83d" in text


def test_the_policy_stops_what_is_injected(open_page: Open, short_page: Path) -> None:
    """Even markup that got into the page could not run: the second lock."""
    opened = open_page(short_page)
    opened.page.evaluate(
        """(hit) => {
            document.body.insertAdjacentHTML("beforeend", `<img src="x" onerror="${hit}">
                <a id="link" href="javascript:${hit}">x</a>
                <iframe srcdoc="<script>parent.${hit}</script>"></iframe>`);
            const script = document.createElement("script");
            script.textContent = hit;
            document.body.append(script);
        }""",
        HIT,
    )
    opened.page.locator("#link").click()
    opened.page.wait_for_timeout(200)
    assert opened.page.evaluate("window.hit") is None
    assert sum("Content Security Policy" in message for message in opened.messages) >= 3


def test_the_probes_would_be_noticed(open_page: Open, tmp_path: Path) -> None:
    """The same texts in a page without escapes and without a policy do run: these tests can fail."""
    path = tmp_path / "naive.html"
    for text in HOSTILE[:6]:
        path.write_text(f"<!doctype html><style></style><p title=\"{text}\">{text}<p title='{text}'>", "utf-8")
        opened = open_page(path)
        opened.page.wait_for_timeout(100)
        assert opened.page.evaluate("window.hit"), text
