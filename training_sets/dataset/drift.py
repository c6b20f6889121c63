"""The profile that a dataset keeps of its columns, and how far from it the rows are that are served now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from feature_repo.registry_versions import load_registry_version
from market.clock import HOUR_NS, format_iso, parse_iso_ns
from market.errors import Conflict, CorruptStore, InvalidRequest, NotFound
from quality.drift import USUAL_LIMITS, DriftLimits, table_drift, table_sketch
from quality.profile import TableProfile
from storage.database.dataset_records import DatasetRecord
from storage.features.log import FeatureLog
from storage.places import Place
from training_sets.dataset.downloads import dataset_folder
from training_sets.dataset.manifest import PROFILE_NAME, intact_file, profile_entry, read_manifest
from training_sets.provenance import file_entry
from transforms.rows import FeatureSet

MOST_HOURS: Final = 24


def write_profile(folder: Path, manifest: dict[str, Any], profile: TableProfile) -> None:
    """``_profile.json``: the sketch of each feature and target by symbol; the manifest names it with its hash."""
    _, values = profile.sample
    symbols: Sequence[str] = manifest["request"]["symbols"]
    document = {
        "symbols": {
            name: table_sketch(profile.columns, values[profile.sample_symbol == at]) for at, name in enumerate(symbols)
        }
    }
    (folder / PROFILE_NAME).write_text(json.dumps(document, allow_nan=False) + "\n")
    manifest["profile"] = file_entry(folder / PROFILE_NAME, folder)


def split_drift(
    profile: TableProfile, splits: Sequence[Mapping[str, Any]], symbols: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Of each symbol, how far the test split of the sampled rows is from its train split, by column.

    Empty of a symbol that one of the two has no rows of.
    """
    times_ns, values = profile.sample
    found = {}
    for at, symbol in enumerate(symbols):
        is_own = profile.sample_symbol == at
        train, test = (values[is_own & is_in(times_ns, splits, name)] for name in ("train", "test"))
        drift: dict[str, Any] = {}
        if len(train) and len(test):
            drift = table_drift(table_sketch(profile.columns, train), profile.columns, test, USUAL_LIMITS)
        found[symbol] = drift
    return found


@dataclass(frozen=True, slots=True)
class ServedDrift:
    """What served rows are compared by."""

    log: FeatureLog
    versions_folder: Path
    limits: DriftLimits

    def of(self, record: DatasetRecord, *, until_ns: int, hours: int) -> dict[str, Any]:
        """How far the rows served in the last hours before ``until_ns`` are from what a dataset holds, as JSON.

        ``symbols`` by name: ``rows`` served, ``drifted`` columns, and ``columns``, see ``quality.drift``. Targets are
        not compared: they are known later.

        Raises Conflict for a dataset that is not ready, NotFound for one that keeps no profile, InvalidRequest for a
        span that is not 1 to MOST_HOURS hours, CorruptStore.
        """
        if not 1 <= hours <= MOST_HOURS:
            raise InvalidRequest(f"hours: must be 1 to {MOST_HOURS}, was {hours}")
        if record.status != "ready":
            raise Conflict(f"dataset {record.dataset_id}: must be ready, was {record.status}")
        folder = dataset_folder(record)
        manifest = read_manifest(folder)
        entry = profile_entry(manifest)
        if entry is None:
            raise NotFound(f"dataset {record.dataset_id}: has no profile, it was built before profiles existed")
        profile = _read_profile(intact_file(folder, entry))
        chosen = load_registry_version(manifest["feature_registry_version"], self.versions_folder).feature_set
        from_ns = until_ns - hours * HOUR_NS
        return {
            "dataset_id": record.dataset_id,
            "feature_registry_version": chosen.version,
            "from": format_iso(from_ns),
            "to": format_iso(until_ns),
            "limits": asdict(self.limits),
            "symbols": {
                symbol: self._of_symbol(symbol, then, chosen, from_ns, until_ns) for symbol, then in profile.items()
            },
        }

    def _of_symbol(
        self, symbol: str, then: Mapping[str, Any], chosen: FeatureSet, from_ns: int, until_ns: int
    ) -> dict[str, Any]:
        try:
            # A live worker's last part may be there of some groups alone.
            rows, _ = self.log.read(symbol, chosen, from_ns=from_ns, to_ns=until_ns, served_only=True, whole_only=True)
        except NotFound:
            return {"rows": 0, "drifted": [], "columns": {}}
        columns = table_drift(then, chosen.columns, rows.values, self.limits) if len(rows) else {}
        drifted = [name for name, drift in columns.items() if drift["drifted"]]
        return {"rows": len(rows), "drifted": drifted, "columns": columns}


def _read_profile(path: Place) -> dict[str, dict[str, Any]]:
    try:
        found: dict[str, dict[str, Any]] = json.loads(path.read_text())["symbols"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptStore(f"{path}: must be a dataset's profile, was {error}") from error
    return found


def is_in(times_ns: npt.NDArray[np.int64], splits: Sequence[Mapping[str, Any]], name: str) -> npt.NDArray[np.bool_]:
    """Which times lie in a period of the split; bool (n,)."""
    found = np.zeros(len(times_ns), np.bool_)
    for split in splits:
        for period in split.get("periods", [split]) if split["name"] == name else ():
            found |= (times_ns >= parse_iso_ns(period["start"])) & (times_ns < parse_iso_ns(period["end"]))
    return found
