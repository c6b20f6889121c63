"""The lock file of group fingerprints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import transforms

LOCK: Final = Path(transforms.__file__).parent / "fingerprints.json"


def test_the_lock_is_written_in_one_way() -> None:
    text = LOCK.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
