"""The console in a real browser on a running service: what it shows, who may see it, and how it is used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from api.sessions import COOKIE, CSRF_HEADER
from market.clock import SECOND_NS, format_iso
from tests.console_pages import (
    ADDRESSES,
    DEADLINE_MS,
    KEY,
    build_and_compare,
    chromium,
    follow_a_symbol,
    go_back_in_time,
    grave_findings,
    log_in,
    measure_costs,
)
from tests.running_service import ROOT, Running, running_service


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


@pytest.fixture(scope="module")
def running(kernel_cache: Path) -> Iterator[Running]:
    with running_service(kernel_cache, minutes=3, api_key=KEY) as found:
        yield found


@pytest.fixture
def page(browser: Browser, running: Running) -> Iterator[Page]:
    """A page at the console, logged in; at the end its script has not failed."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=running.url)
    context.set_default_timeout(DEADLINE_MS)
    opened = context.new_page()
    failures: list[str] = []
    opened.on("pageerror", lambda error: failures.append(str(error)))
    log_in(opened)
    yield opened
    context.close()
    assert failures == []


@pytest.fixture(scope="module")
def pictures() -> Path:
    """Where the pages are kept as pictures, to be looked at: build/console."""
    folder = ROOT / "build" / "console"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_the_pages_show_what_the_api_answers(page: Page, running: Running) -> None:
    dataset_id = running.build()
    with running.client() as client:
        follow_a_symbol(page, client)
        catalogue = client.get("/features/list").json()
        page.keyboard.press("Escape")  # out of the search
        page.keyboard.press("2")
        expect(
            page.get_by_role("status").filter(has_text=f"{len(catalogue)} of {len(catalogue)} features")
        ).to_be_visible()
        page.keyboard.press("/")
        page.keyboard.type("vwap_15s")
        expect(page.get_by_role("row").filter(has_text="vwap_15s")).to_have_count(1)
        assert page.url.endswith("#features?q=vwap_15s")
        measure_costs(page, client)

        document = client.get(f"/dataset/{dataset_id}").json()
    page.goto(f"/console#datasets/{dataset_id}")
    expect(page.get_by_label("Manifest")).to_contain_text(document["manifest"]["code"])
    expect(page.get_by_text(f"train {document['train_records']}")).to_be_visible()
    report = page.request.get(f"/dataset/{dataset_id}/report")
    assert (report.status, report.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert report.headers["content-security-policy"].startswith("sandbox")

    go_back_in_time(page, running)
    page.keyboard.press("9")
    expect(page.get_by_role("region", name="Tasks")).to_contain_text("retention")
    expect(page.get_by_role("region", name="Folders")).to_contain_text("tape")
    expect(page.locator(".tile").filter(has_text="message queue")).to_contain_text("not used")
    expect(page.get_by_role("region", name="Reasons")).to_contain_text("queue connected")


def test_a_page_that_asks_nothing_more_is_not_called_old_while_the_service_responds(page: Page) -> None:
    page.clock.install()
    page.goto("/console#features")
    page.reload()  # the timers of a script that is running already are not those of the clock
    expect(page.get_by_role("status").filter(has_text=re.compile(r"\d features"))).to_be_visible()
    shown = page.get_by_text("as of").inner_text()
    page.clock.run_for(20_000)
    expect(page.locator("#trouble")).to_be_hidden()
    expect(page.get_by_text("as of")).to_have_text(shown)
    page.route("**/console/session", lambda route: route.abort())
    page.clock.run_for(20_000)
    expect(page.locator("#trouble")).to_contain_text("No response for")


def test_a_symbol_is_charted_over_its_price_with_its_book_and_trades(page: Page, running: Running) -> None:
    page.goto("/console#live/BTCUSDT")
    page.get_by_role("button", name="spread_abs in the chart").click()
    chart = page.get_by_role("img", name="mid_price, spread_abs, last ten minutes")
    expect(chart.locator("path.line")).to_have_count(2)
    expect(chart.locator("path.line").last).to_have_attribute("d", re.compile(r"^M.*L"))
    expect(chart.locator("rect.gap").first).to_be_attached()  # before the service began
    assert page.url.endswith("#live/BTCUSDT?chart=spread_abs")
    with running.client() as client:
        now = client.get("/features/market", params={"symbol": "BTCUSDT", "depth": 5, "trades": 3}).json()
        assert client.get("/features/market", params={"symbol": "NOBODY"}).status_code == 404
        workers = client.get("/stats/processing").json()["workers"]
    bids, asks = now["book"]["bids"], now["book"]["asks"]
    assert [price for price, _ in bids] == sorted((price for price, _ in bids), reverse=True)
    assert [price for price, _ in asks] == sorted(price for price, _ in asks)
    assert bids[0][0] < asks[0][0]
    assert (len(bids), len(now["trades"])) == (5, 3)
    expect(page.get_by_role("region", name="Order book").locator("tbody tr")).to_have_count(15)
    expect(page.get_by_role("region", name="Trades")).to_contain_text(re.compile("buy|sell"))
    page.goto("/console#live")
    expect(page.get_by_role("region", name="Latency")).to_contain_text(workers[0]["worker_id"])


def test_a_feature_is_studied_in_a_period_with_others_and_another_version_beside_it(
    page: Page, running: Running
) -> None:
    begin, end = (format_iso(running.start_ns + seconds * SECOND_NS) for seconds in (0, 150))
    asked = {"symbol": "BTCUSDT", "from": begin, "to": end, "features": "vwap_3s,mid_price"}
    with running.client() as client:
        found = client.get("/features/study", params=asked).json()
        history = client.get("/features/history", params=asked).json()
        named = {"features": ",".join(f"x{at}" for at in range(9))}
        assert client.get("/features/study", params=asked | named).status_code == 400
        assert client.get("/features/study", params=asked | {"to": begin}).status_code == 400
        assert client.get("/features/study", params=asked | {"symbol": "NOBODY"}).status_code == 404
    vwap = found["features"]["vwap_3s"]
    known = [value for value in history["features"]["vwap_3s"] if value is not None]
    assert (vwap["rows"], vwap["known"]) == (len(history["timestamps"]), len(known))
    assert (vwap["quantiles"][0], vwap["quantiles"][-1]) == (min(known), max(known))
    lacking = {name: sum(counts) for name, counts in vwap["unknown"].items()}
    assert sum(lacking.values()) == 150 - len(known)
    assert lacking["NO_ROW"] == 150 - vwap["rows"]
    page.goto(f"/console#features/vwap_3s?symbol=BTCUSDT&from={begin}&to={end}&with=mid_price&against=1.1.0")
    expect(page.get_by_role("region", name="Correlation").first).to_contain_text(f"{found['correlation'][0][1]:.3f}")
    for version in ("1.0.0", "1.1.0"):
        expect(page.get_by_role("heading", name=f"registry {version}")).to_be_visible()
    for picture in ("Distribution of vwap_3s", "Autocorrelation of vwap_3s", "What is not known of vwap_3s"):
        expect(page.get_by_role("img", name=picture).first).to_be_visible()


def test_a_dataset_is_built_by_the_form_verified_and_compared(page: Page, running: Running) -> None:
    build_and_compare(page, running)


def test_the_form_asks_for_the_threshold_that_it_shows(page: Page) -> None:
    page.goto("/console#datasets/new?target=classification&horizon=5s")
    expect(page.get_by_label("Threshold or barrier, as a return")).to_have_value("0.001")
    with page.expect_request("**/dataset/build") as sent:
        page.get_by_role("button", name="Build", exact=True).click()
    request = sent.value.post_data_json
    assert request is not None
    assert request["target_config"] == {
        "type": "classification",
        "horizon": "5s",
        "threshold": 0.001,
    }
    expect(page).to_have_url(re.compile(r"#datasets/[0-9a-f]{32}$"))  # the build was taken
    page.goto("/console#datasets/new?target=classification&horizon=5s&threshold=0")
    expect(page.get_by_role("alert").filter(has_text="Threshold: must be a return above 0")).to_be_visible()


def test_a_vector_is_in_the_order_of_the_catalogue_with_the_status_of_each_group(page: Page, running: Running) -> None:
    with running.client() as client:
        catalogue = [each["name"] for each in client.get("/features/list").json()]
        now = client.get("/features/latest", params={"symbol": "BTCUSDT"}).json()
    page.goto("/console#live/BTCUSDT")
    expect(page.get_by_role("status").filter(has_text="29 of 29 features")).to_be_visible()
    shown = page.get_by_role("region", name="Vector of BTCUSDT").locator("tbody td.name").all_inner_texts()
    assert shown == [name for name in catalogue if name in {*now["features"], *now["missing"]}]
    for group in now["groups"]:
        expect(page.locator(".badges").filter(has_text=group)).to_be_visible()


@pytest.mark.soak
def test_an_activation_that_breaks_readers_wants_their_acknowledgement(page: Page, running: Running) -> None:
    with running.client() as client:
        active = client.get("/feature-registry").json()["version"]
    page.goto(f"/console#registry?before={active}&after=1.0.0")
    # Both kernels are compiled, to measure what a row of each costs.
    page.get_by_label("Who activates it").wait_for(timeout=5 * DEADLINE_MS)
    page.get_by_label("Who activates it").fill("test")
    page.get_by_label("Why", exact=True).fill("a try")
    page.keyboard.press("Enter")
    acknowledged = page.get_by_label("I know that this breaks readers")
    assert acknowledged.evaluate("box => box.validity.valueMissing") is True
    with running.client() as client:
        assert client.get("/feature-registry/audit").json() == []


def test_the_coverage_calendar_shows_the_certificate_at_an_address(page: Page, running: Running) -> None:
    with running.client() as client:
        found = client.get("/coverage", params={"symbol": "BTCUSDT"}).json()
    page.goto(f"/console#coverage/BTCUSDT?from={found['from']}&to={found['to']}")
    days = page.get_by_role("group", name="Days of klines").locator(".day")
    expect(days).to_have_count(len(found["streams"]["klines"]["days"]))
    expect(days.first).to_have_attribute("aria-label", re.compile(found["streams"]["klines"]["days"][0]["date"]))
    expect(page.get_by_text(f"certified by {found['streams']['trades']['certified_by']}")).to_be_visible()
    expect(page.get_by_role("region", name="Held ranges")).to_contain_text("live")


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), pytest.param(390, "dark", marks=pytest.mark.soak)], ids=["screen", "phone"]
)
def test_no_page_is_wider_than_the_screen_and_its_words_can_be_read(
    browser: Browser, running: Running, pictures: Path, width: int, scheme: str
) -> None:
    is_dark = scheme == "dark"
    with browser.new_context(
        viewport={"width": width, "height": 844}, base_url=running.url, color_scheme="dark" if is_dark else "light"
    ) as context:
        context.set_default_timeout(DEADLINE_MS)
        page = context.new_page()
        log_in(page)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) < 200) == is_dark
        for address in ADDRESSES:
            page.goto(f"/console#{address}")
            expect(page.locator("main h1")).to_be_visible()
            expect(page.locator("main table, main p.muted").first).to_be_visible()
            root = "document.documentElement"
            assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"), address
            expect(page.locator("#pages a[aria-current]"), address).to_be_in_viewport(ratio=0.99)
            assert grave_findings(page) == [], address
            page.screenshot(path=pictures / f"{address.partition('?')[0].replace('/', '-')}-{width}.png")


