"""Fixtures of the tests in Chromium: the browser, pages of tasks, and what a page did that it must not do."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec
import pytest
from browser.chromium import open_browser
from browser.data import DURATION, EPOCH, add_pictures, build_hostile_tasks, simulate

from acetasks.report import write_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from acetasks import Task

NOW = EPOCH + DURATION
#: Number of simulated tasks, how often the long page has each of them, and number of those with pictures on the disk.
SIMULATED, COPIES, PICTURES = 200, 10, 3


class Opened:
    """A page that was opened, and what it did.

    Attributes:
        page: Playwright's page.
        requests: The URLs of all requests except that for the page itself.
        messages: Messages of the console, errors of scripts and dialogs.
    """

    def __init__(self, page: Page, path: Path, *, wait: bool = True) -> None:
        self.page = page
        self.requests: list[str] = []
        self.messages: list[str] = []
        url = path.absolute().as_uri()
        page.on("request", lambda request: self.requests.append(request.url) if request.url != url else None)
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("dialog", self._dismiss)
        # No test leaves the machine.
        page.route(re.compile("^https?:"), lambda route: route.abort())
        if wait:
            page.goto(url)

    def _dismiss(self, dialog) -> None:
        self.messages.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Opened]]:
    """Opens a page, or with `wait=False` leaves that to the test; other arguments go to `Browser.new_context`."""
    contexts = []

    def open_it(path: Path, *, wait: bool = True, **options: object) -> Opened:
        contexts.append(browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options)))
        return Opened(contexts[-1].new_page(), path, wait=wait)

    yield open_it
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def simulated() -> list[Task]:
    """Tasks of the simulated service, in a thread: Playwright keeps this one's event loop running."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(simulate, SIMULATED).result()


@pytest.fixture(scope="session")
def long_page(simulated: list[Task], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two thousand tasks."""
    tasks = [
        msgspec.structs.replace(task, id=f"{number}{task.id[1:]}") for number in range(COPIES) for task in simulated
    ]
    return write_report(tasks, tmp_path_factory.mktemp("long") / "report.html", now=NOW)


@pytest.fixture(scope="session")
def short_page(simulated: list[Task], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of forty tasks, some with pictures on the disk."""
    directory = tmp_path_factory.mktemp("short")
    return write_report(add_pictures(simulated[:40], directory, count=PICTURES), directory / "report.html", now=NOW)


@pytest.fixture(scope="session")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of hostile tasks."""
    return write_report(build_hostile_tasks(), tmp_path_factory.mktemp("hostile") / "report.html", now=NOW)
