"""Candles made of archived trades: of minutes for which the exchange has none, and to compare with those it has.

1. A candle is made of a minute in which something was traded. One without a trade stays lacking: an archive that lost
   its trades looks the same.
2. It opens at the close of the candle before, as the exchange's do, and at its first trade where there is none before.
3. They become messages like the exchange's own, and the manifest names their minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from backfill.bybit.archive import Archive, read_trades
from backfill.bybit.messages import MINUTE_MS, kline_messages, trade_messages
from ingestion.decoding.decoded import DecodedMessage
from ingestion.decoding.scales import Instruments
from ingestion.venues.bybit.venue import BYBIT
from ingestion.venues.decoders import Decoders
from market.clock import DAY_NS, MILLISECOND_NS, MINUTE_NS, parse_iso_ns
from market.errors import NotFound, RejectedMessage, StoreUnavailable, UnreadableRecording
from market.events import CLOSE, HIGH, LOW, OPEN, VOLUME, Events
from market.instruments import decimal_text
from quality.reconciliation import Candle, Scale, Trade, candles_of, compare_candles

MOST_TOLD: Final = 5
"""Disagreements of a day that are listed individually; all are counted."""
_STATED: Final = (OPEN, HIGH, LOW, CLOSE, VOLUME)
Row = tuple[str, ...]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TradedCandles:
    """rows: of the minutes without a candle, as the exchange states them. compared: how the others compare, as JSON."""

    rows: tuple[Row, ...]
    compared: Mapping[str, Any]
    source: str


def traded_candles(
    archive: Archive, instruments: Instruments, symbol: str, date: str, stated: Sequence[Row]
) -> TradedCandles | None:
    """What the archive's trades of a UTC day make of the minutes that ``stated`` lacks; None where it has no such file.

    stated: the exchange's candles of the day, one at least, oldest first. Raises RejectedMessage where one is none.
    """
    decoders = Decoders(BYBIT, instruments)
    held: dict[int, Candle] = {}
    for message in kline_messages(symbol, stated):  # before the trades: a candle pins the scale of a new symbol
        decoded = decoders.decode(message.body, message.recv_ns)
        assert decoded is not None, "a candle"
        held |= {start: candle._replace(source="exchange") for start, candle in candles_of_records(decoded.records)}
    try:
        trades, source = archived_trades(archive, decoders, symbol, date)
    except (NotFound, StoreUnavailable, UnreadableRecording, RejectedMessage) as error:
        _log.warning(
            "%s klines of %s: minutes without a candle are lacking, no trades to build them from: %s",
            symbol,
            date,
            error,
        )
        return None
    instrument = instruments.get(symbol)
    assert instrument is not None, "a candle pinned a scale"
    scale = Scale(price=instrument.price_exponent, quantity=instrument.quantity_exponent)
    traded = candles_of(trades.values(), source=source)
    digits = scale.price + scale.quantity - instrument.turnover_exponent
    turnovers = {
        minute: decimal_text(of_minute // 10**digits, instrument.turnover_exponent)
        for minute, of_minute in _turnovers(trades).items()
    }
    day_ns = parse_iso_ns(date)
    check = compare_candles(held, traded, scale, minutes=range(day_ns, day_ns + DAY_NS, MINUTE_NS))
    told = [each.document() for each in check.disagreements[:MOST_TOLD]]
    compared = {**check.counts, "disagreements": check.disagreeing, "first": told}
    return TradedCandles(tuple(_made(held, traded, turnovers, scale)), compared, source)


def archived_trades(archive: Archive, decoders: Decoders, symbol: str, date: str) -> tuple[dict[str, Trade], str]:
    """The trades of a UTC day by id, in order of time, and the file that they are of.

    Raises NotFound, StoreUnavailable, UnreadableRecording, RejectedMessage.
    """
    begin_ns = parse_iso_ns(date)
    found: dict[str, Trade] = {}
    with archive.trades(symbol, date) as file:
        for message in trade_messages(symbol, read_trades(file.path, symbol)):
            decoded = decoders.decode(message.body, message.recv_ns)
            if decoded is not None:
                found |= trades_by_id(decoded, 0, (begin_ns, begin_ns + DAY_NS))
        return found, file.source


def trades_by_id(decoded: DecodedMessage, seq: int, day: tuple[int, int]) -> dict[str, Trade]:
    """The trades of a message that are of the day, by id; the first of those that came twice is one of them."""
    return {
        trade_id: Trade(int(record["event_ns"]), int(record["px"]), int(record["qty"]), int(record["field"]), seq)
        for trade_id, record in zip(decoded.trade_ids, decoded.records, strict=True)
        if trade_id is not None and day[0] <= record["event_ns"] < day[1]
    }


def candles_of_records(records: Events) -> Iterator[tuple[int, Candle]]:
    """Candles of one message: each with the begin of its minute, ns."""
    for start in np.unique(records["update_id"]).tolist():
        values = {int(each["field"]): int(each["px"]) for each in records[records["update_id"] == start]}
        if values.keys() >= set(_STATED):
            open_px, high, low, close, volume = (values[name] for name in _STATED)
            yield start, Candle(open_px, high, low, close, volume)


def _turnovers(trades: Mapping[str, Trade]) -> dict[int, int]:
    """Price × quantity of each minute, in the product of both scales."""
    turnovers: dict[int, int] = {}
    for each in trades.values():
        minute = each.event_ns // MINUTE_NS * MINUTE_NS
        turnovers[minute] = turnovers.get(minute, 0) + each.px * each.qty
    return turnovers


def _made(
    held: Mapping[int, Candle], traded: Mapping[int, Candle], turnovers: Mapping[int, str], scale: Scale
) -> Iterator[Row]:
    """Rows of the minutes that were traded and have no candle."""
    known = dict(held)
    for minute in sorted(traded.keys() - held.keys()):
        made, before = traded[minute], known.get(minute - MINUTE_NS)
        open_px = made.open if before is None else before.close
        assert open_px is not None and made.high is not None and made.low is not None, "something was traded"  # noqa: PT018
        made = made._replace(open=open_px, high=max(made.high, open_px), low=min(made.low, open_px))
        known[minute] = made
        prices = (scale.px(px) or "" for px in (made.open, made.high, made.low, made.close))
        yield str(minute // MILLISECOND_NS), *prices, scale.qty(made.volume), turnovers[minute]


def lacking_minutes(stated: Sequence[Row], start_ms: int, end_ms: int, held: frozenset[int]) -> bool:
    """Whether a minute of [start, end) has no candle: of the exchange, or held, by their begin in ns."""
    known = {int(row[0]) for row in stated}
    minutes = range(start_ms, end_ms, MINUTE_MS)
    return any(at not in known and at * MILLISECOND_NS not in held for at in minutes)
