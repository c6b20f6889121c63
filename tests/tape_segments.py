"""The tape of a symbol as tests write it: its name, its first midnight, its heads and its finished segments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from market.clock import DAY_NS
from market.markets import DEFAULT_MARKET
from storage.tape import Frame
from storage.tape.frames import segment_head

SYMBOL = "BTCUSDT"
MIDNIGHT_NS = 20_000 * DAY_NS  # 2024-10-04
HEADER_BYTES = 24
HEAD_BYTES = len(segment_head(DEFAULT_MARKET))

Recorder = Callable[[list[tuple[int, bytes]]], list[Frame]]


def segments(root: Path) -> list[Path]:
    return sorted((root / "tape" / SYMBOL).glob("*/*.log"))
