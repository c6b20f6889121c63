"""Own orders, the gateway's funding and longer candles: on the tape and in raw Parquet, and in no row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.messages import TimedMessage
from ingestion.pipeline.served_rows import ServedRows
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.compaction import compact_tape
from ingestion.venues.bybit.decode import Decoder
from ingestion.venues.bybit.kept import INTERVAL_MINUTES, order_digest
from ingestion.venues.bybit.topics import INTERVALS
from market.clock import SECOND_NS
from market.errors import MalformedMessage, UnknownTopic
from market.events import (
    CANDLE,
    CLOSE,
    EXECUTION,
    FILLED_PRICE,
    FILLED_QUANTITY,
    FUNDING,
    FUNDING_RATE,
    NEXT_FUNDING,
    ORDER_FEE,
    ORDER_PRICE,
    ORDER_QUANTITY,
    ORDER_STATUSES,
)
from market.instruments import POSITION_EXPONENT
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from tests.fed_engine import PinsInMemory
from tests.pipelines import pipeline_in
from training_sets.rebuild.rebuild import rebuild_rows
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureRows, joined_rows

SYMBOL = "BTCUSDT"
BEGIN_NS = 1_780_000_000 * SECOND_NS
STAMP = "2026-05-28T20:26:40.500000"
ONE = 10**POSITION_EXPONENT

GATEWAY_ORDER: dict[str, Any] = {
    "event_id": "e1",
    "event_type": "order",
    "topic": "order",
    "timestamp": STAMP,
    "received_at": STAMP,
    "trace_id": "t1",
    "payload": {
        "topic": "order",
        "symbol": SYMBOL,
        "orderId": "abc-1",
        "side": "Sell",
        "orderStatus": "PartiallyFilled",
        "price": "65000.5",
        "qty": "0.3",
        "avgPrice": "65000.512345",
        "cumExecQty": "0.1",
        "cumExecFee": "0.0065",
    },
}
MANAGER_ORDER: dict[str, Any] = {
    "event_type": "order_filled",
    "order_id": "abc-1",
    "asset": SYMBOL,
    "side": "buy",
    "status": "filled",
    "price": "65000.5",
    "quantity": "0.3",
    "filled_quantity": "0.3",
    "average_price": "65000.5",
    "fees": "0.02",
    "trace_id": "t2",
    "timestamp": STAMP,
}
FUNDING_MESSAGE: dict[str, Any] = {
    **{name: value for name, value in GATEWAY_ORDER.items() if name != "payload"},
    "event_type": "funding",
    "topic": f"funding.{SYMBOL}",
    "payload": {"symbol": SYMBOL, "fundingRate": "0.0001", "nextFundingTime": "1780012800000"},
}
CANDLE_MESSAGE: dict[str, Any] = {
    "topic": f"kline.15.{SYMBOL}",
    "type": "snapshot",
    "ts": 1780000000400,
    "data": [
        {
            "start": 1779999300000,
            "end": 1780000199999,
            "interval": "15",
            "open": "65000.5",
            "close": "65001.0",
            "high": "65002.0",
            "low": "65000.0",
            "volume": "12.5",
            "turnover": "812500",
            "confirm": False,
            "timestamp": 1780000000400,
        }
    ],
}
KEPT = (GATEWAY_ORDER, MANAGER_ORDER, FUNDING_MESSAGE, CANDLE_MESSAGE)


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


@pytest.fixture
def decoder() -> Decoder:
    pins = PinsInMemory()
    pins.pin(SYMBOL, "65000.5")
    return Decoder(pins)


def values(decoder: Decoder, document: dict[str, Any]) -> dict[int, tuple[int, int]]:
    decoded = decoder.decode(json.dumps(document).encode())
    assert decoded is not None
    assert decoded.symbol == SYMBOL
    return {int(each["field"]): (int(each["px"]), int(each["qty"])) for each in decoded.records}


def test_an_order_of_the_gateway_and_one_of_the_order_manager_are_the_same_records(decoder: Decoder) -> None:
    partly = ORDER_STATUSES.index("partly_filled")
    assert values(decoder, GATEWAY_ORDER) == {
        ORDER_PRICE: (65_000_500_000_000, partly),
        ORDER_QUANTITY: (-3 * ONE // 10, partly),
        FILLED_PRICE: (65_000_512_345_000, partly),
        FILLED_QUANTITY: (-ONE // 10, partly),
        ORDER_FEE: (65 * ONE // 10_000, partly),
    }
    filled = ORDER_STATUSES.index("filled")
    found = values(decoder, MANAGER_ORDER)
    assert found[FILLED_QUANTITY] == found[ORDER_QUANTITY] == (3 * ONE // 10, filled)
    for document in (GATEWAY_ORDER, MANAGER_ORDER):
        decoded = decoder.decode(json.dumps(document).encode())
        assert decoded is not None
        assert decoded.kind == EXECUTION
        assert set(decoded.records["update_id"].tolist()) == {order_digest("abc-1")}
        assert set(decoded.records["event_ns"].tolist()) == {1_780_000_000_500_000_000}


def test_funding_has_the_fields_of_a_ticker_and_a_candle_its_interval(decoder: Decoder) -> None:
    funding = values(decoder, FUNDING_MESSAGE)
    assert funding.keys() == {FUNDING_RATE, NEXT_FUNDING}
    assert funding[NEXT_FUNDING] == (1_780_012_800_000_000_000, 0)
    assert values(decoder, CANDLE_MESSAGE)[CLOSE][1] == 15
    assert set(INTERVALS) == INTERVAL_MINUTES.keys()


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({**MANAGER_ORDER, "side": "hold"}, MalformedMessage),
        ({**MANAGER_ORDER, "timestamp": "yesterday"}, MalformedMessage),
        (
            {**MANAGER_ORDER, "price": None, "quantity": None, "filled_quantity": None}
            | {"average_price": None, "fees": ""},
            MalformedMessage,
        ),
        ({**FUNDING_MESSAGE, "payload": {"symbol": SYMBOL, "lastPrice": "65000.5"}}, MalformedMessage),
        ({**CANDLE_MESSAGE, "topic": f"kline.7.{SYMBOL}"}, UnknownTopic),
    ],
)
def test_what_breaks_its_schema_is_rejected(decoder: Decoder, document: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        decoder.decode(json.dumps(document).encode())


class Rows:
    def __init__(self) -> None:
        self.rows: list[FeatureRows] = []

    def write(self, served: Sequence[ServedRows]) -> None:
        self.rows += [each.rows for each in served]

    def close(self) -> None:
        """Nothing is held."""


def market(*, with_kept: bool) -> Iterator[TimedMessage]:
    for number, message in enumerate(
        simulate(DEFAULT_SYMBOLS[:1], seed=3, start_ns=BEGIN_NS, duration_ns=20 * SECOND_NS)
    ):
        if with_kept and number % 50 == 0:
            document = {**KEPT[number // 50 % len(KEPT)], "event_id": f"e{number}"}
            yield TimedMessage(message.recv_ns, json.dumps(document).encode())
        yield message


def served(folder: Path, kernel: Kernel, *, with_kept: bool) -> FeatureRows:
    sink = Rows()
    pipeline = pipeline_in(folder, kernel, sink)
    InstrumentPins(folder).pin(SYMBOL, "65000.5")
    for message in market(with_kept=with_kept):
        pipeline.handle(message)
        pipeline.advance(message.recv_ns, now_ns=message.recv_ns)
    assert pipeline.counters.rejected == 0, pipeline.first_rejection
    pipeline.close()
    return joined_rows(sink.rows)


def test_they_are_on_the_tape_and_in_raw_parquet_and_change_no_row(tmp_path: Path, kernel: Kernel) -> None:
    plain = served(tmp_path / "plain", kernel, with_kept=False)
    kept = served(tmp_path / "kept", kernel, with_kept=True)
    assert np.array_equal(plain.values.view(np.int64), kept.values.view(np.int64))
    assert np.array_equal(plain.status, kept.status)
    assert len(kept) > 15
    raw = tmp_path / "kept"
    compact_tape(raw, SYMBOL, InstrumentPins(raw))
    counts = {}
    for table in ("raw_executions", "raw_funding", "raw_kline_intervals"):
        counts[table] = sum(pq.read_metadata(path).num_rows for path in raw.glob(f"{table}/*/*/*.parquet"))
    assert counts["raw_executions"] > 5
    assert counts["raw_funding"] > 1
    assert counts["raw_kline_intervals"] >= 6
    rebuilt = rebuild_rows(RawData(raw), SYMBOL, kernel, to_ns=int(kept.row_ns[-1]))
    assert np.array_equal(rebuilt.values.view(np.int64), kept.values.view(np.int64))
    assert (CANDLE, EXECUTION, FUNDING) == (6, 7, 8)
