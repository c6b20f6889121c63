"""Raw data: where a symbol's messages are read from again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

OpenRaw = Callable[[str], AbstractContextManager[Path]]
"""Opens a raw folder with all that is known of a symbol, what is only on its tape too, for as long as it is read."""


def parquet_alone(raw_folder: Path) -> OpenRaw:
    """Raw Parquet as it is: of a finished recording it is all there is."""
    return lambda _symbol: nullcontext(raw_folder)
