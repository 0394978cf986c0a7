"""The page as a reader uses it: search, filters, keyboard, media, theme, phone, and without JavaScript."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser.conftest import NOW, PICTURES
from browser.data import build_every_state

from acetasks.report import write_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from browser.conftest import Opened
    from playwright.sync_api import Page

    Open = Callable[..., Opened]

_SHOWN = "#rows tbody tr:not([hidden])"


@pytest.fixture
def every_state(tmp_path: Path) -> Path:
    """A page of tasks in every state."""
    return write_report(build_every_state(), tmp_path / "report.html", now=NOW)


def wait_for_count(page: Page, text: str) -> None:
    """Wait until the number of found tasks is shown."""
    page.locator("#found", has_text=re.compile(f"^{re.escape(text)}$")).wait_for()


class TestAccessibility:
    """axe-core and the keyboard."""

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [1280, 390])
    def test_axe_finds_nothing_serious(self, open_page: Open, every_state: Path, scheme: str, width: int) -> None:
        """No serious or critical violation, in both themes, on a screen and on a phone."""
        page = open_page(every_state, color_scheme=scheme, viewport={"width": width, "height": 900}).page
        page.evaluate("document.querySelectorAll('details').forEach((row) => { row.open = true; })")
        results = Axe().run(page).response
        assert len(results["passes"]) > 25
        serious = [rule for rule in results["violations"] if rule["impact"] in {"serious", "critical"}]
        assert [(rule["id"], rule["nodes"][0]["html"], rule["nodes"][0]["failureSummary"]) for rule in serious] == []

    def test_tab_reaches_search_filters_and_rows(self, open_page: Open, every_state: Path) -> None:
        """In this order, and Enter opens a row; the arrow keys go from row to row."""
        page = open_page(every_state).page
        visited = []
        for _ in range(60):
            page.keyboard.press("Tab")
            visited.append(
                page.evaluate(
                    "(({ id, name, localName, parentElement }) => id || name"
                    " || (parentElement.closest('tr')?.id ?? localName))(document.activeElement)"
                )
            )
            if visited[-1] == "t2":
                break
        order = ["theme", "search", "provider", "order", "state", "t1", "t2"]
        assert [visited.index(name) for name in order] == sorted(visited.index(name) for name in order)
        page.keyboard.press("Enter")
        assert page.locator("#t2 details").get_attribute("open") is not None
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowUp")
        assert page.evaluate("document.activeElement.closest('tr').id") == "t3"

    def test_skip_link_leads_to_the_tasks(self, open_page: Open, every_state: Path) -> None:
        """It is the first stop of Tab, and can be seen then."""
        page = open_page(every_state).page
        page.keyboard.press("Tab")
        assert page.locator(".skip").bounding_box()["x"] >= 0
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "tasks"

    def test_table_has_the_roles_of_a_table(self, open_page: Open, every_state: Path) -> None:
        """The accessibility tree has columns and rows, although the rows are grids."""
        page = open_page(every_state).page
        assert page.get_by_role("columnheader").all_inner_texts()[-6:] == [
            *("Task", "Prompt", "Files", "Submitted", "Duration", "Cost")
        ]
        assert page.get_by_role("table", name="Tasks", exact=True).get_by_role("row").count() == 13
        assert page.locator("#found").get_attribute("aria-live") == "polite"


class TestSearch:
    """Search, filters and order."""

    def test_all_words_are_searched(self, open_page: Open, short_page: Path, simulated) -> None:
        """In prompts and providers, without case; the number found is announced."""
        page = open_page(short_page).page
        wait_for_count(page, "40 tasks")
        expected = sum(task.provider == "flux" and "fox" in task.request["prompt"] for task in simulated[:40])
        assert expected
        page.fill("#search", "FOXES flux")
        wait_for_count(page, f"{expected} of 40 tasks")
        assert page.locator(_SHOWN).count() == expected
        page.fill("#search", simulated[7].id)
        wait_for_count(page, "1 of 40 tasks")
        assert page.locator(_SHOWN).get_attribute("id") == "t8"

    def test_labels_are_not_searched(self, open_page: Open, short_page: Path) -> None:
        """Words of the page itself find nothing, and the page says so."""
        page = open_page(short_page).page
        page.fill("#search", "reported work")
        wait_for_count(page, "0 of 40 tasks")
        assert page.get_by_text("No task matches.").is_visible()

    def test_filters_can_be_combined(self, open_page: Open, every_state: Path) -> None:
        """States add up; a provider narrows them down."""
        page = open_page(every_state).page
        page.get_by_role("checkbox", name="failed").focus()
        page.keyboard.press("Space")
        wait_for_count(page, "2 of 12 tasks")
        page.get_by_role("checkbox", name="partial").check(force=True)
        wait_for_count(page, "4 of 12 tasks")
        page.select_option("#provider", "wan")
        wait_for_count(page, "2 of 12 tasks")
        assert page.locator(_SHOWN).evaluate_all("rows => rows.map((row) => row.dataset.state)") == [
            "partial",
            "failed",
        ]

    def test_rows_can_be_ordered(self, open_page: Open, long_page: Path) -> None:
        """By time, duration and price, those without one last; and back again."""
        page = open_page(long_page).page
        for order, key in (("newest", "newest"), ("duration", "duration"), ("cost", "cost")):
            page.select_option("#order", order)
            values = page.locator("#rows tbody tr").evaluate_all(
                f"rows => rows.map((row) => row.dataset.{key} === undefined ? -1 : Number(row.dataset.{key}))"
            )
            assert values == sorted(values, reverse=True)
            assert len(values) == 2000
        page.select_option("#order", "number")
        assert page.locator("#rows tbody tr").evaluate_all("rows => rows.every((row, i) => row.id === `t${i + 1}`)")

    def test_a_bar_of_the_timeline_opens_its_row(self, open_page: Open, short_page: Path) -> None:
        """It clears filters that hide the row."""
        page = open_page(short_page).page
        page.fill("#search", "nothing has this")
        wait_for_count(page, "0 of 40 tasks")
        page.locator("rect[data-row='20']").dispatch_event("pointermove")
        assert page.locator("#tip").is_visible()
        page.locator("rect[data-row='20']").dispatch_event("click")
        assert page.evaluate("document.activeElement.closest('tr').id") == "t20"
        assert page.locator("#t20 details").get_attribute("open") is not None


class TestMedia:
    """Files of the disk and of the service."""

    def test_pictures_of_the_disk_are_shown(self, open_page: Open, short_page: Path) -> None:
        """Without a request to another machine."""
        opened = open_page(short_page)
        opened.page.locator(".thumb[data-local]").first.scroll_into_view_if_needed()
        image = opened.page.locator(".thumb[data-local] img").first
        image.wait_for()
        opened.page.wait_for_timeout(200)
        assert image.evaluate("image => image.naturalWidth") == 176
        assert image.get_attribute("loading") == "lazy"
        assert all(url.startswith("file:") for url in opened.requests)
        assert 0 < len(opened.requests) <= 2 * PICTURES

    def test_service_is_asked_on_request_only(self, open_page: Open, long_page: Path) -> None:
        """Previews are for what is in view, and only if they are switched on."""
        opened = open_page(long_page)
        opened.page.evaluate("document.getElementById('rows').scrollIntoView()")
        opened.page.wait_for_timeout(200)
        assert opened.requests == []
        opened.page.locator("#previews").check()
        opened.page.wait_for_timeout(500)
        assert 0 < len(opened.requests) < 40

    def test_an_opened_row_has_players(self, open_page: Open, every_state: Path) -> None:
        """A video that is not loaded before it is played, and a note if it cannot be."""
        opened = open_page(every_state)
        row = opened.page.locator("tr[data-state=succeeded][data-provider=luma]")
        row.locator("summary").click()
        video = row.locator("video")
        assert video.get_attribute("preload") == "none"
        assert video.get_attribute("src") == "https://files.example/a.mp4"
        assert opened.requests == []
        video.evaluate("video => { video.play().catch(() => {}); }")
        row.locator("[data-lost]").wait_for()


class TestShapes:
    """Themes, a phone, and a browser without JavaScript."""

    def test_theme_can_be_switched(self, open_page: Open, every_state: Path) -> None:
        """It begins with that of the system, and is kept when the page is loaded again."""
        page = open_page(every_state, color_scheme="dark").page
        background = "getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(background)
        page.get_by_role("button", name="Light theme").click()
        light = page.evaluate(background)
        assert (dark, light) == ("rgb(15, 18, 22)", "rgb(246, 247, 249)")
        page.reload()
        assert page.evaluate(background) == light
        assert page.get_by_role("button", name="Dark theme").is_visible()

    @pytest.mark.parametrize("name", ["hostile_page", "short_page"])
    def test_a_phone_needs_no_sideways_scrolling(
        self, open_page: Open, request: pytest.FixtureRequest, name: str
    ) -> None:
        """Nothing is wider than the screen, not even an opened row."""
        page = open_page(request.getfixturevalue(name), viewport={"width": 360, "height": 740}).page
        page.evaluate("document.querySelectorAll('details').forEach((row) => { row.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360

    def test_without_javascript_everything_is_there(self, open_page: Open, every_state: Path) -> None:
        """Rows, charts and details; controls that would do nothing are not shown."""
        page = open_page(every_state, java_script_enabled=False).page
        assert page.locator("#rows tbody tr").count() == 12
        assert page.locator("#tools").is_hidden()
        page.locator("#t3 summary").click()
        assert page.locator("#t3 .more").is_visible()
        assert page.locator(".histogram rect").count() > 0
