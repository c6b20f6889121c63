"""Growth: the cost of one more of anything, at full size against a quarter of it, and after 10,000 calls."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.as_of_join import LARGE, QUARTER, entity_rows, feature_log, joining_with_feast
from benchmarks.feast_rows import OURS
from benchmarks.measure import KERNEL_CACHE, REPEATS, Figure, in_child, median_seconds, use_one_core
from benchmarks.offline import whole_catalogue
from benchmarks.online import silent_rows
from benchmarks.tape import HOURS, INSTRUMENT, START_NS, SYMBOL, raw_tape, tape_with_history
from market.clock import HOUR_NS
from storage.raw.raw_data import RawData
from training_sets.rebuild.rebuild import rebuild_rows
from transforms.engine import Engine
from transforms.kernel import compile_kernel
from transforms.rows import FeatureRows

_CALLS: Final = 10_000
_THOUSAND: Final = 1_000


def run(folder: Path) -> Iterator[Figure]:
    yield in_child(_rebuild_cost, raw_tape(folder))
    yield in_child(_join_cost, feature_log(folder, LARGE), feature_log(folder, QUARTER))
    yield in_child(_call_cost)


def _rebuild_cost(raw: Path) -> Figure:
    use_one_core()
    kernel = compile_kernel(whole_catalogue(), KERNEL_CACHE)
    kernel.warm_up()
    full, quarter = HOURS, HOURS // 4

    def rebuild(hours: int) -> FeatureRows:
        return rebuild_rows(RawData(raw), SYMBOL, kernel, to_ns=START_NS + hours * HOUR_NS)

    full_s, quarter_s = median_seconds(partial(rebuild, full), partial(rebuild, quarter))
    return _figure("rebuild, an hour of tape", full_s / full * 1e3, quarter_s / quarter * 1e3, unit="ms")


def _join_cost(large: Path, quarter: Path) -> Figure:
    large_s, quarter_s = median_seconds(
        joining_with_feast(large, entity_rows(LARGE), OURS),
        joining_with_feast(quarter, entity_rows(QUARTER), OURS),
    )
    return _figure(
        "as-of join, an entity row", large_s / LARGE.entities * 1e6, quarter_s / QUARTER.entities * 1e6, unit="us"
    )


def _call_cost() -> Figure:
    kernel = compile_kernel(whole_catalogue(), KERNEL_CACHE)
    kernel.warm_up()
    engine = Engine(kernel, INSTRUMENT)
    events = tape_with_history()
    engine.feed(events)
    engine.advance(int(events["recv_ns"][-1]))
    begin = engine.checkpoint()
    firsts, lasts = [], []
    for _ in range(REPEATS):
        engine.restore(begin)
        times = silent_rows(engine, _CALLS)
        firsts.append(median(times[:_THOUSAND]))
        lasts.append(median(times[-_THOUSAND:]))
    return Figure(
        "growth: advance, the last thousand of 10,000 calls",
        median(lasts) * 1e6,
        "us",
        "lower",
        yardstick="the first thousand",
        yardstick_value=median(firsts) * 1e6,
        goal="ratio 1",
    )


def _figure(name: str, value: float, quarter: float, *, unit: str) -> Figure:
    return Figure(
        f"growth: {name}",
        value,
        unit,
        "lower",
        yardstick="the same at a quarter of the size",
        yardstick_value=quarter,
        goal="ratio 1",
    )
