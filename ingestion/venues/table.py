"""The venues that are read: one line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ingestion.venues.bybit.venue import BYBIT
from ingestion.venues.venue import Venue

VENUES: Final[Mapping[str, Venue]] = {venue.name: venue for venue in (BYBIT,)}
