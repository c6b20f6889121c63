"""The watermark: which rows may close, given what the streams have shown and what is known of their backlogs."""

from __future__ import annotations

from ingestion.pipeline.watermark import GRACE_NS, OLD_NS, SILENCE_NS, Watermark
from market.clock import SECOND_NS

B = 1_772_000_000 * SECOND_NS


def test_a_row_closes_a_grace_after_its_boundary_when_every_stream_keeps_up() -> None:
    watermark = Watermark(["book", "trades"])
    watermark.show("book", B - 5, now_ns=B)
    assert watermark.advance(B + GRACE_NS - 1) < B
    assert watermark.advance(B + GRACE_NS) == B


def test_a_row_closes_before_the_grace_once_every_stream_has_shown_its_boundary() -> None:
    watermark = Watermark(["book", "trades"])
    watermark.show("book", B + 1, now_ns=B + 2)
    assert watermark.advance(B + 2) < B
    watermark.show("trades", B, now_ns=B + 3)
    assert watermark.advance(B + 3) == B


def test_no_row_closes_before_its_time_although_a_clock_ahead_has_stamped_the_messages() -> None:
    watermark = Watermark(["book"])
    watermark.show("book", B + 3 * SECOND_NS, now_ns=B - 2)
    assert watermark.advance(B - 1) == B - 1
    assert watermark.advance(B) == B


def test_a_stream_with_a_known_backlog_holds_the_rows_at_what_it_has_shown() -> None:
    watermark = Watermark(["book", "trades"])
    watermark.show("book", B - 3 * SECOND_NS, now_ns=B)
    assert watermark.advance(B + SECOND_NS, waiting=["book"]) == B - 3 * SECOND_NS
    assert watermark.advance(B + SECOND_NS) == B + SECOND_NS - GRACE_NS


def test_deliveries_that_are_old_and_come_without_a_pause_are_a_backlog() -> None:
    watermark = Watermark(["book"])
    watermark.show("book", B - OLD_NS - 1, now_ns=B)
    assert watermark.is_behind("book", now_ns=B)
    assert watermark.advance(B + SILENCE_NS - 1) == B - OLD_NS - 1
    assert watermark.advance(B + SILENCE_NS) == B + SILENCE_NS - GRACE_NS


def test_a_delivery_that_is_not_old_ends_a_backlog() -> None:
    watermark = Watermark(["book"])
    watermark.show("book", B - SECOND_NS, now_ns=B)
    watermark.show("book", B - OLD_NS, now_ns=B)
    assert not watermark.is_behind("book", now_ns=B)


def test_the_watermark_never_moves_back() -> None:
    watermark = Watermark(["book"])
    assert watermark.advance(B) == B - GRACE_NS
    watermark.show("book", B - 10 * SECOND_NS, now_ns=B)
    assert watermark.advance(B, waiting=["book"]) == B - GRACE_NS


def test_a_stream_that_was_not_declared_is_waited_for_once_it_has_shown_itself() -> None:
    watermark = Watermark(["book"])
    watermark.show("positions", B - SECOND_NS, now_ns=B)
    assert watermark.advance(B, waiting=["positions"]) == B - SECOND_NS


def test_without_streams_the_clock_alone_closes_rows() -> None:
    assert Watermark([]).advance(B) == B - GRACE_NS


def test_an_earlier_message_after_a_later_one_takes_nothing_back() -> None:
    watermark = Watermark(["book"])
    watermark.show("book", B - 3 * SECOND_NS, now_ns=B)
    watermark.show("book", B - 5 * SECOND_NS, now_ns=B)
    assert watermark.shown_ns() == watermark.advance(B, waiting=["book"]) == B - 3 * SECOND_NS
