"""Each planted defect of a market is in its data quality report under the right name, and a clean one reports none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.messages import TimedMessage
from ingestion.sinks.sinks import FeatureLogSink
from ingestion.sources.played.play import play
from ingestion.sources.simulated.simulator import SimulatedSymbol, simulate
from ingestion.tape.compaction import compact_tape
from ingestion.tape.quality import symbol_quality
from market.clock import MINUTE_NS, SECOND_NS, parse_iso_ns
from market.errors import InvalidRequest, NotFound
from quality.data_page import render_page
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.instruments import InstrumentPins
from storage.places import local
from storage.raw.raw_data import RawData
from tests.pipelines import pipeline_in
from transforms.kernel import Kernel, compile_kernel

SYMBOL = "BTCUSDT"
MARKET = SimulatedSymbol(SYMBOL, "60000.00", "0.10", "0.001")
BEGIN_NS = parse_iso_ns("2026-03-01T10:00:00Z")
MINUTES = 6
END_NS = BEGIN_NS + MINUTES * MINUTE_NS

Message = dict[str, Any]
Change = Callable[[int, Message], Iterator[tuple[int, Message]]]


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    return compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)


@pytest.fixture(scope="module")
def market() -> list[tuple[int, Message]]:
    messages = simulate([MARKET], seed=11, start_ns=BEGIN_NS, duration_ns=MINUTES * MINUTE_NS)
    return [(message.recv_ns, json.loads(message.body)) for message in messages]


def report(
    market: list[tuple[int, Message]],
    change: Change,
    folder: Path,
    kernel: Kernel,
    *,
    flush_rows: int = 3600,
    comes_ns: Callable[[int, Message], int] = lambda recv_ns, _message: recv_ns,
) -> dict[str, Any]:
    """comes_ns: when the pipeline is given a message that is stamped with a time."""
    raw = folder / "raw"
    pipeline = pipeline_in(raw, kernel, FeatureLogSink(FeatureLogWriter(folder / "features", flush_rows=flush_rows)))
    changed = [each for recv_ns, message in market for each in change(recv_ns, message)]
    try:
        play(
            pipeline,
            [
                TimedMessage(recv_ns, json.dumps(message).encode())
                for recv_ns, message in sorted(changed, key=lambda each: comes_ns(*each))
            ],
        )
    finally:
        pipeline.close()
    compact_tape(raw, SYMBOL, InstrumentPins(raw))
    return symbol_quality(
        RawData(raw),
        FeatureLog(folder / "features"),
        SYMBOL,
        kernel.feature_set,
        from_ns=BEGIN_NS,
        to_ns=END_NS + SECOND_NS,
    )


def unchanged(recv_ns: int, message: Message) -> Iterator[tuple[int, Message]]:
    yield recv_ns, message


def during(recv_ns: int, begin_s: float, end_s: float) -> bool:
    return begin_s <= (recv_ns - BEGIN_NS) / SECOND_NS < end_s


def is_of(message: Message, name: str) -> bool:
    return str(message.get("topic", "")).startswith(name)


def without(name: str, begin_s: float, end_s: float) -> Change:
    def change(recv_ns: int, message: Message) -> Iterator[tuple[int, Message]]:
        if not (is_of(message, name) and during(recv_ns, begin_s, end_s)):
            yield recv_ns, message

    return change


def test_a_clean_market_reports_nothing(market: list[tuple[int, Message]], tmp_path: Path, kernel: Kernel) -> None:
    found = report(market, unchanged, tmp_path, kernel)
    assert found["recommendations"] == []
    assert found["crossed_book"] == []
    assert (found["missing_rate"], found["anomaly_rate"], found["sequence_gaps"]) == (0.0, 0.0, 0)
    assert (found["late_messages"], found["duplicate_messages"]) == (0, 0)
    assert found["streams"]["trade"]["minutes_compared_with_klines"] >= MINUTES - 2
    assert found["features"]["rows"] == found["features"]["expected_rows"]
    assert "unchecked" in found
    assert "Nothing to do" in render_page(found)
    assert render_page(found).count("<svg") == 2, "of the clocks, and of unknown values by group"
    course = found["features"]["unknown_course"]
    assert course.keys() == {group.name for group in kernel.feature_set.groups}
    assert course["price"][-1] == 0.0


def test_missing_book_messages_are_counted_to_the_message(
    market: list[tuple[int, Message]], tmp_path: Path, kernel: Kernel
) -> None:
    dropped = sum(is_of(message, "orderbook") and during(at, 100, 101) for at, message in market)
    found = report(market, without("orderbook", 100, 101), tmp_path, kernel)
    assert dropped > 0
    assert found["streams"]["orderbook"]["missing"] == dropped
    assert found["sequence_gaps"] == 1
    assert found["crossed_book"] == []
    assert found["sequence_gap_details"][0]["missing"] == dropped
    features = found["features"]
    assert features["book_broken_seconds"] > 0
    for column, share in features["unknown_share"].items():
        assert sum(features["unknown_by_reason"].get(column, {}).values()) == pytest.approx(share, abs=1e-5)
    assert features["unknown_by_reason"]["mid_price"]["GAP"] > 0
    assert features["unknown_by_reason"]["mid_price"].keys() <= {"GAP", "NO_DATA", "WARMUP"}
    assert any("order book" in line for line in found["recommendations"])
    assert "gaps" in render_page(found)


def test_missing_trades_show_against_the_candles(
    market: list[tuple[int, Message]], tmp_path: Path, kernel: Kernel
) -> None:
    found = report(market, without("publicTrade", 130, 140), tmp_path, kernel)
    assert found["streams"]["trade"]["minutes_that_differ"] == 1
    assert found["trade_minutes_that_differ"] == ["2026-03-01T10:02:00Z"]


def test_a_missing_candle_is_named_by_its_minute(
    market: list[tuple[int, Message]], tmp_path: Path, kernel: Kernel
) -> None:
    def change(recv_ns: int, message: Message) -> Iterator[tuple[int, Message]]:
        is_third = is_of(message, "kline") and message["data"][0]["start"] == (BEGIN_NS + 2 * MINUTE_NS) // 10**6
        if not is_third:
            yield recv_ns, message

    found = report(market, change, tmp_path, kernel)
    assert found["streams"]["kline"]["missing_minutes"] == ["2026-03-01T10:02:00Z"]
    assert found["missing_rate"] > 0


def test_a_book_that_stands_still_while_the_symbol_trades_is_frozen(
    market: list[tuple[int, Message]], tmp_path: Path, kernel: Kernel
) -> None:
    found = report(market, without("orderbook", 60, 75), tmp_path, kernel)
    [frozen] = found["frozen_book"]
    assert 14 < frozen["seconds"] < 16


@pytest.mark.parametrize("above", [5.0, 0.0])
def test_a_crossed_or_locked_book_is_told_until_the_snapshot_that_repairs_it(
    market: list[tuple[int, Message]], tmp_path: Path, kernel: Kernel, above: float
) -> None:
    spoiled: list[int] = []

    def change(recv_ns: int, message: Message) -> Iterator[tuple[int, Message]]:
        asks = message["data"]["a"] if is_of(message, "orderbook") and message["type"] == "delta" else []
        set_asks = [float(price) for price, quantity in asks if float(quantity) > 0]
        if during(recv_ns, 100, 400) and set_asks and not spoiled:
            spoiled.append(recv_ns)
            message = json.loads(json.dumps(message))
            message["data"]["b"].append([f"{min(set_asks) + above:.2f}", "1"])
        yield recv_ns, message

    found = report(market, change, tmp_path, kernel)
    [crossed] = found["crossed_book"]
    assert 0 <= spoiled[0] - parse_iso_ns(crossed["from"]) < SECOND_NS
    assert found["sequence_gaps"] == 0
    assert any("crossed or locked" in line for line in found["recommendations"])
    assert "crossed or locked" in render_page(found)


def test_a_silent_ticker_is_told_with_its_length(
    market: list[tuple[int, Message]], tmp_path: Path, kernel: Kernel
) -> None:
    found = report(market, without("tickers", 60, 200), tmp_path, kernel)
    assert found["streams"]["ticker"]["silences"] == 1
    assert 139 < found["streams"]["ticker"]["longest_silences"][0]["seconds"] < 142


def test_a_price_far_from_the_market_is_an_outlier_with_its_reference(
    market: list[tuple[int, Message]], tmp_path: Path, kernel: Kernel
) -> None:
    spoiled: list[float] = []

    def change(recv_ns: int, message: Message) -> Iterator[tuple[int, Message]]:
        if is_of(message, "publicTrade") and during(recv_ns, 200, 400) and not spoiled:
            message = json.loads(json.dumps(message))
            message["data"][0]["p"] = "90000.0"
            spoiled.append(90000.0)
        yield recv_ns, message

    found = report(market, change, tmp_path, kernel)
    [outlier] = found["anomaly_details"]
    assert found["anomalies"] == 1
    assert outlier["value"] == 90000.0
    assert 50_000 < outlier["reference"] < 70_000


def test_a_jump_of_the_receive_clock_is_told_by_its_minute(
    market: list[tuple[int, Message]], tmp_path: Path, kernel: Kernel
) -> None:
    def change(recv_ns: int, message: Message) -> Iterator[tuple[int, Message]]:
        yield recv_ns + (2 * SECOND_NS if during(recv_ns, 180, 10**6) else 0), message

    found = report(market, change, tmp_path, kernel)
    jumps = found["clock_offset_ms"]["jumps"]
    assert [jump["time"] for jump in jumps] == ["2026-03-01T10:03:00Z"]
    assert 1900 < jumps[0]["ms"] < 2100
    offsets = [each["ms"] for each in found["clock_offset_ms"]["course"]]
    assert offsets[-1] - offsets[0] == pytest.approx(jumps[0]["ms"], abs=50)


def test_late_and_repeated_messages_are_counted_to_the_message_and_change_no_other_figure(
    market: list[tuple[int, Message]], tmp_path: Path, kernel: Kernel
) -> None:
    doubled = late = 0

    def change(recv_ns: int, message: Message) -> Iterator[tuple[int, Message]]:
        nonlocal doubled, late
        yield recv_ns, message
        late += is_late(recv_ns, message)
        if is_of(message, "publicTrade") and during(recv_ns, 90, 290):
            doubled += 1
            yield recv_ns + 1, message

    def is_late(recv_ns: int, message: Message) -> bool:
        return is_of(message, "tickers") and during(recv_ns, 100, 250)

    def comes_ns(recv_ns: int, message: Message) -> int:
        return recv_ns + is_late(recv_ns, message) * 3 * SECOND_NS // 2

    found = report(market, change, tmp_path, kernel, comes_ns=comes_ns)
    streams = found["streams"]
    assert (streams["trade"]["duplicates"], found["duplicate_messages"]) == (doubled, doubled)
    assert (streams["ticker"]["late"], found["late_messages"]) == (late, late)
    assert 500 <= streams["ticker"]["most_late_ms"] <= 1500
    assert streams["trade"]["most_late_ms"] is None
    assert (found["missing_rate"], found["sequence_gaps"], found["trade_minutes_that_differ"]) == (0.0, 0, [])
    told = " ".join(found["recommendations"])
    assert f"{late} messages of the ticker stream came after their row was closed" in told
    assert f"{doubled} messages of the trade stream came again" in told
    assert f'<td class="number">{doubled}</td>' in render_page(found)


def test_a_symbol_without_data_and_an_empty_period_are_refused(tmp_path: Path, kernel: Kernel) -> None:
    with pytest.raises(NotFound):
        symbol_quality(RawData(tmp_path), FeatureLog(tmp_path), SYMBOL, kernel.feature_set, from_ns=0, to_ns=1)
    with pytest.raises(InvalidRequest):
        symbol_quality(RawData(tmp_path), FeatureLog(tmp_path), SYMBOL, kernel.feature_set, from_ns=1, to_ns=1)


def test_rows_that_some_groups_have_not_yet_are_not_counted(
    market: list[tuple[int, Message]], tmp_path: Path, kernel: Kernel
) -> None:
    whole = report(market, unchanged, tmp_path, kernel, flush_rows=100)
    log = FeatureLog(tmp_path / "features")
    # As between two groups' parts of one flush.
    max(local(log.of_symbol(kernel.feature_set.groups[-1], SYMBOL)).glob("date=*/*.parquet")).unlink()
    found = symbol_quality(
        RawData(tmp_path / "raw"), log, SYMBOL, kernel.feature_set, from_ns=BEGIN_NS, to_ns=END_NS + SECOND_NS
    )
    assert 0 < found["features"]["rows"] < whole["features"]["rows"]
