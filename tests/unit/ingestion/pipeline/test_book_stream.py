"""The order book stream of a symbol: which of several streams is kept to."""

from __future__ import annotations

from ingestion.decoding.decoded import DecodedMessage
from ingestion.pipeline.book_stream import BookStream, Judgement
from market.book_sequence import BookPlace
from market.clock import SECOND_NS
from market.events import ORDERBOOK, START, empty_events


class Streams:
    """Messages told to a BookStream, one each second, each to one that was restored from the last one's state.

    at: of which second by the exchange's clock and by ``seq``.
    """

    def __init__(self) -> None:
        self._stream = BookStream()
        self._told = 0

    @property
    def is_valid(self) -> bool:
        return self._stream.is_valid

    @property
    def is_lost(self) -> bool:
        return self._stream.is_lost

    def lose(self) -> None:
        self._stream.lose(is_a_message=True)

    def tell(
        self, update_id: int, *, depth: int = 200, replaces: bool = False, at: int | None = None, seq: int | None = None
    ) -> Judgement:
        self._told += 1
        sent = self._told if at is None else at
        records = empty_events(1)
        records["event_ns"] = sent * SECOND_NS
        place = BookPlace(update_id, update_id, depth, replaces, sent if seq is None else seq)
        message = DecodedMessage("BTCUSDT", ORDERBOOK, "orderbook", None, None, records, book=place)
        stream = BookStream()
        stream.restore(self._stream.state())
        self._stream = stream
        judged = stream.judge(message, self._told * SECOND_NS)
        if judged.mark not in (None, START):
            self.lose()
        if judged.is_taken:
            self._stream.note(message, self._told * SECOND_NS)
        return judged


def with_a_foreign_stream() -> Streams:
    """Of 200 levels, where a numbering near 900,000 is ignored."""
    streams = Streams()
    streams.tell(50, replaces=True)
    streams.tell(900_000, replaces=True)
    assert streams.tell(51).reason == "order books of two streams are mixed"
    assert not streams.tell(900_001).is_taken
    return streams


def test_a_numbering_that_is_ignored_at_one_depth_says_nothing_of_another_depth() -> None:
    streams = with_a_foreign_stream()
    assert streams.tell(10_000_000, depth=500, replaces=True).is_taken
    assert streams.tell(10_000_001, depth=500).is_taken
    anew = streams.tell(900_500, depth=500, replaces=True)
    assert anew.is_taken
    assert anew.mark == START
    assert streams.tell(900_501, depth=500).is_taken


def test_a_numbering_left_at_one_depth_is_not_gone_back_to_at_another() -> None:
    streams = Streams()
    streams.tell(50, replaces=True)
    streams.tell(900_000, replaces=True)
    for _ in range(11):  # silent for longer than the stream that is kept to may be
        streams.tell(700, depth=50)
    assert streams.tell(701, depth=50).mark is None
    assert streams.tell(51, depth=50).reason != "order books of two streams are mixed"


def after_a_restart_of_which_an_update_of_before_comes_again() -> Streams:
    """A book that stands at 3, and u 819,963 of the second second was told once more."""
    streams = Streams()
    streams.tell(819_962, replaces=True)
    streams.tell(819_963)
    streams.tell(1, replaces=True)
    streams.tell(2)
    assert not streams.tell(819_963, at=2).is_taken
    assert streams.tell(3).mark is None
    assert streams.is_valid
    return streams


def test_numbers_near_those_of_an_update_that_came_again_after_a_restart_are_a_gap_and_not_ignored() -> None:
    streams = after_a_restart_of_which_an_update_of_before_comes_again()
    assert streams.tell(975_291).is_taken
    assert not streams.is_valid


def test_an_older_update_is_a_gap_once_the_stream_is_silent() -> None:
    streams = Streams()
    streams.tell(819_962, replaces=True)
    streams.tell(1, replaces=True)
    for _ in range(10):
        assert not streams.tell(819_963, at=1).is_taken
        assert streams.is_valid
    assert streams.tell(819_963, at=1).is_taken
    assert not streams.is_valid


def test_a_late_snapshot_is_ignored_after_a_message_of_another_market_whose_seqs_are_lower() -> None:
    streams = Streams()
    for update_id in (50, 51, 52):
        streams.tell(update_id, replaces=update_id == 50)
    streams.tell(900_000, seq=0)
    assert not streams.is_valid
    assert not streams.tell(51, at=2, replaces=True).is_taken
    assert not streams.is_valid


def test_a_snapshot_that_states_again_the_book_before_a_lost_message_brings_nothing_back() -> None:
    streams = Streams()
    streams.tell(50, replaces=True)
    streams.tell(51)
    streams.lose()
    assert not streams.tell(51, replaces=True, at=2).is_taken
    assert not streams.is_valid
    assert streams.tell(52, replaces=True).mark is None
    assert streams.is_valid


def test_a_message_that_is_lost_while_the_book_is_known_to_be_lost_is_told_once_after_each_other() -> None:
    streams = Streams()
    streams.tell(50, replaces=True)
    streams.tell(52)
    assert not streams.is_valid
    assert not streams.is_lost
    streams.lose()
    assert streams.is_lost
    assert not streams.tell(52, replaces=True, at=2).is_taken


def test_a_snapshot_of_the_last_update_brings_back_a_book_that_only_lacks_messages_before_it() -> None:
    streams = Streams()
    streams.tell(50, replaces=True)
    streams.tell(52)
    assert streams.tell(52, replaces=True, at=2).is_taken
    assert streams.is_valid


def test_an_update_of_before_a_restart_whose_number_follows_is_ignored() -> None:
    streams = Streams()
    streams.tell(2, replaces=True)
    streams.tell(1, replaces=True)
    streams.tell(2)
    assert not streams.tell(3, at=2).is_taken
    assert streams.tell(3).is_taken
    assert streams.is_valid


def test_numbers_that_neither_stream_can_have_come_to_lose_the_book() -> None:
    streams = with_a_foreign_stream()
    assert streams.tell(600_000).is_taken
    assert not streams.is_valid


def test_a_gap_beside_numbers_that_were_ignored_before_a_restart_is_a_gap() -> None:
    streams = Streams()
    streams.tell(1000, replaces=True)
    streams.tell(17, replaces=True)
    assert streams.tell(1001).reason == "order books of two streams are mixed"
    assert not streams.tell(18).is_taken
    streams.tell(1, replaces=True)
    streams.tell(15, replaces=True)
    assert streams.tell(17).is_taken
    assert not streams.is_valid


def test_a_restart_that_was_missed_near_numbers_that_were_ignored_loses_the_book() -> None:
    streams = Streams()
    streams.tell(1000, replaces=True)
    streams.tell(10, replaces=True)
    streams.tell(1001)
    assert not streams.tell(11).is_taken
    streams.tell(1, replaces=True)
    streams.tell(13, replaces=True)
    assert streams.tell(3).mark is not None
    assert not streams.is_valid


def test_a_snapshot_repairs_a_lost_book_up_to_an_update_for_each_10_ms_and_a_hundred_more() -> None:
    for ahead, mark in ((200, None), (201, START)):
        streams = Streams()
        streams.tell(50, replaces=True)
        streams.lose()
        judged = streams.tell(50 + ahead, replaces=True)
        assert (judged.is_taken, judged.mark) == (True, mark)
