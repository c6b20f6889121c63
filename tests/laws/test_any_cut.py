"""Rows depend neither on how the tape is cut, nor on restarts, nor on looks at the provisional row."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import SECOND_NS
from market.events import Events
from tests.laws.running import assert_same, end_of, joined, run, safe_watermark
from tests.laws.streams import INSTRUMENT, tapes
from transforms.engine import Engine
from transforms.plan import Kernel
from transforms.rows import FeatureRows


def drawn_cuts(data: st.DataObject, events: Events) -> list[int]:
    """Positions in the tape, in the middle of messages too, the last at its end."""
    return [*sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=6))), len(events)]


def watermark(data: st.DataObject, events: Events, fed: int) -> int | None:
    """A watermark that may be reached once ``fed`` records are fed, on and around the edge."""
    latest_ns = safe_watermark(events, fed)
    return None if latest_ns is None else latest_ns - data.draw(st.sampled_from((0, 0, 1, SECOND_NS)))


@settings(max_examples=60)
@given(data=st.data(), events=tapes())
def test_any_cut_of_the_tape_gives_the_same_rows(kernel: Kernel, data: st.DataObject, events: Events) -> None:
    engine = Engine(kernel, INSTRUMENT)
    pieces: list[FeatureRows] = []
    fed = 0
    for cut in drawn_cuts(data, events):
        engine.feed(events[fed:cut])
        fed = cut
        watermark_ns = watermark(data, events, fed)
        if watermark_ns is not None and data.draw(st.booleans()):
            pieces.append(engine.advance(watermark_ns))
    pieces.append(engine.advance(end_of(events)))
    assert_same(joined(pieces), run(kernel, events, end_of(events)))


@settings(max_examples=30)
@given(events=tapes(max_size=10))
def test_records_fed_one_by_one_give_the_same_rows(kernel: Kernel, events: Events) -> None:
    engine = Engine(kernel, INSTRUMENT)
    pieces: list[FeatureRows] = []
    for fed in range(len(events)):
        engine.feed(events[fed : fed + 1])
        watermark_ns = safe_watermark(events, fed + 1)
        pieces.append(engine.advance(end_of(events) if watermark_ns is None else watermark_ns))
    assert_same(joined(pieces), run(kernel, events, end_of(events)))


@settings(max_examples=40)
@given(data=st.data(), events=tapes())
def test_a_restart_from_a_checkpoint_at_any_record_gives_the_same_rows(
    kernel: Kernel, data: st.DataObject, events: Events
) -> None:
    engine = Engine(kernel, INSTRUMENT)
    pieces: list[FeatureRows] = []
    fed = 0
    for cut in drawn_cuts(data, events):
        engine.feed(events[fed:cut])
        fed = cut
        watermark_ns = watermark(data, events, fed)
        if watermark_ns is not None and data.draw(st.booleans()):
            pieces.append(engine.advance(watermark_ns))
        checkpoint = engine.checkpoint()
        engine = Engine(kernel, INSTRUMENT)
        engine.restore(checkpoint)
    pieces.append(engine.advance(end_of(events)))
    assert_same(joined(pieces), run(kernel, events, end_of(events)))


@settings(max_examples=40)
@given(data=st.data(), events=tapes())
def test_a_look_changes_nothing_and_is_the_row_if_nothing_more_arrives(
    kernel: Kernel, data: st.DataObject, events: Events
) -> None:
    engine = Engine(kernel, INSTRUMENT)
    pieces: list[FeatureRows] = []
    fed = 0
    for cut in drawn_cuts(data, events):
        engine.feed(events[fed:cut])
        fed = cut
        watermark_ns = watermark(data, events, fed)
        if watermark_ns is not None:
            pieces.append(engine.advance(watermark_ns))
        before = engine.checkpoint()
        look = engine.peek()
        assert engine.checkpoint() == before
        if engine.next_row_ns is not None:
            alone = Engine(kernel, INSTRUMENT)
            alone.restore(before)
            assert_same(look, alone.advance(engine.next_row_ns))
    pieces.append(engine.advance(end_of(events)))
    assert_same(joined(pieces), run(kernel, events, end_of(events)))
