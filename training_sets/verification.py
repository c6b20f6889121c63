"""Verification: what was served against a rebuild from raw Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from quality.parity import Parity, compare_rows
from storage.feature_log import read_feature_log
from storage.raw_manifest import raw_symbols
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
