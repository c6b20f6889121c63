"""Verification: what was served against a rebuild from raw Parquet, and a dataset against a second build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from quality.parity import Parity, compare_rows
from storage.feature_log import read_feature_log
from storage.raw_manifest import raw_symbols
from training_sets.builder import BuildPlace, build_dataset
from training_sets.manifest import is_intact, manifest_request, read_manifest, stated_files
from training_sets.rebuild import rebuild_rows
from transforms.plan import Kernel


def verify_parity(
    raw_folder: Path, features_folder: Path, kernel: Kernel, symbols: Sequence[str] | None = None
) -> Parity:
    """Rebuild every served row of the symbols and compare bit by bit; None is every symbol with raw data.

    A row that only the rebuild has is missing, one that only the log has is extra.
    """
    total = Parity()
    for symbol in symbols or raw_symbols(raw_folder):
        served, _ = read_feature_log(
            features_folder, symbol, kernel.feature_set, from_ns=None, to_ns=None, served_only=True
        )
        if len(served) == 0:
            continue
        last_served_ns = int(served.row_ns[-1])
        total += compare_rows(served, rebuild_rows(raw_folder, symbol, kernel, to_ns=last_served_ns))
    return total


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
