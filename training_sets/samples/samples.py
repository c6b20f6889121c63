"""Samples: what was known at each time, with its labels, piece after piece in time order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, MILLISECOND_NS, SECOND_NS, floor_to
from market.errors import InvalidRequest
from quality.continuity import ContinuityTally, VaryingTally
from storage.features.log import FeatureLog
from storage.tables.reading import Table
from training_sets.request.folds import covered
from training_sets.request.request import KLINE_OFFSET_NS, DatasetRequest
from training_sets.request.targets import MetaLabelTarget, TripleBarrierTarget, check_target
from training_sets.samples.columns import DatasetFeatures
from training_sets.samples.inputs import ModelInputs
from training_sets.samples.kline_days import KlineHistory
from training_sets.samples.known import TOO_LATE, Known, Lags, Retrieval
from training_sets.samples.labels import first_touches, make_labels
from training_sets.samples.missing import ForwardFill, ServedFill
from training_sets.samples.piece import BARRIERS, META_BARRIERS, MetBarriers, Samples
from training_sets.samples.prices import LabelPrices, open_prices
from training_sets.samples.sample_times import SampleTimes

PIECE_ROWS: Final = 200_000
"""Entity rows of one retrieval, which bounds a build's memory: 0.2 GB at 120 features."""
PIECE_SECONDS: Final = 1_000_000
"""Symbol-seconds that one retrieval spans: a feature row each, read whether or not it is sampled."""

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """times: when rows are sampled. prices: of each symbol, what labels are made of. tables: those that were read."""

    times: SampleTimes
    prices: Mapping[str, LabelPrices]
    tables: Mapping[str, Table] = field(default_factory=dict)


