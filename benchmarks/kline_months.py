"""Months of one-minute klines, the place of builds of them, and what those are asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.measure import KERNEL_CACHE
from feature_repo.apply import apply_definitions
from feature_repo.definitions import definitions
from feature_repo.registry_versions import SHIPPED_FOLDER
from feature_repo.store import open_store
from market.clock import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, parse_iso_ns
from market.events import CONFIRMED, FIRST, KLINE, KLINE_FIELD_COUNT, LAST, empty_events
from market.instruments import Instrument, pin_scale
from storage.features.log import FeatureLog
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData
from training_sets.builds.place import BuildPlace
from training_sets.engines.pool import Pool
from training_sets.rebuild.raw_history import RawHistory
from training_sets.request.folds import TimeBased, WalkForward, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import (
    ClassificationTarget,
    RegressionTarget,
    RiskAdjustedTarget,
    TripleBarrierTarget,
)

SYMBOL: Final = "BTCUSDT"
VERSION: Final = "1.2.0"
"""The registry version whose features all come from klines."""
DAYS: Final = 60
FEW_DAYS: Final = 10
WHOLE_VERSION: Final = "2.0.0"
HORIZON_NS: Final = 5 * MINUTE_NS
BEGIN_NS: Final = parse_iso_ns("2026-01-01T00:00:00")
_INSTRUMENT: Final[Instrument] = pin_scale(SYMBOL, "95000.0")
_SEED: Final = 11
MORE_DAYS: Final = 3
"""How many other horizons, and more days, are built one after the other."""
_DAY_MINUTES: Final = DAY_NS // MINUTE_NS


def request_of(*, days: int, horizon_ns: int = HORIZON_NS, version: str = VERSION) -> DatasetRequest:
    start_ns = BEGIN_NS + HOUR_NS
    return DatasetRequest(
        (SYMBOL,),
        TimeBased(default_periods(start_ns, start_ns + days * DAY_NS)),
        (
            RegressionTarget(horizon_ns, name="change"),
            ClassificationTarget(horizon_ns, name="side"),
            RiskAdjustedTarget(horizon_ns, name="sharpe", volatility_window_ns=HOUR_NS),
            TripleBarrierTarget(horizon_ns, name="barrier", upper=0.002, lower=0.002),
        ),
        version,
        sample_interval_ns=MINUTE_NS,
    )


def folded_request(*, days: int, horizon_ns: int = HORIZON_NS, version: str = VERSION) -> DatasetRequest:
    """Five folds that walk forward; one more day is one more to train on."""
    apart_ns = days // 10 * DAY_NS
    start_ns, tested_ns = BEGIN_NS + HOUR_NS, 6 * apart_ns
    end_ns = start_ns + days * DAY_NS
    walk = WalkForward(start_ns, end_ns, end_ns - start_ns - tested_ns, apart_ns, apart_ns, apart_ns)
    return dataclasses.replace(request_of(days=days, horizon_ns=horizon_ns, version=version), strategy=walk)


def place_on(folder: Path, raw: Path) -> BuildPlace:
    folder.mkdir(parents=True)
    features = folder / "features"
    store = open_store(
        registry=folder / "registry.db", online_store={"type": "redis", "connection_string": "localhost:1"}
    )
    apply_definitions(store, definitions(features_folder=features))
    return BuildPlace(
        open_store=lambda: store,
        features=FeatureLog(features),
        raw=RawHistory.of(RawData(raw)),
        versions_folder=SHIPPED_FOLDER,
        kernels_folder=KERNEL_CACHE,
        engine=Pool(2),
    )


def write_day(raw: Path, day: int) -> None:
    """A day of one-minute klines of a random walk, each a second after its end; all days are one walk."""
    generator = np.random.default_rng(_SEED)
    steps = generator.standard_normal((DAYS + MORE_DAYS + 1) * _DAY_MINUTES) * 4e-4
    closes = 95_000.0 * np.exp(np.cumsum(steps))
    chosen = slice(day * _DAY_MINUTES, (day + 1) * _DAY_MINUTES)
    scale = 10**_INSTRUMENT.price_exponent
    close = np.round(closes[chosen] * 10).astype(np.int64) * (scale // 10)
    opened = np.round(np.concatenate([[95_000.0], closes])[chosen] * 10).astype(np.int64) * (scale // 10)
    volume = (1 + generator.integers(0, 100, _DAY_MINUTES)) * 10**_INSTRUMENT.quantity_exponent
    records = empty_events(_DAY_MINUTES * KLINE_FIELD_COUNT)
    rows = records.reshape(_DAY_MINUTES, KLINE_FIELD_COUNT)
    begins_ns = BEGIN_NS + day * DAY_NS + np.arange(_DAY_MINUTES) * MINUTE_NS
    rows["kind"] = KLINE
    rows["field"] = range(KLINE_FIELD_COUNT)
    rows["update_id"] = begins_ns[:, None]
    rows["event_ns"] = begins_ns[:, None] + MINUTE_NS
    rows["recv_ns"] = begins_ns[:, None] + MINUTE_NS + SECOND_NS
    rows["seq"] = (1 + day * _DAY_MINUTES + np.arange(_DAY_MINUTES))[:, None]
    rows["flags"] = CONFIRMED
    rows["flags"][:, 0] |= FIRST
    rows["flags"][:, -1] |= LAST
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    # Turnover is not read by any feature; whole units of volume keep it inside int64.
    columns = (opened, high, low, close, volume, close // scale * (volume // 10**_INSTRUMENT.quantity_exponent))
    rows["px"] = np.stack(columns, axis=1)
    write_events(raw, _INSTRUMENT, records, part=f"{day:04d}")
