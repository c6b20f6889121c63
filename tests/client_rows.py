"""Rows that a client reads, and the entities that it asks for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from market.clock import MILLISECOND_NS
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow
from tests.three_features import SET, B
from transforms.status import OK, WARMUP


def put(store: OnlineStore, values: Sequence[float], *, symbol: str = "BTCUSDT", row_ns: int = B) -> None:
    known = np.array(values, np.float64)
    reasons = {name: "WARMUP" for name, value in zip(SET.columns, values, strict=True) if np.isnan(value)}
    status = np.array([OK, WARMUP], np.int8)
    row = OnlineRow(symbol, SET, row_ns, row_ns + 20 * MILLISECOND_NS, known, status, reasons)
    assert store.write([row], now_ns=row_ns).written == 1


def entities(*symbols: str) -> list[dict[str, str]]:
    return [{"symbol": symbol} for symbol in symbols]
