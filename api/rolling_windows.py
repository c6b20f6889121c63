"""What is held of each symbol's past: its windows as the workers tell of them, and its newest row's view of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api.services import ApiServices
from market.clock import SECOND_NS, format_iso, to_datetime
from storage.database.ingest_workers import read_ingest_workers
from storage.online.vector import OnlineVector
from transforms.catalogue import GROUPS, group_horizon_ns, group_warm_up_ns
from transforms.status import STATUS_NAMES

WINDOW_NAMES: Final = {"1": "1s", "3": "3s", "15": "15s", "60": "1m"}
"""Of a window by its seconds."""
LONGEST_WINDOW: Final = "300"


def symbol_windows(services: ApiServices) -> list[dict[str, Any]]:
    """Of each followed symbol, in their order. Raises StoreUnavailable."""
    now_ns = services.clock.now_ns()
    told: dict[str, Mapping[str, Any]] = {}
    for worker in read_ingest_workers(services.metadata):
        if worker.is_alive(to_datetime(now_ns)):
            told |= worker.status.get("symbols") or {}
    vectors = services.online.read(services.symbols)
    return [
        {"symbol": symbol, **_held(told.get(symbol) or {}), **_newest_row(vector, now_ns)}
        for symbol, vector in zip(services.symbols, vectors, strict=True)
    ]


def _held(figures: Mapping[str, Any]) -> dict[str, Any]:
    """What the windows of a symbol hold; null where no living worker follows it."""
    held = figures.get("held")
    last_ns = figures.get("last_recv_ns")
    return {
        "intervals": None if held is None else {name: held["trades"][key] for key, name in WINDOW_NAMES.items()},
        "total_trades_count": None if held is None else held["trades"][LONGEST_WINDOW],
        "total_klines_count": None if held is None else held["candles"],
        "memory_usage_bytes_estimate": None if held is None else held["memory_bytes"],
        "last_update": None if last_ns is None else format_iso(last_ns),
    }


def _newest_row(vector: OnlineVector | None, now_ns: int) -> dict[str, Any]:
    """Null before a symbol's first row."""
    if vector is None:
        return {"newest_row": None, "age_seconds": None, "feature_registry_version": None, "groups": None}
    return {
        "newest_row": format_iso(vector.row_ns),
        "age_seconds": vector.age_ns(now_ns) / SECOND_NS,
        "feature_registry_version": vector.version,
        "groups": {
            group: {
                "status": STATUS_NAMES[status],
                "horizon_seconds": group_horizon_ns(group) / SECOND_NS if group in GROUPS else None,
                "warm_up_seconds": group_warm_up_ns(group) / SECOND_NS if group in GROUPS else None,
            }
            for group, status in vector.statuses.items()
        },
    }
