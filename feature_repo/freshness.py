"""How long a row answers: the time to live of every view, for Feast, for the client and for what a dataset reads."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from market.clock import SECOND_NS

TIME_TO_LIVE: Final = timedelta(minutes=1)
"""A row comes each second, so an older one means that the symbol stopped."""
TIME_TO_LIVE_NS: Final = int(TIME_TO_LIVE.total_seconds()) * SECOND_NS
