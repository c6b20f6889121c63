"""Raw data: where a symbol's messages are read from again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from market.errors import NotFound
from storage.raw.manifest import raw_period

OpenRaw = Callable[[str], AbstractContextManager[Path]]
"""Opens a raw folder with all that is known of a symbol, what is only on its tape too, for as long as it is read."""


def parquet_alone(raw_folder: Path) -> OpenRaw:
    """Raw Parquet as it is: of a finished recording it is all there is."""
    return lambda _symbol: nullcontext(raw_folder)


def opened_until(raw_folder: Path, symbol: str, until_ns: int, open_raw: OpenRaw) -> AbstractContextManager[Path]:
    """``raw_folder`` where its Parquet of the symbol goes as far as ``until_ns``, else all that there is."""
    try:
        is_enough = until_ns <= raw_period(raw_folder, symbol)[1]
    except NotFound:
        is_enough = False
    return nullcontext(raw_folder) if is_enough else open_raw(symbol)
