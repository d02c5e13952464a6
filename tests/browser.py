"""A headless Chromium for the tests of pages: an installed one, or else Debian's."""

import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from kit.broker.debian import PROVIDED, unpack

INSTALLED = "chromium", "chromium-headless-shell", "google-chrome", "google-chrome-stable"
# Chromium's scripts for a desktop need these, and with them half of X11 and Mesa.
DESKTOP = "x11-utils", "xdg-utils"
UNPACKED = Path(__file__).parents[1] / ".broker" / "unpacked" / "chromium"


def chromium() -> tuple[Path, list[str]]:
    """Return a Chromium and the options that it needs. Raises kit.cli.Trouble."""
    # Chromium has no sandbox for root; the tests open their own pages only.
    options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    for name in INSTALLED:
        if program := shutil.which(name):
            return Path(program), options
    # On other systems with apt (Ubuntu), that package only installs from their store.
    suite = None if platform.freedesktop_os_release()["ID"] == "debian" else "trixie"
    packages = ["chromium-headless-shell", "fonts-dejavu-core"]
    tree = unpack(packages, UNPACKED, suite=suite, provided=[*PROVIDED, *DESKTOP])
    program = tree / "usr/lib/chromium/chromium-headless-shell"
    # Unless told otherwise, it starts its other processes by the name of its loader.
    return program, [*options, "--no-zygote", f"--browser-subprocess-path={program}"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return a browser that all tests of a worker share."""
    program, options = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Return an empty page, without cookies or storage of another test."""
    context = browser.new_context()
    context.set_default_timeout(20_000)  # milliseconds
    yield context.new_page()
    context.close()
