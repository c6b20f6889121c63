"""The watch of shadow parity on a real Redis and PostgreSQL: what is changed in Redis is named, kept and withheld."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest
import redis

from feature_repo.registry_versions import load_registry_version
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import HOUR_NS, SECOND_NS, SystemClock, floor_to, to_datetime
from storage.database.leases import Leases
from storage.database.shadow import ShadowStore
from storage.online.address import redis_settings
from storage.online.feed import RowFeed
from storage.online.store import OnlineStore
from storage.online.vector import VECTOR_FIELD, OnlineRow, online_key
from tests import waiting
from tests.postgres_servers import empty_tables
from tests.redis_servers import RedisServer, running_redis
from tests.shadowed import ShadowedMarket, flipped_bytes
from transforms.kernel import Kernel, compile_kernel
from upkeep.alert_rules import RULES
from upkeep.shadow import STORED, ShadowLook
from upkeep.shadow_alerts import BEHIND_S, shadow_behind, shadow_findings
from upkeep.shadow_watch import LEASE, LOOK_S, ShadowStores, ShadowWatch

SYMBOL = "BTCUSDT"
PROJECT = "shadowed"
VERSION = "1.0.0"
FLIPPED = {"price": "mid_price", "orderbook": "depth_bid_top5"}
DEADLINE_S = 60.0
"""The promise: what is wrong is named within a minute."""


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version(VERSION).feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis() as found:
        yield found


class Served:
    """A market whose rows are stored in Redis, and a watch over them that runs in a thread.

    The watch's time is the market's.
    """

    def __init__(self, folder: Path, kernel: Kernel, server: RedisServer, url: str) -> None:
        begin_ns = floor_to(SystemClock().now_ns(), SECOND_NS)
        messages = simulate(DEFAULT_SYMBOLS[:1], seed=7, start_ns=begin_ns, duration_ns=HOUR_NS)
        address = redis_settings(f"127.0.0.1:{server.port}")
        self.online = OnlineStore.connect(address, project=PROJECT)
        self.findings = ShadowStore(url)
        self.looks: list[ShadowLook] = []
        self.market = ShadowedMarket(folder, SYMBOL, kernel, messages, on_row=self._store)
        self.redis = redis.Redis(port=server.port)
        self._leases = Leases(url)
        self.watch = ShadowWatch(
            ShadowStores(RowFeed.connect(address, project=PROJECT), self.online, self.findings, self._leases),
            lambda _: self.market.source,
            [SYMBOL],
            worker_id="test",
            note=self.looks.append,
            now_ns=SystemClock().now_ns,
            quarantines=True,
            timer=lambda: self.market.now_s,
        )
        self._thread = threading.Thread(target=self.watch.run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for each in (self.market.pipeline, self.online, self.findings, self._leases, self.redis):
            each.close()

    def stop(self) -> None:
        """No look after this."""
        self.watch.stop()
        self._thread.join(DEADLINE_S)

    def pass_time(self, times: int) -> None:
        """So often as much as lies between two looks; after each the watch has looked."""
        for _ in range(times):
            seen = len(self.looks)
            self.market.run(LOOK_S)
            self._wait_for_more(seen)

    def wait(self, seconds: float) -> None:
        """No message comes for so long."""
        seen = len(self.looks)
        self.market.now_s += seconds
        self._wait_for_more(seen)

    def _wait_for_more(self, looks: int) -> None:
        waiting.eventually(lambda: len(self.looks) > looks, deadline_s=DEADLINE_S)

    def _store(self, row: OnlineRow) -> None:
        self.online.write([row], now_ns=row.row_ns)


@pytest.fixture
def served(tmp_path: Path, kernel: Kernel, server: RedisServer, url: str) -> Iterator[Served]:
    empty_tables(url)
    with Served(tmp_path, kernel, server, url) as found:
        yield found


def test_rows_are_compared_and_bits_flipped_in_redis_are_named_kept_alerted_and_withheld(served: Served) -> None:
    served.pass_time(6)
    assert sum(look.compared for look in served.looks) > 100
    assert served.findings.mismatches(to_datetime(0)) == []
    assert served.findings.quarantines() == []
    # What stands in Redis now, with the lowest bit of a value of two groups flipped.
    key = online_key(SYMBOL, PROJECT.encode())
    packed = served.redis.execute_command("HGET", key, VECTOR_FIELD)  # type: ignore[no-untyped-call]  # as in the store
    vector = served.market.vectors[-1]
    assert isinstance(packed, bytes)
    for column in FLIPPED.values():
        packed = flipped_bytes(packed, SYMBOL, column)
    served.redis.execute_command("HSET", key, VECTOR_FIELD, packed)  # type: ignore[no-untyped-call]
    # Told within a minute of what passes: two looks, and the wait for a message that does not come.
    for _ in range(5):
        served.wait(LOOK_S)
    waiting.eventually(served.findings.quarantines, deadline_s=DEADLINE_S)
    found = served.findings.mismatches(to_datetime(0))
    assert {each.group: each.feature for each in found} == FLIPPED
    for each in found:
        assert (each.symbol, each.row_ns, each.found_in) == (SYMBOL, vector.row_ns, STORED)
        assert float(each.computed) == vector.values[vector.columns.index(each.feature)] != float(each.served)
        assert len(each.messages) > 2
    withheld = served.findings.quarantines()
    assert {(each.symbol, each.group) for each in withheld} == {(SYMBOL, group) for group in FLIPPED}
    told = shadow_findings(found, withheld)
    assert [each.rule for each in told] == ["shadow_mismatch"] * 2 + ["group_quarantined"] * 2
    assert {each.rule for each in told} <= RULES.keys()
    served.stop()  # it would withhold again what still differs
    assert served.findings.release(SYMBOL, "price")
    assert not served.findings.release(SYMBOL, "price")


def test_counts_add_up_and_a_symbol_that_is_not_compared_is_behind(served: Served) -> None:
    served.pass_time(5)

    def is_written() -> bool:
        [state] = served.findings.states()
        missed = sum(sum(look.not_compared.values()) for look in served.looks)
        return (state.compared, state.not_compared) == (sum(look.compared for look in served.looks), missed)

    waiting.eventually(is_written, deadline_s=DEADLINE_S)
    [state] = served.findings.states()
    assert state.compared > 0
    assert state.mismatched == 0
    assert state.compared_until is not None
    assert shadow_behind([state], {SYMBOL: state.compared_until + timedelta(seconds=BEHIND_S)}) == []
    [behind] = shadow_behind([state], {SYMBOL: state.compared_until + timedelta(seconds=BEHIND_S + 1)})
    assert (behind.rule, behind.subject) == ("shadow_behind", SYMBOL)
    assert len(shadow_behind([], {SYMBOL: state.compared_until})) == 1


def test_one_process_watches_at_a_time(served: Served, url: str) -> None:
    served.pass_time(1)
    with closing(Leases(url)) as leases:
        assert leases.acquire("another", [LEASE], ttl=timedelta(seconds=1)) == {}
        served.watch.stop()
        waiting.eventually(
            lambda: LEASE in leases.acquire("another", [LEASE], ttl=timedelta(seconds=1)), deadline_s=DEADLINE_S
        )
