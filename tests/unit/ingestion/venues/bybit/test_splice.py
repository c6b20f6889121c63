"""Two connections that bring one stream: every message once, in order, whichever is ahead."""

from __future__ import annotations

import json
from random import Random

import pytest

from ingestion.venues.bybit.splice import Splice, read_head

OLD, NEW = 1, 2


def book(u: int, kind: str = "delta") -> bytes:
    data = {"s": "BTCUSDT", "b": [], "a": [], "u": u, "seq": 10 * u}
    return json.dumps({"topic": "orderbook.200.BTCUSDT", "type": kind, "ts": 1, "data": data}).encode()


def ticker(ts: int, kind: str = "delta") -> bytes:
    return json.dumps({"topic": "tickers.BTCUSDT", "type": kind, "ts": ts, "data": {}}).encode()


def passed(splice: Splice, *messages: tuple[int, bytes], is_alone: bool = False) -> list[int]:
    """Which of the messages were passed on, by position."""
    found = []
    for at, (connection, body) in enumerate(messages):
        head = read_head(body)
        assert head is not None
        if splice.passes(connection, head, is_alone=is_alone):
            found.append(at)
    return found


def begun(last_u: int) -> Splice:
    splice = Splice()
    assert passed(splice, (OLD, book(last_u, "snapshot")), is_alone=True) == [0]
    return splice


def test_alone_everything_passes_gaps_restarts_and_repeated_snapshots_too() -> None:
    splice = begun(10)
    messages = [(OLD, book(u)) for u in (11, 15, 12, 1)] + [
        (OLD, book(1, "snapshot")),
        (OLD, ticker(5)),
        (OLD, ticker(4)),
    ]
    assert passed(splice, *messages, is_alone=True) == list(range(len(messages)))
    assert splice.repeated == 0


def test_a_successor_that_is_behind_waits_until_it_brings_what_is_next() -> None:
    splice = begun(10)
    messages = [
        (OLD, book(11)),
        (NEW, book(10, "snapshot")),
        (NEW, book(11)),
        (OLD, book(12)),
        (NEW, book(12)),
        (NEW, book(13)),
        (OLD, book(13)),
        (OLD, book(14)),
    ]
    assert passed(splice, *messages) == [0, 3, 5, 7]
    assert splice.repeated == 4


def test_a_successor_that_is_ahead_begins_with_its_snapshot() -> None:
    splice = begun(10)
    messages = [(NEW, book(12, "snapshot")), (OLD, book(11)), (OLD, book(12)), (NEW, book(13)), (OLD, book(13))]
    assert passed(splice, *messages) == [0, 3]


def test_a_gap_of_the_owner_is_told_and_one_between_connections_is_not() -> None:
    splice = begun(10)
    # The other connection's 13 comes before its turn; 11 and 12 come from the owner.
    assert passed(splice, (NEW, book(13)), (OLD, book(11)), (OLD, book(13))) == [1, 2]


@pytest.mark.parametrize(("connection", "passes"), [(OLD, True), (NEW, False)])
def test_a_snapshot_at_the_books_own_place_passes_from_the_owner_alone(connection: int, *, passes: bool) -> None:
    assert bool(passed(begun(10), (connection, book(10, "snapshot")))) is passes


def test_a_restart_of_the_exchange_passes_once() -> None:
    splice = begun(10)
    messages = [(OLD, book(1, "snapshot")), (NEW, book(1, "snapshot")), (NEW, book(2)), (OLD, book(2)), (OLD, book(3))]
    assert passed(splice, *messages) == [0, 2, 4]


def test_a_ticker_passes_to_the_successor_with_its_first_newer_message_and_never_back() -> None:
    splice = Splice()
    passed(splice, (OLD, ticker(100, "snapshot")), is_alone=True)
    messages = [
        (OLD, ticker(110)),
        (NEW, ticker(105, "snapshot")),
        (NEW, ticker(110)),
        (OLD, ticker(110)),
        (NEW, ticker(120)),
        (OLD, ticker(125)),
        (NEW, ticker(120)),
    ]
    assert passed(splice, *messages) == [0, 3, 4, 6]


def test_trades_all_pass() -> None:
    trade = json.dumps({"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1, "data": [{"i": "a"}]}).encode()
    assert passed(Splice(), (OLD, trade), (NEW, trade)) == [0, 1]


@pytest.mark.parametrize("seed", range(50))
def test_any_interleaving_of_two_connections_makes_one_unbroken_book(seed: int) -> None:
    rng = Random(seed)
    first, snapshot, last = 10, rng.randrange(10, 30), 40
    queues = {
        OLD: [(OLD, book(u)) for u in range(first + 1, last)],
        NEW: [(NEW, book(snapshot, "snapshot"))] + [(NEW, book(u)) for u in range(snapshot + 1, last)],
    }
    splice, known = begun(first), first
    while queues[OLD] or queues[NEW]:
        connection = rng.choice([each for each in queues if queues[each]])
        message = queues[connection].pop(0)
        if passed(splice, message):
            document = json.loads(message[1])
            u = document["data"]["u"]
            assert u == known + 1 or (document["type"] == "snapshot" and u > known)
            known = u
    assert known == last - 1
