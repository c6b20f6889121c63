"""Ownership on a real PostgreSQL: standing by, renewing, losing, and waking after a sleep."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import NullPool, create_engine, text

from ingestion.worker.ownership import LEASE_NS, Ownership
from market.clock import ManualClock
from market.errors import Conflict
from storage.database.leases import Leases
from tests.live import eventually
from tests.postgres_servers import empty_tables, leases_database

SYMBOLS = ("BTCUSDT", "ETHUSDT")
LONG = timedelta(minutes=5)
DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with leases_database() as url:
        yield url


@pytest.fixture
def url(database: str) -> str:
    empty_tables(database)
    return database


@pytest.fixture
def leases(url: str) -> Iterator[Leases]:
    with closing(Leases(url)) as opened:
        yield opened


def worker(url: str, clock: ManualClock, *, name: str = "ours") -> Ownership:
    return Ownership(Leases(url), name, SYMBOLS, started_at=datetime(2026, 1, 5, tzinfo=UTC), passing_ns=clock.now_ns)


def last_owner(url: str, symbol: str) -> str | None:
    """Who had the lease of a symbol last, good or not."""
    with create_engine(url, poolclass=NullPool).begin() as connection:
        query = text("SELECT worker_id FROM symbol_leases WHERE symbol = :symbol")
        owner: str | None = connection.execute(query, {"symbol": symbol}).scalar()
        return owner


def in_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def test_a_worker_takes_every_symbol_or_none(url: str, leases: Leases) -> None:
    theirs = leases.acquire("theirs", ["ETHUSDT"], ttl=LONG)
    with closing(worker(url, ManualClock(1))) as ours:
        stop, took = threading.Event(), list[bool]()
        waiting = in_thread(lambda: took.append(ours.acquire(stop)))
        # A partial one would keep the other worker from ever having all.
        eventually(lambda: last_owner(url, "BTCUSDT") == "ours")
        eventually(lambda: leases.owners() == {"ETHUSDT": ("theirs", theirs["ETHUSDT"])})
        leases.release("theirs")
        waiting.join(DEADLINE_S)
        assert took == [True]
        assert {owner for owner, _ in leases.owners().values()} == {"ours"}
        assert ours.fences["ETHUSDT"] > theirs["ETHUSDT"]
    assert leases.owners() == {}


def test_who_has_let_its_leases_go_writes_no_more(url: str) -> None:
    with closing(worker(url, ManualClock(1))) as ours:
        assert ours.acquire(threading.Event())
        ours.check()
    with pytest.raises(Conflict, match="were let go"):
        ours.check()


def test_a_worker_that_is_stopped_while_it_stands_by_takes_nothing(url: str, leases: Leases) -> None:
    leases.acquire("theirs", SYMBOLS, ttl=LONG)
    stop = threading.Event()
    stop.set()
    with closing(worker(url, ManualClock(1))) as ours:
        assert not ours.acquire(stop)
    assert {owner for owner, _ in leases.owners().values()} == {"theirs"}


def test_a_worker_keeps_its_leases_while_a_tape_is_held(url: str, leases: Leases) -> None:
    held = ["ETHUSDT"]
    with closing(worker(url, ManualClock(1))) as ours:
        took = list[bool]()
        waiting = in_thread(lambda: took.append(ours.acquire(threading.Event(), held_tapes=lambda _symbols: held)))
        eventually(lambda: {owner for owner, _ in leases.owners().values()} == {"ours"})
        assert took == []
        held.clear()
        waiting.join(DEADLINE_S)
        assert took == [True]
        assert {symbol: fence for symbol, (_, fence) in leases.owners().items()} == ours.fences


@pytest.mark.parametrize("status", [{}, {"of no form": object()}], ids=["", "a status that cannot be written"])
def test_a_lease_that_was_taken_over_is_told_once_and_forbids_every_write(
    url: str, leases: Leases, status: dict[str, object]
) -> None:
    lost: list[Conflict] = []
    with closing(worker(url, ManualClock(1))) as ours:
        ours.acquire(threading.Event())
        ours.check()
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(text("UPDATE symbol_leases SET worker_id = 'theirs' WHERE symbol = 'BTCUSDT'"))
        ours.keep(describe=lambda: status, on_lost=lost.append)
        eventually(lambda: len(lost) == 1)
        assert "taken over: BTCUSDT" in str(lost[0])
        with pytest.raises(Conflict, match="taken over: BTCUSDT"):
            ours.check()
    assert {owner for owner, _ in leases.owners().values()} == {"theirs"}


def test_who_slept_through_a_lease_writes_nothing_before_the_database_was_asked(url: str, leases: Leases) -> None:
    clock = ManualClock(1)
    with closing(worker(url, clock)) as ours:
        ours.acquire(threading.Event())
        clock.set(clock.now_ns() + LEASE_NS)
        assert not ours.is_unsure()
        clock.set(clock.now_ns() + LEASE_NS + 1)
        assert ours.is_unsure()
        checked = list[bool]()

        def check() -> None:
            ours.check()
            checked.append(True)

        waiting = in_thread(check)
        eventually(waiting.is_alive)
        assert checked == []  # nobody has asked yet
        clock.set(clock.now_ns() + 1)
        ours.keep(describe=dict, on_lost=lambda _error: None)
        waiting.join(DEADLINE_S)
        assert checked == [True]
        assert not ours.is_unsure()
    assert leases.owners() == {}


def test_who_slept_while_another_took_over_learns_it_before_it_writes(url: str, leases: Leases) -> None:
    clock = ManualClock(1)
    with closing(worker(url, clock)) as ours:
        ours.acquire(threading.Event())
        leases.release("ours")
        leases.acquire("theirs", SYMBOLS, ttl=LONG)
        clock.set(clock.now_ns() + LEASE_NS + 1)
        assert ours.is_unsure()
        clock.set(clock.now_ns() + 1)
        ours.keep(describe=dict, on_lost=lambda _error: None)
        with pytest.raises(Conflict, match="taken over: BTCUSDT, ETHUSDT"):
            ours.check()


def test_a_worker_that_opens_for_longer_than_a_lease_lasts_keeps_its_leases(url: str, leases: Leases) -> None:
    with closing(worker(url, ManualClock(1))) as ours:
        ours.acquire(threading.Event())
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            ended = connection.execute(text("SELECT max(expires_at) FROM symbol_leases")).scalar_one()
        ours.hold()

        def is_renewed() -> bool:
            with engine.begin() as connection:
                return bool(
                    connection.execute(
                        text("SELECT min(expires_at) > :ended FROM symbol_leases"), {"ended": ended}
                    ).scalar_one()
                )

        eventually(is_renewed)
        with engine.begin() as connection:
            connection.execute(text("UPDATE symbol_leases SET worker_id = 'theirs' WHERE symbol = 'BTCUSDT'"))

        def is_lost() -> bool:
            try:
                ours.check()
            except Conflict:
                return True
            return False

        eventually(is_lost)
        lost: list[Conflict] = []
        ours.keep(describe=dict, on_lost=lost.append)
        assert len(lost) == 1
