"""A live worker whose messages are wrong: twice, out of order, lost, poison, a burst, by a clock that is set."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ingestion.messages import TimedMessage
from ingestion.pipeline.dead_letter import DeadMessage, read_dead_letter
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import SECOND_NS
from runtime.servers import Servers
from runtime.settings import Settings
from storage.features.log import FeatureLog
from storage.tape import read_tape
from tests.broker import Broker
from tests.bybit_rest import Book, OrderBookRest, book_after
from tests.gateway import QUEUES, Passed, SubscriptionApi, envelopes, publish_in_time
from tests.live import SYMBOLS, LiveIngest, eventually, running
from tests.live_market import (
    SYMBOL,
    all_taped,
    check_all,
    fed,
    kernel,
    market,
    messages_taken,
    row_times,
    rows_pass,
    settings,
)
from transforms.catalogue import STALE_AFTER_NS
from transforms.declaration import Source
from transforms.kernel import Kernel
from transforms.status import STALE

__all__ = ["kernel", "settings"]  # fixtures


def test_messages_that_come_twice_are_taken_once_and_without_any_more_rows_turn_stale(
    settings: Settings, kernel: Kernel, live_servers: Servers, broker: Broker, tmp_path: Path
) -> None:
    passed = market(4)
    twice = [each for one in passed for each in (one, one)]
    with running(settings, live_servers) as ingest:
        publish_in_time(broker, twice)
        eventually(lambda: redelivered(ingest) == len(passed))
        # The gateway is away.
        last_ns = max(each.recv_ns for each in passed if each.queue == QUEUES["orderbook"])
        rows_pass(ingest, last_ns + 11 * SECOND_NS)
        assert {each["status"]["orderbook"] for each in ingest.status()["symbols"].values()} == {"STALE"}
    check_staleness(settings, kernel)
    check_all(settings, kernel, broker, passed, tmp_path / "replay")


def redelivered(ingest: LiveIngest) -> int:
    return sum(each["redelivered"] for each in ingest.status().get("symbols", {}).values())


def check_staleness(settings: Settings, kernel: Kernel) -> None:
    """The order book of a logged row is stale exactly where its last message is too old."""
    at = [group.name for group in kernel.feature_set.groups].index("orderbook")
    log = FeatureLog(settings.feature_log_storage_path)
    for symbol in SYMBOLS:
        books = [frame for frame in read_tape(settings.raw_folder, symbol) if b'"topic": "orderbook' in frame.body]
        last_ns = max(frame.recv_ns for frame in books)
        rows, _ = log.read(symbol, kernel.feature_set, from_ns=None, to_ns=None)
        is_old = rows.row_ns > last_ns + STALE_AFTER_NS[Source.BOOK]
        assert ((rows.status[:, at] == STALE) == is_old).all()


def test_messages_out_of_order_break_the_book_until_the_snapshot_that_is_asked_for(
    settings: Settings, kernel: Kernel, live_servers: Servers, broker: Broker, tmp_path: Path
) -> None:
    api = SubscriptionApi()
    passed = market(7)
    books = [at for at, each in enumerate(passed) if each.queue == QUEUES["orderbook"] and b"BTCUSDT" in each.body]
    first, second = books[20], books[21]
    passed[first], passed[second] = (
        Passed(passed[second].queue, passed[first].recv_ns, passed[second].body),
        Passed(passed[first].queue, passed[second].recv_ns, passed[first].body),
    )
    asking = settings.model_copy(update={"ws_gateway_host": "127.0.0.1", "ws_gateway_port": api.port})
    asking = asking.model_copy(update={"ws_gateway_api_key": _secret(api.api_key)})
    try:
        with running(asking, live_servers) as ingest:
            with fed(broker, passed):
                eventually(lambda: ("DELETE", "") in [(method, "") for method, _, _ in api.calls])
            all_taped(settings, passed)
            rows_pass(ingest, time.time_ns() + SECOND_NS)
            status = ingest.status()
            assert status["symbols"][SYMBOL]["gaps"] == 1
            assert status["symbols"][SYMBOL]["status"]["orderbook"] == "GAP"
            assert status["symbols"]["ETHUSDT"]["status"]["orderbook"] != "GAP"
            snapshot = market(1, begin_s=0.2, seed=9)
            publish_in_time(broker, snapshot)
            all_taped(settings, [*passed, *snapshot])
            rows_pass(ingest, time.time_ns() + SECOND_NS)
            assert ingest.status()["symbols"][SYMBOL]["status"]["orderbook"] in ("OK", "WARMUP")
            asked = [body["channel_type"] for method, _, body in api.calls if method == "POST"]
            assert Counter(asked)["orderbook"] > 2
            assert set(asked) == {"orderbook", "trades", "kline", "ticker"}
            assert {each["symbol"] for each in ingest.status()["subscriptions"]} == {"BTCUSDT", "ETHUSDT"}
    finally:
        api.close()
    gaps = [frame for frame in read_tape(settings.raw_folder, SYMBOL) if b"feature-service.gap" in frame.body]
    assert len(gaps) == 1
    check_all(settings, kernel, broker, [*passed, *snapshot], tmp_path / "replay")


def test_a_lost_book_that_the_gateway_does_not_bring_is_taken_from_the_exchange(
    settings: Settings, kernel: Kernel, live_servers: Servers, broker: Broker, tmp_path: Path
) -> None:
    everything = market(8)
    books = [each for each in everything if each.queue == QUEUES["orderbook"] and SYMBOL.encode() in each.body]
    passed = [each for each in everything if each is not books[20]]

    def book_now(_symbol: str) -> Book:
        return book_after(json.loads(each.body)["payload"] for each in books if each.recv_ns <= time.time_ns())

    rest = OrderBookRest(book_now)
    try:
        with running(settings.model_copy(update={"bybit_rest_url": rest.url}), live_servers) as ingest:
            publish_in_time(broker, passed)
            all_taped(settings, passed)
            rows_pass(ingest, time.time_ns() + SECOND_NS)
            status = ingest.status()
    finally:
        rest.close()
    taken = status["worker"]["order_books_taken_total"]
    assert taken == status["symbols"][SYMBOL]["gaps"] >= 1
    assert {asked["symbol"] for asked in rest.asked} == {SYMBOL}
    assert status["symbols"][SYMBOL]["status"]["orderbook"] in ("OK", "WARMUP")
    raw = settings.raw_folder
    assert sum(b'"origin":"rest"' in frame.body for frame in read_tape(raw, SYMBOL)) == taken
    check_all(settings, kernel, broker, passed, tmp_path / "replay")
    # The mid of the last row is that of the whole stream, of which nothing was lost.
    served, _ = FeatureLog(settings.feature_log_storage_path).read(SYMBOL, kernel.feature_set, from_ns=None, to_ns=None)
    last = book_after(json.loads(each.body)["payload"] for each in books)
    mid = (max(float(px) for px, _ in last["b"]) + min(float(px) for px, _ in last["a"])) / 2
    assert served.values[-1, kernel.feature_set.columns.index("mid_price")] == pytest.approx(mid, rel=1e-12)


def _secret(text: str) -> Any:  # noqa: ANN401  # pydantic's own
    from pydantic import SecretStr

    return SecretStr(text)


def test_poison_is_kept_with_its_reason_and_harms_nothing_else(
    settings: Settings, kernel: Kernel, live_servers: Servers, broker: Broker, tmp_path: Path
) -> None:
    passed = market(4)
    good = json.loads(next(each.body for each in passed if each.queue == QUEUES["orderbook"]))
    poison = [
        b"",
        b"\xff\xfe no text",
        b"[]",
        b'{"topic": ',
        json.dumps({**good, "event_id": "a", "received_at": "2099-01-01T00:00:00"}).encode(),
        json.dumps({**good, "event_id": "b", "received_at": "1970-01-02T00:00:00"}).encode(),
        json.dumps({**good, "event_id": "c", "payload": {"s": "BTCUSDT"}}).encode(),
        json.dumps({**good, "event_id": "d", "topic": "orderbook.1.BTCUSDT"}).encode(),
        json.dumps({**good, "event_id": "e", "topic": "weather.BTCUSDT"}).encode(),
    ]
    mixed = [*passed[:50], *(Passed(QUEUES["orderbook"], passed[50].recv_ns, body) for body in poison), *passed[50:]]
    with running(settings, live_servers) as ingest:
        publish_in_time(broker, mixed)
        all_taped(settings, passed)
        eventually(lambda: ingest.status()["worker"]["rejected_total"] == len(poison))
        rows_pass(ingest, time.time_ns() + SECOND_NS)
    dead = list(read_dead_letter(settings.raw_folder / "dead_letter.jsonl"))
    assert [each.body for each in dead if isinstance(each, DeadMessage)] == poison
    check_all(settings, kernel, broker, passed, tmp_path / "replay")


@pytest.mark.soak
def test_a_burst_of_a_hundred_times_the_usual_is_computed_whole(
    settings: Settings, kernel: Kernel, live_servers: Servers, broker: Broker, tmp_path: Path
) -> None:
    begin_ns = time.time_ns() + SECOND_NS
    messages: list[TimedMessage] = list(
        simulate(DEFAULT_SYMBOLS, seed=8, start_ns=begin_ns, duration_ns=120 * SECOND_NS)
    )
    burst = envelopes(messages, begin_ns=begin_ns, speed=100)
    assert len(burst) > 3_000  # how many depends on when it begins
    with running(settings, live_servers) as ingest:
        publish_in_time(broker, burst)
        eventually(lambda: messages_taken(ingest) == len(burst))
        rows_pass(ingest, time.time_ns() + SECOND_NS)
    check_all(settings, kernel, broker, burst, tmp_path / "replay")


def test_a_clock_that_is_set_moves_no_row(
    settings: Settings, kernel: Kernel, live_servers: Servers, broker: Broker, tmp_path: Path
) -> None:
    class SetClock:
        """The machine's clock, which somebody sets."""

        def __init__(self) -> None:
            self.step_ns = 0

        def now_ns(self) -> int:
            return time.time_ns() + self.step_ns

    machine = SetClock()
    passed = market(8)
    ingest = LiveIngest(settings, live_servers, machine=machine)
    ingest.start()
    try:
        with fed(broker, passed):
            rows_pass(ingest, passed[0].recv_ns + SECOND_NS)
            # An hour back, right again, and an hour forward: two steps, with a moment in which the clocks have met.
            for step_s in (-3600, 0, 3600):
                machine.step_ns = step_s * SECOND_NS
                before = max(row_times(ingest).values())
                rows_pass(ingest, before + SECOND_NS)
                assert max(row_times(ingest).values()) < before + 60 * SECOND_NS
        all_taped(settings, passed)
        rows_pass(ingest, passed[-1].recv_ns + SECOND_NS)
        assert ingest.status()["worker"]["clock_steps_total"] == 2
        assert ingest.status()["worker"]["rejected_total"] == 0
    finally:
        ingest.stop()
    assert ingest.error is None
    check_all(settings, kernel, broker, passed, tmp_path / "replay")
