"""What computing each feature costs of processor time, measured on the newest state of a running worker.

1. The state is that of the symbol with the most bytes of late: its last checkpoint, with all its past, and what came
   since, brought to the end of the second of its newest message.
2. Of each feature alone, what it takes is gathered and its value computed for the row of that second, so often that it
   can be timed. What several features take of one window is made once in a row of all: together they cost less than
   the sum of these figures. What messages cost until they are applied is in none of them.
3. A feature over candles or bars is computed once for each of these and kept in between: its cost is that of a second
   on average.
4. A feature that has no value in that row has no cost: why it has none is said instead.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ingestion.pipeline.measuring import NotMeasured, measured_apart
from ingestion.pipeline.row_cost import busiest_symbol
from ingestion.pipeline.warming import WarmingPlan
from ingestion.tape.present import present_engine
from market.clock import MINUTE_NS, SECOND_NS, floor_to
from market.errors import Conflict, NotFound
from storage.instruments import InstrumentPins
from transforms.catalogue import FEATURES
from transforms.declaration import Feature, Source
from transforms.jit import for_compiled
from transforms.kernel import compile_kernel, compile_repetition
from transforms.rows import FeatureSet
from transforms.state import STATE
from transforms.status import OK, REASON_NAMES

BATCHES: Final = 5
LEAST_S: Final = 0.0005
"""Of a batch: a thousand times what reading the clock takes."""
FEWEST_TIMES: Final = 16

State = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class FeatureCost:
    """row_us: of one row a second, the median of BATCHES; None where it was not measured, and reason says why."""

    row_us: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class FeatureCosts:
    """costs: by feature of the version, normalised columns apart. symbol, row_ns: whose state, of when."""

    version: str
    symbol: str
    row_ns: int
    processor: str
    costs: Mapping[str, FeatureCost]


class FeatureMeter:
    """Measures the features of the version that is served. plan: where everything is; its feature set is replaced."""

    def __init__(self, plan: WarmingPlan) -> None:
        self._plan = plan
        self._measuring = threading.Lock()
        self.newest: FeatureCosts | None = None
        """What was measured last in this process."""

    def measure(self, served: FeatureSet, now_ns: int) -> FeatureCosts:
        """Measure now, which takes seconds, and once on a machine a minute. served: what the worker serves.

        Raises Conflict while another is at it, or where it cannot be measured, with the reason.
        """
        if not self._measuring.acquire(blocking=False):
            raise Conflict("costs of features: are being measured, ask again once that is done")
        try:
            self.newest = measured_apart(feature_costs, replace(self._plan, feature_set=served), now_ns)
        except NotMeasured as error:
            raise Conflict(f"costs of features: could not be measured: {error}") from error
        finally:
            self._measuring.release()
        return self.newest


def feature_costs(plan: WarmingPlan, now_ns: int) -> FeatureCosts:
    """What each feature of the plan's set costs, in this process; a worker must be serving that set.

    now_ns: the present. Raises NotFound without a tape, or where the tape is not young and has no checkpoint.
    """
    symbol = busiest_symbol(plan)
    if symbol is None:
        raise NotFound("tape: must exist to measure what features cost, was none")
    kernel, pins = compile_kernel(plan.feature_set, plan.kernel_cache), InstrumentPins(plan.raw_folder)
    engine, recv_ns = present_engine(plan.raw_folder, symbol, pins, kernel, grid_ns=plan.grid_ns, now_ns=now_ns)
    # The tile before the end of the second: the next one to end has a row.
    engine.rows_at(np.empty(0, np.int64), floor_to(recv_ns, SECOND_NS) + SECOND_NS - plan.grid_ns)
    state = np.frombuffer(engine.checkpoint(), STATE, count=1)
    names = tuple(name for name in plan.feature_set.columns if name in FEATURES)
    repeat = compile_repetition(names, plan.kernel_cache)
    costs = {name: _cost(repeat, state, which, FEATURES[name]) for which, name in enumerate(names)}
    return FeatureCosts(plan.feature_set.version, symbol, int(state["next_end_ns"][0]), processor_name(), costs)


def processor_name() -> str:
    """Model and number of the processors of this machine."""
    try:
        model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        model = None
    return f"{os.cpu_count()} x {platform.machine() if model is None else model[1].strip()}"


def _cost(repeat: Callable[..., None], state: State, which: int, declared: Feature) -> FeatureCost:
    values, reasons = np.empty(1), np.empty(1, np.int8)
    own = for_compiled(repeat, state.copy())

    def compute(times: int, *, is_new: bool) -> None:
        repeat(own, which, times, is_new, values, reasons)

    compute(1, is_new=True)
    if reasons[0] != OK:
        return FeatureCost(None, REASON_NAMES[int(reasons[0])])
    row_s, period_s = _seconds(partial(compute, is_new=False)), _kept_for_s(declared)
    if period_s is not None:
        row_s += (_seconds(partial(compute, is_new=True)) - row_s) / period_s
    return FeatureCost(row_s * 1e6)


def _kept_for_s(declared: Feature) -> int | None:
    """How long a value over candles or bars is kept; None of others."""
    match declared.source:
        case Source.KLINES:
            return MINUTE_NS // SECOND_NS
        case Source.BARS:
            return declared.window_s
        case _:
            return None


def _seconds(repeat: Callable[[int], None]) -> float:
    """Of one time, the median of batches that take LEAST_S or longer."""
    times, took_s = FEWEST_TIMES, _took_s(repeat, FEWEST_TIMES)
    while took_s < LEAST_S:
        times *= 2
        took_s = _took_s(repeat, times)
    return statistics.median(_took_s(repeat, times) / times for _ in range(BATCHES))


def _took_s(repeat: Callable[[int], None], times: int) -> float:
    begun_s = time.thread_time()
    repeat(times)
    return time.thread_time() - begun_s
