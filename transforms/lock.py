"""The fingerprint lock: the recorded identity of every feature group, so that a changed value cannot go unnoticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from transforms.catalogue import OUR_GROUPS, group_fingerprint

LOCK: Final = Path(__file__).with_name("fingerprints.json")


def lock_text() -> str:
    """What the lock must hold for the code as it is: group to fingerprint, sorted."""
    return json.dumps({group: group_fingerprint(group) for group in sorted(OUR_GROUPS)}, indent=2) + "\n"
