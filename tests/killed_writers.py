"""What writers to an object store do that a test forks and kills, with all that it takes loaded and compiled."""

from __future__ import annotations

from pathlib import Path

import obstore.store  # noqa: F401  # which the store would import on its first use, likewise the next two
import pandas as pd  # noqa: F401
import pyarrow.parquet as pq  # noqa: F401

from ingestion.tape.compaction import compact_tape
from ingestion.venues.bybit.decode import Decoder
from storage.instruments import InstrumentPins
from storage.places import place_of
from training_sets.dataset.datasets import Datasets

Decoder(InstrumentPins(Path("/nowhere")))  # loads its compiled code


def compact(taped: Path, symbol: str, address: str) -> None:
    """Compact a tape to an address."""
    compact_tape(taped, symbol, InstrumentPins(taped), place=place_of(address))


def publish_dataset(address: str, attempts: Path, attempt: Path) -> None:
    """Publish a finished attempt at a dataset."""
    Datasets(place_of(address), attempts).finish("d17", attempt)
