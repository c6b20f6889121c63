"""Failures of reading Parquet as errors of ours: a file that is gone, a store that is away, a file that is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa

from market.errors import CorruptStore, NotFound, StoreUnavailable

_OF_THE_STORE: Final = "AWS Error"
"""In what Arrow says of an answer that an object store did not give, and of none that it did."""


@contextmanager
def reading(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{path}: must exist while it is read, {error}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if _OF_THE_STORE in str(error):
            raise StoreUnavailable(f"{path}: its object store must answer, did not: {error}") from error
        raise CorruptStore(f"{path}: must be readable Parquet with one type a column, {error}") from error
