"""Event times: the rows that are sampled because something had happened by then.

1. Each stretch that the periods cover is filtered separately, from its beginning: an event follows from what came
   before it in its stretch alone, so that later data moves none.
2. CUSUM looks at the label's prices. The mid of second ``t`` is that of row ``t``; a kline's close has come with the
   row KLINE_OFFSET_NS later.
3. Bars count the trades of the tape, each once, in whole units of the instrument's scales: no sum rounds. A bar is over
   with the trade that fills it, and the next begins empty with the next trade; the row that is sampled is the first one
   that has that trade. Bars that end within one second are one sample.
4. Signals are sampled on the first row at their time or later.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from math import ceil

import numpy as np
import numpy.typing as npt

from market.clock import SECOND_NS
from market.errors import InvalidRequest
from market.events import TRADE
from storage.raw.events import stream_events
from storage.raw.raw_data import RawData
from training_sets.request.folds import covered
from training_sets.request.request import KLINE_OFFSET_NS, DatasetRequest
from training_sets.request.sampling import MOST_EVENTS, BarSampling, CusumSampling, SignalSampling
from training_sets.samples.events import cusum_events
from training_sets.samples.labels import past_volatility
from training_sets.samples.prices import LabelPrices
from training_sets.samples.sample_times import SampleTimes
from transforms.jit import jit

Int64s = npt.NDArray[np.int64]

_FIELDS = ("seq", "recv_ns", "px", "qty")
_MOST_UNITS = 2**62
"""Of a bar and of a trade: their sum stays within int64."""


def event_times(request: DatasetRequest, prices: LabelPrices, raw: RawData) -> SampleTimes:
    """When the events of a request with ``sampling`` are sampled, ascending, each once, within its periods.

    prices, raw: of its symbol. Raises InvalidRequest when there is none, or more than MOST_EVENTS; NotFound.
    """
    if isinstance(request.sampling, SignalSampling):
        return SampleTimes.at(request.sampling.rows_ns)
    found = [np.empty(0, np.int64)]
    count = 0
    for start_ns, end_ns in covered(request.folds()):
        if isinstance(request.sampling, CusumSampling):
            times_ns = _cusum_times(request.sampling, prices, start_ns, end_ns)
        else:
            assert request.sampling is not None, "a request without sampling has no events"
            times_ns = _bar_times(request.sampling, raw, request.symbols[0], start_ns, end_ns)
        found.append(times_ns[times_ns < end_ns])
        count += len(found[-1])
        if count > MOST_EVENTS:
            break
    if not 0 < count <= MOST_EVENTS:
        told = "none" if count == 0 else f"{count} or more"
        raise InvalidRequest(f"sampling: must find 1 to {MOST_EVENTS} events in the periods, was {told}")
    return SampleTimes.at(np.unique(np.concatenate(found)).tolist())


def _cusum_times(cusum: CusumSampling, prices: LabelPrices, start_ns: int, end_ns: int) -> Int64s:
    """Raises InvalidRequest when the window is no whole number of the price's steps, two at least."""
    step_ns, window_ns = prices.step_ns, cusum.volatility_window_ns
    if window_ns and (window_ns < 2 * step_ns or window_ns % step_ns):
        raise InvalidRequest(
            f"sampling.volatility_window: must be two or more steps of {step_ns} ns, was {window_ns} ns"
        )
    times_ns = np.arange(-(-start_ns // step_ns) * step_ns, end_ns, step_ns)
    series = prices.between(start_ns - window_ns - step_ns, end_ns)
    thresholds = np.full(len(times_ns), cusum.threshold)
    if window_ns:
        volatility = past_volatility(times_ns, series, window_ns)
        thresholds *= np.where(volatility == 0.0, np.nan, volatility)
    offset_ns = KLINE_OFFSET_NS if prices.name == "kline_close" else 0
    return times_ns[cusum_events(series.at(times_ns), thresholds)] + offset_ns


def _bar_times(bars: BarSampling, raw: RawData, symbol: str, start_ns: int, end_ns: int) -> Int64s:
    instrument = raw.instrument(symbol)
    decimals = {
        "tick": 0,
        "volume": instrument.quantity_exponent,
        "dollar": instrument.price_exponent + instrument.quantity_exponent,
    }[bars.unit]
    size = ceil(Fraction(Decimal(repr(bars.size))) * 10**decimals)
    if size >= _MOST_UNITS:
        raise InvalidRequest(f"sampling.size: must be below {_MOST_UNITS} units of 1e-{decimals}, was {bars.size}")
    ends = [np.empty(0, np.int64)]
    filled = 0
    for recv_ns, amounts in _trades(bars, raw, symbol, start_ns, end_ns):
        is_end, filled = _bar_ends(amounts, filled, size)
        ends.append(recv_ns[is_end])
    # The first row after the trade came; several ends of one second are one.
    return np.unique(np.concatenate(ends) // SECOND_NS * SECOND_NS + SECOND_NS)


def _trades(
    bars: BarSampling, raw: RawData, symbol: str, start_ns: int, end_ns: int
) -> Iterator[tuple[Int64s, Int64s]]:
    """When each trade of [start, end) came, and what it adds to a bar, piece by piece."""
    for events, _ in stream_events(raw, symbol, kinds={TRADE}, from_ns=start_ns, to_ns=end_ns, fields=_FIELDS):
        of_piece = events[(events["kind"] == TRADE) & (events["recv_ns"] >= start_ns) & (events["recv_ns"] < end_ns)]
        match bars.unit:
            case "tick":
                amounts = np.ones(len(of_piece), np.int64)
            case "volume":
                amounts = of_piece["qty"].copy()
            case _:
                if (of_piece["px"].astype(np.float64) * of_piece["qty"] >= _MOST_UNITS).any():
                    raise InvalidRequest(f"sampling: price x quantity of a trade of {symbol} must fit int64, was more")
                amounts = of_piece["px"] * of_piece["qty"]
        yield of_piece["recv_ns"].copy(), amounts


@jit
def _bar_ends(amounts: Int64s, filled: int, size: int) -> tuple[npt.NDArray[np.bool_], int]:
    """Whether each trade ends a bar, and what the bar that is open at the end holds."""
    found = np.zeros(len(amounts), np.bool_)
    for at in range(len(amounts)):
        filled += amounts[at]
        if filled >= size:
            found[at] = True
            filled = 0
    return found, filled
