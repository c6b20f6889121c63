"""Messages of the simulated market as JSON, by symbol and kind, and the symbols and the time that they begin with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from ingestion.messages import TimedMessage
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS
from market.clock import parse_iso_ns

BTC, ETH = DEFAULT_SYMBOLS
START_NS = parse_iso_ns("2026-08-09T07:59:25.250")

Message = dict[str, Any]


def parsed(messages: Iterable[TimedMessage], symbol: str = "", kind: str = "") -> list[Message]:
    loaded = [orjson.loads(message.body) for message in messages]
    return [m for m in loaded if m["topic"].startswith(kind) and m["topic"].endswith(symbol)]