class Sampler:
    """Retrieves, fills and labels the samples of a request; counts what it drops.

    retrieval: what is known at ascending times. counts: rows sampled, without_features (too_late of them),
    without_label (too_early of them), with_missing, and values_filled. lags: how old each row was when the model had
    it. unlabelled: rows whose label is unknown, by target. unknown: dropped rows in which it is, by column. continuity:
    tallies of each symbol, told the times that have features. log: where values are filled from that were served.
    """

    def __init__(
        self,
        request: DatasetRequest,
        features: DatasetFeatures,
        retrieval: Retrieval,
        plan: SamplePlan,
        log: FeatureLog,
        *,
        continuity: Mapping[str, Sequence[ContinuityTally | VaryingTally]],
    ) -> None:
        self._request = request
        self._features = features
        chosen = features.chosen
        self.counts: Counter[str] = Counter()
        self.lags = Lags()
        self.unlabelled: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.continuity = continuity
        self._fill_given = ForwardFill(len(request.symbols) * len(chosen.columns), request.fill_limit_ns)
        self._fill_served = ServedFill(log, chosen, request.symbols, request.fill_limit_ns)
        self._inputs = ModelInputs(request, chosen, log)
        self.times = plan.times
        self.retrieval = retrieval
        self._back_ns = request.price_back_ns
        self.prices = plan.prices
        self.tables = plan.tables

    @property
    def sample_count(self) -> int:
        """Entity rows in all."""
        return len(self.times) * len(self._request.symbols)

    def pieces(self) -> Iterator[Samples]:
        """The samples that have features and every label; the whole is the same however it is cut."""
        count = len(self._request.symbols)
        step = max(1, PIECE_ROWS // count)
        span_ns = max(1, PIECE_SECONDS // count) * SECOND_NS
        begin = 0
        while begin < len(self.times):
            times_ns = self.times.between(begin, min(begin + step, len(self.times)))
            end = begin + int(np.searchsorted(times_ns, times_ns[0] + span_ns))
            if self._request.sessions is not None:
                end = begin + len(times_ns)  # between two of them no row is read
            if end < len(self.times):
                # At midnight, where a piece holds one: a day that is cut is no day that was sampled before.
                [next_ns] = self.times.between(end, end + 1).tolist()
                midnight = self.times.number_from(floor_to(next_ns, DAY_NS))
                end = midnight if midnight > begin else end
            yield self._piece(times_ns[: end - begin])
            begin = end

    def _piece(self, times_ns: Int64s) -> Samples:
        request, count = self._request, len(self._request.symbols)
        known = self.retrieval.known(times_ns)
        decisions_ns = known.had_ns + request.read_delay_ns
        is_on_row = request.sample_kind == "on_row"
        acted_from_ns = known.had_ns if is_on_row else np.repeat(times_ns, count)
        self.lags.add((acted_from_ns - known.row_ns)[known.has_row])
        self.counts["too_late"] += int(np.count_nonzero(known.row_ns == TOO_LATE))
        inputs = self._inputs.of(times_ns, known, decisions_ns)
        if request.missing == "forward_fill":
            self.counts["values_filled"] += self._filled(times_ns, known)
        features = self._features.values(known, request.symbols, on_rows=is_on_row)
        is_unknown = np.isnan(features)
        sides = inputs[:, 0] if request.has_sides else None
        labels, barriers = self._labels(times_ns, decisions_ns, sides)
        is_found: npt.NDArray[np.bool_] = np.any(~is_unknown, axis=1)
        self._drop_early(times_ns, labels, is_found)
        for at, symbol in enumerate(request.symbols):
            for tally in self.continuity[symbol]:
                tally.add(times_ns[is_found[at::count]])
        is_unlabelled = np.isnan(labels)
        for index, target in enumerate(request.targets):
            self.unlabelled[target.name] += int(np.count_nonzero(is_found & is_unlabelled[:, index]))
        is_labelled = is_found & ~is_unlabelled.any(axis=1)
        is_kept = is_labelled & ~is_unknown.any(axis=1) if request.missing == "drop" else is_labelled
        self.counts["sampled"] += len(features)
        self.counts["without_features"] += int(np.count_nonzero(~is_found))
        self.counts["without_label"] += int(np.count_nonzero(is_found & ~is_labelled))
        is_dropped = is_labelled & ~is_kept
        self.counts["with_missing"] += int(np.count_nonzero(is_dropped))
        of_column = np.count_nonzero(is_unknown[is_dropped], axis=0).tolist()
        self.unknown.update({name: rows for name, rows in zip(self._features.columns, of_column, strict=True) if rows})
        return Samples(
            np.repeat(times_ns, count)[is_kept],
            decisions_ns[is_kept],
            np.tile(np.arange(count), len(times_ns))[is_kept],
            np.asfortranarray(features[is_kept]),
            labels[is_kept],
            {index: each.only(is_kept) for index, each in barriers.items()},
            inputs[is_kept],
        )

    def _drop_early(self, times_ns: Int64s, labels: Float64s, is_found: npt.NDArray[np.bool_]) -> None:
        """Leave the labels of rows unknown that may hold a close of after them."""
        count = len(self._request.symbols)
        for at, symbol in enumerate(self._request.symbols):
            is_early = self.prices[symbol].tell_early(times_ns)
            labels[at::count][is_early] = np.nan
            self.counts["too_early"] += int(np.count_nonzero(is_early & is_found[at::count]))

    def _labels(
        self, times_ns: Int64s, decisions_ns: Int64s, sides: Float64s | None
    ) -> tuple[Float64s, dict[int, MetBarriers]]:
        """The labels of a piece, and of each triple-barrier target, by its number, which barrier was met when."""
        request, count = self._request, len(self._request.symbols)
        labels = np.empty((len(decisions_ns), len(request.targets)))
        barriers = {
            index: MetBarriers(
                np.full(len(decisions_ns), np.nan),
                np.zeros(len(decisions_ns), np.int64),
                META_BARRIERS if isinstance(target, MetaLabelTarget) else BARRIERS,
            )
            for index, target in enumerate(request.targets)
            if isinstance(target, TripleBarrierTarget)
        }
        for at, symbol in enumerate(request.symbols):
            held = self.prices[symbol]
            sampled_ns, acted_ns = held.own_ns(times_ns), held.own_ns(decisions_ns[at::count])
            prices = held.between(int(sampled_ns[0]) - self._back_ns, int(sampled_ns[-1]) + request.latest_price_ns)
            for index, target in enumerate(request.targets):
                if isinstance(target, TripleBarrierTarget):
                    of_target = sides if isinstance(target, MetaLabelTarget) else None
                    found = first_touches(sampled_ns, acted_ns, prices, target, of_target)
                    labels[at::count, index] = found.labels
                    barriers[index].met[at::count] = found.met
                    is_met = ~np.isnan(found.met)
                    barriers[index].touched_ns[at::count] = np.where(is_met, held.our_ns(found.touched_ns), 0)
                else:
                    labels[at::count, index] = make_labels(sampled_ns, prices, target, decisions_ns=acted_ns)
        return labels, barriers

    def _filled(self, times_ns: Int64s, known: Known) -> int:
        """Fill what is known of a piece in place; how many values of the dataset were filled."""
        own_at = self._features.own_at
        before = np.count_nonzero(np.isnan(known.features[:, own_at]))
        of_time = known.features.reshape(len(times_ns), -1, copy=False)
        if self._request.sample_kind == "at_time":
            self._fill_given.fill(times_ns, of_time)
        else:
            by_symbol = (len(times_ns), len(self._request.symbols))
            self._fill_served.fill(times_ns, known.had_ns.reshape(by_symbol), of_time.reshape(*by_symbol, -1))
        return int(before - np.count_nonzero(np.isnan(known.features[:, own_at])))


def label_prices(request: DatasetRequest, log: FeatureLog, history: KlineHistory) -> dict[str, LabelPrices]:
    """What labels are made of, by symbol. Raises InvalidRequest when the request does not fit their steps."""
    spans = covered(request.folds())
    from_ns, to_ns = spans[0][0] - request.price_back_ns, spans[-1][1] + request.latest_price_ns
    found = {
        symbol: open_prices(log, history, symbol, request.label_price, from_ns=from_ns, to_ns=to_ns)
        for symbol in request.symbols
    }
    if len({prices.name for prices in found.values()}) > 1:
        told = ", ".join(f"{prices.name} of {symbol}" for symbol, prices in found.items())
        raise InvalidRequest(f"label_price: must be of one kind, which kline_close asks for, was auto with {told}")
    for prices in found.values():
        if not request.sample_times_ns and request.sampling is None and request.sample_interval_ns % prices.step_ns:
            raise InvalidRequest(
                f"sample_interval: must be whole steps of the label's price {prices.name}, {prices.step_ns} ns, "
                f"was {request.sample_interval_ns} ns"
            )
        for target in request.targets:
            check_target(target, prices.step_ns)
    return found


def sample_times(request: DatasetRequest) -> SampleTimes:
    """When a request samples that does so at times; see ``event_times`` for one that samples what happens."""
    if request.sample_times_ns:
        return SampleTimes.at(request.sample_times_ns)
    return SampleTimes.of(covered(request.folds()), request.sample_interval_ns, request.sample_offset_ns)


def offset_warnings(request: DatasetRequest, sampler: Sampler) -> list[str]:
    """One line for every symbol that is sampled before the kline has come whose close is its entry price."""
    is_at_interval = not request.sample_times_ns and request.sampling is None
    is_early = request.sample_offset_ns < KLINE_OFFSET_NS and is_at_interval
    return [
        f"{symbol}: sampled {request.sample_offset_ns // SECOND_NS} s after the end of a kline, entered at its close "
        f"with the features of the one before; a sample_offset of {KLINE_OFFSET_NS // SECOND_NS} s has those of its own"
        for symbol, prices in sampler.prices.items()
        if is_early and prices.name == "kline_close"
    ]


def early_warnings(sampler: Sampler) -> list[str]:
    """One line for every symbol of which klines were confirmed before they ended."""
    return [
        f"{symbol}: {len(prices.early)} klines were confirmed before their end by the receive clock, the first by "
        f"{(int(prices.early[0, 1]) - int(prices.early[0, 0])) / MILLISECOND_NS:g} ms; rows between are left out"
        for symbol, prices in sampler.prices.items()
        if len(prices.early)
    ]


def samples_document(request: DatasetRequest, sampler: Sampler) -> dict[str, Any]:
    """What a sample of the dataset is and when its model acts, as the manifest states it."""
    return {
        "kind": request.sample_kind,
        **({} if request.sampling is None else {"events": len(sampler.times)}),
        "offset_seconds": request.sample_offset_ns // SECOND_NS,
        "read_delay_ms": request.read_delay_ns / MILLISECOND_NS,
        **({} if request.history_lag_ms is None else {"history_lag_ms": list(request.history_lag_ms)}),
        "row_age_ms": sampler.lags.document(),
        "entry_price": {
            symbol: f"{prices.name} of the newest whole {prices.step_ns // SECOND_NS} s when the model acts"
            if request.sessions is None
            else f"{prices.name} of the newest session that had closed when the model acts"
            for symbol, prices in sampler.prices.items()
        },
        **({} if request.sessions is None else {"calendar": request.sessions.calendar, "sessions": len(sampler.times)}),
        **sampler.retrieval.document(),
    }
