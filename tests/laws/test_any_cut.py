"""Rows depend neither on how the tape is cut nor on restarts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import SECOND_NS
from market.events import Events
from tests.examples import examples
from tests.laws.running import assert_same, begin, end_of, joined, run, safe_watermark
from tests.laws.streams import tapes
from transforms.kernel import Kernel
from transforms.rows import FeatureRows


def drawn_tape(data: st.DataObject, before: bytes | None, *, max_size: int = 30) -> Events:
    """A tape that goes on from the state before it."""
    events: Events = data.draw(tapes(is_warm=before is not None, max_size=max_size))
    return events


def drawn_cuts(data: st.DataObject, events: Events) -> list[int]:
    """Positions in the tape, the last at its end; in the middle of messages too."""
    return [*sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=6))), len(events)]


def watermark(data: st.DataObject, events: Events, fed: int) -> int | None:
    """A watermark that may be reached once ``fed`` records are fed, on and around the edge."""
    latest_ns = safe_watermark(events, fed)
    return None if latest_ns is None else latest_ns - data.draw(st.sampled_from((0, 0, 1, SECOND_NS)))


@settings(max_examples=examples(25))
@given(data=st.data())
def test_any_cut_of_the_tape_gives_the_same_rows(kernel: Kernel, before: bytes | None, data: st.DataObject) -> None:
    events = drawn_tape(data, before)
    engine = begin(kernel, before)
    pieces: list[FeatureRows] = []
    fed = 0
    for cut in drawn_cuts(data, events):
        engine.feed(events[fed:cut])
        fed = cut
        watermark_ns = watermark(data, events, fed)
        if watermark_ns is not None and data.draw(st.booleans()):
            pieces.append(engine.advance(watermark_ns))
    pieces.append(engine.advance(end_of(events)))
    assert_same(joined(pieces), run(kernel, events, end_of(events), checkpoint=before))


@settings(max_examples=examples(12))
@given(data=st.data())
def test_records_fed_one_by_one_give_the_same_rows(kernel: Kernel, before: bytes | None, data: st.DataObject) -> None:
    events = drawn_tape(data, before, max_size=10)
    engine = begin(kernel, before)
    pieces: list[FeatureRows] = []
    for fed in range(len(events)):
        engine.feed(events[fed : fed + 1])
        watermark_ns = safe_watermark(events, fed + 1)
        pieces.append(engine.advance(end_of(events) if watermark_ns is None else watermark_ns))
    assert_same(joined(pieces), run(kernel, events, end_of(events), checkpoint=before))


@settings(max_examples=examples(20))
@given(data=st.data())
def test_a_restart_from_a_checkpoint_at_any_record_gives_the_same_rows(
    kernel: Kernel, before: bytes | None, data: st.DataObject
) -> None:
    events = drawn_tape(data, before)
    engine = begin(kernel, before)
    pieces: list[FeatureRows] = []
    fed = 0
    for cut in drawn_cuts(data, events):
        engine.feed(events[fed:cut])
        fed = cut
        watermark_ns = watermark(data, events, fed)
        if watermark_ns is not None and data.draw(st.booleans()):
            pieces.append(engine.advance(watermark_ns))
        engine = begin(kernel, engine.checkpoint())
    pieces.append(engine.advance(end_of(events)))
    assert_same(joined(pieces), run(kernel, events, end_of(events), checkpoint=before))
