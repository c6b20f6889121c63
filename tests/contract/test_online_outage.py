"""A Redis killed and restarted under load, or reached by a password or TLS: nothing blocks, nothing wrong is served."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ingestion.pipeline.served_rows import ServedRows
from ingestion.sinks.sinks import OnlineSink
from market.clock import SECOND_NS
from market.errors import StoreUnavailable
from storage.online.address import redis_settings
from storage.online.memory import OnlineMemory, newest_vectors
from storage.online.store import OnlineStore
from tests.redis_servers import RedisServer, eventually, server_with_tls
from tests.whole_rows import NAMES, SET, SYMBOLS, B, online_row, second_of
from transforms.rows import FeatureRows


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="outage-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def server(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer(folder)
    server.start()
    yield server
    server.kill()


def served(symbol: str, second: int) -> ServedRows:
    row_ns = np.array([B + second * SECOND_NS], np.int64)
    values = np.full((1, len(NAMES)), float(second))
    zeros = np.zeros((1, len(NAMES)), np.int8)
    rows = FeatureRows(symbol, SET, row_ns, values, np.zeros((1, 2), np.int8), zeros)
    return ServedRows(rows, row_ns + 1)


def load(sink: OnlineSink, after: int) -> int:
    """Ninety-nine seconds of rows; returns the last second."""
    last = after + 99
    for second in range(after + 1, last + 1):
        sink.write([served(symbol, second) for symbol in SYMBOLS])
    return last


def holds(reader: OnlineStore, second: int) -> bool:
    """Whether the row of this second is what every symbol has."""
    return [second_of(reader, symbol) for symbol in SYMBOLS] == [second] * len(SYMBOLS)


def test_a_redis_killed_and_restarted_under_load_stops_nothing_and_gets_the_newest_rows(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    sink = OnlineSink(OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}"), project="outage"), retry_s=0.02)
    reader = OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}"), project="outage")
    outages = 3
    second = 0
    try:
        for outage in range(outages):
            second = load(sink, second)
            eventually(partial(holds, reader, second))
            server.kill()
            replaced = sink.replaced_rows
            second = load(sink, second)
            assert sink.is_away
            assert second_of(reader, "AUSDT") is None
            assert sink.outages == outage + 1
            assert sink.replaced_rows == replaced + 98 * len(SYMBOLS)
            server.start()
            # No row comes any more: what waits is stored by itself.
            eventually(partial(holds, reader, second))
            eventually(lambda: not sink.is_away)
    finally:
        sink.close()
        reader.close()
    assert len([r for r in caplog.records if "is down" in r.message]) == outages
    assert len([r for r in caplog.records if "is back" in r.message]) == outages
    assert sink.failed_writes >= outages


def test_rows_that_come_while_the_store_is_away_and_back_are_never_older_than_what_is_read(
    server: RedisServer,
) -> None:
    sink = OnlineSink(OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}"), project="outage"), retry_s=0.001)
    reader = OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}"), project="outage")
    killed = threading.Event()

    def disturb() -> None:
        for _ in range(3):
            killed.wait(0.05)
            server.kill()
            server.start()
        killed.set()

    disturber = threading.Thread(target=disturb)
    disturber.start()
    second = 0
    seen = -1
    try:
        while not killed.is_set():
            second += 1
            sink.write([served("AUSDT", second)])
            found = second_of(reader, "AUSDT")
            assert found is None or found <= second
            seen = max(seen, -1 if found is None else found)
        eventually(lambda: second_of(reader, "AUSDT") == second)
    finally:
        disturber.join()
        sink.close()
        reader.close()
    assert sink.outages >= 1
    assert seen > 0


def test_while_the_store_is_away_the_newest_row_of_this_process_answers_and_no_other_symbols(
    server: RedisServer,
) -> None:
    memory = OnlineMemory()
    store = OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}"), project="outage")
    sink = OnlineSink(store, memory=memory, retry_s=0.02)

    def second(symbol: str) -> int | None:
        [found] = newest_vectors(store, memory, [symbol])
        return None if found is None else (found.row_ns - B) // SECOND_NS

    other = online_row("OTHERUSDT", 7)
    store.write([other], now_ns=2 * B)
    sink.write([served("AUSDT", 1)])
    assert [second("AUSDT"), second("OTHERUSDT"), second("NONEUSDT")] == [1, 7, None]
    server.kill()
    sink.write([served("AUSDT", 2)])
    sink.write([served("AUSDT", 1)])
    assert memory.is_store_away
    assert second("AUSDT") == 2
    with pytest.raises(StoreUnavailable):
        second("OTHERUSDT")
    server.start()
    eventually(lambda: not memory.is_store_away)
    store.write([online_row("AUSDT", 3)], now_ns=2 * B)
    assert second("AUSDT") == 3
    sink.close()


def test_closing_while_the_store_is_away_ends_and_says_what_is_lost(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    sink = OnlineSink(OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}"), project="outage"))
    server.kill()
    sink.write([served("AUSDT", 1)])
    sink.close()
    assert "the newest rows of 1 symbols are lost" in caplog.text


def test_a_password_is_asked_for_and_given(folder: Path) -> None:
    server = RedisServer(folder, "--requirepass", "a,b=c")
    server.start()
    try:
        known = OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}", password="a,b=c"), project="p")  # noqa: S106  # a test's
        known.ping()
        known.close()
        unknown = OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}"), project="p")
        with pytest.raises(StoreUnavailable, match="Authentication required"):
            unknown.ping()
        unknown.close()
    finally:
        server.kill()


def test_a_server_with_tls_is_trusted_by_its_certificate_and_refused_without(folder: Path) -> None:
    executable, openssl = server_with_tls(), shutil.which("openssl")
    if executable is None or openssl is None:
        assert os.environ.get("FEATURE_SERVICE_TEST_STRICT") != "1"
        pytest.skip("redis-server with TLS and openssl are not there")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*make, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    server = RedisServer(folder, executable=executable, tls=(certificate, key))
    server.start()
    try:
        trusting = OnlineStore.connect(
            redis_settings(f"127.0.0.1:{server.port}", ssl=True, ssl_ca_certs=str(certificate), socket_timeout=5),
            project="p",
        )
        assert trusting.write([online_row("AUSDT", 1)], now_ns=2 * B).written == 1
        trusting.close()
        connection = f"127.0.0.1:{server.port},ssl=true,ssl_ca_certs={certificate},socket_timeout=5"
        as_feast = OnlineStore.connect({"type": "redis", "connection_string": connection}, project="p")
        assert second_of(as_feast, "AUSDT") == 1
        as_feast.close()
        for is_tls in (True, False):
            refused = OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}", ssl=is_tls), project="p")
            with pytest.raises(StoreUnavailable):
                refused.ping()
            refused.close()
    finally:
        server.kill()
