"""Usage: which finished datasets are made of a period of a symbol."""

from __future__ import annotations

from pathlib import Path

from market.clock import parse_iso_ns
from training_sets.dataset.manifest import MANIFEST_NAME, read_manifest


def datasets_of(datasets_folder: Path, symbol: str, first_ns: int, last_ns: int) -> list[str]:
    """Ids of the datasets whose periods touch ``[first_ns, last_ns]`` of the symbol, sorted."""
    used_by = []
    for path in sorted(datasets_folder.glob(f"*/{MANIFEST_NAME}")):
        request = read_manifest(path.parent)["request"]
        periods = [(parse_iso_ns(period["start"]), parse_iso_ns(period["end"])) for period in request["periods"]]
        if symbol in request["symbols"] and any(start <= last_ns and end > first_ns for start, end in periods):
            used_by.append(path.parent.name)
    return used_by
