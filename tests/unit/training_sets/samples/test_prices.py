"""Label prices: the mid where there is one, else the close of the kline that ends there."""

from __future__ import annotations

import csv
import dataclasses
import gzip
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS, floor_to, parse_iso_ns
from market.errors import InvalidRequest
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData
from tests.klines import INSTRUMENT, SYMBOL, kline
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from training_sets.samples.kline_days import KlineHistory
from training_sets.samples.labels import make_labels
from training_sets.samples.prices import MID, LabelPrices, PriceSeries, open_prices, price_series
from training_sets.samples.samples import label_prices
from transforms.rows import FeatureRows

CANDLES = 200


@pytest.fixture(scope="module")
def closes(recorded_data: Path) -> dict[int, str]:
    """The closes of real one-minute klines by the time at which each ends."""
    with gzip.open(recorded_data / "klines" / "DOGEUSDT_1m.csv.gz", "rt") as file:
        rows = islice(csv.DictReader(file), CANDLES)
        return {parse_iso_ns(row["timestamp"]) + MINUTE_NS: row["close"] for row in rows}


@pytest.fixture(scope="module")
def raw_folder(closes: dict[int, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    messages = []
    for at, (end_ns, close) in enumerate(closes.items()):
        messages += [kline(end_ns, "9.9", seq=2 * at, confirmed=False), kline(end_ns, close, seq=2 * at + 1)]
    write_events(folder, INSTRUMENT, np.concatenate(messages), part="0")
    return folder


def log_mids(folder: Path, row_ns: list[int], mids: list[float], *, symbol: str = SYMBOL) -> None:
    rows = FeatureRows(symbol, MID, np.array(row_ns), np.array(mids).reshape(-1, 1), np.zeros((len(mids), 1), np.int8))
    with FeatureLogWriter(folder) as log:
        log.append(rows, rows.row_ns)


def test_where_only_klines_exist_a_label_is_the_return_of_their_closes(
    closes: dict[int, str], raw_folder: Path, tmp_path: Path
) -> None:
    times_ns = np.array(list(closes), np.int64)
    begin, end = int(times_ns[0]), int(times_ns[-1])
    found = open_prices(
        FeatureLog(tmp_path), KlineHistory(RawData(raw_folder)), SYMBOL, "auto", from_ns=begin, to_ns=end
    )
    assert (found.name, found.step_ns) == ("kline_close", MINUTE_NS)
    prices = found.between(begin, end)
    labels = make_labels(times_ns, prices, RegressionTarget(5 * MINUTE_NS, MINUTE_NS))
    plain = [float(close) for close in closes.values()]
    expected = [plain[at + 6] / plain[at + 1] - 1.0 if at + 6 < len(plain) else np.nan for at in range(len(plain))]
    assert np.array_equal(labels, expected, equal_nan=True)
    late = make_labels(times_ns, prices, RegressionTarget(5 * MINUTE_NS, MINUTE_NS), decisions_ns=times_ns + SECOND_NS)
    assert np.array_equal(late, expected, equal_nan=True)


def test_only_closes_that_end_in_the_period_are_read(closes: dict[int, str], raw_folder: Path, tmp_path: Path) -> None:
    ends = list(closes)
    found = open_prices(
        FeatureLog(tmp_path), KlineHistory(RawData(raw_folder)), SYMBOL, "kline_close", from_ns=ends[10], to_ns=ends[20]
    )
    prices = found.between(ends[10], ends[20])
    assert prices.start_ns == ends[10]
    assert prices.values.tolist() == [float(closes[end]) for end in ends[10:21]]


def test_one_known_mid_decides_for_the_mid_and_none_for_the_close(
    closes: dict[int, str], raw_folder: Path, tmp_path: Path
) -> None:
    begin, *_, end = closes
    log_mids(tmp_path / "known", [begin, begin + SECOND_NS], [np.nan, 0.2])
    log_mids(tmp_path / "unknown", [begin, begin + SECOND_NS], [np.nan, np.nan])
    known = open_prices(
        FeatureLog(tmp_path / "known"), KlineHistory(RawData(raw_folder)), SYMBOL, "auto", from_ns=begin, to_ns=end
    )
    assert (known.name, known.step_ns) == ("mid_price", SECOND_NS)
    prices = known.between(begin, end)
    assert prices.at(np.array([begin + SECOND_NS, begin + 2 * SECOND_NS])).tolist()[0] == 0.2
    unknown = open_prices(
        FeatureLog(tmp_path / "unknown"), KlineHistory(RawData(raw_folder)), SYMBOL, "auto", from_ns=begin, to_ns=end
    )
    assert unknown.name == "kline_close"
    asked = open_prices(
        FeatureLog(tmp_path / "known"),
        KlineHistory(RawData(raw_folder)),
        SYMBOL,
        "kline_close",
        from_ns=begin,
        to_ns=end,
    )
    assert asked.name == "kline_close"


def test_a_dataset_has_prices_of_one_kind_unless_it_asks_for_one(
    closes: dict[int, str], raw_folder: Path, tmp_path: Path
) -> None:
    begin, *_, end = closes
    other = "BTCUSDT"
    log_mids(tmp_path, [begin, begin + SECOND_NS], [0.2, 0.2], symbol=other)
    periods = default_periods(begin, floor_to(end, MINUTE_NS))
    request = DatasetRequest(
        (SYMBOL, other),
        TimeBased(periods),
        (RegressionTarget(MINUTE_NS),),
        "1.2.0",
        sample_interval_ns=MINUTE_NS,
    )
    with pytest.raises(InvalidRequest, match="was auto with kline_close of DOGEUSDT, mid_price of BTCUSDT"):
        label_prices(request, FeatureLog(tmp_path), KlineHistory(RawData(raw_folder)))
    asked = dataclasses.replace(request, label_price="kline_close")
    found = label_prices(asked, FeatureLog(tmp_path), KlineHistory(RawData(raw_folder)))
    assert {prices.name for prices in found.values()} == {"kline_close"}


def test_without_any_price_there_is_none_at_any_time(tmp_path: Path) -> None:
    found = open_prices(
        FeatureLog(tmp_path), KlineHistory(RawData(tmp_path)), SYMBOL, "auto", from_ns=0, to_ns=10 * SECOND_NS
    )
    prices = found.between(0, 10 * SECOND_NS)
    assert np.isnan(prices.at(np.array([0, SECOND_NS]))).all()


@given(st.lists(st.tuples(st.integers(-20, 120), st.integers(0, 60)), min_size=1, max_size=8))
def test_prices_are_the_same_however_they_are_asked_for_and_none_is_read_twice_going_forward(
    asked: list[tuple[int, int]],
) -> None:
    read: list[tuple[int, int]] = []

    def read_mids(from_ns: int, to_ns: int) -> PriceSeries:
        read.append((from_ns, to_ns))
        times_ns = np.arange(from_ns, to_ns + 1, SECOND_NS)
        return PriceSeries("mid_price", from_ns, SECOND_NS, plain(times_ns))

    def plain(times_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.where(times_ns % (7 * SECOND_NS) == 0, np.nan, times_ns / SECOND_NS)

    prices = LabelPrices("mid_price", read_mids)
    for first, length in asked:
        times_ns = np.arange(first, first + length + 1) * SECOND_NS
        found = prices.between(int(times_ns[0]), int(times_ns[-1])).at(times_ns)
        assert np.array_equal(found, plain(times_ns), equal_nan=True)
    read.clear()
    forward = LabelPrices("mid_price", read_mids)
    for first in range(0, 100, 10):
        forward.between(first * SECOND_NS, (first + 30) * SECOND_NS)
    assert read == [(0, 30 * SECOND_NS), *(((at + 21) * SECOND_NS, (at + 30) * SECOND_NS) for at in range(10, 100, 10))]


def test_between_two_steps_the_price_is_that_of_the_earlier_one_and_none_a_step_after_the_last() -> None:
    prices = price_series("kline_close", np.array([120, 60]) * SECOND_NS, np.array([2.0, 1.0]), step_ns=MINUTE_NS)
    found = prices.at(np.array([59, 60, 61, 120, 180]) * SECOND_NS)
    assert np.array_equal(found, [np.nan, 1.0, 1.0, 2.0, np.nan], equal_nan=True)


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(-90, 90)), max_size=8, unique_by=lambda each: each[0]),
    st.lists(st.integers(0, 1400), max_size=40),
)
def test_a_row_is_early_that_came_after_a_kline_and_before_its_end(
    klines: list[tuple[int, int]], seconds: list[int]
) -> None:
    spans = [(end * 60 - ahead, end * 60) for end, ahead in klines if ahead > 0]
    early = np.array(spans, np.int64).reshape(-1, 2) * SECOND_NS
    prices = LabelPrices("kline_close", lambda _from_ns, _to_ns: PriceSeries("kline_close", 0, MINUTE_NS, EMPTY), early)
    found = prices.tell_early(np.array(seconds, np.int64) * SECOND_NS)
    assert found.tolist() == [any(came < second < end for came, end in spans) for second in seconds]


EMPTY = np.empty(0)


def test_klines_that_were_confirmed_before_their_end_are_known_by_their_prices(
    closes: dict[int, str], tmp_path: Path
) -> None:
    ends = list(closes)[:6]
    messages = [kline(end, closes[end], seq=seq) for seq, end in enumerate(ends, start=1)]
    for at in (2, 4):
        messages[at]["recv_ns"] = ends[at] - 1500 * MILLISECOND_NS
    write_events(tmp_path, INSTRUMENT, np.concatenate(messages), part="0001")
    found = open_prices(
        FeatureLog(tmp_path / "none"), KlineHistory(RawData(tmp_path)), SYMBOL, "auto", from_ns=ends[0], to_ns=ends[-1]
    )
    assert found.early.tolist() == [[ends[at] - 1500 * MILLISECOND_NS, ends[at]] for at in (2, 4)]
    times_ns = np.array([ends[2] - 2 * SECOND_NS, ends[2] - SECOND_NS, ends[2], ends[3] - SECOND_NS])
    assert found.tell_early(times_ns).tolist() == [False, True, False, False]
