"""A minute is judged with what the one before left, so that a cut between two hides nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from market.clock import MINUTE_NS, SECOND_NS
from market.events import ARRIVALS, BUY, CONTROL, FIRST, LAST, ORDERBOOK, SNAPSHOT, START, TRADE, Events, empty_events
from quality.limits import QualityLimits
from quality.minutes import Carried, MinuteQuality, QualityEvent, judge_minute

NOON_NS = 1_700_000_040 * SECOND_NS
assert NOON_NS % MINUTE_NS == 0
LIMITS = QualityLimits(missing_rate=0.01, anomaly_rate=0.01)


def books(ids: Sequence[int], *, at_s: float = 0.0, step_s: float = 1.0, snapshot: bool = False) -> Events:
    events = empty_events(len(ids))
    events["kind"] = ORDERBOOK
    events["update_id"] = ids
    events["recv_ns"] = NOON_NS + ((at_s + np.arange(len(ids)) * step_s) * SECOND_NS).astype(np.int64)
    events["event_ns"] = events["recv_ns"] - 5_000_000
    events["flags"] = FIRST | LAST | (SNAPSHOT if snapshot else 0)
    return events


def trades(count: int, *, at_s: float, step_s: float = 1.0, px: int = 100) -> Events:
    events = books(range(count), at_s=at_s, step_s=step_s)
    events["kind"], events["field"], events["update_id"] = TRADE, BUY, 0
    events["px"], events["qty"] = px, 1
    return events


def start(at_s: float) -> Events:
    events = books([0], at_s=at_s)
    events["kind"], events["field"], events["update_id"] = CONTROL, START, 0
    return events


def in_order(*pieces: Events) -> Events:
    events = np.concatenate(pieces)
    return events[np.argsort(events["recv_ns"], kind="stable")]


def judged(*minutes: Events, before: Carried | None = None) -> list[MinuteQuality]:
    """Minutes one after the other, each with what the last one left, as it is kept between them."""
    found = []
    carried = before or Carried()
    for at, events in enumerate(minutes):
        minute = judge_minute(events, NOON_NS + at * MINUTE_NS, carried, scales=(1.0, 1.0), limits=LIMITS)
        carried = Carried.from_document(json.loads(json.dumps(minute.carried.document())))
        assert carried == minute.carried
        found.append(minute)
    return found


def told(minute: MinuteQuality) -> list[tuple[str, str, str, float, float | None]]:
    def seconds(at_ns: int) -> float:
        return (at_ns - NOON_NS) / SECOND_NS

    def of(event: QualityEvent) -> tuple[str, str, str, float, float | None]:
        end_s = None if event.end_ns is None else seconds(event.end_ns)
        return event.stream, event.what, event.severity, seconds(event.begin_ns), end_s

    return [of(event) for event in minute.events]


def test_a_clean_minute_finds_nothing_and_is_complete() -> None:
    first, second = judged(books(range(10, 70)), books(range(70, 130), at_s=60))
    assert (first.events, second.events) == ((), ())
    assert (second.missing_rate, second.sequence_gaps, second.completeness) == (0.0, 0, 1.0)
    assert second.anomaly_rate is None, "no trade was judged"
    assert second.received["orderbook"] == 60


def test_nothing_ever_received_is_unknown_and_not_complete() -> None:
    (minute,) = judged(empty_events(0))
    assert (minute.missing_rate, minute.anomaly_rate, minute.completeness, minute.events) == (None, None, None, ())


def test_a_message_missing_between_two_minutes_is_a_gap_until_its_snapshot() -> None:
    _, broken, repaired = judged(
        books(range(10, 70)),
        books(range(80, 140), at_s=60),
        in_order(books([500], at_s=150, snapshot=True), books(range(140, 168), at_s=121), books([501], at_s=151)),
    )
    assert (broken.sequence_gaps, broken.missing_rate) == (1, 10 / 70)
    gap = ("orderbook", "gap")
    assert told(broken) == [(*gap, "critical", 59, None), ("orderbook", "missing", "warning", 60, 120)]
    assert broken.completeness == 0.0
    assert told(repaired)[0] == (*gap, "warning", 59, 150)


def test_a_book_that_is_repaired_at_once_needs_nobody() -> None:
    (minute,) = judged(
        in_order(books(range(10, 20)), books([25], at_s=10), books([90], at_s=11, snapshot=True), books([91], at_s=12))
    )
    assert ("orderbook", "gap", "info", 9, 11) in told(minute)


def test_a_silence_begins_with_the_last_message_and_ends_with_the_next_in_whatever_minute() -> None:
    first, second, third = judged(books(range(10, 40)), empty_events(0), books(range(40, 80), at_s=130))
    assert told(first) == [("orderbook", "silence", "warning", 29, None)]
    assert first.completeness == pytest.approx(29 / 60)
    assert told(second) == told(first)
    assert second.completeness == 0.0
    assert ("orderbook", "silence", "warning", 29, 130) in told(third)


def test_a_book_that_stands_still_while_the_symbol_trades_is_critical() -> None:
    (minute,) = judged(in_order(books(range(10, 30)), trades(60, at_s=0)))
    assert told(minute) == [("orderbook", "silence", "critical", 19, None)]


def test_an_interruption_ends_the_silence_that_the_minute_before_told_of() -> None:
    first, second = judged(
        books(range(10, 40)), in_order(start(70), books([500], at_s=71, snapshot=True), books(range(501, 549), at_s=72))
    )
    assert told(first) == [("orderbook", "silence", "warning", 29, None)]
    assert told(second) == [
        ("all", "interruption", "info", 29, 70),
        ("orderbook", "silence", "warning", 29, 70),
    ]
    assert second.desynchronizations == 1


def test_an_outage_that_is_marked_every_second_is_one_interruption_of_both_its_minutes() -> None:
    marks = [start(at) for at in range(40, 75)]
    first, second = judged(
        in_order(books(range(10, 40)), *marks[:20]), in_order(*marks[20:], books([500], at_s=75, snapshot=True))
    )
    assert [told(minute)[0] for minute in (first, second)] == [
        ("all", "interruption", "info", 29, 59),
        ("all", "interruption", "info", 29, 74),
    ]
    assert (first.desynchronizations, second.desynchronizations) == (1, 1)


def test_outliers_and_a_jump_of_the_clock_are_events_of_their_minute() -> None:
    wild = trades(60, at_s=60)
    wild["px"][30] = 200
    late = books(range(70, 130), at_s=60)
    late["event_ns"] -= SECOND_NS
    _, minute = judged(in_order(books(range(10, 70)), trades(60, at_s=0)), in_order(late, wild))
    assert told(minute) == [
        ("trade", "outliers", "warning", 60, 120),
        ("orderbook", "clock_jump", "warning", 60, 120),
    ]
    assert minute.anomaly_rate == pytest.approx(1 / 60)


def arrivals(at_s: float, *, late: int = 0, most_late_ms: int = 0, repeated: int = 0) -> Events:
    """What the tape tells of the trades of the minute before."""
    events = books([most_late_ms * 1_000_000], at_s=at_s)
    events["kind"], events["field"], events["px"], events["qty"] = ARRIVALS, TRADE, late, repeated
    events["event_ns"] = events["recv_ns"] // MINUTE_NS * MINUTE_NS - MINUTE_NS
    return events


@pytest.mark.parametrize(
    ("late", "repeated", "expected"),
    [
        (120, 0, [("trade", "late", "warning", 0, 60)]),
        (0, 120, [("trade", "repeated", "info", 0, 60)]),
        (99, 99, []),
        (101, 101, []),
    ],
)
def test_what_came_late_or_again_is_an_event_of_the_minute_that_was_counted(
    late: int, repeated: int, expected: list[tuple[str, str, str, float, float]]
) -> None:
    many = 3000 if late == repeated == 101 else 600
    _, minute = judged(
        in_order(books(range(10, 70)), trades(many, at_s=0, step_s=60 / many)),
        in_order(
            books(range(70, 130), at_s=60),
            trades(60, at_s=60),
            arrivals(60.1, late=late, most_late_ms=420, repeated=repeated),
        ),
    )
    assert told(minute) == expected
    assert all("420 ms" in event.detail for event in minute.events if event.what == "late")


def test_what_an_earlier_version_carried_is_read() -> None:
    document = Carried(update_id=3).document()
    del document["received"]
    assert Carried.from_document(document) == Carried(update_id=3)