def test_quality_is_reported_for_a_period_of_an_address(page: Page, running: Running) -> None:
    begin, end = (format_iso(running.start_ns + seconds * SECOND_NS) for seconds in (10, 100))
    with running.client() as client:
        found = client.get("/data-quality/report", params={"symbol": "BTCUSDT", "from": begin, "to": end}).json()
    page.goto(f"/console#quality/BTCUSDT?from={begin}&to={end}")
    expect(page.locator(".tile").filter(has_text="gaps in the order book")).to_contain_text(str(found["sequence_gaps"]))
    expect(page.locator(".tile").filter(has_text="late messages")).to_contain_text(str(found["late_messages"]))
    expect(page.get_by_role("region", name="Streams")).to_contain_text("duplicates")
    for name in found["unchecked"]:
        expect(page.get_by_role("region", name="Not checked")).to_contain_text(name)
    page.get_by_role("link", name="Calendar of stored and missing data").click()
    expect(page.get_by_role("heading", name="Coverage calendar")).to_be_visible()
    page.goto(f"/console#quality/BTCUSDT?from={end}&to={begin}")
    expect(page.get_by_role("alert").filter(has_text="must")).to_be_visible()


def test_a_backfill_is_started_by_the_keyboard_and_its_refusal_is_the_apis(page: Page) -> None:
    page.keyboard.press("8")
    page.get_by_label("Symbol").fill("BTCUSDT")
    page.get_by_label("First day").fill("2999-01-01")
    page.get_by_label("Last day, included").fill("2999-01-01")
    page.keyboard.press("Enter")
    asked = {"symbol": "BTCUSDT", "start_date": "2999-01-01", "end_date": "2999-01-01"}
    token = page.request.get("/console/session").json()["csrf_token"]
    refused = page.request.post("/backfill/historical", data=asked, headers={CSRF_HEADER: token}).json()["message"]
    expect(page.get_by_role("alert").filter(has_text=refused)).to_be_visible()
    assert page.url.endswith("#backfill/BTCUSDT?from=2999-01-01&to=2999-01-01")


