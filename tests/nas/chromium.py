"""A page in a real browser, headless; tests that need one are skipped, with a reason, where there is none."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_MS = 120_000

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on the PATH (on Debian: apt install chromium)"
)


@contextlib.contextmanager
def opened_page(width: int = 1280, height: int = 800, *, phone: bool = False) -> Iterator[Page]:
    """An empty page of a browser of its own, which ends with it; sizes in CSS pixels."""
    assert CHROMIUM is not None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, timeout=PATIENCE_MS)
        try:
            page = browser.new_page(viewport={"width": width, "height": height}, is_mobile=phone)
            page.set_default_timeout(PATIENCE_MS)
            yield page
        finally:
            browser.close()
