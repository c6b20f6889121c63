"""Klines by the day: what is kept of a day is what its files say, and no file is read twice for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from market.clock import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, parse_iso_ns
from market.errors import CorruptStore
from market.events import KLINE, TRADE
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData
from tests.klines import INSTRUMENT, SYMBOL, kline
from training_sets.checks.coverage import symbol_coverage
from training_sets.samples.kline_days import KlineHistory, KnownKlines
from transforms.catalogue import feature_set

BEGIN_NS = parse_iso_ns("2026-01-05T22:00:00")
STEP_NS = 30 * MINUTE_NS
COUNT = 120
END_NS = BEGIN_NS + COUNT * STEP_NS
CHOSEN = feature_set("technical", ["rsi_14"])


def write(folder: Path, *, prices: str = "0.2{:03}") -> None:
    """A kline each half an hour over three midnights, a part a day, one of them not confirmed and one told again."""
    ends_ns = [BEGIN_NS + number * STEP_NS for number in range(COUNT)]
    for day in sorted({(end_ns + SECOND_NS) // DAY_NS for end_ns in ends_ns}):
        messages = [
            kline(end_ns, prices.format(number), seq=number + 1, confirmed=number % 7 != 3)
            for number, end_ns in enumerate(ends_ns)
            if (end_ns + SECOND_NS) // DAY_NS == day
        ]
        write_events(folder, INSTRUMENT, np.concatenate(messages), part=f"{day}")


def test_days_that_were_read_are_not_read_again_and_say_the_same(tmp_path: Path) -> None:
    write(tmp_path)
    history = KlineHistory(RawData(tmp_path), KnownKlines())
    first = history.confirmed(SYMBOL, from_ns=BEGIN_NS, to_ns=END_NS)
    assert len(first) == sum(number % 7 != 3 for number in range(COUNT))
    assert (np.diff(first["seq"]) > 0).all()
    expected = [INSTRUMENT.price(f"0.2{int(seq) - 1:03}") for seq in first["seq"]]
    assert first["close"].tolist() == first["high"].tolist() == expected
    for part in history.raw.parts(SYMBOL)[1:-1]:
        for file in part.files:
            (tmp_path / file.path).write_bytes(b"not looked at again")
    again = history.confirmed(SYMBOL, from_ns=BEGIN_NS, to_ns=END_NS)
    assert again.tobytes() == first.tobytes()
    with pytest.raises(CorruptStore):
        KlineHistory(RawData(tmp_path)).confirmed(SYMBOL, from_ns=BEGIN_NS, to_ns=END_NS)


def test_a_day_of_other_files_is_another(tmp_path: Path) -> None:
    known = KnownKlines()
    for number, prices in enumerate(("0.2{:03}", "0.3{:03}")):
        write(tmp_path / str(number), prices=prices)
        history = KlineHistory(RawData(tmp_path / str(number)), known)
        klines = history.confirmed(SYMBOL, from_ns=BEGIN_NS, to_ns=END_NS)
        assert klines["close"][0] == INSTRUMENT.price(prices.format(0))
        assert klines["close"][60] == INSTRUMENT.price(prices.format(int(klines["seq"][60]) - 1))


@pytest.mark.parametrize("kinds", [(KLINE,), (TRADE, KLINE)])
def test_a_certificate_says_the_same_of_days_that_were_read_before(tmp_path: Path, kinds: tuple[int, ...]) -> None:
    write(tmp_path)
    known = KnownKlines()
    raw = RawData(tmp_path)
    period = (BEGIN_NS + HOUR_NS, END_NS - HOUR_NS)
    told = [
        symbol_coverage(KlineHistory(raw, known), SYMBOL, CHOSEN, period, kinds=kinds, late_ns=HOUR_NS)
        for _ in range(2)
    ]
    assert told[0] == told[1]
    klines = told[0]["streams"]["klines"]
    inside = [number for number in range(COUNT) if period[0] < BEGIN_NS + number * STEP_NS <= period[1]]
    assert klines["held"] == sum(number % 7 != 3 for number in inside)
