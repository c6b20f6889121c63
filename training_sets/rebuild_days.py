"""Rebuilding days: each UTC day of a symbol is one task, computed once for its inputs, in any number of processes.

1. A day's inputs, by group: the raw files that its rows are computed from, their period, the scale and the start. A day
   whose groups all stand in the feature log with these inputs is passed over.
2. A day is computed for the groups that are missing, whichever registry version asked for the others.
3. Its files are written aside and renamed together: a run that is interrupted or killed has whole days or none, and
   the next one goes on from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from market.clock import DAY_NS, SECOND_NS, floor_to, utc_date
from market.errors import InvalidRequest
from market.events import CONTROL
from storage.raw_manifest import RawPart, raw_parts, raw_period
from storage.raw_parquet import TABLES
from storage.rebuilt_days import has_rebuilt_day, write_rebuilt_day
from training_sets.rebuild import AVAILABILITY_DELAY_NS, rebuild_rows, start_before
from transforms.catalogue import GROUPS, feature_set, group_horizon_ns, group_kinds, set_horizon_ns, set_kinds
from transforms.plan import Kernel, compile_kernel
from transforms.rows import FeatureGroup, FeatureSet


@dataclass(frozen=True, slots=True)
class Rebuild:
    """What is rebuilt, where from and where to; ``kernel_cache`` holds the compiled kernels."""

    raw_folder: Path
    features_folder: Path
    kernel_cache: Path
    symbol: str
    feature_set: FeatureSet


@dataclass(frozen=True, slots=True)
class RebuiltDay:
    """One day: rows computed, 0 when nothing was missing, and the groups they were computed for."""

    date: str
    rows: int
    groups: tuple[str, ...]


def rebuild_days(
    rebuild: Rebuild, *, from_ns: int | None = None, to_ns: int | None = None, workers: int = 1
) -> Iterator[RebuiltDay]:
    """Rebuild every UTC day that ``[from_ns, to_ns]`` touches into the feature log; yields each as it is done.

    None is the end of the raw data. The result is the same, bit for bit, whatever the number of workers.

    Raises NotFound when there is no raw data of the symbol, InvalidRequest when the period is outside of it.
    """
    first_ns, last_ns = raw_period(rebuild.raw_folder, rebuild.symbol)
    last_row_ns = floor_to(last_ns, SECOND_NS)
    begin_ns = max(first_ns if from_ns is None else from_ns, first_ns)
    end_ns = min(last_row_ns if to_ns is None else to_ns, last_row_ns)
    if end_ns < begin_ns:
        raise InvalidRequest(
            f"rebuild of {rebuild.symbol}: must reach into the raw data from {first_ns} to {last_ns}, "
            f"was {from_ns} to {to_ns}"
        )
    parts = raw_parts(rebuild.raw_folder, rebuild.symbol)
    days = range(floor_to(begin_ns, DAY_NS), end_ns + 1, DAY_NS)
    due = []
    for day_ns in days:
        inputs = _missing(rebuild, parts, day_ns, first_ns, last_row_ns)
        if inputs:
            due.append((day_ns, inputs))
        else:
            yield RebuiltDay(utc_date(day_ns), 0, ())
    if workers == 1 or len(due) <= 1:
        for day_ns, inputs in due:
            yield _rebuild_day(rebuild, day_ns, inputs)
        return
    for inputs in {tuple(inputs): inputs for _, inputs in due}.values():
        _kernel(rebuild, inputs).warm_up()  # compiled once here, not by every worker
    # spawn: a forked child would share the locks of this process's threads in whatever state they are.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            for done in as_completed([pool.submit(_rebuild_day, rebuild, *day) for day in due]):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def count_days(rebuild: Rebuild, *, from_ns: int | None, to_ns: int | None) -> int:
    """How many days ``rebuild_days`` will yield. Raises NotFound."""
    first_ns, last_ns = raw_period(rebuild.raw_folder, rebuild.symbol)
    begin_ns = max(first_ns if from_ns is None else from_ns, first_ns)
    end_ns = min(last_ns if to_ns is None else to_ns, last_ns)
    return max(0, end_ns // DAY_NS - begin_ns // DAY_NS + 1)


def _rebuild_day(rebuild: Rebuild, day_ns: int, inputs: dict[str, str]) -> RebuiltDay:
    kernel = _kernel(rebuild, inputs)
    _, last_ns = raw_period(rebuild.raw_folder, rebuild.symbol)
    to_ns = min(day_ns + DAY_NS - SECOND_NS, last_ns)
    rows = rebuild_rows(rebuild.raw_folder, rebuild.symbol, kernel, from_ns=day_ns, to_ns=to_ns)
    date = utc_date(day_ns)
    if len(rows):
        write_rebuilt_day(rebuild.features_folder, rows, rows.row_ns + AVAILABILITY_DELAY_NS, date=date, inputs=inputs)
    return RebuiltDay(date, len(rows), tuple(inputs))


def _missing(rebuild: Rebuild, parts: list[RawPart], day_ns: int, first_ns: int, last_row_ns: int) -> dict[str, str]:
    """Hash of the inputs of each group whose rows of the day do not stand in the feature log."""
    date = utc_date(day_ns)
    end_ns = min(day_ns + DAY_NS - SECOND_NS, last_row_ns)
    if end_ns <= first_ns or end_ns < day_ns:
        return {}
    missing = {}
    for group in rebuild.feature_set.groups:
        kinds, horizon_ns = _reads(rebuild.feature_set, group)
        start_ns = start_before(rebuild.raw_folder, parts, kinds, day_ns - horizon_ns, first_ns)
        inputs = _inputs(parts, kinds, start_ns, end_ns)
        if not has_rebuilt_day(rebuild.features_folder, group, rebuild.symbol, date, inputs):
            missing[group.name] = inputs
    return missing


def _reads(chosen: FeatureSet, group: FeatureGroup) -> tuple[frozenset[int], int]:
    """Event kinds and horizon of a group; normalised columns read what their set reads."""
    if group.name in GROUPS:
        return group_kinds(group.name), group_horizon_ns(group.name)
    return set_kinds(chosen), set_horizon_ns(chosen)


def _inputs(parts: list[RawPart], kinds: frozenset[int], start_ns: int, end_ns: int) -> str:
    tables = {table for table, kind in TABLES if kind in {CONTROL, *kinds}}
    digest = hashlib.sha256(f"{start_ns} {end_ns}".encode())
    for part in parts:
        if part.first_ns < end_ns and part.last_ns >= start_ns:
            digest.update(f" {part.price_exponent} {part.quantity_exponent}".encode())
            for file in part.files:
                if file.table in tables:
                    digest.update(file.sha256.encode())
    return digest.hexdigest()[:16]


def _kernel(rebuild: Rebuild, inputs: dict[str, str]) -> Kernel:
    """The kernel of the groups that are missing; of the whole set when normalised columns are among them."""
    chosen = rebuild.feature_set
    if not any(name not in GROUPS for name in inputs) and len(inputs) < len(chosen.groups):
        wanted = {column for group in chosen.groups if group.name in inputs for column in group.columns}
        chosen = feature_set(chosen.version, [name for name in chosen.columns if name in wanted])
    return compile_kernel(chosen, rebuild.kernel_cache)
