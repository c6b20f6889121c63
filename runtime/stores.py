"""The stores of a process: what the settings' folders hold, opened once and handed down."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ingestion.tape.whole import whole_raw
from runtime.settings import Settings
from runtime.wiring import instrument_pins, prepare_places
from storage.features.log import FeatureLog
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from training_sets.dataset.datasets import Datasets
from training_sets.rebuild.raw_history import RawHistory


@dataclass(frozen=True, slots=True)
class Stores:
    """raw: with what is only on the tape yet. pins: the scales of the raw folder."""

    raw: RawHistory
    features: FeatureLog
    datasets: Datasets
    pins: InstrumentPins


def open_stores(settings: Settings) -> Stores:
    """Opens nothing but what is in memory: a folder need not be there yet; an object store must answer."""
    prepare_places(settings)
    return unprepared_stores(settings)


def unprepared_stores(settings: Settings) -> Stores:
    """``open_stores`` for who sees to it that object stores are prepared."""
    raw, pins = RawData(settings.raw_folder, settings.raw_data_storage_path), instrument_pins(settings)
    return Stores(
        raw=RawHistory(raw, partial(whole_raw, raw, instruments=pins)),
        features=FeatureLog(settings.feature_log_storage_path),
        datasets=Datasets(settings.dataset_storage_path, settings.attempts_folder),
        pins=pins,
    )
