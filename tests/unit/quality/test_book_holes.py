"""What the order book's update ids say is missing, however the stream is cut."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from market.clock import SECOND_NS
from market.events import CONTROL, FIRST, LAST, ORDERBOOK, SNAPSHOT, START, Events, empty_events
from quality.book_holes import BookHoles
from quality.book_runs import book_runs
from quality.limits import USUAL_LIMITS

BEGIN_NS = 1_700_000_000 * SECOND_NS
STEP_NS = SECOND_NS // 10


def books(ids: list[int], *, snapshots: frozenset[int] = frozenset({0})) -> Events:
    """One record a message; ``snapshots``: positions of those that replace the book."""
    events = empty_events(len(ids))
    events["kind"] = ORDERBOOK
    events["update_id"] = ids
    events["recv_ns"] = BEGIN_NS + np.arange(len(ids)) * STEP_NS
    events["event_ns"] = events["recv_ns"]
    events["flags"] = FIRST | LAST
    events["flags"][sorted(snapshots)] |= SNAPSHOT
    return events


def counted(events: Events, cuts: list[int] | None = None) -> BookHoles:
    stream = BookHoles()
    bounds = [0, *sorted(cuts or []), len(events)]
    for begin, end in itertools.pairwise(bounds):
        stream.add(events[begin:end])
    return stream


def test_a_whole_stream_misses_nothing() -> None:
    stream = counted(books(list(range(5, 105))))
    assert (stream.received, stream.expected, stream.missing, stream.holes) == (100, 100, 0, [])


@given(st.data())
def test_what_was_dropped_is_counted_to_the_message_however_the_stream_is_cut(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 60))
    dropped = data.draw(st.sets(st.integers(1, count - 1)))
    ids = [at for at in range(count) if at not in dropped]
    last = max(ids)
    events = books([10 + at for at in ids])
    cuts = data.draw(st.lists(st.integers(0, len(events)), max_size=5))
    stream = counted(events, cuts)
    missing = [at for at in dropped if at < last]
    assert stream.missing == len(missing)
    assert stream.expected == last + 1
    runs = sum(1 for at in missing if at - 1 not in dropped)
    assert len(stream.holes) == runs
    assert all(hole.repaired_ns is None for hole in stream.holes)


def test_a_repeated_message_is_a_duplicate_and_nothing_is_missing() -> None:
    stream = counted(books([5, 6, 6, 5, 7, 8]))
    assert (stream.duplicates, stream.missing, stream.expected) == (2, 0, 4)


def test_a_snapshot_repairs_the_book_and_its_time_is_told() -> None:
    stream = counted(books([5, 6, 9, 10, 40, 41], snapshots=frozenset({0, 4})))
    [hole] = stream.holes
    assert hole.missing == 2
    assert (hole.found_ns, hole.repaired_ns) == (BEGIN_NS + 2 * STEP_NS, BEGIN_NS + 4 * STEP_NS)


def test_a_restart_of_the_exchange_is_no_gap() -> None:
    assert counted(books([500, 501, 1, 2, 3])).holes == []


def test_an_interruption_is_told_with_the_message_before_it() -> None:
    events = books([5, 6, 7])
    start = empty_events(1)
    start["kind"], start["field"], start["flags"] = CONTROL, START, FIRST | LAST
    start["recv_ns"] = BEGIN_NS + 60 * SECOND_NS
    stream = counted(np.concatenate([events, start]))
    assert stream.interruptions == [(BEGIN_NS + 2 * STEP_NS, BEGIN_NS + 60 * SECOND_NS)]
    assert stream.silences == []


def test_a_pause_of_more_than_five_seconds_is_a_silence_and_one_of_exactly_five_is_none() -> None:
    for extra_ns, silences in ((0, 0), (1, 1)):
        events = books([5, 6, 7])
        events["recv_ns"][2] = events["recv_ns"][1] + USUAL_LIMITS.silences_ns[ORDERBOOK] + extra_ns
        assert len(counted(events).silences) == silences


STEPS = st.sampled_from([1, 1, 1, 1, 1, 0, 2, 5, -1, -3])
KINDS = st.sampled_from(["message"] * 8 + ["snapshot", "mark"])


@given(st.lists(st.tuples(STEPS, KINDS), min_size=1, max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_runs_say_of_the_sequence_what_all_their_messages_say(steps: list[tuple[int, str]], cuts: list[int]) -> None:
    snapshots = frozenset(at for at, (_, kind) in enumerate(steps) if kind == "snapshot")
    events = books(np.cumsum([10, *(step for step, _ in steps)])[1:].clip(1).tolist(), snapshots=snapshots)
    marks = [at for at, (_, kind) in enumerate(steps) if kind == "mark"]
    for name, value in (("kind", CONTROL), ("field", START), ("px", ORDERBOOK)):
        events[name][marks] = value
    expected, stream, messages = counted(events), BookHoles(), 0
    for begin, end in itertools.pairwise([0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]):
        runs = book_runs(events[begin:end])
        stream.add(runs.records, runs.ends_run)
        messages += 0 if runs.held is None else sum(runs.held.by_day.values())
    assert (stream.holes, stream.missing, stream.replaced) == (expected.holes, expected.missing, expected.replaced)
    assert (stream.last_id, stream.last_ns) == (expected.last_id, expected.last_ns)
    assert stream.broken_by == expected.broken_by
    assert messages == len(steps) - len(marks)


def test_of_messages_that_follow_the_first_and_the_last_are_left() -> None:
    runs = book_runs(books([*range(5, 105), *range(107, 200)]))
    assert runs.records["update_id"].tolist() == [5, 104, 107, 199]
    assert runs.ends_run.tolist() == [False, True, False, True]
