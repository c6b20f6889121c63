"""The simulated tape: an hour of one symbol as event records, decoded once and repeated hour after hour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from ingestion.messages import TimedMessage
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.venues.bybit.decode import Decoder
from market.clock import HOUR_NS, MINUTE_NS, SECOND_NS, parse_iso_ns
from market.events import (
    FIRST,
    KLINE,
    NEXT_FUNDING,
    ORDERBOOK,
    POSITION,
    POSITION_FIELD_COUNT,
    TICKER,
    Events,
    empty_events,
    mark_message,
)
from market.instruments import POSITION_EXPONENT, Instrument, pin_scale
from storage.raw.parquet import write_events

SYMBOL: Final = DEFAULT_SYMBOLS[0].symbol
INSTRUMENT: Final = pin_scale(SYMBOL, DEFAULT_SYMBOLS[0].start_price)
# Half a minute past the hour: each hour then brings sixty whole candles, the last one with its confirmation.
START_NS: Final = parse_iso_ns("2026-01-05T00:00:30")
HOURS: Final = 25
"""A day and an hour: then the longest look-back is filled, and there are more than ten million level updates."""
_SEED: Final = 7
_ACTIVITY: Final = 3.2
"""Some 400 level updates a second, as in the recordings: 250, 401 and 618."""


class OneInstrument:
    """The tape's instrument as the decoder asks for it."""

    def get(self, _symbol: str) -> Instrument:
        return INSTRUMENT

    def pin(self, _symbol: str, _price_text: str) -> Instrument:
        return INSTRUMENT


def messages(duration_ns: int) -> Iterator[TimedMessage]:
    """The wire messages of the first ``duration_ns``: book at 10 Hz and depth 200, trades, tickers, klines."""
    return simulate(
        DEFAULT_SYMBOLS[:1], seed=_SEED, start_ns=START_NS, duration_ns=duration_ns, mean_activity=_ACTIVITY
    )


def decoded(messages: Iterable[TimedMessage]) -> Events:
    """The event records of messages in tape order, stamped with their receive times and with seq from 1."""
    decoder = Decoder(OneInstrument())
    records: list[Events] = []
    for message in messages:
        read = decoder.decode(message.body)
        assert read is not None, "the simulator sends market data alone"
        records.append(_stamp(read.records, message.recv_ns, len(records) + 1))
    return np.concatenate(records)


@cache
def simulated_hour() -> Events:
    """An hour of event records in tape order, with a position stated once a minute."""
    decoder = Decoder(OneInstrument())
    decoded: list[Events] = []
    position_due_ns = START_NS
    for message in messages(HOUR_NS):
        read = decoder.decode(message.body)
        assert read is not None, "the simulator sends market data alone"
        decoded.append(_stamp(read.records, message.recv_ns, len(decoded) + 1))
        if message.recv_ns >= position_due_ns:
            position_due_ns += MINUTE_NS
            decoded.append(_stamp(_position(message.recv_ns), message.recv_ns, len(decoded) + 1))
    return np.concatenate(decoded)


def hour_of_tape(number: int) -> Events:
    """The simulated hour ``number`` hours later. It begins with a book snapshot, so the book has no gap."""
    hour = simulated_hour().copy()
    shift_ns = number * HOUR_NS
    for name in ("recv_ns", "event_ns"):
        hour[name] += shift_ns
    hour["seq"] += number * int(hour["seq"][-1])
    hour["update_id"][hour["kind"] == KLINE] += shift_ns
    hour["px"][(hour["kind"] == TICKER) & (hour["field"] == NEXT_FUNDING)] += shift_ns
    return hour


def tape_with_history() -> Events:
    """The last hour of the tape, after the candles alone of the hours before it."""
    past = (hour_of_tape(number) for number in range(HOURS - 1))
    return np.concatenate([*(hour[hour["kind"] == KLINE] for hour in past), hour_of_tape(HOURS - 1)])


def by_second(events: Events) -> list[Events]:
    """The events cut at whole seconds of ``recv_ns``, silent seconds left out."""
    second = events["recv_ns"] // SECOND_NS
    return np.split(events, np.flatnonzero(second[1:] != second[:-1]) + 1)


def by_message(events: Events) -> list[Events]:
    """The events cut at message boundaries."""
    return np.split(events, np.flatnonzero((events["flags"][1:] & FIRST) != 0) + 1)


def level_updates(events: Events) -> int:
    return int(np.count_nonzero(events["kind"] == ORDERBOOK))


def raw_tape(folder: Path) -> Path:
    """The folder of the whole tape as raw Parquet, a part an hour; written on the first call."""
    raw = folder / "raw"
    if not raw.exists():
        for number in range(HOURS):
            write_events(raw, INSTRUMENT, hour_of_tape(number), part=f"{number:04d}")
    return raw


def _position(at_ns: int) -> Events:
    records = empty_events(POSITION_FIELD_COUNT)
    records["event_ns"] = at_ns
    records["kind"] = POSITION
    records["field"] = range(POSITION_FIELD_COUNT)
    records["px"] = np.array([1, -250, 900, 65_000]) * 10**POSITION_EXPONENT
    return mark_message(records)


def _stamp(records: Events, recv_ns: int, seq: int) -> Events:
    records["recv_ns"] = recv_ns
    records["seq"] = seq
    return records
