"""Raw history: where a symbol's messages are read from again, raw Parquet and, where it ends, the tape."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from storage.raw.raw_data import RawData

OpenRaw = Callable[[str], AbstractContextManager[RawData]]
"""Opens all that is known of a symbol, what is only on its tape too, for as long as it is read."""


@dataclass(frozen=True, slots=True)
class RawHistory:
    """open_whole: where a symbol is read of which not all is in ``parquet`` yet."""

    parquet: RawData
    open_whole: OpenRaw

    @staticmethod
    def of(parquet: RawData) -> RawHistory:
        """Raw Parquet as it is: of a finished recording it is all there is."""
        return RawHistory(parquet, lambda _symbol: nullcontext(parquet))

    def until(self, symbol: str, until_ns: int) -> AbstractContextManager[RawData]:
        """``parquet`` where live data goes as far as ``until_ns`` in it, else everything.

        What was backfilled shows nothing of the tape: it may stand behind messages that are in no raw Parquet yet.
        """
        live = (part for part in self.parquet.parts(symbol) if part.backfill is None and part.files)
        is_enough = any(until_ns <= part.last_ns for part in live)
        return nullcontext(self.parquet) if is_enough else self.open_whole(symbol)
