"""What tests do on the console's pages: log in, go back in time, follow a symbol, build, look for grave findings."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from market.clock import SECOND_NS, format_iso
from tests.conftest import not_installed
from tests.running_service import Running

KEY = "console-key"
DEADLINE_MS = 60_000
SPLITS = ("train", "validation", "test")
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


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium as the system has it: nothing is downloaded."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        not_installed("chromium")
    expect.set_options(timeout=DEADLINE_MS)
    with sync_playwright() as playwright:
        # Root has no sandbox; it shows nothing but our own page.
        launched = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield launched
        launched.close()


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


def measure_costs(page: Page, client: httpx.Client) -> None:
    """What each feature costs: nothing until it is measured, then the API's figure in its row, or why there is none."""
    assert client.get("/features/costs").json()["features"] is None
    row = page.get_by_role("row").filter(has_text="vwap_15s")
    expect(row.locator("td").nth(5)).to_have_text("–")
    page.get_by_role("button", name="Measure costs").click()
    expect(page.get_by_role("status").filter(has_text="measured on")).to_contain_text("BTCUSDT")
    found = client.get("/features/costs").json()
    now = client.get("/features/latest", params={"symbol": "BTCUSDT"}).json()
    assert set(found["features"]) == {*now["features"], *now["missing"]}
    cost = found["features"]["vwap_15s"]
    if cost["row_us"] is None:  # for the first fifteen seconds after the start
        expect(row.locator("td").nth(5)).to_have_text(cost["reason"])
    else:
        expect(row.locator("td").nth(5).locator("span")).to_have_attribute("title", str(cost["row_us"]))
    assert any(0 < (each["row_us"] or 0) < 1000 for each in found["features"].values())
    assert all((each["row_us"] is None) != (each["reason"] is None) for each in found["features"].values())


def build_and_compare(page: Page, running: Running) -> None:
    """A dataset by the form: refused until it can be, then built, verified before and after a change, compared."""
    first = running.build()
    begin, end = (format_iso(running.start_ns + seconds * SECOND_NS) for seconds in (10, 150))
    page.goto("/console#datasets/new")
    expect(page.get_by_role("status").filter(has_text="Held of BTCUSDT")).to_be_visible()
    page.get_by_label("From, UTC").fill(end)
    page.get_by_label("To, UTC").fill(begin)
    expect(page.get_by_role("alert").filter(has_text="must be after from")).to_be_visible()
    page.get_by_label("From, UTC").fill(begin)
    page.get_by_label("To, UTC").fill(end)
    page.get_by_label("Horizon, as 30s, 5m").fill("5s")
    page.get_by_label("Embargo, as 1m").fill("2s")
    page.get_by_label("Horizon, as 30s, 5m").fill("60s")  # 70 % of 140 s are more than that, 15 % are less
    expect(page.get_by_role("alert").filter(has_text="Validation: nothing is left of it after purge")).to_be_visible()
    expect(page.get_by_role("button", name="Build", exact=True)).to_be_disabled()
    page.get_by_label("Horizon, as 30s, 5m").fill("5s")
    line = page.get_by_role("img", name="Splits on the time line")
    for kind, count in (("train", 1), ("validation", 1), ("test", 1), ("purge", 2), ("embargo", 2)):
        expect(line.locator(f"rect.{kind}")).to_have_count(count)
    assert "horizon=5s" in page.url
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Verify").click()
    expect(page.get_by_role("status").filter(has_text="files are as they were built")).to_be_visible()
    second = page.url.rpartition("/")[2]
    for kind, count in (("train", 1), ("validation", 1), ("test", 1), ("purge", 2), ("embargo", 2)):
        expect(line.locator(f"rect.{kind}")).to_have_count(count)
    splits = page.get_by_role("region", name="Splits")
    with running.client() as client:
        for name, split in zip(SPLITS, client.get(f"/dataset/{second}").json()["manifest"]["splits"], strict=True):
            counted = [f"{split[count]:,}" for count in ("records", "purged", "embargoed")]
            assert splits.get_by_role("row").filter(has_text=name).locator("td.number").all_inner_texts() == counted
        built = client.get(f"/dataset/{second}").json()
        assert (built["embargo_seconds"], built["targets"][0]["horizon_seconds"]) == (2, 5)
        assert client.get(f"/dataset/{second}/verification").json()["is_intact"] is True
        files = [path for path in (running.folder / "datasets" / second).iterdir() if path.suffix == ".parquet"]
        files[0].write_bytes(files[0].read_bytes() + b"x")
        changed = client.get(f"/dataset/{second}/verification").json()
    assert (changed["is_intact"], changed["files"][files[0].name]) == (False, "changed")
    page.get_by_role("button", name="Verify").click()
    expect(page.get_by_role("status").filter(has_text=f"{files[0].name}: changed")).to_be_visible()
    page.goto("/console#datasets")
    for dataset_id in (first, second):
        page.get_by_label(f"Compare {dataset_id}").check()
    page.get_by_role("button", name="Compare the two chosen").click()
    expect(page.get_by_role("region", name="Different")).to_contain_text("embargo_seconds")
    expect(page.get_by_role("region", name="The same")).to_contain_text("sample_interval_seconds")


def grave_findings(page: Page) -> list[str]:
    """What axe-core calls serious or critical of the page as it is shown: the rule, and where."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {[node['html'] for node in each['nodes']][:3]}"
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]
