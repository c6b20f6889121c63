"""Tickers that misbehave, played, rebuilt and compared: what is not known is not told, what is known stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from market.clock import HOUR_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS
from tests.market_lines import BEGIN_NS, case, column, played, statuses, ticker
from transforms.kernel import Kernel, compile_kernel
from transforms.status import NO_DATA, OK, WARMUP


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


def test_a_ticker_that_could_not_be_read_makes_its_fields_unknown(tmp_path: Path, kernel: Kernel) -> None:
    fields = {"fundingRate": "0.0001", "nextFundingTime": str((BEGIN_NS + HOUR_NS) // MILLISECOND_NS)}
    prices = {"openInterest": "5", "markPrice": "100", "indexPrice": "100", "lastPrice": "100"}
    lines = [ticker(0, **fields, **prices), ticker(3, fundingRate="77"), ticker(6, **fields, **prices), ticker(8)]
    found = played(tmp_path, kernel, lines)
    assert column(found, "funding_rate") == [0.0001] * 3 + [None] * 3 + [0.0001] * 2
    assert found.pipeline.counters.rejected == 1
    assert "OK" not in statuses(found, "perpetual")[3:6]


def test_a_field_that_does_not_fit_is_unknown_and_the_others_are_known(tmp_path: Path, kernel: Kernel) -> None:
    fields = {"fundingRate": "0.0001", "openInterest": "5", "markPrice": "100.0123456789", "lastPrice": "100"}
    found = played(tmp_path, kernel, [ticker(0, **fields), ticker(2)])
    assert column(found, "funding_rate") == [0.0001] * 2
    assert found.pipeline.counters.rejected == 0
    assert "OK" not in statuses(found, "perpetual"), "not every field is known"


def test_a_rate_that_does_not_change_is_known_for_ever(tmp_path: Path, kernel: Kernel) -> None:
    found = case(tmp_path, kernel, "steady_funding.jsonl.gz")
    rows = found.rows("HHHUSDT")
    rates = rows.values[:, kernel.feature_set.columns.index("funding_rate")]
    assert len(rows) == 93_540
    assert (rates == 0.0001).all()
    perpetual = [group.name for group in kernel.feature_set.groups].index("perpetual")
    is_ok = rows.status[:, perpetual] == OK
    columns = list(kernel.feature_set.groups[perpetual].indices)
    assert np.isfinite(rows.values[is_ok][:, columns]).all(), "a value is never NaN under the status OK"
    assert set(rows.status[:, perpetual].tolist()) <= {OK, WARMUP, NO_DATA}


def test_a_rate_is_unknown_after_a_silence_of_all_tickers(tmp_path: Path, kernel: Kernel) -> None:
    heard = [ticker(0, fundingRate="0.0001", lastPrice="100"), *(ticker(60 * at) for at in range(1, 90))]
    hours = MINUTE_NS // SECOND_NS * 60 * 2
    found = played(tmp_path, kernel, [*heard, ticker(89 * 60 + hours), ticker(89 * 60 + hours + 5)])
    rate = column(found, "funding_rate")
    assert rate[: 89 * 60 + 1] == [0.0001] * (89 * 60 + 1)
    assert rate[89 * 60 + hours - 1 :] == [None] * 6


@pytest.mark.parametrize(
    ("absurd", "rule"),
    [
        ({"markPrice": "99999"}, "mark price: must be within 10 times"),
        ({"indexPrice": "0.01"}, "index price: must be within 10 times"),
        ({"openInterest": "999999"}, "open interest: must be at most 1000 times"),
    ],
)
def test_a_field_alone_that_cannot_follow_on_what_is_known_is_rejected(
    tmp_path: Path, kernel: Kernel, absurd: dict[str, str], rule: str
) -> None:
    fields = {"fundingRate": "0.0001", "nextFundingTime": str((BEGIN_NS + HOUR_NS) // MILLISECOND_NS)}
    prices = {"openInterest": "5", "markPrice": "100", "indexPrice": "100", "lastPrice": "100"}
    lines = [ticker(0, **fields, **prices), ticker(3, **absurd), ticker(6, **fields, **prices), ticker(8)]
    found = played(tmp_path, kernel, lines)
    assert found.pipeline.counters.rejected == 1
    assert rule in (found.pipeline.first_rejection or "")
    assert column(found, "funding_rate") == [0.0001] * 3 + [None] * 3 + [0.0001] * 2
    assert "OK" not in statuses(found, "perpetual")[3:6]


def test_a_market_that_moves_fast_is_rejected_nowhere(tmp_path: Path, kernel: Kernel) -> None:
    prices = {"openInterest": "5", "markPrice": "100", "indexPrice": "100", "lastPrice": "100"}
    lines = [ticker(0, **prices), ticker(1, markPrice="990"), ticker(2, indexPrice="980"), ticker(3, openInterest="0")]
    lines += [ticker(4, openInterest="100000"), ticker(5, markPrice="110", indexPrice="105"), ticker(6)]
    assert played(tmp_path, kernel, lines).pipeline.counters.rejected == 0
