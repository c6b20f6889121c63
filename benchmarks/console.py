"""Console: its pages in Chromium on 50 live symbols, a day of a feature's history, and the time machine."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import httpx
import numpy as np

from benchmarks.console_service import (
    BEGIN_NS,
    HOURS,
    LIVE,
    WRITTEN,
    Process,
    built_dataset,
    running,
    until,
    written_rows,
)
from benchmarks.days import write_and_rebuild
from benchmarks.measure import Figure, in_child, median_seconds, percentile, seconds
from benchmarks.offline import whole_catalogue
from benchmarks.tape import SYMBOL
from market.clock import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, format_iso
from runtime.servers import running_servers
from runtime.settings import load_settings
from storage.features.group_rows import AskedRows, read_group
from storage.features.log import FeatureLog
from storage.raw.events import read_events
from storage.raw.raw_data import RawData
from tests.processor_time import processor_s
from training_sets.checks.coverage import symbol_coverage
from training_sets.samples.book_parts import KnownBookParts
from training_sets.samples.kline_days import KlineHistory
from transforms.catalogue import FEATURES, set_kinds

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LIVE_S: Final = int(os.environ.get("FEATURE_SERVICE_BENCH_CONSOLE_S", "60"))
DRAWS: Final = 40
LOADS: Final = 20
_CHARTED: Final = f"live/{LIVE}?chart=spread_abs"
_LOAD_GOAL: Final = "<= 1000"
_DEADLINE_MS: Final = 60_000
_SEEN: Final = """() => {
  const seen = window.seen = new Set();
  const look = () => document.querySelectorAll('[aria-label="Symbols"] tbody tr').forEach((row) => {
    const cells = row.querySelectorAll('td');
    if (cells[0].innerText.trim() === '%s') seen.add(cells[1].innerText.trim());
  });
  const all = { childList: true, subtree: true, characterData: true };
  new MutationObserver(look).observe(document.querySelector('main'), all);
}"""


def run(folder: Path) -> Iterator[Figure]:
    data = folder / "console"
    in_child(write_and_rebuild, data, HOURS)
    yield from in_child(_measure, data)


def _measure(data: Path) -> list[Figure]:
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        raise RuntimeError("chromium: must be installed to measure the console, was not found")
    with ExitStack() as stack:
        api = stack.enter_context(running(data, "api,jobs", (*WRITTEN, LIVE)))
        client = stack.enter_context(httpx.Client(base_url=api.url, timeout=120))
        stack.enter_context(running(data, "ingest", (LIVE,)))
        settings = load_settings({"FEATURE_SERVICE_DATA_PATH": str(data)}, env_file=None)
        stack.enter_context(written_rows(stack.enter_context(running_servers(settings))))
        until(lambda: client.get("/features/market", params={"symbol": LIVE}).status_code == 200)
        dataset_id = built_dataset(client)
        figures = [*_history(client, data), *_moments(client, data), _certificate(data)]
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        figures += [*_loads(browser, api, dataset_id), *_live(browser, api)]
        browser.close()
    return figures


def _pages(dataset_id: str) -> dict[str, str]:
    """By what stands after ``/console#`` what is there once a page shows its data."""
    begin, end = format_iso(BEGIN_NS), format_iso(BEGIN_NS + HOURS * HOUR_NS)
    day = f"from={begin}&to={end}"
    at = format_iso(BEGIN_NS + HOURS * HOUR_NS // 2)
    return {
        "live": "[aria-label='Symbols'] tbody tr",
        _CHARTED: f"main:has([aria-label='Order book'] tbody tr) [aria-label='Vector of {LIVE}'] tbody tr",
        "features": "[aria-label='Features'] tbody tr",
        f"features/vwap_3s?symbol={SYMBOL}&{day}&with=mid_price": "[aria-label='Distribution of vwap_3s']",
        f"past/{SYMBOL}?at={at}&feature=vwap_3s": "[aria-label='Messages'] tbody tr",
        "datasets": "[aria-label='Datasets'] tbody tr",
        f"datasets/new?symbol={SYMBOL}&{day}": "[aria-label='Splits on the time line']",
        f"datasets/{dataset_id}": "[aria-label='Splits on the time line']",
        "registry": "[aria-label='Versions'] tbody tr",
        f"coverage/{SYMBOL}?{day}": "[aria-label='Days of trades'] .day",
        "quality": "main form",
        "backfill": "main h2",
        "upkeep": "[aria-label='Folders'] tbody tr",
    }


def _loads(browser: Browser, api: Process, dataset_id: str) -> Iterator[Figure]:
    """Each page in a browser context of its own, with nothing cached by it, one after the other, so often."""
    pages = _pages(dataset_id)
    _load(browser, f"{api.url}/console#live", pages["live"])
    empty: list[float] = []
    times: dict[str, list[float]] = {address: [] for address in pages}
    for _ in range(LOADS):
        empty.append(_load(browser, f"{api.url}/console/assets/icon.svg", "svg"))
        for address, shown in pages.items():
            times[address].append(_load(browser, f"{api.url}/console#{address}", shown))
    for address, found in times.items():
        name = address.partition("?")[0].replace(dataset_id, "<id>")
        yield Figure(
            f"console: page {name} shows its data",
            median(found) * 1e3,
            "ms",
            "lower",
            yardstick="a picture from the same server in the same browser",
            yardstick_value=median(empty) * 1e3,
            goal=_LOAD_GOAL,
            details={"p95_ms": percentile(found, 95) * 1e3, "first_ms": found[0] * 1e3},
        )


def _load(browser: Browser, url: str, shown: str) -> float:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.goto(url, wait_until="commit")
        page.wait_for_selector(shown, timeout=_DEADLINE_MS)
        return float(page.evaluate("performance.now()")) / 1e3


def _live(browser: Browser, api: Process) -> Iterator[Figure]:
    """Processor seconds a second of the browser and of the API, with a page open and without."""
    chromium = _chromium(os.getpid())
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.goto("about:blank")
        idle = _shares(api, chromium, page, LIVE_S / 3)
        for address, what in (("live", "Live with 50 symbols"), (_CHARTED, "one symbol, charted")):
            page.goto("about:blank")
            page.goto(f"{api.url}/console#{address}", wait_until="commit")
            page.wait_for_selector(_pages("")[address], timeout=_DEADLINE_MS)
            page.wait_for_timeout(3000)
            details: dict[str, Any] = {"seconds": LIVE_S}
            if address == "live":
                page.evaluate(_SEEN % WRITTEN[-1])
            open_ = _shares(api, chromium, page, LIVE_S)
            if address == "live":
                seen = sorted(int(text.replace(",", "")) for text in page.evaluate("[...window.seen]"))
                details |= {"updates_seen": len(seen), "updates_dropped": seen[-1] - seen[0] + 1 - len(seen)}
            for at, who in enumerate(("browser", "API")):
                yield Figure(
                    f"console: {what}, a core's share of the {who}",
                    100 * open_[at],
                    "%",
                    "lower",
                    yardstick="without the page",
                    yardstick_value=100 * idle[at],
                    goal="-",
                    details=details,
                )


def _shares(api: Process, chromium: int, page: Page, duration_s: float) -> list[float]:
    """Of the browser and of the API, each with its children."""
    before, begun_s = [processor_s(chromium), processor_s(api.process_id)], time.monotonic()
    page.wait_for_timeout(duration_s * 1000)
    after, took_s = [processor_s(chromium), processor_s(api.process_id)], time.monotonic() - begun_s
    return [(end - begin) / took_s for begin, end in zip(before, after, strict=True)]


def _chromium(ancestor: int) -> int:
    """The browser's first process below this one."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (path / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        parents[int(path.name)] = int(rest.split()[1]), name
    for process_id, (parent, name) in sorted(parents.items()):
        if not name.startswith("chrom") or parents[parent][1].startswith("chrom"):
            continue
        above = parent
        while above not in {0, ancestor}:
            above = parents[above][0]
        if above == ancestor:
            return process_id
    raise RuntimeError("chromium: its process must be below this one, was not found")


def _history(client: httpx.Client, data: Path) -> Iterator[Figure]:
    """GET /features/study of the day, a feature after the other of all groups, against reading their columns."""
    chosen = whole_catalogue()
    begin_ns, end_ns = BEGIN_NS, BEGIN_NS + DAY_NS
    log = FeatureLog(data / "features")
    asked_rows = AskedRows(from_ns=begin_ns, to_ns=end_ns)
    names = [name for name in chosen.columns if name in FEATURES][:: max(1, len(chosen.columns) // DRAWS)][:DRAWS]
    groups = {name: group for group in chosen.groups for name in group.columns}
    asked, read = [], []
    for name in [*names[:2], *names]:  # the first two warm up
        query = {"symbol": SYMBOL, "from": format_iso(begin_ns), "to": format_iso(end_ns), "features": name}
        asked.append(seconds(partial(_answer, client, "/features/study", query)))
        group = groups[name]
        read.append(seconds(partial(read_group, log.of_symbol(group, SYMBOL), group, SYMBOL, asked_rows)))
    yield from _answers(
        "a day of one feature's history",
        asked[2:],
        "reading its group's day from the feature log",
        read[2:],
        {"features": len(names), "rows": HOURS * 3600},
    )


def _moments(client: httpx.Client, data: Path) -> Iterator[Figure]:
    """GET /features/moment at random seconds of the day, each with the messages of a feature, against reading them."""
    rng, chosen = np.random.default_rng(0), whole_catalogue()
    names = [name for name in chosen.columns if name in FEATURES]
    raw = RawData(data / "raw")
    asked, read = [], []
    for _ in range(DRAWS + 2):
        at_ns = BEGIN_NS + int(rng.integers(60, HOURS * 3600)) * SECOND_NS
        query = {"symbol": SYMBOL, "at": format_iso(at_ns), "feature": names[int(rng.integers(len(names)))]}
        asked.append(seconds(partial(_answer, client, "/features/moment", query)))
        period = {"from_ns": at_ns - 10 * MINUTE_NS, "to_ns": at_ns}
        read.append(seconds(partial(read_events, raw, SYMBOL, kinds=set_kinds(chosen), **period)))
    yield from _answers(
        "a moment of the past from raw Parquet",
        asked[2:],
        "reading ten minutes of all events",
        read[2:],
        {"draws": DRAWS, "slowest_ms": max(asked[2:]) * 1e3},
    )


def _answers(
    what: str, asked_s: Sequence[float], yardstick: str, read_s: Sequence[float], details: Mapping[str, Any]
) -> Iterator[Figure]:
    """p50 and p95 of answers of the API against those of reading what they are made of."""
    for percent in (50, 95):
        yield Figure(
            f"console: {what}, p{percent}",
            percentile(asked_s, percent) * 1e3,
            "ms",
            "lower",
            yardstick=f"{yardstick}, p{percent}",
            yardstick_value=percentile(read_s, percent) * 1e3,
            goal="<= 300",
            details=details,
        )


def _certificate(data: Path) -> Figure:
    """The coverage certificate of the day: its files read, and again where what they say is known."""
    raw, chosen, period = RawData(data / "raw"), whole_catalogue(), (BEGIN_NS, BEGIN_NS + HOURS * HOUR_NS)
    history, books = KlineHistory(raw), KnownBookParts()
    first, again = median_seconds(
        lambda: symbol_coverage(KlineHistory(raw), SYMBOL, chosen, period),
        lambda: symbol_coverage(history, SYMBOL, chosen, period, books=books),
    )
    return Figure(
        "console: the coverage certificate of a day, nothing of it read before",
        first * 1e3,
        "ms",
        "lower",
        yardstick="again, with what was kept of its parts",
        yardstick_value=again * 1e3,
        goal=_LOAD_GOAL,
        details={"hours": HOURS},
    )


def _answer(client: httpx.Client, path: str, query: Mapping[str, str]) -> dict[str, Any]:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found
