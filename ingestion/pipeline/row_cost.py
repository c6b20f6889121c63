"""What a row of a set costs of processor time, measured on the newest stretch of a real tape.

1. The tape with the most bytes of late is gone through from the last order book snapshot before the stretch on; each
   second of the stretch is fed and closed separately, as a running worker does. On the tape a frame may stand behind
   those of later seconds: its queue was drained later, or it is the worker's own, of the row that was closed then.
2. What is further back than that is not brought in: how much past an engine holds hardly changes what a row costs.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ingestion.pipeline.change import said
from ingestion.pipeline.measuring import NotMeasured, measured_apart
from ingestion.pipeline.resuming import last_snapshot_ns
from ingestion.pipeline.warming import WarmingPlan
from ingestion.venues.decoders import Decoders, venue_of
from market.clock import MINUTE_NS, SECOND_NS, floor_to
from market.errors import FeatureServiceError
from market.events import KIND_COUNT, Events
from storage.instruments import InstrumentPins
from storage.tape import Frame, read_tape_and_holes, tape_symbols
from storage.tape.frames import read_frames
from storage.tape.segments import segments, tape_folder
from transforms.engine import Engine
from transforms.kernel import compile_kernel
from transforms.rows import FeatureSet

STRETCH_NS: Final = MINUTE_NS
FEWEST_ROWS: Final = 10


@dataclass(frozen=True, slots=True)
class MeasuredCost:
    """ms: the median of so many rows; None where it could not be measured, and reason says why."""

    ms: float | None
    rows: int
    reason: str | None


class RowCosts:
    """Measures sets, each once in a process. plan: where everything is; its feature set is replaced."""

    def __init__(self, plan: WarmingPlan) -> None:
        self._plan = plan
        self._known: dict[str, MeasuredCost] = {}
        self._lock = threading.Lock()

    def of(self, sets: Sequence[FeatureSet]) -> list[MeasuredCost]:
        """What a row of each costs, in their order."""
        with self._lock:
            wanted = [each for each in sets if each.fingerprint not in self._known]
            try:
                found = measured_apart(_measure_all, self._plan, wanted) if wanted else []
            except NotMeasured as error:
                found = [MeasuredCost(None, 0, str(error))] * len(wanted)
            measured = {each.fingerprint: cost for each, cost in zip(wanted, found, strict=True)}
            self._known |= {name: cost for name, cost in measured.items() if cost.ms is not None}
            return [measured.get(each.fingerprint) or self._known[each.fingerprint] for each in sets]


def _measure_all(plan: WarmingPlan, sets: Sequence[FeatureSet]) -> list[MeasuredCost]:
    return [measured_cost(replace(plan, feature_set=each)) for each in sets]


def measured_cost(plan: WarmingPlan) -> MeasuredCost:
    """What a row of the plan's set costs, in this process."""
    try:
        costs = _costs(plan)
    except FeatureServiceError as error:
        return MeasuredCost(None, 0, str(error))
    except Exception as error:  # noqa: BLE001  # whatever a version raises is why it has no cost
        return MeasuredCost(None, 0, f"a row could not be computed: {said(error)}")
    if len(costs) < FEWEST_ROWS:
        return MeasuredCost(None, len(costs), f"tape: must have {FEWEST_ROWS} rows to measure, had {len(costs)}")
    return MeasuredCost(statistics.median(costs), len(costs), None)


def _costs(plan: WarmingPlan) -> list[float]:
    """Of each row of the stretch, ms."""
    symbol = busiest_symbol(plan)
    instrument = None if symbol is None else InstrumentPins(plan.raw_folder).get(symbol)
    if symbol is None or instrument is None:
        return []
    kernel = compile_kernel(plan.feature_set, plan.kernel_cache)
    kernel.warm_up()
    decoders = Decoders(venue_of(plan.market), InstrumentPins(plan.raw_folder))
    end_ns = floor_to(_newest_ns(plan, symbol), SECOND_NS)
    begin_ns = end_ns - STRETCH_NS
    from_ns = last_snapshot_ns(plan.raw_folder, symbol, decoders, begin_ns) or begin_ns
    engine = Engine(kernel, instrument, start_ns=floor_to(from_ns, SECOND_NS), grid_ns=SECOND_NS)
    has_begun = False  # a row before the first message costs next to nothing
    by_second: dict[int, list[Events]] = {each_ns: [] for each_ns in range(begin_ns, end_ns, SECOND_NS)}
    for frame in read_tape_and_holes(plan.raw_folder, symbol, from_ns=from_ns, to_ns=end_ns):
        if not isinstance(frame, Frame):
            continue
        decoded = decoders.decode(frame.body, frame.recv_ns)
        assert decoded is not None, "only messages with market data are logged"
        if decoded.kind >= KIND_COUNT:
            continue
        records = decoded.stamped(frame.recv_ns, frame.seq)
        if frame.recv_ns < begin_ns:
            engine.feed(records)
            has_begun = True
        else:
            by_second[floor_to(frame.recv_ns, SECOND_NS)].append(records)
    engine.advance(begin_ns)
    costs: list[float] = []
    for second_ns, pieces in by_second.items():
        has_begun = has_begun or len(pieces) > 0
        begun_s = time.thread_time()
        for records in pieces:
            engine.feed(records)
        count = len(engine.advance(second_ns + SECOND_NS))
        spent_s = time.thread_time() - begun_s
        if count and has_begun:
            costs.append(1000 * spent_s / count)
    return costs


def busiest_symbol(plan: WarmingPlan) -> str | None:
    """The symbol whose newest segment is the largest: the dearest rows."""
    sizes = {}
    for symbol in tape_symbols(plan.raw_folder):
        known = segments(tape_folder(plan.raw_folder, symbol))
        if known and known[-1].path.exists():
            sizes[symbol] = known[-1].path.stat().st_size
    return max(sizes, key=lambda symbol: sizes[symbol], default=None)


def _newest_ns(plan: WarmingPlan, symbol: str) -> int:
    """The stamp of the last frame."""
    frames: deque[Frame] = deque(maxlen=1)
    for segment in reversed(segments(tape_folder(plan.raw_folder, symbol))):
        frames.extend(each for each in read_frames(segment.path) if isinstance(each, Frame))
        if frames:
            break
    return frames[-1].recv_ns if frames else 0
