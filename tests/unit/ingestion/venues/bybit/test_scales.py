"""The scale that a message is read at: pinned by the first price of a symbol, and exact or refused."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.venues.bybit.decode import Decoder
from market.errors import MalformedMessage, ScaleExceeded
from market.instruments import Instrument, pin_scale
from tests.bybit_messages import (
    BOOK,
    BTCUSDT,
    KLINES,
    TICKERS,
    TRADES,
    Json,
    PinnedScales,
    changed,
    column,
    decode,
    putting,
)


def test_too_many_decimals_are_rejected_and_never_rounded() -> None:
    with pytest.raises(ScaleExceeded, match="at most 3 decimals"):
        decode(changed(BOOK, putting("data.a.0.0", "65114.3001")))
    with pytest.raises(ScaleExceeded, match="at most 6 decimals"):
        decode(changed(TRADES, putting("data.1.v", "0.0000001")))


@pytest.mark.parametrize(
    ("message", "price"), [(BOOK, "65114.20"), (TRADES, "65114.20"), (KLINES, "65119.9"), (TICKERS, "65114.30")]
)
def test_the_first_price_of_a_new_symbol_pins_its_scale(message: Json, price: str) -> None:
    instruments = PinnedScales()
    decoded = decode(message, instruments)
    assert instruments.by_symbol == {"BTCUSDT": pin_scale("BTCUSDT", price)}
    np.testing.assert_array_equal(decoded.records, decode(message, instruments).records)


def test_a_book_of_asks_alone_pins_from_an_ask() -> None:
    instruments = PinnedScales()
    decode(changed(BOOK, putting("data.b", [])), instruments)
    assert instruments.by_symbol["BTCUSDT"] == BTCUSDT


def test_a_ticker_without_a_last_price_pins_from_the_mark_price() -> None:
    instruments = PinnedScales()
    decode(changed(TICKERS, putting("data.lastPrice", "")), instruments)
    assert instruments.by_symbol["BTCUSDT"] == BTCUSDT


def test_a_message_with_numbers_and_no_price_cannot_open_a_new_symbol() -> None:
    message = {**TICKERS, "data": {"symbol": "BTCUSDT", "openInterest": "5"}}
    with pytest.raises(ScaleExceeded, match="pinned scale or come with a price"):
        decode(message, PinnedScales())
    assert decode(message).symbol == "BTCUSDT"


@pytest.mark.parametrize(
    "message",
    [
        {**TICKERS, "data": {"symbol": "BTCUSDT", "fundingRate": "0.0001"}},
        changed(BOOK, lambda m: m["data"].update(a=[], b=[])),
        {**changed(BOOK, lambda m: m["data"].update(a=[], b=[])), "type": "snapshot"},
    ],
)
def test_a_message_that_needs_no_scale_is_taken_before_there_is_one_and_pins_none(message: Json) -> None:
    instruments = PinnedScales()
    before = decode(message, instruments)
    assert instruments.by_symbol == {}
    assert before.records.tolist() == decode(message).records.tolist()


def test_a_rejected_message_pins_nothing() -> None:
    instruments = PinnedScales()
    for bad in ("-1", "1e3"):
        with pytest.raises(MalformedMessage):
            decode(changed(BOOK, putting("data.a.0.1", bad)), instruments)
    assert instruments.by_symbol == {}


def test_the_records_are_at_the_scale_that_the_pin_returned() -> None:
    class Configured(PinnedScales):
        def pin(self, symbol: str, price_text: str) -> Instrument:
            return Instrument(symbol, 2, 5) if price_text == "65114.20" else BTCUSDT

    assert column(decode(BOOK, Configured()), "px") == [6511420, 6511410, 6511430]
    assert column(decode(BOOK, Configured()), "qty") == [595400, 0, 1047000]


def test_one_decoder_keeps_the_scales_of_its_symbols_apart() -> None:
    decoder = Decoder(PinnedScales(BTCUSDT, Instrument("ETHUSDT", 4, 5)))
    for symbol, px in (("BTCUSDT", 65114200), ("ETHUSDT", 651142000), ("BTCUSDT", 65114200)):
        decoded = decoder.decode(json.dumps(changed(BOOK, putting("data.s", symbol))).encode())
        assert decoded is not None
        assert column(decoded, "px")[0] == px


@given(
    st.decimals(min_value="0.001", max_value="9000000", places=3),
    st.decimals(min_value=0, max_value="900000", places=6),
)
def test_prices_and_sizes_are_exact(price: Decimal, size: Decimal) -> None:
    decoded = decode(changed(BOOK, putting("data.b.0", [f"{price:f}", f"{size:f}"])))
    assert Decimal(column(decoded, "px")[0]).scaleb(-3) == price
    assert Decimal(column(decoded, "qty")[0]).scaleb(-6) == size
