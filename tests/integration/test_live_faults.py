"""The worker through every fault: never a wrong value, a lost acknowledged message, a stuck process.

Run as a program it is a worker on its own, to be killed.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from ingestion.messages import TimedMessage
from ingestion.pipeline.dead_letter import DeadMessage, read_dead_letter
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import SECOND_NS
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.sources import SourceChoice
from runtime.wiring import compiled_kernel
from storage.database.leases import Leases
from storage.features.log import FeatureLog
from storage.online.store import OnlineStore
from storage.tape import read_tape
from tests.broker import Broker
from tests.bybit_rest import Book, OrderBookRest, book_after
from tests.gateway import QUEUES, Passed, SubscriptionApi, envelopes, publish_in_time
from tests.live import (
    VERSION,
    LiveIngest,
    bits,
    eventually,
    live_settings,
    online_store_of,
    replayed,
    running,
)
from tests.redis_servers import RedisServer
from tests.tcp_proxy import TcpProxy
from transforms.kernel import Kernel

SYMBOL = "BTCUSDT"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(ingest_settings: Settings) -> Settings:
    return ingest_settings


@pytest.fixture
def kernel(settings: Settings) -> Kernel:
    return compiled_kernel(settings, VERSION)


def market(seconds: float, *, begin_s: float = 1.0, seed: int = 5) -> list[Passed]:
    """A simulated market of both symbols as the gateway passes it on, from ``begin_s`` from now on."""
    begin_ns = time.time_ns() + int(begin_s * SECOND_NS)
    messages = list(simulate(DEFAULT_SYMBOLS, seed=seed, start_ns=begin_ns, duration_ns=int(seconds * SECOND_NS)))
    return envelopes(messages, begin_ns=begin_ns)


@contextmanager
def fed(broker: Broker, passed: Sequence[Passed]) -> Iterator[Callable[[], None]]:
    """Publish in time beside the test; yields what waits for the last one."""
    feeding = threading.Thread(target=publish_in_time, args=(broker, passed), daemon=True)
    feeding.start()
    try:
        yield lambda: feeding.join(60)
    finally:
        feeding.join(60)


def event_ids(raw: Path, symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT")) -> Counter[str]:
    """How often each message is on the tapes."""
    bodies: list[dict[str, Any]] = [json.loads(frame.body) for symbol in symbols for frame in read_tape(raw, symbol)]
    return Counter(body["event_id"] for body in bodies if "event_id" in body)


def each_once(passed: Sequence[Passed]) -> Counter[str]:
    return Counter(json.loads(each.body)["event_id"] for each in passed)


def row_times(ingest: LiveIngest) -> dict[str, int]:
    return {symbol: each["last_row_ns"] or 0 for symbol, each in ingest.status().get("symbols", {}).items()}


def rows_pass(ingest: LiveIngest, time_ns: int) -> None:
    """Wait until both symbols have a row after ``time_ns``."""
    eventually(lambda: len(row_times(ingest)) == 2 and min(row_times(ingest).values()) > time_ns)


def check_rows(settings: Settings, kernel: Kernel, scratch: Path) -> None:
    """Every second has its row in the log, and it is what a replay of the tape computes, bit for bit."""
    for symbol in ("BTCUSDT", "ETHUSDT"):
        served, _ = FeatureLog(settings.feature_log_storage_path).read(
            symbol, kernel.feature_set, from_ns=None, to_ns=None
        )
        assert {later - earlier for earlier, later in pairwise(served.row_ns.tolist())} <= {SECOND_NS}
        assert len(served) > 3
        expected = replayed(settings.raw_folder, symbol, kernel, scratch, until_ns=int(served.row_ns[-1]))
        assert bits(served) == bits(expected)
        assert np.isfinite(served.values).any()


def check_all(settings: Settings, kernel: Kernel, broker: Broker, passed: Sequence[Passed], scratch: Path) -> None:
    assert event_ids(settings.raw_folder) == each_once(passed)
    assert [broker.waiting(queue) for queue in QUEUES.values()] == [0] * len(QUEUES)
    check_rows(settings, kernel, scratch)


def test_a_broker_that_restarts_loses_nothing_and_rows_go_on_meanwhile(
    tmp_path: Path, kernel_cache: Path, live_servers: Servers, broker: Broker
) -> None:
    own = Broker()
    try:
        own.start()
        own.declare([*QUEUES.values(), "features.live"])
        settings = live_settings(tmp_path / "data", own, kernel_cache, "BTCUSDT,ETHUSDT")
        before, after = market(4), None
        with running(settings, live_servers) as ingest:
            publish_in_time(own, before)
            rows_pass(ingest, before[-1].recv_ns)
            own.stop()
            rows_pass(ingest, max(row_times(ingest).values()) + SECOND_NS)
            assert ingest.status()["worker"]["broker_is_connected"] == 0
            own.start()
            after = market(3, seed=6)
            publish_in_time(own, after)
            rows_pass(ingest, after[-1].recv_ns + SECOND_NS)
            assert ingest.status()["worker"]["broker_connections_total"] >= 2
            assert ingest.status()["worker"]["publish_outages_total"] == 1
        check_all(settings, compiled_kernel(settings, VERSION), own, [*before, *after], tmp_path / "replay")
        assert own.waiting("features.live") > 0
    finally:
        own.remove()


def test_a_connection_cut_in_mid_message_brings_each_message_once(
    settings: Settings, kernel: Kernel, live_servers: Servers, broker: Broker, tmp_path: Path
) -> None:
    proxy = TcpProxy(("127.0.0.1", broker.port))
    passed = market(6)
    cut = settings.model_copy(update={"rabbitmq_port": proxy.port})
    try:
        with running(cut, live_servers) as ingest:
            with fed(broker, passed) as wait:
                for _ in range(3):
                    more = _messages(ingest) + 50
                    eventually(partial(_has_taken, ingest, more))
                    proxy.cut_after(1500)
                    eventually(proxy.was_cut)
                wait()
            rows_pass(ingest, passed[-1].recv_ns + SECOND_NS)
            eventually(lambda: sum(event_ids(settings.raw_folder).values()) == len(passed))
            redelivered = sum(each["redelivered"] for each in ingest.status()["symbols"].values())
    finally:
        proxy.close()
    assert proxy.cuts >= 3
    assert redelivered >= 0
    check_all(settings, kernel, broker, passed, tmp_path / "replay")


def _has_taken(ingest: LiveIngest, count: int) -> bool:
    return _messages(ingest) >= count


def _messages(ingest: LiveIngest) -> int:
    return int(ingest.status().get("worker", {}).get("messages_total", 0))


@pytest.mark.parametrize("away_s", [3, pytest.param(30, marks=pytest.mark.soak)])
def test_a_redis_that_is_away_misses_rows_that_the_log_and_the_queue_have_and_gets_the_newest(
    settings: Settings,
    kernel: Kernel,
    live_servers: Servers,
    redis_server: RedisServer,
    broker: Broker,
    tmp_path: Path,
    away_s: int,
) -> None:
    passed = market(5 + away_s)
    with running(settings, live_servers) as ingest:
        with fed(broker, passed) as wait:
            rows_pass(ingest, passed[0].recv_ns)
            redis_server.kill()
            rows_pass(ingest, max(row_times(ingest).values()) + away_s * SECOND_NS)
            eventually(lambda: ingest.status()["worker"]["online_is_away"] == 1)
            redis_server.start()
            wait()
        rows_pass(ingest, passed[-1].recv_ns + SECOND_NS)
        eventually(lambda: ingest.status()["worker"]["online_is_away"] == 0)
        with closing(online_store_of(live_servers)) as store:
            eventually(lambda: _online_rows(store) >= passed[-1].recv_ns)
        assert ingest.status()["worker"]["online_outages_total"] == 1
    check_all(settings, kernel, broker, passed, tmp_path / "replay")


def test_a_postgres_that_is_away_stops_no_row_and_costs_no_lease(
    settings: Settings, kernel: Kernel, live_servers: Servers, broker: Broker, tmp_path: Path
) -> None:
    query = parse_qs(urlsplit(live_servers.postgres_url).query)
    proxy = TcpProxy(Path(query["host"][0]) / f".s.PGSQL.{query['port'][0]}")
    through = replace(live_servers, postgres_url=f"postgresql+psycopg://postgres@127.0.0.1:{proxy.port}/postgres")
    passed = market(6)
    try:
        with running(settings, through) as ingest, closing(Leases(live_servers.postgres_url)) as leases:
            eventually(lambda: len(leases.owners()) == 2)
            owners = leases.owners()
            with fed(broker, passed):
                rows_pass(ingest, passed[0].recv_ns)
                proxy.go_away()
                eventually(lambda: ingest.status()["worker"]["lease_outages_total"] == 1)
                eventually(lambda: leases.owners() == {})
                rows_pass(ingest, max(row_times(ingest).values()) + SECOND_NS)
                proxy.come_back()
                eventually(lambda: leases.owners() == owners)
            rows_pass(ingest, passed[-1].recv_ns + SECOND_NS)
    finally:
        proxy.close()
    check_all(settings, kernel, broker, passed, tmp_path / "replay")


def _online_rows(store: OnlineStore) -> int:
    """Time of the older of the newest rows of both symbols."""
    return min(0 if vector is None else vector.row_ns for vector in store.read(["BTCUSDT", "ETHUSDT"]))


def test_messages_that_come_twice_are_taken_once_and_without_any_more_rows_turn_stale(
    settings: Settings, kernel: Kernel, live_servers: Servers, broker: Broker, tmp_path: Path
) -> None:
    passed = market(4)
    twice = [each for one in passed for each in (one, one)]
    with running(settings, live_servers) as ingest:
        publish_in_time(broker, twice)
        rows_pass(ingest, passed[-1].recv_ns + SECOND_NS)
        assert sum(each["redelivered"] for each in ingest.status()["symbols"].values()) == len(passed)
        assert {each["status"]["orderbook"] for each in ingest.status()["symbols"].values()} <= {"OK", "WARMUP"}
        # The gateway is away.
        last_ns = max(each.recv_ns for each in passed if each.queue == QUEUES["orderbook"])
        rows_pass(ingest, last_ns + 11 * SECOND_NS)
        assert {each["status"]["orderbook"] for each in ingest.status()["symbols"].values()} == {"STALE"}
    check_all(settings, kernel, broker, passed, tmp_path / "replay")


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
            rows_pass(ingest, passed[-1].recv_ns)
            status = ingest.status()
            assert status["symbols"][SYMBOL]["gaps"] == 1
            assert status["symbols"][SYMBOL]["status"]["orderbook"] == "GAP"
            assert status["symbols"]["ETHUSDT"]["status"]["orderbook"] != "GAP"
            snapshot = market(1, begin_s=0.2, seed=9)
            publish_in_time(broker, snapshot)
            rows_pass(ingest, snapshot[-1].recv_ns + SECOND_NS)
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
            rows_pass(ingest, passed[-1].recv_ns + SECOND_NS)
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
        rows_pass(ingest, passed[-1].recv_ns + SECOND_NS)
        assert ingest.status()["worker"]["rejected_total"] == len(poison)
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
        eventually(lambda: _messages(ingest) == len(burst))
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
        rows_pass(ingest, passed[-1].recv_ns + SECOND_NS)
        assert ingest.status()["worker"]["clock_steps_total"] == 2
        assert ingest.status()["worker"]["rejected_total"] == 0
    finally:
        ingest.stop()
    assert ingest.error is None
    check_all(settings, kernel, broker, passed, tmp_path / "replay")


def test_a_worker_that_is_killed_is_followed_by_another_that_goes_on_from_the_tape(
    settings: Settings, kernel: Kernel, live_servers: Servers, broker: Broker, tmp_path: Path
) -> None:
    passed = market(24, begin_s=6.0)
    first = start_process(settings, live_servers)
    leases = Leases(live_servers.postgres_url)
    second = None
    try:
        eventually(lambda: len(leases.owners()) == 2)
        owner = leases.owners()[SYMBOL]
        second = start_process(settings, live_servers)
        with fed(broker, passed):
            eventually(lambda: taped_messages(settings) > len(passed) // 3)
            first.kill()
            eventually(lambda: leases.owners().get(SYMBOL, owner)[0] != owner[0])
            assert leases.owners()[SYMBOL][1] > owner[1]
        eventually(lambda: taped_messages(settings) == len(passed))
        eventually(lambda: sum(broker.waiting(queue) for queue in QUEUES.values()) == 0)
        pause = threading.Event()
        pause.wait(2.5)  # a boundary after the last message
        second.terminate()
        assert second.wait(60) == 0, "the second worker ends cleanly"
    finally:
        leases.close()
        for process in (first, second):
            if process is not None:
                process.kill()
                process.wait(60)
    check_all(settings, kernel, broker, passed, tmp_path / "replay")


def test_a_full_disk_ends_the_worker_and_costs_no_message(
    settings: Settings, kernel: Kernel, live_servers: Servers, broker: Broker, tmp_path: Path
) -> None:
    passed = market(3)
    process = start_process(settings, live_servers, largest_file=20_000)
    try:
        publish_in_time(broker, passed)
        assert process.wait(90) == 1, "a tape that cannot be written ends the process"
    finally:
        process.kill()
        process.wait(60)
    with running(settings, live_servers) as ingest:
        eventually(lambda: sum(event_ids(settings.raw_folder).values()) == len(passed))
        rows_pass(ingest, time.time_ns() + SECOND_NS)
    assert event_ids(settings.raw_folder) == each_once(passed)
    assert [broker.waiting(queue) for queue in QUEUES.values()] == [0] * len(QUEUES)


def taped_messages(settings: Settings) -> int:
    try:
        return sum(event_ids(settings.raw_folder).values())
    except Exception:  # noqa: BLE001  # no tape yet, or one that is being written
        return 0


def start_process(settings: Settings, servers: Servers, *, largest_file: int | None = None) -> subprocess.Popen[bytes]:
    """A worker in a process of its own."""
    task = {
        "settings": {
            "FEATURE_SERVICE_DATA_PATH": str(settings.feature_service_data_path),
            "FEATURE_SERVICE_CACHE_PATH": str(settings.feature_service_cache_path),
            "FEATURE_SERVICE_SYMBOLS": ",".join(settings.feature_service_symbols),
            "RABBITMQ_HOST": settings.rabbitmq_host,
            "RABBITMQ_PORT": str(settings.rabbitmq_port),
            "FEATURE_SERVICE_TAPE_SYNC_MS": "20",
            "BYBIT_REST_URL": settings.bybit_rest_url,
            "FEATURE_SERVICE_SHARDS": None
            if settings.feature_service_shards is None
            else str(settings.feature_service_shards),
        },
        "servers": asdict(servers),
        "largest_file": largest_file,
    }
    # Feast's import sets this variable; with it, or imported after Feast, prometheus_client wants a folder for figures.
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    program = f"import prometheus_client, runpy; runpy.run_path({str(Path(__file__))!r}, run_name='__main__')"
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, env=environment)
    assert process.stdin is not None
    process.stdin.write(json.dumps(task).encode())
    process.stdin.close()
    return process


def main() -> None:
    import signal

    from runtime.ingest_role import IngestRole
    from runtime.settings import load_settings

    task = json.load(sys.stdin)
    role = IngestRole(
        load_settings(task["settings"], env_file=None),
        Servers(**task["servers"]),
        SourceChoice("gateway"),
        version=VERSION,
    )
    if task["largest_file"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (task["largest_file"], task["largest_file"]))
    signal.signal(signal.SIGTERM, lambda *_: role.stop())
    try:
        role.run()
    except Exception as error:  # noqa: BLE001  # the top of a process
        os.write(2, f"worker failed: {error}\n".encode())
        sys.exit(1)


if __name__ == "__main__":
    main()
