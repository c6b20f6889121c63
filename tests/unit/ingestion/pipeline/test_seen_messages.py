"""What is remembered of messages: ids of events and trades in bounded memory, as plain lists would know them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.decoding.decoded import DecodedMessage
from ingestion.pipeline.kept_ids import KeptIds, _hash
from ingestion.pipeline.redelivery import TRADES_NS, SeenMessages
from market.clock import DAY_NS, SECOND_NS
from market.events import TRADE, empty_events
from transforms.jit import python_function

BEGIN_NS = 1_772_000_000 * SECOND_NS


def decoded(event_id: str | None, *trade_ids: str | None) -> DecodedMessage:
    return DecodedMessage("BTCUSDT", TRADE, "publicTrade.BTCUSDT", None, None, empty_events(1), event_id, trade_ids)


def test_a_message_is_known_by_its_event_id_or_by_all_of_its_trades() -> None:
    seen = SeenMessages()
    seen.remember(decoded("a", "1", "2"), 7, BEGIN_NS)
    assert seen.seq_of(decoded("a", "9")) == 7
    assert seen.seq_of(decoded("b", "1")) == 7
    assert seen.seq_of(decoded(None, "2", "1")) == 7
    assert seen.seq_of(decoded("b", "2", "3")) is None
    assert seen.seq_of(decoded("1")) is None
    assert seen.seq_of(decoded(None)) is None


def test_a_message_is_new_if_neither_it_nor_any_of_its_trades_is_known_or_stated_twice() -> None:
    seen = SeenMessages()
    seen.remember(decoded("a", "1", "2"), 7, BEGIN_NS)
    assert [seen.is_new("b", trades) for trades in ([], ["3"], ["3", "4"], [None, None], ["3", None])] == [True] * 5
    assert [seen.is_new("b", trades) for trades in (["1"], ["3", "2"], ["3", "3"], ["3", None, "3"])] == [False] * 4
    assert not seen.is_new("a", ["3"])


def test_a_message_of_trades_from_two_is_on_the_disk_with_the_later_one() -> None:
    seen = SeenMessages()
    seen.remember(decoded("a", "1"), 7, BEGIN_NS)
    seen.remember(decoded("b", "2"), 9, BEGIN_NS)
    assert seen.seq_of(decoded("c", "2", "1")) == 9
    assert seen.seq_of(decoded("c", "1", "2")) == 9


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 8))
def test_exactly_the_last_identities_of_the_window_are_known(events: list[int], window: int) -> None:
    seen = SeenMessages(window)
    order: list[int] = []
    for seq, event in enumerate(events):
        known = seen.seq_of(decoded(str(event)))
        assert (known is not None) == (event in order[-window:])
        if known is None:
            seen.remember(decoded(str(event)), seq, BEGIN_NS)
            order.append(event)
    assert len(seen._events) == min(len(order), window)


class PlainSeen:
    """What is known of a stream, said with lists: the oracle."""

    def __init__(self, window: int, most_trades: int) -> None:
        self.window, self.most_trades = window, most_trades
        self.events: list[tuple[str, int]] = []
        self.trades: list[tuple[str, int, int]] = []
        self.newest_ns = 0

    def seq_of(self, event_id: str | None, trade_ids: tuple[str | None, ...]) -> int | None:
        events, trades = dict(self.events), {name: seq for name, seq, _ in self.trades}
        if event_id in events:
            return events[event_id]
        if not trade_ids or any(each is None or each not in trades for each in trade_ids):
            return None
        return max(trades[each] for each in trade_ids if each is not None)

    def remember(self, event_id: str | None, trade_ids: tuple[str | None, ...], seq: int, recv_ns: int) -> None:
        if event_id is not None:
            known = [name for name, _ in self.events]
            self.events = [(name, seq if name == event_id else old) for name, old in self.events]
            self.events += [] if event_id in known else [(event_id, seq)]
            self.events = self.events[-self.window :]
        for each in trade_ids:
            known = [name for name, _, _ in self.trades]
            self.trades = [(name, seq if name == each else old, at) for name, old, at in self.trades]
            self.trades += [] if each is None or each in known else [(each, seq, recv_ns)]
        self.newest_ns = max([self.newest_ns, *([recv_ns] if trade_ids else [])])
        while len(self.trades) > self.most_trades or (
            len(self.trades) > self.window and self.trades[0][2] < self.newest_ns - TRADES_NS
        ):
            self.trades.pop(0)


NAMES = st.sampled_from([f"{number:04d}-é" for number in range(14)])


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.none() | NAMES,
            st.lists(st.none() | NAMES, max_size=4),
            st.sampled_from([0, 1, TRADES_NS // 3, TRADES_NS, TRADES_NS + 1]),
            st.sampled_from(["take", "note again", "restart"]),
        ),
        max_size=60,
    ),
    st.integers(1, 6),
    st.integers(1, 4),
)
def test_what_is_kept_in_hashes_is_known_as_by_plain_lists_across_restarts_too(
    steps: list[tuple[str | None, list[str | None], int, str]], window: int, waiting: int
) -> None:
    plain = PlainSeen(window, window + 3)
    seen = SeenMessages(window, most_trades=window + 3, waiting=waiting)
    recv_ns = BEGIN_NS
    for seq, (event_id, trades, gap_ns, step) in enumerate(steps, start=1):
        recv_ns += gap_ns
        message = decoded(event_id, *trades)
        assert seen.seq_of(message) == plain.seq_of(event_id, tuple(trades))
        known = {name for name, _, _ in plain.trades}
        assert seen.repeated_trades(message) == [
            at for at, each in enumerate(trades) if each is not None and (each in known or each in trades[:at])
        ]
        if step == "restart":
            kept = seen.entries()
            seen = SeenMessages(window, most_trades=window + 3, waiting=waiting)
            seen.restore(kept)
        elif step == "note again" or plain.seq_of(event_id, tuple(trades)) is None:
            seen.remember(message, seq, recv_ns)
            plain.remember(event_id, tuple(trades), seq, recv_ns)
    assert (len(seen._events), len(seen._trades)) == (len(plain.events), len(plain.trades))


def test_the_hash_of_an_id_is_the_same_without_the_jit_and_no_two_of_many_are_equal() -> None:
    names = [f"{kind}{number}".encode() for number in range(1000) for kind in ("", "event-", "00000000-0000-4000-é")]
    plain = [python_function(_hash)(b"--" + name, 2, 2 + len(name)) for name in names]
    assert len({low for low, _ in plain}) == len(names)
    kept = KeptIds()
    for seq, name in enumerate(names):
        kept.keep(name.decode(), seq)
    rows = np.frombuffer(kept.entries(), np.int64).reshape(-1, 2)
    assert rows[:, 0].tolist() == [low for low, _ in plain]
    assert (rows[:, 1] >> 48).tolist() == [high for _, high in plain]


def test_ids_that_share_places_of_the_table_outlive_those_that_are_forgotten() -> None:
    kept, window = KeptIds(waiting=7), 500
    for number in range(6 * window):
        kept.keep(str(number), number)
        if len(kept) > window:
            kept.forget(1)
        if number % window == window - 1:
            known = [kept.seq_of(str(each)) for each in range(number + 2)]
            assert known == [None] * (number + 1 - window) + list(range(number + 1 - window, number + 1)) + [None]


def test_a_full_window_takes_25_bytes_an_id() -> None:
    seen = SeenMessages()
    for number in range(20_000):
        seen.remember(decoded(f"{number:032x}-0000"), number, BEGIN_NS)
    assert len(seen._events) == 18_000
    assert seen._events._ring.nbytes + seen._events._table.nbytes < 25 * 18_000


def test_a_trade_is_known_for_a_minute_longer_than_any_window_and_the_latest_whatever_their_time() -> None:
    seen = SeenMessages(2)
    for number in range(6):
        seen.remember(decoded(None, str(number)), number, BEGIN_NS + number * SECOND_NS)
    assert seen.repeated_trades(decoded(None, "0", "5", "6")) == [0, 1]
    seen.remember(decoded(None, "late"), 9, BEGIN_NS + TRADES_NS + 3 * SECOND_NS)
    assert seen.repeated_trades(decoded(None, "2", "3", "5", "late")) == [1, 2, 3]
    seen.remember(decoded(None, "next day"), 10, BEGIN_NS + DAY_NS)
    assert seen.repeated_trades(decoded(None, "5", "late", "next day")) == [1, 2]


def test_trades_are_known_in_bounded_memory() -> None:
    seen = SeenMessages(3, most_trades=5)
    for number in range(50):
        seen.remember(decoded(None, str(number)), number, BEGIN_NS)
    assert seen.repeated_trades(decoded(None, *map(str, range(50)))) == [45, 46, 47, 48, 49]
    assert len(seen._trades) == 5


def test_trades_without_an_id_are_never_known() -> None:
    seen = SeenMessages()
    seen.remember(decoded(None, None, "1"), 1, BEGIN_NS)
    assert seen.seq_of(decoded(None, None, "1")) is None
    assert seen.repeated_trades(decoded(None, None, "1", None, "2", "2")) == [1, 4]
