"""Candles before a start: asked for beside a source, delivered with a mark, asked for again when they were missed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from backfill.bybit.client import MOST_ATTEMPTS as REQUESTS
from backfill.bybit.rest import BybitHistory
from backfill.warm_up import CANDLES_A_MESSAGE, LAST_MINUTES, MOST_ATTEMPTS, WarmedSource
from ingestion.decoding.own import control_message
from ingestion.source import Deliver, Delivery
from market.clock import MINUTE_NS, ManualClock, parse_iso_ns
from market.events import START, TRADE
from tests.bybit_rest import BybitHistoryServer, Failure, History
from tests.waiting import eventually_async

NOW_NS: Final = parse_iso_ns("2026-01-05T12:00:30")
SYMBOL: Final = "BTCUSDT"
CANDLES: Final = 270
MINUTE_MS: Final = 60_000
NEWEST_MS: Final = NOW_NS // 10**6 // MINUTE_MS * MINUTE_MS - MINUTE_MS


class Silent:
    """A source that delivers what it is given and nothing else."""

    streams = ("kline",)

    def __init__(self) -> None:
        self.deliver: Deliver | None = None
        self._over = asyncio.Event()

    def is_behind(self, stream: str) -> bool:  # noqa: ARG002  # the interface's
        return False

    def is_whole(self, symbol: str) -> bool:  # noqa: ARG002  # the interface's
        return False

    async def run(self, deliver: Deliver) -> None:
        self.deliver = deliver
        await self._over.wait()

    async def request_snapshot(self, symbol: str) -> None:
        """Nobody asks."""

    async def close(self) -> None:
        self._over.set()


@pytest.fixture
def server() -> Iterator[BybitHistoryServer]:
    rows = [
        (str(NEWEST_MS - at * MINUTE_MS), "100.5", "101.0", "100.0", "100.7", "3", "301.5")
        for at in reversed(range(500))
    ]
    with BybitHistoryServer({SYMBOL: History(klines=rows)}) as running:
        yield running


def played(
    server: BybitHistoryServer,
    is_enough: Callable[[list[Delivery]], bool],
    *,
    symbols: tuple[str, ...] = (SYMBOL,),
    again_s: float = 3600.0,
    told_each_s: float = 0.001,
    deliver: bytes | None = None,
) -> list[Delivery]:
    """What is delivered until it is enough. deliver: what the source itself brings, after the first mark."""
    clock = ManualClock(NOW_NS)
    found: list[Delivery] = []

    def open_rest(sleep: Callable[[float], None]) -> BybitHistory:
        return BybitHistory(server.url, clock, delay_ms=0, sleep=lambda seconds: sleep(seconds / 1000))

    async def run() -> None:
        silent = Silent()
        source = WarmedSource(
            silent,
            symbols,
            candles=CANDLES,
            open_rest=open_rest,
            clock=clock,
            again_s=again_s,
            told_each_s=told_each_s,
        )

        async def take(delivery: Delivery) -> None:
            found.append(delivery)

        running = asyncio.create_task(source.run(take))
        if deliver is not None:
            await eventually_async(lambda: marks(found), deadline_s=20)
            assert silent.deliver is not None
            await silent.deliver(Delivery("kline", NOW_NS, deliver))
        await eventually_async(lambda: is_enough(found), deadline_s=20)
        await source.close()
        await running

    asyncio.run(run())
    return found


def marks(found: list[Delivery]) -> list[dict[str, Any]]:
    bodies = [json.loads(each.body) for each in found]
    return [body for body in bodies if body["topic"].startswith("feature-service.history.")]


def candle_starts(found: list[Delivery]) -> list[list[int]]:
    bodies = [json.loads(each.body) for each in found]
    return [[each["start"] for each in body["data"]] for body in bodies if body["topic"].startswith("kline.")]


def test_candles_are_delivered_oldest_first_as_received_now_then_a_mark_of_since_when_and_where_from(
    server: BybitHistoryServer,
) -> None:
    found = played(server, lambda found: len(marks(found)) == 1)
    told = candle_starts(found)
    first_ms = NEWEST_MS - (CANDLES + 1) * MINUTE_MS
    assert [start for each in told for start in each] == list(range(first_ms, NEWEST_MS + 1, MINUTE_MS))
    assert max(map(len, told)) <= CANDLES_A_MESSAGE
    assert {each.recv_ns for each in found} == {NOW_NS}
    [mark] = marks(found)
    assert mark["since"] == first_ms
    assert server.url in mark["reason"]
    # An indicator over all of them is known at once: its minutes and the one for the newest to arrive are there.
    assert NOW_NS - mark["since"] * 10**6 >= (CANDLES + 1) * MINUTE_NS


def test_the_last_minutes_are_asked_for_again_since_a_candle_may_close_before_the_stream_begins(
    server: BybitHistoryServer,
) -> None:
    found = played(server, lambda found: len(candle_starts(found)) == 3, again_s=0.01)
    assert candle_starts(found)[-1] == [NEWEST_MS - at * MINUTE_MS for at in reversed(range(LAST_MINUTES))]
    assert len(marks(found)) == 1


def test_a_mark_that_candles_may_have_been_missed_is_answered_and_one_of_trades_is_not(
    server: BybitHistoryServer,
) -> None:
    lost = control_message(START, symbol=SYMBOL, event_ns=NOW_NS, reason="the connection was lost")
    found = played(server, lambda found: len(marks(found)) == 2, deliver=lost)
    assert [each.body for each in found].index(lost) < len(found) - 1
    trades = control_message(START, symbol=SYMBOL, event_ns=NOW_NS, reason="a queue was away", kind=TRADE)
    assert len(marks(played(server, lambda found: found[-1].body == trades, deliver=trades))) == 1


def test_an_exchange_that_does_not_answer_is_asked_again_and_a_symbol_it_does_not_know_is_not(
    server: BybitHistoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.failures = [None, *[Failure(503)] * 12]
    found = played(server, lambda found: len(marks(found)) == 1, symbols=("NOSUCH", SYMBOL), again_s=0.01)
    assert [mark["topic"] for mark in marks(found)] == [f"feature-service.history.{SYMBOL}"]
    told = [record.getMessage() for record in caplog.records if "requested again" in record.getMessage()]
    assert [line.split(":")[0] for line in told] == [
        "NOSUCH",
        f"candles of {SYMBOL} are requested again in 0.01 s",
        f"candles of {SYMBOL} are requested again in 0.01 s",
    ]


def test_it_gives_up_after_so_many_questions_and_the_source_goes_on(
    server: BybitHistoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.failures = [Failure(503)] * 1000

    def has_given_up(_found: list[Delivery]) -> bool:
        return any("not requested again" in record.getMessage() for record in caplog.records)

    assert played(server, has_given_up, again_s=0.0) == []


def test_symbols_without_an_answer_are_a_line_of_the_log_a_minute_and_all_are_counted(
    server: BybitHistoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.failures = [Failure(503)] * 1000
    symbols = tuple(f"S{at}USDT" for at in range(5))
    looks_after: list[bool] = []

    def has_given_up(_found: list[Delivery]) -> bool:
        is_asking = any(thread.name == "warm-up" for thread in threading.enumerate())
        if len(server.asked) == REQUESTS * MOST_ATTEMPTS * len(symbols) and not is_asking:
            looks_after.append(True)
        return len(looks_after) == 2  # once more, for the loop to take the last answer

    assert played(server, has_given_up, symbols=symbols, again_s=0.0, told_each_s=3600.0) == []
    lines = [record.getMessage() for record in caplog.records if record.name == "backfill.warm_up"]
    assert [line.partition(": bybit")[0] for line in lines] == [
        "candles of S0USDT are requested again in 0 s",
        "candles of S1USDT, S2USDT, S3USDT and 41 more are requested again in 0 s",
        "candles of S0USDT, S1USDT, S2USDT and 2 more are not requested again",
    ]
