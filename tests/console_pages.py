"""What tests do on the console's pages: log in, go back in time, follow a symbol, look for grave findings."""

from __future__ import annotations

import re

import httpx
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from market.clock import SECOND_NS, format_iso
from tests.running_service import Running

KEY = "console-key"
DEADLINE_MS = 60_000
ADDRESSES = (
    "live",
    "live/BTCUSDT?chart=spread_abs",
    "features?q=vwap",
    "features/vwap_3s?with=mid_price&against=1.1.0",
    "datasets",
    "datasets/new",
    "upkeep",
    "past",
    "coverage",
    "quality",
    "backfill",
    "registry?before=1.0.0&after=2.0.0",
)
"""What stands after ``/console#``: every page, some of them with something chosen."""


def log_in(page: Page) -> None:
    page.goto("/console")
    page.get_by_label("Key of the service").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="must be the service's key")).to_be_visible()
    page.get_by_label("Key of the service").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="BTCUSDT")).to_be_visible()


def go_back_in_time(page: Page, running: Running) -> None:
    """A moment of raw Parquet by its address: the row that the history has, the book, the messages behind a value."""
    at = format_iso(running.start_ns + 100 * SECOND_NS)
    asked = {"symbol": "BTCUSDT", "at": at, "feature": "vwap_3s"}
    with running.client() as client:
        found = client.get("/features/moment", params=asked).json()
        served = client.get(
            "/features/history",
            params={"symbol": "BTCUSDT", "from": at, "to": format_iso(running.start_ns + 101 * SECOND_NS)},
        ).json()
        known = {name: values[0] for name, values in served["features"].items() if values[0] is not None}
        assert found["features"] == known
        assert found["book"]["bids"][0][0] < found["features"]["mid_price"] < found["book"]["asks"][0][0]
        kinds = {message["kind"] for message in found["depends_on"]["messages"]}
        assert kinds <= {"trade", "control start", "control gap"}
        assert found["depends_on"]["count"] == len(found["depends_on"]["messages"]) > 0
        late = client.get("/features/moment", params=asked | {"at": "2099-01-01T00:00:00Z"})
        assert (late.status_code, late.json()["error"]) == (400, "InvalidRequest")
        unknown = client.get("/features/moment", params=asked | {"feature": "no"})
        assert (unknown.status_code, unknown.json()["message"][:28]) == (400, "feature: must be one of regi")
    page.goto(f"/console#past/BTCUSDT?at={at}&feature=vwap_3s")
    expect(
        page.get_by_role("heading", name=f"vwap_3s depends on {found['depends_on']['count']} messages")
    ).to_be_visible()
    expect(page.get_by_role("region", name="Messages")).to_contain_text(str(found["depends_on"]["messages"][-1]["seq"]))
    page.get_by_role("button", name="spread_abs", exact=True).click()
    expect(page.get_by_role("heading", name="spread_abs depends on")).to_be_visible()
    assert "feature=spread_abs" in page.url


def follow_a_symbol(page: Page, client: httpx.Client) -> None:
    """By the keyboard alone: the symbol, a search, values that are the API's, and a line of the last minutes."""
    page.get_by_role("link", name="BTCUSDT").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="29 of 29 features")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("mid_price")
    row = page.locator("tr:visible").filter(has_text="mid_price")
    expect(row.locator("svg path")).to_have_attribute("d", re.compile(r"^M.*L"))
    value = row.locator("td").nth(1)
    whole = float(str(value.get_attribute("title")))
    now = client.get("/features/latest", params={"symbol": "BTCUSDT"}).json()
    asked = {"symbol": "BTCUSDT", "features": "mid_price", "from": now["timestamp"][:10], "to": now["timestamp"]}
    assert abs(whole / now["features"]["mid_price"] - 1) < 0.01
    assert client.get("/features/history", params=asked).status_code == 200
    first = value.get_attribute("title")
    page.get_by_label("Search a feature").fill("")
    expect(page.get_by_role("region", name="Vector of BTCUSDT").locator("tbody tr:visible")).to_have_count(29)
    assert page.url.endswith("#live/BTCUSDT")
    expect(value).not_to_have_attribute("title", str(first))
    for name, reason in now["missing"].items():
        cell = page.locator("tr").filter(has=page.get_by_role("link", name=name, exact=True)).locator("td").nth(1)
        expect(cell).to_contain_text(re.compile(rf"{reason}|\d"))


def grave_findings(page: Page) -> list[str]:
    """What axe-core calls serious or critical of the page as it is shown: the rule, and where."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {[node['html'] for node in each['nodes']][:3]}"
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]
