"""Unnamed objects: what writers that died left below a store, found by a listing and removed by the store's clock.

1. The listing gives candidates, keys such as uploads have; folders' names, read after it, say which of them are files.
2. Only what is older than GRACE_S is removed. Both times are the store's: now is that of an object just written.
3. A writer names nothing NAMED_WITHIN_S after it began to upload. So what is removed cannot be named any more.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from market.errors import CorruptStore, StoreUnavailable
from storage.objects.bucket import StoredObject
from storage.objects.files import NAMED_WITHIN_S
from storage.objects.names import names_key, read_names
from storage.objects.path import ObjectPath

GRACE_S: Final = 2 * NAMED_WITHIN_S
_UPLOADED: Final = re.compile(r".*\.[0-9a-f]{16}(\.[^./]*)?")
"""The keys of uploads, and of the probes of a start that died."""
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unnamed:
    """An object below a store that no folder names. age_s: since it was written, by the store's clock."""

    key: str
    size: int
    age_s: float


def unnamed_objects(top: ObjectPath) -> Iterator[Unnamed]:
    """The objects below a store's top that no folder names or keeps, of any age: uploads that go on are among them.

    A folder whose names are damaged is passed over and logged. Raises StoreUnavailable, also where listing is refused.
    """
    bucket = top.bucket
    if read_names(bucket, top.key)[1] is None:
        return
    now_s = bucket.now_s(f"{names_key(top.key)}.{uuid4().hex[:16]}")
    of_folder: defaultdict[str, list[StoredObject]] = defaultdict(list)
    for found in bucket.listed(top.key, lambda key: _UPLOADED.fullmatch(key) is not None):
        of_folder[found.key.rpartition("/")[0]].append(found)
    for folder, candidates in of_folder.items():
        try:
            names, _ = read_names(bucket, folder)
        except CorruptStore as error:
            _log.warning("objects in %s stay, named or not: %s", folder, error)
            continue
        known = {*names.kept, *(file.key for file in names.files.values())}
        left = [each for each in candidates if each.key not in known]
        yield from (Unnamed(each.key, each.size, now_s - each.written_s) for each in left)


def remove_unnamed(top: ObjectPath, *, older_than_s: float = GRACE_S) -> tuple[int, int]:
    """Remove the unnamed objects that nobody can name any more; how many, and their bytes.

    older_than_s: less only where it is known that nobody writes. Raises as ``unnamed_objects``.
    """
    count = size = 0
    for each in unnamed_objects(top):
        if each.age_s >= older_than_s:
            top.bucket.delete(each.key)
            count, size = count + 1, size + each.size
    return count, size


def remove_unnamed_below(tops: Iterable[ObjectPath]) -> tuple[int, int, list[str]]:
    """``remove_unnamed`` of each store; how many, their bytes, and why a store was left out."""
    count = size = 0
    problems = []
    for top in tops:
        try:
            removed, freed = remove_unnamed(top)
        except StoreUnavailable as error:
            problems.append(f"unnamed objects below {top}: could not be removed: {error}")
            continue
        count, size = count + removed, size + freed
    return count, size, problems
