"""Imported by the process that others are forked from: what each of them would load on its first use."""

from __future__ import annotations

from pathlib import Path

import obstore.store  # noqa: F401
import pandas as pd  # noqa: F401  # pyarrow asks for it
import pyarrow.parquet as pq  # noqa: F401

from ingestion.venues.bybit.decode import Decoder
from storage.instruments import InstrumentPins

Decoder(InstrumentPins(Path("/nowhere")))  # its compiled code
