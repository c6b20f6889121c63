"""Source ``bybit`` against a server that speaks the exchange's protocol and replays a real recording."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from random import Random

import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.source import Delivery
from ingestion.sources.played.play import play
from ingestion.sources.played.recordings import read_recording
from ingestion.venues.bybit.connection import Timings
from ingestion.venues.bybit.group import Patience
from ingestion.venues.bybit.stream import BybitSource
from market.clock import ManualClock
from tests.bybit_exchange import BybitExchange
from tests.bybit_live import BOOK, DEADLINE_S, QUICK, SYMBOLS, Recorded, Worker, eventually, live, lose_a_delta, run
from transforms.kernel import Kernel, compile_kernel

LINEAR = "bybit/linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz"


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


@pytest.fixture(scope="module")
def recorded(recorded_data: Path) -> Recorded:
    with gzip.open(recorded_data / LINEAR) as file:
        lines = [json.loads(line) for line in file]
    return [(line["recv_ns"], line["msg"]) for line in lines]


def test_undisturbed_the_rows_are_those_of_a_replay_of_the_recording(
    tmp_path: Path, kernel: Kernel, recorded: Recorded, recorded_data: Path
) -> None:
    async def body() -> None:
        async with live(tmp_path / "live", kernel) as found:
            await found.publish(recorded)
            assert found.source.connections == 1
            assert all(len(topics) <= 10 for topics in found.asked("subscribe"))
        worker = found.worker
        assert set(worker.streams) == set(found.source.streams)
        assert worker.pipeline.counters.messages == len(recorded)
        assert (worker.pipeline.counters.rejected, worker.pipeline.gaps, worker.pipeline.late_messages) == (0, 0, 0)
        replayed = Worker(tmp_path / "replayed", kernel)
        play(replayed.pipeline, read_recording(recorded_data / LINEAR))
        replayed.pipeline.close()
        for symbol in SYMBOLS:
            row_ns, values = worker.rows.bits(symbol)
            expected_ns, expected = replayed.rows.bits(symbol)
            # The replay closes the rows before its last message; so does the live worker.
            assert row_ns == expected_ns
            assert values == expected
        worker.check_parity()

    run(body)


def test_a_connection_that_is_cut_is_opened_again_and_what_was_missed_is_on_the_tape(
    tmp_path: Path, kernel: Kernel, recorded: Recorded
) -> None:
    async def body() -> None:
        async with live(tmp_path, kernel) as found:
            await found.publish(recorded[:500])
            for cut_at in (500, 800):
                await found.exchange.cut()
                # Nobody hears these.
                found.exchange.is_refusing = True
                await found.publish(recorded[cut_at : cut_at + 100])
                attempts = found.source.connections
                await eventually(lambda attempts=attempts: found.source.connections > attempts + 2)  # type: ignore[misc]  # mypy cannot infer a default's type
                found.exchange.is_refusing = False
                await found.is_subscribed()
                await found.publish(recorded[cut_at + 100 : cut_at + 300])
            await found.publish(recorded[1100:])
        worker = found.worker
        assert [worker.losses(symbol) for symbol in SYMBOLS] == [2, 2]
        # The book began again with a snapshot, so that nothing of it is unknown for long.
        assert worker.pipeline.gaps == 0
        assert worker.pipeline.counters.rejected == 0
        for symbol in SYMBOLS:
            assert len(worker.trades(symbol)) == len(set(worker.trades(symbol)))
        worker.check_parity()

    run(body)


def test_a_restart_of_the_exchange_begins_the_book_again(tmp_path: Path, kernel: Kernel, recorded: Recorded) -> None:
    async def body() -> None:
        async with live(tmp_path, kernel) as found:
            await found.publish(recorded[:600])
            before = found.worker.delivered
            await found.exchange.restart("BTCUSDT", recorded[600][1]["ts"])
            await eventually(lambda: found.worker.delivered == before + 1)
            next_u = 2
            for recv_ns, message in recorded[600:]:
                renumbered = message
                if message["topic"] == BOOK:
                    renumbered = {**message, "data": {**message["data"], "u": next_u}}
                    next_u += 1
                await found.publish([(recv_ns, renumbered)])
        assert found.worker.pipeline.gaps == 0
        assert found.worker.pipeline.duplicates == 0
        assert found.source.connections == 1
        found.worker.check_parity()

    run(body)


def test_a_gap_is_healed_by_subscribing_the_book_again(tmp_path: Path, kernel: Kernel, recorded: Recorded) -> None:
    async def body() -> None:
        async with live(tmp_path, kernel) as found:
            await found.publish(recorded[:600])
            await lose_a_delta(found, recorded)
            before = found.worker.delivered
            await found.source.request_snapshot("BTCUSDT")
            await found.source.request_snapshot("BTCUSDT")  # asked for already
            await eventually(lambda: found.worker.delivered == before + 1)
            await found.publish(recorded[700:])
            assert found.asked("unsubscribe") == [[BOOK]]
            assert found.source.connections == 1
        assert found.worker.pipeline.gaps == 1
        found.worker.check_parity()

    run(body)


def test_a_snapshot_that_does_not_come_is_brought_by_a_new_connection(
    tmp_path: Path, kernel: Kernel, recorded: Recorded
) -> None:
    async def body() -> None:
        async with live(tmp_path, kernel) as found:
            await found.publish(recorded[:600])
            await lose_a_delta(found, recorded)
            found.exchange.muted = {BOOK}
            await found.source.request_snapshot("BTCUSDT")
            await eventually(lambda: found.source.connections == 2)
            await found.is_subscribed(2)
            await found.publish(recorded[700:])
            await found.is_subscribed(1)
        assert found.worker.pipeline.gaps == 1
        assert [found.worker.losses(symbol) for symbol in SYMBOLS] == [0, 0]
        snapshots = [message for message in found.worker.on_tape("BTCUSDT") if message.get("type") == "snapshot"]
        assert sum(message["topic"] == BOOK for message in snapshots) == 2
        found.worker.check_parity()

    run(body)


def test_rotation_by_overlapping_connections_loses_nothing_and_doubles_nothing(
    tmp_path: Path, kernel: Kernel, recorded: Recorded
) -> None:
    async def body() -> None:
        patience = Patience(rotate=0.1, first_pause=0.01, longest_pause=0.05, overlap=20.0)
        async with live(tmp_path, kernel, patience=patience) as found:
            quarter = len(recorded) // 4
            for number in range(1, 4):
                # A successor opens in silence, and takes over with the messages of the next quarter.
                await found.publish(recorded[(number - 1) * quarter : number * quarter])
                await eventually(lambda number=number: found.source.connections > number)  # type: ignore[misc]  # mypy cannot infer a default's type
            await found.publish(recorded[3 * quarter :])
            assert found.source.connections > 3
            assert found.source.repeated > 0
        worker = found.worker
        assert [worker.losses(symbol) for symbol in SYMBOLS] == [0, 0]
        assert worker.pipeline.gaps == 0
        for symbol in SYMBOLS:
            published = [
                trade["i"]
                for _, message in recorded
                if message["topic"] == f"publicTrade.{symbol}"
                for trade in message["data"]
            ]
            assert worker.trades(symbol) == published
            deltas = [message for message in worker.on_tape(symbol) if message["topic"] == f"orderbook.200.{symbol}"]
            updates = [message["data"]["u"] for message in deltas]
            assert updates == sorted(updates)
        worker.check_parity()

    run(body)


def test_what_only_a_slow_connection_was_sent_is_read_before_it_is_closed(
    tmp_path: Path, kernel: Kernel, recorded: Recorded
) -> None:
    async def body() -> None:
        async with live(tmp_path, kernel) as found:
            await found.publish(recorded[:200])
            [slow] = found.exchange.subscriptions
            found.exchange.hold(slow)
            trade_at = next(at for at in range(200, 400) if recorded[at][1]["topic"] == "publicTrade.BTCUSDT")
            await found.publish(recorded[200 : trade_at + 1])
            found.source._groups[0]._renew.set()
            await found.is_subscribed(2)
            await found.publish(recorded[trade_at + 1 : trade_at + 60])
            new_trades = {trade["i"] for trade in recorded[trade_at][1]["data"]}
            assert not new_trades & set(found.worker.trades("BTCUSDT"))
            await found.exchange.release(slow)
            await found.is_subscribed(1)
            await found.publish(recorded[trade_at + 60 :])
        assert new_trades <= set(found.worker.trades("BTCUSDT"))
        assert len(found.worker.trades("BTCUSDT")) == len(set(found.worker.trades("BTCUSDT")))
        assert found.worker.losses("BTCUSDT") == 0
        assert found.worker.pipeline.gaps == 0
        found.worker.check_parity()

    run(body)


def test_a_silent_connection_is_replaced_and_pings_are_sent(tmp_path: Path, kernel: Kernel, recorded: Recorded) -> None:
    async def body() -> None:
        timings = Timings(ping=0.05, silent=2.0)  # this process may stand still for a second on a busy machine
        patience = Patience(first_pause=0.01, longest_pause=0.05, connection=timings)
        async with live(tmp_path, kernel, patience=patience) as found:
            await found.publish(recorded[:300])
            # Pongs are messages too: an exchange that answers is not silent.
            await eventually(lambda: len(found.asked("ping")) * timings.ping > timings.silent)
            assert found.source.connections == 1
            for connection in found.exchange.subscriptions:
                connection.transport.pause_reading()  # no more pongs
            await eventually(lambda: found.source.connections == 2)
        assert found.worker.pipeline.counters.answers == 0

    run(body)


def test_a_symbol_that_the_exchange_refuses_is_named_and_the_others_come(
    tmp_path: Path, kernel: Kernel, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        async with live(tmp_path, kernel, symbols=(*SYMBOLS, "NOPEUSDT")) as found:
            await found.publish(recorded[:200])
        assert found.worker.delivered == 200

    run(body)
    refused = [record.message for record in caplog.records if "was refused" in record.message]
    assert len(refused) == 4
    assert all("NOPEUSDT" in message for message in refused)


def test_what_is_no_message_goes_to_the_dead_letter(tmp_path: Path, kernel: Kernel, recorded: Recorded) -> None:
    async def body() -> None:
        async with live(tmp_path, kernel) as found:
            await found.publish(recorded[:50])
            [connection] = found.exchange.subscriptions
            for text in ("nonsense", '{"topic": 7}', "[]", '{"topic": "orderbook.200.BTCUSDT", "data": {"u": "x"}}'):
                before = found.worker.delivered
                await connection.send(text)
                await eventually(lambda before=before: found.worker.delivered == before + 1)  # type: ignore[misc]  # mypy cannot infer a default's type
            await found.publish(recorded[50:100])
        assert found.worker.pipeline.counters.rejected == 4

    run(body)


def test_while_the_worker_has_no_room_the_source_says_so_and_still_closes(
    recorded: Recorded,
) -> None:
    async def body() -> None:
        async with BybitExchange(SYMBOLS) as exchange:
            source = BybitSource(SYMBOLS, url=exchange.url, clock=ManualClock(1), rng=Random(1), patience=QUICK)

            async def never(_delivery: Delivery) -> None:
                await asyncio.Event().wait()

            running = asyncio.create_task(source.run(never))
            await eventually(lambda: [len(each) for each in exchange.subscriptions.values()] == [8])
            await exchange.publish(recorded[0][1])
            await eventually(lambda: source.is_behind("tickers"))
            assert not source.is_behind("publicTrade")
            assert not source.is_whole("BTCUSDT")
            await source.close()
            await asyncio.wait_for(running, DEADLINE_S)
            assert not source.is_behind("tickers")

    run(body)
