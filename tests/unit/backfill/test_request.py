"""What may be asked for: of each category what it has, and no period in which an instrument was never traded."""

from __future__ import annotations

from datetime import date
from typing import Final

import pytest

from backfill.bybit.rest import BybitHistory, Listing
from backfill.request import BackfillRequest, check_category, check_listed, data_types_of_kinds
from market.clock import MILLISECOND_NS, SystemClock, parse_iso_ns
from market.errors import InvalidRequest
from market.events import KLINE, TICKER, TRADE
from tests.bybit_rest import BybitHistoryServer, History

LAUNCHED_MS: Final = parse_iso_ns("2025-01-10") // MILLISECOND_NS
ENDED_MS: Final = parse_iso_ns("2025-03-20T08:00:00") // MILLISECOND_NS


def request(start: str, end: str, *data_types: str) -> BackfillRequest:
    return BackfillRequest("MATICUSDT", date.fromisoformat(start), date.fromisoformat(end), data_types or ("klines",))


def test_spot_is_not_asked_for_what_contracts_alone_have() -> None:
    kinds = {KLINE, TRADE, TICKER}
    assert data_types_of_kinds(kinds, "linear") == ("klines", "trades", "ticker", "funding")
    assert data_types_of_kinds(kinds, "spot") == ("klines", "trades")
    check_category(request("2025-02-01", "2025-02-02", "klines", "funding"), "inverse")
    with pytest.raises(InvalidRequest, match="must be klines, trades or orderbook of spot, was funding"):
        check_category(request("2025-02-01", "2025-02-02", "klines", "funding"), "spot")


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        ("2025-01-01", "2025-01-09", "must be 2025-01-10 or later, when MATICUSDT was listed, was 2025-01-09"),
        ("2025-03-21", "2025-03-25", "must be 2025-03-20 or earlier, when MATICUSDT was traded last, was 2025-03-21"),
        ("2025-01-01", "2025-01-10", None),
        ("2025-03-20", "2025-03-25", None),
    ],
)
def test_a_period_must_reach_into_the_time_in_which_an_instrument_was_traded(
    start: str, end: str, told: str | None
) -> None:
    if told is None:
        check_listed(request(start, end), LAUNCHED_MS, ENDED_MS)
        return
    with pytest.raises(InvalidRequest, match=told):
        check_listed(request(start, end), LAUNCHED_MS, ENDED_MS)


def test_an_instrument_that_is_traded_no_more_is_still_known() -> None:
    known = {"MATICUSDT": History(launched_ms=LAUNCHED_MS, ended_ms=ENDED_MS)}
    with BybitHistoryServer(known) as server:
        rest = BybitHistory(server.url, SystemClock(), delay_ms=0)
        assert rest.listing("MATICUSDT") == Listing(LAUNCHED_MS, 480, ENDED_MS)
        rest.close()
