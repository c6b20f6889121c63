"""The client of the exchange's history: whole periods, kept limits, and a clear end when it answers otherwise."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from backfill.bybit.client import BANNED_S, MOST_ATTEMPTS
from backfill.bybit.rest import LISTING_NS, BybitHistory
from market.clock import MILLISECOND_NS, MINUTE_NS, ManualClock
from market.errors import InvalidRequest, StoreUnavailable
from tests.bybit_rest import MINUTE_MS, BybitHistoryServer, Failure, History, recorded_klines

SYMBOL: Final = "DOGEUSDT"
LIMITED: Final = Failure.told(10006, "Too many visits!", X_Bapi_Limit_Reset_Timestamp="4000")


@pytest.fixture(scope="module")
def server(recorded_data: Path) -> Iterator[BybitHistoryServer]:
    klines = recorded_klines(recorded_data / "klines" / "DOGEUSDT_1m.csv.gz", last=3000)
    with BybitHistoryServer({SYMBOL: History(klines=klines)}) as running:
        yield running


@pytest.fixture
def slept(server: BybitHistoryServer) -> list[float]:
    server.asked.clear()
    server.headers.clear()
    return []


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000 * MILLISECOND_NS)


@pytest.fixture
def client(server: BybitHistoryServer, slept: list[float], clock: ManualClock) -> Iterator[BybitHistory]:
    made = BybitHistory(server.url, clock, delay_ms=100, sleep=slept.append, jitter=lambda: 0.5)
    yield made
    made.close()
    assert server.failures == [], "every failure was met"


def period(server: BybitHistoryServer) -> tuple[int, int]:
    rows = server.symbols[SYMBOL].klines
    return int(rows[0][0]), int(rows[-1][0]) + MINUTE_MS


def test_a_period_longer_than_a_page_comes_whole_and_oldest_first(
    client: BybitHistory, server: BybitHistoryServer, slept: list[float]
) -> None:
    assert client.klines(SYMBOL, *period(server)) == list(server.symbols[SYMBOL].klines)
    assert len(server.asked) == 3
    assert slept == [0.0, 0.1, 0.1]


def test_what_is_outside_of_the_period_and_a_candle_that_is_open_is_left_out(
    client: BybitHistory, server: BybitHistoryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_ms, _ = period(server)
    monkeypatch.setattr(server, "now_ms", start_ms + 5 * MINUTE_MS + 59_999)
    rows = client.klines(SYMBOL, start_ms + MINUTE_MS, start_ms + 7 * MINUTE_MS)
    assert [int(row[0]) for row in rows] == [start_ms + minute * MINUTE_MS for minute in (1, 2, 3, 4)]


def test_work_on_an_answer_counts_towards_the_pause(server: BybitHistoryServer, slept: list[float]) -> None:
    clock = ManualClock(1000 * MILLISECOND_NS)
    client = BybitHistory(server.url, clock, delay_ms=100, sleep=slept.append)
    for worked_ms in (60, 200, -500):
        client.listing(SYMBOL)
        client.klines(SYMBOL, 0, MINUTE_MS)
        clock.set(clock.now_ns() + worked_ms * MILLISECOND_NS)
    client.klines(SYMBOL, 0, MINUTE_MS)
    client.close()
    assert slept == pytest.approx([0.0, 0.1, 0.04, 0.0, 0.1]), "a clock that was put back lengthens nothing"


def test_what_is_said_of_an_instrument_is_asked_for_once_in_a_while(
    server: BybitHistoryServer, slept: list[float]
) -> None:
    clock = ManualClock(1000 * MILLISECOND_NS)
    client = BybitHistory(server.url, clock, sleep=slept.append)
    assert client.listing(SYMBOL) is client.listing(SYMBOL)
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="symbol invalid"):
            client.listing("NOSUCH")
    clock.set(clock.now_ns() + LISTING_NS)
    client.listing(SYMBOL)
    client.close()
    assert [sent["symbol"] for _, sent in server.asked] == [SYMBOL, "NOSUCH", "NOSUCH", SYMBOL]


def test_an_empty_period_is_no_error(client: BybitHistory) -> None:
    assert client.klines(SYMBOL, 0, MINUTE_MS) == []


@pytest.mark.parametrize(
    ("failure", "pause_s"),
    [
        (LIMITED, 3.0),
        (Failure(429, b"slow down"), 0.5),
        (Failure(403, b"banned"), BANNED_S),
        (Failure(502, b"bad gateway"), 0.5),
        (Failure(200, b"<html>a proxy</html>"), 0.5),
        (Failure(200, b'{"retCode": 0, "resu', is_cut=True), 0.5),
        (Failure.told(10016, "server error"), 0.5),
    ],
)
def test_what_may_succeed_later_is_asked_again_after_the_wait_that_it_needs(
    client: BybitHistory,
    server: BybitHistoryServer,
    slept: list[float],
    caplog: pytest.LogCaptureFixture,
    *,
    failure: Failure,
    pause_s: float,
) -> None:
    server.failures.append(failure)
    start_ms, _ = period(server)
    assert len(client.klines(SYMBOL, start_ms, start_ms + MINUTE_MS)) == 1
    assert slept == [0.0, pause_s]
    [line] = [each.getMessage() for each in caplog.records if each.name == "backfill.bybit.client"]
    assert line.startswith(f"bybit GET /v5/market/kline of {SYMBOL}: ")
    assert line.endswith(f"; retrying in {pause_s:.1f} s")


def test_retries_of_a_minute_are_a_line_of_the_log_with_their_count(
    clock: ManualClock, client: BybitHistory, server: BybitHistoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    def lines() -> list[str]:
        return [each.getMessage() for each in caplog.records if each.name == "backfill.bybit.client"]

    for _ in range(2):
        server.failures += [Failure(500, b"on fire")] * MOST_ATTEMPTS
        with pytest.raises(StoreUnavailable):
            client.klines(SYMBOL, *period(server))
    assert len(lines()) == 1
    clock.set(clock.now_ns() + MINUTE_NS)
    server.failures.append(Failure(500, b"on fire"))
    client.klines(SYMBOL, *period(server))
    told = 2 * (MOST_ATTEMPTS - 1) - 1
    assert lines()[1:] == [f"{lines()[0]}; {told} more retries since the last such line"]


def test_waits_double_and_end_with_what_was_answered(
    client: BybitHistory, server: BybitHistoryServer, slept: list[float]
) -> None:
    server.failures += [Failure(500, b"on fire")] * MOST_ATTEMPTS
    with pytest.raises(StoreUnavailable, match="must succeed, was 500 on fire"):
        client.klines(SYMBOL, *period(server))
    assert slept == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0]


def test_a_used_up_limit_is_waited_for_before_the_next_request(
    client: BybitHistory, server: BybitHistoryServer, slept: list[float]
) -> None:
    start_ms, _ = period(server)
    used_up = {"X-Bapi-Limit-Status": "0", "X-Bapi-Limit-Reset-Timestamp": "1700"}
    server.failures.append(Failure(200, b'{"retCode": 0, "time": 4398046511104, "result": {"list": []}}', used_up))
    client.klines(SYMBOL, start_ms, start_ms + MINUTE_MS)
    client.klines(SYMBOL, start_ms, start_ms + MINUTE_MS)
    assert slept == [0.0, 0.7]


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b'{"retCode": 0, "time": 4398046511104, "result": {"list": [["1", "1"]]}}', "rows must be of"),
        (
            b'{"retCode": 0, "time": 4398046511104, "result": {"list": [["x", "1", "1", "1", "1", "1", "1"]]}}',
            "rows must be of",
        ),
        (b'{"retCode": 0, "time": 4398046511104, "result": {"rows": []}}', "must answer as documented"),
        (b'{"retCode": 0, "time": 4398046511104, "result": {"list": [[1, 2, 3]]}}', "must answer as documented"),
    ],
)
def test_an_answer_that_breaks_its_schema_or_its_period_is_not_believed(
    client: BybitHistory, server: BybitHistoryServer, *, body: bytes, rule: str
) -> None:
    server.failures.append(Failure(200, body))
    with pytest.raises(StoreUnavailable, match=rule):
        client.klines(SYMBOL, *period(server))


def test_a_moment_that_is_stated_twice_in_two_ways_is_not_believed(
    client: BybitHistory, server: BybitHistoryServer
) -> None:
    start_ms, end_ms = period(server)
    twice = ",".join(f'["{start_ms}", "1", "2", "1", "{close}", "1", "1"]' for close in (1, 2))
    server.failures.append(
        Failure(200, f'{{"retCode": 0, "time": 4398046511104, "result": {{"list": [{twice}]}}}}'.encode())
    )
    with pytest.raises(StoreUnavailable, match="once"):
        client.klines(SYMBOL, start_ms, end_ms)


def test_what_the_exchange_does_not_know_is_the_callers_error_at_once(
    client: BybitHistory, server: BybitHistoryServer
) -> None:
    with pytest.raises(InvalidRequest, match="symbol invalid"):
        client.klines("NOSUCH", *period(server))
    assert len(server.asked) == 1


def test_requests_are_signed_when_there_are_keys(server: BybitHistoryServer, slept: list[float]) -> None:
    clock = ManualClock(1_700_000_000_000 * MILLISECOND_NS)
    client = BybitHistory(server.url, clock, credentials=("key", "secret"), sleep=slept.append)
    client.listing(SYMBOL)
    client.close()
    sent = server.headers[-1]
    text = f"1700000000000key5000category=linear&symbol={SYMBOL}"
    assert sent["X-BAPI-API-KEY"] == "key"
    assert sent["X-BAPI-SIGN"] == hmac.new(b"secret", text.encode(), hashlib.sha256).hexdigest()
