"""The table of docs/scale.md, calculated from the measured costs in benchmarks/README.md.

``python -m benchmarks.scale_page`` writes it again after ``python -m benchmarks scale --write``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

from benchmarks import scale
from benchmarks.readme import figures

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "scale.md"
_BEGIN: Final = "<!-- sizes -->\n"
_END: Final = "<!-- end of sizes -->\n"
_DAY_S: Final = 86_400
_MONTH_H: Final = 730
_GB: Final = 1e9

# Assumed, and said to be in the page.
BUSY_SHARE: Final = 0.6
"""Of a core, so that bursts have room."""
GRID_A_SECOND: Final = 10
KEPT_DAYS: Final = 90
ARCHIVED_DAYS: Final = 5 * 365
CORE_HOUR: Final = 0.045
"""Dollars of one virtual core with 2 to 4 GB."""
MEMORY_GB_HOUR: Final = 0.012
DISK_GB_MONTH: Final = 0.08
OBJECT_GB_MONTH: Final = 0.023


@dataclass(frozen=True, slots=True)
class Size:
    """How much of the market is taken; the messages are a mean over the day."""

    name: str
    symbols: int
    messages_a_second: float


SIZES: Final = (
    Size("20 busy symbols", 20, 100),
    Size("200 symbols", 200, 50),
    Size("every linear perpetual of a large venue", 500, 40),
    Size("the perpetuals of ten venues", 5_000, 25),
    Size("every instrument of ten venues", 20_000, 12),
)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a size needs; cores are busy virtual cores, dollars are per month."""

    messages_a_second: float
    rows_a_second: float
    ingest_cores: float
    compaction_cores: float
    redis_cores: float
    redis_gb: float
    network_mbit: float
    raw_gb_day: float
    log_gb_day: float
    dollars: float


def needs(size: Size, costs: Mapping[str, float]) -> Needs:
    """costs: by the names of ``benchmarks.scale``, in microseconds and bytes."""
    messages = size.symbols * size.messages_a_second
    rows = size.symbols * max(1.0, min(GRID_A_SECOND, size.messages_a_second))
    ingest = (messages * costs[scale.MESSAGE_CPU] + rows * costs[scale.ROW_CPU]) / 1e6
    compaction = messages * costs[scale.COMPACT_CPU] / 1e6
    redis = rows * costs[scale.REDIS_CPU] / 1e6
    redis_gb = size.symbols * costs[scale.REDIS_BYTES] / _GB
    raw_gb = messages * _DAY_S * costs[scale.PARQUET_BYTES] / _GB
    log_gb = size.symbols * _DAY_S * costs[scale.ROW_BYTES] / _GB
    cores = (ingest + compaction + redis) / BUSY_SHARE
    dollars = _MONTH_H * (cores * CORE_HOUR + redis_gb * MEMORY_GB_HOUR)
    dollars += (raw_gb + log_gb) * (KEPT_DAYS * DISK_GB_MONTH + ARCHIVED_DAYS * OBJECT_GB_MONTH)
    # From the gateway to the broker, and from there to a worker.
    network = 2 * messages * costs[scale.TAPE_BYTES] * 8 / 1e6
    return Needs(messages, rows, ingest, compaction, redis, redis_gb, network, raw_gb, log_gb, dollars)


def table(costs: Mapping[str, float]) -> str:
    """One line per need, one column per size."""
    calculated = [needs(size, costs) for size in SIZES]
    lines: list[tuple[str, list[str]]] = [
        ("symbols", [f"{size.symbols:,}" for size in SIZES]),
        ("messages per second and symbol (assumed)", [f"{size.messages_a_second:g}" for size in SIZES]),
        ("messages per second", [f"{each.messages_a_second:,.0f}" for each in calculated]),
        ("rows per second", [f"{each.rows_a_second:,.0f}" for each in calculated]),
        ("cores for ingest", [_cores(each.ingest_cores) for each in calculated]),
        ("ingest workers at 60 % of a core", [f"{ceil(each.ingest_cores / BUSY_SHARE):,}" for each in calculated]),
        ("cores for compaction", [_cores(each.compaction_cores) for each in calculated]),
        ("cores for Redis", [_cores(each.redis_cores) for each in calculated]),
        ("shards of Redis at 60 % of a core", [f"{ceil(each.redis_cores / BUSY_SHARE):,}" for each in calculated]),
        ("Redis memory, MB", [f"{each.redis_gb * 1e3:,.0f}" for each in calculated]),
        ("broker network, Mbit/s", [f"{each.network_mbit:,.0f}" for each in calculated]),
        ("raw Parquet, GB per day", [f"{each.raw_gb_day:,.1f}" for each in calculated]),
        ("feature log, GB per day", [f"{each.log_gb_day:,.1f}" for each in calculated]),
        ("both for 90 days, TB", [_terabytes(each, KEPT_DAYS) for each in calculated]),
        ("both for five years, TB", [_terabytes(each, ARCHIVED_DAYS) for each in calculated]),
        ("segments to compact per day", [f"{size.symbols * 24:,}" for size in SIZES]),
        ("dollars per month", [f"{each.dollars:,.0f}" for each in calculated]),
    ]
    heads = ["", *(size.name for size in SIZES)]
    cells = [heads, ["---"] * len(heads), *([name, *values] for name, values in lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def page(costs: Mapping[str, float]) -> str:
    """The text of docs/scale.md with the table of these costs."""
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    return before + _BEGIN + table(costs) + _END + rest.partition(_END)[2]


def _cores(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _terabytes(each: Needs, days: int) -> str:
    return f"{(each.raw_gb_day + each.log_gb_day) * days / 1e3:,.1f}"


if __name__ == "__main__":
    PAGE.write_text(page(figures()))
