"""Leases on a real PostgreSQL: one owner a symbol, a higher fence for each new one, and what a worker says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from sqlalchemy import NullPool, create_engine, text

from market.errors import StoreUnavailable
from runtime.ingest_start import compile_and_tell
from runtime.servers import Servers
from storage.database.ingest_workers import IngestWorker, read_ingest_workers
from storage.database.leases import Leases
from storage.database.metadata import Metadata
from tests.ports import free_port
from tests.postgres_servers import MigratedPostgres, empty_tables
from transforms.catalogue import feature_set
from transforms.kernel import Kernel

LONG = timedelta(minutes=5)
NONE = timedelta(0)
SYMBOLS = ["BTCUSDT", "ETHUSDT"]


@pytest.fixture(scope="module")
def url(embedded_postgres: MigratedPostgres) -> Iterator[str]:
    with embedded_postgres.with_tables() as found:
        yield found


@pytest.fixture
def leases(url: str) -> Iterator[Leases]:
    empty_tables(url)
    opened = Leases(url)
    yield opened
    opened.close()


def test_a_free_symbol_is_taken_and_an_owned_one_is_not(leases: Leases) -> None:
    first = leases.acquire("a", ["BTCUSDT"], ttl=LONG)
    second = leases.acquire("b", SYMBOLS, ttl=LONG)
    assert (list(first), list(second)) == (["BTCUSDT"], ["ETHUSDT"])
    assert leases.owners() == {"BTCUSDT": ("a", first["BTCUSDT"]), "ETHUSDT": ("b", second["ETHUSDT"])}


def test_a_lease_that_ran_out_is_taken_over_with_a_higher_fence_and_its_owner_learns_it(leases: Leases) -> None:
    fences = leases.acquire("a", SYMBOLS, ttl=NONE)
    taken = leases.acquire("b", ["BTCUSDT"], ttl=LONG)["BTCUSDT"]
    assert taken > fences["BTCUSDT"]
    assert leases.renew("a", fences, ttl=LONG) == {"BTCUSDT"}
    assert leases.owners() == {"BTCUSDT": ("b", taken), "ETHUSDT": ("a", fences["ETHUSDT"])}


def test_an_owner_renews_a_lease_that_ran_out_and_that_nobody_took(leases: Leases) -> None:
    fences = leases.acquire("a", SYMBOLS, ttl=NONE)
    assert leases.owners() == {}
    assert leases.renew("a", fences, ttl=LONG) == set()
    assert leases.owners() == {symbol: ("a", fences[symbol]) for symbol in SYMBOLS}


def test_a_worker_that_took_its_own_lease_again_has_lost_the_fence_before(leases: Leases) -> None:
    before = leases.acquire("a", ["BTCUSDT"], ttl=LONG)
    assert leases.acquire("a", ["BTCUSDT"], ttl=LONG)["BTCUSDT"] > before["BTCUSDT"]
    assert leases.renew("a", before, ttl=LONG) == {"BTCUSDT"}


def test_what_is_released_is_free_at_once(leases: Leases) -> None:
    before = leases.acquire("a", SYMBOLS, ttl=LONG)
    leases.release("a")
    assert leases.owners() == {}
    after = leases.acquire("b", SYMBOLS, ttl=LONG)
    assert all(after[symbol] > before[symbol] for symbol in SYMBOLS)


def test_fences_rise_even_when_the_database_was_made_anew(leases: Leases, url: str) -> None:
    leases.acquire("a", SYMBOLS, ttl=LONG)
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        # As if the last one had been given two seconds ago.
        connection.execute(text("UPDATE symbol_leases SET fence = fence - 2"))
    before = {symbol: fence for symbol, (_, fence) in leases.owners().items()}
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE symbol_leases"))
    after = leases.acquire("b", SYMBOLS, ttl=LONG)
    assert all(after[symbol] > before[symbol] for symbol in SYMBOLS)


def test_no_symbols_are_no_leases(leases: Leases) -> None:
    assert leases.acquire("a", [], ttl=LONG) == {}
    assert leases.renew("a", {}, ttl=LONG) == set()


def test_a_worker_has_one_status_the_newest_until_it_is_silent_for_long(leases: Leases, url: str) -> None:
    begun = datetime(2026, 1, 5, 12, tzinfo=UTC)
    for count in (1, 2):
        leases.write_status("a", started_at=begun, status={"symbols": {}, "count": count})
    query = text("SELECT worker_id, started_at, status ->> 'count' FROM ingest_workers")
    engine = create_engine(url, poolclass=NullPool, connect_args={"options": "-c timezone=UTC"})
    with engine.begin() as connection:
        assert [tuple(row) for row in connection.execute(query)] == [("a", begun, "2")]
    leases.forget_workers(silent_for=LONG)
    with engine.begin() as connection:
        assert len(connection.execute(query).all()) == 1
    leases.forget_workers(silent_for=-LONG)
    with engine.begin() as connection:
        assert connection.execute(query).all() == []


def test_a_status_is_read_as_json_has_it_and_an_unknown_number_is_null(leases: Leases, url: str) -> None:
    held = {"trades": {15: 3, 60: 12}, "memory_bytes": 2**53 + 1}
    symbols = {"BTCUSDT": {"last_row_ns": 1_796_079_000_123_456_789, "lag_ms": 0.1, "held": held, "é": []}}
    status = {"symbols": symbols, "worker": {"mean": np.float64(0.3), "none": None, "is_away": False, "": 1e22}}
    leases.write_status("w1", started_at=datetime.now(UTC), status={**status, "unknown_ms": math.nan})
    with closing(Metadata(url)) as metadata:
        [read] = read_ingest_workers(metadata)
    assert read.status == {**json.loads(json.dumps(status)), "unknown_ms": None}


def test_a_database_that_is_away_is_store_unavailable(tmp_path: Path) -> None:
    away = Leases(f"postgresql+psycopg://postgres@/postgres?host={tmp_path}&port=5432")
    with pytest.raises(StoreUnavailable):
        away.acquire("a", SYMBOLS, ttl=LONG)
    away.close()


class Compiling:
    """A kernel that looks at what the worker says while it is compiled."""

    def __init__(self, folder: Path, look: Callable[[], IngestWorker]) -> None:
        self.folder = folder
        self.feature_set = feature_set("1.0.0", ["mid_price"])
        self.look = look
        self.seen: IngestWorker | None = None

    def compiled_by(self) -> str | None:
        return None

    def warm_up(self) -> None:
        self.seen = self.look()


@pytest.mark.parametrize("is_compiled", [False, True])
def test_a_worker_says_while_it_compiles_or_loads_which_symbols_it_will_follow(
    leases: Leases, url: str, tmp_path: Path, *, is_compiled: bool
) -> None:
    if is_compiled:
        (tmp_path / "compiled").touch()
    now = datetime.now(UTC)
    with closing(Metadata(url)) as metadata:
        kernel = Compiling(tmp_path, lambda: read_ingest_workers(metadata)[0])
        loaded: list[IngestWorker] = []
        servers = Servers({}, url)
        compile_and_tell(
            cast("Kernel", kernel), lambda: loaded.append(kernel.look()), servers, "w1", SYMBOLS, started_at=now
        )
        assert [each.status for each in loaded] == [{"starts": SYMBOLS}], "nor while it loads what takes messages"
        assert kernel.seen is not None
        assert (kernel.seen.worker_id, kernel.seen.status) == ("w1", {"starts": SYMBOLS})
        assert kernel.seen.is_starting(now)
        leases.write_status("w1", started_at=now, status={"symbols": {}})
        [runs] = read_ingest_workers(metadata)
        assert not runs.is_starting(now)


def test_a_database_that_is_away_does_not_keep_a_kernel_from_being_compiled(tmp_path: Path) -> None:
    away = f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none"
    kernel = Compiling(tmp_path, lambda: IngestWorker("w1", datetime.now(UTC), datetime.now(UTC), {}))
    loaded: list[str] = []
    compile_and_tell(
        cast("Kernel", kernel),
        lambda: loaded.append("too"),
        Servers({}, away),
        "w1",
        SYMBOLS,
        started_at=datetime.now(UTC),
    )
    assert loaded == ["too"]
    assert kernel.seen is not None
