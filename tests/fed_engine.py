"""An engine with messages before it, decoded and stamped as the pipeline does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ingestion.venues.bybit.decode import Decoder
from market.clock import SECOND_NS
from market.instruments import Instrument, pin_scale
from transforms.engine import Engine
from transforms.kernel import Kernel

Messages = Sequence[tuple[int, bytes]]
"""Each message's (recv_ns, body), in order of arrival."""


class PinsInMemory:
    """Instrument pins of one test."""

    def __init__(self) -> None:
        self._pins: dict[str, Instrument] = {}

    def get(self, symbol: str) -> Instrument | None:
        return self._pins.get(symbol)

    def pin(self, symbol: str, price_text: str) -> Instrument:
        return self._pins.setdefault(symbol, pin_scale(symbol, price_text))


def fed_engine(kernel: Kernel, messages: Messages, *, start_ns: int | None = None, grid_ns: int = SECOND_NS) -> Engine:
    """An engine that has taken all messages, of one symbol, and closed no row yet."""
    pins = PinsInMemory()
    decoder = Decoder(pins)
    pieces = []
    symbol = ""
    for seq, (recv_ns, body) in enumerate(messages):
        message = decoder.decode(body)
        assert message is not None
        message.records["recv_ns"] = recv_ns
        message.records["seq"] = seq
        symbol = message.symbol
        pieces.append(message.records)
    instrument = pins.get(symbol)
    assert instrument is not None
    engine = Engine(kernel, instrument, start_ns=start_ns, grid_ns=grid_ns)
    engine.feed(np.concatenate(pieces))
    return engine
