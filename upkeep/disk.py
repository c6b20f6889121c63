"""The disks under the service's folders: a warning when one fills up, and caches that go before anything else does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from storage.disk import disk_use
from upkeep.tasks import Reach

GIB = 1 << 30


def watch_disks(
    folders: Mapping[str, Path],
    *,
    warn_percent: float,
    caches_percent: float,
    remove_caches: Callable[[], int],
    reach: Reach,
) -> Mapping[str, Any]:
    """How full each disk is, by the names of the folders on it.

    remove_caches: called once when a disk is used to ``caches_percent``; returns the bytes that it freed.

    Raises StoreUnavailable when a disk does not answer, and what ``remove_caches`` raises.
    """
    reach(0.0)
    freed = 0
    if any(disk_use(folder).percent >= caches_percent for folder in folders.values()):
        freed = remove_caches()
    by_device: dict[int, list[str]] = {}
    for name, folder in folders.items():
        by_device.setdefault(disk_use(folder).device, []).append(name)
    disks = []
    problems = []
    for names in by_device.values():
        found = disk_use(folders[names[0]])
        disks.append({"folders": names, "used_percent": round(found.percent, 2), "free_bytes": found.free})
        if found.percent >= warn_percent:
            problems.append(_warning(names, found.percent, found.free, warn_percent))
    if freed:
        problems.append(f"caches: removed for a disk used to {caches_percent:g} %, {freed / GIB:.2f} GiB came free")
    return {"disks": disks, "freed_bytes": freed, "problems": problems}


def _warning(names: list[str], percent: float, free: int, warn_percent: float) -> str:
    return (
        f"disk of {', '.join(names)}: must be used to less than {warn_percent:g} %, was {percent:.1f} %, "
        f"{free / GIB:.2f} GiB free: free some space, lower FEATURE_SERVICE_RETENTION_DAYS, "
        f"or set FEATURE_SERVICE_ARCHIVE_PATH to another disk"
    )