def test_a_session_is_a_cookie_that_scripts_cannot_read_and_changes_need_its_token(page: Page) -> None:
    [cookie] = [each for each in page.context.cookies() if each.get("name") == COOKIE]
    assert (cookie.get("httpOnly"), cookie.get("sameSite"), cookie.get("path")) == (True, "Strict", "/")
    assert page.evaluate("document.cookie") == ""
    assert page.request.get("/dataset/list").status == 200
    asked = {"symbol": "BTCUSDT"}
    refused = page.request.post("/cache/invalidate", data=asked)
    assert (refused.status, refused.json()["error"]) == (403, "Forbidden")
    token = page.request.get("/console/session").json()["csrf_token"]
    wrong = page.request.post("/cache/invalidate", data=asked, headers={CSRF_HEADER: token[:-1] + "x"})
    assert wrong.status == 403
    assert page.request.post("/cache/invalidate", data=asked, headers={CSRF_HEADER: token}).status == 200
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Key of the service")).to_be_visible()
    assert page.request.get("/dataset/list").status == 401


def test_what_is_shown_is_said_to_be_old_when_the_service_does_not_answer(page: Page) -> None:
    page.context.set_offline(True)
    expect(page.get_by_role("alert").filter(has_text="the data shown is old")).to_be_visible()
    expect(page.locator("main")).to_have_class("old")
    page.context.set_offline(False)
    expect(page.get_by_role("alert").filter(has_text="the data shown is old")).to_be_hidden()
