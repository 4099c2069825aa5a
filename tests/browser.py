"""Pages in headless Chromium, for the tests marked `browser`."""

import contextlib
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESK, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 844}


@contextlib.contextmanager
def started():
    """The browser; skips where playwright or Chromium is not installed."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, path, viewport=DESK, scheme="light"):
    """The page; fails if it logs, raises or asks for anything but itself."""
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert [one for one in said if not one.startswith("data:")] == [path.as_uri()]


def fits(page) -> bool:
    """Whether nothing is wider than the window, so that only boxes scroll sideways."""
    width = "document.documentElement.scrollWidth <= innerWidth"
    return page.evaluate(width)
