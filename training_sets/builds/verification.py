"""Verification: what was served against a rebuild from raw Parquet, and a dataset against a second build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from market.clock import DAY_NS
from quality.parity import Parity, compare_rows
from storage.features.log import read_feature_log, served_days
from storage.raw.manifest import raw_symbols
from training_sets.builds.builder import BuildPlace, build_dataset
from training_sets.dataset.manifest import is_intact, manifest_request, read_manifest, stated_files
from training_sets.rebuild.rebuild import joined_rows, part_of_rows, rows_by_day, stream_rows
from transforms.kernel import Kernel
from transforms.rows import FeatureRows


def verify_parity(
    raw_folder: Path, features_folder: Path, kernel: Kernel, symbols: Sequence[str] | None = None
) -> Parity:
    """Rebuild every served row of the symbols and compare bit by bit; None is every symbol with raw data.

    A row that only the rebuild has is missing, one that only the log has is extra. Days before the first
    that was served are left out: raw data is kept longer than the rows. Memory holds a day of each.
    """
    total = Parity()
    for symbol in symbols or raw_symbols(raw_folder):
        total += _parity_of(raw_folder, features_folder, kernel, symbol)
    return total


def _parity_of(raw_folder: Path, features_folder: Path, kernel: Kernel, symbol: str) -> Parity:
    def served(day_ns: int) -> FeatureRows:
        rows, _ = read_feature_log(
            features_folder, symbol, kernel.feature_set, from_ns=day_ns, to_ns=day_ns + DAY_NS, served_only=True
        )
        return rows

    days = served_days(features_folder, symbol, kernel.feature_set)
    last_ns = next((int(rows.row_ns[-1]) for rows in map(served, reversed(days)) if len(rows)), None)
    parity = Parity()
    if last_ns is None:
        return parity
    for day_ns, of_day in rows_by_day(stream_rows(raw_folder, symbol, kernel, from_ns=days[0], to_ns=last_ns)):
        rebuilt = joined_rows(list(of_day))
        # The rebuild goes on to the last served row, but may begin after the first.
        for earlier_ns in [each for each in days if each < day_ns]:
            parity += compare_rows(served(earlier_ns), part_of_rows(rebuilt, 0, 0))
        days = [each for each in days if each > day_ns]
        parity += compare_rows(served(day_ns), rebuilt)
    return parity


@dataclass(frozen=True, slots=True)
class DatasetProof:
    """What a second build of a dataset shows.

    identical: files whose bytes are those of the second build. tampered: files that are no longer what their manifest
    states. differing: files whose second build has other bytes. changed: entries of the manifest with other values
    now, such as the libraries or the raw partitions: they tell why.
    """

    identical: tuple[str, ...]
    tampered: tuple[str, ...]
    differing: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        return len(self.identical) > 0 and not self.tampered and not self.differing


def verify_dataset(folder: Path, place: BuildPlace, scratch: Path) -> DatasetProof:
    """Build a dataset again from its manifest's request into the empty folder ``scratch`` and compare every byte.

    Raises NotFound when the folder holds no finished dataset, and what the build raises.
    """
    manifest = read_manifest(folder)
    build_dataset(manifest_request(manifest), replace(place, reuses_samples=False), scratch)
    again = read_manifest(scratch)
    stated, rebuilt = stated_files(manifest), stated_files(again)
    tampered = [path for path, entry in stated.items() if not is_intact(folder, entry)]
    identical = [path for path, entry in stated.items() if path not in tampered and rebuilt.get(path) == entry]
    return DatasetProof(
        tuple(identical),
        tuple(tampered),
        tuple(path for path in sorted({*stated, *rebuilt}) if stated.get(path) != rebuilt.get(path)),
        tuple(key for key in sorted({*manifest, *again}) if manifest.get(key) != again.get(key)),
    )
