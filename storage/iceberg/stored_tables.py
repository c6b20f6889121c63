"""What there is to publish: the tables of raw Parquet and those of the feature log, with the files that they have now.

A table of raw Parquet is one of the manifest's; a table of the feature log is a group of features with the fingerprint
of its code. What of a file is the same for all of its rows is a partition of the table, so no file need state it:
``symbol`` and ``date``; the scale of the mantissas, or the ``generation`` of a part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Final

from market.written_order import GENERATION
from storage.features.log import FeatureLog
from storage.features.merging import superseded_parts
from storage.features.parts import parts_of_date
from storage.places import Place, matching
from storage.raw.raw_data import RawData
from storage.raw.tables import TABLE_NAMES

RAW: Final = "raw"
FEATURES: Final = "features"
PUBLISHED: Final = "iceberg"
"""The folder of published tables at the top of a store."""
SCALE: Final = ("price_exponent", "quantity_exponent")
_FINGERPRINT_LETTERS: Final = 16

Partition = tuple[str, date, *tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a table. path: in its store, as it is named there. sha256: where the store states it, else None.

    partition: values in the order of the table's ``partitioned_by``, but for what only the footer states.
    """

    place: Place
    path: str
    sha256: str | None
    partition: Partition


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A table: its name in the catalogue, the top of its store, what it is partitioned by, and how it lists its files.

    files: asked again where one is gone since it was listed. Raises CorruptStore.
    """

    namespace: str
    name: str
    root: Place
    partitioned_by: tuple[str, ...]
    files: Callable[[], list[StoredFile]]


def stored_tables(raw: RawData, log: FeatureLog) -> Iterator[StoredTable]:
    """Every table that may have files, raw data first."""
    for name in TABLE_NAMES:
        yield StoredTable(
            RAW,
            name,
            raw.place,
            ("symbol", "date", *SCALE),
            partial(_raw_files, raw, name),
        )
    for folder in matching(log.folder, "*/*"):
        if folder.parent.name != PUBLISHED and matching(folder, "symbol=*"):
            yield StoredTable(
                FEATURES,
                f"{folder.parent.name}_{folder.name[:_FINGERPRINT_LETTERS]}",
                log.folder,
                ("symbol", "date", GENERATION),
                partial(_feature_files, log, folder),
            )


def _raw_files(raw: RawData, table: str) -> list[StoredFile]:
    """By the manifest alone."""
    found = []
    for symbol in raw.symbols():
        for part in raw.parts(symbol):
            scale = part.price_exponent, part.quantity_exponent
            for file in part.files:
                if file.table == table:
                    day = date.fromisoformat(file.path.split("/")[1].removeprefix("date="))
                    found.append(StoredFile(raw.path(file), file.path, file.sha256, (symbol, day, *scale)))
    return found


def _feature_files(log: FeatureLog, folder: Place) -> list[StoredFile]:
    """Parts that were merged into one are not told twice."""
    found: defaultdict[Place, set[str]] = defaultdict(set)
    for of_date in matching(folder, "symbol=*/date=*"):
        found[of_date] = superseded_parts(of_date)
    return [
        StoredFile(path, path.relative_to(log.folder).as_posix(), None, _of_part(path))
        for of_date, superseded in found.items()
        for path, _, _ in parts_of_date(of_date)
        if path.name not in superseded
    ]


def _of_part(path: Place) -> Partition:
    """Without its generation, which its footer states."""
    return path.parent.parent.name.removeprefix("symbol="), date.fromisoformat(path.parent.name.removeprefix("date="))
