"""Engines brought along a real tape, on which a frame may stand behind later ones or be of a kind that none reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

from ingestion.messages import TimedMessage
from ingestion.pipeline.change import mark_of
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.row_cost import FEWEST_ROWS, measured_cost
from ingestion.pipeline.warming import Warmer, WarmingPlan
from market.clock import MILLISECOND_NS, SECOND_NS
from market.markets import DEFAULT_MARKET
from storage.tape import read_tape
from tests.pipelines import pipeline_in
from tests.restarted import BEGIN_NS, SHORT, SYMBOL
from transforms.kernel import Kernel

LAG_NS = 1500 * MILLISECOND_NS
"""How much later than the others a queue is drained."""


@contextmanager
def taken(raw: Path, kernel: Kernel, messages: list[TimedMessage], *, seconds: int) -> Iterator[Pipeline]:
    """A pipeline that has taken so much of a market, tickers later than the rest, and waits for them with its rows."""

    def arrives_ns(message: TimedMessage) -> int:
        return message.recv_ns + (LAG_NS if b'"tickers.' in message.body else 0)

    with closing(pipeline_in(raw, kernel, tape_sync_ms=1)) as pipeline:
        for message in sorted(messages, key=arrives_ns):
            if message.recv_ns < BEGIN_NS + seconds * SECOND_NS:
                pipeline.advance(arrives_ns(message) - LAG_NS, now_ns=arrives_ns(message))
                pipeline.handle(message)
        yield pipeline


def plan_of(raw: Path, kernel_cache: Path) -> WarmingPlan:
    return WarmingPlan(SHORT, kernel_cache, raw, DEFAULT_MARKET, SECOND_NS)


def test_a_row_has_a_cost_although_one_queue_was_drained_later_than_the_others(
    tmp_path: Path, short: Kernel, kernel_cache: Path, messages: list[TimedMessage]
) -> None:
    for seconds, is_enough in ((FEWEST_ROWS + 2, True), (FEWEST_ROWS - 2, False)):
        raw = tmp_path / str(seconds)
        with taken(raw, short, messages, seconds=seconds) as pipeline:
            assert pipeline.late_messages == 0
            assert pipeline.lanes[SYMBOL].durability()(10.0)
            stamps_ns = [frame.recv_ns for frame in read_tape(raw, SYMBOL)]
            found = measured_cost(plan_of(raw, kernel_cache))
        assert max(before - after for before, after in pairwise(stamps_ns)) > SECOND_NS
        assert (found.ms is not None) is is_enough, found
        # Not the seconds of the minute before the tape began: nothing is in them.
        assert seconds - 2 <= found.rows <= seconds


def test_what_no_engine_reads_changes_nothing_in_one_that_is_warmed_up(
    tmp_path: Path, short: Kernel, kernel_cache: Path, messages: list[TimedMessage]
) -> None:
    with taken(tmp_path, short, messages, seconds=8) as pipeline:
        lane = pipeline.lanes[SYMBOL]
        closed_ns = lane.engine.closed_ns
        assert closed_ns is not None
        late = next(message for message in messages if message.recv_ns > closed_ns - SECOND_NS)
        lane.arrivals.note_repeated(4, late.recv_ns)
        lane.tell_arrivals()  # which is on the tape, as own orders and funding may be
        for message in messages:
            if 9 * SECOND_NS <= message.recv_ns - BEGIN_NS < 12 * SECOND_NS:
                pipeline.advance(message.recv_ns, now_ns=message.recv_ns)
                pipeline.handle(message)
        assert lane.durability()(10.0)
        assert any(b"arrivals" in frame.body for frame in read_tape(tmp_path, SYMBOL))
        mark = mark_of(SYMBOL, lane)
        warmer = Warmer(plan_of(tmp_path, kernel_cache), short, mark)
        warmer.bring_to(mark)
        assert warmer.engine().state == lane.engine.checkpoint()
