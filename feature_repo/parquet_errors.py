"""Failures of reading Parquet as errors of ours: a file that is gone, and one that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from market.errors import CorruptStore, NotFound


@contextmanager
def reading(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{path}: must exist while it is read, {error}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorruptStore(f"{path}: must be readable Parquet with one type a column, {error}") from error
