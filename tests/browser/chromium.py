"""Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Chromium without a window.

    Yields:
        The browser.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise FileNotFoundError("chromium is not installed: apt-get update && apt-get install -y chromium")
    # Its sandbox does not work for root, as in a container; the pages are the tests' own.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()
