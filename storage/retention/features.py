"""Retention of the feature log: whole days of a symbol, every group at once, to an archive, back from it, or away.

A copy is on the disk and compared before the first original goes. Files that a killed writer left under dot names go
with their day: no process has them open any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from market.clock import DAY_NS, parse_iso_ns
from market.errors import Conflict, NotFound
from storage.durable_files import changing_files, copy_file, remove_files, sync_folder
from storage.features.log import FeatureLog
from storage.features.served_ticks import SERVED_TICKS
from storage.features.shadow_log import SHADOWS
from storage.instruments import checked_symbol
from storage.places import Place, matching

ARCHIVED_FEATURES: Final = "features"
"""The folder of feature rows in an archive, next to the raw data."""


@dataclass(frozen=True, slots=True)
class FeatureDay:
    """A symbol's rows of one UTC date.

    ``files`` are relative to the feature log, of every group and code, the record of what was served and the
    rows of shadow versions included.
    """

    symbol: str
    date: str
    files: tuple[str, ...]

    @property
    def first_ns(self) -> int:
        return parse_iso_ns(self.date)

    @property
    def last_ns(self) -> int:
        """Inclusive."""
        return self.first_ns + DAY_NS - 1


def logged_symbols(log: FeatureLog) -> list[str]:
    """The symbols that have rows, sorted."""
    folders = (
        *matching(log.folder, "*/*/symbol=*"),
        *matching(log.folder, f"{SERVED_TICKS}/symbol=*"),
        *matching(log.folder, f"{SHADOWS}/*/*/*/symbol=*"),
    )
    return sorted({path.name.removeprefix("symbol=") for path in folders})


def expired_feature_days(log: FeatureLog, symbol: str, before_ns: int) -> list[FeatureDay]:
    """The days that ended by ``before_ns``, oldest first. Raises InvalidRequest."""
    files: defaultdict[str, list[str]] = defaultdict(list)
    of_symbol = f"symbol={checked_symbol(symbol)}/date=*/*.parquet"
    places = ("*/*", SERVED_TICKS, f"{SHADOWS}/*/*/*")
    for path in (path for place in places for path in matching(log.folder, f"{place}/{of_symbol}")):
        if not path.name.startswith("."):
            files[path.parent.name.removeprefix("date=")].append(path.relative_to(log.folder).as_posix())
    days = [FeatureDay(symbol, date, tuple(sorted(of_date))) for date, of_date in sorted(files.items())]
    return [day for day in days if day.last_ns < before_ns]


def archive_feature_days(log: FeatureLog, archive: Place, days: Sequence[FeatureDay]) -> int:
    """Move days into the archive; returns the bytes moved. Raises StoreUnavailable, CorruptStore."""
    moved = 0
    for day in days:
        for file in day.files:
            copy_file(log.folder / file, archive / file)
            moved += (archive / file).stat().st_size
        _remove(log, day)
    return moved


def restore_feature_days(log: FeatureLog, archive: Place, symbol: str) -> int:
    """Copy every archived day of a symbol back; returns how many. The archive keeps them.

    Raises NotFound when the archive has none of the symbol, StoreUnavailable, CorruptStore.
    """
    days = expired_feature_days(FeatureLog(archive), symbol, 2**63 - 1)
    if not days:
        raise NotFound(f"archive {archive}: must hold feature rows of {symbol}, was without")
    for day in days:
        for file in day.files:
            copy_file(archive / file, log.folder / file)
    return len(days)


def delete_feature_days(log: FeatureLog, days: Sequence[FeatureDay], *, used_by: Sequence[str]) -> int:
    """Delete days for good; returns the bytes freed.

    used_by: what still refers to them. Raises Conflict naming it when it is not empty, StoreUnavailable.
    """
    if used_by:
        raise Conflict(f"feature rows: must not be in use to be deleted, was used by {', '.join(used_by)}")
    freed = 0
    for day in days:
        freed += sum((log.folder / file).stat().st_size for file in day.files)
        _remove(log, day)
    return freed


def _remove(log: FeatureLog, day: FeatureDay) -> None:
    with log.retiring(), changing_files(log.folder):
        remove_files(log.folder / file for file in day.files)
        for folder in {(log.folder / file).parent for file in day.files}:
            for abandoned in folder.glob(".*"):
                abandoned.unlink(missing_ok=True)
            with suppress(OSError):  # not empty: rows came meanwhile, and stay
                folder.rmdir()
            sync_folder(folder.parent)
