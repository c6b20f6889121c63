"""Due days: which groups of which UTC days a rebuild has to compute, told by a hash of all that their rows come from.

A group's inputs of a day are the raw files that its rows are computed from, their period, the scale and the start.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from market.clock import DAY_NS, SECOND_NS, Clock, SystemClock, floor_to, utc_date
from market.events import CONTROL
from storage.features.log import FeatureLog
from storage.features.rebuilt_days import has_rebuilt_day, is_served_whole
from storage.raw.manifest import RawPart
from storage.raw.raw_data import RawData
from storage.raw.tables import TABLES
from training_sets.rebuild.rebuild import start_before
from transforms.catalogue import GROUPS, group_horizon_ns, group_kinds, set_horizon_ns, set_kinds
from transforms.rows import FeatureGroup, FeatureSet


@dataclass(frozen=True, slots=True)
class Rebuild:
    """What is rebuilt, where from and where to; ``kernel_cache`` holds the compiled kernels.

    reuses_days: pass over days that stand with the same inputs. keeps_served: pass over groups of a day whose every row
    was served. clock: says since when a day that was repaired can be read.
    """

    raw: RawData
    features: FeatureLog
    kernel_cache: Path
    symbol: str
    feature_set: FeatureSet
    reuses_days: bool = True
    keeps_served: bool = False
    clock: Clock = field(default_factory=SystemClock)


def due_inputs(rebuild: Rebuild, parts: list[RawPart], day_ns: int, first_ns: int, last_row_ns: int) -> dict[str, str]:
    """Hash of the inputs of each group whose rows of the day do not stand in the feature log."""
    date = utc_date(day_ns)
    end_ns = min(day_ns + DAY_NS - SECOND_NS, last_row_ns)
    if end_ns <= first_ns or end_ns < day_ns:
        return {}
    missing = {}
    first_row_ns = max(day_ns, floor_to(first_ns, SECOND_NS) + SECOND_NS)
    for group in rebuild.feature_set.groups:
        if rebuild.keeps_served and is_served_whole(
            rebuild.features, group, rebuild.symbol, date, first_ns=first_row_ns, last_ns=end_ns
        ):
            continue
        kinds, horizon_ns = _reads(rebuild.feature_set, group)
        start_ns = start_before(rebuild.raw, parts, kinds, day_ns - horizon_ns, first_ns)
        inputs = inputs_digest(parts, kinds, start_ns, end_ns)
        if not rebuild.reuses_days or not has_rebuilt_day(rebuild.features, group, rebuild.symbol, date, inputs):
            missing[group.name] = inputs
    return missing


@lru_cache(maxsize=1 << 10)
def _reads(chosen: FeatureSet, group: FeatureGroup) -> tuple[frozenset[int], int]:
    """Event kinds and horizon of a group; normalised columns read what their set reads."""
    if group.name in GROUPS:
        return group_kinds(group.name), group_horizon_ns(group.name)
    return set_kinds(chosen), set_horizon_ns(chosen)


def inputs_digest(parts: list[RawPart], kinds: frozenset[int], start_ns: int, end_ns: int) -> str:
    """A hash of the raw files of some kinds of events that reach into [start_ns, end_ns), and of both ends."""
    tables = {table for table, kind in TABLES if kind in {CONTROL, *kinds}}
    digest = hashlib.sha256(f"{start_ns} {end_ns}".encode())
    for part in parts:
        if part.first_ns < end_ns and part.last_ns >= start_ns:
            digest.update(f" {part.price_exponent} {part.quantity_exponent}".encode())
            for file in part.files:
                if file.table in tables:
                    digest.update(file.sha256.encode())
    return digest.hexdigest()[:16]


def still_due(rebuild: Rebuild, date: str, inputs: dict[str, str]) -> dict[str, str]:
    """Of these groups those whose rows of the day do not stand in the feature log with these inputs."""
    if not rebuild.reuses_days:
        return inputs
    known = {group.name: group for group in rebuild.feature_set.groups}
    return {
        name: made_of
        for name, made_of in inputs.items()
        if not has_rebuilt_day(rebuild.features, known[name], rebuild.symbol, date, made_of)
    }
