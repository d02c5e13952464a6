"""Test the page of lab 9 in a real browser."""

import re
from pathlib import Path

from playwright.sync_api import Page, Route, expect

from browser import browser, page  # noqa: F401  (fixtures)
from test_orders import Shop, shop  # noqa: F401

LATE = 30_000  # milliseconds
HOSTILE = "<img src=x onerror=document.title='gone'>"


def order(tab: Page, name: str, products: str) -> None:
    """Place an order using the keyboard only."""
    tab.get_by_label("Name").focus()
    tab.keyboard.press("Control+A")
    tab.keyboard.type(name)
    tab.keyboard.press("Tab")
    tab.keyboard.press("Control+A")
    tab.keyboard.type(products)
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")


def test_the_page_shows_steps_as_they_are_done(
    page: Page,  # noqa: F811
    shop: Shop,  # noqa: F811
    tmp_path: Path,
) -> None:
    expect.set_options(timeout=LATE)
    api, client = shop.api()
    port = client.base_url.port
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(str(client.base_url))
    expect(page.get_by_text("No printer is running.", exact=True)).to_be_visible()
    expect(page.get_by_text("None yet.")).to_be_visible()

    # Each error is shown at its field.
    order(page, "  ", "2, x")
    name, products = page.get_by_label("Name"), page.get_by_label("Products")
    expect(name).to_be_focused()
    expect(name).to_have_accessible_description("a name is needed")
    expect(products).to_have_accessible_description(
        re.compile("^x: Input should be a valid integer")
    )
    expect(page.locator(".order")).to_have_count(0)

    order(page, HOSTILE, "2, 4, 42")
    expect(page.get_by_text(re.compile(r"Order 1 is stored, after \d+ ms."))).to_be_visible()
    expect(name).not_to_have_attribute("aria-invalid", "true")
    expect(name).to_have_value("")
    expect(page.get_by_text("None yet.")).to_be_hidden()
    first = page.locator(".order").first
    expect(first.get_by_role("heading")).to_have_text(f"1: {HOSTILE}, products 2, 4, 42")
    steps = first.get_by_role("listitem")
    expect(steps).to_have_text(["○ printed: waiting", "○ booked: waiting", "○ counted: waiting"])
    expect(page.get_by_text("No relay is running; 1 order waits in the outbox.")).to_be_visible()

    # The services start one after another; nobody touches the page.
    shop.relay()
    shop.service("marketing")
    expect(steps.nth(2)).to_have_text("✓ counted")
    shop.service("booking")  # and no ERP
    expect(steps.nth(1)).to_have_text("✕ booked: parked, the ERP does not answer")
    shop.service("printer")
    expect(steps.nth(0)).to_have_text("✓ printed")
    expect(page.locator("#trouble p")).to_have_count(0)

    # The API goes away and comes back; the page misses nothing.
    api.kill()
    expect(page.get_by_text("The shop does not answer; trying again.")).to_be_visible()
    api, client = shop.api("--http-port", port)
    order(page, "Ada", "7")
    expect(page.locator(".order")).to_have_count(2)
    expect(page.locator(".order").first.get_by_text("✓ counted")).to_be_visible()
    expect(page.locator("#trouble p")).to_have_count(0)

    # The answer gets lost: sending the order again does not make a second order.
    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/orders", lose, times=1)
    order(page, "Bob", "7")
    expect(page.get_by_text("The shop does not answer. Order again")).to_be_visible()
    page.get_by_role("button").click()
    expect(page.get_by_text("Order 3 is stored")).to_be_visible()
    page.get_by_label("Name").fill("Eve")
    page.get_by_label("Products").fill("8")
    page.get_by_role("button").dblclick()
    expect(page.get_by_text("Order 4 is stored")).to_be_visible()
    expect(page.locator(".order")).to_have_count(4)

    page.screenshot(path=tmp_path / "wide.png")
    page.set_viewport_size({"width": 390, "height": 844})
    page.screenshot(path=tmp_path / "narrow.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert (page.title(), problems) == ("Orders", [])
