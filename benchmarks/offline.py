"""Offline: raw Parquet to every feature of 2.0.0 on one core, whole and with one feature group at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sortedcontainers import SortedDict

from benchmarks.measure import KERNEL_CACHE, Figure, in_child, median_seconds, peak_rss_mb, use_one_core
from benchmarks.tape import INSTRUMENT, START_NS, SYMBOL, hour_of_tape, level_updates, raw_tape
from feature_repo.registry_versions import load_registry_version
from market.clock import DAY_NS, HOUR_NS, SECOND_NS
from market.events import BID, FIRST, KIND_COUNT, ORDERBOOK, SNAPSHOT, Events
from storage.raw.events import read_events, stream_events
from storage.raw.raw_data import RawData
from training_sets.rebuild.rebuild import stream_rows
from transforms.catalogue import feature_set
from transforms.engine import Engine
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureSet

VERSION: Final = "2.0.0"
GROUP_HOURS: Final = 4
BUSY_UPDATES_A_SECOND: Final = 500
_SLICE_RECORDS: Final = 300_000
_EVERY_KIND: Final = range(KIND_COUNT)
_END_NS: Final = START_NS + 1000 * DAY_NS


@dataclass(frozen=True, slots=True)
class _Whole:
    """Median seconds of the whole way and of its parts, and what was measured on."""

    levels: int
    rows: int
    rebuild_s: float
    read_s: float
    stream_s: float
    feed_s: float
    advance_s: float
    silent_row_s: float
    plain_book_s_an_update: float
    peak_mb: float
    peak_before_mb: float


def run(folder: Path) -> Iterator[Figure]:
    whole = in_child(_measure_whole, raw_tape(folder))
    update_s = (whole.rebuild_s - whole.rows * whole.silent_row_s) / whole.levels
    month_s = 30 * DAY_NS / SECOND_NS * (whole.silent_row_s + BUSY_UPDATES_A_SECOND * update_s)
    yield Figure(
        "offline: raw Parquet to all features",
        whole.levels / whole.rebuild_s / 1e6,
        "M level updates/s",
        "higher",
        yardstick="a SortedDict book, no features",
        yardstick_value=1e-6 / whole.plain_book_s_an_update,
        goal=">= 10",
        details={
            "levels": whole.levels,
            "rows": whole.rows,
            "read_s": whole.read_s,
            "feed_s": whole.feed_s,
            "advance_s": whole.advance_s,
            "compute_m_updates_s": whole.levels / (whole.feed_s + whole.advance_s) / 1e6,
            "row_us": whole.silent_row_s * 1e6,
            "peak_rss_mb": whole.peak_mb,
            "peak_rss_before_mb": whole.peak_before_mb,
        },
    )
    yield Figure(
        "offline: reading raw Parquet",
        whole.levels / whole.read_s / 1e6,
        "M level updates/s",
        "higher",
        yardstick="the same in pieces, memory reused",
        yardstick_value=whole.levels / whole.stream_s / 1e6,
    )
    yield Figure(
        f"offline: a month at {BUSY_UPDATES_A_SECOND} updates/s, extrapolated",
        month_s / 60,
        "min",
        "lower",
        goal="< 5",
        required="120",
    )
    yield from in_child(_measure_groups)


def whole_catalogue() -> FeatureSet:
    return load_registry_version(VERSION).feature_set


def _measure_whole(raw: Path) -> _Whole:
    use_one_core()
    kernel = compile_kernel(whole_catalogue(), KERNEL_CACHE)
    kernel.warm_up()
    end_ns = START_NS // SECOND_NS * SECOND_NS

    def rebuild() -> int:
        """As a rebuild of days does: rows come in pieces, which go to a file."""
        nonlocal end_ns
        count = 0
        for rows in stream_rows(RawData(raw), SYMBOL, kernel):
            count += len(rows)
            end_ns = int(rows.row_ns[-1]) if len(rows) else end_ns
        return count

    peak_before_mb = peak_rss_mb()
    count = rebuild()
    peak_mb = peak_rss_mb()
    plain = _plain_book(hour_of_tape(0)[:_SLICE_RECORDS])
    rebuild_s, plain_s = median_seconds(rebuild, plain)
    read_s, stream_s = median_seconds(
        lambda: read_events(RawData(raw), SYMBOL, kinds=_EVERY_KIND, from_ns=START_NS, to_ns=_END_NS),
        lambda: [None for _ in stream_events(RawData(raw), SYMBOL, kinds=_EVERY_KIND, from_ns=START_NS, to_ns=_END_NS)],
    )
    events = read_events(RawData(raw), SYMBOL, kinds=_EVERY_KIND, from_ns=START_NS, to_ns=_END_NS)
    engine = Engine(kernel, INSTRUMENT, start_ns=START_NS)

    def feed() -> None:
        nonlocal engine
        engine = Engine(kernel, INSTRUMENT, start_ns=START_NS)
        engine.feed(events)

    feed_s, advance_s = median_seconds(feed, lambda: engine.advance(end_ns))
    silent_until_ns = end_ns

    def stay_silent() -> None:
        nonlocal silent_until_ns
        silent_until_ns += HOUR_NS
        engine.advance(silent_until_ns)

    (silent_s,) = median_seconds(stay_silent)
    return _Whole(
        levels=level_updates(events),
        rows=count,
        rebuild_s=rebuild_s,
        read_s=read_s,
        stream_s=stream_s,
        feed_s=feed_s,
        advance_s=advance_s,
        silent_row_s=silent_s / (HOUR_NS / SECOND_NS),
        plain_book_s_an_update=plain_s / level_updates(hour_of_tape(0)[:_SLICE_RECORDS]),
        peak_mb=peak_mb,
        peak_before_mb=peak_before_mb,
    )


def _measure_groups() -> list[Figure]:
    """Each group's kernel on the same events; the smallest, ``temporal``, reads nothing and is the yardstick."""
    use_one_core()
    whole = whole_catalogue()
    hours = [hour_of_tape(number) for number in range(GROUP_HOURS)]
    levels = sum(map(level_updates, hours))
    kernels = {group.name: compile_kernel(feature_set(VERSION, group.columns), KERNEL_CACHE) for group in whole.groups}

    def compute(kernel: Kernel) -> Callable[[], None]:
        def over_all_hours() -> None:
            engine = Engine(kernel, INSTRUMENT, start_ns=START_NS)
            for number, hour in enumerate(hours):
                engine.feed(hour)
                engine.advance(START_NS + (number + 1) * HOUR_NS)

        return over_all_hours

    times = dict(zip(kernels, median_seconds(*map(compute, kernels.values())), strict=True))
    bare_s = times["temporal"]
    rows = GROUP_HOURS * HOUR_NS // SECOND_NS
    return [
        Figure(
            f"offline: {name} alone, no reading",
            levels / times[name] / 1e6,
            "M level updates/s",
            "higher",
            yardstick="temporal alone",
            yardstick_value=levels / bare_s / 1e6,
            details={"row_us_above_yardstick": (times[name] - bare_s) / rows * 1e6},
        )
        for name in kernels
    ]


def _plain_book(events: Events) -> Callable[[], None]:
    """The level updates of the events on a book of two SortedDicts."""
    book = events[events["kind"] == ORDERBOOK]
    updates = list(
        zip(
            ((book["flags"] & (FIRST | SNAPSHOT)) == (FIRST | SNAPSHOT)).tolist(),
            (book["field"] == BID).tolist(),
            book["px"].tolist(),
            book["qty"].tolist(),
            strict=True,
        )
    )

    def update() -> None:
        bids, asks = SortedDict(), SortedDict()
        for begins, is_bid, px, qty in updates:
            if begins:
                bids.clear()
                asks.clear()
            side = bids if is_bid else asks
            if qty:
                side[px] = qty
            else:
                side.pop(px, None)

    return update
