"""The order book stream of a symbol: which of several streams is kept to."""

from __future__ import annotations

from ingestion.decoding.decoded import DecodedMessage
from ingestion.pipeline.book_stream import BookStream, Judgement
from market.book_sequence import BookPlace
from market.clock import SECOND_NS
from market.events import ORDERBOOK, START, empty_events


class Streams:
    """Messages told to a BookStream, one each second."""

    def __init__(self) -> None:
        self._stream = BookStream()
        self._told = 0

    def tell(self, update_id: int, *, depth: int = 200, replaces: bool = False) -> Judgement:
        self._told += 1
        records = empty_events(1)
        records["event_ns"] = self._told * SECOND_NS
        place = BookPlace(update_id, update_id, depth, replaces, self._told)
        message = DecodedMessage("BTCUSDT", ORDERBOOK, "orderbook", None, None, records, book=place)
        judged = self._stream.judge(message, self._told * SECOND_NS)
        if judged.mark not in (None, START):
            self._stream.break_off()
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
