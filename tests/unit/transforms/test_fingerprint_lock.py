"""The lock file of group fingerprints: what computes a group does not change by accident."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import transforms
from transforms.catalogue import GROUPS, group_fingerprint

LOCK: Final = Path(transforms.__file__).parent / "fingerprints.json"


def test_the_lock_holds_the_fingerprint_of_every_group() -> None:
    """A change of code or parameters must be meant: the stored rows of its groups are computed again."""
    present = {group: group_fingerprint(group) for group in GROUPS}
    locked = json.loads(LOCK.read_text(encoding="utf-8"))
    stale = sorted(group for group in present.keys() | locked.keys() if present.get(group) != locked.get(group))
    assert stale == [], (
        f"{', '.join(stale)}: the fingerprint is not the locked one, run `feature-service features lock`"
    )


def test_the_lock_is_written_in_one_way() -> None:
    text = LOCK.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
