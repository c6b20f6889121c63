"""Garbage: what killed processes left and what no version of the code or the registry finds any more.

1. Folders of build attempts whose dataset is no longer being built, and of second builds that were cut off.
2. Compiled kernels that no registry version here asks for and that were not loaded for a week.
3. Computed and sampled days of feature code that no registry version here has, a week old: a rebuild would make them.
4. Staged files under dot names, a day old: their writers are gone.
5. Objects that no folder names, a day old by the store's clock: nobody names them any more.

Rows that were served and datasets are never garbage: retention and ``DELETE /dataset`` are for them.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from market.clock import DAY_NS, HOUR_NS
from market.errors import NotFound
from storage.database.metadata import Metadata
from storage.durable_files import changing_files
from storage.features.parts import REBUILT
from storage.objects.path import ObjectPath
from storage.objects.unnamed import remove_unnamed_below
from training_sets.samples.sampled_days import PROVEN, SAMPLED
from upkeep.tasks import Reach

_log = logging.getLogger(__name__)

DEAD_BUILD_NS: Final = HOUR_NS
"""A folder that has not been touched for this long is not being written."""
STAGED_NS: Final = DAY_NS
UNUSED_NS: Final = 7 * DAY_NS
"""Another deployment may share the folders: what it uses it touches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is in use here. kernels: folders; code: ``group/fingerprint`` of the feature log."""

    kernels: frozenset[Path]
    code: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class GarbageFolders:
    """Where garbage may lie. attempts: at datasets.

    features: None in an object store, which does not tell when a file was read last. objects: the tops of stores.
    """

    attempts: Path
    features: Path | None
    kernels: Path
    objects: tuple[ObjectPath, ...] = ()


def remove_garbage(
    folders: GarbageFolders, metadata: Metadata, in_use: Callable[[], Found], *, now_ns: int, reach: Reach
) -> Mapping[str, Any]:
    """Remove it; counts, bytes and problems. in_use: asked once. Raises StoreUnavailable, InvalidRegistry."""
    reach(0.0)
    used = in_use()
    problems: list[str] = []
    builds = _remove_each(dead_builds(folders.attempts, metadata, now_ns), problems)
    reach(0.2)
    kernels = _remove_each(unused_kernels(folders.kernels, used.kernels, older_than_ns=now_ns - UNUSED_NS), problems)
    reach(0.4)
    days = _remove_each(unused_days(folders.features, used.code, older_than_ns=now_ns - UNUSED_NS), problems)
    reach(0.6)
    staged = _remove_each(abandoned_files(folders.features, older_than_ns=now_ns - STAGED_NS), problems)
    reach(0.8)
    unnamed_count, unnamed_bytes, unnamed_problems = remove_unnamed_below(folders.objects)
    removed = {
        "dead_builds": builds,
        "kernels": kernels,
        "computed_days": days,
        "staged_files": staged,
        "unnamed_objects": (unnamed_count, unnamed_bytes),
    }
    counts = {name: count for name, (count, _) in removed.items()}
    return {**counts, "bytes": sum(size for _, size in removed.values()), "problems": [*problems, *unnamed_problems]}


def remove_caches(folders: GarbageFolders, metadata: Metadata, in_use: Callable[[], Found]) -> int:
    """Remove everything that can be computed again, of whatever age; the bytes freed.

    Computed and sampled days stay while a dataset is built of them. Raises StoreUnavailable, InvalidRegistry.
    """
    problems: list[str] = []
    _, freed = _remove_each(unused_kernels(folders.kernels, in_use().kernels, older_than_ns=None), problems)
    if not metadata.list_datasets(status="building", limit=1):
        _, days = _remove_each(unused_days(folders.features, frozenset(), older_than_ns=None), problems)
        freed += days
    for problem in problems:
        _log.warning("caches: %s", problem)
    return freed


def dead_builds(attempts_folder: Path, metadata: Metadata, now_ns: int) -> list[Path]:
    """The folders of abandoned attempts."""
    dead = []
    for folder in sorted(attempts_folder.glob(".*")):
        if not folder.is_dir() or _touched_ns(folder) > now_ns - DEAD_BUILD_NS:
            continue
        dataset_id, _, attempt = folder.name.removeprefix(".").rpartition("-")
        with suppress(NotFound):
            record = metadata.get_dataset(dataset_id)
            if record.status == "building" and attempt == str(record.attempt):
                continue
        dead.append(folder)
    return dead


def unused_kernels(kernels_folder: Path, used: Collection[Path], *, older_than_ns: int | None) -> list[Path]:
    """The folders of kernels that are not ``used`` and that were not read since; None is of any age."""
    kept = {folder.resolve() for folder in used}
    return [
        folder
        for folder in sorted(kernels_folder.glob("*"))
        if folder.is_dir()
        and folder.resolve() not in kept
        and (older_than_ns is None or _touched_ns(folder) < older_than_ns)
    ]


def unused_days(features_folder: Path | None, used: Collection[str], *, older_than_ns: int | None) -> list[Path]:
    """The computed and sampled days of code that is not ``used``; None is of any age."""
    return [
        path
        for folder in sorted(() if features_folder is None else features_folder.glob("*/*"))
        if f"{folder.parent.name}/{folder.name}" not in used
        for name in (f"{REBUILT}-*.parquet", f"{SAMPLED}-*", f"{PROVEN}-*")
        for path in folder.glob(f"symbol=*/date=*/{name}")
        if older_than_ns is None or _touched_ns(path) < older_than_ns
    ]


def abandoned_files(features_folder: Path | None, *, older_than_ns: int) -> list[Path]:
    """What writers that died left under dot names; sampled days have such names too."""
    return [
        path
        for path in (() if features_folder is None else features_folder.glob("*/*/symbol=*/date=*/.*"))
        if path.is_file()
        and not path.name.startswith((f"{SAMPLED}-", f"{PROVEN}-"))
        and _touched_ns(path) < older_than_ns
    ]


def _touched_ns(path: Path) -> int:
    """When it, or something directly in it, was last read or written; 0 when it is gone."""
    newest = 0
    for each in (path, *(path.iterdir() if path.is_dir() else ())):
        with suppress(FileNotFoundError):
            found = each.stat()
            # A folder is read by whoever looks for garbage.
            newest = max(newest, found.st_mtime_ns, 0 if each.is_dir() else found.st_atime_ns)
    return newest


def _remove_each(paths: Iterable[Path], problems: list[str]) -> tuple[int, int]:
    """How many went, and their bytes; a folder that stays is a problem, one that goes meanwhile is not."""
    count = size = 0
    for path in paths:
        with changing_files(path):
            if path.is_dir():
                held = sum(_size(each) for each in path.rglob("*") if each.is_file())
                shutil.rmtree(path, ignore_errors=True)
            else:
                held = _size(path)
                path.unlink(missing_ok=True)
            if path.exists():
                problems.append(f"{path}: cannot be removed")
                continue
        count += 1
        size += held
    return count, size


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
